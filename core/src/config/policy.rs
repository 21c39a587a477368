//! What may be used in a namespace, valid by construction.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_crds::usage_policy::{PausedObject, RunawayAction};
use bowsprit_crds::{LabelSelector, UsagePolicySpec};

use super::{Limit, Problem, Problems, budget, limit};
use crate::access;
use crate::guard::Guard;
use crate::runaway::Terms;
use crate::spend::book::Budget;

/// The most that a reason may take, bytes: it is told to every caller that is refused.
const MAX_REASON: usize = 500;

/// In which time the same request may be counted.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(24);

/// The word of whoever answers for the namespace.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The UsagePolicy's name.
    pub name: String,
    /// The pods it is for; none: all.
    pub pod_selector: Option<LabelSelector>,
    /// How much may be asked.
    pub limits: Vec<Arc<Limit>>,
    /// How much may be spent.
    pub budgets: Vec<Arc<Budget>>,
    /// Who may ask for what.
    pub access: Option<Arc<access::Policy>>,
    /// What must not leave.
    pub guards: Vec<Arc<Guard>>,
    /// When the same request comes too often.
    pub runaway: Option<Arc<Terms>>,
    /// Whether every request of these pods is refused.
    pub paused: Option<Paused>,
    /// ProviderConfigs that these pods send nothing to.
    pub paused_providers: Vec<PausedObject>,
    /// ModelRoutes of which every request of these pods is refused.
    pub paused_routes: Vec<PausedObject>,
}

/// That nothing passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paused {
    /// Why, where somebody said it.
    pub reason: Option<String>,
}

impl Policy {
    /// Whether it decides about requests by what their bodies say.
    pub fn looks_at_bodies(&self) -> bool {
        let counts = !self.limits.is_empty() || !self.budgets.is_empty() || self.runaway.is_some();
        counts || self.access.is_some() || !self.guards.is_empty()
    }

    /// Checks a spec.
    ///
    /// # Errors
    /// Everything that is wrong with it on its own.
    pub fn from_spec(name: &str, spec: &UsagePolicySpec) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut note = |field: &str, problem: &str, remedy: &str| {
            let path = format!("UsagePolicy {name}: spec.{field}");
            problems.add(Problem::new(path, problem, remedy));
        };
        let limits = Limit::all_of(&limit::of_policy(name), &spec.limits);
        let budgets = budget::all_of(name, &spec.budgets);
        let wrong = limits.as_ref().err().into_iter().chain(budgets.as_ref().err());
        for (field, problem, remedy) in wrong.flatten() {
            note(field, problem, remedy);
        }
        if let Some(reason) = &spec.paused_reason {
            if !spec.paused {
                note(
                    "pausedReason",
                    "says why nothing passes, and paused is not true",
                    "remove it, or set paused: true",
                );
            }
            if !is_told(reason) {
                note("pausedReason", UNTOLD.0, UNTOLD.1);
            }
        }
        for (field, objects) in [
            ("pausedProviders", &spec.paused_providers),
            ("pausedRoutes", &spec.paused_routes),
        ] {
            for (index, object) in objects.iter().enumerate() {
                if object.name.is_empty() {
                    note(
                        &format!("{field}[{index}].name"),
                        "is empty",
                        "name the object that is paused",
                    );
                }
                if objects.iter().take(index).any(|other| other.name == object.name) {
                    note(
                        &format!("{field}[{index}].name"),
                        "is there twice",
                        "remove one of the two",
                    );
                }
                if object.reason.as_deref().is_some_and(|reason| !is_told(reason)) {
                    note(&format!("{field}[{index}].reason"), UNTOLD.0, UNTOLD.1);
                }
            }
        }
        if let Some(runaway) = &spec.runaway {
            if !(2..=100_000).contains(&runaway.times) {
                note(
                    "runaway.times",
                    "is not 2 to 100000",
                    "set how often the same request is still well, such as 50",
                );
            }
            if !(SHORTEST..=LONGEST).contains(&runaway.within.get()) {
                note(
                    "runaway.within",
                    "is not 1s to 24h",
                    "set the time in which so many are still well, such as 10m",
                );
            }
        }
        let access = spec.access.as_ref().and_then(|rules| {
            let of = format!("UsagePolicy {name}");
            problems.take(access::Policy::compile(&of, "spec.access", rules))
        });
        let guards = problems.take(Guard::all_of(&format!("UsagePolicy {name}"), &spec.guards));
        problems.into_result()?;
        Ok(Self {
            access: access.map(Arc::new),
            guards: guards.unwrap_or_default(),
            name: name.to_owned(),
            pod_selector: spec.pod_selector.clone(),
            limits: limits.unwrap_or_default(),
            budgets: budgets.unwrap_or_default(),
            runaway: spec.runaway.map(|runaway| {
                Arc::new(Terms {
                    policy: name.into(),
                    full_name: format!("policy/{name}/runaway").into(),
                    times: runaway.times,
                    within: runaway.within.get(),
                    stops: runaway.action == RunawayAction::Stop,
                })
            }),
            paused: spec.paused.then(|| Paused {
                reason: spec.paused_reason.clone(),
            }),
            paused_providers: spec.paused_providers.clone(),
            paused_routes: spec.paused_routes.clone(),
        })
    }
}

/// What is wrong with a reason that nobody can be told, and what to do.
const UNTOLD: (&str, &str) = (
    "is empty, longer than 500 bytes, or of several lines",
    "say it in one line of at most 500 bytes",
);

fn is_told(reason: &str) -> bool {
    !reason.is_empty() && reason.len() <= MAX_REASON && !reason.chars().any(char::is_control)
}
