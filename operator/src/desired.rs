//! A namespace's objects in, what should be out: the ConfigMap, and the verdict on every object. Pure.
//!
//! An object that is wrong never disturbs a config that works: its last accepted version, read back from the ConfigMap
//! that is there, stays in. Every document goes through the same checks that a sidecar makes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bowsprit_core::config::{
    self, Object, ObjectKind, Policy, Problem, Problems, Provider, Rendered, Route, Scope, SharedLimit, is_given,
    readable_objects, render,
};
use bowsprit_core::share::leader::SETTLED;
use bowsprit_core::stream::shares::LimitKey;
use bowsprit_crds::found::Unread;
use bowsprit_crds::{
    ModelRoute, ModelRouteSpec, ProviderConfig, ProviderConfigSpec, UsagePolicy, UsagePolicySpec, names,
};
use kube::{Resource, ResourceExt as _};

use crate::conditions::reason;
use crate::objects::NotUnderstood;
use crate::shares::{of_policy, of_provider, of_route};
use crate::status::rollout::Version;
use crate::validate::hosts::AllowedHosts;

mod judge;
mod served;
#[cfg(test)]
mod tests;

pub use judge::{Judged, LATE, Measure, SidecarSeen};
pub use served::{kept_specs, served_specs};

/// The most that the documents of a namespace may take: a ConfigMap holds 1 MiB, with its other keys.
const MAX_TEXT: usize = (1 << 20) - 4096;

/// The ConfigMap as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    /// The documents.
    pub text: String,
    /// Their revision.
    pub revision: String,
    /// Their sequence; 0 where there is none that can be read.
    pub sequence: u64,
    /// The version of their format; 0 where there is none that can be read.
    pub format: u32,
}

impl Current {
    /// Which it is.
    pub fn version(&self) -> Version {
        Version {
            sequence: self.sequence,
            revision: self.revision.clone(),
        }
    }

    /// Whether it holds these documents as an operator writes them: each key, not the text alone.
    fn holds(&self, rendered: &Rendered, clock: Clocks) -> bool {
        self.text == rendered.text
            && self.revision == rendered.revision
            && self.format == names::FORMAT_VERSION
            && is_given(self.sequence, clock.latest)
    }

    /// Whether it was written so long ago, by its sequence, that nobody holds anything by what was there before.
    pub fn is_settled(&self, clock: Clocks) -> bool {
        self.sequence > 0 && self.sequence.saturating_add(SETTLED.as_secs()) <= clock.own
    }

    /// The sequence of what is written in its place.
    fn next(&self, clock: Clocks) -> u64 {
        if is_given(self.sequence, clock.latest) {
            clock.own.max(self.sequence.saturating_add(1))
        } else {
            clock.own
        }
    }
}

/// Times in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Ours. Sequences are given by it: by another's, which may be far ahead of all sidecars', they would be refused.
    pub own: u64,
    /// Ours or the apiserver's, whichever says more. Sequences that are there are judged by it.
    pub latest: u64,
}

impl Clocks {
    /// Where both say the same.
    pub fn both(clock: u64) -> Self {
        Self {
            own: clock,
            latest: clock,
        }
    }
}

/// What a namespace should look like.
#[derive(Debug)]
pub struct Desired {
    /// The ConfigMap's content.
    pub rendered: Rendered,
    /// The objects, as `ProviderConfig NAME`, `ModelRoute NAME` and `UsagePolicy NAME`, whose documents differ from those that are there.
    pub changed: Vec<String>,
    /// The sequence to write it with; none where what is there is right already, or nothing is and nothing should be.
    pub write: Option<u64>,
    providers: BTreeMap<String, Checked<Provider>>,
    routes: BTreeMap<String, Checked<Route>>,
    policies: BTreeMap<String, Checked<Policy>>,
    unresolved: Vec<Problem>,
    advice: Vec<Problem>,
    /// The content, and that of what is there.
    specs: Specs,
    accepted: LastAccepted,
}

/// An object, as it was checked.
#[derive(Debug)]
struct Checked<T> {
    /// What is wrong with it as it is now; none where it is accepted.
    refused: Option<Refused>,
    /// Whether it is served as it is now: also one that is where it may no longer be, and was there before.
    is_live: bool,
    /// What sidecars get of it: itself, or where it is refused its last accepted version, if there was one.
    served: Option<T>,
}

/// Why an object is not accepted.
#[derive(Debug)]
struct Refused {
    /// One of [`crate::conditions::reason`].
    reason: &'static str,
    /// Every problem, one a line.
    problems: String,
}

