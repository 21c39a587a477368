//! A namespace's objects in, what should be out: the ConfigMap, and the verdict on every object. Pure.
//!
//! An object that is wrong never disturbs a config that works: its last accepted version, read back from the ConfigMap
//! that is there, stays in. Every document goes through the same checks that a sidecar makes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bowsprit_core::config::{
    self, Object, ObjectKind, Problem, Problems, Provider, Rendered, Route, Scope, objects, render,
};
use bowsprit_crds::{ModelRoute, ModelRouteSpec, ProviderConfig, ProviderConfigSpec};
use kube::ResourceExt as _;

use crate::status::rollout::Version;
use crate::validate::hosts::AllowedHosts;

mod judge;
#[cfg(test)]
mod tests;

pub use judge::{Judged, LATE, Measure, SidecarSeen};

/// The most that the documents of a namespace may take: a ConfigMap holds 1 MiB, with its other keys.
const MAX_TEXT: usize = (1 << 20) - 4096;

/// The ConfigMap as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    /// The documents.
    pub text: String,
    /// Their revision.
    pub revision: String,
    /// Their sequence.
    pub sequence: u64,
}

impl Current {
    /// Which it is.
    pub fn version(&self) -> Version {
        Version {
            sequence: self.sequence,
            revision: self.revision.clone(),
        }
    }
}

/// What a namespace should look like.
#[derive(Debug)]
pub struct Desired {
    /// The ConfigMap's content.
    pub rendered: Rendered,
    /// The objects, as `ProviderConfig NAME` and `ModelRoute NAME`, whose documents differ from those that are there.
    pub changed: Vec<String>,
    /// The sequence to write it with; none where what is there is right already, or nothing is and nothing should be.
    pub write: Option<u64>,
    providers: BTreeMap<String, Checked<Provider>>,
    routes: BTreeMap<String, Checked<Route>>,
    unresolved: Vec<Problem>,
    advice: Vec<Problem>,
}

/// An object, as it was checked.
#[derive(Debug)]
struct Checked<T> {
    /// What is wrong with it as it is now; none where it is accepted.
    refused: Option<String>,
    /// What sidecars get of it: itself, or where it is refused its last accepted version, if there was one.
    served: Option<T>,
}

/// Decides. A provider that is at none of `hosts` is wrong like any other: it is not accepted, and what was accepted before stays.
/// `clock` is the time in Unix seconds: a sequence is never below it, so that it grows even where the ConfigMap was deleted
/// meanwhile.
///
/// # Errors
/// Where the documents cannot be written, which no valid object causes.
pub fn desired(
    hosts: &AllowedHosts,
    providers: &[Arc<ProviderConfig>],
    routes: &[Arc<ModelRoute>],
    current: Option<&Current>,
    clock: u64,
) -> Result<Desired, bowsprit_core::yaml::YamlError> {
    let scope = Scope::Cluster {
        pod_labels: BTreeMap::new(),
    };
    let last = LastAccepted::read(current, &scope);
    let mut provider_specs: Vec<(String, ProviderConfigSpec)> = Vec::new();
    let mut checked_providers = BTreeMap::new();
    for object in providers {
        let name = object.name_any();
        let check = |spec: &ProviderConfigSpec| Provider::from_spec(&name, spec, &scope);
        let (checked, spec) = checked(&object.spec, last.providers.get(&name), check, |it| hosts.refuse(it));
        provider_specs.extend(spec.map(|spec| (name.clone(), spec)));
        checked_providers.insert(name, checked);
    }
    let mut route_specs: Vec<(String, ModelRouteSpec)> = Vec::new();
    let mut checked_routes = BTreeMap::new();
    for object in routes {
        let name = object.name_any();
        let check = |spec: &ModelRouteSpec| Route::from_spec(&name, spec);
        let (checked, spec) = checked(&object.spec, last.routes.get(&name), check, |_| None);
        route_specs.extend(spec.map(|spec| (name.clone(), spec)));
        checked_routes.insert(name, checked);
    }
    let rendered = render(
        provider_specs.iter().map(|(name, spec)| (name.as_str(), spec)),
        route_specs.iter().map(|(name, spec)| (name.as_str(), spec)),
    )?;
    let differs = |(name, spec): &&(String, ProviderConfigSpec)| last.providers.get(name) != Some(spec);
    let providers_changed = provider_specs.iter().filter(differs);
    let differs = |(name, spec): &&(String, ModelRouteSpec)| last.routes.get(name) != Some(spec);
    let routes_changed = route_specs.iter().filter(differs);
    let changed = providers_changed
        .map(|(name, _)| format!("ProviderConfig {name}"))
        .chain(routes_changed.map(|(name, _)| format!("ModelRoute {name}")))
        .collect();
    let write = match current {
        // The apiserver would refuse it each time; what is there stays, and every object says why.
        _ if rendered.text.len() > MAX_TEXT => None,
        Some(current) if current.text == rendered.text && current.revision == rendered.revision => None,
        Some(current) => Some(clock.max(current.sequence.saturating_add(1))),
        None if providers.is_empty() && routes.is_empty() => None,
        None => Some(clock),
    };
    // What is served is judged, not what was refused: an object that turned bad is still there for those that name it.
    let served_providers: Vec<Provider> = served(&checked_providers);
    let served_routes: Vec<Route> = served(&checked_routes);
    Ok(Desired {
        rendered,
        changed,
        write,
        unresolved: config::cross_check(&served_providers, &served_routes),
        advice: config::advice(&served_providers, &served_routes),
        providers: checked_providers,
        routes: checked_routes,
    })
}

