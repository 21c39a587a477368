//! The pod's local door to the model providers.
//!
//! An app talks to `http://localhost:4000` with the SDK it has; the sidecar adds the key, keeps to the limits, retries,
//! switches providers and tells how it went. [`app::start`] runs it in process, which is what `main` and the tests do.

pub mod admin;
pub mod app;
pub mod args;
pub mod batches;
pub mod caller;
pub mod config;
pub mod credentials;
pub mod drain;
pub mod ending;
pub mod failpoint;
pub mod families;
pub mod files;
pub mod hardening;
pub mod jobs;
pub mod limits;
pub mod memory;
pub mod metrics;
pub mod net;
pub mod observe;
pub mod probe;
pub mod process;
pub mod proxy;
pub mod renewal;
pub mod report;
pub mod ship;
pub mod store;
pub mod supervise;
pub mod sync;
pub mod telemetry;
pub mod tenant;
pub mod time;
pub mod until_ready;
