//! The access log: one JSON line for each request, one for each model of a batch, and at level `debug` one for each attempt.
//!
//! Lines are written by hand into a buffer that is flushed several times a second: a JSON subscriber would cost more than
//! the proxying. None holds a prompt, an answer or a key: a record has none of them.

use std::sync::Mutex;
use std::time::Duration;

use bowsprit_core::clock::micros;
use bowsprit_core::cost::{Cost, Picodollars, Unpriced};
use bowsprit_core::fault::Code;
use bowsprit_core::json::line::{self, member};
use bowsprit_core::record::{AttemptRecord, RequestRecord, Spent};
use prometheus_client::metrics::counter::Counter;
use tracing::Level;

use crate::metrics::Registry;
use crate::sync::locked;
use crate::telemetry;
use crate::time::{unix_now, write_rfc3339};

/// Flush when so many bytes wait.
const FLUSH_AT: usize = 32 << 10;
/// Bytes of a name that are written.
const LONGEST: usize = 200;
/// Room made for a line; few are longer.
const LINE: usize = 768;
/// Flush at least so often.
pub const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// The family about log lines.
#[derive(Clone, Debug, Default)]
pub struct LogMetrics {
    lost: Counter,
}

impl LogMetrics {
    /// Registers the family.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register(
            "log_lines_lost",
            "Log lines lost because nobody read them in time",
            &[],
            new.lost.clone(),
        );
        new
    }

    /// Brings the counter to what is so now: called before each scrape.
    pub fn observe(&self, access: &AccessLog) {
        self.lost.inc_by(access.lines_lost().saturating_sub(self.lost.get()));
    }
}

/// The access log.
#[derive(Debug)]
pub struct AccessLog {
    waiting: Mutex<Vec<u8>>,
    sink: Sink,
    /// Whether attempts have lines of their own.
    tells_attempts: bool,
}

#[derive(Debug)]
enum Sink {
    Off,
    Stdout,
    /// Kept for tests to read.
    Memory,
}

impl AccessLog {
    /// To standard output, or nowhere: one line for each request from level `info` on, one for each attempt from `debug` on.
    pub fn new(on: bool, level: Level) -> Self {
        let is_on = on && level >= Level::INFO;
        Self {
            waiting: Mutex::default(),
            sink: if is_on { Sink::Stdout } else { Sink::Off },
            tells_attempts: is_on && level >= Level::DEBUG,
        }
    }

    /// Kept in memory: see [`AccessLog::text`].
    pub fn in_memory() -> Self {
        Self {
            waiting: Mutex::default(),
            sink: Sink::Memory,
            tells_attempts: true,
        }
    }

    /// Whether lines are wanted at all.
    pub fn is_on(&self) -> bool {
        !matches!(self.sink, Sink::Off)
    }

    /// Writes the line of a request.
    pub fn write(&self, record: &RequestRecord<'_>) {
        if self.is_on() {
            self.line(|out| format_line(out, unix_now(), record));
        }
    }

    /// Writes the line of an attempt. `charged`: the tokens that its provider's limit was charged.
    pub fn write_attempt(&self, record: &AttemptRecord<'_>, charged: u64) {
        if self.tells_attempts {
            self.line(|out| format_attempt(out, unix_now(), record, charged));
        }
    }

    /// Writes the line of what one model used in a batch.
    pub fn write_batch(&self, record: &AttemptRecord<'_>) {
        if self.is_on() {
            self.line(|out| format_batch(out, unix_now(), record));
        }
    }

    fn line(&self, format: impl FnOnce(&mut Vec<u8>)) {
        let mut waiting = locked(&self.waiting);
        format(&mut waiting);
        if waiting.len() >= FLUSH_AT && matches!(self.sink, Sink::Stdout) {
            hand_over(&mut waiting);
        }
    }

    /// Lines of either kind that nobody read in time.
    pub fn lines_lost(&self) -> u64 {
        if matches!(self.sink, Sink::Memory) {
            0
        } else {
            telemetry::stdout().lost()
        }
    }

