//! Vectors that are asked for in the background: those of next models of routes (`cache.embeddings.next`), and those of a version that a
//! provider has put in the place of another. Kept for that are the texts of inputs.
//!
//! What is asked for next, and when enough is there, [`core::kept::refill`](bowsprit_core::kept::refill) decides; who asks is
//! `proxy::refill`. Texts are in memory and nowhere else, bounded by route, and given up when requests need the memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Config, Route};
use bowsprit_core::kept::basis::basis;
use bowsprit_core::kept::key::Key;
use bowsprit_core::kept::lru::Lru;
use bowsprit_core::kept::next::Next;
use bowsprit_core::kept::refill::{Batch, Ended};
use bowsprit_core::kept::versions::Changes;
use bowsprit_crds::guards::Side;
use tokio::sync::Notify;

use self::filling::{Filling, Input, OfNext, RefillReport, Renewal, WORKERS};
use super::kept::{Changed, Shelves};
use super::vectors::Stored;
use crate::memory::{Memory, Room};
use crate::observe::Sinks;
use crate::sync::locked;
use crate::time::Clock;

pub mod filling;

/// What is known of the routes that keep texts.
pub struct Refills {
    by_route: Mutex<HashMap<String, OfRoute>>,
    memory: Arc<Memory>,
    sinks: Arc<Sinks>,
    news: Notify,
    generations: AtomicU64,
}

struct Known {
    input: Arc<Input>,
    _room: Room,
}

struct OfRoute {
    /// What its vectors rest on: who is asked, and for what.
    basis: String,
    /// The guards that its texts have been through.
    guards: Vec<u8>,
    inputs: Lru<Known>,
    /// How long a text is kept: as long as its vector.
    max_age: Duration,
    next: Option<OfNext>,
    renewal: Option<Renewal>,
    /// Whether what is asked for in the background has a key: none of its providers is given its callers' own.
    has_keys: bool,
    changes: Changes,
}

impl OfRoute {
    /// What is filled. Vectors of the model that serves go first.
    fn fillings(&mut self) -> impl Iterator<Item = &mut Filling> {
        let renewal = self.renewal.iter_mut().map(|renewal| &mut renewal.filling);
        renewal.chain(self.next.iter_mut().map(|next| &mut next.filling))
    }

    /// All texts, those of the least recently used first.
    fn texts(&self) -> impl Iterator<Item = (&Key, &Arc<Input>)> {
        self.inputs.in_order().map(|(key, known)| (key, &known.input))
    }
}

/// The guards that look into what this route is asked, as they are written.
fn guards_of(config: &Config, route: &Route) -> Vec<u8> {
    let of_policies = config.policies.iter().flat_map(|policy| &policy.guards);
    let all = of_policies
        .chain(&route.guards)
        .filter(|guard| guard.is_on(Side::Request));
    all.flat_map(|guard| guard.print).collect()
}

impl Refills {
    /// Nothing yet. Texts are given up when `memory` runs short.
    pub fn new(memory: &Arc<Memory>, sinks: &Arc<Sinks>) -> Arc<Self> {
        let new = Arc::new(Self {
            by_route: Mutex::default(),
            memory: Arc::clone(memory),
            sinks: Arc::clone(sinks),
            news: Notify::new(),
            generations: AtomicU64::new(0),
        });
        let kept = Arc::downgrade(&new);
        memory.give_up_first(move || kept.upgrade().is_some_and(|kept| kept.give_up()));
        new
    }

