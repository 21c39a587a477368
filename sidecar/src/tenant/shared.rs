//! Answers that the pods of a workload share through a store (`cache.store` of a ModelRoute), in front of which stands each sidecar's memory.
//!
//! A request waits for the store within its deadline, and then its provider is asked as if there were none. The first failure, whatever it
//! is, ends all asking; a look that no request waits for begins it again. What is kept is told behind: no answer waits for it. A clear
//! that the store has not taken stands between this sidecar and it, so that nothing of before is given here; a change of configuration
//! takes nothing from that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Config, Route};
use bowsprit_core::kept::basis::basis;
use bowsprit_core::kept::key::Key;
use bowsprit_core::kept::shared::value::{self, Told};
use bowsprit_core::kept::shared::{Generation, Id};
use bowsprit_core::share::store::Unanswered;
use bowsprit_core::share::store::standing::Standing;
use bytes::Bytes;
use http::HeaderValue;

use super::kept::{Answer, Which};
use crate::observe::Sinks;
use crate::observe::cache::Stored;
use crate::store::{Answers, Kept, Stores};
use crate::sync::locked;
use crate::time::Clock;

/// The routes whose answers are shared.
pub struct SharedAnswers {
    stores: Arc<Stores>,
    /// The pods that share them; empty: nobody knows, and no other pod is of it.
    workload: String,
    sinks: Arc<Sinks>,
    by_route: ArcSwap<HashMap<String, Of>>,
    /// Those of no route any more whose stores have not taken a clear: they are told when they are back, and who shares these answers again
    /// tells them first.
    owing: Mutex<Vec<Arc<Shared>>>,
}

/// So many are remembered at most: the oldest go first.
const OWING: usize = 64;

/// Of a route, as requests have it that are under way.
#[derive(Clone)]
struct Of {
    shared: Arc<Shared>,
    routes: Vec<Weak<Route>>,
}

/// Those of one route.
pub struct Shared {
    answers: Answers,
    stores: Arc<Stores>,
    sinks: Arc<Sinks>,
    route: String,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    standing: Standing,
    /// Clears that were asked for, and those that the store has taken.
    clears: (u64, u64),
    /// Whether somebody looks already whether it is back.
    is_looked_for: bool,
}

/// What there is in a store for a request.
pub struct Looked {
    /// An answer, and how old it is.
    pub found: Option<(Arc<Answer>, Duration)>,
    /// Where the answer to it is to be kept; nowhere if the store has said nothing.
    pub place: Option<Place>,
}

/// Where an answer that is asked for now is to be kept.
pub struct Place {
    shared: Arc<Shared>,
    id: Id,
    generation: Generation,
}

/// What became of a clear at stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClearedStores {
    /// The ModelRoutes whose answers are gone there.
    pub done: Vec<String>,
    /// Those whose answers are not, and why: this sidecar clears them before it asks there again, and others may give them until then.
    pub undone: Vec<String>,
}

impl SharedAnswers {
    /// None yet. `workload`: the pods that share answers.
    pub fn new(stores: Arc<Stores>, workload: &str, sinks: &Arc<Sinks>) -> Self {
        Self {
            stores,
            workload: workload.to_owned(),
            sinks: Arc::clone(sinks),
            by_route: ArcSwap::default(),
            owing: Mutex::default(),
        }
    }

    /// Shares for the routes of this configuration from now on.
    pub fn fit(&self, config: &Config) {
        let before = self.by_route.load_full();
        let mut owing = locked(&self.owing);
        owing.retain(|shared| shared.owes());
        owing.extend(
            before
                .values()
                .map(|of| &of.shared)
                .filter(|shared| shared.owes())
                .cloned(),
        );
        let sharing = config
            .routes
            .iter()
            .filter_map(|route| Some((route, route.cache_store.as_ref()?)));
        let now: HashMap<String, Of> = sharing
            .map(|(route, store)| {
                let basis = basis(config, route);
                let answers = self.stores.answers(store, (&self.workload, &route.name, &basis));
                let known = before.get(&route.name);
                let mut of = match known.filter(|known| known.shared.answers.is_same(&answers)) {
                    Some(known) => known.clone(),
                    None => Of {
                        shared: self.shared(&route.name, answers, &owing),
                        routes: Vec::new(),
                    },
                };
                of.routes.retain(|route| route.strong_count() > 0);
                of.routes.push(Arc::downgrade(route));
                (route.name.clone(), of)
            })
            .collect();
        owing.retain(|shared| now.values().all(|of| !Arc::ptr_eq(&of.shared, shared)));
        let most = owing.len().saturating_sub(OWING);
        owing.drain(..most);
        drop(owing);
        if !(now.is_empty() && before.is_empty()) {
            self.by_route.store(Arc::new(now));
        }
    }

