//! Answers to questions that are alike, in numbers. A configuration in which no route gives any has none of these series.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bowsprit_core::config::{Config, Route};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::kept_labels::{RouteLabel, RouteLabels};
use crate::metrics::{Counters, Labels, OTHER, Registry, set};

/// What is done with the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A question is compared with those that are kept.
    Search,
    /// A question is taken in.
    Insert,
    /// Questions go: too old, for later ones, or as their answers went.
    Delete,
}

impl Work {
    /// All of it.
    pub const ALL: [Self; 3] = [Self::Search, Self::Insert, Self::Delete];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Insert => "insert",
            Self::Delete => "delete",
        }
    }
}

/// What came of a question that no kept answer was the same to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// One that is alike was answered, and its answer was given.
    Hit,
    /// The nearest was not alike enough.
    Far,
    /// There was none that it may be compared with.
    None,
    /// The answer to one that is alike was asked for all the same, and says what that said.
    Right,
    /// And says something else.
    Wrong,
    /// And nobody can say which.
    Unsure,
}

impl Result {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Hit, Self::Far, Self::None, Self::Right, Self::Wrong, Self::Unsure];
    /// Those that there are where no answer is verified: the first of all.
    const UNVERIFIED: usize = 3;

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Far => "far",
            Self::None => "none",
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::Unsure => "unsure",
        }
    }
}

/// Why a question was not compared, or not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Its vectors could not be had.
    Embedding,
    /// They came too late.
    Late,
    /// What came is none that is understood, or has no direction.
    Unreadable,
    /// Too many are waiting for vectors to be kept already.
    Busy,
    /// There is no memory for it.
    NoRoom,
}

