//! Questions of a tenant's routes that were answered, to be found by who asks alike. What is kept here is vectors and the keys of
//! answers: the answers themselves are those of the cache, and what is no answer there any more is none here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};

use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Config, Route};
use bowsprit_core::dialect::Dialect;
use bowsprit_core::kept::Terms;
use bowsprit_core::kept::basis::basis;
use bowsprit_core::kept::key::Key;
use bowsprit_core::kept::semantic::Question;
use bowsprit_core::kept::semantic::index::{Bucket, Index};
use bowsprit_core::kept::semantic::point::Point;
use bowsprit_core::kept::semantic::said::{are_short, said};
use bowsprit_core::plan;
use tokio::sync::Notify;

use super::kept::{Answer, KeptReport, wanted_of_most};
use crate::caller::Caller;
use crate::memory::{Memory, Room};
use crate::observe::Sinks;
use crate::observe::semantic::{Error, Result as Came, Work};
use crate::sync::locked;
use crate::time::Clock;

/// So many questions at most wait for their vectors after they were answered; more are not kept.
const WAITING: usize = 64;
/// Room for vectors is taken in steps of so many bytes.
const STEP: usize = 256 << 10;

/// The questions, by route.
pub struct Questions {
    by_route: Mutex<HashMap<String, Shelf>>,
    memory: Arc<Memory>,
    sinks: Arc<Sinks>,
    clock: Clock,
    /// Those that wait for their vectors after they were answered.
    waiting: Mutex<VecDeque<Behind>>,
    arrived: Notify,
}

/// A question that is being asked, to be taken in when it is answered.
pub struct Asked {
    /// The question.
    pub question: Question,
    /// Its vectors, where they are here already.
    pub point: Option<Versioned>,
    /// The answer to one that is alike, which is not given but compared with the one that comes.
    pub verify: Option<Arc<Answer>>,
}

/// Vectors of a question, and whose they are.
pub struct Versioned {
    /// The vectors.
    pub point: Point,
    /// The model that gave them, as its answer names it.
    pub model: String,
}

/// What is done behind requests.
pub enum Behind {
    /// A question that was answered is taken in.
    TakeIn(Waiting),
    /// Two answers are compared.
    Verify(Verifying),
}

/// A kept answer, and the one that the provider gave in its place.
pub struct Verifying {
    /// The route as its request had it.
    pub route: Arc<Route>,
    /// What both say.
    pub said: [String; 2],
    /// Who asked.
    pub caller: Caller,
    /// `X-Request-ID` of the request.
    pub id: String,
}

/// A question that was answered, and waits for its vectors.
pub struct Waiting {
    /// The route as its request had it.
    pub route: Arc<Route>,
    /// The question.
    pub question: Question,
    /// What its answer is kept under.
    pub answer: Key,
    /// When it was answered.
    pub at: Moment,
    /// Who asked.
    pub caller: Caller,
    /// `X-Request-ID` of the request.
    pub id: String,
}

/// Those of a route.
struct Shelf {
    /// What its vectors rest on: who is asked for them.
    basis: String,
    /// The route as requests have it that are under way, in each configuration of this basis.
    routes: Vec<Weak<Route>>,
    terms: Terms,
    /// What its route would keep if there were memory for that, bytes.
    wanted: usize,
    index: Index,
    /// The model as its answers name it. Vectors of two versions are not compared.
    model: Option<String>,
    room: Room,
}

impl Questions {
    /// None yet. They are given up when `memory` runs short.
    pub fn new(memory: &Arc<Memory>, sinks: &Arc<Sinks>) -> Arc<Self> {
        let new = Arc::new(Self {
            by_route: Mutex::default(),
            memory: Arc::clone(memory),
            sinks: Arc::clone(sinks),
            clock: Clock::start(),
            waiting: Mutex::default(),
            arrived: Notify::new(),
        });
        let kept = Arc::downgrade(&new);
        memory.give_up_first(move || kept.upgrade().is_some_and(|kept| kept.give_up()));
        new
    }

