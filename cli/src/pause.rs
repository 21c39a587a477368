//! `pause` and `resume`: the switch that stops all model traffic of a namespace, or that of a ProviderConfig or ModelRoute. It is a
//! field of a UsagePolicy, which the sidecars hear of before any other change.

use std::fmt::Write as _;
use std::time::Duration;

use bowsprit_crds::UsagePolicy;
use bowsprit_crds::usage_policy::PausedObject;
use http::Request;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::args::{ClusterArgs, PauseArgs, PausedArgs, ResumeArgs};
use crate::cluster::{Answer, Cluster};
use crate::failure::{Failure, Intent};
use crate::output::{Paint, Report, Screen, Tone};
use crate::progress::Progress;
use crate::uri::encoded;

/// How long it is waited for the sidecars. A change is live in one second; then the operator says so.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// Which way the switch is turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn<'a> {
    /// Nothing passes, for this reason.
    Pause(Option<&'a str>),
    /// It passes again.
    Resume,
}

/// What it is turned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What<'a> {
    All,
    Provider(&'a str),
    Route(&'a str),
}

impl<'a> What<'a> {
    fn of(args: &'a PausedArgs) -> Self {
        match (&args.provider, &args.route) {
            (Some(name), _) => Self::Provider(name),
            (None, Some(name)) => Self::Route(name),
            (None, None) => Self::All,
        }
    }

    /// The UsagePolicy that says so where none is named: one for each, so that each is turned by itself.
    fn policy(self) -> String {
        match self {
            Self::All => "pause".to_owned(),
            Self::Provider(name) => format!("pause-provider-{name}"),
            Self::Route(name) => format!("pause-route-{name}"),
        }
    }

    /// Who owns the field at the apiserver. What one owner applies takes back what it applied before, so each has its own; the
    /// apiserver takes 128 bytes.
    fn owner(self) -> String {
        let owner = match self {
            Self::All => "kubectl-bowsprit".to_owned(),
            Self::Provider(name) => format!("kubectl-bowsprit-provider-{name}"),
            Self::Route(name) => format!("kubectl-bowsprit-route-{name}"),
        };
        owner.chars().take(128).collect()
    }

    /// The list of a policy that it stands in, and its name there; none of what is no list.
    fn entry(self) -> Option<(&'static str, &'a str)> {
        match self {
            Self::All => None,
            Self::Provider(name) => Some(("pausedProviders", name)),
            Self::Route(name) => Some(("pausedRoutes", name)),
        }
    }

    fn is_paused_by(self, policy: &UsagePolicy) -> bool {
        let has = |list: &[PausedObject], name: &str| list.iter().any(|paused| paused.name == name);
        match self {
            Self::All => policy.spec.paused,
            Self::Provider(name) => has(&policy.spec.paused_providers, name),
            Self::Route(name) => has(&policy.spec.paused_routes, name),
        }
    }

    /// As people are told it; empty for everything.
    fn told(self) -> String {
        match self {
            Self::All => String::new(),
            Self::Provider(name) => format!("provider {name} "),
            Self::Route(name) => format!("route {name} "),
        }
    }

    /// The options that turn it.
    fn option(self) -> String {
        match self {
            Self::All => String::new(),
            Self::Provider(name) => format!("--provider {name} "),
            Self::Route(name) => format!("--route {name} "),
        }
    }
}

/// What has become of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    namespace: String,
    policy: String,
    /// The ProviderConfig that it is for; neither this nor a route: everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    /// The ModelRoute that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    paused: bool,
    /// Whether every sidecar that it is for has said that it has it.
    live: bool,
    /// Running sidecars that it is for.
    sidecars: u32,
    /// Of these, those that have said so.
    current: u32,
    /// What the operator says where it is not live.
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
    /// Other policies of the namespace that pause the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also_paused_by: Vec<String>,
}

/// Stops it.
pub(crate) async fn pause(cluster: &ClusterArgs, args: &PauseArgs, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let done = switch(&cluster, &args.what, Turn::Pause(args.reason.as_deref()), screen).await?;
    report(args.out.output, &done, screen.paint)
}

/// Lets it pass again.
pub(crate) async fn resume(cluster: &ClusterArgs, args: &ResumeArgs, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let done = switch(&cluster, &args.what, Turn::Resume, screen).await?;
    report(args.out.output, &done, screen.paint)
}

