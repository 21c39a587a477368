//! Booking what a batch used, when its results pass by.
//!
//! They go on byte for byte as they come. What is read beside ([`bowsprit_core::batches`]) becomes entries of the ledger, one for
//! each model, under the batch's id, once they have passed whole. Its tokens and what they cost are counted, and spent on every budget
//! that holds here: nobody could reserve for them, so that a budget may go over by them, and stops what comes then. Limits do not
//! count it: they are of what goes on now.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::batches::{Results, results_of};
use bowsprit_core::cost::Picodollars;
use bowsprit_core::record::{AttemptKind, AttemptOutcome, AttemptRecord, Called};
use bowsprit_ledger::entry::BATCH;
use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode, response};

use super::context::RequestContext;
use super::inbound::Inbound;
use crate::tenant::snapshot::Upstream;

/// The results of a batch on their way.
pub struct Reading {
    upstream: Arc<Upstream>,
    id: String,
    results: Results,
    /// Bytes that are to come, where that was told.
    left: Option<u64>,
}

impl Reading {
    /// Of this answer, which is in no coding; `None`: it is no batch's results, or not all of them.
    pub(super) fn of(inbound: &Inbound, upstream: &Arc<Upstream>, head: &response::Parts) -> Option<Box<Self>> {
        if inbound.method != Method::GET || head.status != StatusCode::OK {
            return None;
        }
        let dialect = upstream.provider.dialect;
        let (form, id) = results_of(dialect, &inbound.path_below)?;
        Some(Box::new(Self {
            upstream: Arc::clone(upstream),
            id: id.to_owned(),
            results: Results::new(dialect, form),
            left: head
                .headers
                .get(CONTENT_LENGTH)
                .and_then(|it| it.to_str().ok()?.parse().ok()),
        }))
    }

    /// The next piece. Returns whether it is known to be the last.
    pub(super) fn piece(&mut self, piece: &[u8]) -> bool {
        let upstream = &self.upstream;
        self.results.push(piece, &|model, spent| upstream.cost(model, spent));
        self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
        self.left == Some(0)
    }

    /// All of them have passed: they are booked, unless they were before.
    pub(super) fn end(mut self, context: &RequestContext) {
        let process = context.process();
        let upstream = &self.upstream;
        self.results.end(&|model, spent| upstream.cost(model, spent));
        let (provider, results) = (&upstream.provider, &self.results);
        if results.sums.is_empty() || !process.batches.is_new(&provider.name, &self.id) {
            return;
        }
        let mut cost = Picodollars::ZERO;
        for (number, sum) in (1..).zip(&results.sums) {
            let record = AttemptRecord {
                request_id: &self.id,
                trace_id: "",
                route: "",
                operation: BATCH,
                number,
                kind: AttemptKind::First,
                provider: &provider.name,
                model: &sum.model,
                reported_model: &sum.model,
                provider_request_id: &self.id,
                credential: None,
                is_generation: false,
                is_stream: false,
                status: Some(StatusCode::OK.as_u16()),
                outcome: AttemptOutcome::Answered,
                code: None,
                took: Duration::ZERO,
                head_after: None,
                first_content_after: None,
                spent: sum.spent(),
                cost: sum.cost(),
                span: None,
                called: Called::default(),
            };
            process.sinks.batch(&upstream.handles, &record);
            cost = cost.plus(record.cost.map(|cost| cost.total()).unwrap_or_default());
        }
        // Once for all models: a budget that it brings to a percentage says so once.
        context.tenant().budgets.spend(cost);
        tracing::info!(
            provider = provider.name,
            batch = self.id,
            models = results.sums.len(),
            answers = results.sums.iter().map(|sum| sum.answers).sum::<u64>(),
            unanswered = results.unanswered,
            left_out = results.left_out,
            "a batch is booked"
        );
    }
}
