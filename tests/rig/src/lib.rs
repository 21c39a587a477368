//! What tests of Bowsprit share, whether they run a sidecar in their own process or as a program. No product crate depends
//! on it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "tests fail by panicking"
)]

use std::time::{Duration, Instant};

pub mod canary;
pub mod connection;
pub mod documents;
pub mod http;
#[cfg(feature = "inside")]
pub mod inside;
pub mod law;
pub mod metrics;
#[cfg(feature = "operator")]
pub mod operator;
pub mod otlp;
pub mod peer;
pub mod process;
pub mod program;

/// How long anything may take that is certain to come, on a busy machine: every wait ends by its condition.
pub const SOON: Duration = Duration::from_secs(30);

/// Waits for a condition that is looked up again and again.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < SOON, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
