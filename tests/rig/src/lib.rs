//! What tests of Bowsprit share, whether they run a sidecar in their own process or as a program. No product crate depends
//! on it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

pub mod law;
pub mod metrics;
