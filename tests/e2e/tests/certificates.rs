//! The webhook's certificates change under load, and no pod is refused.

mod issuer;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowsprit_e2e::{Bed, Creates, Release, SYSTEM, Test, audit, eventually, kubectl, note};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use issuer::Issuer;

const SECRET: &str = "bowsprit-webhook-tls";
const STATE: &str = "state.json";
/// Replicas look every 30 to 36 s.
const A_LOOK: Duration = Duration::from_secs(45);
/// What is watched is heard of at once.
const A_WATCH: Duration = Duration::from_secs(10);
const HOUR: i64 = 3_600;

fn secrets(bed: &Bed) -> Api<Secret> {
    Api::namespaced(bed.client.clone(), SYSTEM)
}

async fn state(bed: &Bed) -> Result<Value> {
    let data = secrets(bed).get(SECRET).await?.data.unwrap_or_default();
    let state = data.get(STATE).context("the Secret has no state")?;
    serde_json::from_slice(&state.0).context("the state is no JSON")
}

/// Moves time for what is stored, as if hours had passed.
async fn edit_state(bed: &Bed, change: impl Fn(&mut Value)) -> Result<()> {
    eventually(A_WATCH, "the state is edited", async || {
        let mut secret = secrets(bed).get(SECRET).await?;
        let data = secret.data.as_mut().context("the Secret is empty")?;
        let mut state: Value = serde_json::from_slice(&data.get(STATE).context("no state")?.0)?;
        change(&mut state);
        data.insert(STATE.to_owned(), ByteString(state.to_string().into_bytes()));
        secrets(bed).replace(SECRET, &PostParams::default(), &secret).await?;
        Ok(())
    })
    .await
}

/// Waits until every operator serves the certificate that ends at this second.
async fn all_serve(bed: &Bed, not_after: i64, within: Duration) -> Result<()> {
    eventually(within, "every operator serves the new certificate", async || {
        for pod in bed.operators().names().await? {
            let name = "bowsprit_operator_webhook_certificate_not_after_seconds";
            let served = bed.operators().metric(&pod, name).await?;
            #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
            let is_it = (served - not_after as f64).abs() < 0.5;
            ensure!(is_it, "{pod} serves the one until {served}, not {not_after}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_new_ca_is_announced_and_promoted_under_load_and_no_pod_is_refused() {
    Test::new("certificates")
        .alone()
        .bare()
        .run(async |bed| {
            bed.operators().settled().await?;
            let first = state(bed).await?["current"]["certificate"].clone();
            let creates = Creates::start(bed, 4);
            edit_state(bed, |state| {
                state["current"]["notAfter"] = json!(Timestamp::now().as_second() + 11 * HOUR);
            })
            .await?;
            eventually(A_LOOK, "a successor is announced", async || {
                ensure!(!state(bed).await?["next"].is_null());
                Ok(())
            })
            .await?;
            edit_state(bed, |state| {
                let made_at = state["next"]["madeAt"].as_i64().unwrap_or_default();
                state["next"]["madeAt"] = json!(made_at - HOUR);
            })
            .await?;
            let promoted = eventually(A_LOOK, "it is promoted", async || {
                let state = state(bed).await?;
                ensure!(state["current"]["certificate"] != first && state["next"].is_null());
                Ok(state["current"]["notAfter"].as_i64().unwrap_or_default())
            })
            .await?;
            // From here on some serve the old leaf and some the new one.
            all_serve(bed, promoted, A_LOOK).await?;
            let made = creates.end("while the CA changed").await?;
            note(&format!(
                "a CA announced and promoted under load: {made} pods asked for, 0 refused"
            ));
            ensure!(made >= 300, "only {made} pods were asked for");
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn a_leaf_of_cert_managers_secret_is_served_as_soon_as_it_changes_and_nothing_is_written() {
    Test::new("certmanager")
        .alone()
        .bare()
        .run(async |bed| {
            let own = Release::current().await?;
            let outcome = with_cert_manager(bed, &own).await;
            // The operator's own certificates begin anew, whatever the other ones left.
            let _ = kubectl(&["-n", SYSTEM, "delete", "secret", SECRET]).await;
            own.install(bed).await?;
            kubectl(&[
                "delete",
                "crd",
                "certificates.cert-manager.io",
                "issuers.cert-manager.io",
            ])
            .await?;
            outcome
        })
        .await;
}

async fn with_cert_manager(bed: &Bed, own: &Release) -> Result<()> {
    // cert-manager itself is not here: its kinds are, and this test does what it would do with them.
    bed.apply(issuer::KINDS).await?;
    let issued = own.clone().with("webhook", json!({"certManager": {"enabled": true}}));
    // The Secret that is there has what cert-manager would put into it, so the change of hands is seen by nobody.
    let creates = Creates::start(bed, 2);
    issued.install(bed).await?;
    let handed_over = creates.end("while cert-manager took over").await?;
    ensure!(
        kubectl(&["-n", SYSTEM, "get", "certificate", "bowsprit-webhook", "-o", "name"])
            .await?
            .contains("bowsprit-webhook"),
        "the chart renders a Certificate"
    );

    let issuer = Issuer::new()?;
    let first = issuer.leaf(0)?;
    issuer.inject(bed).await?;
    put(bed, &first).await?;
    all_serve(bed, first.not_after, A_WATCH).await?;
    let since = Timestamp::now().to_string();
    let creates = Creates::start(bed, 4);
    for turn in 1..=5 {
        let leaf = issuer.leaf(turn)?;
        put(bed, &leaf).await?;
        all_serve(bed, leaf.not_after, A_WATCH).await?;
    }
    let made = creates.end("while cert-manager renewed the leaf").await?;
    note(&format!(
        "cert-manager took over: {handed_over} pods asked for, 0 refused; five leaves of its Secret: {made} asked for, 0 refused"
    ));
    ensure!(made >= 100, "only {made} pods were asked for");
    let writes = audit::writes().await?;
    let ours: Vec<_> = writes
        .iter()
        .filter(|write| write.at > since && !write.what.contains("leases"))
        .collect();
    let of_certificates = |what: &str| what.contains(" secrets ") || what.contains("webhookconfigurations");
    ensure!(!ours.iter().any(|write| of_certificates(&write.what)), "{ours:#?}");
    let may = ["auth", "can-i", "update", "secret/bowsprit-webhook-tls", "-n", SYSTEM];
    let who = format!("--as=system:serviceaccount:{SYSTEM}:bowsprit");
    ensure!(
        kubectl(&[&may[..], &[&who]].concat()).await.is_err(),
        "the operator may write the Secret"
    );
    Ok(())
}

/// What cert-manager does when it has a certificate.
async fn put(bed: &Bed, leaf: &issuer::Leaf) -> Result<()> {
    let params = PatchParams::apply("cert-manager-certificates-issuing").force();
    secrets(bed).patch(SECRET, &params, &Patch::Apply(&leaf.secret)).await?;
    Ok(())
}
