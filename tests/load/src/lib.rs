//! What `make bench` measures with: a load generator (`load`), a tool that holds many connections open (`hold`), a
//! fixed upstream (`upstream`) that speaks the APIs of `OpenAI`, `Anthropic` and `Gemini`, and both sides in one process, one
//! message after the other (`lockstep`), for counting instructions.
//!
//! They must cost far less than what they measure, on one core they share, so they read and write HTTP/1.1 by hand
//! instead of through the stack under test, and in place instead of with the readers of `tests/rig`, which keep all they see.
//! They are tools for loopback and trusted peers: limits are there to make
//! a fault loud, not to withstand an attacker.
//!
//! - [`body`] decodes message bodies without I/O, however the bytes are split.
//! - [`head`] reads request and response heads.
//! - [`wire`] joins the two to a connection.
//! - [`events`] counts server-sent events as a caller sees them.
//! - [`script`] is what the upstream answers, [`answers`] which of it to whom and when.
//! - [`request`] is what the tools send.
//! - [`input`] says when a tool is to go.
//! - [`certificate`] is what the upstream's TLS front shows.
//! - [`pace`] is the open loop's clock, [`tally`] what the load tool counts and prints.

pub mod answers;
pub mod body;
pub mod certificate;
pub mod events;
pub mod head;
pub mod input;
pub mod pace;
pub mod request;
pub mod script;
pub mod tally;
pub mod wire;
