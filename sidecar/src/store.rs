//! Stores that count limits of the fleet, and that keep answers: Redis, Valkey, or a cluster of either.
//!
//! One [`Store`] for each place that ProviderConfigs or ModelRoutes name, with one connection to each of its nodes ([`link`]) that all
//! requests share; those for answers are others than those for limits, as an answer is large and must not stand before a limit. A
//! [`Limit`] is what one provider has counted there, [`Answers`] what a route keeps there. What answers mean, when nobody asks, and what is
//! told afterwards is decided in [`bowsprit_core::share::store`] and [`bowsprit_core::kept::shared`]; here it is sent and read, each
//! question within its deadline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bowsprit_core::config::{LimitStore, Provider};
use bowsprit_core::kept::shared::Names;
use bowsprit_core::limits::limiter::{Limited, LimiterSettings, Need, Which};
use bowsprit_core::share::store::Unanswered;
use bowsprit_core::share::store::script::{Amounts, Apart, Keys, Named, Place};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::credentials::KeyFiles;
use crate::limits::STORE_BEHIND;
use crate::net::client::Connections;
use crate::sync::locked;

mod answers;
mod ask;
mod link;
mod nodes;
mod question;
mod reach;
mod whereabouts;

pub use answers::{Answers, Behind, Kept};
pub use nodes::Work;

use answers::Wanted;
use nodes::{Places, Store};
use question::{Counted, Question, Wished, whole};
use whereabouts::Whereabouts;

/// The stores that a tenant's configuration names.
pub struct Stores {
    namespace: String,
    /// Tells this sidecar's places from others'.
    sidecar: u64,
    keys: Arc<KeyFiles>,
    connections: Arc<Connections>,
    named: Mutex<Vec<Weak<Store<Question>>>>,
    keeping: Mutex<Vec<Weak<Store<Wanted>>>>,
    /// Bytes of answers that may wait to be told.
    behind: Arc<Semaphore>,
    links: mpsc::UnboundedSender<Work>,
    to_run: Mutex<Option<mpsc::UnboundedReceiver<Work>>>,
    /// Rings when it is to be looked at who asks: a store is named, or has failed.
    pub news: Arc<Notify>,
}

/// What one provider's limits, or a named limit, are in the store.
pub struct Limit {
    at: Whereabouts<Question>,
    counted: Arc<Counted>,
    /// Of a named limit: how it is called.
    named: Option<Called>,
    sidecar: u64,
    places: AtomicU64,
    news: Arc<Notify>,
}

/// How a named limit is called among all limits of the fleet.
#[derive(Debug, PartialEq, Eq)]
struct Called {
    namespace: String,
    limit: Arc<str>,
}

impl Stores {
    /// No store yet. `namespace`: where this sidecar is; limits of two namespaces are never one. `chance`: any number.
    pub fn new(namespace: &str, keys: Arc<KeyFiles>, connections: Arc<Connections>, chance: u64) -> Arc<Self> {
        let (links, to_run) = mpsc::unbounded_channel();
        Arc::new(Self {
            namespace: namespace.to_owned(),
            sidecar: chance,
            keys,
            connections,
            named: Mutex::default(),
            keeping: Mutex::default(),
            behind: Arc::new(Semaphore::new(STORE_BEHIND)),
            links,
            to_run: Mutex::new(Some(to_run)),
            news: Arc::default(),
        })
    }

    /// What this provider's limits are in its store; `None` where it has none. `before`: what they were.
    pub fn limit(&self, provider: &Provider, before: Option<&Arc<Limit>>) -> Option<Arc<Limit>> {
        let settings = provider.limit_store.as_ref()?;
        let keys = Keys::of_provider(&self.namespace, &provider.name);
        Some(self.counted((settings, keys, provider.limits), None, before))
    }

