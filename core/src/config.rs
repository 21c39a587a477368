//! The documents that people apply, turned into values that cannot be wrong.
//!
//! [`load`] reads a whole file or ConfigMap and either returns a [`Config`] or every [`Problem`] in it, each with its
//! path and what to do. A config is taken whole or not at all. The same checks of single objects
//! ([`Provider::from_spec`], [`Route::from_spec`], [`Policy::from_spec`]) and of objects together ([`cross_check`]) serve the operator, so that
//! what it accepts is what a sidecar accepts.

mod advice;
mod base_url;
mod budget;
mod cross;
mod document;
mod file_name;
mod glob;
mod limit;
mod named;
mod policy;
mod problem;
mod provider;
mod render;
mod route;
mod scope;
mod sequence;
mod slo;

pub use advice::{advice, unmetered};
pub use base_url::BaseUrl;
pub use budget::{shared_budgets, spenders_of};
pub use cross::{cross_check, diverts_nowhere, no_such_provider, pauses_nothing};
pub use document::{Object, ObjectKind, objects, readable_objects};
pub use file_name::is_file_name;
pub use limit::{Borrowers, Limit, Per, SharedLimit};
pub use policy::{Paused, Policy};
pub use problem::{Problem, Problems};
pub use provider::{
    CaBundle, Credential, HealthCheck, KeySource, LimitStore, Model, OnLimit, Provider, Retry, Timeouts,
};
pub use render::{Rendered, render, revision};
pub use route::{Route, Target};
pub use scope::Scope;
pub use sequence::{MAX_BEYOND, is_given};
pub use slo::{FIRST_TOKEN_PERCENT, Slo};

use std::sync::Arc;

use bowsprit_crds::LabelSelector;
use bowsprit_crds::usage_policy::PausedObject;

use crate::guard::Guard;
use crate::spend::book::Budget;

/// Everything a sidecar needs to know, valid as a whole.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The content hash of the documents, such as `3f9a1c04d2e7`.
    pub revision: String,
    /// A number that only grows; 0 where there is none (standalone).
    pub sequence: u64,
    /// The providers that are enabled and meant for this pod, by priority, then name.
    pub providers: Vec<Arc<Provider>>,
    /// The routes, by name.
    pub routes: Vec<Arc<Route>>,
    /// The policies that are meant for this pod, by name. Each holds.
    pub policies: Vec<Arc<Policy>>,
    /// What works, but perhaps not as meant: references to providers that are not here.
    pub notices: Vec<Problem>,
}

impl Config {
    /// The named limits of all policies and routes.
    pub fn limits(&self) -> impl Iterator<Item = &Arc<Limit>> {
        let policies = self.policies.iter().flat_map(|policy| &policy.limits);
        policies.chain(self.routes.iter().flat_map(|route| &route.limits))
    }

    /// The budgets of all policies.
    pub fn budgets(&self) -> impl Iterator<Item = &Arc<Budget>> {
        self.policies.iter().flat_map(|policy| &policy.budgets)
    }

    /// Whether any request is under access rules.
    pub fn has_access(&self) -> bool {
        let is_of_route = self.routes.iter().any(|route| route.access.is_some());
        is_of_route || self.policies.iter().any(|policy| policy.access.is_some())
    }

    /// Whether any request is looked into.
    pub fn has_guards(&self) -> bool {
        self.guards().next().is_some()
    }

    /// All guards: of policies, and then of routes.
    pub fn guards(&self) -> impl Iterator<Item = &Arc<Guard>> {
        let of_policies = self.policies.iter().flat_map(|policy| &policy.guards);
        of_policies.chain(self.routes.iter().flat_map(|route| &route.guards))
    }

    /// The policy that pauses this ProviderConfig, and how: the first by name of those that do.
    pub fn pauses_provider(&self, name: &str) -> Option<(&Policy, &PausedObject)> {
        self.pauses(name, |policy| &policy.paused_providers)
    }

