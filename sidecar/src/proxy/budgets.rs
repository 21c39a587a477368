//! Budgets (`budgets` of a UsagePolicy): what a request may cost at the most is reserved before anybody is asked, and what all its
//! attempts did cost is charged when the last of them ends.
//!
//! A budget that stops is stricter than one that diverts, and that than one that warns: where several have no room, the strictest
//! says what follows. A request is led to another route once, and from there on is as if it had asked for that route. One that is pinned to
//! its provider is led nowhere: where a budget would, it is stopped.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::call::Operation;
use bowsprit_core::fault::Code;
use bowsprit_core::record::Refuser;
use bowsprit_core::spend::book::{Beyond, Need, Spenders};
use bowsprit_core::spend::shared::purses::Held;
use http::Method;

use super::context::RequestContext;
use super::estimate;
use super::inbound::Inbound;
use super::refuse::Refusal;
use crate::tenant::budgets::{Budgets, Met, dollars};
use crate::tenant::snapshot::Snapshot;
use crate::time::{rfc3339, unix_seconds};

/// When to come back where no operator answers.
const WITHOUT: Duration = Duration::from_secs(30);

/// Reserves what the request may cost, and says where it goes if that is elsewhere.
///
/// # Errors
/// A budget has no room for it, and does not let it go elsewhere.
pub(super) async fn acquire(
    snapshot: &Snapshot,
    context: &mut RequestContext,
    inbound: &Inbound,
) -> Result<(), Refusal> {
    let call = &inbound.call;
    // Every provider counts tokens for nothing.
    if call.operation == Operation::Count {
        return Ok(());
    }
    let budgets = Arc::clone(&context.tenant().budgets);
    let need = estimate::most(snapshot, context.route.as_deref(), context.pinned.as_deref(), call);
    let name = context.route.as_deref().map(|route| route.name.as_str());
    let held = match budgets.take(need, name, false).await {
        Ok(guard) => {
            context.hold(call, |charges| charges.budgets = Some(guard));
            return Ok(());
        }
        Err(held) => held,
    };
    let to = match &held.level.budget.beyond {
        Beyond::Divert(to) if context.pinned.is_none() => to,
        _ => return Err(refuse(context, &budgets, &held, need)),
    };
    let Some(route) = snapshot.config.routes.iter().find(|route| *route.name == **to) else {
        return Err(refuse(context, &budgets, &held, need));
    };
    let need = estimate::most(snapshot, Some(route), None, call);
    match budgets.take(need, Some(&route.name), true).await {
        Ok(guard) => {
            budgets.metrics.met(&held.level.budget.full_name, Met::Diverted);
            context.hold(call, |charges| charges.budgets = Some(guard));
            context.route = Some(Arc::clone(route));
            context.is_led = true;
            Ok(())
        }
        Err(held) => Err(refuse(context, &budgets, &held, need)),
    }
}

/// Whether a request that passes unread may go out: nobody knows what it costs, so it may while anything is left of every budget. It
/// is for one provider, so that none can lead it elsewhere. One that costs nothing may whatever is left.
///
/// # Errors
/// A budget is spent.
pub(super) async fn look(context: &mut RequestContext, method: &Method, path: &str) -> Result<(), Refusal> {
    if costs_nothing(method, path) {
        return Ok(());
    }
    let budgets = Arc::clone(&context.tenant().budgets);
    let need = Need {
        most: 0,
        is_unknown: true,
    };
    match budgets.take(need, None, false).await {
        Ok(_nothing) => Ok(()),
        Err(held) => Err(refuse(context, &budgets, &held, need)),
    }
}

/// Whether it looks, takes away, or ends what has begun: the results of a batch are there to be fetched however much it cost, and
/// one that still spends can be cancelled.
fn costs_nothing(method: &Method, path: &str) -> bool {
    let ends = |word: &str| path.trim_end_matches('/').ends_with(word);
    method.is_safe() || method == Method::DELETE || ends("/cancel") || ends(":cancel")
}

fn refuse(context: &mut RequestContext, budgets: &Budgets, held: &Held, need: Need) -> Refusal {
    let Held { level, is_without, .. } = held;
    let budget = &level.budget;
    budgets.metrics.met(&budget.full_name, Met::Stopped);
    context.turned_away_by(Refuser::Budget, &budget.name);
    let cost = if need.is_unknown && need.most == 0 {
        "nobody knows what".to_owned()
    } else {
        dollars(need.most).to_string()
    };
    let next = rfc3339(level.window.ends);
    if *is_without {
        let text = format!(
            "the budget {} of UsagePolicy {}{} stops what does not fit into what this pod was lent while no operator answers: this \
             request may cost {cost} USD, and the next window begins at {next}",
            budget.name,
            budget.policy,
            together(held),
        );
        return Refusal::new(Code::BizBudgetSpent, text).retry_after(Some(WITHOUT));
    }
    let taken = level.spent.saturating_add(level.reserved);
    let spent = match budget.per {
        Spenders::Pod => "spent or reserved",
        _ => "spent together or reserved here",
    };
    let text = format!(
        "the budget {} of UsagePolicy {}{} has no room: {} of {} USD are {spent}, this request may cost {cost}, and the next window \
         begins at {next}",
        budget.name,
        budget.policy,
        together(held),
        dollars(taken),
        dollars(budget.amount),
    );
    let left = u64::try_from(level.window.ends.saturating_sub(unix_seconds())).unwrap_or(0);
    Refusal::new(Code::BizBudgetSpent, text).retry_after(Some(Duration::from_secs(left.max(1))))
}

/// Whose budget it is, where that is more than this pod's.
fn together(held: &Held) -> String {
    let of = &held.of;
    match &held.level.budget.per {
        Spenders::Pod => String::new(),
        Spenders::Namespace => " for all pods of the namespace".to_owned(),
        Spenders::Workload => format!(" for {of}"),
        Spenders::Route => format!(" for the route {of}"),
        Spenders::Team { label, .. } if of.is_empty() => format!(" for pods without the label {label}"),
        Spenders::Team { label, .. } => format!(" for pods with {label}={of}"),
        // The uid is for the machine.
        Spenders::JobRun { .. } => format!(" for the run {}", of.split_once('/').map_or(&**of, |(job, _)| job)),
    }
}
