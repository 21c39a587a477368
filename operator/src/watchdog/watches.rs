//! The watches: which objects are asked for, and what each says as a step for the book. Nothing is kept here but which
//! namespaces ask for their pods.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;

use bowsprit_crds::names;
use futures::channel::oneshot;
use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt as _, future, stream};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::book::{Source, Step};
use super::look::{self, Observed};
use crate::objects::{PODS_AT_ONCE, fresh};

type Steps = BoxStream<'static, (Source, Step)>;

/// All of them, merged.
pub(super) struct Watches {
    client: Client,
    steps: SelectAll<Steps>,
    namespaces: BoxStream<'static, watcher::Result<watcher::Event<Namespace>>>,
    /// Of each namespace that asks for its pods: dropped, the watch of them ends.
    asking: HashMap<String, oneshot::Sender<()>>,
    /// Namespaces that asked before the list of them began anew, and are not in it yet.
    unlisted: BTreeSet<String>,
    /// How many watches of namespaces were opened: each is a source of its own.
    opened: u64,
}

impl Watches {
    /// Starts them.
    pub(super) fn start(client: &Client) -> Self {
        let (inject, injected) = (names::LABEL_INJECT, names::LABEL_INJECTED);
        let pods = || Api::<Pod>::all(client.clone());
        // Who asked and was not injected: nobody, where all is well.
        let asked = format!("{inject},{inject}!=false,{injected}!=true");
        let mut steps = SelectAll::new();
        steps.push(watch(pods(), &asked, "asked".into(), look::uninjected));
        steps.push(watch(
            pods(),
            &format!("{injected}=true"),
            "injected".into(),
            look::injected,
        ));
        steps.push(workloads::<Deployment>(client));
        steps.push(workloads::<StatefulSet>(client));
        steps.push(workloads::<DaemonSet>(client));
        steps.push(workloads::<Job>(client));
        steps.push(workloads::<CronJob>(client));
        let config = watcher::Config::default().labels(inject);
        let namespaces = fresh::watch(Api::<Namespace>::all(client.clone()), config);
        Self {
            client: client.clone(),
            steps,
            namespaces: namespaces.default_backoff().boxed(),
            asking: HashMap::new(),
            unlisted: BTreeSet::new(),
            opened: 0,
        }
    }

    /// The next step of any of them. May be dropped at any point: a step is taken whole or not at all.
    pub(super) async fn next(&mut self) -> (Source, Step) {
        loop {
            tokio::select! {
                Some(step) = self.steps.next() => return step,
                Some(event) = self.namespaces.next() => {
                    self.follow(&event);
                    if let Some(step) = step_of(event, &"Namespace".to_owned(), &of_other) {
                        return step;
                    }
                }
                // They try again for ever, so this is never taken.
                else => future::pending().await,
            }
        }
    }

    /// Watches the pods of the namespaces that ask, as long as they do.
    fn follow(&mut self, event: &watcher::Result<watcher::Event<Namespace>>) {
        match event {
            Ok(watcher::Event::Init) => self.unlisted = self.asking.keys().cloned().collect(),
            Ok(watcher::Event::InitApply(namespace) | watcher::Event::Apply(namespace)) => {
                let name = namespace.name_any();
                self.unlisted.remove(&name);
                if namespace
                    .labels()
                    .get(names::LABEL_INJECT)
                    .is_some_and(|wish| wish == "true")
                {
                    self.open(name);
                } else {
                    self.asking.remove(&name);
                }
            }
            Ok(watcher::Event::Delete(namespace)) => drop(self.asking.remove(&namespace.name_any())),
            Ok(watcher::Event::InitDone) => {
                for name in std::mem::take(&mut self.unlisted) {
                    self.asking.remove(&name);
                }
            }
            Err(_) => {}
        }
    }

    fn open(&mut self, namespace: String) {
        if self.asking.contains_key(&namespace) {
            return;
        }
        self.opened += 1;
        let source = format!("asked by {namespace}, {}", self.opened);
        // A pod's own wish is another watch's.
        let silent = format!("!{},{}!=true", names::LABEL_INJECT, names::LABEL_INJECTED);
        let pods = Api::<Pod>::namespaced(self.client.clone(), &namespace);
        let (keep, dropped) = oneshot::channel();
        self.asking.insert(namespace, keep);
        let over = stream::once(future::ready((source.clone(), Step::Over)));
        let steps = watch(pods, &silent, source, look::uninjected);
        self.steps.push(steps.take_until(dropped).chain(over).boxed());
    }
}

fn workloads<K>(client: &Client) -> Steps
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static,
{
    let source = K::kind(&()).into_owned();
    watch(Api::<K>::all(client.clone()), names::LABEL_INJECT, source, of_other)
}

fn watch<K>(api: Api<K>, selector: &str, source: Source, look: fn(&K) -> Observed) -> Steps
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    fresh::watch(api, watcher::Config::default().labels(selector).page_size(PODS_AT_ONCE))
        .default_backoff()
        .filter_map(move |event| future::ready(step_of(event, &source, &look)))
        .boxed()
}

fn step_of<K: Resource<DynamicType = ()>>(
    event: watcher::Result<watcher::Event<K>>,
    source: &Source,
    look: &impl Fn(&K) -> Observed,
) -> Option<(Source, Step)> {
    let step = match event {
        Ok(watcher::Event::Init) => Step::Begin,
        Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => Step::See(Box::new(look(&object))),
        Ok(watcher::Event::Delete(object)) => {
            let namespace = object.meta().namespace.clone().unwrap_or_default();
            Step::Gone(format!("{namespace}/{}", object.name_any()))
        }
        Ok(watcher::Event::InitDone) => Step::Listed,
        Err(error) => {
            tracing::debug!(source, %error, "the watchdog's watch was interrupted; trying again with backoff");
            return None;
        }
    };
    Some((source.clone(), step))
}

/// What somebody applied; what a controller made of it is not looked at.
fn of_other<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Observed {
    let is_made = object
        .meta()
        .owner_references
        .as_ref()
        .is_some_and(|owners| !owners.is_empty());
    let value = if is_made {
        serde_json::Value::Null
    } else {
        serde_json::to_value(object).unwrap_or_default()
    };
    look::other(&K::kind(&()), &K::api_version(&()), object.meta(), &value)
}
