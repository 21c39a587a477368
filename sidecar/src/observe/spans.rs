//! Spans for a collector: a request's is a server's, an attempt's a client's below it. Made of their records and of nothing else,
//! and only of traces that are kept.
//!
//! A span is written as OTLP's bytes into memory with a bound, which costs its request about a microsecond, and goes out with
//! others from a part of its own ([`export`]). What finds no room there is dropped and counted.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bowsprit_core::fault::Code;
use bowsprit_core::flow::moves::Move;
use bowsprit_core::record::path::{Happened, Turn};
use bowsprit_core::record::{AttemptOutcome, AttemptRecord, Outcome, RequestRecord, Spent};
use bowsprit_core::trace::{Context, Span};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::Notify;

use crate::metrics::Registry;
use crate::sync::locked;
use crate::time::unix_now;
use protobuf::{ATTRIBUTES, Frame, Key, Kind, Value, attribute, key};

pub mod export;
mod protobuf;
mod settings;

pub use settings::Settings;

/// The header that a caller's trace comes in.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Bytes of waiting spans at most, whatever their number: one of a long path of turns has a few thousand.
const MOST_BYTES: usize = 4 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FateLabel {
    fate: &'static str,
}

/// What becomes of spans.
pub const FATES: [&str; 3] = ["exported", "no_room", "refused"];

/// The family about spans.
#[derive(Clone, Debug)]
pub struct SpanMetrics([Counter; FATES.len()]);

impl SpanMetrics {
    fn count(&self, fate: &str, spans: usize) {
        let counted = FATES.iter().zip(&self.0).find(|(known, _)| **known == fate);
        if let Some((_, counter)) = counted {
            counter.inc_by(spans as u64);
        }
    }
}

/// The sink.
pub struct Spans {
    queue: OnceLock<Arc<Queue>>,
    family: Family<FateLabel, Counter>,
}

/// Spans that wait to go out.
pub struct Queue {
    settings: Settings,
    /// Bytes of [`Waiting::spans`] before the first: room for what goes before them, which takes fewer where they are few.
    room: usize,
    waiting: Mutex<Waiting>,
    /// There are as many as one export takes.
    full: Notify,
    metrics: SpanMetrics,
}

#[derive(Default)]
struct Waiting {
    /// As a scope's field, behind [`Queue::room`]; empty where none waits.
    spans: Vec<u8>,
    count: usize,
}

impl Spans {
    /// A sink of nothing, until [`Spans::keep`].
    pub fn register(registry: &mut Registry) -> Self {
        let family = Family::<FateLabel, Counter>::default();
        registry.register(
            "spans",
            "Spans of traces that are kept, by what became of them: exported, no_room (too many waited for the collector), or refused (by the collector, or not taken by it in time)",
            &["fate"],
            family.clone(),
        );
        Self {
            queue: OnceLock::new(),
            family,
        }
    }

    /// From now on spans are made as these settings say.
    pub fn keep(&self, settings: Settings) {
        let counter = |fate| self.family.get_or_create_owned(&FateLabel { fate });
        let room = before(&settings, u32::MAX as usize).len();
        let _ = self.queue.set(Arc::new(Queue {
            settings,
            room,
            waiting: Mutex::default(),
            full: Notify::new(),
            metrics: SpanMetrics(FATES.map(counter)),
        }));
    }

    /// What waits to go out, if spans are made.
    pub fn queue(&self) -> Option<&Arc<Queue>> {
        self.queue.get()
    }

    /// The span of a request with these headers, if spans are made.
    pub fn begin(&self, headers: &HeaderMap) -> Option<Span> {
        let queue = self.queue.get()?;
        let caller = headers
            .get(TRACEPARENT)
            .and_then(|header| Context::parse(header.to_str().ok()?));
        Some(Span::begin(caller, queue.settings.sampler, &mut fastrand::Rng::new()))
    }

    /// Tells of a request that has ended.
    pub fn request(&self, record: &RequestRecord<'_>) {
        if let (Some(queue), Some(span)) = (self.queue.get(), record.span.filter(|span| span.is_sampled)) {
            queue.add(|out| request(out, span, record, unix_now()));
        }
    }

