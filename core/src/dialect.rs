//! What each provider's API says, and how one is said in another.
//!
//! Three dialects are spoken on both sides: `OpenAI` chat completions, `Anthropic` messages and `Gemini`
//! `generateContent`. A fourth, `OpenAI` Responses, is spoken by callers to every provider, and by this proxy to `OpenAI`
//! only where the caller speaks it ([`crate::config::Provider::wire`]). Where caller and provider speak the same one, the
//! bytes pass as they came: [`peek`] reads the few facts that routing needs, [`with_model`] and [`with_usage_option`] splice
//! single values, [`Stream`] scans without touching. Where they differ, everything goes through one common model
//! (`message`), so each dialect is written once in each direction instead of once per pair. [`embeddings`] and [`count`] do
//! the same for two other operations. `docs/fidelity.md` tells field by field what follows from all this.
//!
//! # What cannot be carried
//! Never silently. A field that would change what is asked or what the caller reads is refused with
//! [`crate::fault::Code::ValUnsupported`] and its path: audio, `n` above 1 and `logprobs` for Anthropic, more stop sequences than the
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
//! caller of another dialect to the provider that made them (`signature`):
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
mod codec;
pub mod count;
mod counts;
mod cursor;
mod data_url;
mod dropped;
pub mod embeddings;
mod ending;
mod envelope;
mod error;
mod event;
mod facade;
mod features;
mod gemini;
mod hosted;
mod ids;
mod language;
mod letters;
mod logprobs;
mod media;
mod mend;
mod message;
mod name;
mod openai_chat;
mod openai_responses;
mod openai_tools;
mod registry;
mod reported;
mod request_error;
mod rules;
mod scan;
mod schema;
mod search;
mod signature;
pub mod sse;
mod stream;
mod strip;
mod success;
mod surrogates;
mod target;
mod terms;
mod thinking;
mod token_count;
mod tool_calls;
mod tool_names;
mod translated;
mod usage;

pub use codec::{rename_model, translate_request, translate_response, without_foreign_thoughts};
pub use envelope::{Envelope, peek, with_model, with_usage_option};
pub use error::{ErrorView, ProviderError, StreamError, Words};
pub use facade::{
    answer_problem, error_body, error_event, error_event_at, features, model_entry, model_list, parse_error,
    reported_model, success_error, usage, words_for,
};
pub use features::Features;
pub(crate) use letters::{is_like, meant, wrong};
pub use name::Dialect;
pub use openai_chat::without_allowed_tools;
pub use openai_responses::{Echo, is_at_work, native_responses};
pub use request_error::RequestError;
pub use scan::Pushed;
pub(crate) use search::{OFF, Plugin};
pub use stream::Stream;
pub use target::Target;
pub use terms::Terms;
pub use tool_names::ToolNames;
pub use translated::{AnswerContext, Translated};
pub use usage::{Usage, tokens_of};
