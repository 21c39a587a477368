//! Budgets that pods spend together: the replica that leads lends them out ([`bowsprit_core::spend::shared`]), the others pass on
//! what is asked. Before it lends beyond a mark, the mark is written into a ConfigMap beside the operator ([`marks`]); at rest
//! nothing is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_core::config::shared_budgets;
use bowsprit_core::share;
use bowsprit_core::spend::book::Budget;
use bowsprit_core::spend::shared::treasury::{Key, Mark, Totals, Treasury};
use bowsprit_core::stream::loans::{WireBorrow, WireLoan};
use bowsprit_crds::UsagePolicy;
use tokio::sync::Notify;

use crate::fleet::{Fleet, PodId};
use crate::lease::elector::Leadership;
use crate::objects::pod::InjectedPod;
use crate::status::money as status;
use crate::sync::locked;
use crate::time::latest_unix_millis;
use marks::{Marks, Room, Unwritten};
use metrics::Metrics;
use whose::whose;

pub mod marks;
pub mod metrics;
mod whose;

/// What is known of namespaces, from memory.
pub trait Known: Send + Sync {
    /// A namespace's UsagePolicies. None before they are known.
    fn policies(&self, namespace: &str) -> Option<Vec<Arc<UsagePolicy>>>;

    /// A pod with a sidecar. None where it is not known, or not yet.
    fn pod(&self, namespace: &str, pod: &PodId) -> Option<Arc<InjectedPod>>;

    /// Whether a namespace has a ModelRoute of this name.
    fn has_route(&self, namespace: &str, name: &str) -> bool;
}

/// Between two looks whether this replica leads, and after a write that failed.
const LOOK: Duration = Duration::from_secs(1);
/// Between two warnings of pods that are not known, milliseconds.
const WARN_EVERY: i64 = 60_000;

/// Who lends out budgets. Cheap to clone.
#[derive(Clone)]
pub struct Money(Arc<Inner>);

struct Inner {
    leadership: Leadership,
    fleet: Fleet,
    known: Arc<dyn Known>,
    metrics: Metrics,
    /// None before the marks are read.
    lent: Mutex<Option<Lent>>,
    read: Mutex<Read>,
    /// Rings when a mark is to be written, or marks are to be read.
    due: Notify,
    /// When a pod was warned of that is not known, milliseconds since 1970.
    warned: AtomicI64,
}

/// What this replica lends since it leads.
struct Lent {
    epoch: u64,
    treasury: Treasury<PodId>,
}

/// Budgets as policies say them, by namespace and policy, with the version that they were read in: zones are dear to read.
type Read = HashMap<(String, String), (Option<String>, Vec<Arc<Budget>>)>;

