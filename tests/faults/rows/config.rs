//! Rows 14 and 20: what can go wrong with where a configuration comes from, and how often it changes.

use bowsprit_providers::Provider;
use bowsprit_rig::documents;
use bowsprit_rig::operator::{Held, ScriptedOperator};
use serde_json::{Value, json};

use crate::bed::{Bed, MODEL, Setup};
use crate::trial::{Trial, until};

pub mod disk;
pub mod storm;

/// One provider, as a cluster's documents have it; `aliases` tell one configuration from the next.
fn one(provider: &Provider, aliases: &[String]) -> String {
    named("first", provider, aliases, &json!({}))
}

/// The same under a name, with limits.
fn named(name: &str, provider: &Provider, aliases: &[String], limits: &Value) -> String {
    documents::provider(
        name,
        &json!({
            "provider": "OpenAICompatible",
            "endpoint": {"baseUrl": format!("{}/v1", provider.url()), "allowHttp": true, "allowedAddresses": ["Loopback"]},
            "credentials": [{"name": "main", "secretKeyRef": {"name": "keys", "key": "first"}}],
            "models": [{"name": MODEL, "aliases": aliases}],
            "defaultModel": MODEL,
            "retry": {"maxAttempts": 1},
            "rateLimits": limits,
        }),
    )
}

/// How a sidecar of this operator is started, with the key in a mounted Secret.
fn setup(operator: &ScriptedOperator) -> Setup {
    let secrets = operator.dir.path().join("secrets");
    std::fs::create_dir_all(secrets.join("keys")).unwrap();
    std::fs::write(secrets.join("keys/first"), "key-of-first").unwrap();
    let secrets = secrets.display().to_string();
    Setup::new()
        .quiet()
        .operator(operator)
        .args(&["--secrets-dir", &secrets])
}

/// A sidecar that has sequence 5 mounted, and holds a stream.
async fn held(trial: &Trial, operator: &ScriptedOperator, provider: &Provider) -> (std::rc::Rc<Bed>, Held) {
    operator.mount(&one(provider, &[]), 5);
    let bed = trial.bed(setup(operator)).await;
    let mut held = operator.accept().await;
    held.report(|report| report.sequence == 5).await;
    (bed, held)
}

async fn serves(bed: &Bed, sequence: u64) {
    until("it is in service", || async {
        bed.health().await["config"]["sequence"] == sequence
    })
    .await;
    assert_eq!(bed.chat(false).await.status, 200);
}