fn report(form: crate::args::Format, done: &Done, paint: Paint) -> Result<Report, Failure> {
    Report::new(form, done, done.live, || told(done, paint))
}

async fn switch(cluster: &Cluster, args: &PausedArgs, turn: Turn<'_>, screen: Screen) -> Result<Done, Failure> {
    let progress = Progress::start(screen, "waiting for the sidecars");
    let namespace = cluster.namespace().to_owned();
    let what = What::of(args);
    let policy = &args.policy.clone().unwrap_or_else(|| what.policy());
    let stored = write(cluster, policy, what, turn).await?;
    let mut done = Done {
        namespace: namespace.clone(),
        policy: policy.clone(),
        provider: args.provider.clone(),
        route: args.route.clone(),
        paused: turn != Turn::Resume,
        ..Done::default()
    };
    let begun = Instant::now();
    loop {
        let object = cluster.get::<UsagePolicy>(&namespace, policy).await?;
        let Some(object) = object else { break };
        look(&object, stored.metadata.generation, &mut done);
        if done.live || begun.elapsed() >= PATIENCE {
            break;
        }
        sleep(LOOK).await;
    }
    let (all, _) = cluster.objects::<UsagePolicy>(Some(&namespace)).await?;
    let others = all
        .iter()
        .filter(|it| what.is_paused_by(it) && it.name_any() != *policy);
    done.also_paused_by = others.map(ResourceExt::name_any).collect();
    drop(progress);
    Ok(done)
}

/// Writes the field, and gives what is stored then.
async fn write(cluster: &Cluster, policy: &str, what: What<'_>, turn: Turn<'_>) -> Result<UsagePolicy, Failure> {
    let namespace = cluster.namespace();
    let plural = UsagePolicy::plural(&());
    let path = format!(
        "/apis/{}/namespaces/{namespace}/{plural}/{policy}",
        bowsprit_crds::API_VERSION
    );
    let owner = encoded(&what.owner());
    let (form, query, body) = match turn {
        // Applied, so that it is made where it is not there.
        Turn::Pause(reason) => (
            "application/apply-patch+yaml",
            format!("?fieldManager={owner}&force=true"),
            json!({
                "apiVersion": bowsprit_crds::API_VERSION, "kind": UsagePolicy::kind(&()),
                "metadata": {"name": policy}, "spec": paused(what, reason),
            }),
        ),
        Turn::Resume => (
            "application/merge-patch+json",
            format!("?fieldManager={owner}"),
            resumed(cluster, policy, what).await?,
        ),
    };
    let request = Request::patch(path + &query)
        .header("content-type", form)
        .body(body.to_string().into_bytes());
    let request = request.map_err(|_| Failure::Usage(format!("{policy} is no name of a UsagePolicy")))?;
    let intent = Intent {
        verb: "patch",
        group: bowsprit_crds::GROUP,
        resource: &plural,
        name: None,
        namespace: Some(namespace),
    };
    let answer = cluster.sent(&intent, request).await?;
    match answer.status {
        200 | 201 => serde_json::from_slice(&answer.body)
            .map_err(|error| Failure::Wrong(format!("the apiserver's answer is no UsagePolicy: {error}"))),
        404 if is_of_the_object(&answer, policy) => Err(Failure::Wrong(format!(
            "there is no UsagePolicy {policy} in namespace {namespace}: kubectl get usagepolicies -n {namespace}"
        ))),
        404 => Err(Failure::Wrong(
            "this cluster has no kind UsagePolicy: kubectl apply --server-side --force-conflicts -f charts/bowsprit/crds"
                .to_owned(),
        )),
        code @ (401 | 403) => Err(intent.refused(code, &answer.said())),
        _ => Err(Failure::Wrong(answer.said())),
    }
}

/// The spec that pauses it.
fn paused(what: What<'_>, reason: Option<&str>) -> Value {
    match (what.entry(), reason) {
        (None, None) => json!({"paused": true}),
        (None, Some(reason)) => json!({"paused": true, "pausedReason": reason}),
        (Some((list, name)), None) => json!({list: [{"name": name}]}),
        (Some((list, name)), Some(reason)) => json!({list: [{"name": name, "reason": reason}]}),
    }
}