impl Refused {
    fn invalid(problems: &impl ToString) -> Self {
        Self {
            reason: reason::INVALID,
            problems: problems.to_string(),
        }
    }
}

/// A namespace's objects, each kind by name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Objects<'a> {
    /// Its ProviderConfigs.
    pub providers: &'a [Arc<ProviderConfig>],
    /// Its ModelRoutes.
    pub routes: &'a [Arc<ModelRoute>],
    /// Its UsagePolicies. None while they are not known: those that are served stay, or a pause would end with each start of an
    /// operator.
    pub policies: Option<&'a [Arc<UsagePolicy>]>,
    /// Those of any kind that cannot be read; none: there are none.
    pub not_understood: Option<&'a NotUnderstood>,
}

/// Decides. A provider that is at none of `hosts` is wrong like any other: it is not accepted, and what was accepted before stays.
/// A sequence is never below our `clock`, so that it grows even where the ConfigMap was deleted meanwhile.
///
/// # Errors
/// Where the documents cannot be written, which no valid object causes.
pub fn desired(
    hosts: &AllowedHosts,
    objects: Objects<'_>,
    current: Option<&Current>,
    clock: Clocks,
) -> Result<Desired, bowsprit_core::yaml::YamlError> {
    let scope = Scope::Cluster {
        pod_labels: BTreeMap::new(),
    };
    let Objects {
        providers,
        routes,
        policies,
        not_understood,
    } = objects;
    let accepted = LastAccepted::read(current, &scope);
    let last = &accepted.specs;
    let mut provider_specs: Vec<(String, ProviderConfigSpec)> = Vec::new();
    let mut checked_providers = BTreeMap::new();
    for object in providers {
        let name = object.name_any();
        let check = |spec: &ProviderConfigSpec| Provider::from_spec(&name, spec, &scope);
        let refuse = |it: &Provider| hosts.refuse(it);
        let (checked, spec) = checked(&object.spec, last.providers.get(&name), check, refuse, is_where);
        provider_specs.extend(spec.map(|spec| (name.clone(), spec)));
        checked_providers.insert(name, checked);
    }
    for object in not_understood.into_iter().flat_map(|it| &it.providers) {
        let name = object.name_any();
        let (checked, spec) = unread(object, last.providers.get(&name), |spec| {
            Provider::from_spec(&name, spec, &scope)
        });
        provider_specs.extend(spec.map(|spec| (name.clone(), spec)));
        checked_providers.insert(name, checked);
    }
    let mut route_specs: Vec<(String, ModelRouteSpec)> = Vec::new();
    let mut checked_routes = BTreeMap::new();
    for object in routes {
        let name = object.name_any();
        let check = |spec: &ModelRouteSpec| Route::from_spec(&name, spec);
        let refuse = |it: &Route| hosts.refuse_guards(&it.guards);
        let (checked, spec) = checked(&object.spec, last.routes.get(&name), check, refuse, |_, _| false);
        route_specs.extend(spec.map(|spec| (name.clone(), spec)));
        checked_routes.insert(name, checked);
    }
    for object in not_understood.into_iter().flat_map(|it| &it.routes) {
        let name = object.name_any();
        let (checked, spec) = unread(object, last.routes.get(&name), |spec| Route::from_spec(&name, spec));
        route_specs.extend(spec.map(|spec| (name.clone(), spec)));
        checked_routes.insert(name, checked);
    }
    let mut policy_specs: Vec<(String, UsagePolicySpec)> = Vec::new();
    let mut checked_policies = BTreeMap::new();
    for object in policies.into_iter().flatten() {
        let name = object.name_any();
        let check = |spec: &UsagePolicySpec| Policy::from_spec(&name, spec);
        let refuse = |it: &Policy| hosts.refuse_guards(&it.guards);
        let (checked, spec) = checked(&object.spec, last.policies.get(&name), check, refuse, |_, _| false);
        policy_specs.extend(spec.map(|spec| (name.clone(), spec)));
        checked_policies.insert(name, checked);
    }
    let known = not_understood.filter(|_| policies.is_some());
    for object in known.into_iter().flat_map(|it| &it.policies) {
        let name = object.name_any();
        let (checked, spec) = unread(object, last.policies.get(&name), |spec| Policy::from_spec(&name, spec));
        policy_specs.extend(spec.map(|spec| (name.clone(), spec)));
        checked_policies.insert(name, checked);
    }
    if policies.is_none() {
        policy_specs.extend(last.policies.iter().map(|(name, spec)| (name.clone(), spec.clone())));
    }
    let rendered = render(
        provider_specs.iter().map(|(name, spec)| (name.as_str(), spec)),
        route_specs.iter().map(|(name, spec)| (name.as_str(), spec)),
        policy_specs.iter().map(|(name, spec)| (name.as_str(), spec)),
    )?;
    let differs = |(name, spec): &&(String, ProviderConfigSpec)| last.providers.get(name) != Some(spec);
    let providers_changed = provider_specs.iter().filter(differs);
    let differs = |(name, spec): &&(String, ModelRouteSpec)| last.routes.get(name) != Some(spec);
    let routes_changed = route_specs.iter().filter(differs);
    let differs = |(name, spec): &&(String, UsagePolicySpec)| last.policies.get(name) != Some(spec);
    let policies_changed = policy_specs.iter().filter(differs);
    let changed = providers_changed
        .map(|(name, _)| format!("ProviderConfig {name}"))
        .chain(routes_changed.map(|(name, _)| format!("ModelRoute {name}")))
        .chain(policies_changed.map(|(name, _)| format!("UsagePolicy {name}")))
        .collect();
    let write = match current {
        // The apiserver would refuse it each time; what is there stays, and every object says why.
        _ if rendered.text.len() > MAX_TEXT => None,
        Some(current) if current.holds(&rendered, clock) => None,
        Some(current) => Some(current.next(clock)),
        None if providers.is_empty() && routes.is_empty() && policy_specs.is_empty() => None,
        None => Some(clock.own),
    };
    // What is served is judged, not what was refused: an object that turned bad is still there for those that name it.
    let served_providers: Vec<Provider> = served(&checked_providers);
    let served_routes: Vec<Route> = served(&checked_routes);
    let mut unresolved = config::cross_check(&served_providers, &served_routes);
    let served_policies: Vec<Policy> = served(&checked_policies);
    unresolved.extend(config::diverts_nowhere(&served_policies, &served_routes));
    unresolved.extend(config::pauses_nothing(
        &served_policies,
        &served_providers,
        &served_routes,
    ));
    let mut advice = config::advice(&served_providers, &served_routes);
    advice.extend(config::unmetered(&served_policies, &served_providers));
    let specs = Specs {
        providers: provider_specs.into_iter().collect(),
        routes: route_specs.into_iter().collect(),
        policies: policy_specs.into_iter().collect(),
    };
    Ok(Desired {
        rendered,
        changed,
        write,
        unresolved,
        advice,
        providers: checked_providers,
        routes: checked_routes,
        policies: checked_policies,
        specs,
        accepted,
    })
}

