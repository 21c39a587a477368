//! Whether a policy lets anything pass at all. Looked at for each request, before its body is read; what is under way already
//! ends as it would have.

use bowsprit_core::config::Policy;
use bowsprit_core::fault::Code;

use super::refuse::Refusal;
use crate::tenant::snapshot::Snapshot;

/// The policy that refuses everything, and what its callers are told: the first by name of those that do.
pub(super) fn check(snapshot: &Snapshot) -> Option<(&Policy, Refusal)> {
    let mut policies = snapshot.config.policies.iter();
    let (policy, paused) = policies.find_map(|policy| Some((policy, policy.paused.as_ref()?)))?;
    let name = &policy.name;
    let text = match &paused.reason {
        Some(reason) => format!("UsagePolicy {name} has paused this: {reason}"),
        None => format!("UsagePolicy {name} has paused this (spec.paused is true)"),
    };
    Some((policy, Refusal::new(Code::BizPaused, text)))
}
