//! Makes a namespace what [`crate::desired`] says: the ConfigMap, the nudge, the statuses, the Events.
//!
//! One reconcile looks at one namespace as a whole and writes only what differs, so at rest nothing is written. Only the
//! holder of the lease runs it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::stream::SidecarReport;
use bowsprit_crds::{ModelRoute, ModelRouteStatus, ProviderConfig, ProviderConfigStatus, names};
use futures::{StreamExt as _, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::audit;
use crate::conditions::{Verdict, kind};
use crate::desired::{Current, Desired, Judged, SidecarSeen, desired_at};
use crate::fleet::{Fleet, PodId};
use crate::heard::Heard;
use crate::injector::References;
use crate::lease::elector::{Leadership, NotLeading};
use crate::objects::{Changes, Store};
use crate::owner;
use crate::poll::Poller;
use crate::validate::hosts::AllowedHosts;

mod bundles;

/// The field manager of everything that the operator writes.
pub const FIELD_MANAGER: &str = "bowsprit-operator";

/// How long to wait before looking again while sidecars are behind: the kubelet takes 0.2 to 0.5 s after a nudge.
const WHILE_BEHIND: Duration = Duration::from_millis(500);
/// And where they stay behind, such as pods that cannot be nudged.
const WHILE_LONG_BEHIND: Duration = Duration::from_secs(5);
/// How long to wait for what somebody else wrote to be heard of, where no event comes first.
const AFTER_CONFLICT: Duration = Duration::from_millis(200);
/// How often pods that hold no stream are asked when all is well, at the least; up to twice that, by chance.
const AT_REST: Duration = Duration::from_secs(30);
/// Pods nudged at the same time, so that a large namespace does not flood the apiserver.
const NUDGES_AT_ONCE: usize = 16;
/// Namespaces reconciled at the same time.
const NAMESPACES_AT_ONCE: u16 = 4;
/// A single failed namespace waits this long at most.
const MAX_BACKOFF: Duration = Duration::from_mins(1);

/// Why a reconcile failed; it is tried again with backoff.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The apiserver refused or did not answer.
    #[error("{step} failed")]
    Kube {
        /// What was tried.
        step: &'static str,
        /// The answer.
        source: kube::Error,
    },
    /// Another replica leads by now.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// The documents cannot be written as YAML.
    #[error("rendering the config failed")]
    Render(#[from] bowsprit_core::yaml::YamlError),
}

impl Error {
    /// The object was written by somebody else since it was looked at.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Kube { source: kube::Error::Api(status), .. } if status.code == 409)
    }
}

/// Counters of the reconciler.
#[derive(Clone, Debug)]
pub struct Metrics {
    reconciles: Counter,
    failures: Counter,
    config_writes: Counter,
    status_writes: Counter,
    nudges: Counter,
    nudge_failures: Counter,
    duration: Histogram,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let counter = |registry: &mut Registry, name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let duration = Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0]);
        registry.register(
            "reconcile_duration_seconds",
            "Time of one look at a namespace",
            duration.clone(),
        );
        Self {
            reconciles: counter(registry, "reconciles", "Looks at a namespace"),
            failures: counter(registry, "reconcile_failures", "Looks that failed and are tried again"),
            config_writes: counter(registry, "config_writes", "ConfigMaps written"),
            status_writes: counter(registry, "status_writes", "Statuses written"),
            nudges: counter(registry, "nudges", "Pods whose kubelet was asked to refresh the mount"),
            nudge_failures: counter(
                registry,
                "nudge_failures",
                "Nudges that failed; the kubelet's own sync follows",
            ),
            duration,
        }
    }
}

/// Everything a reconcile needs.
pub struct Context {
    client: Client,
    store: Store,
    fleet: Fleet,
    poller: Poller,
    bundles: bundles::Bundles,
    recorder: Recorder,
    metrics: Metrics,
    leadership: Leadership,
    owner: Option<OwnerReference>,
    audit: audit::Seen,
    hosts: AllowedHosts,
    failures: std::sync::Mutex<std::collections::HashMap<String, u32>>,
    behind: std::sync::Mutex<std::collections::HashMap<String, u32>>,
}

