//! `kubectl bowsprit` asks the ledger: why a request ended as it did, sums and money; and names what is missing where it may not.

use anyhow::{Context, Result, ensure};
use bowsprit_crds::ProviderConfig;
use bowsprit_e2e::machine::Process;
use bowsprit_e2e::{Bed, LONG, Release, SYSTEM, Test, eventually, image};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cli::{File, bowsprit, ran, show, until};

mod postgres;

/// The release as it is, and with a ledger whose rows go with its pod.
pub(crate) async fn with_ledger() -> Result<(Release, Release)> {
    let this = Release::current().await?;
    let image = image("bowsprit-ledger");
    let (repository, tag) = image.rsplit_once(':').context("an image without a tag")?;
    let ledger = json!({
        "enabled": true, "image": {"repository": repository, "tag": tag}, "storage": {"ephemeral": true, "size": "1Gi"},
    });
    Ok((this.clone(), this.with("ledger", ledger)))
}

#[tokio::test]
async fn the_plugin_tells_from_the_ledger_what_became_of_a_request_and_who_may_not_know() {
    // Alone: the operators are replaced.
    Test::new("cliledger")
        .alone()
        .run(async |bed| {
            let none = bowsprit(bed, &["stats", "--from", "service"]).await?;
            show("stats --from service", &none);
            ensure!(
                none.code == Some(1) && none.err.contains("--set ledger.enabled=true"),
                "{none:#?}"
            );
            let (this, with) = with_ledger().await?;
            let outcome: Result<()> = async {
                with.install(bed).await?;
                told(bed).await?;
                applied(bed).await?;
                killed_under_traffic(bed).await?;
                a_team_reads_its_own(bed).await?;
                postgres::keeps_what_was_asked(bed, &with).await
            }
            .await;
            this.install(bed).await?;
            outcome
        })
        .await;
}

#[tokio::test]
async fn without_a_ledger_service_the_sidecars_themselves_are_asked() {
    Test::new("noledger").run(async |bed| asked_themselves(bed).await).await;
}

async fn asked_themselves(bed: &Bed) -> Result<()> {
    let (app, other) = (bed.app("app").await?, bed.app("other").await?);
    app.ask_often(3, "ahoy").await?;
    other.ask_often(2, "ahoy").await?;
    let providers = bed.providers();
    providers.always("anthropic", json!({"status": {"code": 529}})).await?;
    app.ask("ahoy").await?;
    // Within the sidecars' commit window they have it.
    let said = [
        "6 requests of namespace",
        "100% succeeded",
        "claude",
        "No ledger service",
        "2 of 2 answered",
    ];
    show("stats", &until(bed, &["stats"], 0, &said).await?);
    let stats = bowsprit(bed, &["stats", "--by", "workload", "-o", "json"]).await?;
    let stats: Value = serde_json::from_str(&stats.out).with_context(|| format!("{stats:#?}"))?;
    let workloads = json!([["Pod/app", 4], ["Pod/other", 2]]);
    let told: Vec<Value> = stats
        .as_array()
        .into_iter()
        .flatten()
        .map(|it| json!([it["name"], it["requests"]]))
        .collect();
    ensure!(json!(told) == workloads, "{stats:#}");

    let id = newest(bed).await?;
    let words = [
        "The caller got the whole answer after",
        "claude failed",
        "EXT_OVERLOADED",
        "had answered in full (HTTP 200)",
        "with key main",
    ];
    show(&format!("why {id}"), &until(bed, &["why", &id], 0, &words).await?);
    for (verb, words) in [
        (&["logs"][..], &["Pod/app", "Pod/other"][..]),
        (&["logs", "-o", "csv"], &["ENDED,NAMESPACE,", ",Pod/app,"]),
        (&["spend", "--by", "model"], &["spent in namespace", "claude"]),
        (&["quality"], &["SCORE", "claude"]),
        (&["top", "--once"], &["REQUESTS/S", "claude"]),
    ] {
        show(&verb.join(" "), &until(bed, verb, 0, words).await?);
    }
    let unknown = bowsprit(bed, &["why", "nobody-asked-this"]).await?;
    ensure!(
        unknown.code == Some(1) && unknown.err.contains("has no request nobody-asked-this"),
        "{unknown:#?}"
    );
    // Nobody outside of the pod is told, and with the pod goes what it had.
    let (status, refused) = bed.pod_http("GET", "app", 4001, "/ledger", "").await?;
    ensure!(
        status == 403 && refused.contains("only from inside the pod"),
        "{status} {refused}"
    );
    let health = app.health().await?;
    ensure!(
        health["ledger"]["keptIn"] == "file" && health["ledger"]["kept"].as_u64() >= Some(9),
        "{:#}",
        health["ledger"]
    );
    bed.api::<Pod>()
        .delete("other", &DeleteParams::default().grace_period(0))
        .await?;
    let said = ["4 requests of namespace", "1 of 1 answered", "went with them"];
    show("stats", &until(bed, &["stats"], 0, &said).await?);
    Ok(())
}

