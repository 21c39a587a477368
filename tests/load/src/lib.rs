//! What `make bench` measures with: a load generator (`load`) and a fixed `OpenAI` upstream (`upstream`).
//!
//! Both must cost far less than what they measure, on one core they share, so they read and write HTTP/1.1 by hand
//! instead of through the stack under test. They are tools for loopback and trusted peers: limits are there to make
//! a fault loud, not to withstand an attacker.
//!
//! - [`body`] decodes message bodies without I/O, however the bytes are split.
//! - [`head`] reads request and response heads.
//! - [`wire`] joins the two to a connection.
//! - [`events`] counts server-sent events as a caller sees them.
//! - [`script`] is what the upstream answers.
//! - [`pace`] is the open loop's clock, [`tally`] what the load tool counts and prints.

pub mod body;
pub mod events;
pub mod head;
pub mod pace;
pub mod script;
pub mod tally;
pub mod wire;
