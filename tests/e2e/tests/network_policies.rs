//! The chart's NetworkPolicies, enforced: all that Bowsprit does works under them, and nobody else gets further than they say.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use bowsprit_crds::{ProviderConfig, names};
use bowsprit_e2e::policies::Enforcer;
use bowsprit_e2e::{
    App, Bed, LONG, Release, SHORT, SYSTEM, Test, eventually, image, kubectl, note, pod_manifest, rollout,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// What an app's namespace may have, from the examples that people start from.
const EXAMPLE: &str = include_str!("../../../examples/networkpolicy.yaml");

/// Tries each `name host:port` of its arguments, all at once, and prints which let it in. What is not let in is not answered.
const TRY: &str = "
import concurrent.futures as f, json, socket, sys
def tried(at):
    host, port = at.rsplit(':', 1)
    try:
        socket.create_connection((host, int(port)), timeout=4).close()
        return True
    except OSError as error:
        return False if isinstance(error, TimeoutError) else str(error)
names, places = sys.argv[1::2], sys.argv[2::2]
with f.ThreadPoolExecutor(32) as pool:
    print(json.dumps(dict(zip(names, pool.map(tried, places)))))
";

/// Who may be reached, by name, and where.
type Places = BTreeMap<&'static str, String>;

#[tokio::test]
async fn under_the_charts_policies_all_works_and_nobody_else_gets_in() {
    // Alone: the operators are replaced, and the policies of the whole bed are enforced.
    Test::new("policies")
        .alone()
        .run(async |bed| {
            let this = Release::current().await?;
            let outcome = under_policies(bed, &this).await;
            let _ = kubectl(&[
                "-n",
                SYSTEM,
                "delete",
                "pod",
                "twin",
                "ledger-twin",
                "--grace-period=0",
                "--ignore-not-found",
            ])
            .await;
            this.install(bed).await?;
            outcome
        })
        .await;
}

/// The release with its ledger, its policies, and a Prometheus in the test's namespace.
fn guarded(bed: &Bed, this: &Release) -> Result<Release> {
    let image = image("bowsprit-ledger");
    let (repository, tag) = image.rsplit_once(':').context("an image without a tag")?;
    let from = json!([{
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": bed.namespace}},
        "podSelector": {"matchLabels": {"role": "prometheus"}},
    }]);
    let ledger = json!({"enabled": true, "image": {"repository": repository, "tag": tag}, "storage": {"ephemeral": true, "size": "1Gi"}});
    Ok(this
        .clone()
        .with("ledger", ledger)
        .with("networkPolicy", json!({"enabled": true, "metricsFrom": from})))
}

async fn under_policies(bed: &Bed, this: &Release) -> Result<()> {
    guarded(bed, this)?.install(bed).await?;
    rollout("bowsprit-ledger").await?;
    bed.operators().settled().await?;
    let stranger = plain(bed, "stranger", &json!({})).await?;
    let prometheus = plain(bed, "prometheus", &json!({"role": "prometheus"})).await?;
    let before = bed.app("before").await?;
    let places = places(bed).await?;
    let open = reached(&stranger, &places).await?;
    ensure!(
        open.values().all(|it| *it == json!(true)),
        "nothing is enforced yet: {open:?}"
    );

    let enforcer = Enforcer::start().await?;
    let outcome = async {
        everybody_gets_as_far_as_they_should(bed, &places, &stranger, &prometheus).await?;
        all_that_bowsprit_does_works(bed, &before).await?;
        under_the_example_for_apps_too(bed).await
    }
    .await;
    drop(enforcer);
    outcome
}

async fn everybody_gets_as_far_as_they_should(
    bed: &Bed,
    places: &Places,
    stranger: &App<'_>,
    prometheus: &App<'_>,
) -> Result<()> {
    let (ours, ledgers) = (labels_of(bed, "operator").await?, labels_of(bed, "ledger").await?);
    let system = Bed {
        client: bed.client.clone(),
        namespace: SYSTEM.to_owned(),
    };
    let twin = plain(&system, "twin", &ours).await?;
    let ledger_twin = plain(&system, "ledger-twin", &ledgers).await?;
    let tokens = ["webhook", "stream", "ledger"];
    for (who, app, lets_in) in [
        (
            "a stranger",
            stranger,
            [&tokens[..], &["apiserver", "names", "sidecar", "provider"]].concat(),
        ),
        (
            "Prometheus",
            prometheus,
            [
                &tokens[..],
                &[
                    "operator's metrics",
                    "ledger's metrics",
                    "apiserver",
                    "names",
                    "sidecar",
                    "provider",
                ],
            ]
            .concat(),
        ),
        (
            "an operator",
            &twin,
            vec!["stream", "ledger", "apiserver", "names", "sidecar"],
        ),
        ("a ledger", &ledger_twin, vec!["apiserver", "names"]),
    ] {
        reaches(who, app, places, &lets_in).await?;
    }
    Ok(())
}

async fn all_that_bowsprit_does_works(bed: &Bed, before: &App<'_>) -> Result<()> {
    // The webhook injects, the stream brings the config, the ledger takes what became of requests, the kubelet finds all well.
    let app = bed.app("app").await?;
    for app in [before, &app] {
        ensure!(app.ask("ahoy").await?.starts_with("Hello from anthropic"));
    }
    works(&app).await?;
    // The leader hears from the other operators and reads the sidecars; its words reach the apiserver.
    let patch = json!({"spec": {"enabled": false}});
    let providers = bed.api::<ProviderConfig>();
    providers
        .patch("claude", &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    bed.in_service("gemini", 2).await?;
    eventually(SHORT, "the change is in service", async || {
        let answer = app.ask("ahoy").await?;
        ensure!(answer.starts_with("Hello from gemini"), "{answer}");
        Ok(())
    })
    .await?;
    let patch = json!({"spec": {"enabled": true}});
    providers
        .patch("claude", &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    bed.in_service("claude", 2).await?;
    for component in ["operator", "ledger"] {
        let pod = first(bed, SYSTEM, &format!("app.kubernetes.io/component={component}")).await?;
        let status = json!(pod.status)["containerStatuses"][0].clone();
        ensure!(status["ready"] == true && status["restartCount"] == 0, "{status:#}");
    }
    Ok(())
}

/// A sidecar's stream and ledger.
async fn works(app: &App<'_>) -> Result<()> {
    eventually(LONG, "it has a stream, and the ledger takes its batches", async || {
        let health = app.health().await?;
        ensure!(health["stream"]["connected"] == true, "{:#}", health["stream"]);
        let taken = app
            .metric("bowsprit_ledger_batches_total", &["answer=\"taken\""])
            .await?;
        ensure!(taken >= 1.0, "no batch was taken: {:#}", health["ledger"]);
        Ok(())
    })
    .await
}

async fn under_the_example_for_apps_too(bed: &Bed) -> Result<()> {
    bed.apply(
        &EXAMPLE
            .replace("my-app", &bed.namespace)
            .replace("monitoring", &bed.namespace),
    )
    .await?;
    // What the example says of a model server in the cluster: a policy beside it.
    bed.apply_one(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "model-server"},
        "spec": {
            "podSelector": {"matchLabels": {"bowsprit.dev/injected": "true"}},
            "policyTypes": ["Egress"],
            "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "providers"}}}], "ports": [{"port": 9100}]}],
        },
    }))
    .await?;
    let app = bed.app("exemplary").await?;
    ensure!(app.ask("ahoy").await?.starts_with("Hello from anthropic"));
    works(&app).await?;
    let mut places = places(bed).await?;
    places.retain(|place, _| ["stream", "ledger", "names", "provider", "webhook", "apiserver"].contains(place));
    reaches("an app", &app, &places, &["stream", "ledger", "names", "provider"]).await
}

