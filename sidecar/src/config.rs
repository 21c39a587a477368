//! Configuration: sources offer documents, a store judges them.
//!
//! A [`Source`] says what it has now, with a sequence; it decides nothing. The [`store::Store`] takes an offer whole or not at
//! all, never goes back to an older one, keeps the last good one and can say what it applied and what it refused. Keys and CA
//! bundles are no part of a configuration: the tenant reads those.
//!
//! Sources are polled, five times a second ([`POLL_EVERY`]): a look at a handful of inodes costs microseconds. inotify would
//! be quicker by a fraction of a second and would need a file descriptor per folder, break on the symlink swap that the
//! kubelet makes, miss changes on some network file systems and need this poll as a fallback anyway.

use std::time::Duration;

use bowsprit_core::config::Scope;

pub mod env;
pub mod file;
pub mod folder;
pub mod metrics;
pub mod store;

/// From one look at sources, keys and CA bundles to the next.
pub const POLL_EVERY: Duration = Duration::from_millis(200);
/// Largest configuration, bytes: a ConfigMap holds at most 1 MiB.
const MAX_CONFIG: u64 = 4 << 20;

/// Where configuration comes from.
pub trait Source: Send {
    /// What it offers now, if that differs from what it offered last. The first call always offers something.
    fn poll(&mut self) -> Option<Offer>;
}

/// What a source offers.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The kind of the source: `file`, `folder` or `environment`.
    pub source: &'static str,
    /// Grows with each change; 0 from a source that does not count.
    pub sequence: u64,
    /// The documents, or why they could not be read.
    pub documents: Result<Documents, String>,
}

/// ProviderConfig and ModelRoute documents.
#[derive(Clone, Debug)]
pub struct Documents {
    /// YAML or JSON.
    pub text: String,
    /// Where they stand, for messages.
    pub place: String,
    /// How they are to be read.
    pub scope: Scope,
}
