//! Requests and exchanges against the objectives of their ModelRoute and ProviderConfig, counted good or bad. Judged here and
//! not from histograms, so that an objective may be any time and is exact.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bowsprit_core::config::{Config, Slo as Terms};
use bowsprit_core::record::{AttemptRecord, RequestRecord};
use bowsprit_core::slo::{self, Objective, Verdicts};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::metrics::Registry;

/// What an objective can be of.
pub const OBJECTS: [&str; 2] = [slo::PROVIDER, slo::ROUTE];
/// How a request or exchange is judged.
pub const RESULTS: [&str; 2] = ["good", "bad"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    object: &'static str,
    name: Arc<str>,
    objective: &'static str,
    result: &'static str,
}

/// An object's terms, and the counters of its objectives: good and bad.
struct Judged {
    terms: Terms,
    counters: Vec<(Objective, [Counter; 2])>,
    labels: Vec<Labels>,
}

impl Judged {
    fn new(family: &Family<Labels, Counter>, object: &'static str, name: &str, terms: Terms) -> Self {
        let name: Arc<str> = name.into();
        let mut labels = Vec::new();
        let counters = slo::objectives(&terms).map(|(objective, _)| {
            let counter = RESULTS.map(|result| {
                let one = Labels {
                    object,
                    name: Arc::clone(&name),
                    objective: objective.as_str(),
                    result,
                };
                let counter = family.get_or_create_owned(&one);
                labels.push(one);
                counter
            });
            (objective, counter)
        });
        Self {
            counters: counters.collect(),
            terms,
            labels,
        }
    }

    fn count(&self, verdicts: Verdicts) {
        for (objective, is_good) in verdicts {
            let Some(is_good) = is_good else { continue };
            let counters = self.counters.iter().find(|(known, _)| *known == objective);
            if let Some((_, [good, bad])) = counters {
                if is_good { good } else { bad }.inc();
            }
        }
    }
}

/// What was counted of one objective.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// One of [`OBJECTS`].
    pub object: &'static str,
    /// The object's name.
    pub name: String,
    /// Which of its objectives.
    pub objective: &'static str,
    /// The time over which it must hold.
    pub window: Duration,
    /// Good and bad events since it came into force here.
    pub counts: [u64; 2],
}

/// Every object that has an objective.
#[derive(Default)]
struct Objectives {
    providers: HashMap<String, Judged>,
    routes: HashMap<String, Judged>,
}

impl Objectives {
    fn labels(&self) -> impl Iterator<Item = &Labels> {
        let all = self.providers.values().chain(self.routes.values());
        all.flat_map(|judged| &judged.labels)
    }
}

/// The family about objectives. Its series come and go with the configuration alone.
#[derive(Default)]
pub struct Slos {
    family: Family<Labels, Counter>,
    /// Nothing where no object has one.
    now: ArcSwapOption<Objectives>,
    /// Whether there is any: what a configuration without objectives pays for each request is one look at this.
    any: AtomicBool,
}

