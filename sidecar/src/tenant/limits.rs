//! The named limits of a tenant's routes and policies, and what is used of them. They survive a reload.
//!
//! The machine is pure ([`bowsprit_core::limits::set`]) and lives under one lock, held for arithmetic only, never across an await.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Config, Limit, Per};
use bowsprit_core::cost::{Picodollars, Unpriced};
use bowsprit_core::limits::bill::Bill;
use bowsprit_core::limits::limiter::Need;
use bowsprit_core::limits::set::{Held, Set, Taken, Want, Wanted, Who};
use bowsprit_core::queue::{Class, Ticket};
use bowsprit_core::record::Spent;
use bowsprit_core::reserve::Most;
use bowsprit_core::share::store::script::Apart;
use bowsprit_core::stream::shares::{WireAsk, WireGrant};
use serde::Serialize;
use tokio::sync::Notify;

use crate::store::{self, Stores};
use crate::sync::locked;
use crate::time::Clock;

mod metrics;
mod shares;
mod stored;
mod under;

pub use metrics::{LimitMetrics, Result as Met};
pub use shares::Borrower;
pub use stored::Said;
pub use under::Under;
use under::wants;

/// Limits by name, and who waits for them.
pub struct Limits {
    set: Mutex<Set<Arc<Notify>>>,
    all: ArcSwap<Vec<Arc<Limit>>>,
    /// What it has of those that other sidecars share. Taken before `set`.
    shared: Mutex<shares::Shared>,
    /// How it stands with the stores that count some of them. Taken alone.
    stored: Mutex<stored::Stored>,
    stores: Arc<Stores>,
    /// Callers cannot know which values share a hash.
    hasher: RandomState,
    /// What is counted.
    pub metrics: LimitMetrics,
}

impl Limits {
    /// Without any limit yet. Those that are counted in stores are counted in these.
    pub fn new(stores: Arc<Stores>, metrics: LimitMetrics) -> Arc<Self> {
        Arc::new(Self {
            stored: Mutex::default(),
            stores,
            set: Mutex::default(),
            all: ArcSwap::default(),
            shared: Mutex::default(),
            hasher: RandomState::new(),
            metrics,
        })
    }

    /// Whom limits are lent to by what a pod is. To be said before the first configuration.
    pub fn belong_to(&self, borrower: Borrower) {
        locked(&self.shared).borrower = borrower;
    }

    /// Takes the limits of this configuration, and keeps what is used of those that stay. Who waits looks again.
    pub fn fit(&self, config: &Config, now: Moment) {
        let all: Vec<Arc<Limit>> = config.limits().map(Arc::clone).collect();
        locked(&self.stored).reconfigure(&all, &self.stores, now);
        let mut shared = locked(&self.shared);
        shared.reconfigure(&all, now);
        let wanted = |limit: &Arc<Limit>| Wanted {
            name: Arc::clone(&limit.full_name),
            settings: limit.settings,
            is_keyed: limit.per != Per::Sidecar,
            shares: shared.of(limit),
        };
        let wanted: Vec<Wanted> = all.iter().map(wanted).collect();
        let mut set = locked(&self.set);
        set.reconfigure(&wanted, now);
        set.wake_all(|waiter| waiter.notify_one());
        self.all.store(Arc::new(all));
    }

    /// Under this limit, counted by what somebody says of itself. Nobody that says nothing is told apart from nobody.
    pub fn under(&self, limit: &Arc<Limit>, said: Option<&[u8]>) -> Under {
        Under {
            limit: Arc::clone(limit),
            key: self.hasher.hash_one(said),
            apart: limit.store.is_some().then(|| Apart::of(said)),
        }
    }

    /// Whether any of these is counted in a store, so that it is to be asked ([`Limits::ask`]).
    pub fn are_stored(under: &[Under]) -> bool {
        under.iter().any(|under| under.limit.store.is_some())
    }

    /// Takes room for a request of this class under all of these, or under none. `turn`: of one who waits. `said`: what stores have
    /// said of it.
    ///
    /// # Errors
    /// What holds it up, counted as they stand in `under`.
    pub fn take(
        self: &Arc<Self>,
        under: &[Under],
        need: Need,
        clock: Clock,
        who: Who,
        said: Said,
    ) -> Result<Guard, Vec<Held>> {
        let wants = wants(under, |index| said.has(index));
        if let Some(names) = shared_of(under) {
            locked(&self.shared).fit(names, &mut locked(&self.set), clock.now());
        }
        let (taken, common) = {
            let mut set = locked(&self.set);
            let taken = set.take(&wants, need, clock.now(), who)?;
            (taken, common_of(&mut set, under, &wants, clock.now()))
        };
        let names: Vec<Arc<str>> = under.iter().map(|under| Arc::clone(&under.limit.full_name)).collect();
        let stored = if Self::are_stored(under) {
            self.held_in_stores(under, &common, need, said)
        } else {
            Vec::new()
        };
        for name in &names {
            self.metrics.reserved(name, need.tokens());
        }
        Ok(Guard {
            limits: Arc::clone(self),
            clock,
            need,
            names,
            stored,
            taken: Some(taken),
            bill: Mutex::default(),
        })
    }

