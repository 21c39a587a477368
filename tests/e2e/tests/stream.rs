//! The config stream: a change is live in every sidecar within a second, strangers are refused, and operators may restart.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bowsprit_crds::{ProviderConfig, names};
use bowsprit_e2e::{App, Bed, LONG, SHORT, SYSTEM, Test, asking_manifest, eventually, note, pod_manifest, test};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// Sidecars of the namespace.
const SIDECARS: usize = 8;
/// Changes, each of which every sidecar gets.
const CHANGES: usize = 15;

/// Waits until the sidecar holds a stream.
pub(crate) async fn streams(app: &App<'_>) -> Result<()> {
    eventually(LONG, &format!("{} holds a stream", app.pod), async || {
        let health = app.health().await?;
        ensure!(health["stream"]["connected"] == true, "{health:#}");
        Ok(())
    })
    .await
}

/// Waits until the sidecar holds a stream that began after this.
async fn streams_since(app: &App<'_>, begun: Instant) -> Result<()> {
    eventually(LONG, &format!("{} holds a new stream", app.pod), async || {
        let health = app.health().await?;
        let stream = &health["stream"];
        let age = stream["connectedSeconds"].as_u64();
        ensure!(
            stream["connected"] == true && age.is_some_and(|age| age < begun.elapsed().as_secs()),
            "{health:#}"
        );
        Ok(())
    })
    .await
}

/// Gives a provider another priority.
pub(crate) async fn change(bed: &Bed, priority: usize) -> Result<()> {
    let change = json!({"spec": {"priority": priority}});
    bed.api::<ProviderConfig>()
        .patch("openai", &PatchParams::default(), &Patch::Merge(&change))
        .await?;
    Ok(())
}

/// How long after `begun` the sidecar has the change in service.
pub(crate) async fn live(app: &App<'_>, priority: usize, begun: Instant) -> Result<Duration> {
    loop {
        let health = app.health().await?;
        let mut providers = health["providers"].as_array().into_iter().flatten();
        if providers.any(|provider| provider["name"] == "openai" && provider["priority"] == priority) {
            return Ok(begun.elapsed());
        }
        ensure!(begun.elapsed() < SHORT, "{} does not have it: {health:#}", app.pod);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn nudges(bed: &Bed) -> Result<Vec<Option<String>>> {
    let injected = ListParams::default().labels("bowsprit.dev/injected=true");
    let pods = bed.api::<Pod>().list(&injected).await?;
    let touched = |pod: &Pod| pod.annotations().get(names::ANNOTATION_CONFIG_REVISION).cloned();
    Ok(pods.items.iter().map(touched).collect())
}

#[tokio::test]
async fn a_change_is_live_in_every_sidecar_within_a_second_and_no_pod_is_touched() {
    Test::new("stream").run_by_turns(async |bed, turn| {
        let names: Vec<String> = (0..SIDECARS).map(|number| format!("app-{number}")).collect();
        let apps = try_join_all(names.iter().map(|name| bed.app(name))).await?;
        // What is measured is this, and not what other tests have the machine do.
        turn.alone().await;
        bed.furnish().await?;
        bed.operators().settled().await?;
        try_join_all(apps.iter().map(streams)).await?;
        let operators = Api::<Pod>::namespaced(bed.client.clone(), SYSTEM);
        let all = ListParams::default().labels("app.kubernetes.io/component=operator");
        let count = operators.list(&all).await?.items.len();
        ensure!(count >= 2, "{count} operators: the leader alone tells nothing of the others");
        // Every replica's sidecars are known to the leader.
        bed.condition::<ProviderConfig>("openai", "Programmed", "True").await?;
        let before = nudges(bed).await?;
        let mut times = Vec::new();
        for number in 0..CHANGES {
            let priority = 100 + number;
            let begun = Instant::now();
            change(bed, priority).await?;
            times.extend(try_join_all(apps.iter().map(|app| live(app, priority, begun))).await?);
        }
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        note(&format!(
            "{CHANGES} changes in {SIDECARS} sidecars by {count} operators, from apply to in service: p50 {:.0?}, p99 {:.0?}, most {:.0?}",
            at(50),
            at(99),
            at(100)
        ));
        ensure!(at(99) < Duration::from_secs(1), "p99 is {:?}", at(99));
        ensure!(nudges(bed).await? == before, "pods that hold a stream were touched");

        // Acked: the status counts them all, wherever their streams are.
        bed.in_service("openai", u32::try_from(SIDECARS)?).await
    })
    .await;
}

/// Asks for a stream, and prints the status and the first line of the body or of the stream; what is paused is told before the documents.
const CALLER: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context(cadata=CA)
host = "bowsprit-webhook.bowsprit-system.svc"
with context.wrap_socket(socket.create_connection((host, 8444), 10), server_hostname=host) as s:
    s.sendall(f"GET /v1/stream HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: bowsprit-stream/1\r\n{HEADER}\r\n".encode())
    f = s.makefile("rb")
    status = f.readline().split()[1].decode()
    while f.readline().strip(): pass
    line = f.readline().decode().strip()
    while line.startswith('{"type":"paused"'):
        line = f.readline().decode().strip()
    print(status, line)
"#;

/// A token of the namespace's default service account.
pub(crate) async fn token(bed: &Bed, audience: &str, pod: Option<&Pod>) -> Result<String> {
    let bound = pod.map(|pod| json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "uid": pod.uid()}));
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": [audience], "expirationSeconds": 600, "boundObjectRef": bound}});
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/default/token", bed.namespace);
    let (status, answer) = bed.http("POST", &path, request.to_string()).await?;
    ensure!(status == 201, "{status} {answer}");
    let answer: Value = serde_json::from_str(&answer)?;
    Ok(answer["status"]["token"].as_str().context("no token")?.to_owned())
}

