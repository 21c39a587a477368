//! Named limits (`limits` of a ModelRoute or UsagePolicy): taken before anybody is asked, all or none, and held once however many
//! attempts follow.
//!
//! A limit that refuses is stricter than one that diverts, and that than one that lets wait: where several are reached, the
//! strictest says what follows.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bowsprit_core::config::{Limit, OnLimit, Per, Route};
use bowsprit_core::fault::Code;
use bowsprit_core::json::{self, Value};
use bowsprit_core::limits::limiter::{Limited, Need};
use bowsprit_core::limits::set::{self, Held, Who};
use bowsprit_core::queue::Class;
use bowsprit_core::record::Refuser;
use bowsprit_core::{call::Operation, model_name};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::context::RequestContext;
use super::estimate;
use super::inbound::Inbound;
use super::pinned::Pinned;
use super::refuse::Refusal;
use crate::caller::Pod;
use crate::process::Process;
use crate::tenant::limits::{Limits, Met, Said, Turn, Under};
use crate::tenant::snapshot::Snapshot;

/// When to come back where only the end of another request makes room.
const ROOM_PASSES: Duration = Duration::from_secs(1);

/// Whether a request may wait for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// As its limits say.
    AsTheySay,
    /// Not at all: it is for a request that holds places itself meanwhile, and would wait for those.
    Never,
}

/// Takes the request's limits, waiting for its turn where they say so and it may.
pub(super) async fn acquire(
    process: &Process,
    snapshot: &Snapshot,
    context: &mut RequestContext,
    (inbound, patience): (&Inbound, Patience),
) -> Result<(), Refusal> {
    let route = context.route.clone();
    let route = route.as_deref();
    let limits = Arc::clone(&context.tenant().limits);
    let mut under = under(snapshot, &limits, (route, context.caller.pod.as_deref()), inbound);
    if under.is_empty() {
        return Ok(());
    }
    let need = need(snapshot, &under, (route, context.pinned.as_deref()), inbound);
    limits.came(&under, need);
    let may_wait = under.iter().any(|under| under.limit.on_limit == OnLimit::Wait);
    let class = if may_wait {
        inbound.class(route)
    } else {
        Class::Interactive
    };
    let began = context.now();
    let mut turn = None;
    loop {
        let who = turn.as_ref().map_or(Who::Comes(class), Turn::who);
        let said = if Limits::are_stored(&under) {
            let asked = limits.ask(&under, need, process.clock, who).await;
            context.waited();
            asked
        } else {
            Ok(Said::default())
        };
        let taken = said.and_then(|said| limits.take(&under, need, process.clock, who, said));
        let held = match taken {
            Ok(guard) => {
                for under in &under {
                    limits.metrics.met(&under.limit.full_name, Met::Admitted);
                }
                context.hold(&inbound.call, |charges| charges.limits = Some(guard));
                return Ok(());
            }
            Err(held) => held,
        };
        let Some((held_by, limit)) = strictest(&held, &under) else {
            return Err(Refusal::internal());
        };
        let limit = Arc::clone(limit);
        match limit.on_limit {
            OnLimit::Fallback if route.is_some_and(|route| !route.fallback.is_empty()) => {
                limits.metrics.met(&limit.full_name, Met::Diverted);
                under.retain(|under| under.limit.full_name != limit.full_name);
                context.is_diverted = true;
            }
            OnLimit::Wait if patience == Patience::AsTheySay => {
                let patience = limit.max_wait.saturating_sub(context.now() - began);
                let look = set::look_again(&held);
                if patience.is_zero() || look.is_some_and(|look| look > patience) {
                    return Err(refuse(context, &limits, &limit, held_by.limited));
                }
                match &turn {
                    // Looked at again at once: from now on it is called.
                    None => {
                        let Some(joined) = limits.join(&held, class) else {
                            return Err(refuse(context, &limits, &limit, held_by.limited));
                        };
                        limits.metrics.met(&limit.full_name, Met::Waited);
                        turn = Some(joined);
                    }
                    Some(turn) => {
                        let before = context.now();
                        tokio::select! {
                            biased;
                            () = turn.wait(look.unwrap_or(patience).min(patience)) => {}
                            () = process.drain.was_cut() => return Err(Refusal::draining()),
                        }
                        let waited = context.waited() - before;
                        limits.metrics.stood(&limit.full_name, waited);
                    }
                }
            }
            OnLimit::Wait | OnLimit::Reject | OnLimit::Fallback => {
                return Err(refuse(context, &limits, &limit, held_by.limited));
            }
        }
    }
}