    /// Keeps for the routes of this configuration from now on; `vectors` are those of the models that serve now. A next model that is
    /// new begins with what of these there is.
    pub fn fit(&self, config: &Config, vectors: &Shelves<Stored>) {
        let mut by_route = locked(&self.by_route);
        let keeping: Vec<_> = config
            .routes
            .iter()
            .filter_map(|route| Some((route, route.keep_inputs?, route.cache?.embeddings?.max_age)))
            .collect();
        if keeping.is_empty() && by_route.is_empty() {
            return;
        }
        let mut before = std::mem::take(&mut *by_route);
        for (route, bytes, max_age) in keeping {
            let mut of = before.remove(&route.name).unwrap_or_else(|| OfRoute {
                basis: String::new(),
                guards: Vec::new(),
                inputs: Lru::new(bytes),
                max_age,
                next: None,
                renewal: None,
                has_keys: false,
                changes: Changes::default(),
            });
            of.max_age = max_age;
            of.inputs.rebound(bytes);
            self.forget_what_passed_others(&mut of, guards_of(config, route));
            let basis_of = basis(config, route);
            if of.basis != basis_of {
                of.renewal = None;
            }
            if let Some(renewal) = &mut of.renewal {
                renewal.filling.route = Arc::clone(route);
            }
            let forwards = |name: &str| {
                config
                    .provider(name)
                    .is_some_and(|provider| provider.forward_caller_key)
            };
            of.has_keys = !route.all_targets().any(|target| forwards(&target.provider));
            let known = of.next.take();
            of.next = route.next.as_ref().map(|next| {
                let basis = format!("{basis_of} {}", basis(config, &next.route));
                if let Some(known) = known.filter(|known| known.basis == basis) {
                    known.goes_on_as(next)
                } else {
                    let vectors = vectors.keys(&route.name);
                    let filling = Filling::begin(self.as_next(next), vectors, of.texts());
                    OfNext::new(basis, next, filling)
                }
            });
            of.basis = basis_of;
            if let Some(next) = &mut of.next {
                next.look(&route.name);
            }
            self.tell(&route.name, &of);
            by_route.insert(route.name.clone(), of);
        }
        drop(by_route);
        self.news.notify_one();
    }

    /// Texts are asked for again as they came past the guards of their time, and past no others: where these are other ones now, texts
    /// are forgotten. Whoever asks for one again is looked into anew.
    fn forget_what_passed_others(&self, of: &mut OfRoute, guards: Vec<u8>) {
        if of.guards == guards {
            return;
        }
        of.guards = guards;
        if of.inputs.forget(|_, _| true) == 0 {
            return;
        }
        of.renewal = None;
        if let Some(mut next) = of.next.take() {
            let awaited: Vec<Key> = next.filling.refill.awaited().copied().collect();
            next.filling = Filling::begin(self.as_next(&next.next), awaited, of.texts());
            of.next = Some(next);
        }
    }

