//! What policies have taken out of service: everything, a ModelRoute, or a ProviderConfig. Looked at for each request: the first
//! before its body is read, a route once the model is known, a provider when there is a plan. What is under way already ends as it
//! would have.

use bowsprit_core::config::Policy;
use bowsprit_core::fault::Code;
use bowsprit_core::plan::{Plan, Why};
use bowsprit_core::record::Refuser;

use super::context::RequestContext;
use super::refuse::Refusal;
use crate::tenant::snapshot::Snapshot;

/// The policy that refuses everything, and what its callers are told: the first by name of those that do.
pub(super) fn check(snapshot: &Snapshot) -> Option<(&Policy, Refusal)> {
    let mut policies = snapshot.config.policies.iter();
    let (policy, paused) = policies.find_map(|policy| Some((policy, policy.paused.as_ref()?)))?;
    let text = match &paused.reason {
        Some(reason) => format!("UsagePolicy {} has paused this: {reason}", policy.name),
        None => format!("UsagePolicy {} has paused this (spec.paused is true)", policy.name),
    };
    Some((policy, Refusal::new(Code::BizPaused, text)))
}

/// Whether the route of this request is in service.
///
/// # Errors
/// A policy has paused it.
pub(super) fn route(snapshot: &Snapshot, context: &mut RequestContext) -> Result<(), Refusal> {
    let Some(route) = &context.route else { return Ok(()) };
    let Some((policy, paused)) = snapshot.config.pauses_route(&route.name) else {
        return Ok(());
    };
    let text = told(policy, "ModelRoute", &route.name, paused.reason.as_deref());
    context.turned_away_by(Refuser::Pause, &policy.name);
    Err(Refusal::new(Code::BizPaused, text))
}

/// Whether this provider, which nobody can stand in for, is in service.
///
/// # Errors
/// A policy has paused it.
pub(super) fn provider(snapshot: &Snapshot, context: &mut RequestContext, name: &str) -> Result<(), Refusal> {
    let Some((policy, paused)) = snapshot.config.pauses_provider(name) else {
        return Ok(());
    };
    let text = told(policy, "ProviderConfig", name, paused.reason.as_deref());
    context.turned_away_by(Refuser::Pause, &policy.name);
    Err(Refusal::new(Code::BizPaused, text))
}

/// The refusal of a request that somebody would be asked for if nobody had paused them.
pub(super) fn of_all(snapshot: &Snapshot, context: &mut RequestContext, plan: &Plan) -> Option<Refusal> {
    let decided = |why: Why| matches!(why, Why::Paused | Why::Access | Why::NoModel | Why::NotHere);
    if !plan.candidates.is_empty() || !plan.skipped.iter().all(|skipped| decided(skipped.why)) {
        return None;
    }
    let paused = plan.skipped.iter().find(|skipped| skipped.why == Why::Paused)?;
    provider(snapshot, context, &paused.provider).err()
}

/// Who has paused these providers and why, for a request that nobody can answer; empty where none of them is paused.
pub(super) fn told_of(snapshot: &Snapshot, plan: &Plan) -> String {
    let paused = plan.skipped.iter().filter(|skipped| skipped.why == Why::Paused);
    let texts = paused.filter_map(|skipped| {
        let (policy, paused) = snapshot.config.pauses_provider(&skipped.provider)?;
        let text = told(policy, "ProviderConfig", &skipped.provider, paused.reason.as_deref());
        Some(format!("; {text}"))
    });
    texts.collect()
}

fn told(policy: &Policy, kind: &str, name: &str, reason: Option<&str>) -> String {
    let why = reason.unwrap_or("no reason is given");
    format!("UsagePolicy {} has paused {kind} {name}: {why}", policy.name)
}
