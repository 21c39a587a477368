//! What the caller hears: a provider's answer, the last provider's own error, or why there is no answer.

use std::collections::VecDeque;
use std::time::Duration;

use bowsprit_core::call::Operation;
use bowsprit_core::classify::Ended;
use bowsprit_core::clock::Moment;
use bowsprit_core::dialect::{Pushed, Stream};
use bowsprit_core::fault::Code;
use bowsprit_core::flow::{Skip, SkipReason};
use bowsprit_core::guard::{Sieve, Stop};
use bowsprit_core::plan::{Plan, Skipped, Why};
use bytes::BytesMut;
use http::Response;
use http::header::RETRY_AFTER;

use super::attempt::Success;
use super::body::Body;
use super::candidate::Candidate;
use super::context::RequestContext;
use super::exchange::Exchange;
use super::failure::{Failure, Reply};
use super::guard;
use super::headers;
use super::inbound::Inbound;
use super::keep::Keeping;
use super::pause;
use super::refuse::{self, Refusal, X_SHOULD_RETRY, clip, retry_after, should_retry};
use super::relay::{Guards, Relay, Started};
use super::sieved;
use super::stale::{self, Stale};
use super::windows::Services;
use crate::tenant::snapshot::Snapshot;

/// What serving a request came to.
#[allow(
    clippy::large_enum_variant,
    reason = "there is one per request, and it is taken apart at once"
)]
pub(super) enum Answer {
    /// A provider's answer, whole or begun.
    Success {
        /// The candidate that gave it.
        candidate: usize,
        /// The answer.
        success: Success,
    },
    /// The failure that counts.
    Failed {
        /// The candidate that failed.
        candidate: usize,
        /// How.
        failure: Box<Failure>,
    },
    /// A refusal of ours.
    Refused(Refusal),
    /// Nobody could be asked.
    Nobody {
        /// What it is refused with where a limit that is counted per provider left nobody.
        limited: Option<Box<Refusal>>,
    },
}

/// What was asked, of whom.
pub(super) struct Asked<'a> {
    /// The request.
    pub inbound: &'a Inbound,
    /// The configuration it was planned with.
    pub snapshot: &'a Snapshot,
    /// Its plan, less the candidates.
    pub plan: &'a Plan,
    /// The plan's candidates.
    pub candidates: &'a [Candidate],
}

/// The kept answer, where there is one to give in place of this.
pub(super) fn respond_stale(
    context: Box<RequestContext>,
    answer: &Answer,
    stale: Stale,
    asked: &Asked<'_>,
) -> Response<Body> {
    let code = match answer {
        Answer::Failed { failure, .. } => failure.code,
        _ => nobody(&context, asked).code,
    };
    stale::respond(context, stale, code)
}

/// The response to the app.
pub(super) fn respond(context: Box<RequestContext>, answer: Answer, asked: &Asked<'_>) -> Response<Body> {
    match answer {
        Answer::Success { candidate, success } => answered(context, success, asked, candidate),
        Answer::Failed { candidate, failure } => failed(context, *failure, asked, candidate),
        Answer::Refused(refusal) => refuse::answer(context, &refusal),
        Answer::Nobody { limited } => {
            let refusal = limited.map_or_else(|| nobody(&context, asked), |refusal| *refusal);
            refuse::answer(context, &refusal)
        }
    }
}

