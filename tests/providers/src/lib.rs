//! Scripted model providers: servers that speak the APIs of OpenAI, Anthropic and Gemini byte for byte, and misbehave on
//! command.
//!
//! A [`Provider`] listens on a loopback port and answers as the real one would: ids, usage, rate-limit headers, error
//! bodies, event streams. A [`Step`] or a standing rule makes it fail exactly as named: hang before the head, stall or
//! reset after two chunks, forget the end marker, send half a chunk. What came in is kept ([`Provider::requests`]), and
//! so is every response that the caller cut ([`Provider::cancelled`]).
//!
//! It writes its bytes itself, on a plain TCP (or TLS) socket, because an HTTP library would not let it send the broken
//! ones. Everything is deterministic: ids and numbers depend on the request's place in the sequence, not on chance.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use bowsprit_providers::{Answer, Behaviour, Fault, Options, Provider};
//!
//! let provider = Provider::start(Options::default())?;
//! provider.script(Behaviour::status(529));
//! provider.script(Answer::new("one two three four").fault(Fault::Stall { after: 2 }));
//! // ... point a client at provider.url() ...
//! # Ok(()) }
//! ```

mod api;
mod bill;
mod call;
mod connection;
pub mod control;
mod dates;
mod gzip;
mod ids;
mod play;
mod provider;
mod script;
mod seen;
mod sse;
mod transport;
mod wire;

pub use api::{Api, Operation};
pub use bill::{Bill, Billed, Tokens as BilledTokens};
pub use ids::embedding;
pub use provider::{Options, Provider, TlsPem};
pub use script::{
    After, Answer, Behaviour, Fault, LineEnd, Point, Raw, Rule, Script, Status, Step, Tokens, ToolCall, When,
};
pub use seen::{Cancelled, Counts, NotSeen, Phase, Recorded, Seen};
