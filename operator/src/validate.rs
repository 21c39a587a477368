//! Judges a change of an object before it is stored: what one object and its neighbours can show, and whose Secrets it
//! reaches. Pure; `webhook::validate` reads, asks and answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bowsprit_core::config::{
    Policy, Problem, Provider, Route, Scope, advice, cross_check, diverts_nowhere, pauses_nothing, unmetered,
};
use bowsprit_core::guard;
use bowsprit_crds::cache::CacheStore;
use bowsprit_crds::guards::Guard;
use bowsprit_crds::limits::NamedLimit;
use bowsprit_crds::provider_config::ProviderConfigSpec;
use bowsprit_crds::{ModelRoute, ModelRouteSpec, ProviderConfig, UsagePolicySpec};
use kube::ResourceExt as _;

pub mod hosts;
#[cfg(test)]
mod tests;

use hosts::AllowedHosts;

/// A namespace's objects as they are known now.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Its ProviderConfigs.
    pub providers: Vec<Arc<ProviderConfig>>,
    /// Its ModelRoutes.
    pub routes: Vec<Arc<ModelRoute>>,
}

/// Why this provider may not be where it is to be; nothing where its spec cannot be read, which is judged elsewhere.
pub fn host_refused(name: &str, spec: &ProviderConfigSpec, hosts: &AllowedHosts) -> Option<String> {
    let scope = Scope::Cluster {
        pod_labels: BTreeMap::new(),
    };
    let provider = Provider::from_spec(name, spec, &scope).ok()?;
    hosts.refuse(&provider).map(|problem| problem.to_string())
}

/// The same of guards that are services. `of`: whose they are, such as `ModelRoute fast`.
pub fn guards_refused(of: &str, specs: &[Guard], hosts: &AllowedHosts) -> Option<String> {
    let guards = guard::Guard::all_of(of, specs).ok()?;
    hosts.refuse_guards(&guards).map(|problem| problem.to_string())
}

/// What is to become of an object.
#[derive(Clone, Debug)]
pub enum Change {
    /// A ProviderConfig is made or changed.
    Provider(Box<ProviderConfigSpec>),
    /// A ModelRoute is made or changed.
    Route(Box<ModelRouteSpec>),
    /// A UsagePolicy is made or changed.
    Policy(Box<UsagePolicySpec>),
    /// A ProviderConfig goes.
    ProviderGone,
    /// A ModelRoute goes.
    RouteGone,
    /// A UsagePolicy goes.
    PolicyGone,
}

/// What is to be said of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Why it is refused: every problem, one a line, each with path and remedy. Empty: it is not.
    pub refusals: Vec<String>,
    /// What its author should know.
    pub warnings: Vec<String>,
}

/// Judges a change of the object `name`, among what else is in its namespace.
pub fn judge(name: &str, change: &Change, known: &Known) -> Judgement {
    let scope = Scope::Cluster {
        pod_labels: BTreeMap::new(),
    };
    let others = |object: &&Arc<ProviderConfig>| !is_provider(change) || object.name_any() != name;
    let mut providers: Vec<Provider> = known
        .providers
        .iter()
        .filter(others)
        .filter_map(|object| Provider::from_spec(&object.name_any(), &object.spec, &scope).ok())
        .collect();
    let others = |object: &&Arc<ModelRoute>| !is_route(change) || object.name_any() != name;
    let mut routes: Vec<Route> = known
        .routes
        .iter()
        .filter(others)
        .filter_map(|object| Route::from_spec(&object.name_any(), &object.spec).ok())
        .collect();
    let mut policies = Vec::new();
    let refused = match change {
        Change::Provider(spec) => Provider::from_spec(name, spec, &scope).map(|it| providers.push(it)),
        Change::Route(spec) => Route::from_spec(name, spec).map(|it| routes.push(it)),
        Change::Policy(spec) => Policy::from_spec(name, spec).map(|it| policies.push(it)),
        Change::ProviderGone | Change::RouteGone | Change::PolicyGone => Ok(()),
    };
    let refusals = refused.err().map_or_else(Vec::new, |problems| said(problems.0));
    let of_own = |own: String| {
        let notes = cross_check(&providers, &routes)
            .into_iter()
            .chain(advice(&providers, &routes));
        said(notes.filter(|problem| problem.path.starts_with(&own)))
    };
    let warnings = match change {
        Change::Provider(_) => of_own(format!("ProviderConfig {name}: ")),
        Change::Route(_) => of_own(format!("ModelRoute {name}: ")),
        Change::ProviderGone => users_of(name, &providers, &routes),
        Change::Policy(_) => {
            let unpaused = pauses_nothing(&policies, &providers, &routes);
            let nowhere = diverts_nowhere(&policies, &routes);
            said(
                nowhere
                    .into_iter()
                    .chain(unpaused)
                    .chain(unmetered(&policies, &providers)),
            )
        }
        Change::RouteGone | Change::PolicyGone => Vec::new(),
    };
    Judgement { refusals, warnings }
}

/// One line a problem.
fn said(problems: impl IntoIterator<Item = Problem>) -> Vec<String> {
    problems.into_iter().map(|problem| problem.to_string()).collect()
}