/// Checks a spec, and says what is served of it: the spec itself or `last`, its last accepted version. `refuse` may refuse what
/// is right in itself, and never what was accepted before.
fn checked<T, S: Clone>(
    spec: &S,
    last: Option<&S>,
    check: impl Fn(&S) -> Result<T, Problems>,
    refuse: impl Fn(&T) -> Option<Problem>,
) -> (Checked<T>, Option<S>) {
    let accepted = check(spec).and_then(|value| match refuse(&value) {
        Some(problem) => Err(Problems(vec![problem])),
        None => Ok(value),
    });
    let (refused, spec, served) = match accepted {
        Ok(value) => (None, Some(spec), Some(value)),
        // It was accepted once, so this cannot fail but for a release that has become stricter.
        Err(problems) => {
            let served = last.and_then(|last| check(last).ok());
            (Some(problems.to_string()), last.filter(|_| served.is_some()), served)
        }
    };
    (Checked { refused, served }, spec.cloned())
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
    pub fn write_again(&mut self, current: Option<&Current>, clock: u64) {
        if let (None, Some(current), false) = (self.write, current, self.is_too_large()) {
            self.write = Some(clock.max(current.sequence.saturating_add(1)));
        }
    }

    /// Whether the documents are more than a ConfigMap can hold: then nothing is written.
    pub fn is_too_large(&self) -> bool {
        self.rendered.text.len() > MAX_TEXT
    }
}

/// The documents of the ConfigMap that is there: each was accepted when it was written.
#[derive(Default)]
struct LastAccepted {
    providers: BTreeMap<String, ProviderConfigSpec>,
    routes: BTreeMap<String, ModelRouteSpec>,
}

impl LastAccepted {
    fn read(current: Option<&Current>, scope: &Scope) -> Self {
        let mut last = Self::default();
        let Some(current) = current.filter(|current| config::revision(&current.text) == current.revision) else {
            // Missing, or edited by hand: nothing in it can be taken as accepted.
            return last;
        };
        for Object { name, kind } in objects(&current.text, scope).unwrap_or_default() {
            match kind {
                ObjectKind::Provider(spec) => {
                    last.providers.insert(name, *spec);
                }
                ObjectKind::Route(spec) => {
                    last.routes.insert(name, *spec);
                }
            }
        }
        last
    }
}
