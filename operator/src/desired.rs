//! A namespace's objects in, what should be out: the ConfigMap, and the verdict on every object. Pure.
//!
//! An object that is wrong never disturbs a config that works: its last accepted version, read back from the ConfigMap
//! that is there, stays in. Every document goes through the same checks that a sidecar makes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bowsprit_core::config::{
    self, Object, ObjectKind, Problem, Problems, Provider, Rendered, Route, Scope, objects, render,
};
use bowsprit_core::stream::{ReportedProvider, SidecarReport};
use bowsprit_crds::{Circuits, ModelRoute, ModelRouteSpec, ProviderConfig, ProviderConfigSpec, Sidecars};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::conditions::{Verdict, kind, reason};
use crate::validate::hosts::AllowedHosts;

#[cfg(test)]
mod tests;

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

/// What is known of one running sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SidecarSeen {
    /// The pod.
    pub pod: String,
    /// Its labels, which decide which ProviderConfigs it uses.
    pub labels: BTreeMap<String, String>,
    /// What it has not mounted and would need, as `secret/key`.
    pub not_mounted: Vec<String>,
    /// What it reports; none where it does not answer.
    pub report: Option<Arc<SidecarReport>>,
}

impl SidecarSeen {
    fn provider(&self, name: &str) -> Option<&ReportedProvider> {
        let report = self.report.as_ref()?;
        report.providers.iter().find(|provider| provider.name == name)
    }
}

/// What a namespace should look like.
#[derive(Debug)]
pub struct Desired {
    /// The ConfigMap's content.
    pub rendered: Rendered,
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

/// What is to be said of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Accepted, ResolvedRefs, Programmed, and Ready, which is all of them, in this order.
    pub verdicts: [Verdict; 4],
    /// The sidecars it is for.
    pub sidecars: Sidecars,
    /// Its breakers over all of them; routes have none.
    pub circuits: Circuits,
}

impl Judged {
    fn new(verdicts: [Verdict; 3], sidecars: Sidecars, circuits: Circuits) -> Self {
        let ready = Verdict::ready(&verdicts);
        let [accepted, resolved, programmed] = verdicts;
        Self {
            verdicts: [accepted, resolved, programmed, ready],
            sidecars,
            circuits,
        }
    }

    /// The conditions, each with the time of `before` where its status is the same.
    pub fn conditions(&self, before: &[Condition], generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
        let condition = |verdict: &Verdict| verdict.condition(before, generation, now);
        self.verdicts.iter().map(condition).collect()
    }
}

/// Decides. `clock` is the time in Unix seconds: a sequence is never below it, so that it grows even where the ConfigMap
/// was deleted meanwhile.
///
/// # Errors
/// Where the documents cannot be written, which no valid object causes.
pub fn desired(
    providers: &[Arc<ProviderConfig>],
    routes: &[Arc<ModelRoute>],
    current: Option<&Current>,
    clock: u64,
) -> Result<Desired, bowsprit_core::yaml::YamlError> {
    desired_at(&AllowedHosts::default(), providers, routes, current, clock)
}

