//! Serving an admitted request: `core::flow` says what is next, and this loop does it (waits, sends attempts, awaits what is
//! out) until there is something to answer with. It decides nothing itself.
//!
//! What happens when a provider fails is told by five files, in this order: `proxy/attempt.rs` (what happened),
//! `core/src/classify.rs` (what it means), `core/src/flow/retry.rs` (what follows), `proxy/respond.rs` (what the caller
//! hears), `core/src/record.rs` (what is told of it).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::call::Operation;
use bowsprit_core::classify::Ended;
use bowsprit_core::fault::Code;
use bowsprit_core::flow::moves::Move;
use bowsprit_core::flow::retry;
use bowsprit_core::flow::{End, Step, Terms, WaitReason};
use bowsprit_core::plan::{self, Plan, Skipped, Why};
use bowsprit_core::record::path::Happened;
use bowsprit_core::record::{AttemptKind, Refuser};
use bowsprit_crds::model_route::MidStreamFailover;
use futures::future::OptionFuture;
use http::Response;

use super::access::{Access, RequestHeaders};
use super::attempt::{Attempt, Finished, Success};
use super::batched::Arriving;
use super::body::Body;
use super::candidate::Candidate;
use super::context::RequestContext;
use super::exchange::{Begin, Exchange, Of};
use super::failure::Failure;
use super::inbound::Inbound;
use super::pause;
use super::refuse::{self, Refusal};
use super::request_id::RequestId;
use super::respond::{self, Answer, Asked};
use super::stale;
use super::webhook;
use crate::credentials::Forwarded;
use crate::observe::hedges::HedgeOutcome;
use crate::process::Process;
use crate::tenant::snapshot::{Snapshot, Upstream};

mod by_provider;
mod out;
mod pool;
mod report;
mod stand;
mod view;

use by_provider::ByProvider;
use out::{Ends, Running, first_to_end};
use pool::ProviderPool;
use view::ProviderView;

/// Answers an admitted request.
pub(super) async fn serve(
    process: &Arc<Process>,
    snapshot: &Arc<Snapshot>,
    mut context: Box<RequestContext>,
    inbound: &Inbound,
) -> Response<Body> {
    let mut plan = match make_plan(process, snapshot, &mut context, inbound) {
        Ok(plan) => plan,
        Err(refusal) => return refuse::answer(context, &refusal),
    };
    planned(process, snapshot, context, (inbound, None), &mut plan).await
}

/// Answers a request whose plan is made. With the request comes its body, where that is still arriving and passes unread.
pub(super) async fn planned(
    process: &Arc<Process>,
    snapshot: &Snapshot,
    mut context: Box<RequestContext>,
    (inbound, arriving): (&Inbound, Option<Box<Arriving>>),
    plan: &mut Plan,
) -> Response<Body> {
    let planned = std::mem::take(&mut plan.candidates);
    let upstreams = |planned: &plan::Candidate| {
        let upstream = snapshot.upstream(&planned.provider)?;
        Some(Candidate::new(upstream, &planned.model))
    };
    let mut candidates = Vec::with_capacity(planned.len());
    candidates.extend(planned.iter().filter_map(upstreams));
    context.route.clone_from(&plan.route);
    context.left_out(&plan.skipped);
    let route = plan.route.as_deref();
    let hedge = route.and_then(|route| route.hedge);
    let terms = Terms {
        sdk_retries: context.caller_retries(),
        hedge: hedge.filter(|_| inbound.call.operation == Operation::Generate),
    };
    let tenant = Arc::clone(context.tenant());
    context.flow.planned(planned, terms);
    // Boxed: few requests are under such limits.
    let limited = snapshot.limits_by_provider;
    let by_provider = limited.then(|| ByProvider::of((snapshot, &tenant.limits), route, inbound, process.clock));
    let mut serving = Serving {
        process,
        inbound,
        arriving,
        plan,
        pool: ProviderPool::new(&tenant.allowances, &candidates, inbound, route, by_provider.flatten()),
        out: [None, None],
        failures: Vec::new(),
        skips_reported: 0,
    };
    // Dropped whole if the drain's deadline passes: the attempts' connections close, their permits are given back.
    let mut answer = tokio::select! {
        biased;
        answer = serving.run(&mut context) => answer,
        () = process.drain.was_cut() => Answer::Refused(Refusal::draining()),
    };
    if context.guarded.as_ref().is_some_and(|guarded| guarded.asks())
        && let Answer::Success {
            success: Success::Whole { head, body, expense },
            ..
        } = &mut answer
    {
        // It was paid, should its caller go meanwhile.
        context.cost_was(*expense);
        // Boxed: few requests wait for a service.
        let looked = Box::pin(webhook::look_into_answer(snapshot, &mut context, inbound, head, body)).await;
        if let Err(refusal) = looked {
            return refuse::answer(context, &refusal);
        }
    }
    let stale = match &answer {
        Answer::Failed { .. } | Answer::Nobody { .. } => {
            stale::instead(&context, inbound, serving.stand(&context, &answer))
        }
        Answer::Success { .. } | Answer::Refused(_) => None,
    };
    let asked = Asked {
        inbound,
        snapshot,
        plan,
        candidates: &candidates,
    };
    match stale {
        Some(stale) => respond::respond_stale(context, &answer, stale, &asked),
        None => respond::respond(context, answer, &asked),
    }
}

