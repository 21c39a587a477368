//! What the scripted providers put on the wire, read by a client that takes bytes as they come.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod anthropic;
mod client;
mod connections;
mod control;
mod errors;
mod faults;
mod gemini;
mod openai;