/// The newest request's id.
async fn newest(bed: &Bed) -> Result<String> {
    let logs = bowsprit(bed, &["logs", "--number", "1", "-o", "json"]).await?;
    let logs: Value = serde_json::from_str(&logs.out).with_context(|| format!("{logs:#?}"))?;
    let id = logs[0]["request"]["id"].as_str();
    id.map(ToOwned::to_owned).with_context(|| format!("{logs:#}"))
}

async fn told(bed: &Bed) -> Result<()> {
    // The operators make its certificate, and its kubelet brings it.
    until(bed, &["stats"], 0, &["No request ended in namespace"]).await?;
    let app = bed.app("app").await?;
    app.ask_often(3, "ahoy").await?;
    let providers = bed.providers();
    providers.always("anthropic", json!({"status": {"code": 529}})).await?;
    providers.always("gemini", json!({"status": {"code": 500}})).await?;
    app.ask("ahoy").await?;
    until(
        bed,
        &["stats"],
        0,
        &["4 requests of namespace", "100% succeeded", "claude", "openai"],
    )
    .await?;

    let id = newest(bed).await?;
    let words = [
        "The caller got the whole answer after",
        "claude failed",
        "gemini failed",
        "EXT_OVERLOADED",
        "openai had answered in full (HTTP 200)",
        "with key main",
        "What to do",
    ];
    show(&format!("why {id}"), &until(bed, &["why", &id], 0, &words).await?);

    providers.always("openai", json!({"status": {"code": 503}})).await?;
    app.ask_often(1, "ahoy").await?;
    let failed = until(bed, &["logs", "--failed"], 0, &["provider_error", "Pod/app"]).await?;
    show("logs --failed", &failed);
    let id = newest(bed).await?;
    show(
        &format!("why {id}"),
        &until(bed, &["why", &id], 0, &["The caller got HTTP 50", "What to do"]).await?,
    );

    for (verb, words) in [
        (
            &["stats", "--by", "workload"][..],
            &["5 requests of namespace", "Pod/app"][..],
        ),
        (&["spend", "--by", "model"], &["spent in namespace", "claude"]),
        (&["quality"], &["SCORE", "claude", "openai"]),
        (&["top", "--once"], &["REQUESTS/S", "claude"]),
        (&["logs", "-o", "csv"], &["ENDED,NAMESPACE,", ",Pod/app,"]),
        (&["stats", "-A", "--by", "namespace"], &[&bed.namespace]),
        (
            &["report", "--sla", "--since", "24h"],
            &[
                "Availability of namespace",
                "AVAILABLE",
                "The hours in which most was bad",
            ],
        ),
        (
            &["report", "--usage", "--by", "workload", "--since", "24h"],
            &["Usage of namespace", "Pod/app"],
        ),
        (
            &["report", "--access", "--since", "24h"],
            &["0 requests turned away by a rule"],
        ),
        (
            &["report", "--usage", "--by", "workload", "--since", "24h", "-o", "html"],
            &["<!DOCTYPE html>", "<td>Pod/app</td>", "</html>"],
        ),
    ] {
        show(&verb.join(" "), &until(bed, verb, 0, words).await?);
    }
    let unknown = bowsprit(bed, &["why", "nobody-asked-this"]).await?;
    ensure!(
        unknown.code == Some(1) && unknown.err.contains("has no request nobody-asked-this"),
        "{unknown:#?}"
    );
    Ok(())
}

