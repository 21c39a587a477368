//! Logs: JSON lines on standard output.
//!
//! What happens seldom goes through `tracing`. The access line, one per request, is written by hand into a buffer that
//! is flushed several times a second: a JSON subscriber would cost more than the proxying. No line of either kind ever
//! holds a prompt, an answer or a key: the code that logs has none of them in reach but for the body, which it does not
//! format.

use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bowsprit_core::fault::Code;
use bowsprit_core::record::RequestRecord;
use tracing::Level;

use crate::limits::LOG_WAITING;
use crate::time::{unix_now, write_rfc3339};
use sink::{Line, Sink as Output};

mod sink;

/// Flush when so much is waiting.
const FLUSH_AT: usize = 32 << 10;
/// Flush at least so often.
pub const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// How long the last lines may take at the end.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Standard output, for lines of both kinds.
fn stdout() -> &'static Output {
    static STDOUT: OnceLock<Arc<Output>> = OnceLock::new();
    STDOUT.get_or_init(|| Output::start(LOG_WAITING, std::io::stdout()))
}

/// Writes out what waits, before the process ends.
pub fn finish() {
    stdout().flush(LAST_LINES);
}

/// Says where a panic happened, and not why: its message may quote what a caller wrote.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(at, "panic: this is a bug; please report the place");
    }));
}

/// Starts JSON logging at a level. Only our own targets above `warn`: hyper and rustls have nothing to say to operators.
pub fn start(level: Level) {
    let filter = format!("warn,bowsprit_sidecar={level},bowsprit_core={level}");
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(|| Line(stdout()))
        .try_init();
    tell_panics();
}

/// The access log.
#[derive(Debug)]
pub struct AccessLog {
    waiting: Mutex<Vec<u8>>,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Off,
    Stdout,
    /// Kept for tests to read.
    Memory,
}

impl AccessLog {
    /// To standard output, or nowhere.
    pub fn new(on: bool) -> Self {
        Self {
            waiting: Mutex::default(),
            sink: if on { Sink::Stdout } else { Sink::Off },
        }
    }

    /// Kept in memory: see [`AccessLog::text`].
    pub fn in_memory() -> Self {
        Self {
            waiting: Mutex::default(),
            sink: Sink::Memory,
        }
    }

    /// Whether lines are wanted at all.
    pub fn is_on(&self) -> bool {
        !matches!(self.sink, Sink::Off)
    }

    /// Writes one line.
    pub fn write(&self, record: &RequestRecord<'_>) {
        if !self.is_on() {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        format_line(&mut waiting, unix_now(), record);
        if waiting.len() >= FLUSH_AT && matches!(self.sink, Sink::Stdout) {
            hand_over(&mut waiting);
        }
    }

    /// Lines of either kind that nobody read in time.
    pub fn lines_lost(&self) -> u64 {
        if matches!(self.sink, Sink::Memory) {
            0
        } else {
            stdout().lost()
        }
    }

    /// Hands on what waits.
    pub fn flush(&self) {
        if matches!(self.sink, Sink::Stdout) {
            hand_over(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// What was written, for tests.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.waiting.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

fn hand_over(waiting: &mut Vec<u8>) {
    if !waiting.is_empty() {
        stdout().push(waiting);
        waiting.clear();
    }
}

fn format_line(out: &mut Vec<u8>, now: Duration, record: &RequestRecord<'_>) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    write_rfc3339(out, now);
    out.extend_from_slice(b"\",\"level\":\"INFO\",\"target\":\"access\"");
    for (name, value) in [
        ("request_id", record.id),
        ("trace_id", record.trace_id),
        ("dialect", record.dialect.as_str()),
        ("operation", record.operation),
        ("asked_model", record.asked_model),
        ("provider", record.provider),
        ("model", record.model),
        ("outcome", record.outcome.as_str()),
        ("code", record.code.map_or("", Code::as_str)),
        ("state", record.state.as_str()),
    ] {
        if !value.is_empty() {
            key(out, name);
            text(out, value);
        }
    }
    number(out, "status", u64::from(record.status));
    number(out, "attempts", u64::from(record.attempts));
    number(out, "duration_us", micros(record.took));
    number(out, "overhead_us", micros(record.overhead));
    number(out, "answer_bytes", record.answer_bytes);
    if record.is_stream {
        out.extend_from_slice(b",\"stream\":true");
    }
    if record.hedges > 0 {
        out.extend_from_slice(b",\"hedged\":true");
    }
    let told = record.spent.reported;
    let beyond = |count: u64| (count > 0).then_some(count);
    for (name, value) in [
        ("caller_retries", beyond(u64::from(record.sdk_retries))),
        ("first_token_us", record.first_token_after.map(micros)),
        ("input_tokens", told.map(|usage| usage.input)),
        ("cached_tokens", told.and_then(|usage| beyond(usage.cached))),
        ("output_tokens", told.map(|usage| usage.output)),
        ("estimated_input_tokens", beyond(record.spent.estimated_input)),
        ("estimated_output_tokens", beyond(record.spent.estimated_output)),
    ] {
        if let Some(value) = value {
            number(out, name, value);
        }
    }
    out.extend_from_slice(b"}\n");
}

/// Whole microseconds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    decimal(out, value);
}

/// Decimal digits, without the formatting machinery: seven of these stand in every line.
fn decimal(out: &mut Vec<u8>, value: u64) {
    let at = out.len();
    let mut rest = value;
    loop {
        out.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(at..) {
        digits.reverse();
    }
}

/// A JSON string, at most 200 bytes of it: names come from callers.
fn text(out: &mut Vec<u8>, value: &str) {
    let end = (0..=value.len().min(200))
        .rev()
        .find(|at| value.is_char_boundary(*at))
        .unwrap_or(0);
    let value = value.get(..end).unwrap_or("");
    out.push(b'"');
    if value
        .bytes()
        .all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\' && byte != 0x7f)
    {
        out.extend_from_slice(value.as_bytes());
    } else {
        for c in value.chars() {
            match c {
                '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
                c if c < ' ' || c == '\u{7f}' => {
                    let _ = write!(out, "\\u{:04x}", c as u32);
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowsprit_core::dialect::{Dialect, Usage};
    use bowsprit_core::flow::State;
    use bowsprit_core::record::{Outcome, Spent};

    fn record(asked_model: &str) -> RequestRecord<'_> {
        RequestRecord {
            id: "r-1",
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
            dialect: Dialect::OpenAiChat,
            operation: "chat_completions",
            asked_model,
            provider: "claude",
            model: "m",
            is_stream: true,
            attempts: 2,
            hedges: 1,
            sdk_retries: 1,
            state: State::Failed,
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
        assert!(line.get("code").is_none(), "what is not known is not written");
    }

    #[test]
    fn every_field_of_an_access_line_is_explained_in_the_operators_guide() {
        let log = AccessLog::in_memory();
        log.write(&record("m"));
        let line: serde_json::Value = serde_json::from_str(log.text().trim_end()).unwrap();
        let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md")).unwrap();
        for field in line.as_object().unwrap().keys() {
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