    /// Keeps for the routes of this configuration from now on, and what was kept only where its vectors still are those of the same
    /// model.
    pub fn fit(&self, config: &Config) {
        let keeping: Vec<_> = config
            .routes
            .iter()
            .filter_map(|route| Some((route, route.semantic.as_ref()?)))
            .collect();
        let mut by_route = locked(&self.by_route);
        if keeping.is_empty() && by_route.is_empty() {
            return;
        }
        let wants = keeping.iter().map(|(_, terms)| terms.keep.max_bytes);
        let (wanted, most) = wanted_of_most(&self.memory, wants, "cache.semantic.maxBytes");
        let mut before = std::mem::take(&mut *by_route);
        for (route, terms) in keeping {
            // Of a model that no route answers for, its name says who is asked.
            let asked = plan::route_for(config, &terms.model).map(|asked| basis(config, asked));
            let basis = format!("{} {:?} {}", terms.model, asked, basis(config, route));
            let (keep, own) = (terms.keep.within(wanted, most), terms.keep.max_bytes);
            let known = before.remove(&route.name).filter(|known| known.basis == basis);
            let mut shelf = known.unwrap_or_else(|| Shelf {
                basis,
                routes: Vec::new(),
                terms: keep,
                wanted: own,
                index: Index::new(keep.max_bytes),
                model: None,
                room: self.memory.room(),
            });
            (shelf.terms, shelf.wanted) = (keep, own);
            shelf.routes.retain(|route| route.strong_count() > 0);
            shelf.routes.push(Arc::downgrade(route));
            shelf.index.rebound(keep.max_bytes);
            self.tell(&route.name, &shelf);
            by_route.insert(route.name.clone(), shelf);
        }
    }

    /// Those that a question may be compared with. `model`: the version of the model whose vectors are compared with theirs; none: it is
    /// not known yet.
    pub fn bucket(&self, route: &Arc<Route>, bucket: &Key, model: Option<&str>) -> Option<Bucket> {
        let by_route = locked(&self.by_route);
        let shelf = by_route.get(&route.name).filter(|shelf| shelf.is_of(route))?;
        if model.is_some_and(|model| shelf.model.as_deref() != Some(model)) {
            return None;
        }
        shelf.index.bucket(bucket)
    }

    /// The vectors of this route are of this version of its model from now on. Where they were of another, they are forgotten.
    pub fn are_of(&self, route: &Arc<Route>, model: &str) {
        let mut by_route = locked(&self.by_route);
        let shelf = by_route.get_mut(&route.name).filter(|shelf| shelf.is_of(route));
        if let Some(shelf) = shelf.filter(|shelf| shelf.model.as_deref() != Some(model)) {
            shelf.model = Some(model.to_owned());
            self.emptied(&route.name, shelf);
        }
    }

    /// A question was answered: it is taken in, or waits for its vectors.
    pub fn answered(&self, route: &Arc<Route>, asked: Asked, answer: Key, at: Moment, whose: (&Caller, &str)) {
        if let Some(point) = &asked.point {
            return self.insert(route, asked.question.bucket, point, answer, at);
        }
        let waiting = Waiting {
            route: Arc::clone(route),
            question: asked.question,
            answer,
            at,
            caller: whose.0.clone(),
            id: whose.1.to_owned(),
        };
        if !self.behind(Behind::TakeIn(waiting)) {
            self.sinks.semantic.failed(Error::Busy);
        }
    }

    /// An answer was given that is to be compared with the kept one of a question that is alike: at once where both say the same to the
    /// letter, and else behind.
    pub fn verified(
        &self,
        route: &Arc<Route>,
        dialect: Dialect,
        [kept, given]: [&[u8]; 2],
        (caller, id): (&Caller, &str),
    ) {
        let result = match (said(dialect, kept), said(dialect, given)) {
            (Some(kept), Some(given)) if kept == given => Came::Right,
            (Some(kept), Some(given)) if are_short(&kept, &given) => {
                let verifying = Verifying {
                    route: Arc::clone(route),
                    said: [kept, given],
                    caller: caller.clone(),
                    id: id.to_owned(),
                };
                if self.behind(Behind::Verify(verifying)) {
                    return;
                }
                Came::Unsure
            }
            _ => Came::Unsure,
        };
        self.sinks.semantic.came(&route.name, result, 0.0);
    }

    /// Does it behind requests. Says whether it will: not where too much waits already.
    fn behind(&self, what: Behind) -> bool {
        let mut waiting = locked(&self.waiting);
        if waiting.len() >= WAITING {
            return false;
        }
        waiting.push_back(what);
        drop(waiting);
        self.arrived.notify_one();
        true
    }

