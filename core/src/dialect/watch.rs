//! Watching a stream that passes unchanged: cheap, and blind to nothing that matters.
//!
//! Per event, a few substring searches decide whether it can be more than content; only then is it parsed, and then
//! into borrowed structs that skip what is not asked for. A quoted key such as `"usage"` cannot occur inside a JSON
//! string (its quotes would be escaped), so a search never misses a key, and a string value that happens to equal one
//! is told apart by the colon that does not follow.

mod responses;

use std::sync::LazyLock;

use bytes::{BufMut as _, Bytes, BytesMut};
use memchr::memmem::Finder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::array::Elements;
use super::error::{self, ErrorView};
use super::sse::{Kind, Parser};
use super::stream::{Pushed, StreamError};
use super::usage::{self, Usage};
use super::{Dialect, ProviderError};

/// Watches a same-dialect stream.
#[derive(Debug)]
pub(super) struct Watch {
    dialect: Dialect,
    hide_usage: bool,
    form: Form,
    parser: Parser,
    seen: Seen,
    /// The last whole event was cut out, and so is the LF that may still belong to it.
    last_cut: bool,
    /// The oversized event that is passing, of a dialect that ends with one.
    large: Option<responses::Large>,
}

/// How the body is framed; known from its first byte that is not white space.
#[derive(Debug)]
enum Form {
    Unknown,
    Events,
    /// `Gemini` without `alt=sse`.
    Array(Box<Elements>),
    /// A single JSON object: some servers answer an error with status 200 and no stream. Held up to `PLAIN_LIMIT`.
    Plain(Vec<u8>),
}

const PLAIN_LIMIT: usize = 64 << 10;

#[derive(Debug, Default)]
struct Seen {
    started: bool,
    ended: bool,
    usage: Option<Usage>,
    anthropic: usage::Anthropic,
    chunks: u64,
    /// All events of a Responses stream, which numbers them from 0.
    events: u64,
}

/// What to do with an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    Cut,
}

impl Watch {
    pub(super) fn new(dialect: Dialect, hide_usage: bool) -> Self {
        Self {
            dialect,
            hide_usage,
            form: Form::Unknown,
            parser: Parser::new(),
            seen: Seen::default(),
            last_cut: false,
            large: None,
        }
    }

    pub(super) fn content_started(&self) -> bool {
        self.seen.started
    }

    pub(super) fn ended(&self) -> bool {
        // An array's last element is not its end: without the bracket the caller has half a JSON text.
        let closed = match &self.form {
            Form::Array(elements) => elements.closed(),
            Form::Unknown | Form::Events | Form::Plain(_) => true,
        };
        self.seen.ended && closed
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.seen.usage
    }

    pub(super) fn chunks(&self) -> u64 {
        self.seen.chunks
    }

    pub(super) fn push(&mut self, chunk: &Bytes, out: &mut BytesMut) -> Result<Pushed, StreamError> {
        if matches!(self.form, Form::Unknown) {
            self.form = form_of(self.dialect, chunk);
        }
        match &mut self.form {
            Form::Unknown | Form::Events => {}
            Form::Array(elements) => {
                let seen = &mut self.seen;
                elements.push(chunk, |element| gemini(element, seen).map(|_| ()))?;
                return Ok(Pushed::Same);
            }
            Form::Plain(held) => {
                if held.len() + chunk.len() <= PLAIN_LIMIT {
                    held.extend_from_slice(chunk);
                }
                return Ok(Pushed::Same);
            }
        }
        if self.hide_usage {
            self.push_cutting(chunk, out)
        } else {
            self.push_through(chunk, out)
        }
    }

    fn push_through(&mut self, chunk: &Bytes, out: &mut BytesMut) -> Result<Pushed, StreamError> {
        let mut rest: &[u8] = chunk;
        loop {
            let before = chunk.len() - rest.len();
            let Some(piece) = self.parser.next(&mut rest) else {
                return Ok(Pushed::Same);
            };
            if piece.kind == Kind::Oversized && self.dialect == Dialect::OpenAiResponses {
                self.large.get_or_insert_default().take(piece.raw);
                if !self.parser.mid_event()
                    && let Some(large) = self.large.take()
                {
                    large.end(&mut self.seen);
                }
                continue;
            }
            if piece.kind != Kind::Whole {
                continue;
            }
            let Some(data) = piece.fields().data else { continue };
            if let Err(error) = inspect(self.dialect, &data, &mut self.seen) {
                // The caller gets what came before the error, and of an error that it already has half of, the rest.
                let after = chunk.len() - rest.len();
                let sent = if piece.carried { after } else { before };
                out.put_slice(chunk.get(..sent).unwrap_or_default());
                return Err(error);
            }
        }
    }

