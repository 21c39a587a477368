//! What a new pod's namespace says about it, as of now and not of a moment ago.
//!
//! A pod's mounts are fixed when it is made. One that is made before the operator knows of a ProviderConfig lacks that provider's
//! key until it is made again, and people apply both at once: `kubectl apply -f all.yaml` in the order of the file, Helm and
//! Kustomize all workloads first. So a review is answered from memory where the namespace has been quiet and has a provider for
//! the pod. Else it waits, for at most as long as is left ([`View`]s are asked for with a patience): for the first provider
//! that selects the pod, without which its containers would not start anyway, where that is to be hoped for (`in_vain`); and for
//! the rest of what is being applied. Then, and where the watch was interrupted, the apiserver itself is asked (`ask`).

mod ask;
mod in_vain;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_crds::{ProviderConfigSpec, names};
use futures::future::BoxFuture;
use kube::{Client, ResourceExt as _};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::review::{Lookup, View};
use crate::desired::{kept_specs, served_specs};
use crate::injector::References;
use crate::objects::Store;
use crate::reconcile::config_map;
use crate::sync::locked;
use crate::validate::hosts::AllowedHosts;
use ask::{Asker, Providers};
use in_vain::InVain;

/// A namespace in which nothing was made or changed for so long is all here: Helm and kubectl take some tens of milliseconds
/// from one object to the next.
const QUIET: Duration = Duration::from_millis(500);
/// Reviews that wait at a time: each holds a connection, of which there are few. More are answered at once.
const WAITING: usize = 16;

/// Looks in memory, waits and asks.
pub struct Newest {
    store: Store,
    asker: Asker,
    synced: Arc<AtomicBool>,
    in_vain: Mutex<InVain>,
    room: Semaphore,
    hosts: AllowedHosts,
}

impl Newest {
    /// Knows nothing until `synced`. Asks as many `questions` at a time as there are permits.
    pub fn new(store: Store, client: Client, questions: Arc<Semaphore>, synced: Arc<AtomicBool>) -> Self {
        Self {
            store,
            asker: Asker::new(client, questions),
            synced,
            in_vain: Mutex::new(InVain::new(Instant::now())),
            room: Semaphore::new(WAITING),
            hosts: AllowedHosts::default(),
        }
    }

    /// Providers may be at these hosts alone.
    #[must_use]
    pub fn allowing(mut self, hosts: AllowedHosts) -> Self {
        self.hosts = hosts;
        self
    }

    fn known(&self, namespace: &str, labels: &BTreeMap<String, String>) -> View {
        let here = self.store.here(namespace);
        let unread = here.not_understood.providers.iter();
        let providers = Providers {
            read: here.providers,
            unread: unread.map(|object| object.name_any()).collect(),
        };
        self.view(namespace, &providers, labels)
    }

    fn view(&self, namespace: &str, providers: &Providers, labels: &BTreeMap<String, String>) -> View {
        let config_map = self.store.config_map(namespace);
        let current = || config_map.as_deref().map(config_map::read);
        // What sidecars have: a Secret that only a refused object names serves nothing, and what its last accepted version names does.
        let mut served = served_specs(&self.hosts, &providers.read, current);
        let selects = |spec: &ProviderConfigSpec| {
            let selector = spec.pod_selector.as_ref();
            selector.is_none_or(|selector| selector.matches(labels))
        };
        let mut selecting = providers.read.iter().filter(|object| selects(&object.spec)).count();
        if !providers.unread.is_empty() {
            let kept = kept_specs(&providers.unread, current().as_ref());
            selecting += kept.iter().filter(|spec| selects(spec)).count();
            served.extend(kept);
        }
        // Without the store of its cache or its limits, a route or policy is in service all the same: what is here is soon enough.
        let here = self.store.here(namespace);
        let policies = here.policies.iter().flatten().map(|policy| &policy.spec);
        let data = config_map.as_ref().and_then(|map| map.data.as_ref());
        let revision = data.and_then(|data| data.get(names::REVISION_KEY).cloned());
        View {
            providers: selecting,
            references: References::of(&served, labels)
                .and(here.routes.iter().map(|route| &route.spec))
                .under(policies, labels),
            revision,
        }
    }

    /// Waits until all that is being applied is here. False: there was nothing to wait for.
    async fn settle(&self, namespace: &str, labels: &BTreeMap<String, String>, patience: Duration) -> bool {
        let Ok(_seat) = self.room.try_acquire() else {
            return false;
        };
        let (begun, news) = (Instant::now(), self.store.news());
        let is_served = || self.known(namespace, labels).providers > 0;
        let first = if is_served() {
            None
        } else {
            locked(&self.in_vain).until(namespace, begun, patience)
        };
        let (mut told, mut has_waited) = (news.told(), false);
        loop {
            told.mark_unchanged();
            let is_served = is_served();
            let due = due(is_served, first, news.last(namespace)).map(|due| due.min(begun + patience));
            let Some(until) = due.filter(|due| *due > Instant::now()) else {
                if is_served && first.is_some() {
                    locked(&self.in_vain).served(namespace);
                }
                let waited = begun.elapsed().as_millis();
                tracing::debug!(namespace, waited, is_served, "a pod waited for what is applied with it");
                return has_waited;
            };
            has_waited = true;
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                // Nobody tells any more only when the process is about to end.
                Ok(()) = told.changed() => {}
            }
        }
    }
}

impl Lookup for Newest {
    fn view<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a BTreeMap<String, String>,
        patience: Duration,
    ) -> BoxFuture<'a, Option<View>> {
        Box::pin(async move {
            if !self.synced.load(Ordering::Acquire) {
                return None;
            }
            let (known, news) = (self.known(namespace, labels), self.store.news());
            if patience.is_zero() || !is_a_name(namespace) {
                return Some(known);
            }
            let is_quiet = news.last(namespace).is_none_or(|last| last + QUIET <= Instant::now());
            let is_settled = known.providers > 0 && is_quiet;
            let has_waited = !is_settled && self.settle(namespace, labels, patience).await;
            let told = if has_waited || news.is_behind(Instant::now()) {
                self.asker.providers(namespace, patience / 2).await
            } else {
                None
            };
            Some(match told {
                Some(providers) => self.view(namespace, &providers, labels),
                None => self.known(namespace, labels),
            })
        })
    }
}

/// Whether a namespace may be called so. What is asked for it becomes part of a URL, and not only apiservers ask.
fn is_a_name(namespace: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&namespace.len()) && namespace.bytes().all(fits)
}

/// Until when to wait, as things are: for the `first` provider, where one is waited for, and until the namespace is quiet. None: all is
/// here, or nothing is to come.
fn due(is_served: bool, first: Option<Instant>, last: Option<Instant>) -> Option<Instant> {
    let quiet = last.map(|last| last + QUIET);
    if is_served { quiet } else { first.max(quiet) }
}
