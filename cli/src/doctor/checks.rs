//! From what was seen to what is wrong. Pure: the time is passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use bowsprit_crds::guards::Guard;
use bowsprit_crds::limits::NamedLimit;
use bowsprit_crds::provider_config::ObjectKeyRef;
use bowsprit_crds::{ModelRoute, ProviderConfig, UsagePolicy, names};
use kube::ResourceExt as _;
use serde::Serialize;

use crate::health::Seen;
use crate::output::{count, few};
use crate::status::{Missed, Operators, Webhook};

/// The leaf is renewed twelve hours before its end: half of that is overdue.
const OVERDUE: u64 = 6 * 3600;

/// What was seen; `Err`: could not be seen, and why.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    /// This program's version.
    pub(super) client: String,
    /// By name.
    pub(super) crds: Result<BTreeMap<String, Crd>, String>,
    /// Objects that this release cannot read, each with the place at which.
    pub(super) unread: Vec<String>,
    pub(super) operators: Result<Operators, String>,
    pub(super) webhook: Result<Webhook, String>,
    /// Whether the dry run's pod got a sidecar, or why the pod was refused.
    pub(super) dry_run: Result<Result<bool, String>, String>,
    pub(super) served: Result<Vec<Served>, String>,
    pub(super) permissions: Result<Vec<Permission>, String>,
    /// Pods by the release that injected them.
    pub(super) sidecar_versions: Result<BTreeMap<String, usize>, String>,
    pub(super) missed: Result<Vec<Missed>, String>,
    /// ProviderConfigs with the number of sidecars that lack them.
    pub(super) behind: Result<Vec<(Ref, u32)>, String>,
    pub(super) configs: Result<Vec<Config>, String>,
    /// Absent Secrets.
    pub(super) secrets: Result<Vec<Absent>, String>,
    pub(super) health: Result<Fleet, String>,
}

impl Default for Findings {
    /// Nothing was looked at.
    fn default() -> Self {
        fn none<T>() -> Result<T, String> {
            Err("not looked at".to_owned())
        }
        Self {
            client: String::new(),
            crds: none(),
            unread: Vec::new(),
            operators: none(),
            webhook: none(),
            dry_run: none(),
            served: none(),
            permissions: none(),
            sidecar_versions: none(),
            missed: none(),
            behind: none(),
            configs: none(),
            secrets: none(),
            health: none(),
        }
    }
}

/// A CRD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Crd {
    /// Whether it serves the version that this program speaks.
    pub(super) serves: bool,
    /// The fields that this program's release has and it has not.
    pub(super) lacks: Vec<String>,
}

/// An operator's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) pod: String,
    /// Why it could not be looked at.
    pub(super) unreached: Option<String>,
    /// Why the apiserver would not take it.
    pub(super) distrusted: Option<String>,
    /// Unix seconds.
    pub(super) not_after: Option<u64>,
}

/// What the operators need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Permission {
    pub(super) what: String,
    pub(super) allowed: bool,
}

/// A rendered config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) namespace: String,
    pub(super) there: bool,
    /// The revision beside it is of another text.
    pub(super) edited: bool,
}

/// The sidecars that were asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fleet {
    /// How many there are.
    pub(super) all: usize,
    pub(super) seen: Vec<Seen>,
}

/// An object of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ref(pub(super) String);

impl Ref {
    pub(super) fn new(namespace: Option<String>, name: &str) -> Self {
        Self(format!("{}/{name}", namespace.unwrap_or_default()))
    }
}

/// Who names a Secret, and what for: what is wanted more comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    /// A ProviderConfig, for a credential: without it, it is not asked.
    Credential(String),
    /// A guard, for the key of the service that it asks: its `onFailure` decides. Where it stands.
    Guard(String),
    /// A limit, for the store that counts it: shares stand in. Where it stands.
    Limits(String),
    /// A ModelRoute, for the store of its answers: each sidecar has its own alone.
    Answers(String),
}

impl By {
    fn told(&self) -> String {
        match self {
            Self::Credential(provider) => format!("ProviderConfig {provider}"),
            Self::Guard(place) | Self::Limits(place) => place.clone(),
            Self::Answers(route) => format!("ModelRoute {route}, cache.store"),
        }
    }
}

