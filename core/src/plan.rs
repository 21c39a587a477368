//! Who is asked, in which order, and why: the candidates of one request.
//!
//! A request's model name finds a [`Route`] first (an exact name before a glob, the longest glob before shorter ones),
//! else the providers that list it, by priority, else the first provider of the caller's own dialect that lists no models
//! and so takes any name. Then follow the fallbacks: those that the first candidate names, or every other provider by
//! priority where it names none. A candidate that does not serve the asked name answers with its `defaultModel`.
//! Candidates that would fail anyway (breaker open, unhealthy, no headroom) are left out, unless that left nobody: then
//! the one that is expected back first is named as the last resort.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Provider, Route, Target};
use crate::dialect::Dialect;
use crate::model_name;

pub mod eligible;
#[cfg(test)]
mod tests;

/// Whether a provider could answer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// Nothing speaks against it.
    Available,
    /// It would fail, or fail the rules, now.
    Unavailable {
        /// Why.
        why: Why,
        /// When it may be worth asking again, where known.
        retry_in: Option<Duration>,
    },
}

/// How the plan sees providers as they stand now.
pub trait View {
    /// Whether this provider could answer for this model.
    fn availability(&self, provider: &Provider, model: &str) -> Availability;

    /// Whether a route's targets are left out, so that its fallback is asked: a limit of the route says so.
    fn passes_over_targets(&self) -> bool {
        false
    }

    /// The route that it is led to, whatever model it asks for: a budget says so.
    fn led_to(&self) -> Option<Arc<Route>> {
        None
    }

    /// The access rule that forbids to ask this provider for this model, where one does.
    fn forbidden_by(&self, _provider: &Provider, _model: &str) -> Option<Arc<str>> {
        None
    }

    /// How gladly it should be asked, 0 to 1: its share among weighted targets goes down with it.
    fn score(&self, _provider: &Provider) -> f64 {
        1.0
    }
}

impl<F: Fn(&Provider, &str) -> Availability> View for F {
    fn availability(&self, provider: &Provider, model: &str) -> Availability {
        self(provider, model)
    }
}

/// Why a provider is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// A UsagePolicy has paused it.
    Paused,
    /// Its breaker is open.
    CircuitOpen,
    /// Its probes fail.
    Unhealthy,
    /// No key of it is usable.
    NoKey,
    /// The provider said that its own limit is used up.
    NoHeadroom,
    /// It serves neither the asked model nor names a default one.
    NoModel,
    /// The route names a provider that is not here.
    NotHere,
    /// An access rule forbids it for this request.
    Access,
}

impl Why {
    /// The log value and metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::CircuitOpen => "circuit_open",
            Self::Unhealthy => "unhealthy",
            Self::NoKey => "no_key",
            Self::NoHeadroom => "no_headroom",
            Self::NoModel => "no_model",
            Self::NotHere => "not_here",
            Self::Access => "access",
        }
    }
}

/// Why a candidate is in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A ModelRoute names it as target.
    Route,
    /// It lists the model.
    Serves,
    /// It speaks the caller's dialect and takes any model.
    PassThrough,
    /// It is asked for by its name, below `/providers/`, and nobody stands in for it.
    Pinned,
    /// It stands in for another.
    Fallback,
    /// Nobody is available; this one is expected back first.
    LastResort,
}

/// One provider that may be asked.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The provider.
    pub provider: Arc<Provider>,
    /// The provider's own name for the model to ask for.
    pub model: Arc<str>,
    /// Why it is here.
    pub reason: Reason,
}

/// One provider that is not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The provider's name.
    pub provider: String,
    /// Why.
    pub why: Why,
    /// When it may be worth asking again, where known.
    pub retry_in: Option<Duration>,
    /// The access rule that forbids it.
    pub rule: Option<Arc<str>>,
}

impl Skipped {
    /// Why, in a word: `circuit_open`, `access:no-opus`.
    pub fn reason(&self) -> Cow<'static, str> {
        match &self.rule {
            Some(rule) => Cow::Owned(format!("access:{rule}")),
            None => Cow::Borrowed(self.why.as_str()),
        }
    }
}

/// The candidates of one request, in order.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Who is asked.
    pub candidates: Vec<Candidate>,
    /// Who is not, and why.
    pub skipped: Vec<Skipped>,
    /// The route that matched.
    pub route: Option<Arc<Route>>,
}

