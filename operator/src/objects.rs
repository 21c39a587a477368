//! What the operator knows of the cluster: one watch per kind, kept in memory.
//!
//! The reconciler and the injector read from here, so neither asks the apiserver in the middle of a decision. Each
//! change names the namespace to look at again.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use bowsprit_crds::found::{Found, Unread};
use bowsprit_crds::{ModelRoute, ProviderConfig, UsagePolicy, names};
use futures::channel::mpsc;
use futures::{Stream, StreamExt as _, future};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

pub(crate) mod doubt;
pub(crate) mod fresh;
mod kept;
pub mod news;
pub mod pod;

use crate::fleet::PodId;
use kept::Kept;
use news::News;
use pod::InjectedPod;

/// Pods in one page of a list: whole, before they are read, each takes some tens of KiB.
pub(crate) const PODS_AT_ONCE: u32 = 100;

/// The stores. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    providers: Ours<ProviderConfig>,
    routes: Ours<ModelRoute>,
    policies: Ours<UsagePolicy>,
    config_maps: Kept<ConfigMap>,
    pods: Kept<InjectedPod>,
    news: News,
}

/// An object that people apply, as it is kept.
enum Known<K> {
    Read(Arc<K>),
    Unread(Arc<Unread<K>>),
}

/// The objects of a kind that people apply.
type Ours<K> = Kept<Known<K>>;

/// A namespace's objects, each kind by name.
#[derive(Clone, Debug, Default)]
pub struct Here {
    /// Its ProviderConfigs.
    pub providers: Vec<Arc<ProviderConfig>>,
    /// Its ModelRoutes.
    pub routes: Vec<Arc<ModelRoute>>,
    /// Its UsagePolicies. None while they are not known: their CRD is not installed, or not listed yet.
    pub policies: Option<Vec<Arc<UsagePolicy>>>,
    /// Those that this release cannot read.
    pub not_understood: NotUnderstood,
}

/// A namespace's objects that this release cannot read, each kind by name.
#[derive(Clone, Debug, Default)]
pub struct NotUnderstood {
    /// Its ProviderConfigs.
    pub providers: Vec<Arc<Unread<ProviderConfig>>>,
    /// Its ModelRoutes.
    pub routes: Vec<Arc<Unread<ModelRoute>>>,
    /// Its UsagePolicies.
    pub policies: Vec<Arc<Unread<UsagePolicy>>>,
}