/// A Secret that is named and not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Absent {
    pub(super) secret: Ref,
    pub(super) by: By,
}

/// Secrets that are named, by namespace and name, each with who wants it the most.
#[derive(Default)]
pub(super) struct Named(pub(super) BTreeMap<(String, String), By>);

impl Named {
    /// Those that these name.
    pub(super) fn by(providers: &[ProviderConfig], routes: &[ModelRoute], policies: &[UsagePolicy]) -> Self {
        let mut named = Self::default();
        for provider in providers {
            let (place, name, spec) = (provider.namespace(), provider.name_any(), &provider.spec);
            for key in spec.credentials.iter().filter_map(|it| it.secret_key_ref.as_ref()) {
                named.note(place.as_ref(), key, By::Credential(name.clone()));
            }
            if let Some(store) = &spec.rate_limits.store {
                let by = By::Limits(format!("ProviderConfig {name}, rateLimits.store"));
                named.note(place.as_ref(), &store.redis_ref, by);
            }
        }
        for route in routes {
            let (place, name, spec) = (route.namespace(), route.name_any(), &route.spec);
            if let Some(store) = spec.cache.as_ref().and_then(|cache| cache.store.as_ref()) {
                named.note(place.as_ref(), &store.redis_ref, By::Answers(name.clone()));
            }
            named.rules(
                place.as_ref(),
                &format!("ModelRoute {name}"),
                &spec.limits,
                &spec.guards,
            );
        }
        for policy in policies {
            let (place, of, spec) = (
                policy.namespace(),
                format!("UsagePolicy {}", policy.name_any()),
                &policy.spec,
            );
            named.rules(place.as_ref(), &of, &spec.limits, &spec.guards);
        }
        named
    }

    /// Those of the limits and guards of one object.
    fn rules(&mut self, place: Option<&String>, of: &str, limits: &[NamedLimit], guards: &[Guard]) {
        for limit in limits {
            if let Some(store) = &limit.store {
                let by = By::Limits(format!("{of}, limits {}, store", limit.name));
                self.note(place, &store.redis_ref, by);
            }
        }
        for guard in guards {
            if let Some(key) = guard.webhook.as_ref().and_then(|it| it.auth_secret_ref.as_ref()) {
                let by = By::Guard(format!("{of}, guards {}, webhook.authSecretRef", guard.name));
                self.note(place, key, by);
            }
        }
    }

    fn note(&mut self, place: Option<&String>, key: &ObjectKeyRef, by: By) {
        let secret = (place.cloned().unwrap_or_default(), key.name.clone());
        let known = self.0.entry(secret).or_insert_with(|| by.clone());
        if by < *known {
            *known = by;
        }
    }
}

/// What the operators do, as the chart grants it: verb, group, resource, the name of the one object that is meant or none, and
/// whether in their own namespace alone.
pub(super) const NEEDED: [(&str, &str, &str, &str, bool); 15] = [
    ("list", "bowsprit.dev", "providerconfigs", "", false),
    ("watch", "bowsprit.dev", "modelroutes", "", false),
    ("watch", "bowsprit.dev", "usagepolicies", "", false),
    ("patch", "bowsprit.dev", "providerconfigs/status", "", false),
    ("patch", "bowsprit.dev", "modelroutes/status", "", false),
    ("patch", "bowsprit.dev", "usagepolicies/status", "", false),
    ("create", "", "configmaps", "", false),
    ("patch", "", "configmaps", names::CONFIG_MAP, false),
    ("list", "", "pods", "", false),
    ("patch", "", "pods", "", false),
    ("watch", "", "namespaces", "", false),
    ("create", "", "events", "", false),
    ("create", "authorization.k8s.io", "subjectaccessreviews", "", false),
    ("create", "authentication.k8s.io", "tokenreviews", "", false),
    ("create", "coordination.k8s.io", "leases", "", true),
];

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    Warn,
    Fail,
    Unknown,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    #[serde(rename = "check")]
    pub(super) name: &'static str,
    pub(super) state: State,
    pub(super) found: String,
    #[serde(rename = "do", skip_serializing_if = "String::is_empty")]
    pub(super) remedy: String,
}

