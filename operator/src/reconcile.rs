//! Makes a namespace what [`crate::desired`] says: the ConfigMap, the nudge, the statuses, the Events.
//!
//! One reconcile looks at one namespace as a whole and writes only what differs, so at rest nothing is written. Only the
//! holder of the lease runs it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bowsprit_crds::BudgetStatus;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::audit;
use crate::changes::{self, History};
use crate::desired::{Clocks, Current, Judged, Measure, Objects, SidecarSeen, desired};
use crate::fleet::Fleet;
use crate::heard::Heard;
use crate::injector::References;
use crate::lease::elector::{Leadership, NotLeading};
use crate::money::Money;
use crate::objects::pod::{InjectedPod, Phase};
use crate::objects::{Changes, Here, Store, fresh};
use crate::owner::{self, Defined};
use crate::poll::Poller;
use crate::shares::Shares;
use crate::slo;
use crate::status::pace::Pace;
use crate::status::rollout::{Rollout, Version};
use crate::status::{budget, money, runaway};
use crate::sync::locked;
use crate::time::{latest_unix_seconds, unix_seconds};
use crate::validate::hosts::AllowedHosts;
use memory::Memory;

mod ahead;
mod alone;
mod bundles;
pub(crate) mod config_map;
mod installed;
mod looks;
mod memory;
mod nudge;
mod publish;
mod sidecars;

/// The field manager of everything that the operator writes.
pub const FIELD_MANAGER: &str = "bowsprit-operator";

/// How long to wait for what somebody else wrote to be heard of, where no event comes first.
const AFTER_CONFLICT: Duration = Duration::from_millis(200);
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
    installed: installed::Installed,
    recorder: Recorder,
    metrics: Metrics,
    leadership: Leadership,
    owner: Option<Defined>,
    audit: audit::Seen,
    changes: Option<History>,
    hosts: AllowedHosts,
    rules: Option<slo::apply::Rules>,
    money: Option<Money>,
    shares: Option<Shares>,
    pauses: watch::Receiver<u64>,
    failures: Mutex<HashMap<String, u32>>,
    memories: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Memory>>>>,
    pace: Mutex<Pace<String>>,
}