impl Slos {
    /// Registers the family.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register(
            "slo_events",
            "Exchanges with a provider and requests of a route that have an objective (spec.slo), by whether they were as it wants them; what the caller got wrong or left does not count",
            &["object", "name", "objective", "result"],
            new.family.clone(),
        );
        new
    }

    /// Takes the objectives of a configuration, and gives how many series they are. Counts of what it still has go on.
    pub fn fit(&self, config: &Config) -> usize {
        let judged = |object, name: &str, terms: Option<Terms>| {
            terms.map(|terms| (name.to_owned(), Judged::new(&self.family, object, name, terms)))
        };
        let [provider, route] = OBJECTS;
        let providers = config.providers.iter();
        let routes = config.routes.iter();
        let new = Objectives {
            providers: providers.filter_map(|it| judged(provider, &it.name, it.slo)).collect(),
            routes: routes.filter_map(|it| judged(route, &it.name, it.slo)).collect(),
        };
        let series = new.labels().count();
        let new = (series > 0).then(|| Arc::new(new));
        let before = self.now.swap(new.clone());
        self.any.store(new.is_some(), Ordering::Relaxed);
        for labels in before.iter().flat_map(|before| before.labels()) {
            if !new.iter().flat_map(|new| new.labels()).any(|kept| kept == labels) {
                self.family.remove(labels);
            }
        }
        series
    }

    /// What was counted so far of each objective in force, in a fixed order.
    pub fn counted(&self) -> Vec<Counted> {
        let now = self.now.load_full();
        let [provider, route] = OBJECTS;
        let all = now.iter().flat_map(|now| {
            let providers = now.providers.iter().map(|(name, judged)| (provider, name, judged));
            providers.chain(now.routes.iter().map(|(name, judged)| (route, name, judged)))
        });
        let all = all.flat_map(|(object, name, judged)| {
            let counters = judged.counters.iter();
            counters.map(move |(objective, [good, bad])| Counted {
                object,
                name: name.clone(),
                objective: objective.as_str(),
                window: judged.terms.window,
                counts: [good.get(), bad.get()],
            })
        });
        let mut all: Vec<Counted> = all.collect();
        all.sort_unstable_by(|a, b| (a.object, &a.name, a.objective).cmp(&(b.object, &b.name, b.objective)));
        all
    }

    /// Judges a request.
    pub fn request(&self, record: &RequestRecord<'_>) {
        if self.any.load(Ordering::Relaxed)
            && let Some(now) = &*self.now.load()
            && let Some(judged) = now.routes.get(record.route)
        {
            judged.count(slo::of_request(&judged.terms, record));
        }
    }

    /// Judges an exchange.
    pub fn attempt(&self, record: &AttemptRecord<'_>) {
        if self.any.load(Ordering::Relaxed)
            && let Some(now) = &*self.now.load()
            && let Some(judged) = now.providers.get(record.provider)
        {
            judged.count(slo::of_attempt(&judged.terms, record));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowsprit_core::config::{Scope, load};

    fn config(slo: &str) -> Config {
        let provider = "apiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {name: claude}\nspec:\n  provider: Anthropic\n  \
             credentials: [{name: main, env: K}]\n  models: [{name: m}]\n";
        load(&format!("{provider}{slo}"), &Scope::Standalone).unwrap()
    }

    fn told(slos: &Slos) -> Vec<(String, u64)> {
        let now = slos.now.load_full();
        let labels = now.iter().flat_map(|now| now.labels());
        labels
            .map(|one| {
                let name = format!("{} {} {} {}", one.object, one.name, one.objective, one.result);
                (name, slos.family.get_or_create_owned(one).get())
            })
            .collect()
    }

    #[test]
    fn a_configuration_without_objectives_has_no_series_and_keeps_nothing() {
        let slos = Slos::default();
        assert_eq!(slos.fit(&config("")), 0);
        assert!(slos.now.load().is_none() && !slos.any.load(Ordering::Relaxed));
    }

    #[test]
    fn counts_go_on_over_a_change_and_end_with_the_objective() {
        let slos = Slos::default();
        assert_eq!(slos.fit(&config("  slo: {availability: '99', firstToken: 1s}\n")), 4);
        let judge = |verdicts| {
            let now = slos.now.load_full().unwrap();
            now.providers["claude"].count(verdicts);
        };
        judge([(Objective::Availability, Some(true)), (Objective::FirstToken, None)]);
        judge([
            (Objective::Availability, Some(false)),
            (Objective::FirstToken, Some(true)),
        ]);
        assert_eq!(slos.fit(&config("  slo: {availability: '95'}\n")), 2);
        judge([
            (Objective::Availability, Some(true)),
            (Objective::FirstToken, Some(true)),
        ]);
        let name = |result| format!("provider claude availability {result}");
        assert_eq!(told(&slos), [(name("good"), 2), (name("bad"), 1)]);
        let counted = slos.counted();
        assert_eq!((counted.len(), counted[0].name.as_str()), (1, "claude"));
        assert_eq!(counted[0].counts, [2, 1]);
        assert_eq!(slos.fit(&config("")), 0);
        let mut text = String::new();
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register("slo_events", "", slos.family.clone());
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(!text.contains("claude"), "{text}");
    }
}
