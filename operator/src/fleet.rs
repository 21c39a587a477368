//! What is known of the sidecars that hold a stream, to this replica or to another: the last report of each pod.
//!
//! Written by the streams (and by the other replicas, through the leader's), read by the reconciler. Names and namespaces are
//! those of the tokens, so a sidecar that lies spoils its own pod's line and no other.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bowsprit_core::stream::SidecarReport;
use futures::channel::mpsc;

/// A pod with a sidecar, as its token names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    /// Its name.
    pub name: String,
    /// Its uid: a pod of the same name made anew is another.
    pub uid: String,
}

/// A report and when it came.
#[derive(Clone, Debug)]
pub struct Reported {
    /// What the sidecar said last.
    pub report: Arc<SidecarReport>,
    /// When this replica heard it.
    pub at: Instant,
}

/// Namespaces in which a sidecar said something new, came or went.
pub type Heard = mpsc::UnboundedReceiver<String>;

/// The fleet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fleet {
    pods: Arc<Mutex<HashMap<String, BTreeMap<PodId, Reported>>>>,
    heard: mpsc::UnboundedSender<String>,
}

impl Fleet {
    /// Nobody is known yet.
    pub fn new() -> (Self, Heard) {
        let (heard, receiver) = mpsc::unbounded();
        let fleet = Self {
            pods: Arc::default(),
            heard,
        };
        (fleet, receiver)
    }

    /// A sidecar has reported.
    pub fn note(&self, namespace: &str, pod: PodId, report: Arc<SidecarReport>, at: Instant) {
        self.lock()
            .entry(namespace.to_owned())
            .or_default()
            .insert(pod, Reported { report, at });
        let _ = self.heard.unbounded_send(namespace.to_owned());
    }

    /// A sidecar's stream has ended, and no other of the same pod is open.
    pub fn gone(&self, namespace: &str, pod: &PodId) {
        let mut pods = self.lock();
        if let Some(of) = pods.get_mut(namespace) {
            of.remove(pod);
            if of.is_empty() {
                pods.remove(namespace);
            }
        }
        drop(pods);
        let _ = self.heard.unbounded_send(namespace.to_owned());
    }

    /// The namespace's pods that hold a stream, with their last reports.
    pub fn reports(&self, namespace: &str) -> BTreeMap<PodId, Reported> {
        self.lock().get(namespace).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, BTreeMap<PodId, Reported>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