/// Makes the plan. `view` judges a provider and model as they stand now; `draw` gives a number in `0..1` for weighted
/// targets and is only called where a route has several.
pub fn plan(
    config: &Config,
    dialect: Dialect,
    asked: &Arc<str>,
    view: &dyn View,
    draw: &mut dyn FnMut() -> f64,
) -> Plan {
    let led_to = view.led_to();
    let route = led_to.as_ref().or_else(|| route_for(config, asked));
    let mut plan = Plan::default();
    let mut wanted = Wanted {
        asked,
        candidates: Vec::with_capacity(config.providers.len()),
        skipped: &mut plan.skipped,
    };
    if let Some(route) = route {
        by_route(config, route, view, draw, &mut wanted);
    } else {
        by_model(config, dialect, &mut wanted);
        fallbacks(config, &mut wanted);
    }
    plan.candidates = wanted.candidates;
    plan.route = route.map(Arc::clone);
    leave_out(&mut plan, view);
    plan
}

/// Makes the plan of a request for one provider and nobody else, whatever routes say, with the model as the caller names it.
pub fn pinned(config: &Config, provider: &str, asked: &Arc<str>, view: &dyn View) -> Plan {
    let mut plan = Plan::default();
    match config.provider(provider) {
        Some(provider) => plan.candidates.push(Candidate {
            provider: Arc::clone(provider),
            model: Arc::clone(asked),
            reason: Reason::Pinned,
        }),
        None => plan.skipped.push(Skipped {
            provider: provider.to_owned(),
            why: Why::NotHere,
            retry_in: None,
            rule: None,
        }),
    }
    leave_out(&mut plan, view);
    plan
}

/// Leaves out whom a rule forbids and who would fail anyway, but for the last resort where that leaves nobody.
fn leave_out(plan: &mut Plan, view: &dyn View) {
    let (skipped, mut last_resort) = (&mut plan.skipped, None::<(Candidate, Duration)>);
    plan.candidates.retain(|candidate| {
        if let Some(rule) = view.forbidden_by(&candidate.provider, &candidate.model) {
            skipped.push(Skipped {
                provider: candidate.provider.name.clone(),
                why: Why::Access,
                retry_in: None,
                rule: Some(rule),
            });
            return false;
        }
        let Availability::Unavailable { why, retry_in } = view.availability(&candidate.provider, &candidate.model)
        else {
            return true;
        };
        skipped.push(Skipped {
            provider: candidate.provider.name.clone(),
            why,
            retry_in,
            rule: None,
        });
        // An open breaker and an exhausted key would refuse the last resort too: only soft reasons qualify.
        let back = retry_in.unwrap_or(Duration::MAX);
        if matches!(why, Why::Unhealthy | Why::NoHeadroom) && last_resort.as_ref().is_none_or(|(_, best)| back < *best)
        {
            let candidate = Candidate {
                reason: Reason::LastResort,
                ..candidate.clone()
            };
            last_resort = Some((candidate, back));
        }
        false
    });
    if let (true, Some((candidate, _))) = (plan.candidates.is_empty(), last_resort) {
        plan.candidates.push(candidate);
    }
}

/// Every name under which a model can be asked for, for the model list and for the 404 that names what is served.
pub fn served(config: &Config) -> Vec<String> {
    let routes = config.routes.iter().flat_map(|route| route.models.iter());
    let models = config.providers.iter().flat_map(|provider| provider.models.iter());
    let names = models.flat_map(|model| std::iter::once(&model.name).chain(&model.aliases));
    let defaults = config
        .providers
        .iter()
        .filter_map(|provider| provider.default_model.as_ref());
    let mut served = Vec::new();
    for name in routes.chain(names).chain(defaults) {
        let known = |name: &String| served.iter().any(|other: &String| model_name::same(other, name));
        if !name.contains('*') && !known(name) {
            served.push(name.clone());
        }
    }
    served
}

/// Who may be asked, before anyone has looked how they are.
struct Wanted<'a> {
    asked: &'a Arc<str>,
    candidates: Vec<Candidate>,
    skipped: &'a mut Vec<Skipped>,
}

impl Wanted<'_> {
    fn add(&mut self, provider: &Arc<Provider>, model: &str, reason: Reason) {
        // Most providers have the name that was asked for.
        let is_asked = *model == **self.asked;
        self.candidates.push(Candidate {
            provider: Arc::clone(provider),
            model: if is_asked { Arc::clone(self.asked) } else { model.into() },
            reason,
        });
    }

    fn skip(&mut self, provider: &str, why: Why) {
        self.skipped.push(Skipped {
            provider: provider.to_owned(),
            why,
            retry_in: None,
            rule: None,
        });
    }

    fn has(&self, provider: &Arc<Provider>) -> bool {
        self.candidates
            .iter()
            .any(|other| Arc::ptr_eq(&other.provider, provider))
    }
}