/// The candidates of a request, as the providers stand now, without those that the access rules forbid.
///
/// # Errors
/// The rules forbid all of them, or policies have paused all that they do not.
fn make_plan(
    process: &Process,
    snapshot: &Snapshot,
    context: &mut RequestContext,
    inbound: &Inbound,
) -> Result<Plan, Refusal> {
    let headers = RequestHeaders(&inbound.headers);
    let decisions = &process.sinks.decisions;
    let ground = context.access.take();
    let access = ground
        .as_ref()
        .filter(|ground| ground.is_about_candidates)
        .map(|ground| Access::new(ground, snapshot, context, decisions, (inbound, &headers)));
    let call = &inbound.call;
    let led_to = context.route.clone().filter(|_| context.is_led);
    let view = ProviderView {
        snapshot,
        call,
        now: context.now(),
        access: access.as_ref(),
        is_diverted: context.is_diverted,
        led_to: led_to.as_ref(),
    };
    let plan = match &context.pinned {
        None => plan::plan(&snapshot.config, call.dialect, &call.model, &view, &mut fastrand::f64),
        Some(pinned) => plan::pinned(&snapshot.config, &pinned.provider, &call.model, &view),
    };
    let is_forbidden = plan.candidates.is_empty() && plan.skipped.iter().all(is_forbidden);
    if let Some(rule) = access.as_ref().and_then(Access::would_deny_all) {
        context.would_be_turned_away_by(Refuser::Access, &rule);
    }
    let denied = access
        .filter(|_| is_forbidden)
        .and_then(|access| access.denied_by_all());
    let refusal = match denied {
        Some(denied) => Some(denied.refuse(context)),
        None => pause::of_all(snapshot, context, &plan),
    };
    let Some(refusal) = refusal else { return Ok(plan) };
    context.route.clone_from(&plan.route);
    context.left_out(&plan.skipped);
    Err(refusal)
}

/// Whether a rule, and no failure, keeps it from being asked; who never serves such a request has no part in it.
fn is_forbidden(skipped: &Skipped) -> bool {
    matches!(skipped.why, Why::Access | Why::NoModel | Why::NotHere)
}

/// One request while it is served.
struct Serving<'a> {
    process: &'a Arc<Process>,
    inbound: &'a Inbound,
    /// The request's body, where it passes unread: there is one attempt to send it with.
    arriving: Option<Box<Arriving>>,
    plan: &'a Plan,
    pool: ProviderPool<'a>,
    /// The attempts that are out: the first, and a hedge.
    out: [Option<Running<'a>>; 2],
    /// The last failure at each candidate.
    failures: Vec<(usize, Box<Failure>)>,
    skips_reported: usize,
}

