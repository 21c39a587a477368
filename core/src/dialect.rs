//! What each provider's API says, and how one is said in another.
//!
//! Three dialects are spoken on both sides: `OpenAI` chat completions, `Anthropic` messages and `Gemini`
//! `generateContent`. A fourth, `OpenAI` Responses, is spoken by callers to every provider, and by this proxy to `OpenAI`
//! only where the caller speaks it ([`crate::config::Provider::wire`]). Where caller and provider speak the same one, the
//! bytes pass as they came: [`peek`] reads the few facts that routing needs, [`with_model`] and [`with_usage_option`] splice
//! single values, [`Stream`] watches without touching. Where they differ, everything goes through one common model
//! (`common`), so each dialect is written once in each direction instead of once per pair. [`embeddings`] and [`count`] do
//! the same for two other operations. `docs/fidelity.md` tells field by field what follows from all this.
//!
//! # What cannot be carried
//! Never silently. A field that would change what is asked or what the caller reads is refused with
//! [`Code::ValUnsupported`] and its path: audio, `n` above 1 and `logprobs` for Anthropic, more stop sequences than the
//! target takes, uploaded file ids, cached contents. Where [`Target::on_unsupported`] says `Drop`, what leaves a request
//! that makes sense is left out and listed instead.
//!
//! A tool that the target cannot run is left out and listed where the model was free to choose (`hosted`); custom tools,
//! namespaces and names outside the target's alphabet are mapped both ways (`tool_names`).
//!
//! What only loses a hint is left out or approximated and listed in [`Translated::dropped`], by the path of the
//! caller's field:
//! - what only `OpenAI` does, of a Responses request: it is listed at `openai_responses`;
//! - bookkeeping: `user` (carried between `OpenAI` and `Anthropic`), `metadata`, `store`, `service_tier`, cache keys and
//!   `cache_control` (carried to `Anthropic` for `OpenAI` callers that send it);
//! - sampling that the target lacks: `seed`, `logit_bias` (its token ids mean nothing to another tokenizer), penalties,
//!   `top_k`; `temperature` above 1 for `Anthropic` (set to 1), `top_p` beside `temperature` for `Anthropic` (its newer
//!   models take one of the two);
//! - thinking: effort and budget where the target model has no equal setting, sampling that it refuses while it thinks,
//!   thought text of earlier turns;
//! - guarantees of form: `strict` of a tool, `json_object` for `Anthropic` (asked for in the system prompt instead),
//!   `parallel_tool_calls: false` for `Gemini`;
//! - a system message in mid-conversation, which moves to the front where the target has one system prompt;
//! - any field this version does not know.
//!
//! # Thoughts
//! How much to think is said in every dialect's words (`thinking`). Thoughts and signatures find their way through a
//! caller of another dialect to the provider that made them (`foreign`):
//! - `OpenAI` callers get them in fields their SDKs pass through: `reasoning_content` and `thinking_blocks` on the message
//!   or delta; a `Gemini` signature in the tool call's `extra_content.google.thought_signature` (the name `Google`'s own
//!   OpenAI-compatible API uses);
//! - `Anthropic` callers get `thinking` and `redacted_thinking` blocks, thoughts only if they asked for thinking (else
//!   pings while the model thinks), signatures of tool calls always;
//! - `Gemini` callers get `thought` parts with a `thoughtSignature`;
//! - callers of Responses get reasoning items, in whose `encrypted_content` the signatures travel.
//!
//! [`without_foreign_thoughts`] takes them out again where the conversation goes on with the caller's own dialect.

mod anthropic_messages;
mod array;
mod at;
mod common;
pub mod count;
mod data_url;
pub mod embeddings;
mod ending;
mod envelope;
mod error;
mod foreign;
mod gemini;
mod halves;
mod hosted;
mod logprobs;
mod media;
mod mend;
mod openai_chat;
mod openai_responses;
mod schema;
pub mod sse;
mod stream;
mod success;
mod thinking;
mod tool_calls;
mod tool_names;
mod usage;
mod watch;

use std::fmt;

use bowsprit_crds::model_route::OnUnsupported;
use bytes::Bytes;

use crate::fault::{Code, ErrorKind};

pub use envelope::{Envelope, peek, with_model, with_usage_option};
pub use error::{ErrorView, ProviderError, Words, error_body, error_event, parse_error, words_for};
pub use foreign::without_foreign_thoughts;
pub use openai_responses::{Echo, native_responses};
pub use stream::{Pushed, Stream, StreamError};
pub use success::{answer_problem, success_error};
pub use tool_names::ToolNames;
pub use usage::{Usage, usage};