/// The ModelRoute that a model's name means: an exact name before a glob, the longest glob before shorter ones.
pub fn route_for<'a>(config: &'a Config, model: &str) -> Option<&'a Arc<Route>> {
    let exact = config
        .routes
        .iter()
        .find(|route| route.models.iter().any(|name| name == model));
    let named = exact.or_else(|| config.routes.iter().find(|route| route.names(model)));
    named.or_else(|| {
        let closest = config
            .routes
            .iter()
            .filter_map(|route| Some((route.closeness(model)?, route)));
        // Of equally close ones the first by name wins: `max_by_key` would take the last.
        closest
            .rev()
            .max_by_key(|(closeness, _)| *closeness)
            .map(|(_, route)| route)
    })
}

fn by_route(config: &Config, route: &Route, view: &dyn View, draw: &mut dyn FnMut() -> f64, wanted: &mut Wanted<'_>) {
    let mut add = |target: &Target, reason: Reason| {
        let Some(provider) = config.provider(&target.provider) else {
            return wanted.skip(&target.provider, Why::NotHere);
        };
        let asked = target
            .model
            .as_deref()
            .map(|model| provider.serves(model).unwrap_or_else(|| provider.name_of(model)));
        let Some(model) = asked.or_else(|| default_model(provider)) else {
            return wanted.skip(&provider.name, Why::NoModel);
        };
        let is_same = |other: &Candidate| Arc::ptr_eq(&other.provider, provider) && *other.model == *model;
        if !wanted.candidates.iter().any(is_same) {
            wanted.add(provider, model, reason);
        }
    };
    let score = |name: &str| config.provider(name).map_or(0.0, |provider| view.score(provider));
    let targets: &[_] = if view.passes_over_targets() {
        &[]
    } else {
        &route.targets
    };
    let first = pick(targets, &score, draw);
    for index in first
        .into_iter()
        .chain((0..targets.len()).filter(|index| Some(*index) != first))
    {
        if let Some((target, _)) = targets.get(index) {
            add(
                target,
                if Some(index) == first {
                    Reason::Route
                } else {
                    Reason::Fallback
                },
            );
        }
    }
    for target in &route.fallback {
        add(target, Reason::Fallback);
    }
}

/// Of a provider's weight so much is left however badly it does: enough to see that it is well again.
const LEAST_SCORE: f64 = 0.05;

/// The index of a target, drawn by weight, which counts the less the worse its provider does; the first where all weigh
/// nothing.
fn pick(targets: &[(Target, u32)], score: &dyn Fn(&str) -> f64, draw: &mut dyn FnMut() -> f64) -> Option<usize> {
    if targets.len() < 2 || targets.iter().all(|(_, weight)| *weight == 0) {
        return (!targets.is_empty()).then_some(0);
    }
    let weights = targets.iter().map(|(target, weight)| match weight {
        0 => 0.0,
        weight => f64::from(*weight) * score(&target.provider).max(LEAST_SCORE),
    });
    let mut left = draw() * weights.clone().sum::<f64>();
    for (index, weight) in weights.enumerate() {
        left -= weight;
        if left < 0.0 && weight > 0.0 {
            return Some(index);
        }
    }
    targets.iter().rposition(|(_, weight)| *weight > 0)
}

fn by_model(config: &Config, dialect: Dialect, wanted: &mut Wanted<'_>) {
    let asked = wanted.asked;
    for provider in &config.providers {
        if let Some(model) = provider.serves(asked) {
            wanted.add(provider, model, Reason::Serves);
        }
    }
    if !wanted.candidates.is_empty() {
        return;
    }
    let any = config
        .providers
        .iter()
        .find(|provider| provider.models.is_empty() && provider.dialect == dialect.family());
    if let Some(provider) = any {
        let model = if asked.is_empty() {
            default_model(provider)
        } else {
            Some(provider.name_of(asked))
        };
        if let Some(model) = model {
            wanted.add(provider, model, Reason::PassThrough);
        }
    }
}

fn fallbacks(config: &Config, wanted: &mut Wanted<'_>) {
    let Some(first) = wanted.candidates.first() else { return };
    let first = Arc::clone(&first.provider);
    let add = |wanted: &mut Wanted<'_>, provider: &Arc<Provider>| {
        if wanted.has(provider) {
            return;
        }
        match provider.serves(wanted.asked).or_else(|| default_model(provider)) {
            Some(model) => wanted.add(provider, model, Reason::Fallback),
            None => wanted.skip(&provider.name, Why::NoModel),
        }
    };
    if first.fallback.is_empty() {
        config.providers.iter().for_each(|provider| add(wanted, provider));
    } else {
        // Exactly the chain that the first candidate names, and nobody else.
        wanted.candidates.truncate(1);
        let chain = first.fallback.iter().filter_map(|name| config.provider(name));
        chain.for_each(|provider| add(wanted, provider));
    }
}

/// The provider's own name for its default model, which may be given by an alias.
fn default_model(provider: &Provider) -> Option<&str> {
    provider
        .default_model
        .as_deref()
        .map(|model| provider.serves(model).unwrap_or_else(|| provider.name_of(model)))
}
