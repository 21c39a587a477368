//! Every decision of Bowsprit as pure code.
//!
//! Nothing here reads a clock, a file, the environment or a socket: time ([`clock::Moment`]) and chance (a seeded
//! [`fastrand::Rng`]) are arguments, and what should happen is returned as data. The shells around it
//! (`bowsprit-sidecar`, `bowsprit-operator`) act. That is what lets the parts where money and outages hide be tested
//! by the million in seconds.

pub mod access;
pub mod address;
pub mod backoff;
pub mod batches;
pub mod breaker;
pub mod budget;
pub mod call;
pub mod changes;
pub mod classify;
pub mod clock;
pub mod config;
pub mod cost;
pub mod dialect;
pub mod fault;
pub mod flow;
pub mod guard;
pub mod headroom;
pub mod health;
pub mod hedge;
pub mod jobs;
pub mod json;
pub mod kept;
pub mod letters;
pub mod limits;
pub mod model_name;
pub mod pauses;
pub mod plan;
pub mod platform;
pub mod queue;
pub mod record;
pub mod reserve;
pub mod runaway;
mod search;
pub mod share;
pub mod slo;
pub mod spend;
pub mod stream;
pub mod trace;
mod window;

pub use bowsprit_crds::yaml;
pub use limits::limiter;