    fn shared(&self, route: &str, answers: Answers, owing: &[Arc<Shared>]) -> Arc<Shared> {
        let clock = Clock::start();
        // In whatever store: to clear one too many costs some answers.
        let owes = owing.iter().any(|owing| owing.answers.are_named_as(&answers));
        let shared = Arc::new(Shared {
            answers,
            stores: Arc::clone(&self.stores),
            sinks: Arc::clone(&self.sinks),
            route: route.to_owned(),
            clock,
            state: Mutex::new(State {
                standing: Standing::new(clock.now()),
                clears: (u64::from(owes), 0),
                is_looked_for: true,
            }),
        });
        self.stores.work(Box::pin(come_back(Arc::downgrade(&shared))));
        shared
    }

    /// Those of this route. `None`: it shares none, or has changed since the request began.
    pub fn of(&self, route: &Arc<Route>) -> Option<Arc<Shared>> {
        let by_route = self.by_route.load();
        let of = by_route.get(&route.name)?;
        let is_its = |known: &Weak<Route>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(route));
        of.routes.iter().any(is_its).then(|| Arc::clone(&of.shared))
    }

    /// Clears these in the stores, for all pods: of a route of which any is meant, all, as no store knows which of its answers are whose.
    pub async fn clear(&self, which: &Which) -> ClearedStores {
        let by_route = self.by_route.load_full();
        let mut meant: Vec<_> = by_route.values().map(|of| &of.shared).collect();
        meant.retain(|shared| which.route.as_ref().is_none_or(|route| *route == shared.route));
        meant.sort_by(|one, other| one.route.cmp(&other.route));
        // At once first: nothing of before is given while the stores are asked.
        let clears: Vec<_> = meant.iter().map(|shared| shared.is_to_be_cleared()).collect();
        let cleared = meant
            .into_iter()
            .zip(clears)
            .map(|(shared, clear)| async move { (shared.route.clone(), shared.clear(clear).await) });
        let mut all = ClearedStores::default();
        for (route, cleared) in futures::future::join_all(cleared).await {
            match cleared {
                Ok(()) => all.done.push(route),
                Err(why) => all.undone.push(format!("{route}: {}", why.as_str())),
            }
        }
        all
    }
}

impl Shared {
    /// Looks for the answer to a request of this key.
    pub async fn look(self: &Arc<Self>, key: &Key) -> Looked {
        let nothing = Looked {
            found: None,
            place: None,
        };
        let is_in = {
            let state = locked(&self.state);
            state.standing.is_in() && state.clears.0 <= state.clears.1
        };
        if !is_in {
            self.count(Stored::Unasked);
            return nothing;
        }
        let id = self.answers.id(key);
        match self.answers.look(id, generation()).await {
            Ok((generation, kept)) => {
                let found = self.read(&id, &kept);
                let shared = Arc::clone(self);
                let place = Some(Place { shared, id, generation });
                Looked { found, place }
            }
            Err(why) => {
                self.failed(why);
                nothing
            }
        }
    }

    fn read(&self, id: &Id, kept: &Kept) -> Option<(Arc<Answer>, Duration)> {
        let found = match kept {
            Kept::Nothing => {
                self.count(Stored::Miss);
                return None;
            }
            Kept::Value(value, left) => value::read(id, value).and_then(|told| {
                // Nothing is left for longer than it was good for.
                let age = told.ttl.checked_sub(*left)?;
                Some((Arc::new(answer(&told)?), age))
            }),
            Kept::Foreign => None,
        };
        self.count(if found.is_some() {
            Stored::Hit
        } else {
            Stored::Undecodable
        });
        found
    }

    fn count(&self, what: Stored) {
        self.sinks.cache.stored(what);
    }

    /// It did not answer: nobody asks it until it has answered a look.
    fn failed(self: &Arc<Self>, why: Unanswered) {
        self.count(Stored::Unanswered(why));
        let now = self.clock.now();
        let (is_to_be_told, is_to_be_looked_for) = {
            let mut state = locked(&self.state);
            let is_told = state.standing.failed(why, fastrand::f64(), now);
            (is_told, !std::mem::replace(&mut state.is_looked_for, true))
        };
        if is_to_be_told {
            tracing::warn!(
                route = self.route,
                secret = self.answers.secret(),
                why = why.as_str(),
                "the store that keeps this route's answers does not answer: each sidecar goes on with its own"
            );
        }
        if is_to_be_looked_for {
            self.stores.work(Box::pin(come_back(Arc::downgrade(self))));
        }
    }