impl NotUnderstood {
    /// Whether all can be read.
    pub fn is_empty(&self) -> bool {
        self.providers.is_empty() && self.routes.is_empty() && self.policies.is_empty()
    }
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
        Self::watch_and_tell(client, |_| {}, |_| {}, |_| {})
    }

    /// The same, and each event of a config, a policy or a pod is told to who needs more than the stores: after these have it. Of
    /// policies it is told too that their watch is interrupted.
    pub fn watch_and_tell(
        client: &Client,
        mut on_config: impl FnMut(&watcher::Event<ConfigMap>) + Send + 'static,
        on_policy: impl FnMut(&watcher::Result<watcher::Event<Found<UsagePolicy>>>) + Send + 'static,
        mut on_pod: impl FnMut(&watcher::Event<Pod>) + Send + 'static,
    ) -> (Self, Changes, impl Future<Output = ()> + Send + 'static) {
        let (changed, changes) = mpsc::unbounded();
        let soon = (changed.clone(), true);
        let all = watcher::Config::default();
        let news = News::default();
        let on_provider = {
            let news = news.clone();
            move |told: &watcher::Result<watcher::Event<Found<ProviderConfig>>>| news.note(told, Instant::now())
        };
        let (providers, providers_watch) = ours::<ProviderConfig>(client, soon.clone(), on_provider);
        let (routes, routes_watch) = ours::<ModelRoute>(client, soon.clone(), |_| {});
        let (policies, policies_watch) = ours::<UsagePolicy>(client, soon.clone(), on_policy);
        let named = all.clone().fields(&format!("metadata.name={}", names::CONFIG_MAP));
        let on_config = move |told: &watcher::Result<_>| told.iter().for_each(&mut on_config);
        let (config_maps, follow) = Kept::following(ConfigMap::clone);
        let config_maps_watch = kind(client, named, soon.clone(), follow, on_config);
        let injected = all
            .labels(&format!("{}=true", names::LABEL_INJECTED))
            .page_size(PODS_AT_ONCE);
        let on_pod = move |told: &watcher::Result<_>| told.iter().for_each(&mut on_pod);
        let (pods, follow) = Kept::following(InjectedPod::of);
        let pods_watch = kind(client, injected, (changed, false), follow, on_pod);
        let work = async move {
            future::select_all([
                Box::pin(providers_watch) as std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
                Box::pin(routes_watch),
                Box::pin(policies_watch),
                Box::pin(config_maps_watch),
                Box::pin(pods_watch),
            ])
            .await;
        };
        (
            Self {
                providers,
                routes,
                policies,
                config_maps,
                pods,
                news,
            },
            changes,
            work,
        )
    }

    /// Waits until every kind has been listed once.
    pub async fn ready(&self) {
        self.ready_without_pods().await;
        self.pods.ready().await;
    }

    /// Waits until all but pods have been listed once: what webhooks and streams need. Ten thousand pods take seconds to list.
    pub async fn ready_without_pods(&self) {
        self.providers.ready().await;
        self.routes.ready().await;
        self.config_maps.ready().await;
    }

    /// The namespace's objects. One that cannot be read any more, or can again, is in one place at each moment.
    pub fn here(&self, namespace: &str) -> Here {
        let is_known = self.policies.is_ready();
        let (providers, unread_providers) = parted(&self.providers, namespace);
        let (routes, unread_routes) = parted(&self.routes, namespace);
        let (policies, unread_policies) = parted(&self.policies, namespace);
        Here {
            providers,
            routes,
            policies: is_known.then_some(policies),
            not_understood: NotUnderstood {
                providers: unread_providers,
                routes: unread_routes,
                policies: unread_policies,
            },
        }
    }

    /// The namespace's ProviderConfigs, by name.
    pub fn providers(&self, namespace: &str) -> Vec<Arc<ProviderConfig>> {
        parted(&self.providers, namespace).0
    }

    /// The namespace's ModelRoutes, by name.
    pub fn routes(&self, namespace: &str) -> Vec<Arc<ModelRoute>> {
        parted(&self.routes, namespace).0
    }

    /// The namespace's UsagePolicies, by name; none before that kind has been listed once.
    pub fn policies(&self, namespace: &str) -> Option<Vec<Arc<UsagePolicy>>> {
        self.policies.is_ready().then(|| parted(&self.policies, namespace).0)
    }

    /// The namespace's config, where it has one.
    pub fn config_map(&self, namespace: &str) -> Option<Arc<ConfigMap>> {
        self.config_maps.get(namespace, names::CONFIG_MAP)
    }

    /// When ProviderConfigs were changed last.
    pub fn news(&self) -> &News {
        &self.news
    }

    /// A pod with a sidecar, where it is known.
    pub fn pod(&self, namespace: &str, id: &PodId) -> Option<Arc<InjectedPod>> {
        self.pods.get(namespace, &id.name).filter(|pod| pod.id == *id)
    }

    /// Whether the namespace has a ModelRoute of this name.
    pub fn has_route(&self, namespace: &str, name: &str) -> bool {
        self.routes.get(namespace, name).is_some()
    }

    /// The namespace's pods with a sidecar, by name.
    pub fn pods(&self, namespace: &str) -> Vec<Arc<InjectedPod>> {
        self.pods.of(namespace)
    }
}

/// Watches a kind that people apply, each object read by itself.
fn ours<K>(
    client: &Client,
    changed: (mpsc::UnboundedSender<Change>, bool),
    tell: impl FnMut(&watcher::Result<watcher::Event<Found<K>>>) + Send + 'static,
) -> (Ours<K>, impl Future<Output = ()> + Send + 'static)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (kept, mut keep) = Kept::following(|found: &Found<K>| match found {
        Found::Read(object) => Known::Read(Arc::new(K::clone(object))),
        Found::Unread(object) => Known::Unread(Arc::new(Unread::clone(object))),
    });
    let known = kept.clone();
    let follow = move |event: &watcher::Event<Found<K>>| {
        if let watcher::Event::InitApply(Found::Unread(object)) | watcher::Event::Apply(Found::Unread(object)) = event {
            warn_once(object, &known);
        }
        keep(event);
    };
    let work = kind(client, watcher::Config::default(), changed, follow, tell);
    (kept, work)
}

/// A namespace's, by name: those that can be read, and those that cannot.
fn parted<K>(all: &Ours<K>, namespace: &str) -> (Vec<Arc<K>>, Vec<Arc<Unread<K>>>) {
    let (mut read, mut unread) = (Vec::new(), Vec::new());
    for known in all.of(namespace) {
        match &*known {
            Known::Read(object) => read.push(Arc::clone(object)),
            Known::Unread(object) => unread.push(Arc::clone(object)),
        }
    }
    (read, unread)
}