/// The change that ends it, whoever wrote it. A list can only be changed whole: of the version that was read, so that nobody's
/// change in between is undone.
///
/// # Errors
/// The policy does not pause it.
async fn resumed(cluster: &Cluster, policy: &str, what: What<'_>) -> Result<Value, Failure> {
    let Some((list, name)) = what.entry() else {
        return Ok(json!({"spec": {"paused": false, "pausedReason": Value::Null}}));
    };
    let namespace = cluster.namespace();
    let object = cluster.get::<UsagePolicy>(namespace, policy).await?;
    let object = object.filter(|object| what.is_paused_by(object)).ok_or_else(|| {
        Failure::Wrong(format!(
            "no UsagePolicy {policy} in namespace {namespace} pauses {}: kubectl bowsprit status -n {namespace} shows who does, \
             and --policy names it",
            what.told().trim_end()
        ))
    })?;
    let stored = match what {
        What::Route(_) => &object.spec.paused_routes,
        What::All | What::Provider(_) => &object.spec.paused_providers,
    };
    let left: Vec<&PausedObject> = stored.iter().filter(|paused| paused.name != name).collect();
    Ok(json!({"metadata": {"resourceVersion": object.metadata.resource_version}, "spec": {list: left}}))
}

/// Whether it is the object that is not there, and not its kind.
fn is_of_the_object(answer: &Answer, policy: &str) -> bool {
    answer.said().contains(&format!("\"{policy}\""))
}

/// What the operator says of it, where it speaks of this generation.
fn look(object: &UsagePolicy, generation: Option<i64>, done: &mut Done) {
    let Some(status) = &object.status else { return };
    if status.observed_generation < generation {
        return;
    }
    let sidecars = status.sidecars.clone().unwrap_or_default();
    (done.sidecars, done.current) = (sidecars.selected, sidecars.current);
    let ready = status.conditions.iter().find(|it| it.type_ == "Ready");
    done.live = ready.is_some_and(|it| it.status == "True");
    done.why = ready
        .filter(|_| !done.live)
        .map(|it| it.message.clone())
        .unwrap_or_default();
}

