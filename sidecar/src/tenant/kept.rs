//! Good answers of a tenant's routes: for the time when every candidate is down, or to be given in place of asking. In memory and
//! nowhere else: bounded by route and in all, forgotten when they are too old, when what they rest on changes, and when requests
//! need the memory.
//!
//! A tenant has its own, so no answer ever crosses from one namespace to another; within it, a key says whose it is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Config, Route};
use bowsprit_core::cost::Picodollars;
use bowsprit_core::kept::Terms;
use bowsprit_core::kept::basis::basis;
use bowsprit_core::kept::key::Key;
use bowsprit_core::kept::lru::{Kept, Lru, OVERHEAD};
use bowsprit_core::kept::versions::Versions;
use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;

use crate::memory::{Memory, Room};
use crate::observe::Sinks;
use crate::observe::stale::Fate;
use crate::sync::locked;

mod next;

pub use next::Changed;

/// What is kept for one purpose has at most this part of the memory for bodies, of all routes together.
const SHARE_OF_MEMORY: usize = 4;

/// How much routes want to keep together by this field, and the most that they may; says so where each keeps less.
pub(super) fn wanted_of_most(
    memory: &Memory,
    wants: impl Iterator<Item = usize>,
    field: &'static str,
) -> (usize, usize) {
    let most = memory.limit() / SHARE_OF_MEMORY;
    let wanted = wants.fold(0, usize::saturating_add);
    if wanted > most {
        tracing::warn!(
            wanted,
            most,
            field,
            "routes want to keep more than a quarter of the memory for bodies: each keeps less, as /health says"
        );
    }
    (wanted, most)
}

/// What answers are kept for. Each purpose has a store of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// For an outage (`staleIfError`).
    Outage,
    /// To be given in place of asking (`cache`).
    Cache,
    /// The same of vectors, one for each input (`cache.embeddings`).
    Vectors,
    /// The same of vectors of the model that is to serve next (`cache.embeddings.next`).
    NextVectors,
}

impl Purpose {
    /// The route that keeps answers for this, of a route that people wrote.
    fn route(self, route: &Arc<Route>) -> Option<&Arc<Route>> {
        match self {
            Self::NextVectors => route.next.as_ref().map(|next| &next.route),
            Self::Outage | Self::Cache | Self::Vectors => Some(route),
        }
    }

    /// How a route keeps answers for this.
    fn terms(self, route: &Route) -> Option<Terms> {
        match self {
            Self::Outage => route.stale_if_error,
            Self::Cache => route.cache.map(|cache| cache.keep),
            Self::Vectors | Self::NextVectors => route.cache.and_then(|cache| cache.embeddings),
        }
    }

    fn field(self) -> &'static str {
        match self {
            Self::Outage => "staleIfError.maxBytes",
            Self::Cache => "cache.maxBytes",
            Self::Vectors | Self::NextVectors => "cache.embeddings.maxBytes",
        }
    }
}

/// What is kept.
pub trait Keep: Send + Sync + 'static {
    /// Bytes that it takes, and those of them that are itself: the rest says whose and what it is.
    fn sizes(&self) -> (usize, usize);
    /// Whether it was asked for under this model's name, or given by this model.
    fn is_of(&self, model: &str) -> bool;
    /// Whether it was asked for under this name, and given by another version of its model than this one.
    fn is_of_another_version(&self, _asked: &str, _version: &str) -> bool {
        false
    }
}

/// A kept answer, as its caller got it.
#[derive(Debug)]
pub struct Answer {
    /// `X-Request-ID` of the request that it answered.
    pub request_id: String,
    /// The model that was asked for.
    pub asked: Arc<str>,
    /// Tokens that it was billed with, and what these cost.
    pub spent: (u64, Picodollars),
    /// The ProviderConfig that gave it.
    pub provider: HeaderValue,
    /// The model that gave it, where it is not the one that was asked for.
    pub model: Option<HeaderValue>,
    /// What of the request could not be carried to it.
    pub warning: Option<HeaderValue>,
    /// What its body is.
    pub content_type: Option<HeaderValue>,
    /// Its body, in memory of its own: no more than these bytes is held by it.
    pub body: Bytes,
}