pub(crate) async fn asks(app: &App<'_>, ca: &str, token: Option<&str>) -> Result<String> {
    let header = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let code = format!("CA = {}\nHEADER = {}\n{CALLER}", json!(ca), json!(header));
    Ok(app.python(&code).await?.trim().to_owned())
}

#[tokio::test]
async fn only_a_living_pods_token_for_us_opens_a_stream_and_it_is_that_of_its_namespace() {
    let strangers = test("strangers", async |bed| {
        let app = bed.app("app").await?;
        streams(&app).await?;
        let map = bed.api::<ConfigMap>().get(names::CONFIG_MAP).await?;
        let ca = map
            .data
            .unwrap_or_default()
            .remove(names::CA_KEY)
            .context("no CA bundle")?;
        let asks = async |token: Option<&str>| asks(&app, &ca, token).await;
        let refused = async |token: Option<&str>, status: &str| {
            let answer = asks(token).await?;
            ensure!(answer.starts_with(status), "{answer}, and not {status}");
            ensure!(
                !answer.contains(&bed.namespace) && !answer.contains("claude"),
                "{answer}"
            );
            anyhow::Ok(())
        };
        refused(None, "401 ").await?;
        refused(Some("nonsense"), "401 ").await?;
        // The apiserver's own, which every pod may have.
        let foreign = token(
            bed,
            "https://kubernetes.default.svc.cluster.local",
            Some(&app.object().await?),
        )
        .await?;
        refused(Some(&foreign), "401 ").await?;
        // Signed by somebody else.
        let good = token(bed, names::TOKEN_AUDIENCE, Some(&app.object().await?)).await?;
        let (signed, _) = good.rsplit_once('.').context("no JWT")?;
        refused(Some(&format!("{signed}.c2lnbmVkIGJ5IHNvbWVib2R5IGVsc2U")), "401 ").await?;
        let unbound = token(bed, names::TOKEN_AUDIENCE, None).await?;
        refused(Some(&unbound), "403 ").await?;

        // A pod of the namespace that no webhook has seen: its token opens a stream, with this namespace's documents.
        let mut other = pod_manifest("other");
        other["metadata"]["labels"] = json!({});
        bed.apply_one(&other).await?;
        let other = bed.ready("other").await?;
        let bound = token(bed, names::TOKEN_AUDIENCE, Some(&other)).await?;
        let answer = asks(Some(&bound)).await?;
        ensure!(
            answer.starts_with(r#"101 {"type":"config","sequence":"#) && answer.contains("claude"),
            "{answer}"
        );
        let late = token(bed, names::TOKEN_AUDIENCE, Some(&other)).await?;
        bed.api::<Pod>()
            .delete("other", &DeleteParams::default().grace_period(0))
            .await?;
        bed.gone::<Pod>("other").await?;
        // The pod is gone, and its token with it.
        refused(Some(&late), "401 ").await
    });
    Box::pin(strangers).await;
}

#[tokio::test]
async fn operators_restart_under_traffic_and_the_streams_are_back_within_seconds() {
    Test::new("restart")
        .alone()
        .run(async |bed| {
            let app = bed.app_from(&asking_manifest("app")).await?;
            let other = bed.app("other").await?;
            for app in [&app, &other] {
                streams(app).await?;
            }
            let config = app.health().await?["config"]["revision"].clone();
            let reloads = app.metric("bowsprit_config_loaded_total", &[]).await?;
            let pods = Api::<Pod>::namespaced(bed.client.clone(), SYSTEM);
            let all = ListParams::default().labels("app.kubernetes.io/component=operator");
            let old: Vec<String> = pods.list(&all).await?.iter().map(ResourceExt::name_any).collect();
            // All at once and without a word: nobody is left to go to.
            let begun = Instant::now();
            let now = DeleteParams::default().grace_period(0);
            try_join_all(old.iter().map(|name| pods.delete(name, &now))).await?;
            // The Deployment's status is of before for a moment, and so is what a sidecar says of its stream.
            bed.operators().settled().await?;
            let there = pods.list(&all).await?;
            ensure!(
                there.items.iter().all(|pod| !old.contains(&pod.name_any())),
                "old ones are there"
            );
            let ready = begun.elapsed();
            for app in [&app, &other] {
                streams_since(app, begun).await?;
            }
            note(&format!(
                "all {} operators killed: ready again after {ready:.1?}, streams back after {:.1?}",
                old.len(),
                begun.elapsed()
            ));
            // A restart is no news.
            ensure!(
                app.health().await?["config"]["revision"] == config,
                "the config changed"
            );
            let after = app.metric("bowsprit_config_loaded_total", &[]).await?;
            ensure!((after - reloads).abs() < 0.5, "{} loads", after - reloads);
            let began = Instant::now();
            change(bed, 77).await?;
            live(&other, 77, began).await?;
            let lines = eventually(LONG, "twenty questions were asked", async || {
                let lines = app.asked().await?;
                ensure!(lines.len() > 20, "only {} questions", lines.len());
                Ok(lines)
            })
            .await?;
            for line in &lines {
                ensure!(line.ok, "{line:?}");
            }
            note(&format!("{} questions meanwhile, all answered", lines.len()));
            Ok(())
        })
        .await;
}
