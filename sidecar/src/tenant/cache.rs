//! A tenant's cache: its answers, and the requests under way that others wait for (single flight). Of equal requests that come
//! together one asks, and leads; the others follow it and get its answer when that is whole. If the leader fails or leaves, one
//! follower leads in its place; if its answer is none to share, each asks for itself.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Config, Route};
use bowsprit_core::kept::key::Key;
use tokio::sync::Notify;

use super::asking::Asking;
use super::kept::{Answer, KeptAnswers, Looked, Purpose, Shelves, Which};
use super::refill::Refills;
use super::semantic::Questions;
use super::shared::Place;
use super::vectors::Stored;
use crate::memory::Memory;
use crate::observe::Sinks;
use crate::sync::locked;

/// By what a flight is known: the epoch of its route's answers, so that nobody follows one of another configuration.
type Of = (u64, Key);

/// The cache.
pub struct Cache {
    /// What is kept.
    pub answers: Arc<KeptAnswers>,
    /// Vectors of embeddings, one for each input.
    pub vectors: Arc<Shelves<Stored>>,
    /// The same of the models that are to serve next.
    pub next: Arc<Shelves<Stored>>,
    /// Texts of inputs, and how far these models are.
    pub refills: Arc<Refills>,
    /// Inputs whose vectors are being asked for.
    asking: Arc<Asking>,
    /// The same of the models that are to serve next.
    next_asking: Arc<Asking>,
    /// Questions that were answered, to be found by who asks alike.
    pub questions: Arc<Questions>,
    flights: Mutex<HashMap<Of, UnderWay>>,
}

struct UnderWay {
    flight: Arc<Flight>,
    /// Who leads, and who waits.
    seats: usize,
}

/// A request under way that others may wait for.
struct Flight {
    state: Mutex<State>,
    changed: Notify,
}

enum State {
    /// Somebody asks.
    Led,
    /// Who asked has failed or left: whoever is here first leads.
    Free,
    /// It is over: the answer, or none that can be shared.
    Over(Option<Shared>),
}

/// An answer that is shared.
#[derive(Clone)]
pub struct Shared {
    /// The answer.
    pub answer: Arc<Answer>,
    /// It is that to another question.
    pub alike: Option<Alike>,
    /// How old it was when its leader got it.
    pub age: Duration,
}

/// The answer to a question that is alike and not the same.
#[derive(Clone, Copy, Debug)]
pub struct Alike {
    /// What the answer is kept under.
    pub key: Key,
    /// How alike the questions are: the cosine of the two turns that are least alike.
    pub similarity: f32,
    /// When it was found.
    pub at: Moment,
    /// How old it was then.
    pub age: Duration,
}

/// What a request finds.
pub enum Found {
    /// A kept answer, and its age.
    Answer(Arc<Answer>, Duration),
    /// Nobody asks yet: this one does.
    Lead(Box<Lead>),
    /// Somebody asks already.
    Follow(Follow),
    /// The route has changed since the request began.
    NotItsRoute,
}

/// What came of following.
pub enum Followed {
    /// The leader's answer.
    Answer(Shared),
    /// The leader failed or left: this one leads now.
    Lead(Box<Lead>),
    /// The leader's answer cannot be shared, or it took too long: this one asks for itself.
    Alone,
}

impl Cache {
    /// Nothing yet.
    pub fn new(memory: &Arc<Memory>, sinks: &Arc<Sinks>) -> Arc<Self> {
        Arc::new(Self {
            answers: Shelves::new(Purpose::Cache, memory, sinks),
            vectors: Shelves::new(Purpose::Vectors, memory, sinks),
            next: Shelves::new(Purpose::NextVectors, memory, sinks),
            refills: Refills::new(memory, sinks),
            asking: Arc::default(),
            next_asking: Arc::default(),
            questions: Questions::new(memory, sinks),
            flights: Mutex::default(),
        })
    }