    /// A request that may use so much came, to be admitted under these or not: what sidecars ask for goes by it.
    pub fn came(&self, under: &[Under], need: Need) {
        if let Some(names) = shared_of(under) {
            locked(&self.shared).came(names, need, &locked(&self.set));
        }
    }

    /// Asks the stores that count some of these limits for a request, one after the other, each within its deadline; none, where the
    /// request would be held up here. What they say is for [`Limits::take`]; of those that say nothing, this sidecar's share decides.
    ///
    /// # Errors
    /// What holds it up. Nothing is taken then.
    pub async fn ask(self: &Arc<Self>, under: &[Under], need: Need, clock: Clock, who: Who) -> Result<Said, Vec<Held>> {
        let mut asked: Vec<(usize, Arc<store::Limit>, bool)> = {
            let stored = locked(&self.stored);
            let of = |(index, under): (usize, &Under)| {
                let name = &under.limit.full_name;
                let limit = stored.of(name).filter(|_| stored.is_asked(name) == Some(true))?;
                Some((index, Arc::clone(limit), false))
            };
            under.iter().enumerate().filter_map(of).collect()
        };
        let mut said = Said::default();
        if asked.is_empty() {
            return Ok(said);
        }
        let is_asked = |index: usize| asked.iter().any(|(of, ..)| *of == index);
        let wants = wants(under, is_asked);
        {
            let mut set = locked(&self.set);
            set.look(&wants, clock.now(), who)?;
            for (index, _, is_common) in &mut asked {
                *is_common = wants.get(*index).is_some_and(|want| set.is_common(want, clock.now()));
            }
        }
        for (index, limit, is_common) in &asked {
            let (Some(under), Some(want)) = (under.get(*index), wants.get(*index)) else {
                continue;
            };
            match limit.take_of(&under.counting(limit, *is_common), need).await {
                Ok(Ok(taken)) => said.0.push((*index, taken)),
                // What others gave flows back.
                Ok(Err(limited)) => {
                    let held = locked(&self.set).held_elsewhere((*index, want), limited, clock.now(), who);
                    // By a limit that went while its store was asked nobody is held up.
                    if !held.is_empty() {
                        return Err(held);
                    }
                }
                Err(why) => locked(&self.stored).not_answered(&under.limit.full_name, why, clock.now()),
            }
        }
        Ok(said)
    }

    /// What a request holds in stores, of limits under which it has been let in: what they said, and by this sidecar's share of those
    /// that said nothing. `common`: those under which it has no count of its own.
    fn held_in_stores(
        &self,
        under: &[Under],
        common: &[usize],
        need: Need,
        said: Said,
    ) -> Vec<(Arc<str>, store::Taken)> {
        let mut stored = locked(&self.stored);
        let mut held = Vec::new();
        let mut said = said.0;
        for (index, under) in under
            .iter()
            .enumerate()
            .filter(|(_, under)| under.limit.store.is_some())
        {
            let name = &under.limit.full_name;
            let at = said.iter().position(|(of, _)| *of == index);
            let taken = if let Some((_, taken)) = at.map(|at| said.swap_remove(at)) {
                taken
            } else {
                let Some(limit) = stored.of(name) else { continue };
                self.metrics.met(name, Met::ByShare);
                limit.by_share_of(under.counting(limit, common.contains(&index)), need)
            };
            stored.hold(name, &taken);
            held.push((Arc::clone(name), taken));
        }
        held
    }

    /// Tells stores which places are in use, where the time has come; looks whether they are back, where they are out. Returns when to do
    /// so again.
    pub async fn tend_stores(&self, clock: &Clock) -> Option<Moment> {
        let (due, mut again) = locked(&self.stored).due(clock.now());
        for (name, limit) in due {
            let counts = locked(&self.stored).places(&name, &limit);
            let mut told = Ok(());
            for (of, places) in counts {
                // Whose request has ended meanwhile has given its place back: told now, it would be taken again.
                let places = locked(&self.stored).still(&name, places);
                told = limit.keep_of(&of, [0; 5], &places).await;
                if told.is_err() {
                    break;
                }
            }
            let now = clock.now();
            let mut stored = locked(&self.stored);
            match told {
                Ok(()) => stored.answered(&name, &limit, now),
                Err(why) => stored.not_answered(&name, why, now),
            }
            again = Some(now + Duration::from_millis(1));
        }
        again
    }

    /// What is to be asked of the operator now. `anew`: the stream has just been opened.
    pub fn asks(&self, anew: bool, now: Moment) -> Vec<WireAsk> {
        locked(&self.shared).asks(anew, &mut locked(&self.set), now)
    }

    /// The operator has granted a share of one of them.
    pub fn granted(&self, grant: &WireGrant, now: Moment) {
        locked(&self.shared).granted(grant, &mut locked(&self.set), now);
    }