impl<'a> Serving<'a> {
    async fn run(&mut self, context: &mut RequestContext) -> Answer {
        let id = context.id().clone();
        let mut first = pin!(OptionFuture::from(None));
        // Boxed: what few requests need must not weigh on all of them.
        let mut second = None;
        loop {
            let step = context.flow.next(&mut self.pool, context.now());
            self.report_skips(context);
            match step {
                // Boxed: few requests wait.
                Step::Wait {
                    candidate,
                    reason,
                    most,
                } => Box::pin(self.wait(context, candidate, reason, most)).await,
                // Boxed: few limits are counted elsewhere. Attempts that are out are not read meanwhile: no longer than its deadline.
                Step::Ask { candidate } => {
                    Box::pin(self.pool.ask_store(candidate)).await;
                    context.waited();
                }
                Step::Attempt {
                    candidate,
                    kind,
                    number,
                } => {
                    let Some(attempt) = self.attempt(context, &id, candidate, (kind, number)) else {
                        return Answer::Refused(Refusal::internal());
                    };
                    let ran = attempt.run(context.stopwatch());
                    if kind == AttemptKind::Hedge {
                        second = Some(Box::pin(ran));
                    } else {
                        first.set(OptionFuture::from(Some(ran)));
                    }
                }
                Step::Await { until } => {
                    let alarm = until.map(|until| self.process.clock.instant(until));
                    let ran = match first_to_end(first.as_mut(), second.as_mut(), alarm).await {
                        Ends::First(ran) => {
                            first.set(OptionFuture::from(None));
                            self.ended(context, ran, 0)
                        }
                        Ends::Second(ran) => {
                            second = None;
                            self.ended(context, ran, 1)
                        }
                        Ends::Alarm => {
                            context.waited();
                            None
                        }
                    };
                    // The other attempt, if one is out, is dropped with this loop: that closes its connection.
                    if let Some((candidate, success)) = ran {
                        return Answer::Success { candidate, success };
                    }
                }
                Step::Respond(end) => return self.no_answer(end, context),
            }
        }
    }

    async fn wait(&mut self, context: &mut RequestContext, candidate: usize, reason: WaitReason, most: Duration) {
        let began = context.now();
        match reason {
            WaitReason::Limit => self.pool.wait_in_queue(candidate, most).await,
            WaitReason::Headroom | WaitReason::Backoff => tokio::time::sleep(most).await,
        }
        let waited = context.waited() - began;
        if let Some(asked) = self.pool.candidates.get(candidate) {
            context.turn(asked.upstream.state.name(), Happened::Waited(reason, waited));
        }
        if reason == WaitReason::Limit {
            self.pool.count_wait(candidate, waited);
        }
    }