    /// What there is for a request. `takes`: whether it takes an answer of this age.
    pub fn find(
        self: &Arc<Self>,
        route: &Arc<Route>,
        key: Key,
        now: Moment,
        takes: impl Fn(Duration) -> bool,
    ) -> Found {
        let look = || match self.answers.look(route, &key, now) {
            Looked::Found(answer, age, _) if takes(age) => Err(Found::Answer(answer, age)),
            Looked::Found(_, _, epoch) | Looked::Nothing(epoch) => Ok(epoch),
            Looked::NotItsRoute => Err(Found::NotItsRoute),
        };
        // First without the lock on what is under way: a hit needs none.
        if let Err(found) = look() {
            return found;
        }
        let mut flights = locked(&self.flights);
        // A leader keeps its answer before its flight goes: either is seen here.
        let epoch = match look() {
            Ok(epoch) => epoch,
            Err(found) => return found,
        };
        let of = (epoch, key);
        let seat = |flight: &Arc<Flight>| Seat {
            cache: Arc::clone(self),
            route: Arc::clone(route),
            of,
            flight: Arc::clone(flight),
        };
        if let Some(under_way) = flights.get_mut(&of) {
            under_way.seats += 1;
            return Found::Follow(Follow(seat(&under_way.flight)));
        }
        let flight = Arc::new(Flight {
            state: Mutex::new(State::Led),
            changed: Notify::new(),
        });
        let seat = seat(&flight);
        flights.insert(of, UnderWay { flight, seats: 1 });
        drop(flights);
        Found::Lead(Lead::new(seat))
    }

    /// Keeps for the routes of this configuration from now on.
    pub fn fit(&self, config: &Config) {
        self.answers.fit(config);
        self.next.hand_over(&self.vectors, config);
        self.vectors.fit(config);
        self.next.fit(config);
        self.refills.fit(config, &self.vectors);
        self.questions.fit(config);
    }

    /// Forgets what is too old.
    pub fn expire(&self, now: Moment) {
        self.answers.expire(now);
        self.vectors.expire(now);
        self.next.expire(now);
        self.refills.expire(&self.vectors, now);
        self.questions.expire(now);
    }

    /// The vectors that answer requests of this route: one that is served with its next model has those of no other.
    pub fn vectors_of(&self, route: &Route) -> &Arc<Shelves<Stored>> {
        if route.is_next { &self.next } else { &self.vectors }
    }

    /// The inputs under way of this route, in the same way.
    pub fn asking_of(&self, route: &Route) -> &Arc<Asking> {
        if route.is_next { &self.next_asking } else { &self.asking }
    }

    /// Keeps vectors of inputs of a route, all of one answer, which were asked for under this epoch. If the answer is of another version
    /// of the model than what is kept, that is forgotten first. Returns the epoch from then on.
    pub fn keep_vectors(&self, route: &Arc<Route>, fresh: &[(Key, Arc<Stored>)], now: Moment, epoch: u64) -> u64 {
        let Some((_, first)) = fresh.first() else {
            return epoch;
        };
        let (vectors, source) = (self.vectors_of(route), &first.source);
        let changed = vectors.answered_by(route, (&source.asked, &source.model), epoch);
        let epoch = changed.as_ref().map_or(epoch, |changed| changed.epoch);
        for (key, stored) in fresh {
            vectors.keep(route, *key, Arc::clone(stored), now, Some(epoch));
        }
        if let Some(changed) = changed {
            tracing::warn!(
                route = route.name,
                asked = &*source.asked,
                before = &*changed.before,
                now = source.model,
                forgotten = changed.gone.len(),
                "the provider answers with another version of its embedding model: vectors of the one before are forgotten, an index made of \
                 them is to be built anew"
            );
            self.refills.changed(route, &changed, &source.model, now);
        }
        if route.keep_inputs.is_some() {
            self.refills.settled(route, fresh.iter().map(|(key, _)| *key));
        }
        epoch
    }

    /// Forgets these, answers and vectors. Returns how many are gone; `None`: no such route has a cache.
    pub fn clear(&self, which: &Which) -> Option<usize> {
        let (answers, vectors) = (self.answers.clear(which), self.vectors.clear(which));
        let next = self.next.clear(which).unwrap_or(0);
        // Those whose answers stay would be found again; that costs less than to know which these are.
        self.questions.clear(which.route.as_deref());
        answers.map(|answers| answers + vectors.unwrap_or(0) + next)
    }

    /// Requests that somebody leads or waits for.
    #[cfg(test)]
    fn under_way(&self) -> usize {
        locked(&self.flights).len()
    }
}