impl Keep for Answer {
    fn sizes(&self) -> (usize, usize) {
        let headers = [&self.model, &self.warning, &self.content_type].into_iter().flatten();
        let extra = headers.map(HeaderValue::len).sum::<usize>() + self.provider.len() + self.asked.len();
        (self.body.len() + extra + self.request_id.len(), self.body.len())
    }

    fn is_of(&self, model: &str) -> bool {
        *model == *self.asked || self.model.as_ref().is_some_and(|by| by == model)
    }
}

/// An answer with the room that it takes.
struct Held<V> {
    kept: Arc<V>,
    _room: Room,
}

/// What a route keeps.
struct Shelf<V> {
    basis: String,
    /// The route as requests have it that are under way, in each configuration of this basis. Answers to others were given on another
    /// basis and are not kept.
    routes: Vec<Weak<Route>>,
    terms: Terms,
    /// What its route would keep if there were memory for that, bytes.
    wanted: usize,
    answers: Lru<Held<V>>,
    /// Another one with each shelf, and each time that something is cleared: what was asked for before is not kept after.
    epoch: u64,
    /// Of vectors: the versions of the models that gave them.
    versions: Versions,
}

impl<V> Shelf<V> {
    /// Whether this is one of its routes.
    fn is_of(&self, route: &Arc<Route>) -> bool {
        let is_its = |known: &Weak<Route>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(route));
        self.routes.iter().any(is_its)
    }
}

/// What there is for a request.
pub enum Looked<V> {
    /// An answer, its age, and the epoch under which another one would be kept.
    Found(Arc<V>, Duration, u64),
    /// None; one that is asked for now is kept under this epoch.
    Nothing(u64),
    /// The route has changed since the request began.
    NotItsRoute,
}

/// Which answers are cleared. Nothing said: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// Of this ModelRoute.
    pub route: Option<String>,
    /// Asked for under this model's name, or given by this model.
    pub model: Option<String>,
    /// Whose key begins so.
    pub key: Option<String>,
}

impl Which {
    fn is_meant(&self, key: &Key, kept: &impl Keep) -> bool {
        self.model.as_ref().is_none_or(|model| kept.is_of(model))
            && self
                .key
                .as_ref()
                .is_none_or(|begin| key.text().starts_with(begin.as_str()))
    }
}

/// What a route keeps, at `/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptReport {
    /// The ModelRoute.
    pub route: String,
    /// How many answers.
    pub answers: usize,
    /// What they take, bytes.
    pub bytes: usize,
    /// What they may take, bytes: less than the route's `maxBytes` where all routes together want too much.
    pub max_bytes: usize,
    /// The route's `maxBytes`.
    pub wanted_bytes: usize,
}

/// The kept answers.
pub type KeptAnswers = Shelves<Answer>;

/// What is kept, by route.
pub struct Shelves<V> {
    purpose: Purpose,
    epochs: AtomicU64,
    by_route: Mutex<HashMap<String, Shelf<V>>>,
    memory: Arc<Memory>,
    sinks: Arc<Sinks>,
}

impl<V: Keep> Shelves<V> {
    /// Nothing yet. What is kept is given up when `memory` runs short.
    pub fn new(purpose: Purpose, memory: &Arc<Memory>, sinks: &Arc<Sinks>) -> Arc<Self> {
        let new = Arc::new(Self {
            purpose,
            epochs: AtomicU64::new(0),
            by_route: Mutex::default(),
            memory: Arc::clone(memory),
            sinks: Arc::clone(sinks),
        });
        let kept = Arc::downgrade(&new);
        memory.give_up_first(move || kept.upgrade().is_some_and(|kept| kept.give_up()));
        new
    }