    /// The attempt that the flow sends now, with the permit and credential that were acquired for it.
    fn attempt<'b>(
        &mut self,
        context: &mut RequestContext,
        id: &'b RequestId,
        candidate: usize,
        (kind, number): (AttemptKind, u32),
    ) -> Option<Attempt<'b>>
    where
        'a: 'b,
    {
        let asked = self.pool.candidates.get(candidate)?;
        let prepared = asked.prepared()?;
        let (permit, credential) = self.pool.acquired(candidate)?;
        let name = asked.upstream.state.name();
        let mut counted = None;
        match kind {
            AttemptKind::Hedge => counted = Some(self.process.sinks.hedges.sent(name)),
            AttemptKind::Retry => {
                let code = self
                    .failure_at(candidate)
                    .map_or(Code::SysInternal, |failure| failure.code);
                self.moved(context, candidate, Move::Retried { after: code });
            }
            _ => {}
        }
        context.sent(&asked.upstream, &asked.model);
        let slot = usize::from(kind == AttemptKind::Hedge);
        if let Some(slot) = self.out.get_mut(slot) {
            *slot = Some(Running {
                candidate,
                at: context.now(),
                counted,
            });
        }
        let begin = Begin {
            number,
            kind,
            upstream: &asked.upstream,
            model: &asked.model,
            permit: Some(permit),
            credential,
            forwarded: self.forwarded(&asked.upstream),
            operation: self.inbound.call.operation,
            input_tokens: self.inbound.call.input_tokens,
            of: self.of(context, asked.upstream.state.name()),
        };
        let exchange = Exchange::begin(self.process, begin);
        // Should nobody wait for its end, this is what the request has cost; its end says better.
        context.may_cost(exchange.spent(Ended::CallerGone));
        Some(Attempt {
            inbound: self.inbound,
            id,
            hold: self.holds(),
            arriving: self.arriving.take(),
            prepared,
            upstream: &asked.upstream,
            exchange,
        })
    }

    /// What the record of an attempt at this provider tells of the request, and what it is charged to.
    fn of(&mut self, context: &RequestContext, provider: &Arc<str>) -> Of {
        let mut of = context.as_of();
        if let Some(limits) = &mut self.pool.by_provider {
            of.charges = limits.charges(provider, of.charges);
        }
        of
    }

    /// The caller's own keys, where this provider is given them.
    fn forwarded(&self, upstream: &Upstream) -> Option<Box<Forwarded>> {
        let provider = &upstream.provider;
        let forwards = provider.forward_caller_key;
        forwards.then(|| Box::new(Forwarded::of(&self.inbound.headers, provider.platform)))
    }

    /// Whether streams are held until their first content, so that a failure before it can still be answered by another.
    fn holds(&self) -> bool {
        let route = self.plan.route.as_ref();
        route.is_none_or(|route| route.mid_stream_failover == MidStreamFailover::Restart)
    }

    /// One of the attempts that are out has come to its end: with an answer, or the flow is told of its failure.
    fn ended(&mut self, context: &mut RequestContext, ran: Finished, slot: usize) -> Option<(usize, Success)> {
        let out = self.out.get_mut(slot)?.take()?;
        let other = self.out.iter().flatten().next().map(|other| other.candidate);
        let Finished { result, stopwatch } = ran;
        let candidate = out.candidate;
        self.note_latency(&out, result.is_ok(), stopwatch.now());
        match result {
            Ok(success) => {
                context.resume(stopwatch);
                // What guards look into can still be refused: it is not over with its last byte.
                let is_open = matches!(success, Success::Flowing { .. }) || context.guarded.is_some();
                context.flow.answered(candidate, is_open);
                if let Some(asked) = self.pool.candidates.get(candidate) {
                    context.answered_by(&asked.upstream, &asked.model);
                }
                let outcome = if slot == 1 {
                    HedgeOutcome::Won
                } else {
                    HedgeOutcome::Lost
                };
                let hedge = self
                    .out
                    .iter_mut()
                    .flatten()
                    .chain([&mut { out }])
                    .find_map(|out| out.counted.take());
                if let Some(counted) = hedge {
                    counted.ended(outcome);
                }
                Some((candidate, success))
            }
            Err(failure) => {
                if other.is_none() {
                    context.resume(stopwatch);
                } else {
                    context.tick();
                }
                if let Some(counted) = out.counted {
                    counted.ended(HedgeOutcome::Failed);
                }
                self.failed(context, candidate, failure);
                None
            }
        }
    }

    fn failed(&mut self, context: &mut RequestContext, candidate: usize, failure: Box<Failure>) {
        self.pool.failed(candidate, &failure);
        let failed = retry::Failed {
            ended: failure.ended,
            decision: failure.decision,
            retry_after: failure.retry_after,
            retry_forbidden: failure.retry_forbidden,
        };
        let now = context.now();
        let followed = context
            .flow
            .ended(candidate, failed, &mut self.pool, now, &mut fastrand::Rng::new());
        context.cost_was(failure.expense);
        self.report_failure(context, candidate, &failure, followed);
        self.failures.retain(|(of, _)| *of != candidate);
        self.failures.push((candidate, failure));
    }

    fn failure_at(&self, candidate: usize) -> Option<&Failure> {
        let found = self.failures.iter().find(|(of, _)| *of == candidate);
        found.map(|(_, failure)| &**failure)
    }

    /// Why there is no answer.
    fn no_answer(&mut self, end: End, context: &mut RequestContext) -> Answer {
        match end {
            End::Failed { candidate } => {
                let at = self.failures.iter().position(|(of, _)| *of == candidate);
                match at.map(|at| self.failures.swap_remove(at)) {
                    Some((_, failure)) => Answer::Failed { candidate, failure },
                    None => Answer::Refused(Refusal::internal()),
                }
            }
            End::Limited { candidate, limited } => {
                let limits = self.pool.by_provider.as_ref();
                if let Some(refusal) = limits.and_then(|limits| limits.refusal(context, candidate)) {
                    return Answer::Refused(refusal);
                }
                let name = self.pool.candidates.get(candidate).map_or("", Candidate::name);
                Answer::Refused(Refusal::local_limit(name, limited))
            }
            End::Invalid { candidate } => {
                let error = self.pool.candidates.get(candidate).and_then(Candidate::error);
                Answer::Refused(error.map_or_else(Refusal::internal, Refusal::from))
            }
            End::Unsupported => {
                let error = self.pool.candidates.iter().find_map(Candidate::error);
                Answer::Refused(error.map_or_else(Refusal::internal, Refusal::from))
            }
            End::Nobody => {
                let limits = self.pool.by_provider.as_ref();
                let limited = limits.and_then(|limits| limits.refusal_of_all(context)).map(Box::new);
                Answer::Nobody { limited }
            }
            End::Answered { .. } => Answer::Refused(Refusal::internal()),
        }
    }
}