impl Context {
    /// A context. Sidecars are known from the fleet where they hold a stream, and asked by the poller where not. `instance` names this process in Events; `leadership` is asked before every write.
    pub fn new(
        client: Client,
        store: Store,
        (fleet, poller): (Fleet, Poller),
        metrics: Metrics,
        instance: String,
        leadership: Leadership,
    ) -> Self {
        let reporter = Reporter {
            controller: FIELD_MANAGER.into(),
            instance: Some(instance),
        };
        let recorder = Recorder::new(client.clone(), reporter);
        Self {
            client,
            store,
            fleet,
            poller,
            bundles: bundles::Bundles::default(),
            recorder,
            metrics,
            leadership,
            owner: None,
            audit: audit::Seen::default(),
            hosts: AllowedHosts::default(),
            failures: std::sync::Mutex::default(),
            behind: std::sync::Mutex::default(),
        }
    }

    /// Providers may be at these hosts only.
    #[must_use]
    pub fn allowing(mut self, hosts: AllowedHosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// The namespaces' ConfigMaps go with this owner.
    #[must_use]
    pub fn owned_by(mut self, owner: Option<OwnerReference>) -> Self {
        self.owner = owner;
        self
    }
}

/// Reconciles every namespace until `stop` resolves; what is under way is finished first.
pub async fn run(
    context: Arc<Context>,
    changes: Changes,
    heard: Heard,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    context.store.ready().await;
    context.fleet.leads(std::time::Instant::now());
    let heard = heard.map(|namespace| ObjectRef::new(&namespace));
    let namespaces = Api::<Namespace>::all(context.client.clone());
    Controller::new(namespaces, watcher::Config::default())
        .with_config(
            Config::default()
                .concurrency(NAMESPACES_AT_ONCE)
                .debounce(Duration::from_millis(50)),
        )
        .reconcile_on(stream::select(changes, heard))
        .graceful_shutdown_on(stop)
        .run(reconcile, on_error, context)
        .for_each(|_| std::future::ready(()))
        .await;
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is the controller's")]
fn on_error(namespace: Arc<Namespace>, error: &Error, context: Arc<Context>) -> Action {
    context.metrics.failures.inc();
    let name = namespace.name_any();
    let tries = bump(&context.failures, &name);
    let wait = Duration::from_millis(500)
        .saturating_mul(1 << tries.min(7))
        .min(MAX_BACKOFF);
    let cause = std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    tracing::warn!(namespace = name, %error, cause, retry_in = ?wait, "reconcile failed");
    Action::requeue(wait)
}

async fn reconcile(namespace: Arc<Namespace>, context: Arc<Context>) -> Result<Action, Error> {
    let started = std::time::Instant::now();
    context.metrics.reconciles.inc();
    let name = namespace.name_any();
    let terminating = namespace.metadata.deletion_timestamp.is_some();
    let result = if terminating {
        Ok(Action::await_change())
    } else {
        match reconcile_namespace(&name, &context).await {
            // Somebody wrote in between: what was decided is void, and is decided anew on what is there now.
            Err(error) if error.is_conflict() => Ok(Action::requeue(AFTER_CONFLICT)),
            done => done,
        }
    };
    context.metrics.duration.observe(started.elapsed().as_secs_f64());
    if result.is_ok() {
        forget(&context.failures, &name);
    }
    result
}

async fn reconcile_namespace(namespace: &str, context: &Context) -> Result<Action, Error> {
    let providers = context.store.providers(namespace);
    let routes = context.store.routes(namespace);
    let config_map = context.store.config_map(namespace);
    if providers.is_empty() && routes.is_empty() && config_map.is_none() {
        return Ok(Action::await_change());
    }
    for object in &providers {
        let told = object.status.as_ref().and_then(|status| status.observed_generation);
        context.audit.note("ProviderConfig", &object.metadata, told);
    }
    for object in &routes {
        let told = object.status.as_ref().and_then(|status| status.observed_generation);
        context.audit.note("ModelRoute", &object.metadata, told);
    }
    let current = config_map.as_deref().map(read_config_map);
    let clock = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    let mut wanted = desired_at(&context.hosts, &providers, &routes, current.as_ref(), clock)?;
    if let Some(sequence) = wanted.write {
        write_config_map(namespace, &wanted, sequence, config_map.as_deref(), context).await?;
    } else if let (Some(owner), Some(map)) = (&context.owner, &config_map)
        && owner::is_missing(Some(owner), &map.metadata)
    {
        let maps = Api::namespaced(context.client.clone(), namespace);
        let adopt = owner::adopt(&maps, names::CONFIG_MAP, owner);
        let adopted = context.leadership.write(adopt).await?;
        adopted.map_err(|source| Error::Kube {
            step: "writing the ConfigMap's owner",
            source,
        })?;
    }
    let now = tokio::time::Instant::now();
    let bundles = context
        .bundles
        .missing(&context.client, namespace, &providers, now)
        .await;
    let (missing, look_for_them) = bundles.map_err(|source| Error::Kube {
        step: "looking for a CA bundle",
        source,
    })?;
    for problem in missing {
        wanted.note_unresolved(problem);
    }
    let pods: Vec<Arc<Pod>> = context
        .store
        .pods(namespace)
        .into_iter()
        .filter(|pod| is_running(pod))
        .collect();
    let streaming = context.fleet.reports(namespace);
    let (spoken_for, alone): (Vec<_>, Vec<_>) = pods.into_iter().partition(|pod| streaming.contains_key(&pod_id(pod)));
    let revision = &wanted.rendered.revision;
    let (is_settled, may_nudge) = (
        context.fleet.is_settled(std::time::Instant::now()),
        !wanted.is_too_large(),
    );
    if is_settled && may_nudge {
        nudge(namespace, &alone, revision, context).await;
    }
    let mut reports = context.poller.reports(&alone).await;
    if !is_settled && may_nudge {
        // Who is not known yet may hold a stream to a replica that has not told of it, and have it all.
        let has_it = |pod: &Pod| {
            reports
                .get(&pod.name_any())
                .is_some_and(|report| report.revision == *revision)
        };
        let behind: Vec<_> = alone.iter().filter(|pod| !has_it(pod)).cloned().collect();
        nudge(namespace, &behind, revision, context).await;
    }
    let report = |pod: &Pod| match streaming.get(&pod_id(pod)) {
        Some(reported) => Some(Arc::clone(&reported.report)),
        None => reports.remove(&pod.name_any()).map(Arc::new),
    };
    let sidecars = see(spoken_for.iter().chain(&alone), &providers, report);

    let mut behind = false;
    for object in &providers {
        let Some(judged) = wanted.judge_provider(&object.name_any(), &sidecars) else {
            continue;
        };
        behind |= judged.sidecars.behind > 0;
        report_provider(object, &judged, &wanted.rendered.revision, context).await?;
    }
    for object in &routes {
        let Some(judged) = wanted.judge_route(&object.name_any(), &sidecars) else {
            continue;
        };
        behind |= judged.sidecars.behind > 0;
        report_route(object, &judged, &wanted.rendered.revision, context).await?;
    }
    let poll = if alone.is_empty() {
        forget(&context.behind, namespace);
        None
    } else if !behind {
        forget(&context.behind, namespace);
        Some(AT_REST.mul_f64(1.0 + fastrand::f64()))
    } else if bump(&context.behind, namespace) <= 20 {
        Some(WHILE_BEHIND)
    } else {
        Some(WHILE_LONG_BEHIND)
    };
    // Where everybody holds a stream and all is there, whatever changes is told: nothing is asked for.
    let next = [poll, look_for_them].into_iter().flatten().min();
    Ok(next.map_or_else(Action::await_change, Action::requeue))
}

fn pod_id(pod: &Pod) -> PodId {
    PodId {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
    }
}

fn read_config_map(config_map: &ConfigMap) -> Current {
    let field = |key: &str| {
        config_map
            .data
            .as_ref()
            .and_then(|data| data.get(key))
            .cloned()
            .unwrap_or_default()
    };
    Current {
        text: field(names::CONFIG_KEY),
        revision: field(names::REVISION_KEY),
        sequence: field(names::SEQUENCE_KEY).parse().unwrap_or(0),
    }
}

/// `seen` is the ConfigMap that `wanted` was decided on: one that has changed since is not written over.
async fn write_config_map(
    namespace: &str,
    wanted: &Desired,
    sequence: u64,
    seen: Option<&ConfigMap>,
    context: &Context,
) -> Result<(), Error> {
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names::CONFIG_MAP,
            "resourceVersion": seen.and_then(|map| map.metadata.resource_version.as_deref()),
            "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER},
            "ownerReferences": context.owner.as_slice(),
        },
        "data": {
            names::CONFIG_KEY: wanted.rendered.text,
            names::REVISION_KEY: wanted.rendered.revision,
            names::SEQUENCE_KEY: sequence.to_string(),
            names::FORMAT_KEY: names::FORMAT_VERSION.to_string(),
        },
    });
    let api = Api::<ConfigMap>::namespaced(context.client.clone(), namespace);
    let (params, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(object));
    let write = api.patch(names::CONFIG_MAP, &params, &patch);
    context.leadership.write(write).await?.map_err(|source| Error::Kube {
        step: "writing the ConfigMap",
        source,
    })?;
    context.metrics.config_writes.inc();
    tracing::info!(
        namespace,
        revision = wanted.rendered.revision,
        sequence,
        "config written"
    );
    Ok(())
}

fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    // Pending counts too: a native sidecar runs while the pod still initialises, and waits for its config.
    pod.metadata.deletion_timestamp.is_none() && matches!(phase, Some("Running" | "Pending"))
}

/// Touches the pods that were not touched for `revision` yet: their kubelets then refresh the mount at once.
async fn nudge(namespace: &str, pods: &[Arc<Pod>], revision: &str, context: &Context) {
    let api = Api::<Pod>::namespaced(context.client.clone(), namespace);
    let untouched: Vec<&Arc<Pod>> = pods
        .iter()
        .filter(|pod| {
            pod.annotations()
                .get(names::ANNOTATION_CONFIG_REVISION)
                .is_none_or(|at| at != revision)
        })
        .collect();
    stream::iter(untouched)
        .for_each_concurrent(NUDGES_AT_ONCE, |pod| {
            let api = &api;
            async move {
                let name = pod.name_any();
                let patch = Patch::Merge(json!({"metadata": {
                    "resourceVersion": pod.metadata.resource_version,
                    "annotations": {names::ANNOTATION_CONFIG_REVISION: revision},
                }}));
                let params = PatchParams::default();
                let Ok(written) = context
                    .leadership
                    .write(api.patch_metadata(&name, &params, &patch))
                    .await
                else {
                    return;
                };
                match written {
                    Ok(_) => {
                        context.metrics.nudges.inc();
                    }
                    // Gone, or another version by now, which is looked at when it is heard of.
                    Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
                    Err(error) => {
                        context.metrics.nudge_failures.inc();
                        tracing::warn!(namespace, pod = name, %error, "nudge failed; the kubelet refreshes by itself");
                    }
                }
            }
        })
        .await;
}