impl Context {
    /// A context. Sidecars are known from the fleet where they hold a stream, and asked by the poller
    /// where not. `instance` names this process in Events; `leadership` is asked before every write.
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
            installed: installed::Installed::default(),
            recorder,
            metrics,
            leadership,
            owner: None,
            audit: audit::Seen::default(),
            changes: None,
            failures: Mutex::default(),
            memories: Mutex::default(),
            pace: Mutex::default(),
            hosts: AllowedHosts::default(),
            rules: None,
            money: None,
            shares: None,
            pauses: watch::channel(0).1,
        }
    }

    /// What can wait waits while this changes, as pauses are told.
    #[must_use]
    pub fn yielding_to(mut self, pauses: watch::Receiver<u64>) -> Self {
        self.pauses = pauses;
        self
    }

    /// Providers may be at these hosts only.
    #[must_use]
    pub fn allowing(mut self, hosts: AllowedHosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// Objectives become rules for Prometheus.
    #[must_use]
    pub fn ruling(mut self, rules: Option<slo::apply::Rules>) -> Self {
        self.rules = rules;
        self
    }

    /// Policies say what is spent of the budgets that this lends out.
    #[must_use]
    pub fn lending(mut self, money: Money) -> Self {
        self.money = Some(money);
        self
    }

    /// Who lends shares of limits is told which limits are new.
    #[must_use]
    pub fn sharing(mut self, shares: Shares) -> Self {
        self.shares = Some(shares);
        self
    }

    /// What is found stored is told to the ledger service.
    #[must_use]
    pub fn telling(mut self, changes: Option<History>) -> Self {
        self.changes = changes;
        self
    }

    /// An object is stored like this: where that is news, it goes into the audit log and the history. `told`: the generation that
    /// its status speaks of.
    fn found(&self, kind: &str, metadata: &kube::core::ObjectMeta, told: Option<i64>, spec: &impl serde::Serialize) {
        let noted = self.audit.note(kind, metadata, told);
        if !changes::has(kind) {
            return;
        }
        if let (Some(noted), Some(changes)) = (noted, &self.changes) {
            let change = changes::of_stored(kind, metadata, &noted, spec);
            changes.seen(change, std::time::Instant::now());
        }
    }

    fn memory(&self, namespace: &str) -> Arc<tokio::sync::Mutex<Memory>> {
        let mut memories = locked(&self.memories);
        Arc::clone(memories.entry(namespace.to_owned()).or_default())
    }

    fn forget(&self, namespace: &str) {
        let mut memories = locked(&self.memories);
        memories.remove(namespace);
        if let Some(rules) = &self.rules {
            rules.forget(namespace);
        }
        drop(self.poller.answers(namespace));
    }

    fn pace(&self) -> MutexGuard<'_, Pace<String>> {
        locked(&self.pace)
    }

    /// The namespaces' ConfigMaps go with this CRD.
    #[must_use]
    pub fn owned_by(mut self, owner: Defined) -> Self {
        self.owner = Some(owner);
        self
    }

    /// Whom a ConfigMap is to name as its owner, which is this now; none: it is made, and the garbage collector may have taken the one
    /// before.
    async fn owner_of(&self, seen: Option<&ConfigMap>) -> Result<Option<OwnerReference>, Error> {
        let Some(owner) = &self.owner else {
            return Ok(None);
        };
        let owner = owner.of(seen.map(|map| &map.metadata)).await;
        owner.map_err(|source| Error::Kube {
            step: "asking who owns the ConfigMaps",
            source,
        })
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
    if let Some(shares) = &context.shares {
        // What comes from now on is new.
        shares.tick();
    }
    let (known, writer) = reflector::store();
    let namespaces = fresh::watch(
        Api::<Namespace>::all(context.client.clone()),
        watcher::Config::default(),
    )
    .default_backoff()
    .inspect_err(|error| tracing::warn!(kind = "Namespace", %error, "watch interrupted; trying again with backoff"))
    .reflect(writer)
    .applied_objects()
    // The controller has a backoff too, which would hold up what was heard by other ways.
    .filter(|event| std::future::ready(event.is_ok()));
    Controller::for_stream(namespaces, known)
        .with_config(Config::default().concurrency(NAMESPACES_AT_ONCE))
        .reconcile_on(looks::looks(changes, heard, context.pauses.clone()))
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
        context.forget(&name);
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
    let Here {
        providers,
        routes,
        policies: known,
        not_understood,
    } = context.store.here(namespace);
    let policies = known.as_deref();
    let config_map = context.store.config_map(namespace);
    let has_policies = policies.is_some_and(|policies| !policies.is_empty());
    let is_empty = providers.is_empty() && routes.is_empty() && !has_policies && not_understood.is_empty();
    if is_empty && config_map.is_none() {
        context.forget(namespace);
        return Ok(Action::await_change());
    }
    for object in &providers {
        let told = object.status.as_ref().and_then(|status| status.observed_generation);
        context.found("ProviderConfig", &object.metadata, told, &object.spec);
    }
    for object in &routes {
        let told = object.status.as_ref().and_then(|status| status.observed_generation);
        context.found("ModelRoute", &object.metadata, told, &object.spec);
    }
    for object in policies.into_iter().flatten() {
        let told = object.status.as_ref().and_then(|status| status.observed_generation);
        context.found("UsagePolicy", &object.metadata, told, &object.spec);
    }
    let memory = context.memory(namespace);
    let mut memory = memory.lock().await;
    let now = tokio::time::Instant::now();
    let seconds = |at: i64| u64::try_from(at).unwrap_or(0);
    let clock = Clocks {
        own: seconds(unix_seconds()),
        latest: seconds(latest_unix_seconds()),
    };
    let seen = config_map.as_deref().map(config_map::read);
    let was_settled = seen.as_ref().map(|seen| seen.is_settled(clock));
    let current = memory.current(seen, now);
    let objects = Objects {
        providers: &providers,
        routes: &routes,
        policies,
        not_understood: Some(&not_understood),
    };
    let mut wanted = desired(&context.hosts, objects, current.as_ref(), clock)?;
    let streaming = context.fleet.reports(namespace);
    let mut newest = current.as_ref().map(Current::version).unwrap_or_default();
    if memory.ahead.take(now) {
        wanted.write_again(current.as_ref(), clock);
        tracing::info!(
            namespace,
            "sidecars are ahead of the config, as after a restore: written again for them"
        );
    }
    if let Some(sequence) = wanted.write {
        newest = Version {
            sequence,
            revision: wanted.rendered.revision.clone(),
        };
        let changed = wanted.changed.iter().map(String::as_str);
        // Before the write: the first sidecars answer before the apiserver does.
        memory
            .rollout
            .writes(&newest, changed, &streaming, std::time::Instant::now());
        let is_settled = match was_settled {
            Some(is_settled) => is_settled,
            None => config_map::was_none(namespace, context).await,
        };
        config_map::write(namespace, &wanted, sequence, config_map.as_deref(), context).await?;
        if let Some(shares) = &context.shares {
            let replaced = is_settled.then(|| wanted.limits_before()).flatten();
            shares.wrote(namespace, replaced.as_deref(), &wanted.limits());
        }
        memory.wrote(&wanted, sequence, now);
        memory.alone.hurry(now);
    } else if let Some(map) = &config_map
        && let Some(owner) = context.owner_of(Some(map)).await?
        && owner::is_missing(Some(&owner), &map.metadata)
    {
        let maps = Api::namespaced(context.client.clone(), namespace);
        let adopt = owner::adopt(&maps, &map.metadata, &owner);
        let adopted = context.leadership.write(adopt).await?;
        adopted.map_err(|source| Error::Kube {
            step: "writing the ConfigMap's owner",
            source,
        })?;
    }
    let doubted = |name: &str| streaming.values().any(|it| sidecars::lacks_bundle(&it.report, name));
    let bundles = context
        .bundles
        .missing(&context.client, namespace, &providers, doubted, now)
        .await;
    let (missing, look_for_them) = bundles.map_err(|source| Error::Kube {
        step: "looking for a CA bundle",
        source,
    })?;
    for problem in missing {
        wanted.note_unresolved(problem);
    }
    let mut pods = context.store.pods(namespace);
    pods.retain(|pod| pod.phase != Phase::Over);
    let returning = context.fleet.is_returning(std::time::Instant::now());
    memory.alone.note(sidecars::silent(&pods, &streaming), returning, now);
    sidecars::hear(namespace, &mut memory.alone, &newest, context);
    if !wanted.is_too_large() {
        let behind = pods.iter().filter(|pod| memory.alone.is_behind(&pod.id, &newest, now));
        let behind: Vec<Arc<InjectedPod>> = behind.cloned().collect();
        nudge::nudge(namespace, &behind, &newest.revision, context).await;
    }
    sidecars::ask(namespace, &pods, &mut memory.alone, context);
    let seen = sidecars::see(&pods, &streaming, &memory.alone);
    memory.rollout.hears(&streaming, std::time::Instant::now());
    let reports = seen.sidecars.iter().filter_map(|seen| seen.report.as_deref());
    if wanted.write.is_none() && memory.ahead.note(reports, &newest, clock.latest, now) {
        return Ok(Action::requeue(Duration::ZERO));
    }

    let look = Look {
        newest: &newest,
        sidecars: &seen.sidecars,
        incomplete: seen.some_are_unheard
            || (seen.some_are_coming && !context.fleet.is_settled(std::time::Instant::now())),
    };
    let rollout = &mut memory.rollout;
    let (mut waits, mut failed) = (vec![look_for_them], None);
    let mut note = |told: Result<Option<Duration>, Error>| match told {
        Ok(wait) => waits.push(wait),
        // The others are told all the same.
        Err(error) => failed = failed.take().or(Some(error)),
    };
    for object in &providers {
        let needed = References::named_by(object);
        let judge = |name: &str, measure: &Measure| wanted.judge_provider(name, &needed, &seen.sidecars, measure);
        note(look.report(&**object, judge, rollout, context).await);
    }
    for object in &routes {
        let judge = |name: &str, measure: &Measure| wanted.judge_route(name, &seen.sidecars, measure);
        note(look.report(&**object, judge, rollout, context).await);
    }
    for object in policies.into_iter().flatten() {
        let judge = |name: &str, measure: &Measure| wanted.judge_policy(name, &seen.sidecars, measure);
        note(look.report(&**object, judge, rollout, context).await);
    }
    for object in &not_understood.providers {
        let needed = References::default();
        let judge = |name: &str, measure: &Measure| wanted.judge_provider(name, &needed, &seen.sidecars, measure);
        note(look.report(&**object, judge, rollout, context).await);
    }
    for object in &not_understood.routes {
        let judge = |name: &str, measure: &Measure| wanted.judge_route(name, &seen.sidecars, measure);
        note(look.report(&**object, judge, rollout, context).await);
    }
    for object in &not_understood.policies {
        let judge = |name: &str, measure: &Measure| wanted.judge_policy(name, &seen.sidecars, measure);
        note(look.report(&**object, judge, rollout, context).await);
    }
    if let Some(rules) = &context.rules {
        // Last, and after the others were told: a Prometheus operator in trouble keeps no config from its sidecars.
        let ruled = rules.apply(namespace, &providers, &routes).await.map_err(Error::from);
        let ruled = ruled.and_then(|done| {
            done.map_err(|source| Error::Kube {
                step: "writing the rules of objectives",
                source,
            })
        });
        note(ruled.map(|()| None));
    }
    let known: BTreeSet<String> = names_of(&providers)
        .chain(names_of(&routes))
        .chain(names_of(policies.unwrap_or_default()))
        .chain(names_of(&not_understood.providers))
        .chain(names_of(&not_understood.routes))
        .chain(names_of(&not_understood.policies))
        .collect();
    rollout.retain(|object| known.contains(object));
    if let Some(error) = failed {
        return Err(error);
    }
    // Where everybody holds a stream and all is there, whatever changes is told: nothing is asked for.
    let ask = [memory.alone.next(), memory.believes()];
    let now = tokio::time::Instant::now();
    let ask = ask.into_iter().flatten().map(|due| due.saturating_duration_since(now));
    let next = waits.into_iter().flatten().chain(ask).min();
    Ok(next.map_or_else(Action::await_change, Action::requeue))
}

