//! What the cache does, in numbers. A configuration in which no route has one has none of these series.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bowsprit_core::config::{Config, Route};
use bowsprit_core::cost::Picodollars;
use bowsprit_core::kept::cache::Bypass;
use bowsprit_core::record::RequestRecord;
use bowsprit_core::share::store::Unanswered;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::kept_labels::{FateLabel, RouteLabel, RouteLabels};
use super::stale::Fate;
use crate::metrics::{Counters, Dollars, Labels, OTHER, Registry, set};

/// What a request of a route with a cache came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It got a kept answer.
    Hit,
    /// It got the answer of the same request that was under way.
    Shared,
    /// It was asked, and its answer may be kept.
    Miss,
    /// It was asked, and the cache had no part in it.
    Bypass,
    /// It wanted a kept answer or none, and there was none.
    Refused,
}

impl Came {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Hit, Self::Shared, Self::Miss, Self::Bypass, Self::Refused];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Shared => "shared",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
            Self::Refused => "refused",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl Labels for ReasonLabel {
    fn provider(&self) -> Option<&str> {
        None
    }

    fn folded(&self) -> Self {
        Self { reason: OTHER }
    }
}

/// What became of an answer at a store that keeps answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It was there.
    Hit,
    /// There was none.
    Miss,
    /// The store was not asked: it has not answered since it failed, or a clear is still to be told.
    Unasked,
    /// It did not answer.
    Unanswered(Unanswered),
    /// What was there could not be read.
    Undecodable,
    /// It is kept there.
    Kept,
    /// It was asked for before a clear, and is not kept.
    Cleared,
    /// Too many were waiting to be told.
    Full,
    /// It is larger than one may be there.
    TooLarge,
}

