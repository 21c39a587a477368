//! The verdict on every object: what holds of it, what does not, with path, problem and remedy. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::config::{self, Policy, Problem};
use bowsprit_core::stream::{CA_BUNDLE_KEPT, ReportedProvider, SidecarReport};
use bowsprit_crds::usage_policy::PausedObject;
use bowsprit_crds::{Circuits, Sidecars};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use super::{Desired, MAX_TEXT, Refused};
use crate::conditions::{Verdict, kind, reason};
use crate::fleet::{Objectives, Runaways};
use crate::injector::References;
use crate::status::rollout::{Version, has};

/// From then on it is said that sidecars are behind, with what to do: a change is live within a second, and by the kubelet alone
/// within its sync period, a minute.
pub const LATE: Duration = Duration::from_mins(1);

/// What is known of one running sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SidecarSeen {
    /// The pod.
    pub pod: Arc<str>,
    /// Its labels, which decide which ProviderConfigs it uses.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The Secrets and CA bundles that it has mounted.
    pub mounted: Arc<References>,
    /// What made it, such as `deployment/web`, where `kubectl rollout restart` takes that.
    pub workload: Option<Arc<str>>,
    /// What it reports; none where it does not answer.
    pub report: Option<Arc<SidecarReport>>,
    /// What it has counted of its objectives, where it holds a stream.
    pub objectives: Objectives,
    /// The policies by which its pod runs away, where it holds a stream.
    pub runaways: Runaways,
}

impl SidecarSeen {
    fn provider(&self, name: &str) -> Option<&ReportedProvider> {
        let report = self.report.as_ref()?;
        report.providers.iter().find(|provider| provider.name == name)
    }
}

/// What is to be said of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Accepted, ResolvedRefs, Programmed, and Ready, which is all of them, in this order.
    pub verdicts: [Verdict; 4],
    /// The sidecars it is for.
    pub sidecars: Sidecars,
    /// The names of their pods.
    pub selected: Vec<Arc<str>>,
    /// Its breakers over all of them; routes have none.
    pub circuits: Circuits,
}

impl Judged {
    fn new(verdicts: [Verdict; 3], sidecars: Sidecars, selected: &[&SidecarSeen], circuits: Circuits) -> Self {
        let ready = Verdict::ready(&verdicts);
        let [accepted, resolved, programmed] = verdicts;
        Self {
            verdicts: [accepted, resolved, programmed, ready],
            sidecars,
            selected: selected.iter().map(|seen| Arc::clone(&seen.pod)).collect(),
            circuits,
        }
    }

    /// The conditions, each with the time of `before` where its status is the same.
    pub fn conditions(&self, before: &[Condition], generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
        let condition = |verdict: &Verdict| verdict.condition(before, generation, now);
        self.verdicts.iter().map(condition).collect()
    }
}

/// What an object's verdict is measured by.
#[derive(Clone, Debug, Default)]
pub struct Measure {
    /// The config that first carried it as it is now.
    pub carried: Version,
    /// The config that is written.
    pub newest: Version,
    /// Whether sidecars have been behind for [`LATE`] already.
    pub late: bool,
}

fn why(reason: Option<&str>) -> &str {
    reason.unwrap_or("no reason is given")
}

