//! The service as a program: over HTTPS, with tokens, killed and stopped, with its store taken away. What the API server says is
//! scripted; that a real one says it is shown on a cluster.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]
#![allow(dead_code)] // of what is shared with the tests of the stores

mod apiserver;
mod changes;
mod drift;
#[path = "../store/entries.rs"]
mod entries;
mod killed;
mod outage;
mod program;
mod rate_limits;
mod reconcile;
#[path = "../store/server.rs"]
mod server;
mod talk;