fn answered(mut context: Box<RequestContext>, success: Success, asked: &Asked<'_>, candidate: usize) -> Response<Body> {
    let Some(candidate) = asked.candidates.get(candidate) else {
        return refuse::answer(context, &Refusal::internal());
    };
    let prepared = candidate.prepared();
    let dropped = prepared.map_or(&[][..], |prepared| &prepared.dropped);
    context.left_out = (
        u32::try_from(dropped.len()).unwrap_or(u32::MAX),
        prepared.map_or(0, |prepared| prepared.tools_left_out),
    );
    match success {
        Success::Whole {
            mut head,
            body,
            expense,
        } => {
            let body = match guard::whole(&mut context, &head, body) {
                Ok(body) => body,
                Err(refusal) => {
                    context.cost_was(expense);
                    return refuse::answer(context, &refusal);
                }
            };
            headers::describe(&mut head.headers, &context, &candidate.upstream, dropped);
            if let Some(keeping) = Keeping::begin(&mut context, asked.inbound, &head) {
                keeping.whole(&context, &body, context.now(), &expense);
            }
            if let Some(part) = &context.cache {
                part.mark(&mut head.headers);
            }
            context.cost_was(expense);
            context.head_sent(head.status);
            context.completed(body.len() as u64);
            Response::from_parts(head, Body::Whole(body))
        }
        Success::Flowing {
            mut head,
            mut started,
            mut exchange,
        } => {
            let guards = through_guards(&mut context, asked.snapshot, &mut started, &mut exchange);
            let guards = match guards {
                Ok(guards) => guards,
                Err(refusal) => {
                    let model = started.stream.as_ref().and_then(Stream::model);
                    let end = exchange.end_answer(context.tick(), Ended::CallerGone, model);
                    context.cost_was(end.expense);
                    return refuse::answer(context, &refusal);
                }
            };
            headers::describe(&mut head.headers, &context, &candidate.upstream, dropped);
            let keeping = match &started.stream {
                Some(_) => Keeping::begin(&mut context, asked.inbound, &head),
                None => None,
            };
            if let Some(part) = &context.cache {
                part.mark(&mut head.headers);
            }
            context.head_sent(head.status);
            let body = Body::Relay(Relay::new(*started, context, exchange, keeping, guards));
            Response::from_parts(head, body.with_failpoint(&asked.inbound.headers))
        }
    }
}

/// What guards say of the beginning of a stream, of which the caller has nothing yet. Those that are services are asked on its way.
///
/// # Errors
/// The refusal by the first guard that refuses, or that cannot look into it.
fn through_guards(
    context: &mut RequestContext,
    snapshot: &Snapshot,
    started: &mut Started,
    exchange: &mut Exchange,
) -> Result<Guards, Refusal> {
    let Some(stream) = started.stream.as_ref().filter(|_| context.guarded.is_some()) else {
        if context.guarded.is_some() {
            guard::unread_answer(context)?;
        }
        return Ok((None, None));
    };
    exchange.saw(stream.usage(), stream.chunks());
    let sieve = through_sieve(context, started)?;
    let mut services = Services::of(context, snapshot);
    if let Some(services) = &mut services {
        let now = context.now();
        let mut pass = || {
            let mut passed = VecDeque::new();
            for piece in started.held.drain(..) {
                passed.push_back(services.push(piece, now)?);
            }
            if started.ended {
                passed.push_back(services.finish(now)?);
            }
            passed.retain(|piece| !piece.is_empty());
            Ok::<_, Stop>(passed)
        };
        started.held = pass().map_err(|stop| {
            if let Some(sieve) = &sieve {
                sieved::told(context, sieve);
            }
            guard::stopped(context, &stop)
        })?;
    }
    Ok((sieve, services))
}

/// What those say that look for themselves.
///
/// # Errors
/// As of [`through_guards`].
fn through_sieve(context: &mut RequestContext, started: &mut Started) -> Result<Option<Box<Sieve>>, Refusal> {
    let Some(mut sieve) = guard::sieve(context) else {
        return Ok(None);
    };
    let mut out = BytesMut::new();
    let mut pass = || {
        let mut passed = VecDeque::new();
        for piece in started.held.drain(..) {
            let pushed = sieve.push(&piece, &mut out)?;
            let piece = if pushed == Pushed::Same {
                piece
            } else {
                out.split().freeze()
            };
            passed.extend((!piece.is_empty()).then_some(piece));
        }
        if started.ended {
            sieve.finish(&mut out)?;
            passed.extend((!out.is_empty()).then(|| out.split().freeze()));
        }
        Ok(passed)
    };
    match pass() {
        Ok(passed) => {
            started.held = passed;
            Ok(Some(sieve))
        }
        Err(stop) => {
            sieved::told(context, &sieve);
            Err(guard::stopped(context, &stop))
        }
    }
}