    fn push_cutting(&mut self, chunk: &Bytes, out: &mut BytesMut) -> Result<Pushed, StreamError> {
        let start = out.len();
        let mut whole = !self.parser.mid_event();
        let mut rest: &[u8] = chunk;
        while let Some(piece) = self.parser.next(&mut rest) {
            let cut = match piece.kind {
                Kind::Tail => self.last_cut,
                Kind::Oversized => false,
                Kind::Whole => match piece.fields().data {
                    Some(data) => inspect(self.dialect, &data, &mut self.seen)? == Verdict::Cut,
                    None => false,
                },
            };
            self.last_cut = cut;
            if cut {
                whole = false;
            } else {
                out.put_slice(piece.raw);
            }
        }
        whole &= out.len() - start == chunk.len();
        if whole {
            out.truncate(start);
            return Ok(Pushed::Same);
        }
        Ok(Pushed::Rewritten)
    }

    pub(super) fn finish(&mut self, out: &mut BytesMut) -> Result<(), StreamError> {
        match &self.form {
            Form::Array(elements) => {
                return if self.seen.ended && elements.closed() {
                    Ok(())
                } else {
                    Err(StreamError::Truncated)
                };
            }
            Form::Plain(held) => return Err(plain(self.dialect, held)),
            Form::Unknown | Form::Events => {}
        }
        let rest = self.parser.rest();
        let mut verdict = Verdict::Keep;
        if let Some(data) = rest.fields().data {
            // Half an event does not parse, which is no news in a stream that ends too early.
            match inspect(self.dialect, &data, &mut self.seen) {
                Ok(read) => verdict = read,
                Err(StreamError::Provider(error)) => return Err(StreamError::Provider(error)),
                Err(_) => {}
            }
        }
        if !self.seen.ended {
            return Err(StreamError::Truncated);
        }
        if self.hide_usage && verdict == Verdict::Keep {
            out.put_slice(rest.raw);
        }
        Ok(())
    }

    pub(super) fn error_event(&self, caller: Dialect, view: &ErrorView<'_>) -> Bytes {
        if let Form::Array(elements) = &self.form {
            if elements.mid_element() {
                // Nothing can be said inside half an element; the broken array is the error.
                return Bytes::new();
            }
            let (before, after) = elements.frame();
            let body = error::error_body(caller, view);
            return [before.as_bytes(), &body, after.as_bytes()].concat().into();
        }
        let event = match caller {
            Dialect::OpenAiResponses => error::responses_event(view, self.seen.events),
            _ => error::error_event(caller, view),
        };
        // The caller has half an event: end it, or ours would become part of it.
        if !self.hide_usage && self.parser.mid_event() {
            [b"\n\n", event.as_ref()].concat().into()
        } else {
            event
        }
    }
}

fn form_of(dialect: Dialect, chunk: &[u8]) -> Form {
    match chunk.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Form::Unknown,
        Some(b'[') if dialect == Dialect::Gemini => Form::Array(Box::default()),
        Some(b'{') => Form::Plain(Vec::new()),
        Some(_) => Form::Events,
    }
}

/// What a body that is no stream at all was.
fn plain(dialect: Dialect, body: &[u8]) -> StreamError {
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(value) if error::is_error(&value) => StreamError::Provider(error::from_value(dialect, 200, &value)),
        Ok(_) => StreamError::Malformed("a JSON object instead of an event stream".to_owned()),
        Err(_) => StreamError::Truncated,
    }
}

fn inspect(dialect: Dialect, data: &[u8], seen: &mut Seen) -> Result<Verdict, StreamError> {
    match dialect {
        Dialect::OpenAiChat => openai(data, seen),
        Dialect::AnthropicMessages => anthropic(data, seen).map(|()| Verdict::Keep),
        Dialect::Gemini => gemini(data, seen),
        Dialect::OpenAiResponses => responses::event(data, seen).map(|()| Verdict::Keep),
    }
}

