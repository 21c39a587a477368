//! `kubectl bowsprit` asks the ledger: why a request ended as it did, sums and money; and names what is missing where it may not.

use anyhow::{Context, Result, ensure};
use bowsprit_e2e::{Bed, Release, SYSTEM, Test, image};
use serde_json::{Value, json};

use crate::cli::{File, bowsprit, ran, show, until};

/// The release as it is, and with a ledger whose rows go with its pod.
async fn with_ledger() -> Result<(Release, Release)> {
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
            let none = bowsprit(bed, &["stats"]).await?;
            show("stats", &none);
            ensure!(
                none.code == Some(1) && none.err.contains("--set ledger.enabled=true"),
                "{none:#?}"
            );
            let (this, with) = with_ledger().await?;
            let outcome: Result<()> = async {
                with.install(bed).await?;
                told(bed).await?;
                a_team_reads_its_own(bed).await
            }
            .await;
            this.install(bed).await?;
            outcome
        })
        .await;
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
