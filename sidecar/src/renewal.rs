//! Looking for what has changed: documents, keys, CA bundles, the pod's own labels; and taking what the operator sends. What
//! is new goes to the tenant, and what the tenant takes is saved.

use std::path::PathBuf;
use std::sync::Arc;

use bowsprit_core::config::Scope;
use bowsprit_core::stream::StreamedConfig;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::caller::Pod;
use crate::config::saved::{SAVED, ToSave};
use crate::config::{self, Offer, POLL_EVERY, Source, stream};
use crate::credentials::KeyFiles;
use crate::failpoint;
use crate::files::Stamp;
use crate::process::Process;
use crate::tenant::snapshot::Snapshot;
use crate::time::unix_now;

/// What is looked at, and what was seen of it last.
pub struct Renewal {
    sources: Vec<Box<dyn Source>>,
    /// What is in service of a cluster's sources, to be judged anew when the pod's labels change.
    served: Option<Offer>,
    /// Where what is taken is saved.
    saver: Option<watch::Sender<Option<ToSave>>>,
    keys: KeyFiles,
    keys_seen: Vec<Option<Stamp>>,
    pod_labels: Option<PathBuf>,
    labels_seen: Stamp,
}

impl Renewal {
    /// A renewal that has seen nothing yet. `pod_labels`: the downward API's file.
    pub fn new(sources: Vec<Box<dyn Source>>, keys: KeyFiles, pod_labels: Option<PathBuf>) -> Self {
        Self {
            sources,
            served: None,
            saver: None,
            keys,
            keys_seen: Vec::new(),
            pod_labels,
            labels_seen: Stamp::NOTHING,
        }
    }

    /// Saves what is taken from now on, and what was taken already.
    pub fn save_to(&mut self, saver: watch::Sender<Option<ToSave>>) {
        self.saver = Some(saver);
        self.save();
    }

    /// Looks again and again, and takes what comes over the stream at once. Ends never.
    pub async fn run(mut self, process: Arc<Process>, mut streamed: mpsc::Receiver<StreamedConfig>) {
        let mut look = Instant::now() + POLL_EVERY;
        loop {
            tokio::select! {
                Some(config) = streamed.recv() => {
                    let offer = stream::offer(config, &process.pod.load());
                    self.take(&process, vec![offer]);
                }
                () = tokio::time::sleep_until(look) => {
                    self.poll(&process);
                    look = Instant::now() + POLL_EVERY;
                }
            }
        }
    }

    /// Looks once.
    pub fn poll(&mut self, process: &Process) {
        process.tenant.kept.expire(process.clock.now());
        process.tenant.cache.expire(process.clock.now());
        process.tenant.expire_pauses(process.clock.now());
        let has_new_labels = self.renew_pod(process);
        let pod = process.pod.load();
        if has_new_labels {
            self.judge_again(process, &pod);
        }
        let offers = self.sources.iter_mut().filter_map(|source| source.poll(&pod)).collect();
        self.take(process, offers);
    }

    fn take(&mut self, process: &Process, offers: Vec<Offer>) {
        let (tenant, now, clock) = (&process.tenant, process.clock.now(), unix_now().as_secs());
        let is_offered = !offers.is_empty();
        let mut has_read_keys = false;
        for offer in offers {
            if let Ok(documents) = &offer.documents {
                failpoint::hit_in(&documents.text, failpoint::LOAD);
            }
            if tenant.offer(&offer, now, clock) {
                // At once: a guard with a new key decides nothing without it.
                self.keys_seen = self.key_stamps(process);
                tenant.renew_keys(&self.keys, now);
                has_read_keys = true;
                self.serves(offer);
            }
        }
        if is_offered && let Some(stream) = &process.stream {
            stream.has_news();
        }
        if Self::has_new_trust(process) {
            tracing::info!("a CA bundle changed");
            tenant.renew_trust(now);
        }
        let keys = self.key_stamps(process);
        if (is_offered && !has_read_keys) || keys != self.keys_seen {
            tenant.renew_keys(&self.keys, now);
            self.keys_seen = keys;
        }
    }

    fn serves(&mut self, offer: Offer) {
        let is_clusters = |documents: &config::Documents| matches!(documents.scope, Scope::Cluster { .. });
        self.served = Some(offer).filter(|offer| offer.documents.as_ref().is_ok_and(is_clusters));
        self.save();
    }

    fn save(&self) {
        if let (Some(saver), Some(offer)) = (&self.saver, &self.served)
            && let Ok(documents) = &offer.documents
            && offer.source != SAVED
        {
            let text = Arc::clone(&documents.text);
            let sequence = offer.sequence;
            saver.send_replace(Some(ToSave { sequence, text }));
        }
    }

    /// The pod's labels decide what concerns it, whichever source it came from.
    fn judge_again(&mut self, process: &Process, pod: &Pod) {
        if let Some(offer) = &mut self.served
            && let Ok(documents) = &mut offer.documents
        {
            documents.scope = config::of_pod(pod);
            process.tenant.offer_again(offer, process.clock.now());
        }
    }

    /// Says whether the pod's labels have changed.
    fn renew_pod(&mut self, process: &Process) -> bool {
        let Some(file) = &self.pod_labels else { return false };
        let now = Stamp::of(file);
        let has_changed = std::mem::replace(&mut self.labels_seen, now) != now;
        if has_changed {
            process.pod.store(Arc::new(process.pod.load().with_labels(file)));
        }
        has_changed
    }

    fn key_stamps(&self, process: &Process) -> Vec<Option<Stamp>> {
        of_snapshot(process, |snapshot| {
            let providers = snapshot.config.providers.iter();
            let credentials = providers.flat_map(|provider| &provider.credentials);
            let of_services = snapshot
                .services
                .iter()
                .filter_map(|service| service.hook().key.as_ref());
            credentials
                .map(|credential| &credential.source)
                .chain(of_services)
                .map(|source| self.keys.stamp(source))
                .collect()
        })
    }

    /// Whether a CA bundle holds something else than what is trusted in service: one that came late, or was rotated, must not
    /// wait for the next change of the configuration.
    fn has_new_trust(process: &Process) -> bool {
        of_snapshot(process, |snapshot| {
            let of_upstreams = snapshot
                .upstreams()
                .iter()
                .map(|upstream| (upstream.trust, upstream.provider.ca_bundle.as_ref()));
            let of_services = snapshot
                .services
                .iter()
                .map(|service| (service.trust, service.hook().ca_bundle.as_ref()));
            of_upstreams
                .chain(of_services)
                .any(|(trust, bundle)| trust != process.connections.trust_stamp(bundle))
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