fn see<'a>(
    pods: impl Iterator<Item = &'a Arc<Pod>>,
    providers: &[Arc<ProviderConfig>],
    mut report: impl FnMut(&Pod) -> Option<Arc<SidecarReport>>,
) -> Vec<SidecarSeen> {
    let seen = pods.map(|pod| {
        let labels = pod.labels().clone();
        let needed = References::of(providers.iter().map(AsRef::as_ref), &labels);
        let mounted = pod.spec.as_ref().map(References::mounted).unwrap_or_default();
        SidecarSeen {
            report: report(pod),
            not_mounted: needed.missing_from(&mounted),
            pod: pod.name_any(),
            labels,
        }
    });
    seen.collect()
}

async fn report_provider(
    object: &Arc<ProviderConfig>,
    judged: &Judged,
    revision: &str,
    context: &Context,
) -> Result<(), Error> {
    let before = object.status.clone().unwrap_or_default();
    let status = ProviderConfigStatus {
        conditions: judged.conditions(&before.conditions, object.metadata.generation, Timestamp::now()),
        observed_generation: object.metadata.generation,
        revision: Some(revision.to_owned()),
        sidecars: Some(judged.sidecars),
        circuits: Some(judged.circuits.clone()),
    };
    if status == before {
        return Ok(());
    }
    publish(&**object, &status, &before.conditions, judged, context).await
}