/// One look at a namespace, for each of its objects.
struct Look<'a> {
    newest: &'a Version,
    /// The sidecars that count.
    sidecars: &'a [SidecarSeen],
    /// Not all sidecars have said yet what they have: the leader has only just begun and they are still to come to it, or they
    /// were only just asked.
    incomplete: bool,
}

impl Look<'_> {
    /// Judges an object and says so on it. Gives when to look again, where something has to wait.
    async fn report<K: publish::Reported>(
        &self,
        object: &K,
        judge: impl Fn(&str, &Measure) -> Option<Judged>,
        rollout: &mut Rollout,
        context: &Context,
    ) -> Result<Option<Duration>, Error> {
        let before = object.told();
        let told = before.sequence.zip(before.revision.clone());
        let told = told.filter(|_| before.observed_generation == object.meta().generation);
        let told = told.map(|(sequence, revision)| Version { sequence, revision });
        let measure = Measure {
            carried: rollout.carries(&path(object), told, self.newest),
            newest: self.newest.clone(),
            late: publish::is_late(&before, Timestamp::now()),
        };
        let Some(judged) = judge(&object.name_any(), &measure) else {
            return Ok(None);
        };
        let theirs = || {
            let selected: HashSet<&str> = judged.selected.iter().map(|pod| &**pod).collect();
            let theirs = self.sidecars.iter();
            theirs.filter(move |seen| selected.contains(&*seen.pod))
        };
        let measured = object.slo().and_then(|slo| {
            let counted = theirs().map(|seen| &seen.objectives);
            budget::measured(slo, (K::OBJECT, &object.name_any()), counted, Timestamp::now())
        });
        let running = object.looks_for_runaways().then(|| {
            let said = theirs().map(|seen| (&*seen.pod, &*seen.runaways));
            runaway::measured(&object.name_any(), said, Timestamp::now())
        });
        let (runaway, counts) = runaway::told(before.runaway.as_ref(), running.flatten(), Timestamp::now());
        let (slo, later) = budget::told(before.slo.as_ref(), object.slo(), measured, Timestamp::now());
        let (budgets, look) = spent(object, &before.budgets, context);
        let told = publish::Told { slo, budgets, runaway };
        let status = publish::status_of(object, &before, &judged, &measure, rollout, told);
        if self.incomplete && publish::only_sidecars_differ(&before, &status) {
            // Who is not here yet was not lost: what is said of the sidecars stays until they have had time to come.
            return Ok(None);
        }
        let wait = publish::publish(object, &before, &status, &judged, context).await?;
        Ok(wait.into_iter().chain(later).chain(look).chain(counts).min())
    }
}