impl Money {
    /// Lends while `leadership` stands what the policies that are `known` say, to pods that are.
    pub fn new(leadership: Leadership, fleet: Fleet, known: Arc<dyn Known>, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            leadership,
            fleet,
            known,
            metrics,
            lent: Mutex::default(),
            read: Mutex::default(),
            due: Notify::new(),
            warned: AtomicI64::default(),
        }))
    }

    /// A sidecar asks. None where this replica does not lead.
    pub fn ask(&self, namespace: &str, pod: &PodId, asks: &[WireBorrow]) -> Option<Vec<WireLoan>> {
        let inner = &*self.0;
        let epoch = inner.leadership.epoch().ok()?;
        // Whose a budget is says the pod that is known here: one that is not known yet asks again.
        let Some(spender) = inner.known.pod(namespace, pod) else {
            inner.not_known(namespace, pod, asks.len());
            return Some(Vec::new());
        };
        let budgets = inner.budgets(namespace, Some(&spender)).unwrap_or_default();
        let sidecars = inner.fleet.count(namespace);
        let again = share::pace(sidecars);
        let now = latest_unix_millis();
        let mut lent = locked(&inner.lent);
        let Some(Lent { treasury, .. }) = lent.as_mut().filter(|lent| lent.epoch == epoch) else {
            // Its marks are read first. Who asks comes again.
            inner.due.notify_one();
            return Some(Vec::new());
        };
        let mut loans = Vec::with_capacity(asks.len());
        let mut is_news = false;
        for ask in asks {
            let Some(budget) = budgets.iter().find(|budget| *budget.full_name == *ask.key.budget) else {
                continue;
            };
            let has_route = |name: &str| inner.known.has_route(namespace, name);
            let Some(of) = whose(&budget.per, &ask.key.of, &spender, has_route) else {
                continue;
            };
            inner.metrics.asked();
            let key = Key {
                namespace: namespace.to_owned(),
                budget: ask.key.budget.clone(),
                of,
            };
            let before = spent_percent(treasury, &key);
            if let Some(loan) = treasury.hear(&key, budget, pod, &ask.ask(), sidecars, again, now) {
                loans.push(WireLoan::new(ask.key.clone(), &loan));
            }
            is_news |= status::is_due(before, spent_percent(treasury, &key));
        }
        if !treasury.due(now).is_empty() {
            inner.due.notify_one();
        }
        drop(lent);
        if is_news {
            // Whoever writes statuses looks at once, and not only when it is time again.
            inner.fleet.tell(namespace);
        }
        Some(loans)
    }

    /// A pod has ended, and lies there yet: it has spent what it held, unless its sidecar says so itself.
    pub fn ended(&self, namespace: &str, pod: &PodId) {
        self.with(|treasury| treasury.ended(namespace, pod, latest_unix_millis()));
    }

    /// A pod is no more: it has spent what it held.
    pub fn gone(&self, namespace: &str, pod: &PodId) {
        self.with(|treasury| treasury.gone(namespace, pod, latest_unix_millis()));
    }

    /// These are the uids of all pods that there are.
    pub fn keep_only(&self, there: &HashSet<String>) {
        self.with(|treasury| treasury.keep_only(|pod| there.contains(&pod.uid), latest_unix_millis()));
    }

    /// The budgets of a policy that pods spend together, and those of them that are lent out, each for whom, as they stand.
    pub fn standings(&self, namespace: &str, policy: &str) -> (Vec<Arc<Budget>>, Vec<(Key, Totals)>) {
        let mut budgets = self.0.budgets(namespace, None).unwrap_or_default();
        budgets.retain(|budget| *budget.policy == *policy);
        let is_of_it =
            |key: &Key| key.namespace == namespace && budgets.iter().any(|budget| *budget.full_name == *key.budget);
        let totals = self.with(|treasury| {
            let all = treasury.totals().filter(|(key, _)| is_of_it(key));
            all.map(|(key, totals)| (key.clone(), totals)).collect()
        });
        (budgets, totals.unwrap_or_default())
    }

    /// Reads marks when this replica comes to lead, and writes those that are due. Ends never.
    pub async fn keep(self, mut marks: Marks) {
        loop {
            let _ = tokio::time::timeout(LOOK, self.0.due.notified()).await;
            if let Err(problem) = self.tend(&mut marks).await {
                tracing::warn!(%problem, "marks of budgets: nothing is lent beyond what is written, will try again");
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    async fn tend(&self, marks: &mut Marks) -> Result<(), Unwritten> {
        let inner = &*self.0;
        let Ok(epoch) = inner.leadership.epoch() else {
            *locked(&inner.lent) = None;
            inner.metrics.count(std::iter::empty());
            return Ok(());
        };
        if !self.has_read(epoch) {
            let found = marks.read().await?;
            // Whose leadership ended meanwhile has read what is no longer so.
            if inner.leadership.epoch() == Ok(epoch) {
                self.begin(epoch, found);
            }
            return Ok(());
        }
        self.write_due(marks).await?;
        self.with(|treasury| {
            treasury.forget_over(latest_unix_millis());
            inner.metrics.count(treasury.totals().map(|(_, totals)| totals));
        });
        Ok(())
    }

    /// Lends as the leadership `epoch`, from these marks on.
    pub fn begin(&self, epoch: u64, marks: BTreeMap<Key, Mark>) {
        let treasury = Treasury::new(epoch, marks);
        *locked(&self.0.lent) = Some(Lent { epoch, treasury });
    }

    fn has_read(&self, epoch: u64) -> bool {
        let lent = locked(&self.0.lent);
        lent.as_ref().is_some_and(|lent| lent.epoch == epoch)
    }

    async fn write_due(&self, marks: &mut Marks) -> Result<(), Unwritten> {
        // What became due meanwhile rings again.
        let due = self.with(|treasury| {
            let due = treasury.due(latest_unix_millis());
            due.into_iter().map(str::to_owned).collect::<BTreeSet<_>>()
        });
        self.write_all(due.unwrap_or_default(), marks).await
    }

    /// Writes the marks of each of these namespaces: of one that cannot be written the others do not wait.
    async fn write_all(&self, namespaces: BTreeSet<String>, marks: &mut Marks) -> Result<(), Unwritten> {
        let mut first = Ok(());
        for namespace in namespaces {
            match self.write(&namespace, marks).await {
                Err(problem) if problem.is_of_one() => {
                    tracing::warn!(%problem, namespace, "marks of budgets: this namespace is lent nothing beyond what is written, will try again");
                    first = first.and(Err(problem));
                }
                other => other?,
            }
        }
        first
    }

    async fn write(&self, namespace: &str, marks: &mut Marks) -> Result<(), Unwritten> {
        let now = latest_unix_millis();
        let running = |of: &str| self.with(|treasury| treasury.marks(of, now)).unwrap_or_default();
        let wanted = running(namespace);
        let room = marks.room(namespace, &wanted);
        // All that is written of these is of windows that are over.
        let over = |marks: &Marks| {
            let others = marks.namespaces().into_iter();
            let over = others.filter(|other| other != namespace && running(other).is_empty());
            over.collect::<BTreeSet<_>>()
        };
        if room == Room::None {
            self.clear(&over(marks), marks).await;
        }
        let written = marks.write(&self.0.leadership, namespace, &wanted).await;
        self.heed(written, marks).await?;
        self.with(|treasury| treasury.written(&wanted));
        if room == Room::Elsewhere {
            self.clear(&over(marks), marks).await;
        }
        Ok(())
    }

    /// Takes away what is written of these namespaces. Nobody's marks depend on it.
    async fn clear(&self, over: &BTreeSet<String>, marks: &mut Marks) {
        for at in marks.places(over) {
            let cleared = marks.clear(&self.0.leadership, at, over).await;
            if let Err(problem) = self.heed(cleared, marks).await {
                tracing::warn!(%problem, "marks of windows that are over are still written, and take room");
            }
        }
    }

    /// Counts a write, and reads what another has written meanwhile.
    async fn heed(&self, written: Result<(), Unwritten>, marks: &mut Marks) -> Result<(), Unwritten> {
        self.0.metrics.wrote(written.is_ok());
        if let Err(Unwritten::Overtaken(_)) = &written {
            // Somebody else has written: what that says holds, too.
            let found = marks.read().await?;
            self.with(|treasury| treasury.found(found));
        }
        written
    }

    fn with<T>(&self, act: impl FnOnce(&mut Treasury<PodId>) -> T) -> Option<T> {
        let mut lent = locked(&self.0.lent);
        lent.as_mut().map(|lent| act(&mut lent.treasury))
    }

    /// This replica is about to give the lease back: it lends nothing more, and what it writes is exact.
    pub async fn close(&self, mut marks: Marks) {
        let lowered = self.with(Treasury::close).unwrap_or_default();
        if lowered.is_empty() {
            return;
        }
        let writing = async {
            marks.read().await?;
            self.write_all(lowered, &mut marks).await
        };
        if let Err(problem) = writing.await {
            tracing::warn!(%problem, "what is left between what was lent and its mark counts as spent");
        }
    }
}

fn spent_percent(treasury: &Treasury<PodId>, key: &Key) -> Option<u64> {
    treasury.total(key).map(|totals| totals.spent_percent())
}

impl Inner {
    /// It is lent nothing, and waits as if nobody led.
    fn not_known(&self, namespace: &str, pod: &PodId, asks: usize) {
        self.metrics.strangers(asks);
        let (now, last) = (latest_unix_millis(), self.warned.load(Ordering::Relaxed));
        let is_due = now.saturating_sub(last) >= WARN_EVERY;
        let warned = &self.warned;
        let warns = is_due
            && warned
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if warns {
            tracing::warn!(
                namespace,
                pod = pod.name,
                "a sidecar asks about budgets whose pod is not known here: it is lent nothing until the watch of pods tells of it. Where that lasts, \
                 see whether the pod was injected"
            );
        }
    }

    /// The budgets of a namespace that pods spend together; of one pod, those of the policies that select it.
    fn budgets(&self, namespace: &str, of: Option<&InjectedPod>) -> Option<Vec<Arc<Budget>>> {
        let policies = self.known.policies(namespace)?;
        let mut read = locked(&self.read);
        let mut budgets = Vec::new();
        for policy in &policies {
            let selector = policy.spec.pod_selector.as_ref();
            if let (Some(pod), Some(selector)) = (of, selector)
                && !selector.matches(&pod.labels)
            {
                continue;
            }
            let name = policy.metadata.name.clone().unwrap_or_default();
            let version = &policy.metadata.resource_version;
            let key = (namespace.to_owned(), name);
            if read.get(&key).is_none_or(|(seen, _)| seen != version) {
                let of = shared_budgets(&key.1, &policy.spec);
                read.insert(key.clone(), (version.clone(), of));
            }
            if let Some((_, of)) = read.get(&key) {
                budgets.extend(of.iter().map(Arc::clone));
            }
        }
        Some(budgets)
    }
}

#[cfg(test)]
mod tests;