/// The same where providers may be at some hosts only. One that is elsewhere is wrong like any other: it is not accepted, and
/// what was accepted before stays.
///
/// # Errors
/// As [`desired`].
pub fn desired_at(
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

    /// Whether the documents are more than a ConfigMap can hold: then nothing is written.
    pub fn is_too_large(&self) -> bool {
        self.rendered.text.len() > MAX_TEXT
    }

    /// The verdict on a ProviderConfig, given its namespace's sidecars.
    pub fn judge_provider(&self, name: &str, sidecars: &[SidecarSeen]) -> Option<Judged> {
        let checked = self.providers.get(name)?;
        let served = checked.served.as_ref();
        let selector = served.and_then(|provider| provider.pod_selector.as_ref());
        let selected: Vec<&SidecarSeen> = sidecars
            .iter()
            .filter(|seen| selector.is_none_or(|selector| selector.matches(&seen.labels)))
            .collect();
        let path = format!("ProviderConfig {name}: ");
        let left = served.map(|provider| self.left(provider.fallback.iter()));
        let mut resolved = self.resolved(&path, &left.unwrap_or_default(), "it still falls back to");
        if resolved.holds
            && let Some(message) = key_problems(name, &selected)
        {
            resolved = Verdict::new(kind::RESOLVED_REFS, false, reason::KEY_UNUSABLE, message);
        }
        let disabled = served.is_some_and(|provider| !provider.enabled);
        let mut programmed = self.programmed(checked.refused.is_some(), &selected);
        if programmed.holds && disabled {
            let message = "spec.enabled is false: no sidecar uses this provider";
            programmed = Verdict::new(kind::PROGRAMMED, true, reason::DISABLED, message);
        } else if programmed.holds
            && let Some(provider) = served.filter(|it| !it.not_in_force.is_empty())
        {
            // Still true: what these fields describe works without them. Nobody should think that they decide anything.
            let message = format!(
                "{}; not in force in this release: {}",
                programmed.message,
                provider.not_in_force.join(", ")
            );
            programmed = Verdict::new(kind::PROGRAMMED, true, reason::PARTIALLY_PROGRAMMED, message);
        }
        Some(Judged::new(
            [self.accepted(&path, checked.refused.as_ref()), resolved, programmed],
            self.count(&selected),
            circuits(name, &selected),
        ))
    }

    /// The verdict on a ModelRoute, given its namespace's sidecars.
    pub fn judge_route(&self, name: &str, sidecars: &[SidecarSeen]) -> Option<Judged> {
        let checked = self.routes.get(name)?;
        let selected: Vec<&SidecarSeen> = sidecars.iter().collect();
        let path = format!("ModelRoute {name}: ");
        let mut programmed = self.programmed(checked.refused.is_some(), &selected);
        let served = checked.served.as_ref();
        if programmed.holds
            && let Some(route) = served.filter(|route| !route.not_in_force.is_empty())
        {
            let message = format!(
                "{}: not in force in this release: the rest of the route is",
                route.not_in_force.join(", ")
            );
            programmed = Verdict::new(kind::PROGRAMMED, false, reason::PARTIALLY_PROGRAMMED, message);
        }
        let left = served.map(|route| self.left(route.all_targets().map(|target| &target.provider)));
        let nobody = left.as_ref().is_some_and(Vec::is_empty);
        let mut resolved = self.resolved(&path, &left.unwrap_or_default(), "it still goes to");
        if resolved.holds && nobody {
            let message = format!(
                "{path}spec.targets: no target is enabled: every request for it is answered with an error: enable one, or name another"
            );
            resolved = Verdict::new(kind::RESOLVED_REFS, false, reason::NO_CANDIDATE, message);
        }
        Some(Judged::new(
            [self.accepted(&path, checked.refused.as_ref()), resolved, programmed],
            self.count(&selected),
            Circuits::default(),
        ))
    }

    /// Which of these ProviderConfigs are served and enabled, each once, in this order.
    fn left<'a>(&self, names: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
        let mut left = Vec::new();
        for name in names {
            let served = self.providers.get(name).and_then(|checked| checked.served.as_ref());
            if served.is_some_and(|provider| provider.enabled) && !left.contains(&name.as_str()) {
                left.push(name.as_str());
            }
        }
        left
    }

    fn accepted(&self, path: &str, refused: Option<&String>) -> Verdict {
        if let Some(problems) = refused {
            return Verdict::new(kind::ACCEPTED, false, reason::INVALID, problems.clone());
        }
        let notes = of_own(&self.advice, path);
        let message = if notes.is_empty() {
            "valid".to_owned()
        } else {
            format!("valid, but probably not as meant:\n{}", notes.join("\n"))
        };
        Verdict::new(kind::ACCEPTED, true, reason::ACCEPTED, message)
    }

    /// `left`: who serves all the same.
    fn resolved(&self, path: &str, left: &[&str], still: &str) -> Verdict {
        let refused = |problem: &Problem| {
            let name = self.providers.keys().find(|name| {
                let missing = config::no_such_provider(problem.path.clone(), name);
                missing == *problem
            })?;
            let text = format!("ProviderConfig {name} was never accepted");
            let remedy = "see its condition Accepted for what is wrong with it";
            Some(Problem::new(problem.path.clone(), text, remedy))
        };
        let own = self.unresolved.iter().filter(|problem| problem.path.starts_with(path));
        let mut own: Vec<String> = own
            .map(|problem| refused(problem).unwrap_or_else(|| problem.clone()).to_string())
            .collect();
        if own.is_empty() {
            let message = "every reference is there; keys are handed to sidecars by the kubelet, not read here";
            return Verdict::new(kind::RESOLVED_REFS, true, reason::RESOLVED, message);
        }
        if !left.is_empty() {
            own.push(format!("{still} {}", left.join(", ")));
        } else if path.starts_with("ModelRoute ") {
            own.push("nobody is left: every request for it is answered with an error".to_owned());
        }
        Verdict::new(kind::RESOLVED_REFS, false, reason::REF_NOT_FOUND, own.join("\n"))
    }

    fn is_current(&self, seen: &SidecarSeen) -> bool {
        seen.report
            .as_ref()
            .is_some_and(|report| report.revision == self.rendered.revision)
    }

    fn count(&self, selected: &[&SidecarSeen]) -> Sidecars {
        let current = selected.iter().filter(|seen| self.is_current(seen)).count();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Sidecars {
            selected: number(selected.len()),
            current: number(current),
            behind: number(selected.len() - current),
        }
    }

    fn programmed(&self, refused: bool, selected: &[&SidecarSeen]) -> Verdict {
        let revision = &self.rendered.revision;
        let pending = |message: String| Verdict::new(kind::PROGRAMMED, false, reason::PENDING, message);
        if refused {
            let message = "refused, see Accepted: sidecars keep the last accepted version, if there was one";
            return Verdict::new(kind::PROGRAMMED, false, reason::NOT_ACCEPTED, message);
        }
        if self.is_too_large() {
            return pending(format!(
                "the ProviderConfigs and ModelRoutes of this namespace take {} bytes, more than the {MAX_TEXT} that a ConfigMap can hold: nothing new is live; shorten or remove some",
                self.rendered.text.len()
            ));
        }
        if selected.is_empty() {
            let message = format!("revision {revision} is written; no running pod with a sidecar is selected");
            return Verdict::new(kind::PROGRAMMED, true, reason::NO_SIDECARS, message);
        }
        let unmounted: Vec<&SidecarSeen> = selected
            .iter()
            .filter(|seen| !seen.not_mounted.is_empty())
            .copied()
            .collect();
        if let Some(first) = unmounted.first() {
            return pending(format!(
                "{} of {} pods were made before {} was referenced and have not mounted it: {}: restart them (kubectl rollout restart)",
                unmounted.len(),
                selected.len(),
                first.not_mounted.join(", "),
                names(unmounted.iter().map(|seen| seen.pod.as_str())),
            ));
        }
        let behind: Vec<&str> = selected
            .iter()
            .filter(|seen| !self.is_current(seen))
            .map(|seen| seen.pod.as_str())
            .collect();
        if behind.is_empty() {
            let message = format!("revision {revision} is live in all {} sidecars", selected.len());
            return Verdict::new(kind::PROGRAMMED, true, reason::PROGRAMMED, message);
        }
        let all = selected.len();
        pending(format!(
            "{} of {all} sidecars do not have revision {revision}: {}",
            behind.len(),
            names(behind)
        ))
    }
}

