//! How the vectors of next models are filled, in numbers. Routes without a next model have none of these series.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bowsprit_core::config::Config;
use bowsprit_core::kept::refill::Count;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::kept_labels::RouteLabel;
use crate::metrics::{Registry, set};

/// Seconds, summed up.
type Seconds = Counter<f64, AtomicU64>;

/// What a job comes to.
pub const STATUSES: [&str; 4] = ["done", "again", "given_up", "refused"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    route: Arc<str>,
    status: &'static str,
}

/// Of one route.
struct OfRoute {
    jobs: [Counter; STATUSES.len()],
    seconds: Seconds,
    depth: Gauge,
    workers: Gauge,
    filled: Gauge,
    known: Gauge,
    entries: Gauge,
}

impl OfRoute {
    /// Series that it has.
    const SERIES: usize = STATUSES.len() + 6;
}

/// Families about refills.
pub struct Refilled {
    jobs: Family<JobLabels, Counter>,
    seconds: Family<RouteLabel, Seconds>,
    depth: Family<RouteLabel, Gauge>,
    workers: Family<RouteLabel, Gauge>,
    filled: Family<RouteLabel, Gauge>,
    known: Family<RouteLabel, Gauge>,
    entries: Family<RouteLabel, Gauge>,
    now: ArcSwapOption<BTreeMap<Arc<str>, OfRoute>>,
}

impl Refilled {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self {
            jobs: Family::default(),
            seconds: Family::default(),
            depth: Family::default(),
            workers: Family::default(),
            filled: Family::default(),
            known: Family::default(),
            entries: Family::default(),
            now: ArcSwapOption::empty(),
        };
        registry.register(
            "embedding_refill_jobs",
            "Inputs whose vectors of a route's next model were asked for in the background, by what came of it: done, again (it failed and is tried later), given_up (it failed too often, or there is no room), refused (by a limit or a budget, and waits)",
            &["route", "status"],
            new.jobs.clone(),
        );
        registry.register(
            "embedding_refill_job_seconds",
            "Seconds that the requests for them took",
            &["route"],
            new.seconds.clone(),
        );
        for (name, help, family) in [
            (
                "embedding_refill_queue_depth",
                "Inputs that wait to be asked for",
                &new.depth,
            ),
            (
                "embedding_refill_workers",
                "Requests for them that are out now",
                &new.workers,
            ),
            (
                "embedding_refill_filled",
                "Of the inputs that had vectors of the old model when the filling began, those that need none of the next one any more",
                &new.filled,
            ),
            (
                "embedding_refill_known",
                "Inputs that had vectors of the old model when the filling began",
                &new.known,
            ),
            (
                "embedding_refill_entries",
                "Vectors of the next model that are kept now",
                &new.entries,
            ),
        ] {
            registry.register(name, help, &["route"], family.clone());
        }
        new
    }

    /// Has series for the routes of this configuration that have a next model, and no others. Returns how many.
    pub fn fit(&self, config: &Config) -> usize {
        let routes = config.routes.iter().filter(|route| route.next.is_some());
        let names: Vec<Arc<str>> = routes.map(|route| route.name.as_str().into()).collect();
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
        let series = names.len() * OfRoute::SERIES;
        let routes = names.into_iter().map(|name| (Arc::clone(&name), self.of(name)));
        self.now.store(Some(Arc::new(routes.collect())));
        series
    }

    fn of(&self, route: Arc<str>) -> OfRoute {
        let jobs = STATUSES.map(|status| {
            let route = Arc::clone(&route);
            self.jobs.get_or_create_owned(&JobLabels { route, status })
        });
        let label = RouteLabel { route };
        OfRoute {
            jobs,
            seconds: self.seconds.get_or_create_owned(&label),
            depth: self.depth.get_or_create_owned(&label),
            workers: self.workers.get_or_create_owned(&label),
            filled: self.filled.get_or_create_owned(&label),
            known: self.known.get_or_create_owned(&label),
            entries: self.entries.get_or_create_owned(&label),
        }
    }

    fn forget(&self, route: &Arc<str>) {
        for status in STATUSES {
            let route = Arc::clone(route);
            self.jobs.remove(&JobLabels { route, status });
        }
        let label = RouteLabel {
            route: Arc::clone(route),
        };
        self.seconds.remove(&label);
        for family in [&self.depth, &self.workers, &self.filled, &self.known, &self.entries] {
            family.remove(&label);
        }
    }

    /// A batch of this route has ended, after so long.
    pub fn ended(&self, route: &str, count: Count, took: Duration) {
        self.of_route(route, |of| {
            let counts = [count.done, count.again, count.given_up, count.refused];
            for (counter, count) in of.jobs.iter().zip(counts) {
                counter.inc_by(count as u64);
            }
            of.seconds.inc_by(took.as_secs_f64());
        });
    }

    /// How it stands: jobs that wait, batches that are out, and how much of what is there.
    pub fn is(&self, route: &str, depth: usize, workers: usize, (filled, known): (usize, usize)) {
        self.of_route(route, |of| {
            set(&of.depth, depth);
            set(&of.workers, workers);
            set(&of.filled, filled);
            set(&of.known, known);
        });
    }

    /// So many vectors of the next model are kept now.
    pub fn holds(&self, route: &str, entries: usize) {
        self.of_route(route, |of| set(&of.entries, entries));
    }

    fn of_route(&self, route: &str, tell: impl FnOnce(&OfRoute)) {
        if let Some(now) = &*self.now.load()
            && let Some(of_route) = now.get(route)
        {
            tell(of_route);
        }
    }
}