/// Whether this provider is where that one is: the same keys' owner at the same place.
fn is_where(this: &ProviderConfigSpec, that: &ProviderConfigSpec) -> bool {
    this.provider == that.provider && this.endpoint == that.endpoint
}

/// Checks a spec, and says what is served of it: the spec itself or `last`, its last accepted version. `refuse` may refuse what
/// is right in itself for where it is. One that `was_there` before stays there, and whatever else is changed of it is served:
/// that it is switched off, above all, or given another key.
fn checked<T, S: Clone>(
    spec: &S,
    last: Option<&S>,
    check: impl Fn(&S) -> Result<T, Problems>,
    refuse: impl Fn(&T) -> Option<Problem>,
    was_there: impl Fn(&S, &S) -> bool,
) -> (Checked<T>, Option<S>) {
    let accepted = check(spec).and_then(|value| match refuse(&value) {
        Some(problem) if last.is_some_and(|last| was_there(last, spec)) => {
            Ok((Some(Refused::invalid(&problem)), value))
        }
        Some(problem) => Err(Problems(vec![problem])),
        None => Ok((None, value)),
    });
    let is_live = accepted.is_ok();
    let (refused, spec, served) = match accepted {
        Ok((refused, value)) => (refused, Some(spec), Some(value)),
        Err(problems) => {
            let (served, last) = kept(last, check);
            (Some(Refused::invalid(&problems)), last, served)
        }
    };
    let checked = Checked {
        refused,
        is_live,
        served,
    };
    (checked, spec.cloned())
}

/// The last accepted version. It was accepted once, so this cannot fail but for a release that has become stricter.
fn kept<T, S>(last: Option<&S>, check: impl Fn(&S) -> Result<T, Problems>) -> (Option<T>, Option<&S>) {
    let served = last.and_then(|last| check(last).ok());
    let last = last.filter(|_| served.is_some());
    (served, last)
}