    /// Keeps for the routes of this configuration from now on, and what was kept only where it still is the route's answer.
    pub fn fit(&self, config: &Config) {
        let routes = config.routes.iter().filter_map(|route| self.purpose.route(route));
        let keeping: Vec<_> = routes
            .filter_map(|route| Some((route, self.purpose.terms(route)?)))
            .collect();
        let mut by_route = locked(&self.by_route);
        if keeping.is_empty() && by_route.is_empty() {
            return;
        }
        let wants = keeping.iter().map(|(_, terms)| terms.max_bytes);
        let (wanted, most) = wanted_of_most(&self.memory, wants, self.purpose.field());
        let mut before = std::mem::take(&mut *by_route);
        for (route, terms) in keeping {
            let own = terms.max_bytes;
            let (terms, basis) = (terms.within(wanted, most), basis(config, route));
            let known = before.remove(&route.name);
            let mut shelf = match known {
                Some(known) if known.basis == basis => known,
                other => {
                    self.count(Fate::Dropped, other.map_or(0, |other| other.answers.len()));
                    Shelf {
                        basis,
                        routes: Vec::new(),
                        terms,
                        wanted: own,
                        answers: Lru::new(terms.max_bytes),
                        epoch: self.next_epoch(),
                        versions: Versions::default(),
                    }
                }
            };
            (shelf.terms, shelf.wanted) = (terms, own);
            shelf.routes.retain(|route| route.strong_count() > 0);
            shelf.routes.push(Arc::downgrade(route));
            self.count(Fate::Evicted, shelf.answers.rebound(terms.max_bytes));
            self.tell(&route.name, &shelf);
            by_route.insert(route.name.clone(), shelf);
        }
        self.count(Fate::Dropped, before.values().map(|shelf| shelf.answers.len()).sum());
    }

    fn next_epoch(&self) -> u64 {
        self.epochs.fetch_add(1, Ordering::Relaxed)
    }

    /// Keeps an answer of a route, if it still is that route's and there is room for it. `route`: of the configuration that the request
    /// began with, which may be another one by now. `epoch`: as it was when it was asked for; not kept if another one has begun.
    pub fn keep(&self, route: &Arc<Route>, key: Key, kept: Arc<V>, now: Moment, epoch: Option<u64>) {
        self.keep_aged(route, key, kept, (now, Duration::ZERO), epoch);
    }

    /// The same of what is so old `now`: it is kept for the rest of its time.
    pub fn keep_aged(
        &self,
        route: &Arc<Route>,
        key: Key,
        kept: Arc<V>,
        (now, age): (Moment, Duration),
        epoch: Option<u64>,
    ) {
        let mut by_route = locked(&self.by_route);
        let shelf = by_route.get_mut(&route.name);
        let is_its_time = |shelf: &Shelf<V>| epoch.is_none_or(|epoch| epoch == shelf.epoch);
        let Some(shelf) = shelf.filter(|shelf| shelf.is_of(route) && is_its_time(shelf)) else {
            return self.count(Fate::Dropped, 1);
        };
        self.count(Fate::Expired, shelf.answers.expire(now, shelf.terms.max_age));
        let (bytes, itself) = kept.sizes();
        if itself > shelf.terms.largest_answer() {
            return self.count(Fate::TooLarge, 1);
        }
        let mut room = self.memory.room();
        if !room.take(bytes + OVERHEAD) {
            return self.count(Fate::NoRoom, 1);
        }
        let held = Held { kept, _room: room };
        match shelf.answers.keep_aged(key, held, bytes, (now, age)) {
            Kept::Yes { evicted } => {
                self.count(Fate::Kept, 1);
                self.count(Fate::Evicted, evicted);
            }
            Kept::TooLarge => self.count(Fate::TooLarge, 1),
        }
        self.tell(&route.name, shelf);
    }

    /// The answer of a route to a request of this key, with its age.
    pub fn get(&self, route: &str, key: &Key, now: Moment) -> Option<(Arc<V>, Duration)> {
        let by_route = locked(&self.by_route);
        let shelf = by_route.get(route)?;
        let (held, age) = shelf.answers.get(key, now, shelf.terms.max_age)?;
        Some((Arc::clone(&held.kept), age))
    }