/// A place in a flight. The last one to leave it takes it away.
struct Seat {
    cache: Arc<Cache>,
    route: Arc<Route>,
    of: Of,
    flight: Arc<Flight>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut flights = locked(&self.cache.flights);
        let under_way = flights.get_mut(&self.of);
        // One that is over is not there any more, and another may be in its place.
        if let Some(under_way) = under_way.filter(|known| Arc::ptr_eq(&known.flight, &self.flight)) {
            under_way.seats -= 1;
            if under_way.seats == 0 {
                flights.remove(&self.of);
            }
        }
    }
}

/// The request that asks for all that are the same. Dropped: it failed or left, and a follower leads.
pub struct Lead {
    seat: Seat,
    /// Where its answer is kept for other pods too.
    place: Option<Place>,
    is_over: bool,
}

impl Lead {
    fn new(seat: Seat) -> Box<Self> {
        Box::new(Self {
            seat,
            place: None,
            is_over: false,
        })
    }

    /// Its answer is to be kept there too.
    pub fn keeps_in(&mut self, place: Option<Place>) {
        self.place = place;
    }

    /// The route as the request has it.
    pub fn route(&self) -> &Arc<Route> {
        &self.seat.route
    }

    /// What its answer is kept under.
    pub fn key(&self) -> Key {
        self.seat.of.1
    }

    /// Here is the answer: it is kept, and given to all that wait.
    pub fn answered(mut self, answer: &Arc<Answer>, now: Moment) {
        let (epoch, key) = self.seat.of;
        let answers = &self.seat.cache.answers;
        answers.keep(&self.seat.route, key, Arc::clone(answer), now, Some(epoch));
        if let (Some(place), Some(cache)) = (self.place.take(), self.seat.route.cache) {
            place.keep(answer, cache.keep.max_age);
        }
        self.over(Some(Shared {
            answer: Arc::clone(answer),
            alike: None,
            age: Duration::ZERO,
        }));
    }

    /// Another pod has the answer, which is so old `now`: it is kept here for the rest of its time, and given to all that wait.
    pub fn fetched(mut self, answer: &Arc<Answer>, age: Duration, now: Moment) {
        let (epoch, key) = self.seat.of;
        let answers = &self.seat.cache.answers;
        answers.keep_aged(&self.seat.route, key, Arc::clone(answer), (now, age), Some(epoch));
        self.over(Some(Shared {
            answer: Arc::clone(answer),
            alike: None,
            age,
        }));
    }

    /// There is an answer to a question that is alike: it is given to all that wait, and kept no longer for it.
    pub fn found(mut self, answer: &Arc<Answer>, alike: Alike) {
        self.over(Some(Shared {
            answer: Arc::clone(answer),
            alike: Some(alike),
            age: alike.age,
        }));
    }

    /// There is an answer, and it is for this caller alone.
    pub fn not_to_share(mut self) {
        self.over(None);
    }

    fn over(&mut self, answer: Option<Shared>) {
        self.is_over = true;
        locked(&self.seat.cache.flights).remove(&self.seat.of);
        *locked(&self.seat.flight.state) = State::Over(answer);
        self.seat.flight.changed.notify_waiters();
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if !self.is_over {
            *locked(&self.seat.flight.state) = State::Free;
            self.seat.flight.changed.notify_one();
        }
    }
}

/// A request that waits for another one's answer.
pub struct Follow(Seat);

impl Follow {
    /// Waits so long at most. Dropped while it waits, it has left, and whom it would have led is told.
    pub async fn wait(self, patience: Duration) -> Followed {
        let flight = Arc::clone(&self.0.flight);
        let followed = tokio::time::timeout(patience, flight.end()).await;
        drop(flight);
        match followed {
            Ok(Some(Some(shared))) => Followed::Answer(shared),
            Ok(Some(None)) => Followed::Lead(Lead::new(self.0)),
            Ok(None) | Err(_) => Followed::Alone,
        }
    }
}

impl Flight {
    /// Some answer; some none: this one leads now; none: it is over without an answer to share.
    async fn end(&self) -> Option<Option<Shared>> {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Before the look: what changes after it is not missed.
            changed.as_mut().enable();
            {
                let mut state = locked(&self.state);
                match &*state {
                    State::Over(answer) => return answer.clone().map(Some),
                    State::Free => {
                        *state = State::Led;
                        return Some(None);
                    }
                    State::Led => {}
                }
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests;
