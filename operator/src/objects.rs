//! What the operator knows of the cluster: one watch per kind, kept in memory.
//!
//! The reconciler and the injector read from here, so neither asks the apiserver in the middle of a decision. Each
//! change names the namespace to look at again.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use bowsprit_crds::{ModelRoute, ProviderConfig, names};
use futures::channel::mpsc;
use futures::{Stream, StreamExt as _, TryStreamExt as _, future};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

mod fresh;
mod kept;
pub mod pod;

use kept::Kept;
use pod::InjectedPod;

/// Pods in one page of a list: whole, before they are read, each takes some tens of KiB.
pub(crate) const PODS_AT_ONCE: u32 = 100;

/// The stores. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    providers: Kept<ProviderConfig>,
    routes: Kept<ModelRoute>,
    config_maps: Kept<ConfigMap>,
    pods: Kept<InjectedPod>,
}

/// Something changed in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The namespace.
    pub namespace: String,
    /// Whether somebody may be waiting for it: not where it is only a pod.
    pub soon: bool,
}

/// What changed, as it comes.
pub type Changes = mpsc::UnboundedReceiver<Change>;

impl Store {
    /// Starts to watch. The returned future is the work: it must be polled, and ends only if a watch ends, which is a
    /// reason to stop the process.
    pub fn watch(client: &Client) -> (Self, Changes, impl Future<Output = ()> + Send + 'static) {
        Self::watch_and_tell(client, |_| {}, |_| {})
    }

    /// The same, and each event of a config or of a pod is told to who needs more than the stores: after these have it.
    pub fn watch_and_tell(
        client: &Client,
        on_config: impl FnMut(&watcher::Event<ConfigMap>) + Send + 'static,
        on_pod: impl FnMut(&watcher::Event<Pod>) + Send + 'static,
    ) -> (Self, Changes, impl Future<Output = ()> + Send + 'static) {
        let (changed, changes) = mpsc::unbounded();
        let soon = (changed.clone(), true);
        let all = watcher::Config::default();
        let (providers, providers_watch) = kind(client, all.clone(), soon.clone(), ProviderConfig::clone, |_| {});
        let (routes, routes_watch) = kind(client, all.clone(), soon.clone(), ModelRoute::clone, |_| {});
        let named = all.clone().fields(&format!("metadata.name={}", names::CONFIG_MAP));
        let (config_maps, config_maps_watch) = kind(client, named, soon.clone(), ConfigMap::clone, on_config);
        let injected = all
            .labels(&format!("{}=true", names::LABEL_INJECTED))
            .page_size(PODS_AT_ONCE);
        let (pods, pods_watch) = kind(client, injected, (changed, false), InjectedPod::of, on_pod);
        let work = async move {
            future::select_all([
                Box::pin(providers_watch) as std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
                Box::pin(routes_watch),
                Box::pin(config_maps_watch),
                Box::pin(pods_watch),
            ])
            .await;
        };
        (
            Self {
                providers,
                routes,
                config_maps,
                pods,
            },
            changes,
            work,
        )
    }

    /// Waits until every kind has been listed once.
    pub async fn ready(&self) {
        self.providers.ready().await;
        self.routes.ready().await;
        self.config_maps.ready().await;
        self.pods.ready().await;
    }

    /// The namespace's ProviderConfigs, by name.
    pub fn providers(&self, namespace: &str) -> Vec<Arc<ProviderConfig>> {
        self.providers.of(namespace)
    }

    /// The namespace's ModelRoutes, by name.
    pub fn routes(&self, namespace: &str) -> Vec<Arc<ModelRoute>> {
        self.routes.of(namespace)
    }

    /// The namespace's config, where it has one.
    pub fn config_map(&self, namespace: &str) -> Option<Arc<ConfigMap>> {
        self.config_maps.get(namespace, names::CONFIG_MAP)
    }

    /// The namespace's pods with a sidecar, by name.
    pub fn pods(&self, namespace: &str) -> Vec<Arc<InjectedPod>> {
        self.pods.of(namespace)
    }
}

/// Watches a kind, of whose objects `read` is kept.
fn kind<K, V>(
    client: &Client,
    config: watcher::Config,
    changed: (mpsc::UnboundedSender<Change>, bool),
    read: fn(&K) -> V,
    mut tell: impl FnMut(&watcher::Event<K>) + Send + 'static,
) -> (Kept<V>, impl Future<Output = ()> + Send + 'static)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
    V: Send + Sync + 'static,
{
    let (kept, mut follow) = Kept::following(read);
    let events = fresh::watch(Api::<K>::all(client.clone()), config)
        // What nobody reads is not kept: of who wrote what, the audit log wants who and when.
        .modify(|object| {
            for entry in object.managed_fields_mut() {
                entry.fields_v1 = None;
            }
        })
        .default_backoff()
        .inspect_ok(move |event| {
            follow(event);
            tell(event);
        });
    (kept, pump(events, changed))
}

async fn pump<K: Resource<DynamicType = ()>>(
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>>,
    (changed, soon): (mpsc::UnboundedSender<Change>, bool),
) {
    let mut events = std::pin::pin!(events);
    let change = |namespace: &str| Change {
        namespace: namespace.to_owned(),
        soon,
    };
    // What goes away while the watch is interrupted has no event of its own: it is only missing from the next list.
    let (mut known, mut before) = (BTreeSet::<String>::new(), BTreeSet::<String>::new());
    while let Some(event) = events.next().await {
        let object = match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object) | watcher::Event::InitApply(object)) => {
                object
            }
            Ok(watcher::Event::Init) => {
                before.append(&mut known);
                continue;
            }
            Ok(watcher::Event::InitDone) => {
                for namespace in std::mem::take(&mut before).difference(&known) {
                    let _ = changed.unbounded_send(change(namespace));
                }
                continue;
            }
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted; trying again with backoff");
                continue;
            }
        };
        if let Some(namespace) = object.meta().namespace.as_deref() {
            if !known.contains(namespace) {
                known.insert(namespace.to_owned());
            }
            // The receiver is gone only when the process is about to stop.
            let _ = changed.unbounded_send(change(namespace));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_namespace_whose_last_object_went_while_nobody_watched_is_looked_at() {
        let object = |namespace: &str| {
            let mut map = ConfigMap::default();
            map.metadata.name = Some("a".into());
            map.metadata.namespace = Some(namespace.into());
            map
        };
        let events = [
            watcher::Event::Init,
            watcher::Event::InitApply(object("stays")),
            watcher::Event::InitApply(object("emptied")),
            watcher::Event::InitDone,
            watcher::Event::Init,
            watcher::Event::InitApply(object("stays")),
            watcher::Event::InitDone,
        ];
        let (changed, changes) = mpsc::unbounded();
        pump(futures::stream::iter(events.map(Ok)), (changed, true)).await;
        let told: Vec<String> = changes.map(|change| change.namespace).collect().await;
        assert_eq!(told, ["stays", "emptied", "stays", "emptied"]);
    }
}