    /// What there is for a request of this route and key. What is found counts as used.
    pub fn look(&self, route: &Arc<Route>, key: &Key, now: Moment) -> Looked<V> {
        let mut by_route = locked(&self.by_route);
        let Some(shelf) = by_route.get_mut(&route.name).filter(|shelf| shelf.is_of(route)) else {
            return Looked::NotItsRoute;
        };
        match shelf.answers.take_up(key, now, shelf.terms.max_age) {
            Some((held, age)) => Looked::Found(Arc::clone(&held.kept), age, shelf.epoch),
            None => Looked::Nothing(shelf.epoch),
        }
    }

    /// Forgets these answers, and keeps none that was asked for before. Returns how many are gone; `None`: no such route keeps any.
    pub fn clear(&self, which: &Which) -> Option<usize> {
        let mut by_route = locked(&self.by_route);
        let mut cleared = None;
        for (route, shelf) in &mut *by_route {
            if which.route.as_ref().is_some_and(|wanted| wanted != route) {
                continue;
            }
            shelf.epoch = self.next_epoch();
            let gone = shelf.answers.forget(|key, held| which.is_meant(key, &*held.kept));
            *cleared.get_or_insert(0) += gone;
            self.count(Fate::Dropped, gone);
            self.tell(route, shelf);
        }
        cleared
    }

    /// The routes that keep answers.
    pub fn routes(&self) -> Vec<String> {
        let mut routes: Vec<_> = locked(&self.by_route).keys().cloned().collect();
        routes.sort();
        routes
    }

    /// What is kept now, by route.
    pub fn report(&self) -> Vec<KeptReport> {
        let by_route = locked(&self.by_route);
        let of = |(route, shelf): (&String, &Shelf<V>)| KeptReport {
            route: route.clone(),
            answers: shelf.answers.len(),
            bytes: shelf.answers.bytes(),
            max_bytes: shelf.terms.max_bytes,
            wanted_bytes: shelf.wanted,
        };
        let mut report: Vec<_> = by_route.iter().map(of).collect();
        report.sort_by(|one, other| one.route.cmp(&other.route));
        report
    }

    /// Forgets what is too old: called again and again, so that nothing stays longer than its route says.
    pub fn expire(&self, now: Moment) {
        let mut by_route = locked(&self.by_route);
        for (route, shelf) in &mut *by_route {
            let expired = shelf.answers.expire(now, shelf.terms.max_age);
            if expired > 0 {
                self.count(Fate::Expired, expired);
                self.tell(route, shelf);
            }
        }
    }

    /// Gives all of it up, for requests that need the memory. Says whether there was any.
    fn give_up(&self) -> bool {
        let mut by_route = locked(&self.by_route);
        let mut dropped = 0;
        for (route, shelf) in &mut *by_route {
            dropped += shelf.answers.len();
            shelf.answers = Lru::new(shelf.terms.max_bytes);
            self.tell(route, shelf);
        }
        self.count(Fate::Dropped, dropped);
        dropped > 0
    }

    fn count(&self, fate: Fate, answers: usize) {
        match self.purpose {
            _ if answers == 0 => {}
            Purpose::Outage => self.sinks.stale.count(fate, answers),
            Purpose::Cache | Purpose::Vectors | Purpose::NextVectors => self.sinks.cache.count(fate, answers),
        }
    }

    fn tell(&self, route: &str, shelf: &Shelf<V>) {
        let (answers, bytes) = (shelf.answers.len(), shelf.answers.bytes());
        match self.purpose {
            Purpose::Outage => self.sinks.stale.holds(route, answers, bytes),
            Purpose::Cache => self.sinks.cache.holds(route, answers, bytes),
            Purpose::Vectors => self.sinks.cache.holds_vectors(route, answers, bytes),
            Purpose::NextVectors => self.sinks.refill.holds(route, answers),
        }
    }
}