/// Says that an object cannot be read, where that is new of its spec.
fn warn_once<K: Resource<DynamicType = ()>>(object: &Unread<K>, known: &Ours<K>) {
    let metadata = &object.metadata;
    let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
    let before = namespace
        .zip(name)
        .and_then(|(namespace, name)| known.get(namespace, name));
    let said = before.is_some_and(|before| match &*before {
        Known::Unread(before) => before.metadata.generation == metadata.generation && before.at == object.at,
        Known::Read(_) => false,
    });
    if !said {
        tracing::warn!(
            kind = %K::kind(&()),
            namespace,
            name,
            at = object.at,
            why = object.why,
            "this release cannot read this object: its last accepted version, if there was one, stays in service; all others go on"
        );
    }
}

/// Watches a kind; `follow` is told of each event, and `tell` then of each and of each error.
fn kind<K>(
    client: &Client,
    config: watcher::Config,
    changed: (mpsc::UnboundedSender<Change>, bool),
    mut follow: impl FnMut(&watcher::Event<K>) + Send + 'static,
    mut tell: impl FnMut(&watcher::Result<watcher::Event<K>>) + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let events = fresh::watch(Api::<K>::all(client.clone()), config)
        // What nobody reads is not kept: of who wrote what, the audit log wants who and when.
        .modify(|object| {
            for entry in object.managed_fields_mut() {
                entry.fields_v1 = None;
            }
        })
        .default_backoff()
        .inspect(move |told| {
            if let Ok(event) = told {
                follow(event);
            }
            tell(told);
        });
    pump(events, changed)
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
    let mut is_missing = false;
    while let Some(event) = events.next().await {
        let (object, is_kept) = match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object)) => (object, true),
            // The stores have a list only once it is whole, which with many pages is seconds later: who looked now would look
            // at what was there before, and nothing would tell him to look again.
            Ok(watcher::Event::InitApply(object)) => (object, false),
            Ok(watcher::Event::Init) => {
                before.append(&mut known);
                continue;
            }
            Ok(watcher::Event::InitDone) => {
                is_missing = false;
                for namespace in std::mem::take(&mut before).union(&known) {
                    let _ = changed.unbounded_send(change(namespace));
                }
                continue;
            }
            // Said once: a kind that is new in this release is not there until somebody applies its CRD.
            Err(error) if has_no_crd(&error) => {
                if !std::mem::replace(&mut is_missing, true) {
                    tracing::warn!(
                        kind = %K::kind(&()),
                        "its CRD is not installed: going on without it, and looking again twice a minute: \
                         kubectl apply --server-side --force-conflicts -f charts/bowsprit/crds"
                    );
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
            if is_kept {
                // The receiver is gone only when the process is about to stop.
                let _ = changed.unbounded_send(change(namespace));
            }
        }
    }
}

/// Whether the apiserver knows no such kind.
fn has_no_crd(error: &watcher::Error) -> bool {
    let watcher::Error::InitialListFailed(kube::Error::Api(status)) = error else {
        return false;
    };
    status.code == 404
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(namespace: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some("a".into());
        map.metadata.namespace = Some(namespace.into());
        map
    }

    #[tokio::test]
    async fn what_is_listed_is_told_once_the_list_is_whole_and_the_stores_have_it() {
        let (listing, events) = mpsc::unbounded();
        let (changed, mut changes) = mpsc::unbounded();
        let pumping = tokio::spawn(pump(events, (changed, true)));
        let mut told = async |event| {
            listing.unbounded_send(Ok(event)).unwrap();
            // The pump has nothing left to do: it waits for the next event.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            std::iter::from_fn(|| changes.try_recv().ok())
                .map(|change| change.namespace)
                .collect::<Vec<_>>()
        };
        assert!(told(watcher::Event::Init).await.is_empty());
        for page in ["b", "a"] {
            assert!(told(watcher::Event::InitApply(object(page))).await.is_empty());
        }
        assert_eq!(told(watcher::Event::InitDone).await, ["a", "b"]);
        assert_eq!(told(watcher::Event::Apply(object("b"))).await, ["b"]);
        assert_eq!(told(watcher::Event::Delete(object("b"))).await, ["b"]);
        pumping.abort();
    }

    #[tokio::test]
    async fn a_namespace_whose_last_object_went_while_nobody_watched_is_looked_at() {
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
        assert_eq!(told, ["emptied", "stays", "emptied", "stays"]);
    }
}