impl Check {
    fn new(name: &'static str, state: State, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name,
            state,
            found: found.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn failed(&self) -> bool {
        self.state == State::Fail
    }
}

/// When the certificate ends, from an operator's metrics.
pub(super) fn not_after(metrics: &str) -> Option<u64> {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("bowsprit_operator_webhook_certificate_not_after_seconds "))?;
    let whole = line.trim().split('.').next()?;
    whole.parse().ok().filter(|seconds| *seconds > 0)
}

/// All checks, in the order in which one rests on the other.
pub(super) fn judge(findings: &Findings, now: Duration) -> Vec<Check> {
    let operators_in = findings
        .operators
        .as_ref()
        .map(|it| it.namespace.clone())
        .unwrap_or_default();
    let mut checks = vec![
        checked("crds", &findings.crds, |found| crds(found, findings)),
        checked("operators", &findings.operators, operators),
        checked("webhook configuration", &findings.webhook, webhook),
        checked("injection (dry run)", &findings.dry_run, dry_run),
        checked("certificates", &findings.served, |served| certificates(served, now)),
        checked("operator's permissions", &findings.permissions, |found| {
            permissions(found)
        }),
        versions(findings),
        checked("pods missed by injection", &findings.missed, |found| missed(found)),
        checked("sidecars behind", &findings.behind, |found| behind(found)),
        checked("rendered configs", &findings.configs, |found| {
            configs(found, &operators_in)
        }),
        checked("secrets", &findings.secrets, |found| secrets(found)),
        checked("sidecars", &findings.health, sidecars),
    ];
    // Told only where there is one: after a rollback, for a while.
    if !findings.unread.is_empty() {
        checks.insert(1, unread(&findings.unread));
    }
    checks
}

fn unread(found: &[String]) -> Check {
    let text = format!("in another release's form: {}", few(found.iter().map(String::as_str)));
    let remedy = "bring operators and this program to the release that they were written for, or write them anew in the form of this one: \
                  what was accepted last of each stays in service";
    Check::new("objects", State::Warn, text, remedy)
}

type Verdict = (State, String, String);

fn checked<T>(check: &'static str, found: &Result<T, String>, judge: impl FnOnce(&T) -> Verdict) -> Check {
    match found {
        Ok(found) => {
            let (state, found, remedy) = judge(found);
            Check::new(check, state, found, remedy)
        }
        Err(why) => {
            let (why, remedy) = why.split_once("\n  ").unwrap_or((why, ""));
            Check::new(check, State::Unknown, format!("could not look: {why}"), remedy)
        }
    }
}

fn ok(found: impl Into<String>) -> Verdict {
    (State::Ok, found.into(), String::new())
}

fn bad(state: State, found: impl Into<String>, remedy: impl Into<String>) -> Verdict {
    (state, found.into(), remedy.into())
}

fn crds(found: &BTreeMap<String, Crd>, findings: &Findings) -> Verdict {
    let missing: Vec<&str> = found
        .iter()
        .filter(|(_, crd)| !crd.serves)
        .map(|(name, _)| name.as_str())
        .collect();
    if !missing.is_empty() {
        let found = format!("{} does not serve {}", missing.join(", "), bowsprit_crds::VERSION);
        return bad(State::Fail, found, APPLY_CRDS);
    }
    // What an operator of another release would write is not known here; `versions` says so.
    let operators = findings.operators.as_ref().map(|it| it.version.as_str());
    let is_comparable = operators.is_ok_and(|version| version == findings.client);
    let older: Vec<String> = found
        .iter()
        .filter(|(_, crd)| is_comparable && !crd.lacks.is_empty())
        .map(|(name, crd)| format!("{name} does not know {}", few(crd.lacks.iter().map(String::as_str))))
        .collect();
    if older.is_empty() {
        return ok(format!(
            "{} serve {}",
            count(found.len(), "CRD"),
            bowsprit_crds::VERSION
        ));
    }
    let found = format!(
        "older than the operators: {}: applied, it is dropped; in a status, it is left out",
        older.join("; ")
    );
    bad(State::Warn, found, APPLY_CRDS)
}