    /// Hands on what waits.
    pub fn flush(&self) {
        if matches!(self.sink, Sink::Stdout) {
            hand_over(&mut locked(&self.waiting));
        }
    }

    /// What was written, for tests.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&locked(&self.waiting)).into_owned()
    }
}

fn hand_over(waiting: &mut Vec<u8>) {
    if !waiting.is_empty() {
        telemetry::stdout().take(waiting);
    }
}

/// A line's beginning. `what`: its level and target.
fn begin(out: &mut Vec<u8>, now: Duration, what: &str) {
    out.reserve(LINE);
    out.extend_from_slice(b"{\"timestamp\":\"");
    write_rfc3339(out, now);
    out.extend_from_slice(what.as_bytes());
}

fn format_attempt(out: &mut Vec<u8>, now: Duration, record: &AttemptRecord<'_>, charged: u64) {
    begin(out, now, "\",\"level\":\"DEBUG\",\"target\":\"attempt\"");
    told(out, member!("request_id"), record.request_id);
    told(out, member!("trace_id"), record.trace_id);
    told(out, member!("provider"), record.provider);
    told(out, member!("model"), record.model);
    told(out, member!("credential"), record.credential.unwrap_or(""));
    word(out, member!("kind"), record.kind.as_str());
    word(out, member!("ended"), record.outcome.as_str());
    word(out, member!("code"), record.code.map_or("", Code::as_str));
    number(out, member!("number"), u64::from(record.number));
    if let Some(status) = record.status {
        number(out, member!("status"), u64::from(status));
    }
    number(out, member!("duration_us"), micros(record.took));
    if let Some(after) = record.head_after {
        number(out, member!("head_us"), micros(after));
    }
    tokens(out, &record.spent);
    priced(out, record);
    number(out, member!("charged_tokens"), charged);
    out.extend_from_slice(b"}\n");
}

fn format_batch(out: &mut Vec<u8>, now: Duration, record: &AttemptRecord<'_>) {
    begin(out, now, "\",\"level\":\"INFO\",\"target\":\"batch\"");
    told(out, member!("batch"), record.request_id);
    told(out, member!("provider"), record.provider);
    told(out, member!("model"), record.model);
    tokens(out, &record.spent);
    priced(out, record);
    out.extend_from_slice(b"}\n");
}

fn priced(out: &mut Vec<u8>, record: &AttemptRecord<'_>) {
    money(out, record.cost.as_ref().map(Cost::total).map_err(|why| *why));
    if let Ok(cost) = &record.cost
        && !cost.version.is_empty()
    {
        out.extend_from_slice(member!("price_version").as_bytes());
        text(out, cost.version);
    }
}

fn format_line(out: &mut Vec<u8>, now: Duration, record: &RequestRecord<'_>) {
    begin(out, now, "\",\"level\":\"INFO\",\"target\":\"access\"");
    told(out, member!("request_id"), record.id);
    told(out, member!("trace_id"), record.trace_id);
    word(out, member!("dialect"), record.dialect.as_str());
    told(out, member!("operation"), record.operation);
    told(out, member!("asked_model"), record.asked_model);
    told(out, member!("provider"), record.provider);
    told(out, member!("model"), record.model);
    word(out, member!("outcome"), record.outcome.as_str());
    word(out, member!("code"), record.code.map_or("", Code::as_str));
    word(out, member!("state"), record.state.as_str());
    number(out, member!("status"), u64::from(record.status));
    number(out, member!("attempts"), u64::from(record.attempts));
    number(out, member!("duration_us"), micros(record.took));
    number(out, member!("overhead_us"), micros(record.overhead));
    number(out, member!("answer_bytes"), record.answer_bytes);
    if record.is_stream {
        out.extend_from_slice(b",\"stream\":true");
    }
    if record.hedges > 0 {
        out.extend_from_slice(b",\"hedged\":true");
    }
    if record.sdk_retries > 0 {
        number(out, member!("caller_retries"), u64::from(record.sdk_retries));
    }
    if let Some(after) = record.first_token_after {
        number(out, member!("first_token_us"), micros(after));
    }
    tokens(out, &record.spent);
    money(out, record.cost);
    if let Some(stale) = &record.stale {
        number(out, member!("stale_age_s"), stale.age.as_secs());
        out.extend_from_slice(member!("stale_of").as_bytes());
        text(out, stale.request_id);
    }
    if let Some(cached) = &record.cache {
        number(out, member!("cache_age_s"), cached.age.as_secs());
        out.extend_from_slice(member!("cache_of").as_bytes());
        text(out, cached.request_id);
        some(out, member!("cache_saved_tokens"), cached.saved_tokens);
    }
    told(out, member!("refused_by"), record.refused_by);
    told(out, member!("would_refuse_by"), record.would_refuse_by);
    told(out, member!("guarded_by"), record.guarded_by);
    out.extend_from_slice(b"}\n");
}