async fn report_route(
    object: &Arc<ModelRoute>,
    judged: &Judged,
    revision: &str,
    context: &Context,
) -> Result<(), Error> {
    let before = object.status.clone().unwrap_or_default();
    let status = ModelRouteStatus {
        conditions: judged.conditions(&before.conditions, object.metadata.generation, Timestamp::now()),
        observed_generation: object.metadata.generation,
        revision: Some(revision.to_owned()),
        sidecars: Some(judged.sidecars),
    };
    if status == before {
        return Ok(());
    }
    publish(&**object, &status, &before.conditions, judged, context).await
}

/// Writes a status that differs, and tells what is news in it.
async fn publish<K>(
    object: &K,
    status: &(impl Serialize + Sync),
    before: &[Condition],
    judged: &Judged,
    context: &Context,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api = Api::<K>::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    // Lists are replaced whole by a merge patch, and nobody else writes this status: the version tells if somebody did.
    let version = &object.meta().resource_version;
    let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version}, "status": status}));
    let (name, params) = (object.name_any(), PatchParams::default());
    let write = api.patch_status(&name, &params, &patch);
    write_status(context.leadership.write(write).await?, context)?;
    tell(&object.object_ref(&()), judged, before, context).await;
    Ok(())
}

fn write_status<K>(result: kube::Result<K>, context: &Context) -> Result<(), Error> {
    match result {
        Ok(_) => {
            context.metrics.status_writes.inc();
            Ok(())
        }
        // Deleted since: there is nobody left to tell.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(source) => Err(Error::Kube {
            step: "writing a status",
            source,
        }),
    }
}

/// Events for what changed its mind, so that `kubectl describe` tells the story.
async fn tell(
    object: &k8s_openapi::api::core::v1::ObjectReference,
    judged: &Judged,
    before: &[Condition],
    context: &Context,
) {
    // Ready says no more than one of the others, which is told itself.
    let own = |verdict: &&Verdict| verdict.kind != kind::READY && verdict.is_news(before);
    for verdict in judged.verdicts.iter().filter(own) {
        if let Err(error) = context.recorder.publish(&event(verdict), object).await {
            tracing::debug!(%error, reason = verdict.reason, "event not published");
        }
    }
}

fn event(verdict: &Verdict) -> Event {
    let warning = !verdict.holds && verdict.reason != crate::conditions::reason::PENDING;
    // The apiserver takes 1 KiB.
    let note: String = verdict.message.chars().take(500).collect();
    Event {
        type_: if warning { EventType::Warning } else { EventType::Normal },
        reason: verdict.reason.to_owned(),
        note: Some(format!("{}: {note}", verdict.kind)),
        action: "Reconcile".to_owned(),
        secondary: None,
    }
}

type Tally = std::sync::Mutex<std::collections::HashMap<String, u32>>;

fn bump(tally: &Tally, name: &str) -> u32 {
    let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let count = tally.entry(name.to_owned()).or_default();
    *count = count.saturating_add(1);
    *count
}

fn forget(tally: &Tally, name: &str) {
    tally
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .remove(name);
}