    /// Tells of an attempt that has ended.
    pub fn attempt(&self, record: &AttemptRecord<'_>) {
        if let (Some(queue), Some(span)) = (self.queue.get(), record.span.filter(|span| span.is_sampled)) {
            queue.add(|out| attempt(out, span, record, unix_now()));
        }
    }
}

impl Queue {
    fn add(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut waiting = locked(&self.waiting);
        if waiting.count >= self.settings.queue || waiting.spans.len() >= MOST_BYTES {
            drop(waiting);
            self.metrics.count("no_room", 1);
            return;
        }
        if waiting.count == 0 {
            waiting.spans.resize(self.room, 0);
        }
        protobuf::append(&mut waiting.spans, write);
        waiting.count += 1;
        if waiting.count == self.settings.batch {
            self.full.notify_one();
        }
    }

    /// Takes all that waits as the body of a request to the collector, with its number. The spans stay where they were written.
    fn take(&self) -> (Bytes, usize) {
        let mut waiting = locked(&self.waiting);
        let count = std::mem::take(&mut waiting.count);
        let room = waiting.spans.len();
        let mut spans = std::mem::replace(&mut waiting.spans, Vec::with_capacity(room));
        drop(waiting);
        let before = before(&self.settings, spans.len().saturating_sub(self.room));
        let begin = self.room.saturating_sub(before.len());
        match spans.get_mut(begin..self.room) {
            Some(place) if place.len() == before.len() => place.copy_from_slice(&before),
            _ => return (Bytes::new(), count),
        }
        (Bytes::from(spans).slice(begin..), count)
    }
}

/// What a request to the collector begins with, before spans of so many bytes.
fn before(settings: &Settings, spans: usize) -> Vec<u8> {
    protobuf::request(&settings.resource, env!("CARGO_PKG_VERSION"), spans)
}

/// Writes attributes that have a value.
struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    fn text<const N: usize>(&mut self, key: &Key<N>, value: &str) {
        if !value.is_empty() {
            key.text(self.0, value);
        }
    }

    fn count<const N: usize>(&mut self, key: &Key<N>, value: u64) {
        key.count(self.0, value);
    }

    fn some<const N: usize>(&mut self, key: &Key<N>, value: u64) {
        if value > 0 {
            self.count(key, value);
        }
    }

    fn number<const N: usize>(&mut self, key: &Key<N>, value: f64) {
        key.number(self.0, value);
    }

    fn seconds<const N: usize>(&mut self, key: &Key<N>, value: Option<Duration>) {
        if let Some(value) = value {
            self.number(key, value.as_secs_f64());
        }
    }

    /// Under the conventions' names, and what of them is estimated under our own.
    fn tokens(&mut self, spent: &Spent) {
        if let Some(usage) = &spent.reported {
            self.count(key!("gen_ai.usage.input_tokens"), usage.input);
            self.count(key!("gen_ai.usage.output_tokens"), usage.output);
            self.some(key!("gen_ai.usage.cache_read.input_tokens"), usage.cached);
            // The conventions' name until 1.41, and the one that took its place.
            self.some(key!("gen_ai.usage.cache_creation.input_tokens"), usage.cache_write);
            self.some(key!("gen_ai.usage.cache_write.input_tokens"), usage.cache_write);
            self.some(key!("gen_ai.usage.reasoning.output_tokens"), usage.reasoning);
        }
        self.some(key!("bowsprit.usage.estimated_input_tokens"), spent.estimated_input);
        self.some(key!("bowsprit.usage.estimated_output_tokens"), spent.estimated_output);
    }
}

