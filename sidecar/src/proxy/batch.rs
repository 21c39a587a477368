//! Booking what a batch used, when its results pass by.
//!
//! They go on byte for byte as they come. What is read beside ([`bowsprit_core::batches`]) becomes entries of the ledger, one for
//! each model, under the batch's id, once they have passed whole. Its tokens and what they cost are counted, and spent on every budget
//! that holds here: nobody could reserve for them, so that a budget may go over by them, and stops what comes then. Limits do not
//! count it: they are of what goes on now.
//!
//! A file is known as results by what its provider told of the batch when somebody looked at it through this sidecar, which is read
//! beside too. Any other that looks like results is booked in the ledger alone: whoever can upload a file could else spend the
//! budgets of others.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::batches::outputs::{self, TEXT};
use bowsprit_core::batches::{Results, results_of};
use bowsprit_core::cost::Picodollars;
use bowsprit_core::dialect::Dialect;
use bowsprit_core::record::{AttemptKind, AttemptOutcome, AttemptRecord, Called};
use bowsprit_ledger::entry::BATCH;
use http::header::{CONTENT_LENGTH, IF_RANGE, RANGE};
use http::{Method, StatusCode, response};

use super::context::RequestContext;
use super::inbound::Inbound;
use super::path;
use crate::tenant::snapshot::Upstream;

/// How often a path is unescaped, as by servers that do it more than once.
const UNESCAPED: usize = 2;

/// The results of a batch, or what its provider tells of it, on their way.
pub struct Reading {
    upstream: Arc<Upstream>,
    of: Of,
    /// Bytes that are to come, where that was told.
    left: Option<u64>,
}

enum Of {
    Results {
        id: String,
        results: Results,
    },
    /// The text that tells of batches, as far as it is not too long.
    Batches(Option<Vec<u8>>),
}

/// Of what something that is asked for is about.
fn about(dialect: Dialect, inbound: &Inbound) -> Option<Of> {
    let path = unescaped(&inbound.path_below);
    if inbound.method == Method::GET
        && let Some((form, id)) = results_of(dialect, &path)
    {
        let (id, results) = (id.to_owned(), Results::new(dialect, form));
        return Some(Of::Results { id, results });
    }
    let asks = matches!(inbound.method, Method::GET | Method::POST);
    (asks && outputs::are_told(dialect, &path)).then(|| Of::Batches(Some(Vec::new())))
}

fn unescaped(path_below: &str) -> Cow<'_, str> {
    if !path_below.contains('%') {
        return Cow::Borrowed(path_below);
    }
    let mut path = path_below.as_bytes().to_vec();
    for _ in 0..UNESCAPED {
        path = path::unescape(&path).unwrap_or(path);
    }
    Cow::Owned(String::from_utf8_lossy(&path).into_owned())
}

/// Results, and what tells of batches, are asked for whole: parts could not be read. No coding is asked for either, as a caller's
/// `accept-encoding` never goes on.
pub(super) fn ask_for_all(dialect: Dialect, inbound: &mut Inbound) {
    let asks_for_part = inbound.headers.contains_key(RANGE) || inbound.headers.contains_key(IF_RANGE);
    if asks_for_part && about(dialect, inbound).is_some() {
        inbound.headers.remove(RANGE);
        inbound.headers.remove(IF_RANGE);
    }
}

impl Reading {
    /// Of this answer; `None`: it is nothing of a batch's, or cannot be read. `is_encoded`: it comes in a coding.
    pub(super) fn of(
        inbound: &Inbound,
        upstream: &Arc<Upstream>,
        (head, is_encoded): (&response::Parts, bool),
    ) -> Option<Box<Self>> {
        if head.status != StatusCode::OK && head.status != StatusCode::PARTIAL_CONTENT {
            return None;
        }
        let provider = &upstream.provider;
        let of = about(provider.dialect, inbound)?;
        if head.status != StatusCode::OK || is_encoded {
            tracing::warn!(
                provider = provider.name,
                "what a batch used is not booked: its provider answered in a coding or in part, unasked"
            );
            return None;
        }
        Some(Box::new(Self {
            upstream: Arc::clone(upstream),
            of,
            left: head
                .headers
                .get(CONTENT_LENGTH)
                .and_then(|it| it.to_str().ok()?.parse().ok()),
        }))
    }

    /// The next piece. Returns whether it is known to be the last.
    pub(super) fn piece(&mut self, piece: &[u8]) -> bool {
        let upstream = &self.upstream;
        match &mut self.of {
            Of::Results { results, .. } => results.push(piece, &|model, spent| upstream.cost(model, spent)),
            Of::Batches(told) => match told {
                Some(text) if text.len() + piece.len() <= TEXT => text.extend_from_slice(piece),
                _ => *told = None,
            },
        }
        self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
        self.left == Some(0)
    }

    /// All of it has passed.
    pub(super) fn end(self, context: &RequestContext) {
        let Self { upstream, of, .. } = self;
        match of {
            Of::Results { id, results } => Passed { upstream, id, results }.book(context),
            Of::Batches(Some(text)) => {
                for file in outputs::outputs(&text) {
                    context.process().batches.told(&upstream.provider.name, &file);
                }
            }
            Of::Batches(None) => {}
        }
    }
}

/// Results that have passed whole.
struct Passed {
    upstream: Arc<Upstream>,
    id: String,
    results: Results,
}

impl Passed {
    /// Whether they are a batch's: Anthropic's and Gemini's are by their path, and what can be downloaded there nobody uploaded.
    fn are_a_batchs(&self, context: &RequestContext) -> bool {
        let provider = &self.upstream.provider;
        match provider.dialect {
            Dialect::OpenAiChat | Dialect::OpenAiResponses => {
                context.process().batches.is_output(&provider.name, &self.id)
            }
            Dialect::AnthropicMessages | Dialect::Gemini => true,
        }
    }

    /// They are booked, unless they were before.
    fn book(mut self, context: &RequestContext) {
        let process = context.process();
        let upstream = Arc::clone(&self.upstream);
        self.results.end(&|model, spent| upstream.cost(model, spent));
        let is_a_batchs = self.are_a_batchs(context);
        let (provider, results) = (&upstream.provider, &self.results);
        if results.sums.is_empty() {
            return;
        }
        // Once they are known for a batch's, they are charged all the same.
        let is_new = if is_a_batchs {
            process.batches.is_new(&provider.name, &self.id)
        } else {
            process.batches.is_new(&provider.name, &format!("unknown/{}", self.id))
        };
        if !is_new {
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
            let handles = is_a_batchs.then_some(&upstream.handles);
            process.sinks.batch(handles, &record);
            cost = cost.plus(record.cost.map(|cost| cost.total()).unwrap_or_default());
        }
        if !is_a_batchs {
            tracing::warn!(
                provider = provider.name,
                file = self.id,
                "a file looks like results of a batch that nobody looked at through this sidecar: it is in the ledger, and charged to \
                 no budget; look at the batch (GET .../batches) before you fetch its results"
            );
            return;
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