/// US dollars as a decimal number, exact. What something cost that nobody knows is not written.
fn money(out: &mut Vec<u8>, cost: Result<Picodollars, Unpriced>) {
    if let Ok(cost) = cost {
        out.extend_from_slice(member!("cost_usd").as_bytes());
        cost.write(out);
    }
}

fn tokens(out: &mut Vec<u8>, spent: &Spent) {
    if let Some(usage) = &spent.reported {
        number(out, member!("input_tokens"), usage.input);
        some(out, member!("cached_tokens"), usage.cached);
        number(out, member!("output_tokens"), usage.output);
    }
    some(out, member!("estimated_input_tokens"), spent.estimated_input);
    some(out, member!("estimated_output_tokens"), spent.estimated_output);
}

#[inline]
fn some(out: &mut Vec<u8>, key: &'static str, value: u64) {
    if value > 0 {
        number(out, key, value);
    }
}

#[inline]
fn number(out: &mut Vec<u8>, key: &'static str, value: u64) {
    out.extend_from_slice(key.as_bytes());
    line::number(out, value);
}

#[inline]
fn told(out: &mut Vec<u8>, key: &'static str, value: &str) {
    if !value.is_empty() {
        out.extend_from_slice(key.as_bytes());
        text(out, value);
    }
}

/// A word of a closed list, which is neither long nor has a special character in it.
#[inline]
fn word(out: &mut Vec<u8>, key: &'static str, value: &'static str) {
    if !value.is_empty() {
        out.extend_from_slice(key.as_bytes());
        line::plain(out, value);
    }
}