fn is_provider(change: &Change) -> bool {
    matches!(change, Change::Provider(_) | Change::ProviderGone)
}

fn is_route(change: &Change) -> bool {
    matches!(change, Change::Route(_) | Change::RouteGone)
}

/// Who names a provider that goes.
fn users_of(name: &str, providers: &[Provider], routes: &[Route]) -> Vec<String> {
    let routes = routes
        .iter()
        .filter(|route| route.all_targets().any(|target| target.provider == name));
    let routes = routes.map(|route| format!("ModelRoute {}", route.name));
    let providers = providers
        .iter()
        .filter(|provider| provider.fallback.iter().any(|other| other == name));
    let providers = providers.map(|provider| format!("ProviderConfig {}", provider.name));
    let warn = |user: String| {
        format!(
            "{user} names ProviderConfig {name}: requests under way there end as they would have, later ones pass it over"
        )
    };
    routes.chain(providers).map(warn).collect()
}

/// The Secrets that whoever makes this change must be allowed to read: all that the ProviderConfig names, if the change
/// says anew which keys go where. `old`: the object as it was; `None`: it is made.
///
/// A sidecar hands the keys of these Secrets to `endpoint`. Without this check, whoever may write ProviderConfigs could
/// have any key of the namespace sent to a server of their own. The Secret of a store says itself where it is sent; who names
/// it spends from what is counted there.
pub fn secrets_reached(old: Option<&ProviderConfigSpec>, new: &ProviderConfigSpec) -> BTreeSet<String> {
    let store = |spec: &ProviderConfigSpec| {
        spec.rate_limits
            .store
            .as_ref()
            .map(|store| store.redis_ref.name.clone())
    };
    let reaches_as_before = old.is_some_and(|old| {
        old.endpoint == new.endpoint
            && old.credentials == new.credentials
            && old.provider == new.provider
            && store(old) == store(new)
    });
    if reaches_as_before {
        return BTreeSet::new();
    }
    let references = new
        .credentials
        .iter()
        .filter_map(|credential| credential.secret_key_ref.as_ref());
    let keys = references.map(|reference| reference.name.clone());
    keys.chain(store(new)).collect()
}

/// A Secret that a change says anew is reached, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reached {
    /// The Secret's name.
    pub secret: String,
    /// The field that names it, below `spec`.
    pub field: &'static str,
    /// What the object does with it.
    pub what: &'static str,
}

/// Of a ModelRoute: the Secrets of the stores that keep its answers and count its limits, those that the change names anew. Who names one
/// has this namespace's answers written to what it says, or spends from what is counted there.
pub fn secrets_reached_by_route(old: Option<&ModelRouteSpec>, new: &ModelRouteSpec) -> BTreeSet<Reached> {
    fn store(spec: &ModelRouteSpec) -> Option<&CacheStore> {
        spec.cache.as_ref()?.store.as_ref()
    }
    let mut reached = secrets_reached_by_limits(old.map_or(&[][..], |old| &old.limits), &new.limits);
    reached.extend(secrets_reached_by_guards(
        old.map_or(&[][..], |old| &old.guards),
        &new.guards,
    ));
    let named = store(new).filter(|named| old.and_then(store) != Some(named));
    reached.extend(named.map(|named| Reached {
        secret: named.redis_ref.name.clone(),
        field: "cache.store.redisRef",
        what: "has answers of this namespace kept in the store that it names",
    }));
    reached
}

/// The same of limits: those of a ModelRoute or UsagePolicy as they were, and as they are to be.
pub fn secrets_reached_by_limits(old: &[NamedLimit], new: &[NamedLimit]) -> BTreeSet<Reached> {
    let known: BTreeSet<_> = stores(old).collect();
    let anew = stores(new).filter(|named| !known.contains(named));
    anew.map(|secret| Reached {
        secret: secret.to_owned(),
        field: "limits[].store.redisRef",
        what: "has its limits counted in the store that it names",
    })
    .collect()
}

fn stores(limits: &[NamedLimit]) -> impl Iterator<Item = &str> {
    let stores = limits.iter().filter_map(|limit| limit.store.as_ref());
    stores.map(|store| store.redis_ref.name.as_str())
}

/// The same of guards: the Secrets of those that are services, whose key goes where the guard says, if it or that is named anew.
pub fn secrets_reached_by_guards(old: &[Guard], new: &[Guard]) -> BTreeSet<Reached> {
    let sent = |guard: &Guard| {
        let hook = guard.webhook.as_ref()?;
        let secret = hook.auth_secret_ref.clone()?;
        Some((
            secret,
            hook.url.clone(),
            hook.ca_bundle_ref.clone(),
            hook.allowed_addresses.clone(),
        ))
    };
    let before: Vec<_> = old.iter().filter_map(sent).collect();
    let now = new.iter().filter_map(sent).filter(|now| !before.contains(now));
    now.map(|(secret, ..)| Reached {
        secret: secret.name,
        field: "guards[].webhook.authSecretRef",
        what: "sends its key to the service of a guard",
    })
    .collect()
}