/// What is applied is in the ledger's history, with who and at which revision, once, and without a key.
async fn applied(bed: &Bed) -> Result<()> {
    let api = bed.api::<ProviderConfig>();
    let patch = |spec: Value| Patch::Merge(json!({"spec": spec}));
    let before = api.get("claude").await?.spec.priority;
    for priority in [before + 1, before] {
        api.patch("claude", &PatchParams::default(), &patch(json!({"priority": priority})))
            .await?;
    }
    let generation = api.get("claude").await?.metadata.generation.context("no generation")?;
    let words = ["ProviderConfig/claude", "updated", "now"];
    let shown = eventually(LONG, "both changes are in the history", async || {
        let shown = bowsprit(bed, &["changes", "providerconfig/claude", "-o", "json"]).await?;
        let history: Value = serde_json::from_str(&shown.out).with_context(|| format!("{shown:#?}"))?;
        let updated = history
            .as_array()
            .into_iter()
            .flatten()
            .filter(|it| it["what"] == "updated")
            .count();
        ensure!(updated == 2, "generation {generation}: {history:#}");
        Ok((shown, history))
    })
    .await?;
    let (shown, history) = shown;
    for it in history.as_array().into_iter().flatten() {
        let who = it["who"].as_str().unwrap_or_default();
        ensure!(
            !who.is_empty() && !who.starts_with('('),
            "the apiserver's user is known: {it:#}"
        );
        ensure!(it["revision"].as_str().is_some_and(|it| it.len() == 12), "{it:#}");
    }
    for (_, key) in bed.providers().keys().await? {
        ensure!(!shown.out.contains(&key), "a key in the history");
    }
    show("changes", &until(bed, &["changes"], 0, &words).await?);
    Ok(())
}

/// The service is killed while requests are made, and again: each of them is in it once, and the tokens are those that the sidecars
/// counted.
async fn killed_under_traffic(bed: &Bed) -> Result<()> {
    const REQUESTS: u32 = 600;
    let providers = bed.providers();
    providers.reset().await?;
    let app = bed.app("steady").await?;
    let pods = Api::<Pod>::namespaced(bed.client.clone(), SYSTEM);
    let of_ledger = ListParams::default().labels("app.kubernetes.io/component=ledger");
    let asking = app.ask_often(REQUESTS, "ahoy");
    let killing = async {
        let mut kills = 0;
        for _ in 0..2 {
            let pod = pods
                .list(&of_ledger)
                .await?
                .items
                .into_iter()
                .next()
                .context("no pod of the ledger")?;
            let restarts = restarts(&pod);
            Process::of(&pod, "ledger")?.signal("KILL")?;
            kills += 1;
            eventually(LONG, "the ledger runs again", async || {
                let pod = pods.list(&of_ledger).await?.items.into_iter().next().context("none")?;
                ensure!(restarts_and_ready(&pod) == (restarts + 1, true), "{:?}", pod.status);
                Ok(())
            })
            .await?;
        }
        Ok::<_, anyhow::Error>(kills)
    };
    let (lines, kills) = tokio::join!(asking, killing);
    let (lines, kills) = (lines?, kills?);
    let answered = lines.iter().filter(|line| line.ok).count();
    ensure!(answered == usize::try_from(REQUESTS)?, "{answered} answers");
    eventually(LONG, "each request is in the ledger, once", async || {
        let stats = bowsprit(bed, &["stats", "--by", "workload", "-o", "json"]).await?;
        let stats: Value = serde_json::from_str(&stats.out).with_context(|| format!("{stats:#?}"))?;
        let steady = stats
            .as_array()
            .into_iter()
            .flatten()
            .find(|it| it["name"] == "Pod/steady");
        ensure!(steady.is_some_and(|it| it["requests"] == REQUESTS), "{stats:#}");
        Ok(())
    })
    .await?;

    // What the sidecars counted is the bill that the service's own program holds its ledger against.
    let models = bowsprit(bed, &["stats", "--by", "model", "--provider", "claude", "-o", "json"]).await?;
    let models: Value = serde_json::from_str(&models.out)?;
    let mut bill = vec!["model,input_tokens,output_tokens".to_owned()];
    for it in models.as_array().into_iter().flatten() {
        let model = it["name"].as_str().context("no model")?;
        let mut counts = [0.0; 2];
        for pod in [bed.app_of("app"), bed.app_of("steady")] {
            for (count, kind) in counts.iter_mut().zip(["input", "output"]) {
                let labels = [
                    "provider=\"claude\"",
                    &format!("model=\"{model}\""),
                    &format!("kind=\"{kind}\""),
                ];
                *count += pod.metric("bowsprit_tokens_total", &labels).await?;
            }
        }
        bill.push(format!("{model},{},{}", counts[0], counts[1]));
    }
    let file = File::new(bed, "bill.csv", &(bill.join("\n") + "\n"))?;
    // Without an end it would be held against what happened until five minutes ago.
    let to = k8s_openapi::jiff::Timestamp::now().as_millisecond();
    let from = to - 3_600_000;
    let command = format!(
        "kubectl -n {SYSTEM} exec -i deploy/bowsprit-ledger -- /bowsprit-ledger reconcile --sqlite /var/lib/bowsprit/ledger.db \
         --from {from} --to {to} --namespace {} --provider claude --usage /dev/stdin < {}",
        bed.namespace,
        file.path()
    );
    let done = ran("sh", &["-c", &command]).await?;
    show(&format!("(reconcile after {kills} kills of the service)"), &done);
    ensure!(done.code == Some(0) && done.out.contains("input"), "{done:#?}");
    Ok(())
}