/// Says what is served of an object that cannot be read: its last accepted version.
fn unread<K: Resource<DynamicType = ()>, T, S: Clone>(
    object: &Unread<K>,
    last: Option<&S>,
    check: impl Fn(&S) -> Result<T, Problems>,
) -> (Checked<T>, Option<S>) {
    let (served, spec) = kept(last, check);
    let left = if served.is_some() {
        "its last accepted version stays in service"
    } else {
        "it is not in service"
    };
    let problem = Problem::new(
        format!("{}: {}", object.path(), object.at),
        format!("this release cannot read it ({}): {left}", object.why),
        "it was written for another release: bring the operators to that one, or write it anew in the form of this one",
    );
    let refused = Refused {
        reason: reason::NOT_UNDERSTOOD,
        problems: problem.to_string(),
    };
    let checked = Checked {
        refused: Some(refused),
        is_live: false,
        served,
    };
    (checked, spec.cloned())
}

fn served<T: Clone>(all: &BTreeMap<String, Checked<T>>) -> Vec<T> {
    all.values().filter_map(|checked| checked.served.clone()).collect()
}

impl Desired {
    /// Notes a reference that leads nowhere, found by whoever can look; its path begins as `ProviderConfig NAME: `.
    pub fn note_unresolved(&mut self, problem: Problem) {
        self.unresolved.push(problem);
    }

    /// Writes what is there once more, with a higher sequence.
    pub fn write_again(&mut self, current: Option<&Current>, clock: Clocks) {
        if let (None, Some(current), false) = (self.write, current, self.is_too_large()) {
            self.write = Some(current.next(clock));
        }
    }

    /// The limits that sidecars share, as the content tells of them. Made at each call: they are asked for at a write alone.
    pub fn limits(&self) -> Vec<SharedLimit> {
        self.specs.shared_limits().collect()
    }

    /// The same, of what is there; none where that cannot be told.
    pub fn limits_before(&self) -> Option<Vec<LimitKey>> {
        self.accepted.limits()
    }

    /// Whether the documents are more than a ConfigMap can hold: then nothing is written.
    pub fn is_too_large(&self) -> bool {
        self.rendered.text.len() > MAX_TEXT
    }
}

/// Specs by name.
#[derive(Debug, Default)]
struct Specs {
    providers: BTreeMap<String, ProviderConfigSpec>,
    routes: BTreeMap<String, ModelRouteSpec>,
    policies: BTreeMap<String, UsagePolicySpec>,
}

impl Specs {
    /// The limits of them that sidecars share.
    fn shared_limits(&self) -> impl Iterator<Item = SharedLimit> {
        let of_providers = self.providers.iter().flat_map(|(name, spec)| of_provider(name, spec));
        let of_routes = self.routes.iter().flat_map(|(name, spec)| of_route(name, spec));
        let of_policies = self.policies.iter().flat_map(|(name, spec)| of_policy(name, spec));
        of_providers.chain(of_routes).chain(of_policies)
    }
}

/// The documents of the ConfigMap that is there: each was accepted when it was written.
#[derive(Debug, Default)]
struct LastAccepted {
    specs: Specs,
    /// Whether these are all that it says.
    is_all: bool,
}

impl LastAccepted {
    fn read(current: Option<&Current>, scope: &Scope) -> Self {
        let mut last = Self::default();
        let Some(current) = current else {
            last.is_all = true;
            return last;
        };
        if config::revision(&current.text) != current.revision {
            // Edited by hand: nothing in it can be taken as accepted.
            return last;
        }
        // Another release may have written it: each that can be read counts.
        let (found, is_all) = readable_objects(&current.text, scope);
        last.is_all = is_all;
        for Object { name, kind, .. } in found {
            match kind {
                ObjectKind::Provider(spec) => {
                    last.specs.providers.insert(name, *spec);
                }
                ObjectKind::Route(spec) => {
                    last.specs.routes.insert(name, *spec);
                }
                ObjectKind::Policy(spec) => {
                    last.specs.policies.insert(name, *spec);
                }
            }
        }
        last
    }

    /// The limits that sidecars share by it; none where it cannot be read whole.
    fn limits(&self) -> Option<Vec<LimitKey>> {
        self.is_all
            .then(|| self.specs.shared_limits().map(|limit| limit.of).collect())
    }
}
