//! Guards that are services: each is asked about the texts of a request or a whole answer, and what it decides is done. What streams
//! they are asked about in `windows`.
//!
//! They are asked behind the guards that look for themselves, one after the other, each about what the one before has left. A service
//! that does not answer within its deadline, or not in the form that it is asked for, has decided nothing: its guard says what follows
//! then. What is asked and what is answered is told nowhere.

use std::sync::Arc;

use bowsprit_core::guard::Guard;
use bowsprit_core::guard::webhook::{About, Follows, question, verdict};
use bowsprit_core::record::Refuser;
use bowsprit_crds::guards::Side;
use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::response;

use super::ask::answered;
use super::context::RequestContext;
use super::guard;
use super::inbound::Inbound;
use super::refuse::Refusal;
use crate::process::Process;
use crate::tenant::snapshot::Snapshot;

/// Asks the services that guard a request, which is what they leave of it from here on.
///
/// # Errors
/// The refusal by the first that refuses, or that has not decided and lets nothing pass then.
pub(super) async fn look(
    snapshot: &Snapshot,
    context: &mut RequestContext,
    inbound: &mut Inbound,
) -> Result<(), Refusal> {
    let route = context.route.clone();
    for guard in guard::guards(&snapshot.config, route.as_deref()) {
        if guard.webhook.is_some() && guard.is_on(Side::Request) {
            let asked = (Side::Request, &inbound.body, &*inbound.call.model);
            if let Some(masked) = ask(snapshot, context, guard, asked).await? {
                inbound.body = masked;
            }
        }
    }
    Ok(())
}

/// Looks into a whole answer with all guards, and leaves it as its caller gets it.
///
/// # Errors
/// The refusal by the first that refuses, or that cannot look into it, or has not decided and lets nothing pass then.
pub(super) async fn look_into_answer(
    snapshot: &Snapshot,
    context: &mut RequestContext,
    inbound: &Inbound,
    head: &response::Parts,
    body: &mut Bytes,
) -> Result<(), Refusal> {
    *body = guard::whole(context, head, std::mem::take(body))?;
    let is_read = !head.headers.contains_key(CONTENT_ENCODING);
    let Some(guarded) = context.guarded.as_mut().filter(|_| is_read) else {
        return Ok(());
    };
    guarded.is_looked_into = true;
    let all = Arc::clone(&guarded.guards);
    for guard in all.iter().filter(|guard| guard.webhook.is_some()) {
        let asked = (Side::Answer, &*body, &*inbound.call.model);
        if let Some(masked) = ask(snapshot, context, guard, asked).await? {
            *body = masked;
        }
    }
    Ok(())
}

/// Asks one. Returns the body in place of this; none: it stays.
///
/// # Errors
/// The refusal.
async fn ask(
    snapshot: &Snapshot,
    context: &mut RequestContext,
    guard: &Arc<Guard>,
    (side, body, model): (Side, &Bytes, &str),
) -> Result<Option<Bytes>, Refusal> {
    let process = Arc::clone(context.process());
    let (route, pod) = (context.route.clone(), process.pod.load());
    let about = About {
        namespace: pod.namespace.as_deref().unwrap_or_default(),
        route: route.as_ref().map_or("", |route| &route.name),
        model,
    };
    let decided = match question(guard, side, body, about) {
        Ok(None) => return Ok(None),
        Ok(Some(question)) => {
            let keys = context.tenant().service_keys.load_full();
            let service = snapshot.service(guard).map(|service| &**service);
            context.tick();
            let answered = tokio::select! {
                biased;
                answered = answered(&process, (service, &keys), question, |answer| verdict(answer, side, body)) => answered,
                () = process.drain.was_cut() => return Err(Refusal::draining()),
            };
            context.waited();
            answered
        }
        Err(why) => Err(why),
    };
    if let Err(why) = decided {
        tracing::debug!(
            request_id = context.id().as_str(),
            guard = &*guard.name,
            ?why,
            "a guard has not decided"
        );
        if let (Side::Answer, Some(guarded)) = (side, &mut context.guarded) {
            guarded.is_unsure |= guard.decided.acts();
        }
    }
    follow(&process, context, guard, guard.follows(decided))
}

/// Does what follows, and tells it.
fn follow(
    process: &Process,
    context: &mut RequestContext,
    guard: &Arc<Guard>,
    follows: Follows,
) -> Result<Option<Bytes>, Refusal> {
    let (Follows::Counted(decision)
    | Follows::Spared(decision)
    | Follows::Masked(_, decision)
    | Follows::Refused(_, decision)) = follows
    else {
        return Ok(None);
    };
    process.sinks.guards.count(&guard.name, decision);
    context.guarded_by(&guard.name);
    match follows {
        Follows::Nothing | Follows::Counted(_) => Ok(None),
        Follows::Spared(_) => {
            context.would_be_turned_away_by(Refuser::Guard, &guard.name);
            Ok(None)
        }
        Follows::Masked(masked, _) => guard::held(process, masked).map(Some),
        Follows::Refused(told, _) => Err(guard::refused(context, guard, told)),
    }
}
