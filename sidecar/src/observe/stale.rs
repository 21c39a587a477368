//! What becomes of the answers that are kept for an outage, in numbers. A configuration in which no route keeps any has none
//! of these series.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bowsprit_core::config::Config;
use bowsprit_core::record::RequestRecord;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::kept_labels::{FateLabel, RouteLabel, RouteLabels};
use crate::metrics::{Counters, Registry, set};

/// What becomes of an answer of a route that keeps some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is kept.
    Kept,
    /// It, or its request, is not one to give again.
    Unfit,
    /// It is larger than one answer may be.
    TooLarge,
    /// There is no memory for it.
    NoRoom,
    /// It had to go for a later one.
    Evicted,
    /// It grew too old.
    Expired,
    /// It could not be read when it was wanted.
    Undecodable,
    /// It had to go: the provider answers with another version of its model.
    Outdated,
    /// It had to go: its route or a provider of it has changed, or memory was needed for requests.
    Dropped,
}

impl Fate {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Kept,
        Self::Unfit,
        Self::TooLarge,
        Self::NoRoom,
        Self::Evicted,
        Self::Expired,
        Self::Undecodable,
        Self::Outdated,
        Self::Dropped,
    ];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Unfit => "unfit",
            Self::TooLarge => "too_large",
            Self::NoRoom => "no_room",
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::Undecodable => "undecodable",
            Self::Outdated => "outdated",
            Self::Dropped => "dropped",
        }
    }
}

/// What a request got when every candidate of its route was down.
pub const RESULTS: [&str; 2] = ["served", "none"];

/// Of one route.
struct OfRoute {
    met: [Counter; RESULTS.len()],
    answers: Gauge,
    bytes: Gauge,
}

impl OfRoute {
    /// Series that it has.
    const SERIES: usize = RESULTS.len() + 2;
}

/// What is counted while a route keeps answers.
struct Counted {
    kept: Counter,
    routes: BTreeMap<Arc<str>, OfRoute>,
}

/// Families about kept answers.
pub struct StaleAnswers {
    /// That answers are kept has a series of its own; the other fates are seldom and draw on the pool.
    fates: Counters<FateLabel>,
    routes: Family<RouteLabels, Counter>,
    answers: Family<RouteLabel, Gauge>,
    bytes: Family<RouteLabel, Gauge>,
    now: ArcSwapOption<Counted>,
}

impl StaleAnswers {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self {
            fates: registry.counters(
                "kept_answers",
                "Answers of routes with staleIfError by what became of them: kept, unfit (the request acts, or the answer did not come to its natural end), too_large, no_room (in memory), evicted (for a later one), expired, dropped (the route or a provider of it changed, or requests needed the memory)",
                &["fate"],
            ),
            routes: Family::default(),
            answers: Family::default(),
            bytes: Family::default(),
            now: ArcSwapOption::empty(),
        };
        registry.register(
            "stale_answers",
            "Requests of a route with staleIfError that met an outage of all its candidates, by what they got: served (the last good answer to the same request), none (there was none)",
            &["route", "result"],
            new.routes.clone(),
        );
        registry.register(
            "kept_answers_held",
            "Answers that are kept now, for the time when every candidate of their route is down",
            &["route"],
            new.answers.clone(),
        );
        registry.register(
            "kept_answers_bytes",
            "Bytes that kept answers take, with what keeping them takes",
            &["route"],
            new.bytes.clone(),
        );
        new
    }

    /// Has series for the routes of this configuration that keep answers, and no others. Returns how many.
    pub fn fit(&self, config: &Config) -> usize {
        let keeps = |route: &&Arc<bowsprit_core::config::Route>| route.stale_if_error.is_some();
        let names: Vec<Arc<str>> = config
            .routes
            .iter()
            .filter(keeps)
            .map(|route| route.name.as_str().into())
            .collect();
        let before = self.now.load_full();
        for gone in before.iter().flat_map(|before| before.routes.keys()) {
            if !names.contains(gone) {
                self.forget(gone);
            }
        }
        if names.is_empty() {
            self.now.store(None);
            return 0;
        }
        // That of kept answers, and the one that seldom fates may be folded into.
        let series = 2 + names.len() * OfRoute::SERIES;
        let fate = Fate::Kept.as_str();
        self.now.store(Some(Arc::new(Counted {
            kept: self.fates.fixed(&FateLabel { fate }),
            routes: names
                .into_iter()
                .map(|route| (Arc::clone(&route), self.of(route)))
                .collect(),
        })));
        series
    }

    fn of(&self, route: Arc<str>) -> OfRoute {
        let met = RESULTS.map(|result| {
            let route = Arc::clone(&route);
            self.routes.get_or_create_owned(&RouteLabels { route, result })
        });
        let label = RouteLabel { route };
        OfRoute {
            met,
            answers: self.answers.get_or_create_owned(&label),
            bytes: self.bytes.get_or_create_owned(&label),
        }
    }

    fn forget(&self, route: &Arc<str>) {
        for result in RESULTS {
            let route = Arc::clone(route);
            self.routes.remove(&RouteLabels { route, result });
        }
        let label = RouteLabel {
            route: Arc::clone(route),
        };
        self.answers.remove(&label);
        self.bytes.remove(&label);
    }

    /// Counts what became of some answers.
    pub fn count(&self, fate: Fate, answers: usize) {
        let answers = answers as u64;
        match (&*self.now.load(), fate) {
            (Some(now), Fate::Kept) => now.kept.inc_by(answers),
            _ => self.fates.get(&FateLabel { fate: fate.as_str() }).inc_by(answers),
        };
    }

    /// So many of this route are kept now, which take so many bytes.
    pub fn holds(&self, route: &str, answers: usize, bytes: usize) {
        if let Some(now) = &*self.now.load()
            && let Some(of_route) = now.routes.get(route)
        {
            set(&of_route.answers, answers);
            set(&of_route.bytes, bytes);
        }
    }

    /// A request of this route met an outage, and there was no answer to give.
    pub fn missed(&self, route: &str) {
        self.met(route, |[_, none]| none);
    }

    /// Counts a request that got a kept answer.
    pub fn request(&self, record: &RequestRecord<'_>) {
        if record.stale.is_some() {
            self.met(record.route, |[served, _]| served);
        }
    }

    fn met(&self, route: &str, which: impl Fn(&[Counter; RESULTS.len()]) -> &Counter) {
        if let Some(now) = &*self.now.load()
            && let Some(of_route) = now.routes.get(route)
        {
            which(&of_route.met).inc();
        }
    }
}
