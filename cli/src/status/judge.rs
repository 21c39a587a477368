//! From what is to what to do. Pure.

use bowsprit_crds::names;
use serde::Serialize;

use super::overview::{Advice, Namespace, Object, Overview};
use crate::output::{count, few};

/// What `status` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Judged {
    /// All of it in a line.
    pub(crate) summary: String,
    /// Whether nothing is broken.
    pub(crate) well: bool,
    /// What was seen.
    #[serde(flatten)]
    pub(crate) overview: Overview,
    /// What is broken first.
    pub(crate) advice: Vec<Advice>,
}

/// Where advice about the operators and the webhook belongs.
pub(crate) const SYSTEM: &str = "operator";

impl Judged {
    /// Whether something in this place is broken; `Some(false)`: something in it wants a look.
    pub(crate) fn trouble(&self, place: &str) -> Option<bool> {
        let here = self.advice.iter().filter(|it| it.place == place);
        here.map(|it| it.broken).reduce(|any, one| any || one)
    }
}

/// Judges.
pub(crate) fn judge(overview: Overview) -> Judged {
    let mut advice = system(&overview);
    let operators_work = overview.operators.as_ref().is_none_or(|it| it.ready > 0);
    for namespace in &overview.namespaces {
        namespace_advice(namespace, operators_work, &mut advice);
    }
    // Stable: within one kind the order of the namespaces stays.
    advice.sort_by_key(|it| !it.broken);
    let well = !advice.iter().any(|it| it.broken);
    let mut judged = Judged {
        summary: String::new(),
        well,
        overview,
        advice,
    };
    judged.summary = summary(&judged);
    judged
}

fn summary(judged: &Judged) -> String {
    let namespaces = &judged.overview.namespaces;
    let total = |of: fn(&Namespace) -> usize| namespaces.iter().map(of).sum::<usize>();
    let size = format!(
        "{}, {}, {}, {}",
        count(namespaces.len(), "namespace"),
        count(total(|it| it.providers.len()), "provider"),
        count(total(|it| it.routes.len()), "route"),
        count(total(|it| it.sidecars), "sidecar"),
    );
    let troubled = namespaces
        .iter()
        .filter(|it| judged.trouble(&it.name) == Some(true))
        .count();
    let system = judged.trouble(SYSTEM) == Some(true);
    match (troubled, system) {
        (0, false) => format!("All well: {size}."),
        (0, true) => format!("The operator needs attention; {size}."),
        (_, false) => format!("{troubled} of {size}: attention needed."),
        (_, true) => format!("The operator and {troubled} of {size}: attention needed."),
    }
}