impl Stored {
    /// All of it.
    pub const ALL: [Self; 13] = [
        Self::Hit,
        Self::Miss,
        Self::Unasked,
        Self::Unanswered(Unanswered::Late),
        Self::Unanswered(Unanswered::Unreachable),
        Self::Unanswered(Unanswered::Refused),
        Self::Unanswered(Unanswered::Garbled),
        Self::Unanswered(Unanswered::Moved),
        Self::Undecodable,
        Self::Kept,
        Self::Cleared,
        Self::Full,
        Self::TooLarge,
    ];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Unasked => "unasked",
            Self::Unanswered(Unanswered::Late) => "late",
            Self::Unanswered(Unanswered::Unreachable) => "unreachable",
            Self::Unanswered(Unanswered::Refused) => "refused",
            Self::Unanswered(Unanswered::Garbled) => "garbled",
            Self::Unanswered(Unanswered::Moved) => "moved",
            Self::Undecodable => "undecodable",
            Self::Kept => "kept",
            Self::Cleared => "cleared",
            Self::Full => "full",
            Self::TooLarge => "too_large",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl Labels for ResultLabel {
    fn provider(&self) -> Option<&str> {
        None
    }

    fn folded(&self) -> Self {
        Self { result: OTHER }
    }
}

/// Of one route.
struct OfRoute {
    came: [Counter; Came::ALL.len()],
    answers: Gauge,
    bytes: Gauge,
    tokens: Counter,
    cost: Dollars,
    embeddings: Option<OfEmbeddings>,
}

/// Of the embeddings of one route.
struct OfEmbeddings {
    /// Inputs that were kept, and those that were not.
    inputs: [Counter; 2],
    vectors: Gauge,
    bytes: Gauge,
}

impl OfRoute {
    /// Series that it has.
    const SERIES: usize = Came::ALL.len() + 4;
    /// And with embeddings.
    const OF_EMBEDDINGS: usize = 4;
}

/// Families about the cache.
pub struct CacheAnswers {
    /// These and the next two are seldom, and draw on the pool.
    fates: Counters<FateLabel>,
    bypasses: Counters<ReasonLabel>,
    stores: Counters<ResultLabel>,
    requests: Family<RouteLabels, Counter>,
    answers: Family<RouteLabel, Gauge>,
    bytes: Family<RouteLabel, Gauge>,
    tokens: Family<RouteLabel, Counter>,
    cost: Family<RouteLabel, Dollars>,
    inputs: Family<RouteLabels, Counter>,
    vectors: Family<RouteLabel, Gauge>,
    vector_bytes: Family<RouteLabel, Gauge>,
    now: ArcSwapOption<BTreeMap<Arc<str>, OfRoute>>,
}

impl CacheAnswers {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self {
            fates: registry.counters(
                "cache_answers",
                "Answers of routes with a cache by what became of them: kept, unfit (the answer did not come to its natural end), too_large, no_room (in memory), evicted (for a later one), expired, dropped (cleared, the route or a provider of it changed, or requests needed the memory), outdated (vectors of a version of the model that its provider has put another in the place of), undecodable (what was kept could not be read, and was asked for anew)",
                &["fate"],
            ),
            bypasses: registry.counters(
                "cache_bypasses",
                "Requests of routes with a cache that went by it, by why: no_store (the caller's word), acts (tools, stored responses), several (n), temperature (it is not 0), too_large, unreadable, unknown_caller (from outside of the pod, without credentials), changed (the route, meanwhile)",
                &["reason"],
            ),
            stores: registry.counters(
                "cache_store",
                "Answers of routes with cache.store by what became of them there: hit, miss, kept, undecodable (what was there could not be read, and was asked for anew), cleared (asked for before a clear, and not kept), full (too many waited to be told), too_large, unasked (the store has not answered since it failed), and why it failed: late, unreachable, refused (it answered with an error), garbled, moved (sent from node to node)",
                &["result"],
            ),
            requests: Family::default(),
            answers: Family::default(),
            bytes: Family::default(),
            tokens: Family::default(),
            cost: Family::default(),
            inputs: Family::default(),
            vectors: Family::default(),
            vector_bytes: Family::default(),
            now: ArcSwapOption::empty(),
        };
        registry.register(
            "cache_requests",
            "Requests of a route with a cache, by what they came to: hit (a kept answer), shared (the answer of the same request that was under way), miss, bypass, refused (only-if-cached, and there was none)",
            &["route", "result"],
            new.requests.clone(),
        );
        registry.register(
            "cache_entries",
            "Answers in the cache now",
            &["route"],
            new.answers.clone(),
        );
        registry.register(
            "cache_bytes",
            "Bytes that cached answers take, with what keeping them takes",
            &["route"],
            new.bytes.clone(),
        );
        registry.register(
            "cache_saved_tokens",
            "Tokens that were not spent again: those that the answers given from the cache were billed with",
            &["route"],
            new.tokens.clone(),
        );
        registry.register(
            "cache_saved_cost_usd",
            "US dollars that were not spent again: what the answers given from the cache cost, where that is known",
            &["route"],
            new.cost.clone(),
        );
        registry.register(
            "embedding_cache_inputs",
            "Inputs of requests for embeddings of a route that keeps these, by whether its vector was kept or being asked for already (hit), or asked for (miss)",
            &["route", "result"],
            new.inputs.clone(),
        );
        registry.register(
            "embedding_cache_entries",
            "Vectors in the cache now",
            &["route"],
            new.vectors.clone(),
        );
        registry.register(
            "embedding_cache_bytes",
            "Bytes that cached vectors take, with what keeping them takes",
            &["route"],
            new.vector_bytes.clone(),
        );
        new
    }

    /// Has series for the routes of this configuration that have a cache, and no others. Returns how many.
    pub fn fit(&self, config: &Config) -> usize {
        let caches = |route: &&Arc<Route>| route.cache.is_some();
        let caching: Vec<_> = config.routes.iter().filter(caches).collect();
        let names: Vec<Arc<str>> = caching.iter().map(|route| route.name.as_str().into()).collect();
        let embeds = |route: &Route| route.cache.is_some_and(|cache| cache.embeddings.is_some());
        let before = self.now.load_full();
        for gone in before.iter().flat_map(|before| before.keys()) {
            if !names.contains(gone) {
                self.forget(gone);
            }
        }
        if names.is_empty() {
            self.now.store(None);
            return 0;
        }
        // And those that what is seldom may be folded into.
        let embedding = caching.iter().filter(|route| embeds(route)).count();
        let stores = usize::from(caching.iter().any(|route| route.cache_store.is_some()));
        let series = 2 + stores + names.len() * OfRoute::SERIES + embedding * OfRoute::OF_EMBEDDINGS;
        let all = names.into_iter().zip(&caching);
        let all = all.map(|(name, route)| (Arc::clone(&name), self.of(name, embeds(route))));
        self.now.store(Some(Arc::new(all.collect())));
        series
    }