    /// Whether the store has not taken a clear yet.
    fn owes(&self) -> bool {
        let clears = locked(&self.state).clears;
        clears.0 > clears.1
    }

    /// From now on nothing is asked before a clear is taken. Returns its number.
    fn is_to_be_cleared(&self) -> u64 {
        let mut state = locked(&self.state);
        state.clears.0 += 1;
        state.clears.0
    }

    async fn clear(self: &Arc<Self>, clear: u64) -> Result<(), Unanswered> {
        match self.answers.clear().await {
            Ok(()) => {
                let taken = &mut locked(&self.state).clears.1;
                *taken = clear.max(*taken);
                Ok(())
            }
            Err(why) => {
                self.failed(why);
                Err(why)
            }
        }
    }

    /// Looks whether it is back, and tells it what it has missed. Says whether it is.
    async fn is_back(self: &Arc<Self>) -> bool {
        let (wanted, taken) = locked(&self.state).clears;
        let looked = async {
            if wanted > taken {
                self.clear(wanted).await?;
            }
            self.answers.look([0; 32], generation()).await.map(|_| ())
        };
        let looked = looked.await;
        let now = self.clock.now();
        match looked {
            Ok(()) => {
                let mut state = locked(&self.state);
                state.is_looked_for = false;
                state.standing.answered(now);
                drop(state);
                tracing::info!(
                    route = self.route,
                    secret = self.answers.secret(),
                    "the store that keeps this route's answers answers"
                );
                true
            }
            Err(why) => {
                self.failed(why);
                false
            }
        }
    }
}

/// Looks again and again until the store is back, or nobody asks there any more.
async fn come_back(of: Weak<Shared>) {
    loop {
        let at = {
            let Some(shared) = of.upgrade() else { return };
            let at = locked(&shared.state).standing.look_at();
            shared.clock.instant(at.unwrap_or(Moment::ZERO))
        };
        tokio::time::sleep_until(at).await;
        let Some(shared) = of.upgrade() else { return };
        if shared.is_back().await {
            return;
        }
    }
}

fn generation() -> Generation {
    Generation::new(fastrand::u128(..))
}

impl Place {
    /// Keeps an answer there that is good for `ttl`: behind, so that nobody waits for it.
    pub fn keep(self, answer: &Arc<Answer>, ttl: Duration) {
        let Self { shared, id, generation } = self;
        let Some(room) = shared.stores.behind(answer.body.len() + HEADS) else {
            return shared.count(Stored::Full);
        };
        let (answer, stores) = (Arc::clone(answer), Arc::clone(&shared.stores));
        let began = shared.clock.now();
        stores.work(Box::pin(async move {
            let value = value::write(&id, &told(&answer, ttl));
            let left = ttl.saturating_sub(shared.clock.now() - began);
            match value {
                None => shared.count(Stored::TooLarge),
                Some(value) => match shared.answers.keep(id, generation, Bytes::from(value), left).await {
                    Ok(true) => shared.count(Stored::Kept),
                    Ok(false) => shared.count(Stored::Cleared),
                    Err(why) => shared.failed(why),
                },
            }
            drop(room);
        }));
    }
}

/// What an answer takes beside its body while it waits, bytes: its headers, and what it is written into.
const HEADS: usize = 1 << 10;

fn told(answer: &Answer, ttl: Duration) -> Told<'_> {
    Told {
        ttl,
        spent: answer.spent,
        request_id: &answer.request_id,
        asked: &answer.asked,
        provider: answer.provider.as_bytes(),
        model: answer.model.as_ref().map(HeaderValue::as_bytes),
        warning: answer.warning.as_ref().map(HeaderValue::as_bytes),
        content_type: answer.content_type.as_ref().map(HeaderValue::as_bytes),
        body: &answer.body,
    }
}

/// `None`: what is said of it is nothing that an answer can say.
fn answer(told: &Told<'_>) -> Option<Answer> {
    let header = |value: Option<&[u8]>| value.map(HeaderValue::from_bytes).transpose().ok();
    Some(Answer {
        request_id: told.request_id.to_owned(),
        asked: told.asked.into(),
        spent: told.spent,
        provider: HeaderValue::from_bytes(told.provider).ok()?,
        model: header(told.model)?,
        warning: header(told.warning)?,
        content_type: header(told.content_type)?,
        body: Bytes::copy_from_slice(told.body),
    })
}