/// Every port that Bowsprit listens on, and what it asks, by addresses of pods and of the bed's node.
async fn places(bed: &Bed) -> Result<Places> {
    let operator = address(bed, SYSTEM, "app.kubernetes.io/component=operator").await?;
    let ledger = address(bed, SYSTEM, "app.kubernetes.io/component=ledger").await?;
    let sidecar = bed
        .pod("before")
        .await?
        .status
        .and_then(|it| it.pod_ip)
        .context("no address")?;
    let provider = address(bed, &bed.namespace, "app=providers").await?;
    Ok(BTreeMap::from([
        ("webhook", format!("{operator}:8443")),
        ("stream", format!("{operator}:{}", names::STREAM_PORT)),
        ("operator's metrics", format!("{operator}:8081")),
        ("ledger", format!("{ledger}:{}", names::LEDGER_PORT)),
        ("ledger's metrics", format!("{ledger}:8081")),
        ("sidecar", format!("{sidecar}:{}", names::ADMIN_PORT)),
        ("provider", format!("{provider}:9100")),
        ("apiserver", "kubernetes.default.svc:443".to_owned()),
        ("names", "10.88.0.1:53".to_owned()),
    ]))
}

async fn first(bed: &Bed, namespace: &str, labels: &str) -> Result<Pod> {
    let pods = Api::<Pod>::namespaced(bed.client.clone(), namespace);
    let all = pods.list(&ListParams::default().labels(labels)).await?.items;
    all.into_iter()
        .find(|pod| {
            pod.metadata.deletion_timestamp.is_none()
                && pod.metadata.name.as_deref().is_some_and(|name| !name.contains("twin"))
        })
        .with_context(|| format!("{namespace} has no pod with {labels}"))
}