fn advise(broken: bool, place: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Advice {
    Advice {
        broken,
        place: place.to_owned(),
        problem: problem.into(),
        remedy: remedy.into(),
    }
}

fn system(overview: &Overview) -> Vec<Advice> {
    let mut advice = Vec::new();
    if let Some(operators) = &overview.operators {
        let namespace = &operators.namespace;
        if operators.deployment.is_empty() {
            advice.push(advise(
                true,
                SYSTEM,
                format!("no operator is installed in namespace {namespace}"),
                "install the chart, or name its namespace with --operator-namespace",
            ));
        } else if operators.ready < operators.wanted {
            let consequence = if operators.ready == 0 {
                ": running sidecars go on, new pods that ask for one are refused, and what stands below may be old"
            } else {
                ""
            };
            advice.push(advise(
                operators.ready == 0,
                SYSTEM,
                format!("{} of {} operators are ready{consequence}", operators.ready, operators.wanted),
                format!(
                    "kubectl -n {namespace} describe pods -l app.kubernetes.io/component=operator; kubectl bowsprit doctor"
                ),
            ));
        }
    }
    match &overview.webhook {
        Some(webhook) if !webhook.there => advice.push(advise(
            true,
            SYSTEM,
            "the webhook's configuration is not there: no new pod gets a sidecar",
            "helm upgrade the release",
        )),
        Some(webhook) if !webhook.trusted => advice.push(advise(
            true,
            SYSTEM,
            "the webhook's configuration has no CA: new pods that ask for a sidecar are refused",
            "the operators write it when they are ready: see their log",
        )),
        _ => {}
    }
    advice
}

/// Percent of a budget from which on requests may find no room.
const SPENT_PERCENT: u64 = 95;

fn namespace_advice(namespace: &Namespace, operators_work: bool, advice: &mut Vec<Advice>) {
    let name = namespace.name.as_str();
    let mut push = |broken, problem: String, remedy: String| advice.push(advise(broken, name, problem, remedy));
    if namespace.sidecars > 0 && namespace.providers.is_empty() {
        push(
            true,
            format!(
                "{} and no ProviderConfig: their apps reach no model",
                count(namespace.sidecars, "sidecar")
            ),
            format!("apply a ProviderConfig to namespace {name} (examples/providerconfigs.yaml)"),
        );
    }
    for (kind, object) in objects(namespace) {
        if let Some((broken, problem, remedy)) = object_advice(name, kind, object, operators_work) {
            push(broken, problem, remedy);
        }
    }
    for (kind, object) in objects(namespace) {
        for (objective, left) in object.budgets().filter(|(_, left)| *left < 0) {
            let times = 100 - left;
            push(
                false,
                format!(
                    "{kind} {}: the error budget of its {objective} is spent: {times}% of it is used, by the sidecars that run now",
                    object.name
                ),
                format!("kubectl bowsprit stats -n {name} and kubectl bowsprit logs -n {name} --failed say what fails"),
            );
        }
    }
    for policy in &namespace.policies {
        for budget in policy.budgets.iter().map(|budget| &budget.status) {
            if budget.spent_percent >= SPENT_PERCENT {
                let whose = if budget.of.is_empty() {
                    String::new()
                } else {
                    format!(" of {}", budget.of)
                };
                push(
                    false,
                    format!(
                        "usagepolicy {}: {}% of the budget {}{whose} is spent ({} of {} USD) until {}",
                        policy.name,
                        budget.spent_percent,
                        budget.name,
                        budget.spent,
                        budget.amount,
                        budget.window_ends.0
                    ),
                    format!(
                        "kubectl bowsprit spend -n {name} --by workload says who spends it; more: kubectl -n {name} edit usagepolicy {}",
                        policy.name
                    ),
                );
            }
        }
    }
    for policy in &namespace.policies {
        let Some((runaway, worst)) = policy.runaway.as_ref().and_then(|all| Some((all, all.worst.first()?))) else {
            continue;
        };
        let (are, failed) = if worst.stops {
            ("are refused", " --failed")
        } else {
            ("pass", "")
        };
        let who = match runaway.pods {
            1 => format!("{} sends the same request again and again", worst.pod),
            pods => format!(
                "{pods} pods send the same request again and again, most of all {}",
                worst.pod
            ),
        };
        push(
            false,
            format!(
                "usagepolicy {}: {who}: {} beyond spec.runaway since {}, which {are}",
                policy.name, worst.repeats, worst.since.0
            ),
            format!(
                "look for a loop in what runs there: kubectl bowsprit logs -n {name}{failed} shows its requests; if so many are meant: \
                 kubectl -n {name} edit usagepolicy {}",
                policy.name
            ),
        );
    }
    for object in &namespace.providers {
        let circuits = object.circuits.unwrap_or_default();
        if circuits.open > 0 {
            let all = circuits.closed + circuits.open + circuits.half_open;
            push(
                true,
                format!(
                    "{}: {} of {all} circuits are open: it fails, and requests go to the fallbacks if there are any",
                    object.name, circuits.open
                ),
                format!(
                    "kubectl bowsprit test {0} -n {name} says why; they close by themselves once it answers, or at once by: \
                     kubectl bowsprit circuit reset {0} -n {name}",
                    object.name
                ),
            );
        }
    }
    // Many pods of a workload wait for the same thing.
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for (pod, why) in &namespace.waiting {
        match reasons.iter_mut().find(|(known, _)| known == why) {
            Some((_, pods)) => pods.push(pod),
            None => reasons.push((why, vec![pod])),
        }
    }
    for (why, pods) in reasons {
        let first = pods.first().copied().unwrap_or_default();
        push(
            true,
            format!(
                "{} with a sidecar not up ({}): {why}",
                count(pods.len(), "pod"),
                few(pods.iter().copied())
            ),
            format!(
                "kubectl -n {name} describe pod {first}; kubectl -n {name} logs {first} -c {}",
                names::SIDECAR_CONTAINER
            ),
        );
    }
    if !namespace.missed.is_empty() {
        let pods = namespace.missed.iter().map(|it| it.pod.as_str());
        let mut owners: Vec<&str> = namespace.missed.iter().map(|it| it.owner.as_str()).collect();
        owners.sort_unstable();
        owners.dedup();
        let remedy = if owners.first().is_some_and(|owner| owner.is_empty()) {
            "delete them and create them anew: a running pod cannot get a sidecar".to_owned()
        } else {
            format!("kubectl -n {name} rollout restart {}", owners.join(" "))
        };
        push(
            true,
            format!(
                "{} asked for a sidecar, in vain ({})",
                count(namespace.missed.len(), "pod"),
                few(pods)
            ),
            remedy,
        );
    }
}

/// The objects of a namespace, each with the word that kubectl has for its kind.
pub(super) fn objects(namespace: &Namespace) -> impl Iterator<Item = (&'static str, &Object)> {
    let providers = namespace.providers.iter().map(|it| ("providerconfig", it));
    let routes = namespace.routes.iter().map(|it| ("modelroute", it));
    let policies = namespace.policies.iter().map(|it| ("usagepolicy", it));
    providers.chain(routes).chain(policies)
}

fn object_advice(namespace: &str, kind: &str, object: &Object, operators_work: bool) -> Option<(bool, String, String)> {
    let name = &object.name;
    let describe = format!("kubectl -n {namespace} describe {kind} {name}");
    match object.ready {
        Some(true) if object.paused => Some((
            false,
            format!("{kind} {name} lets nothing pass: {}", object.what),
            format!("when it is over: kubectl bowsprit resume --policy {name} -n {namespace}"),
        )),
        Some(true) => None,
        // With no operator there is a better explanation, which has been given.
        None => operators_work.then(|| (false, format!("{kind} {name} has not been judged yet"), describe)),
        Some(false) => {
            let remedy = match object.reason.as_str() {
                "Pending" if object.message.contains("mounted") => {
                    "restart the workloads of those pods: a running pod cannot get a new mount".into()
                }
                "Pending" => {
                    format!("normally gone within a second; if it stays: kubectl bowsprit health -n {namespace}")
                }
                "KeyUnusable" => {
                    "put the key into the Secret; running pods see it within a minute, without a restart".into()
                }
                "RefNotFound" => "create what is named, or correct the name".into(),
                "Invalid" | "NotAccepted" => {
                    "correct the field and apply it again; until then sidecars keep the version before".into()
                }
                _ => describe,
            };
            let broken = object.reason != "PartiallyProgrammed";
            Some((
                broken,
                format!("{kind} {name} is not ready ({}): {}", object.reason, object.message),
                remedy,
            ))
        }
    }
}