impl Error {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Embedding, Self::Late, Self::Unreadable, Self::Busy, Self::NoRoom];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Late => "late",
            Self::Unreadable => "unreadable",
            Self::Busy => "busy",
            Self::NoRoom => "no_room",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkLabel {
    operation: &'static str,
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

type Seconds = Counter<f64, AtomicU64>;

/// Of one route.
struct OfRoute {
    /// In the order of all results; without those of answers that are verified where none is.
    results: Vec<Counter>,
    entries: Gauge,
    bytes: Gauge,
    similarity: Seconds,
}

/// What all routes share.
struct Now {
    work: [(Counter, Seconds); Work::ALL.len()],
    routes: BTreeMap<Arc<str>, OfRoute>,
}

impl OfRoute {
    /// Series that it has, and those of answers that are verified.
    const SERIES: usize = Result::UNVERIFIED + 3;
    const VERIFIED: usize = Result::ALL.len() - Result::UNVERIFIED;
}

/// Families about answers to questions that are alike.
pub struct SemanticAnswers {
    /// These are seldom, and draw on the pool.
    errors: Counters<ReasonLabel>,
    operations: Family<WorkLabel, Counter>,
    seconds: Family<WorkLabel, Seconds>,
    results: Family<RouteLabels, Counter>,
    entries: Family<RouteLabel, Gauge>,
    bytes: Family<RouteLabel, Gauge>,
    similarity: Family<RouteLabel, Seconds>,
    now: ArcSwapOption<Now>,
}

impl SemanticAnswers {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self {
            errors: registry.counters(
                "semantic_cache_errors",
                "Questions that were not compared or not taken in, by why: embedding (their vectors could not be had), late (not in time), unreadable (what came for vectors), busy (too many are waiting to be taken in), no_room (in memory). The requests went on without",
                &["reason"],
            ),
            operations: Family::default(),
            seconds: Family::default(),
            results: Family::default(),
            entries: Family::default(),
            bytes: Family::default(),
            similarity: Family::default(),
            now: ArcSwapOption::empty(),
        };
        registry.register(
            "semantic_cache_operations",
            "Questions that were searched for in the index of routes with a semantic cache, taken into it, and let go of",
            &["operation"],
            new.operations.clone(),
        );
        registry.register(
            "semantic_cache_operation_seconds",
            "Seconds that this took, without asking for vectors",
            &["operation"],
            new.seconds.clone(),
        );
        registry.register(
            "semantic_cache_results",
            "Questions that no kept answer was the same to, by what came of comparing them: hit (the answer to one that is alike was given), far (the nearest was not alike enough), none (there was none to compare with); and of those that were asked for all the same to be verified, right (the answer said what the kept one said), wrong, unsure (one cannot be read, is long, or has no vector)",
            &["route", "result"],
            new.results.clone(),
        );
        registry.register(
            "semantic_cache_entries",
            "Questions in the index now",
            &["route"],
            new.entries.clone(),
        );
        registry.register(
            "semantic_cache_bytes",
            "Bytes that the index takes, with what keeping it takes",
            &["route"],
            new.bytes.clone(),
        );
        registry.register(
            "semantic_cache_similarity",
            "Sum of how alike the hits were, 0 to 1 each: by the number of hits, the average",
            &["route"],
            new.similarity.clone(),
        );
        new
    }

    /// Has series for the routes of this configuration that give such answers, and no others. Returns how many.
    pub fn fit(&self, config: &Config) -> usize {
        let routes = config.routes.iter().filter(|route| route.semantic.is_some());
        let verifies = |route: &Route| route.semantic.as_ref().is_some_and(|terms| terms.verify_percent > 0);
        let (names, verified): (Vec<Arc<str>>, Vec<bool>) = routes
            .map(|route: &Arc<Route>| (Arc::from(route.name.as_str()), verifies(route)))
            .unzip();
        let before = self.now.load_full();
        for gone in before.iter().flat_map(|before| before.routes.keys()) {
            if !names.contains(gone) {
                self.forget(gone);
            }
        }
        if names.is_empty() {
            self.operations.clear();
            self.seconds.clear();
            self.now.store(None);
            return 0;
        }
        let work = Work::ALL.map(|work| {
            let label = WorkLabel {
                operation: work.as_str(),
            };
            (
                self.operations.get_or_create_owned(&label),
                self.seconds.get_or_create_owned(&label),
            )
        });
        // And the one that what is seldom may be folded into.
        let verifying = verified.iter().filter(|verifies| **verifies).count();
        let series = 1 + 2 * Work::ALL.len() + names.len() * OfRoute::SERIES + verifying * OfRoute::VERIFIED;
        let routes = names.into_iter().zip(verified);
        let routes = routes.map(|(name, verifies)| (Arc::clone(&name), self.of(name, verifies)));
        self.now.store(Some(Arc::new(Now {
            work,
            routes: routes.collect(),
        })));
        series
    }

    fn of(&self, route: Arc<str>, verifies: bool) -> OfRoute {
        let (always, verified) = Result::ALL.split_at(Result::UNVERIFIED);
        for result in verified.iter().filter(|_| !verifies) {
            let (route, result) = (Arc::clone(&route), result.as_str());
            self.results.remove(&RouteLabels { route, result });
        }
        let results = always.iter().chain(verified.iter().filter(|_| verifies));
        let results = results.map(|result| {
            let (route, result) = (Arc::clone(&route), result.as_str());
            self.results.get_or_create_owned(&RouteLabels { route, result })
        });
        let results = results.collect();
        let label = RouteLabel { route };
        OfRoute {
            results,
            entries: self.entries.get_or_create_owned(&label),
            bytes: self.bytes.get_or_create_owned(&label),
            similarity: self.similarity.get_or_create_owned(&label),
        }
    }

    fn forget(&self, route: &Arc<str>) {
        for result in Result::ALL {
            let (route, result) = (Arc::clone(route), result.as_str());
            self.results.remove(&RouteLabels { route, result });
        }
        let label = RouteLabel {
            route: Arc::clone(route),
        };
        self.entries.remove(&label);
        self.bytes.remove(&label);
        self.similarity.remove(&label);
    }

    /// So many questions were worked on, which took so long.
    pub fn worked(&self, work: Work, questions: usize, took: Duration) {
        if questions > 0
            && let Some(now) = &*self.now.load()
            && let Some((count, seconds)) = now
                .work
                .iter()
                .zip(Work::ALL)
                .find_map(|(of, w)| (w == work).then_some(of))
        {
            count.inc_by(questions as u64);
            seconds.inc_by(took.as_secs_f64());
        }
    }

    /// What came of a question of this route. `similarity`: of the hit.
    pub fn came(&self, route: &str, result: Result, similarity: f32) {
        self.of_route(route, |of_route| {
            let all = of_route.results.iter().zip(Result::ALL);
            if let Some((counter, _)) = all.into_iter().find(|(_, of)| *of == result) {
                counter.inc();
            }
            if result == Result::Hit {
                of_route.similarity.inc_by(f64::from(similarity.clamp(0.0, 1.0)));
            }
        });
    }

    /// A question was not compared, or not taken in.
    pub fn failed(&self, why: Error) {
        self.errors.get(&ReasonLabel { reason: why.as_str() }).inc();
    }

    /// So many questions of this route are in the index now, which take so many bytes.
    pub fn holds(&self, route: &str, entries: usize, bytes: usize) {
        self.of_route(route, |of_route| {
            set(&of_route.entries, entries);
            set(&of_route.bytes, bytes);
        });
    }

    fn of_route(&self, route: &str, tell: impl FnOnce(&OfRoute)) {
        if let Some(now) = &*self.now.load()
            && let Some(of_route) = now.routes.get(route)
        {
            tell(of_route);
        }
    }
}