/// An API that callers and providers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// `OpenAI` chat completions, and every server compatible with it.
    OpenAiChat,
    /// `Anthropic` messages.
    AnthropicMessages,
    /// `Gemini` `generateContent` and `streamGenerateContent`.
    Gemini,
    /// `OpenAI` Responses: a caller's dialect.
    OpenAiResponses,
}

impl Dialect {
    /// All of them, as callers speak them.
    pub const ALL: [Self; 4] = [
        Self::OpenAiChat,
        Self::AnthropicMessages,
        Self::Gemini,
        Self::OpenAiResponses,
    ];

    /// Those that a provider is asked in where the caller speaks another.
    pub const PROVIDERS: [Self; 3] = [Self::OpenAiChat, Self::AnthropicMessages, Self::Gemini];

    /// The metric label and log value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai",
            Self::AnthropicMessages => "anthropic",
            Self::Gemini => "gemini",
            Self::OpenAiResponses => "openai_responses",
        }
    }

    /// The dialect of the providers that this caller's SDK is made for: who speaks Responses is at home with whoever
    /// speaks chat completions.
    #[must_use]
    pub fn family(self) -> Self {
        match self {
            Self::OpenAiResponses => Self::OpenAiChat,
            other => other,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request is refused before any provider sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// `VAL_NOT_JSON`, `VAL_FIELD` or `VAL_UNSUPPORTED`.
    pub code: Code,
    /// Where, as in `messages[2].content`; empty for the body as a whole.
    pub path: String,
    /// What is wrong there, worded to follow the path: `must be a string`.
    pub problem: String,
}

impl RequestError {
    pub(crate) fn field(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            code: Code::ValField,
            path: path.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn unsupported(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            code: Code::ValUnsupported,
            path: path.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn not_json(problem: impl Into<String>) -> Self {
        Self {
            code: Code::ValNotJson,
            path: String::new(),
            problem: problem.into(),
        }
    }
}

impl RequestError {
    /// The code by which `OpenAI`'s API tells such an error apart, where our code says less.
    #[must_use]
    pub fn openai_code(&self) -> Option<&'static str> {
        match self.problem.as_str() {
            _ if self.code != Code::ValField => None,
            "is required" => Some("missing_required_parameter"),
            problem if problem.starts_with("must be a") => Some("invalid_type"),
            _ => None,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "the body {}", self.problem)
        } else {
            write!(f, "{}: {}", self.path, self.problem)
        }
    }
}

impl std::error::Error for RequestError {}

/// What a translated request must say beside what the caller wrote.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// The provider's name of the model.
    pub model: &'a str,
    /// Tokens; used where the target dialect requires a limit and the caller set none (`Anthropic`).
    pub default_max_tokens: u64,
    /// `Gemini` safety settings as (category, threshold).
    pub safety: &'a [(String, String)],
    /// Whether the caller wants a stream.
    pub stream: bool,
    /// ModelRoute `onUnsupported`. `Drop`: what would be refused as `VAL_UNSUPPORTED` is left out instead, and listed, where
    /// the rest still makes sense. Unset: only tools that the provider cannot run, where the model was free to choose, and
    /// what a history merely informs of. `Refuse`: these are refused too.
    pub on_unsupported: Option<OnUnsupported>,
}

/// A request in the provider's dialect.
#[derive(Clone, Debug, Default)]
pub struct Translated {
    /// The body to send.
    pub body: Bytes,
    /// Paths of the caller's fields that were approximated or left out; shown in the warning header.
    pub dropped: Vec<String>,
    /// Whether the caller asked to read the model's thoughts; for [`AnswerContext::show_thoughts`].
    pub show_thoughts: bool,
    /// Of `dropped`, how many are tools that the provider cannot run.
    pub tools_left_out: u32,
    /// What the provider calls the caller's tools; for [`AnswerContext::tools`].
    pub tools: ToolNames,
}

/// What the answer must be labelled with.
#[derive(Clone, Debug, Default)]
pub struct AnswerContext {
    /// The model as the caller asked for it.
    pub model: String,
    /// Used where the provider gives no id of its own.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// Whether the caller asked for the usage chunk (`stream_options.include_usage`).
    pub include_usage: bool,
    /// Whether the caller wants to read thoughts ([`Translated::show_thoughts`]). `Anthropic` callers get none
    /// otherwise: their API gives none unasked, and programs rely on a text to come first.
    pub show_thoughts: bool,
    /// What the provider calls the caller's tools ([`Translated::tools`]).
    pub tools: ToolNames,
    /// What a Responses answer repeats of its request.
    pub echo: Echo,
}

