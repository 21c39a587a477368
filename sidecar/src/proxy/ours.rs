//! Requests of the sidecar's own: for vectors, where a cache wants them. What holds for a request of the app holds for these: what policies
//! have taken out of service, budgets, rules and limits.

use bowsprit_core::fault::Code;
use bowsprit_core::record::Refuser;

use super::context::RequestContext;
use super::inbound::Inbound;
use super::limits::Patience;
use super::refuse::Refusal;
use super::{access, budgets, limits, pause};
use crate::process::Process;
use crate::tenant::snapshot::Snapshot;

/// Whether it may go out. It holds then what it holds under limits and budgets. Vectors of another route's model are of no use, so a budget
/// that would lead it there refuses it.
///
/// `patience`: whether it may wait for that.
///
/// # Errors
/// It may not.
pub(super) async fn admitted(
    process: &Process,
    snapshot: &Snapshot,
    context: &mut RequestContext,
    (inbound, patience): (&Inbound, Patience),
) -> Result<(), Refusal> {
    if let Some((policy, refusal)) = pause::check(snapshot) {
        context.turned_away_by(Refuser::Pause, &policy.name);
        return Err(refusal);
    }
    if snapshot.pauses_routes {
        pause::route(snapshot, context)?;
    }
    if snapshot.has_budgets {
        let is_led = std::mem::take(&mut context.is_led);
        Box::pin(budgets::acquire(snapshot, context, inbound)).await?;
        if context.is_led {
            let text = "a budget leads a cache's own requests to another route, whose vectors are of no use";
            return Err(Refusal::new(Code::SysOverloaded, text));
        }
        context.is_led = is_led;
    }
    context.access = access::check(process, snapshot, context, inbound)?;
    if snapshot.has_limits {
        limits::acquire(process, snapshot, context, (inbound, patience)).await?;
    }
    Ok(())
}