fn of_own(problems: &[Problem], path: &str) -> Vec<String> {
    let own = problems.iter().filter(|problem| problem.path.starts_with(path));
    own.map(ToString::to_string).collect()
}

/// Names, at most five of them, so that a message stays readable in a fleet.
fn names<'a>(all: impl IntoIterator<Item = &'a str>) -> String {
    let all: BTreeSet<&str> = all.into_iter().collect();
    let shown: Vec<&str> = all.iter().take(5).copied().collect();
    match all.len().saturating_sub(5) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn key_problems(provider: &str, selected: &[&SidecarSeen]) -> Option<String> {
    let mut pods = BTreeSet::new();
    let mut problems = BTreeSet::new();
    for seen in selected {
        let found = seen.provider(provider).map(|of| of.key_problems.as_slice());
        for problem in found.unwrap_or_default() {
            pods.insert(seen.pod.as_str());
            problems.insert(format!("spec.credentials {problem}"));
        }
    }
    if pods.is_empty() {
        return None;
    }
    let problems: Vec<String> = problems.into_iter().collect();
    Some(format!("{}: in {}", problems.join("; "), names(pods)))
}

fn circuits(provider: &str, selected: &[&SidecarSeen]) -> Circuits {
    let mut sum = [0_u32; 3];
    for of in selected.iter().filter_map(|seen| seen.provider(provider)) {
        for (total, count) in sum.iter_mut().zip([of.closed, of.open, of.half_open]) {
            *total = total.saturating_add(count);
        }
    }
    let [closed, open, half_open] = sum;
    let parts: Vec<String> = [(open, "open"), (half_open, "half-open"), (closed, "closed")]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    let summary = if parts.is_empty() {
        "-".to_owned()
    } else {
        parts.join(", ")
    };
    Circuits {
        closed,
        open,
        half_open,
        summary,
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
