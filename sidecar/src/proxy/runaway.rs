//! Loops (`runaway` of a UsagePolicy): the same request again and again is told, or refused until its time has passed. What is answered from
//! a cache counts too, since the loop goes on; what an SDK says that it tries again does not.

use std::sync::Arc;

use bowsprit_core::call::Operation;
use bowsprit_core::fault::Code;
use bowsprit_core::record::Refuser;
use bowsprit_core::runaway::Terms;

use super::context::RequestContext;
use super::inbound::Inbound;
use super::refuse::Refusal;
use crate::tenant::limits::Met;
use crate::tenant::snapshot::Snapshot;

/// The name that a refusal has among the limits.
const NAME: &str = "runaway";

/// Counts a request.
///
/// # Errors
/// It came more often than a policy allows that stops it.
pub(super) fn check(snapshot: &Snapshot, context: &mut RequestContext, inbound: &Inbound) -> Result<(), Refusal> {
    if inbound.call.operation != Operation::Generate || context.caller_retries() > 0 {
        return Ok(());
    }
    let terms = snapshot
        .config
        .policies
        .iter()
        .filter_map(|policy| policy.runaway.clone());
    let terms: Vec<Arc<Terms>> = terms.collect();
    let tenant = Arc::clone(context.tenant());
    let found = tenant
        .runaways
        .seen(&inbound.call.model, &inbound.body, &terms, context.now());
    let mut refusal = None;
    for (terms, again) in found {
        let what = again.what.told();
        let met = if terms.stops { Met::Refused } else { Met::Admitted };
        tenant.limits.metrics.met(&terms.full_name, met);
        if again.is_first {
            tracing::warn!(
                policy = &*terms.policy,
                request_id = context.id().as_str(),
                times = again.times,
                within_s = terms.within.as_secs(),
                "{what} came again and again: it looks like a loop"
            );
        }
        if terms.stops && refusal.is_none() {
            context.turned_away_by(Refuser::Limit, NAME);
            let text = format!(
                "{what} came {} times within {} s: it looks like a loop, and UsagePolicy {} stops it (spec.runaway)",
                again.times,
                terms.within.as_secs(),
                terms.policy
            );
            refusal = Some(Refusal::new(Code::BizRunaway, text).retry_after(Some(again.left)));
        }
    }
    refusal.map_or(Ok(()), Err)
}