/// What brings the CRDs to the release that is installed.
const APPLY_CRDS: &str =
    "kubectl apply --server-side --force-conflicts -f charts/bowsprit/crds: helm does not change CRDs that are there";

fn operators(found: &Operators) -> Verdict {
    let Operators {
        namespace,
        deployment,
        wanted,
        ready,
        ..
    } = found;
    if deployment.is_empty() {
        let found = format!("no operator is installed in namespace {namespace}");
        return bad(
            State::Fail,
            found,
            "install the chart, or name its namespace with --operator-namespace",
        );
    }
    let leader = found
        .leader
        .as_ref()
        .map(|leader| format!(", {leader} leads"))
        .unwrap_or_default();
    let text = format!("{ready} of {wanted} ready in {namespace}{leader}");
    let look = format!(
        "kubectl -n {namespace} describe deployment {deployment}; kubectl -n {namespace} logs deployment/{deployment}"
    );
    match (*ready, *wanted) {
        (0, _) => bad(State::Fail, text, look),
        (ready, wanted) if ready < wanted => bad(State::Warn, text, look),
        (1, _) => bad(
            State::Warn,
            text,
            "replicas: 2 or more: with one, no pod that asks for a sidecar can start while it restarts",
        ),
        _ => ok(text),
    }
}

fn webhook(found: &Webhook) -> Verdict {
    match found {
        Webhook { there: false, .. } => bad(
            State::Fail,
            "the MutatingWebhookConfiguration is not there: no new pod gets a sidecar",
            "helm upgrade the release: it is made again",
        ),
        Webhook { trusted: false, .. } => bad(
            State::Fail,
            "it has no CA: pods that ask for a sidecar are refused",
            "the operators write it as soon as they are ready: see their log",
        ),
        Webhook { failure_policy, .. } if failure_policy == "Ignore" => bad(
            State::Warn,
            "failurePolicy is Ignore: a pod that starts while no operator answers has no sidecar",
            "webhook.failurePolicy: Fail",
        ),
        _ => ok(format!("in place, with a CA, failurePolicy {}", found.failure_policy)),
    }
}

fn dry_run(found: &Result<bool, String>) -> Verdict {
    match found {
        Ok(true) => ok("a labelled pod would get a sidecar"),
        Ok(false) => bad(
            State::Fail,
            "a labelled pod would get none",
            "the webhook is not there, or leaves this namespace alone (webhook.excludedNamespaces, kube-system, the operator's own): see the lines above, or try another with -n",
        ),
        Err(why) => bad(
            State::Fail,
            format!("a labelled pod is refused: {why}"),
            "see the lines above and below",
        ),
    }
}

fn certificates(served: &[Served], now: Duration) -> Verdict {
    if served.is_empty() {
        return bad(State::Fail, "no operator serves one", "see operators");
    }
    let distrusted: Vec<String> = served
        .iter()
        .filter_map(|it| Some(format!("{}: {}", it.pod, it.distrusted.as_ref()?)))
        .collect();
    if !distrusted.is_empty() {
        let found = format!("not trusted by the webhook's caBundle: {}", distrusted.join("; "));
        return bad(
            State::Fail,
            found,
            "operators mend this within seconds of being ready: see their log for what keeps them from it",
        );
    }
    let (reached, unreached): (Vec<_>, Vec<_>) = served.iter().partition(|it| it.unreached.is_none());
    let text = format!("{} trusted by the caBundle", count(reached.len(), "certificate"));
    if !unreached.is_empty() {
        let why = |it: &&Served| Some(format!("{}: {}", it.pod, it.unreached.as_ref()?));
        let unreached: Vec<String> = unreached.iter().filter_map(why).collect();
        return bad(
            State::Warn,
            format!("{text}; not to be reached: {}", unreached.join("; ")),
            "see whether its node is well: kubectl get pods -o wide; the other operators serve meanwhile",
        );
    }
    match served.iter().filter_map(|it| it.not_after).min() {
        None => ok(text),
        Some(end) => {
            let left = end.saturating_sub(now.as_secs());
            let text = format!("{text}, the first ends in {} h", left / 3600);
            if left < OVERDUE {
                bad(
                    State::Warn,
                    text,
                    "it is renewed twelve hours before: see the operators' log",
                )
            } else {
                ok(text)
            }
        }
    }
}