    /// The next that waits, when there is any.
    pub async fn next(&self) -> Behind {
        loop {
            if let Some(waiting) = locked(&self.waiting).pop_front() {
                return waiting;
            }
            self.arrived.notified().await;
        }
    }

    /// Takes a question in whose answer is kept under this key; not where its vectors are of another version than those that are kept by now.
    pub fn insert(&self, route: &Arc<Route>, bucket: Key, of: &Versioned, answer: Key, now: Moment) {
        let began = self.clock.now();
        let mut by_route = locked(&self.by_route);
        let shelf = by_route.get_mut(&route.name).filter(|shelf| shelf.is_of(route));
        let is_its = |shelf: &&mut Shelf| shelf.model.as_deref().is_none_or(|model| model == of.model);
        let Some(shelf) = shelf.filter(is_its) else {
            return;
        };
        if shelf.model.is_none() {
            shelf.model = Some(of.model.clone());
        }
        let expired = shelf.index.expire(now, shelf.terms.max_age);
        let gone = shelf.index.insert(bucket, &of.point, answer, now);
        let held = shelf.index.bytes().next_multiple_of(STEP);
        if !shelf.room.take(held) {
            shelf.index.remove(&answer);
            self.sinks.semantic.failed(Error::NoRoom);
        }
        let took = self.clock.now() - began;
        self.sinks.semantic.worked(Work::Insert, 1, took);
        let gone = gone.unwrap_or(0) + expired;
        self.sinks.semantic.worked(Work::Delete, gone, took);
        self.tell(&route.name, shelf);
    }

    /// Lets go of the question of an answer that is none any more.
    pub fn remove(&self, route: &Route, answer: &Key) {
        let began = self.clock.now();
        let mut by_route = locked(&self.by_route);
        if let Some(shelf) = by_route.get_mut(&route.name)
            && shelf.index.remove(answer)
        {
            let took = self.clock.now() - began;
            self.sinks.semantic.worked(Work::Delete, 1, took);
            self.tell(&route.name, shelf);
        }
    }

    /// Forgets what is too old.
    pub fn expire(&self, now: Moment) {
        let mut by_route = locked(&self.by_route);
        for (route, shelf) in &mut *by_route {
            let began = self.clock.now();
            let expired = shelf.index.expire(now, shelf.terms.max_age);
            if expired > 0 {
                self.sinks
                    .semantic
                    .worked(Work::Delete, expired, self.clock.now() - began);
                self.tell(route, shelf);
            }
        }
    }

    /// Forgets those of this route, or of all.
    pub fn clear(&self, route: Option<&str>) {
        let mut by_route = locked(&self.by_route);
        for (name, shelf) in &mut *by_route {
            if route.is_none_or(|route| route == name) {
                self.emptied(name, shelf);
            }
        }
    }

    /// What is kept now, by route.
    pub fn report(&self) -> Vec<KeptReport> {
        let by_route = locked(&self.by_route);
        let of = |(route, shelf): (&String, &Shelf)| KeptReport {
            route: route.clone(),
            answers: shelf.index.len(),
            bytes: shelf.index.bytes(),
            max_bytes: shelf.terms.max_bytes,
            wanted_bytes: shelf.wanted,
        };
        let mut report: Vec<_> = by_route.iter().map(of).collect();
        report.sort_by(|one, other| one.route.cmp(&other.route));
        report
    }

    /// Gives all of it up, for requests that need the memory. Says whether there was any.
    fn give_up(&self) -> bool {
        let mut by_route = locked(&self.by_route);
        let mut freed = 0;
        for (route, shelf) in &mut *by_route {
            freed += shelf.room.bytes();
            self.emptied(route, shelf);
        }
        freed > 0
    }

    fn emptied(&self, route: &str, shelf: &mut Shelf) {
        let began = self.clock.now();
        let gone = shelf.index.clear();
        shelf.room = self.memory.room();
        self.sinks.semantic.worked(Work::Delete, gone, self.clock.now() - began);
        self.tell(route, shelf);
    }

    fn tell(&self, route: &str, shelf: &Shelf) {
        self.sinks.semantic.holds(route, shelf.index.len(), shelf.index.bytes());
    }
}

impl Shelf {
    /// Whether this is one of its routes.
    fn is_of(&self, route: &Arc<Route>) -> bool {
        let is_its = |known: &Weak<Route>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(route));
        self.routes.iter().any(is_its)
    }
}
