//! Guards in a request's life: what it says is looked into before anything is spent on it, and what may not leave is masked, or
//! the request is refused.
//!
//! Guards are `core::guard`'s. Here they are given the body, and what they find is told: by the guard's name in the record, the
//! metrics and the log, and never what it was. From here on the masked body is the request: caches know it by that, and so do
//! providers. A configuration without guards costs one look at a flag.

use std::sync::Arc;

use bowsprit_core::config::Route;
use bowsprit_core::fault::Code;
use bowsprit_core::guard::{Decided, Guard};
use bowsprit_core::record::Refuser;
use bowsprit_crds::guards::Side;

use super::context::RequestContext;
use super::inbound::Inbound;
use super::refuse::Refusal;
use crate::limits::SMALL_BODY;
use crate::process::Process;
use crate::tenant::snapshot::Snapshot;

/// The guards of a request: those of each UsagePolicy, and then those of its route.
fn guards<'a>(snapshot: &'a Snapshot, route: Option<&'a Route>) -> impl Iterator<Item = &'a Arc<Guard>> {
    let of_namespace = snapshot.config.policies.iter().flat_map(|policy| &policy.guards);
    of_namespace.chain(route.into_iter().flat_map(|route| &route.guards))
}

/// Looks into a request, and masks what is to be masked.
///
/// # Errors
/// The refusal by the first guard that refuses, or of a body that cannot be looked into.
pub(super) fn look(
    process: &Process,
    snapshot: &Snapshot,
    context: &mut RequestContext,
    inbound: &mut Inbound,
) -> Result<(), Refusal> {
    let route = context.route.clone();
    let guards = guards(snapshot, route.as_deref()).filter(|guard| guard.is_on(Side::Request));
    let guards: Vec<&Guard> = guards.map(|guard| &**guard).collect();
    if guards.is_empty() {
        return Ok(());
    }
    let looked = Guard::look(&guards, Side::Request, &inbound.body)?;
    told(process, context, &guards, &looked.found)?;
    if let Some(masked) = looked.body {
        let mut room = process.memory.room();
        if masked.len() > SMALL_BODY && !room.take(masked.len()) {
            let text = "there is no memory for the masked body";
            return Err(Refusal::new(Code::SysOverloaded, text).retry_after_seconds(1));
        }
        inbound.body = room.hold(masked);
    }
    Ok(())
}

/// Tells what the guards have found.
///
/// # Errors
/// The refusal by the first that refuses.
fn told(process: &Process, context: &mut RequestContext, guards: &[&Guard], found: &[u32]) -> Result<(), Refusal> {
    let mut refuser = None;
    for (guard, _) in guards.iter().zip(found).filter(|(_, found)| **found > 0) {
        process.sinks.guards.found(&guard.name, guard.decided);
        context.guarded_by(&guard.name);
        if guard.decided == Decided::Refused {
            refuser.get_or_insert(guard);
        }
    }
    match refuser {
        Some(guard) => Err(refused(context, guard, guard.told())),
        None => Ok(()),
    }
}

/// Decides about what passes unread. `is_empty`: the request has no body.
///
/// # Errors
/// The refusal by the first guard that would have to look into it.
pub(super) fn unread(
    process: &Process,
    snapshot: &Snapshot,
    context: &mut RequestContext,
    is_empty: bool,
) -> Result<(), Refusal> {
    let forbids =
        |guard: &&Arc<Guard>| (!is_empty && guard.forbids_unread(Side::Request)) || guard.forbids_unread(Side::Answer);
    match guards(snapshot, None).find(forbids) {
        Some(guard) => {
            process.sinks.guards.found(&guard.name, Decided::Refused);
            Err(refused(context, guard, guard.told_unread()))
        }
        None => Ok(()),
    }
}

fn refused(context: &mut RequestContext, guard: &Guard, told: String) -> Refusal {
    context.turned_away_by(Refuser::Guard, &guard.name);
    Refusal::new(Code::BizGuardRefused, told)
}