/// A JSON string, clipped: names come from callers.
fn text(out: &mut Vec<u8>, value: &str) {
    line::text(out, value, LONGEST);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowsprit_core::cost::Picodollars;
    use bowsprit_core::dialect::{Dialect, Usage};
    use bowsprit_core::flow::State;
    use bowsprit_core::record::path::Path;
    use bowsprit_core::record::{AttemptKind, AttemptOutcome, Cached, Called, Outcome, Spent};

    const COST: Cost<'static> = Cost {
        reported: Picodollars::new(1_250_000_000),
        estimated: Picodollars::new(2),
        version: "table:2026-01-31",
    };

    const CACHED: Cached<'static> = Cached {
        age: Duration::from_secs(61),
        request_id: "r-0",
        provider: "claude",
        saved_tokens: 16,
        saved_cost: Picodollars::new(7),
    };

    fn record(asked_model: &str) -> RequestRecord<'_> {
        RequestRecord {
            id: "r-1",
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
            route: "",
            dialect: Dialect::OpenAiChat,
            operation: "chat_completions",
            asked_model,
            provider: "claude",
            model: "m",
            is_stream: true,
            attempts: 2,
            hedges: 1,
            sdk_retries: 1,
            fields_left_out: 2,
            tools_left_out: 1,
            state: State::Failed,
            illegal_changes: 0,
            outcome: Outcome::Cut,
            code: Some(Code::ExtReset),
            status: 200,
            took: Duration::from_secs(2),
            first_token_after: Some(Duration::from_secs(1)),
            overhead: Duration::from_micros(80),
            answer_bytes: 100,
            spent: Spent {
                reported: Some(Usage {
                    input: 7,
                    output: 9,
                    cached: 3,
                    ..Usage::default()
                }),
                estimated_input: 1,
                estimated_output: 2,
                is_nothing: false,
            },
            path: Path::NONE,
            stale: None,
            cache: None,
            refused_by: "",
            would_refuse_by: "",
            guarded_by: "",
            span: None,
            cost: Ok(COST.total()),
        }
    }

    #[test]
    fn an_access_line_is_json_whatever_a_caller_calls_his_model() {
        let log = AccessLog::in_memory();
        log.write(&RequestRecord {
            code: None,
            ..record("a\"b\\c\nd\u{1f600}")
        });
        let line: serde_json::Value = serde_json::from_str(log.text().trim_end()).unwrap();
        assert_eq!(line["asked_model"], "a\"b\\c\nd\u{1f600}");
        assert_eq!(line["attempts"], 2);
        assert_eq!(line["stream"], true);
        assert_eq!(line["input_tokens"], 7);
        assert!(
            log.text().contains(",\"cost_usd\":0.001250000002}"),
            "to the last picodollar"
        );
        assert!(line.get("code").is_none(), "what is not known is not written");
    }

    fn attempt() -> AttemptRecord<'static> {
        AttemptRecord {
            request_id: "r-1",
            trace_id: "",
            route: "",
            operation: "chat_completions",
            number: 1,
            kind: AttemptKind::First,
            provider: "claude",
            model: "m",
            reported_model: "",
            provider_request_id: "",
            credential: Some("main"),
            is_generation: true,
            is_stream: false,
            status: Some(200),
            outcome: AttemptOutcome::Failed,
            code: Some(Code::ExtReset),
            took: Duration::from_secs(1),
            head_after: Some(Duration::from_millis(1)),
            first_content_after: None,
            spent: record("m").spent,
            cost: Ok(COST),
            span: None,
            called: Called::default(),
        }
    }

    #[test]
    fn an_attempt_has_a_line_where_it_is_asked_for_and_says_what_its_limit_was_charged() {
        let log = AccessLog::in_memory();
        log.write_attempt(&attempt(), 19);
        let line: serde_json::Value = serde_json::from_str(log.text().trim_end()).unwrap();
        assert_eq!((&line["target"], &line["kind"]), (&"attempt".into(), &"first".into()));
        assert_eq!(
            (&line["charged_tokens"], &line["output_tokens"]),
            (&19.into(), &9.into())
        );
        for (level, is_told) in [(Level::INFO, false), (Level::DEBUG, true)] {
            assert_eq!(AccessLog::new(true, level).tells_attempts, is_told, "{level}");
            assert!(!AccessLog::new(false, level).tells_attempts, "{level}");
        }
    }

    #[test]
    fn a_line_says_what_the_cache_gave_and_which_rule_refused() {
        let log = AccessLog::in_memory();
        log.write(&RequestRecord {
            cache: Some(CACHED),
            refused_by: "limit:tokens",
            ..record("m")
        });
        let line: serde_json::Value = serde_json::from_str(log.text().trim_end()).unwrap();
        let told = ["cache_age_s", "cache_of", "cache_saved_tokens", "refused_by"].map(|field| line[field].clone());
        assert_eq!(
            serde_json::Value::from(told.to_vec()),
            serde_json::json!([61, "r-0", 16, "limit:tokens"])
        );
    }

    #[test]
    fn every_field_of_a_line_is_explained_in_the_operators_guide() {
        let log = AccessLog::in_memory();
        log.write(&record("m"));
        log.write(&RequestRecord {
            cache: Some(CACHED),
            refused_by: "limit:tokens",
            ..record("m")
        });
        log.write_attempt(&attempt(), 19);
        let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md")).unwrap();
        let lines = log.text();
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        for field in lines.flat_map(|line| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>()) {
            // These two say only what kind of line it is.
            if !["level", "target"].contains(&field.as_str()) {
                assert!(
                    guide.contains(&format!("`{field}`")),
                    "{field} is not in docs/operating.md"
                );
            }
        }
    }
}
