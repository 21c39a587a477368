//! cert-manager makes the webhook's certificates, and the operator serves what it made. cert-manager itself is not here: this test
//! makes what it would make, in the same shape.

mod issuer;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowsprit_e2e::{Bed, Creates, Release, SYSTEM, Test, audit, kubectl, note};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use issuer::Issuer;

const SECRET: &str = "bowsprit-webhook-tls";
/// What is watched is heard of at once.
const A_WATCH: Duration = Duration::from_secs(10);

fn secrets(bed: &Bed) -> Api<Secret> {
    Api::namespaced(bed.client.clone(), SYSTEM)
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
    let kinds = std::env::temp_dir().join(format!("bowsprit-kinds-{:08x}.yaml", fastrand::u32(..)));
    tokio::fs::write(&kinds, issuer::KINDS).await?;
    let file = kinds.to_str().context("a path that is no UTF-8")?;
    kubectl(&["apply", "-f", file]).await?;
    let established = ["wait", "--for=condition=Established", "--timeout=30s", "-f", file];
    kubectl(&established).await?;
    tokio::fs::remove_file(&kinds).await?;
    let issued = own.clone().with("webhook", json!({"certManager": {"enabled": true}}));
    // The Secret that is there has what cert-manager would put into it, so the change of hands is seen by nobody.
    let creates = Creates::start(bed, 2);
    issued.install(bed).await?;
    let handed_over = creates.end("while cert-manager took over").await?;
    // Those before them go on answering for a while, with what they made themselves.
    bed.operators().settled().await?;
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
    bed.operators().all_serve(first.not_after, A_WATCH).await?;
    let since = Timestamp::now().to_string();
    let creates = Creates::start(bed, 4);
    for turn in 1..=5 {
        let leaf = issuer.leaf(turn)?;
        put(bed, &leaf).await?;
        bed.operators().all_serve(leaf.not_after, A_WATCH).await?;
    }
    let made = creates.end("while cert-manager renewed the leaf").await?;
    note(&format!(
        "cert-manager took over: {handed_over} pods asked for, 0 refused; five leaves of its Secret: {made} asked for, 0 refused"
    ));
    ensure!(made >= 30, "only {made} pods were asked for");
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
