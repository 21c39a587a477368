//! The operator: turns a namespace's `ProviderConfigs` and `ModelRoutes` into the config that its sidecars load, and puts
//! a sidecar into the pods that ask for one.
//!
//! Decisions are pure (`desired`, `injector`, `mistakes`, `watchdog::book`, `certs::authority`, `lease::decide`); the modules around them
//! read, write and wait.

pub mod admin;
pub mod args;
pub mod audit;
pub mod certs;
pub mod changes;
pub mod conditions;
pub mod descriptors;
pub mod desired;
pub mod fleet;
pub mod hardening;
pub mod heard;
pub mod injector;
pub mod lease;
pub mod link;
pub mod metrics;
pub mod mistakes;
pub mod money;
pub mod objects;
pub mod owner;
pub mod poll;
pub mod readiness;
pub mod reconcile;
mod room;
pub mod run;
pub mod selftest;
pub mod shares;
pub mod slo;
pub mod spelling;
pub mod status;
pub mod stream;
mod sync;
pub mod telemetry;
pub mod time;
pub mod validate;
pub mod watchdog;
pub mod webhook;
mod workload;