/// What a policy's status is to say of its budgets that pods spend together, and when to look again.
fn spent<K: publish::Reported>(
    object: &K,
    before: &[BudgetStatus],
    context: &Context,
) -> (Vec<BudgetStatus>, Option<Duration>) {
    let Some(lender) = context.money.as_ref().filter(|_| object.spends()) else {
        return (Vec::new(), None);
    };
    let now = Timestamp::now();
    let (budgets, lent) = lender.standings(&object.namespace().unwrap_or_default(), &object.name_any());
    let leaps = money::leaps(before, &budgets, &lent);
    money::told(before, &budgets, (money::measured(&budgets, &lent, now), leaps), now)
}

/// As a status and the verdicts name them.
fn names_of<K: Resource<DynamicType = ()>>(objects: &[Arc<K>]) -> impl Iterator<Item = String> {
    objects.iter().map(|object| path(&**object))
}

fn path<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{} {}", K::kind(&()), object.name_any())
}

fn bump(tally: &Mutex<HashMap<String, u32>>, name: &str) -> u32 {
    let mut tally = locked(tally);
    let count = tally.entry(name.to_owned()).or_default();
    *count = count.saturating_add(1);
    *count
}

fn forget(tally: &Mutex<HashMap<String, u32>>, name: &str) {
    locked(tally).remove(name);
}
