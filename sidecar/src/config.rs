//! Configuration: sources offer documents, a store judges them.
//!
//! A [`Source`] says what it has now, with a sequence; it decides nothing. The [`store::Store`] takes an offer whole or not at
//! all, never goes back to an older one, keeps the last good one and can say what it applied and what it refused. Keys and CA
//! bundles are no part of a configuration: the tenant reads those.
//!
//! In a cluster three sources offer the same documents: the mounted folder, the operator's [`stream`], and what the sidecar
//! itself has [`saved`] of either. The highest sequence wins, wherever it comes from.
//!
//! Files are polled, five times a second ([`POLL_EVERY`]): a look at a handful of inodes costs microseconds. inotify would
//! be quicker by a fraction of a second and would need a file descriptor per folder, break on the symlink swap that the
//! kubelet makes, miss changes on some network file systems and need this poll as a fallback anyway. The stream pushes.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::config::Scope;
use bowsprit_core::stream::StreamedConfig;
use bowsprit_crds::names::FORMAT_VERSION;

use crate::caller::Pod;

pub mod env;
pub mod file;
pub mod folder;
pub mod metrics;
pub mod saved;
pub mod store;
pub mod stream;

/// From one look at sources, keys and CA bundles to the next.
pub const POLL_EVERY: Duration = Duration::from_millis(200);
/// Largest configuration, bytes: a ConfigMap holds at most 1 MiB.
const MAX_CONFIG: u64 = 4 << 20;

/// Where configuration comes from.
pub trait Source: Send {
    /// What it offers now to this pod, if that differs from what it offered last.
    fn poll(&mut self, pod: &Pod) -> Option<Offer>;
}

/// What a source offers.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The kind of the source: `file`, `folder`, `stream`, `saved` or `environment`.
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
    pub text: Arc<str>,
    /// Where they stand, for messages.
    pub place: String,
    /// How they are to be read.
    pub scope: Scope,
}

impl Offer {
    /// Documents that came with their sequence and layout, for this pod. `place`: where they stand, for messages.
    fn of(source: &'static str, config: StreamedConfig, place: String, pod: &Pod) -> Self {
        let documents = readable(&place, config.format_version).map(|()| Documents {
            text: config.text.into(),
            place,
            scope: of_pod(pod),
        });
        Self {
            source,
            sequence: config.sequence,
            documents,
        }
    }
}

/// Whether this sidecar reads this layout.
fn readable(place: &str, format_version: u32) -> Result<(), String> {
    if format_version <= FORMAT_VERSION {
        return Ok(());
    }
    Err(format!(
        "{place}: formatVersion {format_version} is newer than this sidecar understands ({FORMAT_VERSION}): restart the pod to get a newer sidecar"
    ))
}

/// What concerns a pod depends on its labels.
pub fn of_pod(pod: &Pod) -> Scope {
    Scope::Cluster {
        pod_labels: pod.labels.clone(),
    }
}
