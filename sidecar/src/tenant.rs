//! One namespace in service: the configuration that requests are served by, and what survives a change of it.

pub mod listings;
pub mod provider;
pub mod snapshot;