/// The limit that says what follows.
pub(super) fn strictest<'a>(held: &'a [Held], under: &'a [Under]) -> Option<(&'a Held, &'a Arc<Limit>)> {
    let strictness = |on_limit| match on_limit {
        OnLimit::Wait => 0,
        OnLimit::Fallback => 1,
        OnLimit::Reject => 2,
    };
    let limits = held
        .iter()
        .filter_map(|held| Some((held, &under.get(held.index)?.limit)));
    // Of equally strict ones, who waits least for holds.
    limits.max_by_key(|(_, limit)| (strictness(limit.on_limit), std::cmp::Reverse(limit.max_wait)))
}

/// The refusal by a limit. `limited`: what of it is reached; none: there is room, and others wait for it.
pub(super) fn refuse(
    context: &mut RequestContext,
    limits: &Limits,
    limit: &Limit,
    limited: Option<Limited>,
) -> Refusal {
    limits.metrics.met(&limit.full_name, Met::Refused);
    context.turned_away_by(Refuser::Limit, &limit.name);
    let name = &limit.name;
    let text = match limited {
        Some(limited) => format!("the limit {name} ({}) is reached", limited.which.field()),
        None => format!("the limit {name} is reached, and others wait for it"),
    };
    let wait = limited.and_then(|limited| limited.retry_in);
    Refusal::new(Code::RateLocalLimit, text)
        .retry_after(Some(wait.unwrap_or(ROOM_PASSES)))
        .by_limit(HeaderValue::from_str(name).ok())
}

/// Its limits: of all policies, and of its route.
fn under(
    snapshot: &Snapshot,
    limits: &Limits,
    (route, pod): (Option<&Route>, Option<&Pod>),
    inbound: &Inbound,
) -> Vec<Under> {
    let policies = snapshot.config.policies.iter().flat_map(|policy| &policy.limits);
    let all = policies.chain(route.iter().flat_map(|route| &route.limits));
    let model = &inbound.call.model;
    let by = |limit: &Arc<Limit>, said: Option<&[u8]>| limits.under(limit, said);
    // Whose pod is of none that it knows of is alone.
    let own = |known: fn(&Pod) -> &Option<String>| {
        let name = pod.and_then(|pod| known(pod).as_ref().or(pod.name.as_ref()));
        name.map(String::as_bytes)
    };
    let under = |limit: &Arc<Limit>| match &limit.per {
        // What is per provider is taken with the place of each attempt.
        Per::Sidecar | Per::Provider => Under::whole(limit),
        Per::Header(name) => by(limit, inbound.headers.get(name).map(HeaderValue::as_bytes)),
        Per::Claim(name) => by(limit, claim(&inbound.headers, name).as_deref().map(str::as_bytes)),
        Per::Model => by(limit, Some(model_name::bare(model).as_bytes())),
        Per::Route => by(limit, route.map(|route| route.name.as_bytes())),
        Per::Workload => by(limit, own(|pod| &pod.workload)),
        Per::ServiceAccount => by(limit, own(|pod| &pod.service_account)),
    };
    let now = |limit: &&Arc<Limit>| limit.per != Per::Provider && limit.is_for(model);
    all.filter(now).map(under).collect()
}

/// A claim of the caller's token, which nobody has verified: a key to count by, and nothing else.
fn claim(headers: &HeaderMap, name: &str) -> Option<String> {
    let token = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = token.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let payload = token.trim().split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let Ok(Value::Object(claims)) = json::from_slice(&payload) else {
        return None;
    };
    match claims.get(name)? {
        Value::String(value) => Some(value.to_string()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// What the request may need: the tokens of its facts, at the price of the dearest target.
fn need(
    snapshot: &Snapshot,
    under: &[Under],
    (route, pinned): (Option<&Route>, Option<&Pinned>),
    inbound: &Inbound,
) -> Need {
    let call = &inbound.call;
    // Every provider counts tokens for nothing, and of what passes unread nobody knows.
    if matches!(call.operation, Operation::Count | Operation::PassThrough) {
        return Need::default();
    }
    let output = call.tokens.saturating_sub(call.input_tokens);
    let is_priced = under.iter().any(|under| under.limit.settings.cost_per_minute.is_some());
    Need {
        input: call.input_tokens,
        output,
        // Whose price nobody knows counts as nothing here.
        cost: if is_priced {
            estimate::most(snapshot, route, pinned, call).most
        } else {
            0
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        headers
    }

    #[test]
    fn a_claim_is_read_of_a_token_and_of_nothing_else() {
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(r#"{"sub": "team-a", "tier": 3}"#));
        let headers = with(&format!("Bearer {token}"));
        assert_eq!(claim(&headers, "sub").as_deref(), Some("team-a"));
        assert_eq!(claim(&headers, "tier").as_deref(), Some("3"));
        assert_eq!(claim(&headers, "aud"), None);
        for other in ["Bearer sk-no-token", "Basic dTpw", "Bearer a.!!.c", "Bearer a.W10.c"] {
            assert_eq!(claim(&with(other), "sub"), None, "{other}");
        }
        assert_eq!(claim(&HeaderMap::new(), "sub"), None);
    }
}