    /// As who a next model is asked, requests at once, and another generation.
    fn as_next<'a>(&self, next: &'a Next) -> (&'a Arc<Route>, usize, u64) {
        (&next.route, next.workers, self.generation())
    }

    fn generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    /// A provider answers this route with another version of its model: what went is asked for again in the background, as far as its
    /// text is known.
    pub fn changed(&self, route: &Arc<Route>, changed: &Changed, version: &str, now: Moment) {
        let mut by_route = locked(&self.by_route);
        let Some(of) = by_route.get_mut(&route.name) else {
            return;
        };
        let until = now + of.changes.changed(now);
        if route.is_next {
            let Some(mut next) = of.next.take() else { return };
            // Before it serves, all that it was to have is awaited still.
            let known = next.filling.refill.awaited().chain(&changed.gone).copied();
            next.filling = Filling::begin(self.as_next(&next.next), known, of.texts());
            next.filling.refill.pause(until);
            of.next = Some(next);
        } else if of.has_keys {
            let before = of.renewal.take();
            let awaited = before.iter().flat_map(|before| before.filling.refill.awaited());
            let has_text = |key: &&Key| of.inputs.has(key);
            let known: Vec<Key> = awaited.chain(&changed.gone).filter(has_text).copied().collect();
            let mut filling = Filling::begin((route, WORKERS, self.generation()), known, of.texts());
            filling.refill.pause(until);
            of.renewal = Some(Renewal {
                version: version.to_owned(),
                filling,
            });
        }
        self.tell(&route.name, of);
        drop(by_route);
        self.news.notify_one();
    }

    /// Whether this route is served with its next model now.
    pub fn serves_next(&self, route: &str) -> bool {
        let mut by_route = locked(&self.by_route);
        let next = by_route.get_mut(route).and_then(|of| of.next.as_mut());
        next.is_some_and(|next| next.look(route))
    }

    /// These inputs of a route are asked for. `make`: the one at this place; `is_there`: whether the next model's vector of one is kept
    /// already.
    pub fn seen(
        &self,
        route: &Route,
        keys: &[Key],
        (make, is_there): (impl Fn(usize) -> Option<Input>, impl Fn(&Key) -> bool),
        now: Moment,
    ) {
        let mut by_route = locked(&self.by_route);
        let Some(of) = by_route.get_mut(&route.name) else {
            return;
        };
        for (place, key) in keys.iter().enumerate() {
            let known = of.inputs.take_up(key, now, of.max_age);
            let input = if let Some((known, _)) = known {
                Arc::clone(&known.input)
            } else {
                let Some(input) = make(place).map(Arc::new) else {
                    continue;
                };
                let bytes = input.text.len() + size_of::<Input>();
                let mut room = self.memory.room();
                if !room.take(bytes) {
                    continue;
                }
                let kept = Known {
                    input: Arc::clone(&input),
                    _room: room,
                };
                of.inputs.keep(*key, kept, bytes, now);
                input
            };
            input.used();
            if route.is_next {
                continue;
            }
            if let Some(next) = &mut of.next {
                if is_there(key) {
                    next.filling.refill.settled(key);
                } else {
                    next.filling.want(*key, &input);
                }
            }
        }
        self.tell(&route.name, of);
        drop(by_route);
        self.news.notify_one();
    }

    /// Vectors of these inputs are kept, because somebody asked for them.
    pub fn settled(&self, route: &Route, keys: impl Iterator<Item = Key>) {
        let mut by_route = locked(&self.by_route);
        if let Some(of) = by_route.get_mut(&route.name) {
            let filling = if route.is_next {
                of.next.as_mut().map(|next| &mut next.filling)
            } else {
                of.renewal.as_mut().map(|renewal| &mut renewal.filling)
            };
            if let Some(filling) = filling {
                keys.for_each(|key| filling.refill.settled(&key));
            }
            self.tell(&route.name, of);
        }
    }

    /// Forgets texts that are too old. Nobody needs vectors of what the old model's are gone of, if they are not asked for again.
    pub fn expire(&self, vectors: &Shelves<Stored>, now: Moment) {
        let mut by_route = locked(&self.by_route);
        for (route, of) in &mut *by_route {
            of.inputs.expire(now, of.max_age);
            let Some(next) = &mut of.next else { continue };
            let refill = &mut next.filling.refill;
            if !next.serves && !refill.is_filled() {
                let renewal = of.renewal.as_ref().map(|renewal| &renewal.filling.refill);
                for key in vectors.gone(route, refill.awaited()) {
                    if !renewal.is_some_and(|renewal| renewal.has(&key)) {
                        refill.settled(&key);
                    }
                }
                next.look(route);
                self.tell(route, of);
            }
        }
    }

    /// The next batch that is to be asked for. Waits for it.
    pub async fn next(self: &Arc<Self>, clock: &Clock) -> Work {
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            // Before the look: what comes after it is not missed.
            news.as_mut().enable();
            let wake = match self.take(clock.now()) {
                Ok(work) => return work,
                Err(wake) => wake,
            };
            match wake {
                None => news.await,
                Some(wake) => {
                    // Either way it is time to look.
                    let _ = tokio::time::timeout_at(clock.instant(wake), news).await;
                }
            }
        }
    }

    fn take(self: &Arc<Self>, now: Moment) -> Result<Work, Option<Moment>> {
        let mut by_route = locked(&self.by_route);
        let mut wake = None;
        for (route, of) in &mut *by_route {
            let mut work = None;
            for filling in of.fillings() {
                if let Some(batch) = filling.refill.take(now) {
                    work = Some(Work {
                        refills: Arc::clone(self),
                        route: Arc::clone(&filling.route),
                        generation: filling.generation,
                        began: now,
                        batch,
                        is_over: false,
                    });
                    break;
                }
                wake = [wake, filling.refill.wake()].into_iter().flatten().min();
            }
            if let Some(work) = work {
                self.tell(route, of);
                return Ok(work);
            }
        }
        Err(wake)
    }

    /// How far each route is.
    pub fn report(&self) -> Vec<RefillReport> {
        let by_route = locked(&self.by_route);
        let of = |(route, of): (&String, &OfRoute)| {
            let texts = (of.inputs.len(), of.inputs.bytes());
            let next = of.next.as_ref().map(|next| next.report(route, texts));
            let renewal = of.renewal.as_ref().map(|renewal| renewal.report(route, texts));
            [next, renewal]
        };
        let mut report: Vec<_> = by_route.iter().flat_map(of).flatten().collect();
        report.sort_by(|one, other| one.route.cmp(&other.route));
        report
    }

    /// Gives all texts up that nobody is about to ask for. Says whether there were any.
    fn give_up(&self) -> bool {
        let mut by_route = locked(&self.by_route);
        let mut had_any = false;
        for of in by_route.values_mut() {
            had_any |= of.inputs.forget(|_, _| true) > 0;
        }
        had_any
    }

    fn tell(&self, route: &str, of: &OfRoute) {
        if let Some(next) = &of.next {
            let refill = &next.filling.refill;
            let renewal = of.renewal.as_ref().map(|renewal| &renewal.filling.refill);
            let (depth, workers) = renewal.map_or((0, 0), |renewal| (renewal.depth(), renewal.workers()));
            self.sinks.refill.is(
                route,
                refill.depth() + depth,
                refill.workers() + workers,
                refill.progress(),
            );
        }
    }
}

