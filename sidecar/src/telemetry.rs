//! Logs: JSON lines on standard output.
//!
//! What happens seldom goes through `tracing`. The access line, one per request, is written by hand into a buffer that
//! is flushed several times a second: a JSON subscriber would cost more than the proxying. No line of either kind ever
//! holds a prompt, an answer or a key: the code that logs has none of them in reach but for the body, which it does not
//! format.

use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

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

/// Everything the access line says about one request.
#[derive(Clone, Debug, Default)]
pub struct AccessLine<'a> {
    /// `X-Request-ID`.
    pub request_id: &'a str,
    /// The caller's trace, from its `traceparent`; empty where there is none.
    pub trace_id: &'a str,
    /// The caller's dialect.
    pub dialect: &'a str,
    /// What was asked: `chat_completions`, `messages`, ...
    pub operation: &'a str,
    /// The model asked for.
    pub asked_model: &'a str,
    /// Who answered, or was asked last.
    pub provider: &'a str,
    /// The model that was asked for there.
    pub model: &'a str,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// Attempts over all providers.
    pub attempts: u32,
    /// Whether a second attempt was made beside the first.
    pub hedged: bool,
    /// How often the caller's SDK made this request before.
    pub caller_retries: u32,
    /// How it ended.
    pub outcome: &'a str,
    /// The error code; empty when it went well.
    pub code: &'a str,
    /// HTTP status sent.
    pub status: u16,
    /// From the request's head to the end of the answer.
    pub duration: Duration,
    /// To the first content, for streams.
    pub first_token: Option<Duration>,
    /// Our own part.
    pub overhead: Duration,
    /// Bytes of the answer's body that were sent to the caller.
    pub answer_bytes: u64,
    /// Input tokens, if known.
    pub input_tokens: Option<u64>,
    /// Of these, tokens from the provider's prompt cache, if any.
    pub cached_tokens: Option<u64>,
    /// Output tokens, if known.
    pub output_tokens: Option<u64>,
    /// Last state of the request's lifecycle.
    pub state: &'a str,
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
    pub fn write(&self, line: &AccessLine<'_>) {
        if !self.is_on() {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        format_line(&mut waiting, unix_now(), line);
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

fn format_line(out: &mut Vec<u8>, now: Duration, line: &AccessLine<'_>) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    write_rfc3339(out, now);
    out.extend_from_slice(b"\",\"level\":\"INFO\",\"target\":\"access\"");
    for (name, value) in [
        ("request_id", line.request_id),
        ("trace_id", line.trace_id),
        ("dialect", line.dialect),
        ("operation", line.operation),
        ("asked_model", line.asked_model),
        ("provider", line.provider),
        ("model", line.model),
        ("outcome", line.outcome),
        ("code", line.code),
        ("state", line.state),
    ] {
        if !value.is_empty() {
            key(out, name);
            text(out, value);
        }
    }
    number(out, "status", u64::from(line.status));
    number(out, "attempts", u64::from(line.attempts));
    number(out, "duration_us", micros(line.duration));
    number(out, "overhead_us", micros(line.overhead));
    number(out, "answer_bytes", line.answer_bytes);
    if line.stream {
        out.extend_from_slice(b",\"stream\":true");
    }
    if line.hedged {
        out.extend_from_slice(b",\"hedged\":true");
    }
    if line.caller_retries > 0 {
        number(out, "caller_retries", u64::from(line.caller_retries));
    }
    for (name, value) in [
        ("first_token_us", line.first_token.map(micros)),
        ("input_tokens", line.input_tokens),
        ("cached_tokens", line.cached_tokens),
        ("output_tokens", line.output_tokens),
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

    #[test]
    fn an_access_line_is_json_whatever_a_caller_calls_his_model() {
        let log = AccessLog::in_memory();
        log.write(&AccessLine {
            request_id: "r-1",
            asked_model: "a\"b\\c\nd\u{1f600}",
            status: 200,
            attempts: 2,
            stream: true,
            input_tokens: Some(7),
            ..AccessLine::default()
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
        log.write(&AccessLine {
            request_id: "r-1",
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
            dialect: "openai",
            operation: "chat_completions",
            asked_model: "m",
            provider: "claude",
            model: "m",
            stream: true,
            attempts: 1,
            hedged: true,
            caller_retries: 1,
            outcome: "cut",
            code: "EXT_RESET",
            status: 200,
            duration: Duration::from_secs(2),
            first_token: Some(Duration::from_secs(1)),
            overhead: Duration::from_micros(80),
            answer_bytes: 100,
            input_tokens: Some(7),
            cached_tokens: Some(3),
            output_tokens: Some(9),
            state: "failed",
        });
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