fn request(out: &mut Vec<u8>, span: Span, record: &RequestRecord<'_>, now: Duration) {
    let from = now.saturating_sub(record.took);
    protobuf::begin(out, &frame(span, (record.operation, ""), Kind::Server, (from, now)));
    let mut attributes = Attributes(out);
    attributes.text(key!("bowsprit.request_id"), record.id);
    attributes.text(key!("bowsprit.dialect"), record.dialect.as_str());
    attributes.text(key!("bowsprit.route"), record.route);
    attributes.text(key!("bowsprit.outcome"), record.outcome.as_str());
    attributes.text(key!("bowsprit.provider"), record.provider);
    attributes.text(key!("gen_ai.request.model"), record.asked_model);
    attributes.some(key!("http.response.status_code"), u64::from(record.status));
    attributes.text(key!("error.type"), record.code.map_or("", Code::as_str));
    attributes.count(key!("bowsprit.attempts"), u64::from(record.attempts));
    attributes.some(key!("bowsprit.hedges"), u64::from(record.hedges));
    attributes.some(key!("http.request.resend_count"), u64::from(record.sdk_retries));
    attributes.seconds(key!("gen_ai.response.time_to_first_chunk"), record.first_token_after);
    attributes.seconds(key!("bowsprit.overhead"), Some(record.overhead));
    if let Some(stale) = &record.stale {
        attributes.seconds(key!("bowsprit.stale.age"), Some(stale.age));
        attributes.text(key!("bowsprit.stale.request_id"), stale.request_id);
    }
    if let Some(cached) = &record.cache {
        attributes.seconds(key!("bowsprit.cache.age"), Some(cached.age));
        attributes.text(key!("bowsprit.cache.request_id"), cached.request_id);
        attributes.some(key!("bowsprit.cache.saved_tokens"), cached.saved_tokens);
    }
    attributes.text(key!("bowsprit.refused_by"), record.refused_by);
    if record.is_stream {
        attribute(out, ATTRIBUTES, "gen_ai.request.stream", Value::Bool(true));
    }
    for turn in record.path.turns() {
        event(out, from, turn);
    }
    // What the app did wrong is no error of the server's.
    if matches!(
        record.outcome,
        Outcome::ProviderError | Outcome::OwnError | Outcome::Cut | Outcome::Shed
    ) {
        protobuf::error(out, record.code.map_or("", Code::as_str));
    }
}

fn event(out: &mut Vec<u8>, from: Duration, turn: &Turn) {
    let then = match turn.what {
        Happened::Moved(Move::Failed { followed, .. }) => followed.map_or("", |(next, _)| next.as_str()),
        _ => "",
    };
    let attributes = [
        ("bowsprit.provider", Value::Text(&turn.provider)),
        ("bowsprit.because", Value::Text(turn.what.because())),
        ("bowsprit.then", Value::Text(then)),
    ];
    protobuf::event(out, from.saturating_add(turn.after), turn.what.as_str(), &attributes);
}

fn attempt(out: &mut Vec<u8>, span: Span, record: &AttemptRecord<'_>, now: Duration) {
    let from = now.saturating_sub(record.took);
    let called = record.called;
    protobuf::begin(
        out,
        &frame(span, (called.operation, record.model), Kind::Client, (from, now)),
    );
    let mut attributes = Attributes(out);
    attributes.text(key!("gen_ai.operation.name"), called.operation);
    attributes.text(key!("gen_ai.provider.name"), called.system);
    attributes.text(key!("gen_ai.request.model"), record.model);
    attributes.text(key!("gen_ai.response.model"), record.reported_model);
    attributes.text(key!("server.address"), called.host);
    attributes.some(key!("server.port"), u64::from(called.port));
    attributes.some(key!("http.response.status_code"), u64::from(record.status.unwrap_or(0)));
    attributes.text(key!("error.type"), record.code.map_or("", Code::as_str));
    attributes.tokens(&record.spent);
    attributes.seconds(key!("gen_ai.response.time_to_first_chunk"), record.first_content_after);
    attributes.text(key!("bowsprit.provider"), record.provider);
    attributes.text(key!("bowsprit.credential"), record.credential.unwrap_or(""));
    attributes.text(key!("bowsprit.provider_request_id"), record.provider_request_id);
    attributes.text(key!("bowsprit.attempt.kind"), record.kind.as_str());
    attributes.text(key!("bowsprit.attempt.outcome"), record.outcome.as_str());
    attributes.count(key!("bowsprit.attempt.number"), u64::from(record.number));
    if let Ok(cost) = &record.cost {
        let dollars = cost.total().get() as f64 / 1e12;
        attributes.number(key!("bowsprit.cost.usd"), dollars);
    }
    // One whose answer nobody wanted any more did nothing wrong.
    if record.outcome == AttemptOutcome::Failed {
        protobuf::error(out, record.code.map_or("", Code::as_str));
    }
}

fn frame<'a>(span: Span, name: (&'a str, &'a str), kind: Kind, (from, to): (Duration, Duration)) -> Frame<'a> {
    Frame {
        trace: span.trace,
        id: span.id,
        parent: span.parent,
        name,
        kind,
        from,
        to,
    }
}