fn permissions(found: &[Permission]) -> Verdict {
    let lacking: Vec<&str> = found
        .iter()
        .filter(|it| !it.allowed)
        .map(|it| it.what.as_str())
        .collect();
    if lacking.is_empty() {
        return ok(format!("all {} that it needs", found.len()));
    }
    bad(
        State::Fail,
        format!("lacks: {}", lacking.join(", ")),
        "helm upgrade the release: its roles are made again",
    )
}

/// Releases one apart understand each other.
fn versions(findings: &Findings) -> Check {
    const CHECK: &str = "versions";
    let operators = match &findings.operators {
        Ok(operators) if !operators.version.is_empty() => operators.version.as_str(),
        _ => {
            return Check::new(
                CHECK,
                State::Unknown,
                format!("client {}; the operators' is not seen", findings.client),
                "",
            );
        }
    };
    let empty = BTreeMap::new();
    let sidecars = findings.sidecar_versions.as_ref().unwrap_or(&empty);
    let listed: Vec<String> = sidecars
        .iter()
        .map(|(version, pods)| format!("{version} in {}", count(*pods, "pod")))
        .collect();
    let sidecar_text = if listed.is_empty() {
        "none".to_owned()
    } else {
        listed.join(", ")
    };
    let found = format!(
        "operators {operators}, sidecars {sidecar_text}, this program {}",
        findings.client
    );
    let far: Vec<&str> = sidecars
        .keys()
        .map(String::as_str)
        .filter(|it| apart(operators, it).is_none_or(|by| by > 1))
        .collect();
    if !far.is_empty() {
        let remedy = format!(
            "restart the workloads whose sidecars are {}: releases more than one apart are not tested together",
            far.join(", ")
        );
        return Check::new(CHECK, State::Warn, found, remedy);
    }
    if apart(operators, &findings.client).is_none_or(|by| by > 1) {
        return Check::new(
            CHECK,
            State::Warn,
            found,
            "install the plugin of the operators' release",
        );
    }
    Check::new(CHECK, State::Ok, found, "")
}

/// How many minor releases lie between two versions; none where that cannot be said.
fn apart(one: &str, other: &str) -> Option<u64> {
    let minor = |version: &str| {
        let mut parts = version.trim_start_matches('v').split('.');
        let (major, minor) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?);
        Some((major, minor))
    };
    let (one, other) = (minor(one)?, minor(other)?);
    (one.0 == other.0).then(|| one.1.abs_diff(other.1))
}

fn missed(found: &[Missed]) -> Verdict {
    let Some(first) = found.first() else {
        return ok("none");
    };
    let pods: Vec<String> = found.iter().map(|it| format!("{}/{}", it.namespace, it.pod)).collect();
    let remedy = if first.owner.is_empty() {
        format!(
            "delete it and create it anew: kubectl -n {} delete pod {}",
            first.namespace, first.pod
        )
    } else {
        format!("kubectl -n {} rollout restart {}", first.namespace, first.owner)
    };
    let found = format!(
        "{} asked for a sidecar, in vain: {}",
        count(found.len(), "pod"),
        few(pods.iter().map(String::as_str))
    );
    bad(State::Fail, found, remedy)
}

fn behind(found: &[(Ref, u32)]) -> Verdict {
    let Some((first, _)) = found.first() else {
        return ok("none");
    };
    let objects: Vec<String> = found
        .iter()
        .map(|(of, pods)| format!("{} at {}", of.0, count(*pods as usize, "pod")))
        .collect();
    let namespace = first.0.split('/').next().unwrap_or_default();
    bad(
        State::Warn,
        format!(
            "the last change has not arrived: {}",
            few(objects.iter().map(String::as_str))
        ),
        format!("normally gone within a second; else kubectl bowsprit health -n {namespace}"),
    )
}