/// Names another model in a body of a caller's own dialect, byte for byte the same otherwise. `Gemini`'s bodies name none
/// in conversations, and theirs elsewhere are written anew.
pub fn rename_model(dialect: Dialect, body: &Bytes, model: &str) -> Bytes {
    match dialect {
        Dialect::Gemini => gemini::with_model_inside(body, model),
        _ => with_model(body, model),
    }
}

/// See [`Dialect::PROVIDERS`]: the proxy never gets here.
const NOT_ASKED: &str = "cannot be said in Responses: no provider is asked in it for a caller of another dialect";

/// Says the caller's request in the provider's dialect.
pub fn translate_request(
    from: Dialect,
    to: Dialect,
    body: &[u8],
    target: &Target<'_>,
) -> Result<Translated, RequestError> {
    let value = at::parse_body(body)?;
    let mut dropped = at::Dropped::new(target.on_unsupported);
    let mut request = match from {
        Dialect::OpenAiChat => openai_chat::request_in::decode(&value, &mut dropped),
        Dialect::AnthropicMessages => anthropic_messages::request_in::decode(&value, &mut dropped),
        Dialect::Gemini => gemini::request_in::decode(&value, &mut dropped),
        Dialect::OpenAiResponses => openai_responses::request_in::decode(&value, &mut dropped),
    }?;
    mend::answered(&request)?;
    mend::mend(&mut request, to, target, &mut dropped)?;
    let tools = settle_tools(&mut request, to, target, &mut dropped)?;
    let show_thoughts = request.show_thoughts;
    let encoded = match to {
        Dialect::OpenAiChat => openai_chat::request_out::encode(request, target, &mut dropped),
        Dialect::AnthropicMessages => anthropic_messages::request_out::encode(request, target, &mut dropped),
        Dialect::Gemini => gemini::request_out::encode(request, target, &mut dropped),
        Dialect::OpenAiResponses => Err(RequestError::unsupported("", NOT_ASKED)),
    }?;
    Ok(Translated {
        body: common::to_bytes(&encoded),
        show_thoughts,
        tools_left_out: dropped.tools(),
        tools,
        dropped: dropped.into_vec(),
    })
}

/// Decides which tools the provider is told of, and under which names.
fn settle_tools(
    request: &mut common::Request,
    provider: Dialect,
    target: &Target<'_>,
    dropped: &mut at::Dropped,
) -> Result<ToolNames, RequestError> {
    hosted::settle(request, provider, target, dropped)?;
    if target.on_unsupported == Some(OnUnsupported::Drop) {
        request.forget_missing_tools();
    }
    Ok(ToolNames::give(request, provider))
}

/// Says the provider's whole answer in the caller's dialect.
///
/// `Err` is what the provider's answer really was: [`ErrorKind::Malformed`], or the kind of an error body that came
/// with a status of success.
pub fn translate_response(
    from: Dialect,
    to: Dialect,
    body: &[u8],
    ctx: &AnswerContext,
) -> Result<(Bytes, Usage), ErrorKind> {
    let value = success::object(from, body)?;
    let mut answer = match from {
        Dialect::OpenAiChat => openai_chat::answer::decode(&value, ctx),
        Dialect::AnthropicMessages => anthropic_messages::answer::decode(&value, ctx).ok_or(ErrorKind::Malformed),
        Dialect::Gemini => gemini::answer::decode(&value, ctx).ok_or(ErrorKind::Malformed),
        Dialect::OpenAiResponses => Err(ErrorKind::Malformed),
    }?;
    for choice in &mut answer.choices {
        ending::judge(choice)?;
    }
    ctx.tools.give_back(&mut answer);
    let usage = answer.usage.unwrap_or_default();
    let encoded = match to {
        Dialect::OpenAiChat => common::to_bytes(&openai_chat::answer::encode(&answer, ctx)),
        Dialect::AnthropicMessages => common::to_bytes(&anthropic_messages::answer::encode(&answer, ctx)),
        Dialect::Gemini => common::to_bytes(&gemini::answer::encode(&answer, ctx)),
        Dialect::OpenAiResponses => openai_responses::answer::encode(&answer, ctx),
    };
    Ok((encoded, usage))
}