async fn address(bed: &Bed, namespace: &str, labels: &str) -> Result<String> {
    let pod = first(bed, namespace, labels).await?;
    pod.status
        .and_then(|status| status.pod_ip)
        .context("a pod without an address")
}

/// What the policies know a component by; not what its ReplicaSet does, which would adopt a pod that has it all.
async fn labels_of(bed: &Bed, component: &str) -> Result<Value> {
    let pod = first(bed, SYSTEM, &format!("app.kubernetes.io/component={component}")).await?;
    let mut labels = pod.metadata.labels.unwrap_or_default();
    labels.remove("pod-template-hash");
    Ok(json!(labels))
}

/// A pod with these labels and no sidecar, to try from. It is never ready, so that no Service leads to it.
async fn plain<'a>(bed: &'a Bed, name: &str, labels: &Value) -> Result<App<'a>> {
    let mut manifest = pod_manifest(name);
    manifest["metadata"]["labels"] = labels.clone();
    manifest["spec"]["automountServiceAccountToken"] = json!(false);
    manifest["spec"]["terminationGracePeriodSeconds"] = json!(1);
    manifest["spec"]["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["/nothing"]}, "periodSeconds": 3600});
    bed.apply_one(&manifest).await?;
    eventually(LONG, &format!("{name} runs"), async || {
        let status = json!(bed.pod(name).await?.status);
        ensure!(
            status["containerStatuses"][0]["state"]["running"].is_object(),
            "{status:#}"
        );
        Ok(())
    })
    .await?;
    Ok(bed.app_of(name))
}

/// Waits until the app reaches these of the places and no other: who has just come is known to nobody for a moment, and a machine that
/// is busy may be slow to answer.
async fn reaches(who: &str, app: &App<'_>, places: &Places, wanted: &[&str]) -> Result<()> {
    let wanted: BTreeMap<String, Value> = places
        .keys()
        .map(|place| ((*place).to_owned(), json!(wanted.contains(place))))
        .collect();
    let found = eventually(SHORT, &format!("{who} gets as far as it should"), async || {
        let found = reached(app, places).await?;
        ensure!(found == wanted, "it reaches {found:?}, and should {wanted:?}");
        Ok(found)
    })
    .await?;
    let line: Vec<String> = found.iter().map(|(place, it)| format!("{place} {it}")).collect();
    note(&format!("{who}: {}", line.join(", ")));
    Ok(())
}

/// What of these lets the app in: `true`, `false` where nobody answers, else the error.
async fn reached(app: &App<'_>, places: &Places) -> Result<BTreeMap<String, Value>> {
    let mut command = vec!["/usr/bin/python3", "-c", TRY];
    for (name, at) in places {
        command.extend([*name, at.as_str()]);
    }
    let output = app.run(&command).await?;
    ensure!(output.ok, "{output:?}");
    Ok(serde_json::from_str(&output.stdout)?)
}
