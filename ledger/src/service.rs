//! The service: batches in, answers out. HTTPS with JSON on one port, health and metrics for the kubelet and Prometheus on another.
//!
//! Who sends is said by the token alone ([`door`]); batches wait in a bounded queue for the one that writes ([`ingest`]), and what does
//! not fit is refused with `retry-after`: a sidecar keeps what was not taken.

pub mod admin;
pub mod api;
pub mod args;
pub mod door;
pub mod drift;
pub mod ingest;
pub mod kubernetes;
pub mod listen;
pub mod metrics;
pub mod run;
pub mod tls;

/// Milliseconds since 1970.
pub fn now() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