    fn of(&self, route: Arc<str>, embeds: bool) -> OfRoute {
        let came = Came::ALL.map(|came| {
            let (route, result) = (Arc::clone(&route), came.as_str());
            self.requests.get_or_create_owned(&RouteLabels { route, result })
        });
        let inputs = |result| {
            let route = Arc::clone(&route);
            self.inputs.get_or_create_owned(&RouteLabels { route, result })
        };
        let inputs = embeds.then(|| [inputs(Came::Hit.as_str()), inputs(Came::Miss.as_str())]);
        let label = RouteLabel { route };
        if inputs.is_none() {
            self.forget_embeddings(&label.route);
        }
        OfRoute {
            embeddings: inputs.map(|inputs| OfEmbeddings {
                inputs,
                vectors: self.vectors.get_or_create_owned(&label),
                bytes: self.vector_bytes.get_or_create_owned(&label),
            }),
            came,
            answers: self.answers.get_or_create_owned(&label),
            bytes: self.bytes.get_or_create_owned(&label),
            tokens: self.tokens.get_or_create_owned(&label),
            cost: self.cost.get_or_create_owned(&label),
        }
    }

    fn forget(&self, route: &Arc<str>) {
        for came in Came::ALL {
            let (route, result) = (Arc::clone(route), came.as_str());
            self.requests.remove(&RouteLabels { route, result });
        }
        let label = RouteLabel {
            route: Arc::clone(route),
        };
        self.answers.remove(&label);
        self.bytes.remove(&label);
        self.tokens.remove(&label);
        self.cost.remove(&label);
        self.forget_embeddings(route);
    }

    fn forget_embeddings(&self, route: &Arc<str>) {
        for came in [Came::Hit, Came::Miss] {
            let (route, result) = (Arc::clone(route), came.as_str());
            self.inputs.remove(&RouteLabels { route, result });
        }
        let label = RouteLabel {
            route: Arc::clone(route),
        };
        self.vectors.remove(&label);
        self.vector_bytes.remove(&label);
    }

    /// So many vectors of this route are kept now, which take so many bytes.
    pub fn holds_vectors(&self, route: &str, vectors: usize, bytes: usize) {
        self.of_route(route, |of_route| {
            if let Some(embeddings) = &of_route.embeddings {
                set(&embeddings.vectors, vectors);
                set(&embeddings.bytes, bytes);
            }
        });
    }

    /// Of so many inputs of a request the vectors were kept, and of so many they were asked for. The former had cost this.
    pub fn embedded(&self, route: &str, (hits, misses): (usize, usize), saved: (u64, Picodollars)) {
        self.of_route(route, |of_route| {
            if let Some(OfEmbeddings {
                inputs: [hit, miss], ..
            }) = &of_route.embeddings
            {
                hit.inc_by(hits as u64);
                miss.inc_by(misses as u64);
            }
            of_route.tokens.inc_by(saved.0);
            of_route.cost.inc_by(saved.1.into());
        });
    }

    /// Counts what became of some answers.
    pub fn count(&self, fate: Fate, answers: usize) {
        let label = FateLabel { fate: fate.as_str() };
        self.fates.get(&label).inc_by(answers as u64);
    }

    /// What became of an answer at a store that keeps answers.
    pub fn stored(&self, what: Stored) {
        self.stores.get(&ResultLabel { result: what.as_str() }).inc();
    }

    /// So many of this route are kept now, which take so many bytes.
    pub fn holds(&self, route: &str, answers: usize, bytes: usize) {
        self.of_route(route, |of_route| {
            set(&of_route.answers, answers);
            set(&of_route.bytes, bytes);
        });
    }

    /// A request of this route came to this.
    pub fn came(&self, route: &str, came: Came) {
        let place = Came::ALL.iter().position(|known| *known == came);
        self.of_route(route, |of_route| {
            if let Some(counter) = place.and_then(|place| of_route.came.get(place)) {
                counter.inc();
            }
        });
    }

    /// A request of this route went by the cache.
    pub fn bypassed(&self, route: &str, why: Bypass) {
        self.came(route, Came::Bypass);
        self.bypasses.get(&ReasonLabel { reason: why.as_str() }).inc();
    }

    /// Counts what a request that got a kept answer did not spend.
    pub fn request(&self, record: &RequestRecord<'_>) {
        if let Some(cached) = &record.cache {
            self.of_route(record.route, |of_route| {
                of_route.tokens.inc_by(cached.saved_tokens);
                of_route.cost.inc_by(cached.saved_cost.into());
            });
        }
    }

    fn of_route(&self, route: &str, tell: impl FnOnce(&OfRoute)) {
        if let Some(now) = &*self.now.load()
            && let Some(of_route) = now.get(route)
        {
            tell(of_route);
        }
    }
}
