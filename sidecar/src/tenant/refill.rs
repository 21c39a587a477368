//! Next models of routes (`cache.embeddings.next`): the texts of inputs, so that their vectors can be asked for, and how far that is.
//!
//! What is asked for next, and when enough is there, [`core::kept::refill`](bowsprit_core::kept::refill) decides; who asks is
//! `proxy::refill`. Texts are in memory and nowhere else, bounded by route, and given up when requests need the memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_core::backoff::BackoffSettings;
use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Config, Route};
use bowsprit_core::dialect::embeddings::EmbeddingsApi;
use bowsprit_core::kept::basis::basis;
use bowsprit_core::kept::key::Key;
use bowsprit_core::kept::lru::Lru;
use bowsprit_core::kept::next::Next;
use bowsprit_core::kept::refill::{Batch, Ended, Refill, Settings};
use serde::Serialize;
use tokio::sync::Notify;

use super::kept::Shelves;
use super::vectors::Stored;
use crate::caller::Caller;
use crate::memory::{Memory, Room};
use crate::observe::Sinks;
use crate::sync::locked;
use crate::time::Clock;

/// Inputs of one request in the background: some tens of KiB of text, and an answer of half a MiB.
const BATCH: usize = 64;
/// Inputs that wait to be asked for, of one route.
const MOST_JOBS: usize = 65_536;
/// Times that an input is asked for.
const TRIES: u32 = 24;
/// An answer counts as used so many times at most when it is ranked.
const MOST_USES: u32 = 1 << 16;

/// What inputs of one request share.
#[derive(Debug)]
pub struct Shared {
    /// How they were asked for.
    pub form: EmbeddingsApi,
    /// The operation in metrics and logs.
    pub operation: &'static str,
    /// The model that was asked for: a name that the route answers for.
    pub model: Arc<str>,
    /// All of the request's body but the inputs.
    pub body: String,
    /// By what they are known: those of one kind may be asked for together.
    pub kind: Key,
    /// Who asked.
    pub caller: Caller,
}

/// An input whose vector may be asked for again.
#[derive(Debug)]
pub struct Input {
    /// What it shares with others.
    pub shared: Arc<Shared>,
    /// Itself, as JSON.
    pub text: Box<str>,
    uses: AtomicU32,
}

impl Input {
    /// One that was asked for once.
    pub fn new(shared: Arc<Shared>, text: String) -> Self {
        Self {
            shared,
            text: text.into(),
            uses: AtomicU32::new(0),
        }
    }
}

/// How far a route is with its next model, at `/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefillReport {
    /// The ModelRoute.
    pub route: String,
    /// The next model.
    pub next: String,
    /// `filling`, `filled`, `serving`: the next model serves, or `failed`: too many inputs were given up, and the old one goes on serving.
    pub state: &'static str,
    /// Of the inputs that had vectors of the old model when it began: those that need none of the next one any more.
    pub filled: usize,
    /// How many these were.
    pub of: usize,
    /// Inputs that wait to be asked for.
    pub waiting: usize,
    /// Requests that are out for them.
    pub workers: usize,
    /// Texts that are kept.
    pub inputs: usize,
    /// Bytes that these take.
    pub bytes: usize,
}

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
    inputs: Lru<Known>,
    /// How long a text is kept: as long as its vector.
    max_age: Duration,
    next: Option<OfNext>,
}

struct OfNext {
    /// What it rests on: who is asked, and for what.
    basis: String,
    /// Another one with each: what was asked for for one says nothing of the next.
    generation: u64,
    next: Arc<Next>,
    refill: Refill<Arc<Input>>,
    serves: bool,
    /// It was said that too much failed.
    is_told: bool,
}

impl OfNext {
    /// Whether it serves; from the moment on at which all is there.
    fn look(&mut self, route: &str) -> bool {
        if !self.serves && self.next.switches && self.refill.is_filled() {
            self.serves = true;
            let (_, inputs) = self.refill.progress();
            tracing::info!(
                route,
                model = self.model(),
                inputs,
                "the next embedding model serves from now on"
            );
        }
        if !std::mem::replace(&mut self.is_told, self.refill.has_failed()) && self.is_told {
            tracing::warn!(
                route,
                model = self.model(),
                "the next embedding model does not answer for too many inputs: the old one goes on serving"
            );
        }
        self.serves
    }

