//! Looking for what has changed: documents, keys, CA bundles, the pod's own labels. What has, goes to the tenant.

use std::path::PathBuf;
use std::sync::Arc;

use crate::caller::Pod;
use crate::config::Source;
use crate::credentials::KeyFiles;
use crate::failpoint;
use crate::files::Stamp;
use crate::process::Process;
use crate::tenant::snapshot::Snapshot;

/// What is looked at, and what was seen of it last.
pub struct Renewal {
    source: Box<dyn Source>,
    keys: KeyFiles,
    keys_seen: Vec<Option<Stamp>>,
    trust_seen: Vec<Option<Stamp>>,
    pod_labels: Option<PathBuf>,
    labels_seen: Stamp,
}

impl Renewal {
    /// A renewal that has seen nothing yet. `pod_labels`: the downward API's file.
    pub fn new(source: Box<dyn Source>, keys: KeyFiles, pod_labels: Option<PathBuf>) -> Self {
        Self {
            source,
            keys,
            keys_seen: Vec::new(),
            trust_seen: Vec::new(),
            pod_labels,
            labels_seen: Stamp::NOTHING,
        }
    }

    /// Looks once.
    pub fn poll(&mut self, process: &Process) {
        self.renew_pod(process);
        let (tenant, now) = (&process.tenant, process.clock.now());
        let offer = self.source.poll();
        let is_offered = offer.is_some();
        if let Some(offer) = offer {
            if let Ok(documents) = &offer.documents {
                failpoint::hit_in(&documents.text, failpoint::LOAD);
            }
            tenant.offer(offer, now);
            // It may name other bundles.
            self.trust_seen = Self::trust_stamps(process);
        } else {
            // Looked at before they are read: what changes meanwhile is news at the next look.
            let trust = Self::trust_stamps(process);
            if trust != self.trust_seen {
                tracing::info!("a CA bundle changed");
                tenant.renew_trust(now);
                self.trust_seen = trust;
            }
        }
        let keys = self.key_stamps(process);
        if is_offered || keys != self.keys_seen {
            tenant.renew_keys(&self.keys, now);
            self.keys_seen = keys;
        }
    }

    fn renew_pod(&mut self, process: &Process) {
        let Some(file) = &self.pod_labels else { return };
        let now = Stamp::of(file);
        if std::mem::replace(&mut self.labels_seen, now) != now {
            process.pod.store(Arc::new(Pod::own(Some(file))));
        }
    }

    fn key_stamps(&self, process: &Process) -> Vec<Option<Stamp>> {
        of_snapshot(process, |snapshot| {
            let providers = snapshot.config.providers.iter();
            let credentials = providers.flat_map(|provider| &provider.credentials);
            credentials
                .map(|credential| self.keys.stamp(&credential.source))
                .collect()
        })
    }

    /// Of the CA bundles: one that came late, or was rotated, must not wait for the next change of the configuration.
    fn trust_stamps(process: &Process) -> Vec<Option<Stamp>> {
        of_snapshot(process, |snapshot| {
            let bundles = snapshot.config.providers.iter().filter_map(|it| it.ca_bundle.as_ref());
            bundles.map(|bundle| process.connections.bundle_stamp(bundle)).collect()
        })
    }
}

fn of_snapshot<T: Default>(process: &Process, get: impl FnOnce(&Snapshot) -> T) -> T {
    process
        .tenant
        .snapshot
        .load()
        .as_ref()
        .map_or_else(T::default, |snapshot| get(snapshot))
}