    /// Joins the line of its class at what held a request up; `None`: too many wait already.
    pub fn join(self: &Arc<Self>, held: &[Held], class: Class) -> Option<Turn> {
        let called = Arc::new(Notify::new());
        let ticket = locked(&self.set).join(held, class, Arc::clone(&called))?;
        Some(Turn {
            limits: Arc::clone(self),
            ticket,
            called,
        })
    }

    /// Each limit for `/health`.
    pub fn report(&self, now: Moment) -> Vec<LimitReport> {
        let stored = locked(&self.stored);
        let mut shared = locked(&self.shared);
        let set = locked(&self.set);
        let all = self.all.load();
        let report = |limit: &Arc<Limit>| {
            let level = set.level(&limit.full_name, now)?;
            let parts = shared.seen(&limit.full_name, &set, now);
            let left = level.left.into_iter().map(|(which, left)| (which.field(), left));
            Some(LimitReport {
                name: limit.full_name.to_string(),
                left: left.collect(),
                in_flight: level.in_flight,
                waiting: level.waiting,
                keys: level.keys,
                is_store_asked: stored.is_asked(&limit.full_name),
                is_without_share: parts.iter().any(|part| part.is_without),
                shares: parts.iter().map(|part| (part.which.field(), part.share)).collect(),
            })
        };
        all.iter().filter_map(report).collect()
    }
}

/// Those that are counted in stores, and here with all who have no count of their own.
fn common_of(set: &mut Set<Arc<Notify>>, under: &[Under], wants: &[Want<'_>], now: Moment) -> Vec<usize> {
    let all = under.iter().zip(wants).enumerate();
    all.filter(|(_, (under, want))| under.limit.store.is_some() && set.is_common(want, now))
        .map(|(index, _)| index)
        .collect()
}

/// Those that other sidecars share, where there are any.
fn shared_of(under: &[Under]) -> Option<impl Iterator<Item = &Arc<str>>> {
    let is_any = under.iter().any(|under| under.limit.is_shared);
    let shared = under.iter().filter(|under| under.limit.is_shared);
    is_any.then(|| shared.map(|under| &under.limit.full_name))
}

/// A limit at `/health`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitReport {
    /// The object's name and its own.
    pub name: String,
    /// What is left, by field, in requests, tokens, picodollars and places; negative is debt. Of a limit that is counted apart,
    /// to whoever has the least.
    pub left: BTreeMap<&'static str, i64>,
    /// Requests under it.
    pub in_flight: u32,
    /// Requests that stand in line at it.
    pub waiting: usize,
    /// How many are counted apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<usize>,
    /// What this sidecar may use of each, by field, where others share it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<&'static str, u64>,
    /// Whether the store that counts it is asked now; else this sidecar's share stands in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_store_asked: Option<bool>,
    /// Of one of them it has no good share, and goes on with its floor.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_without_share: bool,
}

/// A place in the line. Left on drop, which calls the next.
pub struct Turn {
    limits: Arc<Limits>,
    ticket: Ticket,
    called: Arc<Notify>,
}

impl Turn {
    /// Whoever holds this.
    pub fn who(&self) -> Who {
        Who::Waits(self.ticket)
    }

    /// Waits until there may be room for whoever holds this, `most` at most.
    pub async fn wait(&self, most: Duration) {
        // Either way it is time to look: called, or the time is up.
        let _ = tokio::time::timeout(most, self.called.notified()).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        locked(&self.limits.set).leave(self.ticket, |next| next.notify_one());
    }
}

/// Room under a request's limits, held once however many attempts it makes. It is shared by the request and its attempts, and
/// the last of them that ends settles it: with what all attempts used, or, where none was made, with nothing at all.
pub struct Guard {
    limits: Arc<Limits>,
    clock: Clock,
    need: Need,
    names: Vec<Arc<str>>,
    /// What it holds in stores, by limit.
    stored: Vec<(Arc<str>, store::Taken)>,
    taken: Option<Taken>,
    bill: Mutex<Bill>,
}

impl Guard {
    /// An attempt has ended and cost so much. `open`: it may have written more than is known, and come to this at the most.
    pub fn attempt(&self, spent: &Spent, cost: Result<Picodollars, Unpriced>, open: Option<Most>) {
        locked(&self.bill).attempt(spent, cost, open);
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("need", &self.need)
            .finish_non_exhaustive()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(taken) = self.taken.take() else { return };
        let now = self.clock.now();
        let settled = locked(&self.bill).settled(self.need);
        let call = |next: &Arc<Notify>| next.notify_one();
        let stored = std::mem::take(&mut self.stored);
        if !stored.is_empty() {
            let mut known = locked(&self.limits.stored);
            for (name, taken) in &stored {
                known.let_go(name, taken);
            }
        }
        let Some(settled) = settled else {
            // What was taken in stores flows back with them.
            drop(stored);
            locked(&self.limits.set).cancel(taken, now, call);
            return;
        };
        for (_, taken) in stored {
            taken.used_as(settled);
        }
        locked(&self.limits.set).settle(taken, settled, now, call);
        for name in &self.names {
            self.limits.metrics.used(name, settled.tokens());
        }
    }
}