fn restarts(pod: &Pod) -> i32 {
    restarts_and_ready(pod).0
}

fn restarts_and_ready(pod: &Pod) -> (i32, bool) {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let ledger = statuses.and_then(|all| all.iter().find(|it| it.name == "ledger"));
    ledger.map_or((0, false), |it| (it.restart_count, it.ready))
}

/// Somebody without rights is told which are missing, one by one, and with them reads one namespace and no other.
async fn a_team_reads_its_own(bed: &Bed) -> Result<()> {
    let namespace = bed.namespace.as_str();
    let kubectl = async |words: &str| {
        let done = ran("kubectl", &words.split(' ').collect::<Vec<_>>()).await?;
        ensure!(done.code == Some(0), "kubectl {words}: {done:#?}");
        Ok(done.out)
    };
    kubectl(&format!("-n {namespace} create serviceaccount member")).await?;
    let token = kubectl(&format!("-n {namespace} create token member")).await?;
    let config = kubectl("config view --raw -o json").await?;
    let mut config: Value = serde_json::from_str(&config)?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    let member = File::new(bed, "member.json", &config.to_string())?;
    let as_member = ["--kubeconfig", member.path()];
    let asked = |verb: &[&'static str]| [&as_member, verb].concat();

    let token = "resources: [serviceaccounts/token], resourceNames: [\"bowsprit-ledger-reader\"], verbs: [create]";
    let of_ours = format!("in namespace {namespace}");
    let refused = until(bed, &asked(&["stats"]), 3, &[token, &of_ours]).await?;
    show("stats --kubeconfig member.json", &refused);

    let account = format!("--serviceaccount={namespace}:bowsprit-ledger-reader");
    for object in [
        "serviceaccount bowsprit-ledger-reader".to_owned(),
        "role reads --verb=get --resource=providerconfigs.bowsprit.dev/ledger".to_owned(),
        format!("rolebinding reads --role=reads {account}"),
        "role makes --verb=create --resource=serviceaccounts/token --resource-name=bowsprit-ledger-reader".to_owned(),
        format!("rolebinding makes --role=makes --serviceaccount={namespace}:member"),
    ] {
        kubectl(&format!("-n {namespace} create {object}")).await?;
    }
    let proxy = "resources: [services/proxy], resourceNames: [\"https:bowsprit-ledger:8446\"], verbs: [get]";
    let refused = until(bed, &asked(&["stats"]), 3, &[proxy]).await?;
    show("stats --kubeconfig member.json", &refused);

    let binding = format!(
        "-n {SYSTEM} create rolebinding member-asks --role=bowsprit-ledger-ask --serviceaccount={namespace}:member"
    );
    kubectl(&binding).await?;
    let outcome: Result<()> = async {
        let stats = until(bed, &asked(&["stats"]), 0, &["5 requests of namespace"]).await?;
        show("stats --kubeconfig member.json", &stats);
        let all = until(
            bed,
            &asked(&["stats", "-A"]),
            3,
            &[token, "in namespace bowsprit-system"],
        )
        .await?;
        show("stats -A --kubeconfig member.json", &all);
        Ok(())
    }
    .await;
    kubectl(&format!("-n {SYSTEM} delete rolebinding member-asks")).await?;
    outcome
}
