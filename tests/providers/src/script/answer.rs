//! An answer that is meant to be good, and the ways in which it may break.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::millis;

/// An answer with status 200: what it says, at which pace, and how it breaks, if it does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answer {
    /// The text. Left out: a greeting that names provider and model and repeats the last user message.
    pub text: Option<String>,
    /// In how many pieces a stream carries the text; left out, one for each word. Filled up if the text is too short.
    pub chunks: Option<u32>,
    /// Wait before the head, in milliseconds.
    pub head_delay_ms: u64,
    /// Wait between the head (and start-up events) and the first content, in milliseconds.
    pub first_delay_ms: u64,
    /// Wait before each further piece of content, in milliseconds.
    pub delay_ms: u64,
    /// Pings (Anthropic) or comments (OpenAI) sent before each piece of content; Gemini sends none.
    pub pings: u32,
    /// Tools the model calls after its text. With calls and no `text` there is no text.
    pub tool_calls: Vec<ToolCall>,
    /// What the model thought first: a thinking block with a signature (Anthropic), a thought part (Gemini), a reasoning
    /// item with a summary (responses).
    pub thinking: Option<String>,
    /// The opaque proof of that thinking, to be sent back as it came: a thinking block's signature (made up if left out),
    /// Gemini's `thoughtSignature` (Base64), the `encrypted_content` of responses, if asked for.
    pub signature: Option<String>,
    /// The token counts; what is left out is counted from request and text, at four bytes a token.
    pub usage: Tokens,
    /// Why it ended: `stop`, `length`, `tool_calls`, `content_filter` in the provider's word, anything else as it is.
    pub finish: Option<String>,
    /// The model as the answer to a request for embeddings names it (OpenAI); the vectors are other ones with each. Left out: the model
    /// that was asked for, and the vectors of the texts.
    pub version: Option<String>,
    /// Headers to add to or put in place of the provider's usual ones; an empty value takes a header away.
    pub headers: Vec<(String, String)>,
    /// Sends the body gzipped and labelled so, streams too.
    pub gzip: bool,
    /// Cuts what is sent into writes (and, in a stream, HTTP chunks) of this many bytes.
    pub write_bytes: Option<usize>,
    /// Wait between such writes, in milliseconds.
    pub write_delay_ms: u64,
    /// Adds one more piece of content of this many bytes, in one event.
    pub huge_event_bytes: Option<usize>,
    /// How the lines of the event stream end.
    pub line_end: LineEnd,
    /// Starts the event stream with a byte order mark.
    pub byte_order_mark: bool,
    /// Leaves out the blank line after the last event.
    pub no_final_blank_line: bool,
    /// How it breaks.
    pub fault: Option<Fault>,
    /// What becomes of the connection after a complete answer.
    pub after: After,
}

impl Answer {
    /// An answer with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::default()
        }
    }

    /// Sets in how many pieces a stream carries the text.
    #[must_use]
    pub fn chunks(mut self, chunks: u32) -> Self {
        self.chunks = Some(chunks);
        self
    }

    /// Sets the wait before the head.
    #[must_use]
    pub fn head_delay(mut self, delay: Duration) -> Self {
        self.head_delay_ms = millis(delay);
        self
    }

    /// Sets the wait before the first content.
    #[must_use]
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay_ms = millis(delay);
        self
    }

    /// Sets the wait before each further piece of content.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay_ms = millis(delay);
        self
    }

    /// Adds a call of the tool `name`.
    #[must_use]
    pub fn tool_call(mut self, name: impl Into<String>, arguments: Value) -> Self {
        self.tool_calls.push(ToolCall {
            name: Some(name.into()),
            arguments,
            ..ToolCall::default()
        });
        self
    }

    /// Sets the token counts.
    #[must_use]
    pub fn usage(mut self, usage: Tokens) -> Self {
        self.usage = usage;
        self
    }

    /// Sets why it ended.
    #[must_use]
    pub fn finish(mut self, reason: impl Into<String>) -> Self {
        self.finish = Some(reason.into());
        self
    }

    /// Sets the version of the embedding model.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Adds a header, or replaces the usual one of that name.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Lets it break.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Sets what becomes of the connection after a complete answer.
    #[must_use]
    pub fn after(mut self, after: After) -> Self {
        self.after = after;
        self
    }
}

