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
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodSpec, PodStatus, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

mod index;

use crate::injector::sidecar::{CA_VOLUME, SECRETS_VOLUME, TOKEN_VOLUME};
use index::Index;

/// Pods in one page of a list: whole, before they are trimmed, each takes some tens of KiB.
pub(crate) const PODS_AT_ONCE: u32 = 100;

/// The stores. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    providers: Kept<ProviderConfig>,
    routes: Kept<ModelRoute>,
    config_maps: Kept<ConfigMap>,
    pods: Kept<Pod>,
}

/// The objects of a kind, and which namespace has which.
#[derive(Clone)]
struct Kept<K: Resource<DynamicType = ()> + Clone + 'static> {
    store: reflector::Store<K>,
    index: Index,
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
        let (providers, providers_watch) = kind::<ProviderConfig>(client, all.clone(), soon.clone(), |_| {}, |_| {});
        let (routes, routes_watch) = kind::<ModelRoute>(client, all.clone(), soon.clone(), |_| {}, |_| {});
        let named = all.clone().fields(&format!("metadata.name={}", names::CONFIG_MAP));
        let (config_maps, config_maps_watch) = kind::<ConfigMap>(client, named, soon.clone(), |_| {}, on_config);
        let injected = all
            .labels(&format!("{}=true", names::LABEL_INJECTED))
            .page_size(PODS_AT_ONCE);
        let (pods, pods_watch) = kind::<Pod>(client, injected, (changed, false), trim, on_pod);
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
        let _ = self.providers.store.wait_until_ready().await;
        let _ = self.routes.store.wait_until_ready().await;
        let _ = self.config_maps.store.wait_until_ready().await;
        let _ = self.pods.store.wait_until_ready().await;
    }

    /// The namespace's ProviderConfigs, by name.
    pub fn providers(&self, namespace: &str) -> Vec<Arc<ProviderConfig>> {
        of(&self.providers, namespace)
    }

    /// The namespace's ModelRoutes, by name.
    pub fn routes(&self, namespace: &str) -> Vec<Arc<ModelRoute>> {
        of(&self.routes, namespace)
    }

    /// The namespace's config, where it has one.
    pub fn config_map(&self, namespace: &str) -> Option<Arc<ConfigMap>> {
        self.config_maps
            .store
            .get(&ObjectRef::new(names::CONFIG_MAP).within(namespace))
    }

    /// The namespace's pods with a sidecar, by name.
    pub fn pods(&self, namespace: &str) -> Vec<Arc<Pod>> {
        of(&self.pods, namespace)
    }
}

fn of<K: Resource<DynamicType = ()> + Clone + 'static>(kept: &Kept<K>, namespace: &str) -> Vec<Arc<K>> {
    let names = kept.index.names(namespace).into_iter();
    names
        .filter_map(|name| kept.store.get(&ObjectRef::new(&name).within(namespace)))
        .collect()
}

fn kind<K>(
    client: &Client,
    config: watcher::Config,
    changed: (mpsc::UnboundedSender<Change>, bool),
    trim: fn(&mut K),
    mut tell: impl FnMut(&watcher::Event<K>) + Send + 'static,
) -> (Kept<K>, impl Future<Output = ()> + Send + 'static)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let index = Index::default();
    let mut follow = index.follow();
    let events = watcher(Api::<K>::all(client.clone()), config)
        // What nobody reads is not kept: in a large cluster this is most of the memory.
        .modify(move |object| {
            // Who wrote it and when, for the audit log; not what.
            for entry in object.managed_fields_mut() {
                entry.fields_v1 = None;
            }
            trim(object);
        })
        .default_backoff()
        .reflect(writer)
        .inspect_ok(move |event| {
            follow(event);
            tell(event);
        });
    (Kept { store, index }, pump(events, changed))
}

/// Keeps of a pod what is asked of it: who it is, whether it runs and where, and which Secrets the injector mounted. The
/// rest is most of a large cluster's memory, and environment variables are no business of ours.
fn trim(pod: &mut Pod) {
    let metadata = std::mem::take(&mut pod.metadata);
    let kept = [names::ANNOTATION_CONFIG_REVISION, names::ANNOTATION_ADMIN_PORT];
    let wanted = |name: &String| kept.contains(&name.as_str());
    pod.metadata = ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        deletion_timestamp: metadata.deletion_timestamp,
        owner_references: metadata.owner_references,
        labels: metadata.labels,
        annotations: metadata
            .annotations
            .map(|all| all.into_iter().filter(|(name, _)| wanted(name)).collect()),
        ..ObjectMeta::default()
    };
    pod.spec = pod.spec.take().map(|spec| PodSpec {
        volumes: spec.volumes.map(|all| {
            let ours = |volume: &Volume| [SECRETS_VOLUME, CA_VOLUME, TOKEN_VOLUME].contains(&&*volume.name);
            let mut kept: Vec<Volume> = all.into_iter().filter(ours).collect();
            // A volume has 3 KiB, and filtered in place the list would keep the room of all that the pod has.
            kept.shrink_to_fit();
            kept
        }),
        ..PodSpec::default()
    });
    pod.status = pod.status.take().map(|status| PodStatus {
        phase: status.phase,
        pod_ip: status.pod_ip,
        ..PodStatus::default()
    });
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
    use crate::injector::References;

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

    #[test]
    fn of_a_pod_only_what_is_asked_of_it_is_kept_and_never_its_environment() {
        let mut pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "app", "namespace": "team", "labels": {"app": "x"},
                "annotations": {"bowsprit.dev/config-revision": "abc", "large": "x"},
            },
            "spec": {
                "containers": [{"name": "app", "env": [{"name": "TOKEN", "value": "secret"}]}],
                "volumes": [
                    {"name": "bowsprit-secrets", "projected": {"sources": [
                        {"secret": {"name": "keys", "items": [{"key": "a", "path": "keys/a"}]}},
                    ]}},
                    {"name": "data", "emptyDir": {}},
                    {"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
                ],
            },
            "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": []},
        }))
        .unwrap();
        let before = References::mounted(pod.spec.as_ref().unwrap());
        trim(&mut pod);
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(References::mounted(spec), before);
        let volumes = spec.volumes.as_ref().unwrap();
        assert_eq!(
            volumes.capacity(),
            volumes.len(),
            "room that is kept, times every pod of the cluster"
        );
        insta::assert_json_snapshot!(pod);
    }
}