fn told(done: &Done, paint: Paint) -> String {
    let Done { namespace, policy, .. } = done;
    let of = match (&done.provider, &done.route) {
        (Some(name), _) => What::Provider(name),
        (None, Some(name)) => What::Route(name),
        (None, None) => What::All,
    };
    let turned = if done.paused { "paused" } else { "resumed" };
    let what = format!("{}is {turned}", of.told());
    let so = match (done.live, done.sidecars) {
        (true, 0) => format!("{what}; no running pod with a sidecar is selected"),
        (true, all) => format!("{what} in all {all} sidecars"),
        (false, all) => {
            let late = format!("{what}, and {} of {all} sidecars have said so", done.current);
            paint.paint(Tone::Warn, &late)
        }
    };
    let mut text = format!("UsagePolicy {policy} in {}: {so}\n", paint.paint(Tone::Bold, namespace));
    if !done.why.is_empty() {
        let _ = writeln!(text, "  {}", done.why);
    }
    if !done.paused && !done.also_paused_by.is_empty() {
        let others = done.also_paused_by.join(", ");
        let still = format!(
            "still paused by {others}: kubectl bowsprit resume {}--policy NAME -n {namespace}",
            of.option()
        );
        let _ = writeln!(text, "  {}", paint.paint(Tone::Warn, &still));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use kube::client::Body;

    use super::*;
    use crate::cluster::tests::{answering, status};

    const ALL: PausedArgs = PausedArgs {
        provider: None,
        route: None,
        policy: None,
    };
    const SCREEN: Screen = Screen {
        paint: Paint(false),
        watched: false,
        live: false,
    };

    fn stored(paused: bool, ready: &str) -> Value {
        json!({
            "apiVersion": "bowsprit.dev/v1alpha1", "kind": "UsagePolicy",
            "metadata": {"name": "pause", "namespace": "shop", "generation": 2}, "spec": {"paused": paused},
            "status": {
                "observedGeneration": 2, "sidecars": {"selected": 3, "current": 3, "behind": 0},
                "conditions": [{"type": "Ready", "status": ready, "reason": "Paused", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        })
    }

    #[tokio::test]
    async fn a_pause_is_made_where_there_is_none_and_told_once_the_sidecars_have_it() {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let cluster = answering(
            move |request: &Request<Body>| {
                let form = request.headers().get("content-type");
                let form = form.and_then(|form| form.to_str().ok()).unwrap_or_default();
                let told = format!("{} {} {form}", request.method(), request.uri());
                seen.lock().unwrap().push(told);
                let list = request.uri().path().ends_with("usagepolicies");
                let list = list.then(|| json!({"kind": "UsagePolicyList", "apiVersion": "v1", "metadata": {}, "items": [stored(true, "True")]}));
                (200, list.unwrap_or_else(|| stored(true, "True")))
            },
            Duration::from_secs(5),
        );
        let done = switch(&cluster, &ALL, Turn::Pause(Some("an incident")), SCREEN)
            .await
            .unwrap();
        assert_eq!(
            asked.lock().unwrap()[0],
            "PATCH /apis/bowsprit.dev/v1alpha1/namespaces/shop/usagepolicies/pause?fieldManager=kubectl-bowsprit&force=true application/apply-patch+yaml"
        );
        assert_eq!(
            told(&done, Paint(false)),
            "UsagePolicy pause in shop: is paused in all 3 sidecars\n"
        );
    }

    #[tokio::test]
    async fn what_still_pauses_is_named_and_what_is_not_there_is_said() {
        let missing = answering(
            |_| status(404, "usagepolicies.bowsprit.dev \"pause\" not found"),
            Duration::from_secs(5),
        );
        let failure = switch(&missing, &ALL, Turn::Resume, SCREEN).await.unwrap_err();
        assert!(
            failure.to_string().contains("there is no UsagePolicy pause"),
            "{failure}"
        );
        let unknown = answering(
            |_| status(404, "the server could not find the requested resource"),
            Duration::from_secs(5),
        );
        let failure = switch(&unknown, &ALL, Turn::Pause(None), SCREEN).await.unwrap_err();
        assert!(failure.to_string().contains("charts/bowsprit/crds"), "{failure}");
        let done = Done {
            namespace: "shop".into(),
            policy: "pause".into(),
            live: true,
            sidecars: 1,
            current: 1,
            also_paused_by: vec!["freeze".into()],
            ..Done::default()
        };
        let text = told(&done, Paint(false));
        assert!(text.contains("still paused by freeze"), "{text}");
    }
    #[tokio::test]
    async fn one_provider_is_paused_by_a_policy_of_its_own_and_resumed_without_undoing_what_else_stands_there() {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let cluster = answering(
            move |request: &Request<Body>| {
                seen.lock()
                    .unwrap()
                    .push(format!("{} {}", request.method(), request.uri()));
                let mut object = stored(false, "True");
                object["metadata"]["resourceVersion"] = json!("7");
                object["spec"] = json!({"pausedProviders": [{"name": "claude"}, {"name": "other"}]});
                let list = request.uri().path().ends_with("usagepolicies");
                let list = list.then(|| json!({"kind": "UsagePolicyList", "apiVersion": "v1", "metadata": {}, "items": [object.clone()]}));
                (200, list.unwrap_or(object))
            },
            Duration::from_secs(5),
        );
        let args = PausedArgs {
            provider: Some("claude".into()),
            ..ALL
        };
        let done = switch(&cluster, &args, Turn::Pause(None), SCREEN).await.unwrap();
        assert_eq!(
            asked.lock().unwrap()[0],
            "PATCH /apis/bowsprit.dev/v1alpha1/namespaces/shop/usagepolicies/pause-provider-claude\
             ?fieldManager=kubectl-bowsprit-provider-claude&force=true"
        );
        let text = told(&done, Paint(false));
        assert_eq!(
            text,
            "UsagePolicy pause-provider-claude in shop: provider claude is paused in all 3 sidecars\n"
        );
        let body = resumed(&cluster, "pause-provider-claude", What::Provider("claude"))
            .await
            .unwrap();
        assert_eq!(
            body,
            json!({"metadata": {"resourceVersion": "7"}, "spec": {"pausedProviders": [{"name": "other"}]}})
        );
        let failure = resumed(&cluster, "pause", What::Route("smart")).await.unwrap_err();
        assert!(failure.to_string().contains("pauses route smart"), "{failure}");
    }
}