    /// What a named limit of this full name is in this store. `before`: what it was.
    pub fn named_limit(
        &self,
        settings: &LimitStore,
        (name, limits): (&Arc<str>, LimiterSettings),
        before: Option<&Arc<Limit>>,
    ) -> Arc<Limit> {
        let called = Called {
            namespace: self.namespace.clone(),
            limit: Arc::clone(name),
        };
        let keys = Keys::of_limit(&self.namespace, name, None);
        self.counted((settings, keys, limits), Some(called), before)
    }

    fn counted(
        &self,
        (settings, keys, limits): (&LimitStore, Keys, LimiterSettings),
        called: Option<Called>,
        before: Option<&Arc<Limit>>,
    ) -> Arc<Limit> {
        let counted = Counted { keys, limits };
        let same = |limit: &&Arc<Limit>| limit.at.store.settings == *settings && *limit.counted == counted;
        if let Some(limit) = before.filter(same) {
            return Arc::clone(limit);
        }
        self.news.notify_one();
        Arc::new(Limit {
            at: Whereabouts::new(self.places().store(&self.named, settings)),
            counted: Arc::new(counted),
            named: called,
            sidecar: self.sidecar,
            places: AtomicU64::new(0),
            news: Arc::clone(&self.news),
        })
    }

    /// What a route keeps in this store. `workload` and `basis`: see [`Names::of_route`].
    pub fn answers(&self, settings: &LimitStore, (workload, route, basis): (&str, &str, &str)) -> Answers {
        let names = Names::of_route(&self.namespace, workload, route, basis);
        Answers::new(self.places().store(&self.keeping, settings), names)
    }

    /// Room for an answer of so many bytes to wait until it is told. `None`: too many are waiting.
    pub fn behind(&self, bytes: usize) -> Option<Behind> {
        Behind::take(&self.behind, bytes)
    }

    fn places(&self) -> Places<'_> {
        Places {
            keys: &self.keys,
            connections: &self.connections,
            links: &self.links,
        }
    }

    /// Does what nobody waits for, beside the connections.
    pub fn work(&self, work: Work) {
        // The receiver lives as long as the process; it ends with the tests that do not run it.
        let _ = self.links.send(work);
    }

    /// Keeps the connections. Ends never.
    pub async fn run(self: Arc<Self>) {
        let Some(mut to_run) = locked(&self.to_run).take() else {
            return std::future::pending().await;
        };
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(link) = to_run.recv() => running.push(link),
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
    }
}

impl Limit {
    /// Who is told apart by it, as the store knows them.
    pub fn apart(&self, apart: Apart) -> Counting {
        let Some(named) = &self.named else {
            return self.whole();
        };
        Counting(Arc::new(Counted {
            keys: Keys::of_limit(&named.namespace, &named.limit, Some(apart)),
            limits: self.counted.limits,
        }))
    }

    /// The limit as one count.
    pub fn whole(&self) -> Counting {
        Counting(Arc::clone(&self.counted))
    }