macro_rules! finder {
    ($name:ident, $needle:literal) => {
        static $name: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new($needle));
    };
}

finder!(USAGE, "\"usage\"");
finder!(ERROR, "\"error\"");
finder!(EMPTY_DELTA, "\"delta\":{}");
finder!(USAGE_METADATA, "\"usageMetadata\"");
finder!(FINISH_REASON, "\"finishReason\"");
finder!(PROMPT_FEEDBACK, "\"promptFeedback\"");

/// Whether `data` has the key with a value other than null (or, as `OpenAI` and its compatible servers like to say in
/// every chunk, no value at all).
fn has(finder: &Finder<'_>, data: &[u8]) -> bool {
    let mut rest = data;
    while let Some(at) = finder.find(rest) {
        rest = rest.get(at + finder.needle().len()..).unwrap_or_default();
        let mut after = rest.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
        if after.next() == Some(b':') && after.next() != Some(b'n') {
            return true;
        }
    }
    false
}

#[derive(Deserialize)]
struct OpenAiChunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<OpenAiChoice<'a>>>,
    usage: Option<usage::OpenAi>,
    error: Option<IgnoredAny>,
    #[serde(borrow, default)]
    object: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct OpenAiChoice<'a> {
    #[serde(borrow, default)]
    delta: Option<OpenAiDelta<'a>>,
    finish_reason: Option<IgnoredAny>,
    /// The legacy completions form.
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct OpenAiDelta<'a> {
    #[serde(borrow, default)]
    content: Option<Text<'a>>,
    #[serde(borrow, default)]
    refusal: Option<Text<'a>>,
    #[serde(borrow, default, alias = "reasoning")]
    reasoning_content: Option<Text<'a>>,
    #[serde(default)]
    tool_calls: Option<IgnoredAny>,
    #[serde(default)]
    function_call: Option<IgnoredAny>,
}

/// Borrowed where it can be; only its emptiness is asked.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

fn openai(data: &[u8], seen: &mut Seen) -> Result<Verdict, StreamError> {
    if data == b"[DONE]" {
        seen.ended = true;
        return Ok(Verdict::Keep);
    }
    if seen.started && !has(&USAGE, data) && !has(&ERROR, data) {
        if EMPTY_DELTA.find(data).is_none() {
            seen.chunks += 1;
        }
        return Ok(Verdict::Keep);
    }
    // What does not parse is passed on: the caller's SDK knows its provider's quirks better.
    let Ok(chunk) = serde_json::from_slice::<OpenAiChunk<'_>>(data) else {
        return unread(Dialect::OpenAiChat, data);
    };
    let is_error = |object: Text<'_>| object.0 == "error";
    if chunk.error.is_some() || chunk.object.is_some_and(is_error) {
        return Err(StreamError::Provider(error::parse_error(
            Dialect::OpenAiChat,
            200,
            data,
        )));
    }
    let choices = chunk.choices.unwrap_or_default();
    let says = |text: &Option<Text<'_>>| text.as_ref().is_some_and(|text| !text.0.is_empty());
    let content = choices.iter().any(|choice| {
        says(&choice.text)
            || choice.delta.as_ref().is_some_and(|delta| {
                says(&delta.content)
                    || says(&delta.refusal)
                    || says(&delta.reasoning_content)
                    || delta.tool_calls.is_some()
                    || delta.function_call.is_some()
            })
    });
    seen.chunks += u64::from(content);
    seen.started |= content || choices.iter().any(|choice| choice.finish_reason.is_some());
    let Some(usage) = chunk.usage else {
        return Ok(Verdict::Keep);
    };
    seen.usage = Some(usage.into());
    Ok(if choices.is_empty() {
        Verdict::Cut
    } else {
        Verdict::Keep
    })
}

/// An event that does not parse into the expected shape: an error if it can be read as one, else none of our business.
fn unread(dialect: Dialect, data: &[u8]) -> Result<Verdict, StreamError> {
    match serde_json::from_slice::<serde_json::Value>(data) {
        Ok(value) if error::is_error(&value) => Err(StreamError::Provider(error::from_value(dialect, 200, &value))),
        _ => Ok(Verdict::Keep),
    }
}