/// A tool call of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolCall {
    /// The tool; left out, the first tool of the request.
    pub name: Option<String>,
    /// The arguments, an object.
    pub arguments: Value,
    /// The group that the tool is in, which only OpenAI's responses know.
    pub namespace: Option<String>,
    /// Whether it is the search for tools that a caller of OpenAI's responses runs, an item of its own there.
    pub search: bool,
    /// The text for a tool that takes text (`custom` in OpenAI's responses); elsewhere it is the argument `input`.
    pub input: Option<String>,
}

/// Token counts, normalised; each API shows them its own way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tokens {
    /// Input, cached and cache-written tokens included.
    pub input: Option<u64>,
    /// Output, reasoning included.
    pub output: Option<u64>,
    /// Input read from the provider's prompt cache.
    pub cached: u64,
    /// Input written to the provider's prompt cache.
    pub cache_write: u64,
    /// Output spent on reasoning.
    pub reasoning: u64,
}

/// How the lines of an event stream end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineEnd {
    /// As the provider does it: CR LF for Gemini, LF for the others.
    #[default]
    Usual,
    /// LF.
    Lf,
    /// CR LF.
    CrLf,
    /// A bare CR.
    Cr,
}

/// How an answer breaks. "After n" counts pieces of content; start-up events are sent first, the end marker never. In a
/// plain answer the break comes after half of the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Goes silent, the connection open.
    Stall {
        /// Pieces of content sent before.
        after: u32,
    },
    /// Resets the connection (TCP RST).
    Reset {
        /// When.
        at: Point,
    },
    /// Promises a `content-length` longer than what it sends, then closes.
    EarlyFin {
        /// Pieces of content sent before.
        after: u32,
    },
    /// Chunked, and closed without the last chunk.
    TruncatedChunked {
        /// Pieces of content sent before.
        after: u32,
    },
    /// Everything but the dialect's end marker (`[DONE]`, `message_stop`, the `finishReason`), then a clean end.
    NoEndMarker,
    /// All of the content and nothing after it, neither a finish reason nor an end marker, then a clean end.
    NoFinish,
    /// Ends with an error event, as the provider writes one inside a stream.
    ErrorEvent {
        /// Pieces of content sent before.
        after: u32,
        /// The error, by its status: 529, 500, 429.
        code: u16,
        /// The provider's word for it; left out, the usual one of the status.
        #[serde(default)]
        kind: Option<String>,
    },
}

impl Fault {
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Stall { .. } => "stall",
            Self::Reset { .. } => "reset",
            Self::EarlyFin { .. } => "early_fin",
            Self::TruncatedChunked { .. } => "truncated_chunked",
            Self::NoEndMarker => "no_end_marker",
            Self::NoFinish => "no_finish",
            Self::ErrorEvent { .. } => "error_event",
        }
    }
}

/// A point of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// The request was read, nothing was sent.
    BeforeHead,
    /// The head was sent.
    AfterHead,
    /// The head, the start-up events and so many pieces of content were sent.
    AfterChunks(u32),
    /// As above, and half of the next HTTP chunk.
    MidChunk(u32),
}

/// What becomes of the connection after a complete answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// Kept for the next request.
    #[default]
    Keep,
    /// `connection: close` is announced, then it is closed.
    Close,
    /// Closed at once and without announcement, as by an idle timeout.
    CloseSilently,
    /// Reset as soon as the next request's first byte arrives: the pooled connection that was dead all along.
    ResetOnNextRequest,
}