    /// Asks for room for one request of so many tokens, within the deadline.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn take(self: &Arc<Self>, tokens: u64) -> Result<Result<Taken, Limited>, Unanswered> {
        self.take_of(&self.whole(), tokens.into()).await
    }

    /// Asks for room for one request in this count, within the deadline.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn take_of(self: &Arc<Self>, of: &Counting, need: Need) -> Result<Result<Taken, Limited>, Unanswered> {
        let (place, amounts) = (self.place(), self.most(need));
        let heard = self.ask(of, Wished::Take { amounts, place }).await?;
        Ok(heard.map(|()| Taken {
            of: Arc::clone(self),
            counting: of.clone(),
            place,
            amounts,
            is_counted: true,
            is_given_back: false,
        }))
    }

    /// What a request holds that was admitted by this sidecar's share: it is in nobody's count yet.
    pub fn by_share(self: &Arc<Self>, tokens: u64) -> Taken {
        self.by_share_of(self.whole(), tokens.into())
    }

    /// The same, in this count.
    pub fn by_share_of(self: &Arc<Self>, counting: Counting, need: Need) -> Taken {
        Taken {
            place: self.place(),
            of: Arc::clone(self),
            counting,
            amounts: self.most(need),
            is_counted: false,
            is_given_back: false,
        }
    }

    /// Tells what was used without asking, and which places are in use. Within the deadline.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn keep(&self, (requests, tokens): (u64, u64), places: &[Place]) -> Result<(), Unanswered> {
        self.keep_of(&self.whole(), [requests, tokens, 0, 0, 0], places).await
    }

    /// The same, of this count.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn keep_of(&self, of: &Counting, amounts: Amounts<u64>, places: &[Place]) -> Result<(), Unanswered> {
        let places = places.into();
        let heard = self.ask(of, Wished::Keep { amounts, places }).await?;
        heard.map_err(|_| Unanswered::Garbled)
    }

    /// Rings [`Stores::news`].
    pub fn has_news(&self) {
        self.news.notify_one();
    }

    /// Whether places are limited, so that they must be kept.
    pub fn has_places(&self) -> bool {
        self.counted.limits.concurrent.is_some()
    }

    /// The Secret that says where the store is.
    pub fn secret(&self) -> &str {
        self.at.store.reach.secret()
    }

    /// What a request takes of each rate that is limited; of none more than an hour's worth, which bounds the debt: what that forgave
    /// would flow back on top.
    fn most(&self, need: Need) -> Amounts<u64> {
        Which::RATES.map(|which| {
            let limit = self.counted.limits.amount(which).unwrap_or(0);
            need.of(which).min(limit.saturating_mul(60))
        })
    }

    fn place(&self) -> Place {
        Place {
            of: self.sidecar,
            number: self.places.fetch_add(1, Ordering::Relaxed),
        }
    }

    async fn ask(&self, of: &Counting, wished: Wished) -> Result<Result<(), Limited>, Unanswered> {
        let asked = self
            .at
            .ask(self.at.store.settings.deadline, |named, for_once, asker| Question {
                of: Arc::clone(&of.0),
                wished: wished.clone(),
                named,
                for_once,
                asker: Some(asker),
            });
        asked.await
    }

    /// Gives back, without waiting for an answer: what is lost is a minute's place and some of a bucket.
    fn give(&self, of: &Counting, amounts: Amounts<i64>, place: Place) {
        if amounts == [0; 5] && !self.has_places() {
            return;
        }
        let _ = self.at.link().ask(Question {
            of: Arc::clone(&of.0),
            wished: Wished::Give { amounts, place },
            named: Named::Sha,
            for_once: false,
            asker: None,
        });
    }
}

/// One count of a limit: of all together, or of one that is told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counting(Arc<Counted>);

/// What one request holds in the store. Given back whole on drop, as if never used.
pub struct Taken {
    of: Arc<Limit>,
    counting: Counting,
    place: Place,
    amounts: Amounts<u64>,
    /// Whether the store has counted it.
    is_counted: bool,
    is_given_back: bool,
}

impl Taken {
    /// Its place.
    pub fn place(&self) -> Place {
        self.place
    }

    /// In which count it is.
    pub fn counting(&self) -> &Counting {
        &self.counting
    }

    /// The request has ended and used so many tokens; where nobody knows, what was taken stands.
    pub fn used(self, tokens: Option<u64>) {
        match tokens {
            Some(tokens) => self.used_as(tokens.into()),
            None => self.stands(),
        }
    }

    /// The request has ended and used so much.
    pub fn used_as(mut self, used: Need) {
        let used = self.of.most(used);
        let mut left = self.amounts.map(whole);
        for (left, used) in left.iter_mut().zip(used) {
            *left -= whole(used);
        }
        self.give(left);
    }

    fn stands(mut self) {
        self.give([0; 5]);
    }

    fn give(&mut self, amounts: Amounts<i64>) {
        self.is_given_back = true;
        let amounts = if self.is_counted { amounts } else { [0; 5] };
        self.of.give(&self.counting, amounts, self.place);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.is_given_back {
            self.give(self.amounts.map(whole));
        }
    }
}
