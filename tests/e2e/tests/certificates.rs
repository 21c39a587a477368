//! The webhook's certificates change under load, and no pod is refused.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowsprit_e2e::{Bed, Creates, SYSTEM, Test, eventually, note};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

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
            bed.operators().all_serve(promoted, A_LOOK).await?;
            let made = creates.end("while the CA changed").await?;
            note(&format!(
                "a CA announced and promoted under load: {made} pods asked for, 0 refused"
            ));
            ensure!(made >= 300, "only {made} pods were asked for");
            Ok(())
        })
        .await;
}