#[derive(Deserialize)]
struct AnthropicEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    message: Option<AnthropicMessage>,
    usage: Option<usage::Anthropic>,
    #[serde(borrow, default)]
    content_block: Option<AnthropicBlock<'a>>,
}

#[derive(Deserialize)]
struct AnthropicMessage {
    usage: Option<usage::Anthropic>,
}

#[derive(Deserialize)]
struct AnthropicBlock<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
}

fn anthropic(data: &[u8], seen: &mut Seen) -> Result<(), StreamError> {
    // The frequent event, as `Anthropic` writes it; spelled differently it is only read the slow way.
    if data.starts_with(br#"{"type":"content_block_delta""#) {
        seen.started = true;
        seen.chunks += 1;
        return Ok(());
    }
    let Ok(event) = serde_json::from_slice::<AnthropicEvent<'_>>(data) else {
        return unread(Dialect::AnthropicMessages, data).map(|_| ());
    };
    match event.kind.0.as_ref() {
        "content_block_delta" => {
            seen.started = true;
            seen.chunks += 1;
        }
        // A tool call is known from its start; a text block is empty until its first delta.
        "content_block_start" => {
            seen.started |= event
                .content_block
                .is_some_and(|block| !matches!(&*block.kind.0, "text" | "thinking"));
        }
        "message_start" | "message_delta" => {
            let usage = event.message.and_then(|message| message.usage).or(event.usage);
            if let Some(usage) = usage {
                seen.anthropic.merge(usage);
                seen.usage = Some(seen.anthropic.into());
            }
            seen.started |= &*event.kind.0 == "message_delta";
        }
        "message_stop" => seen.ended = true,
        "error" => {
            return Err(StreamError::Provider(error::parse_error(
                Dialect::AnthropicMessages,
                200,
                data,
            )));
        }
        _ => {}
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiChunk<'a> {
    #[serde(borrow, default)]
    candidates: Option<Vec<GeminiCandidate<'a>>>,
    usage_metadata: Option<usage::Gemini>,
    prompt_feedback: Option<GeminiFeedback>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiCandidate<'a> {
    #[serde(borrow, default)]
    content: Option<GeminiContent<'a>>,
    finish_reason: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct GeminiContent<'a> {
    #[serde(borrow, default)]
    parts: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiFeedback {
    block_reason: Option<IgnoredAny>,
}

fn gemini(data: &[u8], seen: &mut Seen) -> Result<Verdict, StreamError> {
    let telling = [&USAGE_METADATA, &FINISH_REASON, &PROMPT_FEEDBACK, &ERROR]
        .into_iter()
        .any(|key| has(key, data));
    if seen.started && !telling {
        seen.chunks += 1;
        return Ok(Verdict::Keep);
    }
    let Ok(chunk) = serde_json::from_slice::<GeminiChunk<'_>>(data) else {
        return unread(Dialect::Gemini, data);
    };
    if chunk.error.is_some() {
        return Err(StreamError::Provider(error::parse_error(Dialect::Gemini, 200, data)));
    }
    let candidates = chunk.candidates.unwrap_or_default();
    let content = candidates.iter().any(|candidate| {
        let parts = candidate
            .content
            .as_ref()
            .and_then(|content| content.parts.as_deref())
            .unwrap_or_default();
        parts
            .iter()
            .any(|part| !part.get().starts_with(r#"{"text":"""#) && !part.get().starts_with(r#"{"text": """#))
    });
    seen.chunks += u64::from(content);
    let blocked = chunk
        .prompt_feedback
        .is_some_and(|feedback| feedback.block_reason.is_some());
    let finished = blocked || candidates.iter().any(|candidate| candidate.finish_reason.is_some());
    seen.ended |= finished;
    seen.started |= content || finished;
    if let Some(usage) = chunk.usage_metadata {
        seen.usage = Some(usage.into());
    }
    Ok(Verdict::Keep)
}

impl From<ProviderError> for StreamError {
    fn from(error: ProviderError) -> Self {
        Self::Provider(error)
    }
}
