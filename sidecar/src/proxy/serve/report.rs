//! What serving a request tells as it goes: what each candidate did not answer, in records and log lines, and how long answers
//! take.

use bowsprit_core::clock::{Moment, micros};
use bowsprit_core::flow::moves::{Move, MoveRecord};
use bowsprit_core::flow::retry::{Next, Why};
use bowsprit_core::record::path::Happened;

use super::Serving;
use super::out::Running;
use crate::proxy::context::RequestContext;
use crate::proxy::failure::Failure;
use crate::proxy::refuse::clip;
use crate::proxy::request_id::TraceId;

impl Serving<'_> {
    /// Remembers how long an answer took, or had taken when it was given up, where the route hedges by a percentile of it.
    pub(super) fn note_latency(&self, out: &Running<'_>, is_answer: bool, now: Moment) {
        let hedge = self.plan.route.as_ref().and_then(|route| route.hedge);
        let Some(asked) = self.pool.candidates.get(out.candidate) else {
            return;
        };
        let Some(settings) = hedge.filter(|settings| settings.percentile.is_some()) else {
            return;
        };
        let (state, took) = (&asked.upstream.state, now - out.at);
        let is_late = || {
            let delay = state.hedge_delay(asked.circuit(), self.inbound.call.stream, &settings, now);
            delay.is_some_and(|delay| took >= delay)
        };
        if is_answer || (out.counted.is_none() && is_late()) {
            state.took(asked.circuit(), self.inbound.call.stream, took, now);
        }
    }

    /// Logs and counts a failed attempt and what follows it; `None`: another attempt is still out.
    pub(super) fn report_failure(
        &self,
        context: &mut RequestContext,
        candidate: usize,
        failure: &Failure,
        followed: Option<(Next, Why)>,
    ) {
        let Some(asked) = self.pool.candidates.get(candidate) else {
            return;
        };
        tracing::info!(
            request_id = context.id().as_str(),
            trace_id = context.trace.as_deref().map(TraceId::as_str),
            attempt = context.flow.attempts(),
            provider = %asked.upstream.provider.name,
            model = %asked.model,
            code = failure.code.as_str(),
            duration_us = micros(context.attempt_took()),
            detail = clip(&failure.message),
            then = match followed {
                None => "wait for the other",
                Some((Next::OtherCredential | Next::Again(_), _)) => "again",
                Some((Next::Onward, _)) => "next provider",
                Some((Next::Stop, _)) => "give up",
            },
            why = followed.map(|(_, why)| why.as_str()),
            "attempt failed"
        );
        let code = failure.code;
        self.moved(context, candidate, Move::Failed { code, followed });
    }

    /// Tells the sinks what happened at a candidate, and notes it on the request's path.
    pub(super) fn moved(&self, context: &mut RequestContext, candidate: usize, what: Move) {
        if let Some(asked) = self.pool.candidates.get(candidate) {
            context.turn(asked.upstream.state.name(), Happened::Moved(what));
            self.process.sinks.moved(&MoveRecord {
                provider: asked.name(),
                what,
            });
        }
    }

    /// Logs and counts the candidates that the flow has passed over since the last step.
    pub(super) fn report_skips(&mut self, context: &mut RequestContext) {
        while let Some(skip) = context.flow.skips().get(self.skips_reported).copied() {
            self.skips_reported += 1;
            let Some(asked) = self.pool.candidates.get(skip.candidate) else {
                continue;
            };
            let (name, why) = (asked.upstream.state.name(), skip.reason.as_str());
            tracing::debug!(
                request_id = context.id().as_str(),
                trace_id = context.trace.as_deref().map(TraceId::as_str),
                provider = %name,
                why,
                "candidate passed over"
            );
            let (reason, is_last) = (skip.reason, skip.candidate + 1 == self.pool.candidates.len());
            self.moved(context, skip.candidate, Move::PassedOver { reason, is_last });
        }
    }
}
