//! The sidecar's promises, each against scripted providers over real sockets. One module a behaviour.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::float_cmp,
    clippy::format_push_string,
    clippy::format_collect,
    clippy::unused_async,
    missing_docs,
    unreachable_pub
)]

mod access;
mod admin;
mod at_work;
mod azure;
mod background;
mod batched;
mod batches;
mod breaker;
mod budgets;
mod cache;
mod canary;
mod cancel;
mod drain;
mod embeddings;
mod endings;
mod errors;
mod fallback;
mod fidelity;
mod guard;
mod guarded;
mod hard_limits;
mod headers;
mod hedge;
mod keys;
mod limits;
mod metrics;
mod names;
mod next;
mod passthrough;
mod pause;
mod pinned;
mod pool;
mod records;
mod reload;
mod responses;
mod route_limits;
mod routes;
mod runaway;
mod secrets;
mod semantic;
mod shared;
mod stale;
mod store;
mod stream;
mod streams;
mod support;
mod timeouts;
mod tls;
mod values;
mod versions;
mod webhook;
mod webhook_away;
mod windows;