fn configs(found: &[Config], operators_in: &str) -> Verdict {
    let of = |pick: fn(&Config) -> bool| {
        let names: Vec<&str> = found
            .iter()
            .filter(|it| pick(it))
            .map(|it| it.namespace.as_str())
            .collect();
        (!names.is_empty()).then(|| few(names))
    };
    if let Some(edited) = of(|it| it.edited) {
        let found = format!("the ConfigMap {} was edited by hand in: {edited}", names::CONFIG_MAP);
        return bad(
            State::Fail,
            found,
            format!(
                "edit the ProviderConfigs; the operator writes the ConfigMap again (kubectl -n {operators_in} logs says if not)"
            ),
        );
    }
    if let Some(absent) = of(|it| !it.there) {
        let found = format!("the ConfigMap {} is not there in: {absent}", names::CONFIG_MAP);
        return bad(
            State::Fail,
            found,
            "the operator writes it within a second: see its log for what keeps it from that",
        );
    }
    ok(format!(
        "{} as the operator wrote them",
        count(found.len(), "ConfigMap")
    ))
}

fn secrets(found: &[Absent]) -> Verdict {
    let Some(first) = found.iter().min_by_key(|absent| &absent.by) else {
        return ok("all that ProviderConfigs, ModelRoutes and UsagePolicies name are there");
    };
    let absent: Vec<String> = found
        .iter()
        .map(|absent| format!("{} (named by {})", absent.secret.0, absent.by.told()))
        .collect();
    let (namespace, name) = first.secret.0.split_once('/').unwrap_or_default();
    let create = |value| format!("kubectl -n {namespace} create secret generic {name} --from-literal=KEY={value}");
    let (state, remedy) = match &first.by {
        By::Credential(_) => (State::Fail, create("...") + "; running pods see it within a minute"),
        By::Guard(_) => (
            State::Fail,
            create("...")
                + "; until it is there, what the guard is to decide is refused, or passes with onFailure: Pass",
        ),
        By::Limits(_) => (
            State::Warn,
            create("redis://...") + "; until it is there, limits of the fleet are counted in shares",
        ),
        By::Answers(_) => (
            State::Warn,
            create("redis://...") + "; until it is there, each sidecar keeps answers in its own memory alone",
        ),
    };
    bad(
        state,
        format!("absent: {}", few(absent.iter().map(String::as_str))),
        remedy,
    )
}

fn sidecars(found: &Fleet) -> Verdict {
    if found.all == 0 {
        return ok("there are none here");
    }
    let silent: Vec<&str> = found
        .seen
        .iter()
        .filter(|it| it.health.is_none())
        .map(|it| it.pod.as_str())
        .collect();
    let status = |it: &&Seen| it.health.as_ref().is_some_and(|health| health.status != "ok");
    let sick: Vec<&str> = found.seen.iter().filter(status).map(|it| it.pod.as_str()).collect();
    let asked = if found.seen.len() < found.all {
        format!("{} of {} asked", found.seen.len(), found.all)
    } else {
        format!("{} asked", found.all)
    };
    let stream = |it: &Seen| it.health.as_ref().and_then(|health| health.stream.clone());
    let connected = found
        .seen
        .iter()
        .filter(|it| stream(it).is_some_and(|it| it.connected))
        .count();
    let down: Vec<&str> = found
        .seen
        .iter()
        .filter(|it| stream(it).is_some_and(|it| !it.connected))
        .map(|it| it.pod.as_str())
        .collect();
    let how = format!("{asked}, {connected} with a stream to the operator");
    let look = "kubectl bowsprit health says more";
    if !silent.is_empty() {
        return bad(State::Fail, format!("{how}; no answer: {}", few(silent)), look);
    }
    if !sick.is_empty() {
        return bad(State::Warn, format!("{how}; not well: {}", few(sick)), look);
    }
    if !down.is_empty() {
        let found = format!("{how}; their stream is down, changes come by the mount: {}", few(down));
        return bad(
            State::Warn,
            found,
            "kubectl bowsprit health says why; NetworkPolicies must let pods reach the operators' port 8444",
        );
    }
    ok(how)
}