/// The provider's own error where it speaks the caller's dialect, else ours.
fn failed(context: Box<RequestContext>, failure: Failure, asked: &Asked<'_>, candidate: usize) -> Response<Body> {
    let Some(candidate) = asked.candidates.get(candidate) else {
        return refuse::answer(context, &Refusal::internal());
    };
    let upstream = &candidate.upstream;
    let Failure {
        code,
        message,
        retry_after: wait,
        reply,
        ..
    } = failure;
    match reply {
        Reply::Refused(refusal) => refuse::answer(context, &refusal),
        Reply::Original(status, mut head, body) => {
            headers::describe(&mut head, &context, upstream, &[]);
            // A provider that says it itself knows best.
            head.entry(X_SHOULD_RETRY)
                .or_insert_with(|| should_retry(code.retryable()));
            if let Some(wait) = wait
                && !head.contains_key(RETRY_AFTER)
            {
                head.insert(RETRY_AFTER, retry_after(wait));
            }
            context.failed(code, status);
            let mut response = Response::new(Body::Whole(body));
            *response.status_mut() = status;
            *response.headers_mut() = head;
            response
        }
        Reply::Named { exact, status } => {
            let text = format!("provider {}: {message}", candidate.name());
            let mut refusal = Refusal::new(code, text).retry_after(wait);
            (refusal.exact, refusal.status) = (exact, status);
            let mut response = refuse::bare(context.dialect(), context.id(), &refusal);
            headers::describe(response.headers_mut(), &context, upstream, &[]);
            context.failed(code, response.status());
            response
        }
    }
}

/// Why nobody was asked: each candidate's own reason.
fn nobody(context: &RequestContext, asked: &Asked<'_>) -> Refusal {
    let model = clip(&asked.inbound.call.model);
    let serving = |skipped: &&Skipped| !matches!(skipped.why, Why::NoModel | Why::NotHere);
    let skipped: Vec<&Skipped> = asked.plan.skipped.iter().filter(serving).collect();
    if asked.candidates.is_empty() && skipped.is_empty() {
        return no_model(asked.snapshot, model);
    }
    let skips = context.flow.skips();
    let name = |skip: &Skip| asked.candidates.get(skip.candidate).map_or("", Candidate::name);
    let limits = skips.iter().filter_map(|skip| match skip.reason {
        SkipReason::Limited(limited) => Some(limited),
        _ => None,
    });
    if let Some(limited) = limits.min_by_key(|limited| limited.retry_in) {
        let names: Vec<&str> = skips.iter().map(name).collect();
        return Refusal::local_limit(&names.join(", "), limited);
    }
    if skips.iter().all(|skip| skip.reason == SkipReason::NoCredential)
        && skipped.iter().all(|skipped| skipped.why == Why::NoKey)
    {
        let names = skips
            .iter()
            .map(name)
            .chain(skipped.iter().map(|skipped| skipped.provider.as_str()));
        let names: Vec<&str> = names.collect();
        let text = format!("no usable key for {}; see /health on the admin port", names.join(", "));
        return Refusal::new(
            closed(asked.snapshot, &names, context.now()).unwrap_or(Code::AuthKeyMissing),
            text,
        );
    }
    let waits = skips
        .iter()
        .map(|skip| skip.retry_in)
        .chain(skipped.iter().map(|s| s.retry_in));
    let wait = waits.flatten().min().unwrap_or(Duration::from_secs(1));
    let planned = skipped
        .iter()
        .map(|skipped| (skipped.provider.as_str(), skipped.reason()));
    let tried = skips.iter().map(|skip| (name(skip), skip.reason.as_str().into()));
    let reasons: Vec<String> = planned
        .chain(tried)
        .map(|(name, why)| format!("{name} ({why})"))
        .collect();
    let reasons = reasons.join(", ");
    let text = if asked.inbound.call.operation == Operation::PassThrough {
        format!("the provider's other endpoints have failed too often: {reasons}")
    } else {
        let paused = pause::told_of(asked.snapshot, asked.plan);
        format!("no provider can answer for {model:?} now: {reasons}{paused}")
    };
    Refusal::new(Code::ExtAllUnavailable, text).retry_after(Some(wait))
}

/// Why none of these providers has a key, where all their keys rest for one reason that no retry mends.
fn closed(snapshot: &Snapshot, providers: &[&str], now: Moment) -> Option<Code> {
    let upstreams = snapshot.upstreams().iter();
    let mut reasons = upstreams
        .filter(|upstream| providers.contains(&upstream.provider.name.as_str()))
        .map(|upstream| upstream.state.closed(now));
    let first = reasons.next()??;
    reasons.all(|reason| reason == Some(first)).then_some(first)
}

fn no_model(snapshot: &Snapshot, asked: &str) -> Refusal {
    let served: Vec<&str> = snapshot.served.iter().take(50).map(String::as_str).collect();
    let text = if served.is_empty() {
        format!("no provider serves {asked:?}: no model is configured for this pod")
    } else {
        format!("no provider serves {asked:?}; served are {}", served.join(", "))
    };
    let mut refusal = Refusal::new(Code::ResModelNotFound, text);
    refusal.param = Some("model".into());
    refusal
}