/// A batch that is being asked for. Dropped before it has [`Work::ended`], it has failed.
pub struct Work {
    refills: Arc<Refills>,
    /// The route whose target is asked: as it is served, or with its next model.
    pub route: Arc<Route>,
    generation: u64,
    began: Moment,
    /// The inputs.
    pub batch: Batch<Arc<Input>>,
    is_over: bool,
}

impl Work {
    /// It has come to this.
    pub fn ended(mut self, how: Ended, now: Moment) {
        self.over(how, now);
    }

    fn over(&mut self, how: Ended, now: Moment) {
        self.is_over = true;
        let keys: Vec<Key> = self.batch.jobs.iter().map(|(key, _)| *key).collect();
        let route = &self.route.name;
        let mut by_route = locked(&self.refills.by_route);
        if let Some(of) = by_route.get_mut(route) {
            let is_its = |filling: &&mut Filling| filling.generation == self.generation;
            let count = of
                .fillings()
                .find(is_its)
                .map(|filling| filling.refill.ended(&keys, how, now, &mut fastrand::Rng::new()));
            if let Some(count) = count {
                if how == Ended::NoRoom {
                    tracing::warn!(
                        route,
                        "vectors that were asked for in the background have filled cache.embeddings.maxBytes: the rest is asked for when it is wanted"
                    );
                }
                self.refills.sinks.refill.ended(route, count, now - self.began);
                if let Some(next) = &mut of.next {
                    next.look(route);
                }
            }
            self.refills.tell(route, of);
        }
        drop(by_route);
        self.refills.news.notify_one();
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.is_over {
            self.over(Ended::Failed(None), self.began);
        }
    }
}
