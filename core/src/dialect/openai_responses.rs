//! `OpenAI` Responses: spoken by callers, to every provider.
//!
//! `OpenAI` itself gets such a request byte for byte (see [`native`]); for all others it goes through the common model.
//! What only `OpenAI` can do, because it lives there, is refused with its path: `previous_response_id`, `conversation`,
//! `prompt`, `background` and item references. Its hosted tools are `hosted`'s matter, its namespaces and custom tools
//! become functions (`tools`).
//!
//! # Thoughts of other providers
//! They travel as reasoning items. What a provider wants to see again (`Anthropic`'s signatures and redacted thoughts,
//! `Gemini`'s signatures of tool calls) stands in `encrypted_content` behind a mark of our own (`carried`), and finds its
//! way back when the caller sends its history. The ids of responses and items say [`OURS`] too, so that `OpenAI` is never
//! asked for what it does not have.

mod answer;
mod background;
mod carried;
mod count;
mod echo;
mod encoder;
mod error;
mod features;
mod input;
pub(super) mod language;
mod native;
mod request_in;
mod response;
pub(super) mod rules;
pub(super) mod scan;
mod tools;

pub use background::is_at_work;
pub use echo::Echo;
pub use native::native_responses;

/// Stands in every id and every `encrypted_content` that this proxy makes, and in nothing that `OpenAI` makes.
const OURS: &str = "bowsprit";