    /// The policy that pauses this ModelRoute, and how: the first by name of those that do.
    pub fn pauses_route(&self, name: &str) -> Option<(&Policy, &PausedObject)> {
        self.pauses(name, |policy| &policy.paused_routes)
    }

    fn pauses(&self, name: &str, of: impl Fn(&Policy) -> &Vec<PausedObject>) -> Option<(&Policy, &PausedObject)> {
        self.policies.iter().find_map(|policy| {
            let paused = of(policy).iter().find(|paused| paused.name == name)?;
            Some((&**policy, paused))
        })
    }

    /// The provider of this name.
    pub fn provider(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.iter().find(|provider| provider.name == name)
    }
}

/// Reads all documents of `text` (YAML or JSON).
///
/// # Errors
/// Every problem found, not only the first.
pub fn load(text: &str, scope: &Scope) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    let objects = problems.take(objects(text, scope)).unwrap_or_default();
    let mut providers: Vec<Provider> = Vec::new();
    let mut routes: Vec<Route> = Vec::new();
    let mut policies: Vec<Policy> = Vec::new();
    for object in objects {
        let path = object.path();
        match object.kind {
            ObjectKind::Provider(spec) => {
                if providers.iter().any(|other| other.name == object.name) {
                    problems.add(Problem::new(path, "is there twice", "remove one of the two"));
                } else if let Some(provider) = problems.take(Provider::from_spec(&object.name, &spec, scope)) {
                    providers.push(provider);
                }
            }
            ObjectKind::Route(spec) => {
                if routes.iter().any(|other| other.name == object.name) {
                    problems.add(Problem::new(path, "is there twice", "remove one of the two"));
                } else if let Some(route) = problems.take(Route::from_spec(&object.name, &spec)) {
                    routes.push(route);
                }
            }
            ObjectKind::Policy(spec) => {
                if policies.iter().any(|other| other.name == object.name) {
                    problems.add(Problem::new(path, "is there twice", "remove one of the two"));
                } else if let Some(policy) = problems.take(Policy::from_spec(&object.name, &spec)) {
                    policies.push(policy);
                }
            }
        }
    }
    let mut notices = cross_check(&providers, &routes);
    notices.extend(diverts_nowhere(&policies, &routes));
    notices.extend(pauses_nothing(&policies, &providers, &routes));
    if matches!(scope, Scope::Standalone) {
        // In a cluster the operator answers for references, and a selector may rightly keep a provider from this pod.
        notices.drain(..).for_each(|problem| problems.add(problem));
        let of_routes = routes.iter().flat_map(|route| &route.limits);
        let of_policies = policies.iter().flat_map(|policy| &policy.limits);
        for limit in of_routes.chain(of_policies).filter(|limit| limit.is_shared) {
            problems.add(Problem::new(
                format!("limit {}: scope", limit.full_name),
                "is Fleet, and there is no operator that lends shares of it",
                "set scope: Pod, and divide the limit by the number of sidecars",
            ));
        }
    }
    problems.into_result()?;
    if let Scope::Cluster { pod_labels } = scope {
        let is_for = |selector: Option<&LabelSelector>| selector.is_none_or(|selector| selector.matches(pod_labels));
        providers.retain(|provider| is_for(provider.pod_selector.as_ref()));
        policies.retain(|policy| is_for(policy.pod_selector.as_ref()));
        for budget in policies.iter_mut().flat_map(|policy| &mut policy.budgets) {
            *budget = budget::for_pod(budget, pod_labels);
        }
    }
    providers.retain(|provider| provider.enabled);
    providers.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
    routes.sort_by(|a, b| a.name.cmp(&b.name));
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Config {
        revision: revision(text),
        sequence: 0,
        providers: providers.into_iter().map(Arc::new).collect(),
        routes: routes.into_iter().map(Arc::new).collect(),
        policies: policies.into_iter().map(Arc::new).collect(),
        notices,
    })
}

#[cfg(test)]
mod tests;