/// What a policy has taken out of service, for people.
fn pauses(policy: &Policy) -> Option<String> {
    let all = policy.paused.as_ref();
    let all = all.map(|paused| format!("every request is refused: {}", why(paused.reason.as_deref())));
    let of = |kind: &str, paused: &PausedObject| {
        format!("{kind} {} is paused: {}", paused.name, why(paused.reason.as_deref()))
    };
    let providers = policy
        .paused_providers
        .iter()
        .map(|paused| of("ProviderConfig", paused));
    let routes = policy.paused_routes.iter().map(|paused| of("ModelRoute", paused));
    let told: Vec<String> = all.into_iter().chain(providers).chain(routes).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

impl Desired {
    /// The verdict on a ProviderConfig, given its namespace's sidecars. `needed`: the Secrets and CA bundles that it names.
    pub fn judge_provider(
        &self,
        name: &str,
        needed: &References,
        sidecars: &[SidecarSeen],
        measure: &Measure,
    ) -> Option<Judged> {
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
        if !resolved.holds
            && let Some(kept) = bundle_kept(name, &selected)
        {
            let message = format!("{}\n{kept}", resolved.message);
            resolved = Verdict::new(kind::RESOLVED_REFS, false, resolved.reason, message);
        }
        let disabled = served.is_some_and(|provider| !provider.enabled);
        let mut programmed = self.programmed(&path, !checked.is_live, needed, &selected, measure);
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
        programmed = self.or_paused(programmed, name, |policy| &policy.paused_providers);
        Some(Judged::new(
            [self.accepted(&path, checked.refused.as_ref()), resolved, programmed],
            count(&selected, measure),
            &selected,
            circuits(name, &selected),
        ))
    }

    /// The verdict on a ModelRoute, given its namespace's sidecars.
    pub fn judge_route(&self, name: &str, sidecars: &[SidecarSeen], measure: &Measure) -> Option<Judged> {
        let checked = self.routes.get(name)?;
        let selected: Vec<&SidecarSeen> = sidecars.iter().collect();
        let path = format!("ModelRoute {name}: ");
        let mut programmed = self.programmed(&path, !checked.is_live, &References::default(), &selected, measure);
        let served = checked.served.as_ref();
        programmed = self.or_paused(programmed, name, |policy| &policy.paused_routes);
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
            count(&selected, measure),
            &selected,
            Circuits::default(),
        ))
    }

    /// The verdict on a UsagePolicy, given its namespace's sidecars.
    pub fn judge_policy(&self, name: &str, sidecars: &[SidecarSeen], measure: &Measure) -> Option<Judged> {
        let checked = self.policies.get(name)?;
        let selector = checked.served.as_ref().and_then(|policy| policy.pod_selector.as_ref());
        let selected: Vec<&SidecarSeen> = sidecars
            .iter()
            .filter(|seen| selector.is_none_or(|selector| selector.matches(&seen.labels)))
            .collect();
        let path = format!("UsagePolicy {name}: ");
        let needed = References::default();
        let mut programmed = self.programmed(&path, !checked.is_live, &needed, &selected, measure);
        let unaware = selected.iter().filter(|seen| !knows_policies(seen)).count();
        if programmed.holds && unaware > 0 {
            let pods = selected.iter().filter(|seen| !knows_policies(seen));
            let message = format!(
                "{unaware} of {} sidecars are of a release that passes policies over: {}: make their pods anew",
                selected.len(),
                names(pods.map(|seen| &*seen.pod))
            );
            programmed = Verdict::new(kind::PROGRAMMED, false, reason::PARTIALLY_PROGRAMMED, message);
        } else if programmed.holds
            && let Some(paused) = checked.served.as_ref().and_then(pauses)
        {
            let message = format!("{}: {paused}", programmed.message);
            programmed = Verdict::new(kind::PROGRAMMED, true, reason::PAUSED, message);
        }
        Some(Judged::new(
            [
                self.accepted(&path, checked.refused.as_ref()),
                self.resolved(&path, &[], ""),
                programmed,
            ],
            count(&selected, measure),
            &selected,
            Circuits::default(),
        ))
    }

    /// The same, with the policies that pause this object, where it is in force.
    fn or_paused(&self, programmed: Verdict, name: &str, of: impl Fn(&Policy) -> &Vec<PausedObject>) -> Verdict {
        if !programmed.holds || programmed.reason == reason::DISABLED {
            return programmed;
        }
        let policies = self.policies.values().filter_map(|checked| checked.served.as_ref());
        let told: Vec<String> = policies
            .filter_map(|policy| {
                let paused = of(policy).iter().find(|paused| paused.name == name)?;
                let whose = if policy.pod_selector.is_some() {
                    " for the pods that it selects"
                } else {
                    ""
                };
                Some(format!(
                    "UsagePolicy {} has paused it{whose}: {}",
                    policy.name,
                    why(paused.reason.as_deref())
                ))
            })
            .collect();
        if told.is_empty() {
            return programmed;
        }
        let message = format!("{}: {}", programmed.message, told.join("; "));
        Verdict::new(kind::PROGRAMMED, true, reason::PAUSED, message)
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

    fn accepted(&self, path: &str, refused: Option<&Refused>) -> Verdict {
        if let Some(Refused { reason, problems }) = refused {
            return Verdict::new(kind::ACCEPTED, false, reason, problems.clone());
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

    fn programmed(
        &self,
        path: &str,
        refused: bool,
        needed: &References,
        selected: &[&SidecarSeen],
        measure: &Measure,
    ) -> Verdict {
        let revision = &measure.carried.revision;
        let failed = |reason, message: String| Verdict::new(kind::PROGRAMMED, false, reason, message);
        if refused {
            let message = "refused, see Accepted: sidecars keep the last accepted version, if there was one";
            return failed(reason::NOT_ACCEPTED, message.to_owned());
        }
        // Others are live as they are, and judged as ever.
        let has_changed = self
            .changed
            .iter()
            .any(|object| path.strip_suffix(": ") == Some(object));
        if self.is_too_large() && has_changed {
            let message = format!(
                "the objects of this namespace take {} bytes, more than the {MAX_TEXT} that a ConfigMap can hold: nothing new is live; shorten or remove some",
                self.rendered.text.len()
            );
            return failed(reason::TOO_LARGE, message);
        }
        if selected.is_empty() {
            let message = format!("revision {revision} is written; no running pod with a sidecar is selected");
            return Verdict::new(kind::PROGRAMMED, true, reason::NO_SIDECARS, message);
        }
        if let Some(message) = not_mounted(needed, selected) {
            return failed(reason::SECRET_NOT_MOUNTED, message);
        }
        if let Some(message) = refusals(selected, measure) {
            return failed(reason::SIDECAR_REFUSED, message);
        }
        let behind: Vec<&SidecarSeen> = selected
            .iter()
            .filter(|seen| !is_current(seen, measure))
            .copied()
            .collect();
        if behind.is_empty() {
            let message = format!("revision {revision} is live in all {} sidecars", selected.len());
            return Verdict::new(kind::PROGRAMMED, true, reason::PROGRAMMED, message);
        }
        let message = format!(
            "{} of {} sidecars have not said that they have revision {revision}: {}",
            behind.len(),
            selected.len(),
            names(behind.iter().map(|seen| &*seen.pod))
        );
        if measure.late {
            let remedy = "see the logs of their container bowsprit, and whether they reach the operator's port 8444; what was live before still is";
            return failed(reason::SIDECARS_BEHIND, format!("{message}: {remedy}"));
        }
        failed(reason::PENDING, message)
    }
}

/// Whether it is of a release that has this kind; who does not answer is judged as behind.
fn knows_policies(seen: &SidecarSeen) -> bool {
    seen.report.as_ref().is_none_or(|report| report.policies.is_some())
}

fn is_current(seen: &SidecarSeen, measure: &Measure) -> bool {
    let report = seen.report.as_ref();
    report.is_some_and(|report| has(report.sequence, &report.revision, &measure.carried, &measure.newest))
}

/// The pods' names in `sidecars.behindPods`, at the most.
const NAMED: usize = 10;

fn count(selected: &[&SidecarSeen], measure: &Measure) -> Sidecars {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let behind = selected.iter().filter(|seen| !is_current(seen, measure));
    let mut behind: Vec<String> = behind.map(|seen| seen.pod.to_string()).collect();
    behind.sort_unstable();
    Sidecars {
        selected: number(selected.len()),
        current: number(selected.len() - behind.len()),
        behind: number(behind.len()),
        behind_pods: if behind.len() <= NAMED { behind } else { Vec::new() },
    }
}

/// Pods that were made before something was referenced: a running pod gets no new mount.
fn not_mounted(needed: &References, selected: &[&SidecarSeen]) -> Option<String> {
    let (mut pods, mut missing, mut workloads) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for seen in selected {
        let lacking = needed.missing_from(&seen.mounted);
        if lacking.is_empty() {
            continue;
        }
        pods.push(&*seen.pod);
        missing.extend(lacking);
        workloads.extend(seen.workload.as_deref());
    }
    let (missing, count) = (missing.into_iter().collect::<Vec<_>>(), pods.len());
    if count == 0 {
        return None;
    }
    let remedy = match workloads.len() {
        0 => "make them anew".to_owned(),
        1..=5 => {
            let commands: Vec<String> = workloads
                .iter()
                .map(|it| format!("kubectl rollout restart {it}"))
                .collect();
            commands.join("; ")
        }
        more => format!("kubectl rollout restart of the {more} workloads that made them"),
    };
    Some(format!(
        "{count} of {} pods were made before {} was referenced and have not mounted it: {}: {remedy}",
        selected.len(),
        missing.join(", "),
        names(pods)
    ))
}

/// Sidecars that were offered what carries the object, and did not take it.
fn refusals(selected: &[&SidecarSeen], measure: &Measure) -> Option<String> {
    let (mut pods, mut why) = (BTreeSet::new(), None);
    for seen in selected.iter().filter(|seen| !is_current(seen, measure)) {
        let refused = seen.report.as_ref().and_then(|report| report.refused.as_ref());
        if let Some(refused) = refused.filter(|refused| refused.sequence >= measure.carried.sequence) {
            pods.insert(&*seen.pod);
            why.get_or_insert(&refused.why);
        }
    }
    let why = why?;
    Some(format!(
        "{} of {} sidecars refused revision {}: {}: {why}: what was live before still is",
        pods.len(),
        selected.len(),
        measure.newest.revision,
        names(pods)
    ))
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
            pods.insert(&*seen.pod);
            problems.insert(format!("spec.credentials {problem}"));
        }
    }
    if pods.is_empty() {
        return None;
    }
    let problems: Vec<String> = problems.into_iter().collect();
    Some(format!("{}: in {}", problems.join("; "), names(pods)))
}

/// Sidecars that go on with a CA bundle that is no more.
fn bundle_kept(provider: &str, selected: &[&SidecarSeen]) -> Option<String> {
    let keeps = |seen: &&&SidecarSeen| {
        seen.provider(provider)
            .is_some_and(|of| of.status.starts_with(CA_BUNDLE_KEPT))
    };
    let count = selected.iter().filter(keeps).count();
    (count > 0).then(|| {
        format!(
            "{count} of {} sidecars trust what the CA bundle held last; one that starts now cannot ask this provider",
            selected.len()
        )
    })
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
