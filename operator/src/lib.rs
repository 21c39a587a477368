//! The operator: turns a namespace's ProviderConfigs and ModelRoutes into the config that its sidecars load, and puts
//! a sidecar into the pods that ask for one.
//!
//! Decisions are pure (`desired`, `injector`, `certs::authority`, `lease::decide`, `queue`); the modules around them
//! read, write and wait.

pub mod conditions;
pub mod desired;
pub mod injector;
pub mod objects;
pub mod poll;
pub mod reconcile;