    fn model(&self) -> &str {
        let target = self.next.route.all_targets().next();
        target.and_then(|target| target.model.as_deref()).unwrap_or_default()
    }
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
                inputs: Lru::new(bytes),
                max_age,
                next: None,
            });
            of.max_age = max_age;
            of.inputs.rebound(bytes);
            let known = of.next.take();
            of.next = route.next.as_ref().map(|next| {
                let basis = format!("{} {}", basis(config, route), basis(config, &next.route));
                if let Some(known) = known.filter(|known| known.basis == basis) {
                    OfNext {
                        next: Arc::clone(next),
                        ..known
                    }
                } else {
                    let generation = self.generations.fetch_add(1, Ordering::Relaxed);
                    begin((next, generation), basis, &of.inputs, &vectors.keys(&route.name))
                }
            });
            if let Some(next) = &mut of.next {
                next.look(&route.name);
            }
            self.tell(&route.name, &of);
            by_route.insert(route.name.clone(), of);
        }
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
            input.uses.fetch_add(1, Ordering::Relaxed);
            if route.is_next {
                continue;
            }
            if let Some(next) = &mut of.next {
                if is_there(key) {
                    next.refill.settled(key);
                } else {
                    want(&mut next.refill, *key, &input);
                }
            }
        }
        self.tell(&route.name, of);
        drop(by_route);
        self.news.notify_one();
    }

    /// The next model's vectors of these inputs are kept, because somebody asked for them.
    pub fn settled(&self, route: &str, keys: impl Iterator<Item = Key>) {
        let mut by_route = locked(&self.by_route);
        if let Some(of) = by_route.get_mut(route) {
            if let Some(next) = &mut of.next {
                keys.for_each(|key| next.refill.settled(&key));
            }
            self.tell(route, of);
        }
    }

    /// Forgets texts that are too old. Nobody needs vectors of what the old model's are gone of.
    pub fn expire(&self, vectors: &Shelves<Stored>, now: Moment) {
        let mut by_route = locked(&self.by_route);
        for (route, of) in &mut *by_route {
            of.inputs.expire(now, of.max_age);
            let Some(next) = &mut of.next else { continue };
            if !next.refill.is_filled() {
                for key in vectors.gone(route, next.refill.awaited()) {
                    next.refill.settled(&key);
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
            let Some(next) = &mut of.next else { continue };
            if let Some(batch) = next.refill.take(now) {
                let work = Work {
                    refills: Arc::clone(self),
                    next: Arc::clone(&next.next.route),
                    generation: next.generation,
                    began: now,
                    batch,
                    is_over: false,
                };
                self.tell(route, of);
                return Ok(work);
            }
            wake = [wake, next.refill.wake()].into_iter().flatten().min();
        }
        Err(wake)
    }

    /// How far each route is.
    pub fn report(&self) -> Vec<RefillReport> {
        let by_route = locked(&self.by_route);
        let of = |(route, of): (&String, &OfRoute)| {
            let next = of.next.as_ref()?;
            let (filled, known) = next.refill.progress();
            Some(RefillReport {
                route: route.clone(),
                next: next.model().to_owned(),
                state: if next.serves {
                    "serving"
                } else if next.refill.has_failed() {
                    "failed"
                } else if next.refill.is_filled() {
                    "filled"
                } else {
                    "filling"
                },
                filled,
                of: known,
                waiting: next.refill.depth(),
                workers: next.refill.workers(),
                inputs: of.inputs.len(),
                bytes: of.inputs.bytes(),
            })
        };
        let mut report: Vec<_> = by_route.iter().filter_map(of).collect();
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
            let refill = &next.refill;
            self.sinks
                .refill
                .is(route, refill.depth(), refill.workers(), refill.progress());
        }
    }
}

/// Begins to fill a next model with what is known.
fn begin((next, generation): (&Arc<Next>, u64), basis: String, inputs: &Lru<Known>, vectors: &[Key]) -> OfNext {
    let settings = Settings {
        workers: next.workers,
        batch: BATCH,
        most: MOST_JOBS,
        tries: TRIES,
        backoff: BackoffSettings::BACKGROUND,
    };
    let mut refill = Refill::new(settings, vectors.iter().copied());
    // The least recently used first: of those that were used equally often the latest go first.
    for (key, known) in inputs.in_order() {
        if refill.is_awaited(key) {
            want(&mut refill, *key, &known.input);
        }
    }
    OfNext {
        basis,
        generation,
        next: Arc::clone(next),
        refill,
        serves: false,
        is_told: false,
    }
}

fn want(refill: &mut Refill<Arc<Input>>, key: Key, input: &Arc<Input>) {
    let shared = &input.shared;
    let uses = input.uses.load(Ordering::Relaxed).clamp(1, MOST_USES);
    // Gemini's `embedContent` takes one input.
    let is_alone = shared.form == EmbeddingsApi::One;
    refill.want(key, shared.kind, (uses, is_alone), || Arc::clone(input));
}

/// A batch that is being asked for. Dropped before it has [`Work::ended`], it has failed.
pub struct Work {
    refills: Arc<Refills>,
    /// The route with its next model.
    pub next: Arc<Route>,
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
        let route = &self.next.name;
        let mut by_route = locked(&self.refills.by_route);
        if let Some(of) = by_route.get_mut(route) {
            if let Some(next) = of.next.as_mut().filter(|next| next.generation == self.generation) {
                if how == Ended::NoRoom {
                    tracing::warn!(
                        route,
                        "the next embedding model's vectors have filled cache.embeddings.maxBytes: the rest is asked for when it is wanted"
                    );
                }
                let count = next.refill.ended(&keys, how, now, &mut fastrand::Rng::new());
                self.refills.sinks.refill.ended(route, count, now - self.began);
                next.look(route);
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
