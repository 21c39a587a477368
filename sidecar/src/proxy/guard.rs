//! Guards in a request's life: what it says is looked into before anything is spent on it, and what may not leave is masked, or
//! the request is refused.
//!
//! Guards are `core::guard`'s. Here they are given the body, and what they find is told: by the guard's name in the record, the
//! metrics and the log, and never what it was. From here on the masked body is the request: caches know it by that, and so do
//! providers. A configuration without guards costs one look at a flag.
//!
//! What guards that are services decide is asked in `webhook`, behind these.
//!
//! Answers are looked into when it is settled whose is the one that counts, and before any of it is kept: a refused one leads to no
//! other provider, and was paid. A whole one is masked at once, a stream on its way ([`Sieve`], in `relay`; services: `windows`).

use std::sync::Arc;

use bowsprit_core::call::Operation;
use bowsprit_core::config::{Config, Route};
use bowsprit_core::fault::Code;
use bowsprit_core::guard::{Decided, Guard, Sieve, Stop};
use bowsprit_core::record::Refuser;
use bowsprit_crds::guards::Side;
use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::response;

use super::context::RequestContext;
use super::guarded::Guarded;
use super::inbound::Inbound;
use super::refuse::Refusal;
use super::sieved;
use crate::limits::SMALL_BODY;
use crate::process::Process;
use crate::tenant::snapshot::Snapshot;

/// The guards of a request: those of each UsagePolicy, and then those of its route.
pub(super) fn guards<'a>(config: &'a Config, route: Option<&'a Route>) -> impl Iterator<Item = &'a Arc<Guard>> {
    let of_namespace = config.policies.iter().flat_map(|policy| &policy.guards);
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
    if inbound.call.operation == Operation::Generate {
        context.guarded = Guarded::of(guards(&snapshot.config, route.as_deref()));
    }
    if matches!(inbound.call.operation, Operation::Embed(_))
        && let Some(guard) =
            guards(&snapshot.config, route.as_deref()).find(|guard| guard.forbids_unread(Side::Request))
        && Guard::has_tokens(&inbound.body)
    {
        process.sinks.guards.found(&guard.name, Decided::Refused);
        return Err(refused(context, guard, guard.told_unread()));
    }
    let looks = |guard: &&Arc<Guard>| guard.webhook.is_none() && guard.is_on(Side::Request);
    let guards = guards(&snapshot.config, route.as_deref()).filter(looks);
    let guards: Vec<&Guard> = guards.map(|guard| &**guard).collect();
    if guards.is_empty() {
        return Ok(());
    }
    let looked = Guard::look(&guards, Side::Request, &inbound.body)?;
    told(process, context, &guards, &looked.found)?;
    if let Some(masked) = looked.body {
        inbound.body = held(process, masked)?;
    }
    Ok(())
}

/// A masked body, with the memory that it takes. What it was made of is held until it stands in its place.
///
/// # Errors
/// There is none.
pub(super) fn held(process: &Process, masked: Bytes) -> Result<Bytes, Refusal> {
    let mut room = process.memory.room();
    if masked.len() > SMALL_BODY && !room.take_now(masked.len()) {
        let text = "there is no memory for the masked body";
        return Err(Refusal::new(Code::SysOverloaded, text).retry_after_seconds(1));
    }
    Ok(room.hold(masked))
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
        match guard.decided {
            Decided::Refused => {
                refuser.get_or_insert(guard);
            }
            Decided::WouldRefuse => context.would_be_turned_away_by(Refuser::Guard, &guard.name),
            _ => {}
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
    match guards(&snapshot.config, None).find(forbids) {
        Some(guard) => {
            process.sinks.guards.found(&guard.name, Decided::Refused);
            Err(refused(context, guard, guard.told_unread()))
        }
        None => Ok(()),
    }
}

/// A whole answer as its caller gets it.
///
/// # Errors
/// The refusal by the first guard that refuses, or that cannot look into it.
pub(super) fn whole(context: &mut RequestContext, head: &response::Parts, body: Bytes) -> Result<Bytes, Refusal> {
    let Some(guarded) = context.guarded.as_ref().filter(|guarded| !guarded.is_looked_into) else {
        return Ok(body);
    };
    if head.headers.contains_key(CONTENT_ENCODING) {
        unread_answer(context)?;
        return Ok(body);
    }
    let all = Arc::clone(&guarded.guards);
    let guards: Vec<&Guard> = all.iter().map(|guard| &**guard).collect();
    let looked = Guard::look_into_answer(&guards, &body);
    let process = Arc::clone(context.process());
    told(&process, context, &guards, &looked.found)?;
    let Some(masked) = looked.body else { return Ok(body) };
    held(&process, masked)
}

/// Decides about an answer that passes unread.
///
/// # Errors
/// The refusal by the first guard that would have to look into it.
pub(super) fn unread_answer(context: &mut RequestContext) -> Result<(), Refusal> {
    let guards = context.guarded.as_ref().map(|guarded| Arc::clone(&guarded.guards));
    let mut guards = guards.iter().flat_map(|guards| guards.iter());
    match guards.find(|guard| guard.forbids_unread(Side::Answer)) {
        Some(guard) => Err(stopped(context, &Stop::Unread(Arc::clone(guard)))),
        None => Ok(()),
    }
}

/// A stream's way through the guards of its request.
pub(super) fn sieve(context: &RequestContext) -> Option<Box<Sieve>> {
    let guards = context.guarded.as_ref()?.that_look()?;
    Some(Box::new(Sieve::new(context.dialect(), guards)))
}

/// The refusal of an answer by a guard.
pub(super) fn stopped(context: &mut RequestContext, stop: &Stop) -> Refusal {
    Refusal::new(Code::BizGuardRefused, sieved::stopped(context, stop))
}

/// The refusal by a guard.
pub(super) fn refused(context: &mut RequestContext, guard: &Guard, told: String) -> Refusal {
    context.turned_away_by(Refuser::Guard, &guard.name);
    Refusal::new(Code::BizGuardRefused, told)
}
