//! What serves the operator itself goes with its Deployment, also with one that was made again beside the pods of the one before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[allow(dead_code, reason = "each test program uses its part of it")]
mod fake;

use std::sync::Arc;
use std::time::Duration;

use bowsprit_operator::certs::Served;
use bowsprit_operator::certs::keeper::{Keeper, Names};
use bowsprit_operator::lease::elector::Elector;
use bowsprit_operator::metrics::Metrics;
use bowsprit_operator::owner::Deployed;
use bowsprit_operator::readiness::Readiness;
use bowsprit_operator::time::Clock;
use fake::Fake;
use kube::Api;
use serde_json::json;

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/system/deployments/bowsprit";
const SECRET: &str = "/api/v1/namespaces/system/secrets/tls";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/system/leases/bowsprit-operator";
const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/bowsprit";

/// What each replica does with the Lease and the Secret.
fn replica(fake: &Arc<Fake>, name: &str) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = fake.client();
    let deployed = Deployed::new(&client, "system", "bowsprit");
    let names = Names {
        secret: "tls".into(),
        webhook_config: "bowsprit".into(),
        dns: vec!["w.system.svc".into()],
        ledger: None,
    };
    let served = Arc::new(Served::default());
    let keeper = Keeper::new(client.clone(), "system", names, served, Metrics::new()).owned_by(deployed.clone());
    let leases = Api::namespaced(client, "system");
    let mut elector = Elector::new(leases, "bowsprit-operator", name, Clock::new()).owned_by(deployed);
    tokio::spawn(keeper.run(Readiness::default().block("webhook certificate")));
    tokio::spawn(async move {
        loop {
            elector.acquire().await;
            elector.hold().await;
        }
    });
}

fn owner(fake: &Fake, path: &str) -> Option<String> {
    let object = fake.get(path)?;
    Some(object["metadata"]["ownerReferences"][0]["uid"].as_str()?.to_owned())
}

/// Kubernetes' garbage collector: what names an owner that is no more goes, whenever it is written.
async fn collect(fake: Arc<Fake>) {
    loop {
        let uid = fake.get(DEPLOYMENT).map(|object| object["metadata"]["uid"].clone());
        for path in [SECRET, LEASE] {
            if owner(&fake, path).is_some_and(|owner| uid != Some(json!(owner))) {
                fake.delete(path);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn count(calls: &[String], call: &str) -> usize {
    calls.iter().filter(|made| *made == call).count()
}

#[tokio::test(start_paused = true)]
async fn lease_and_certificate_go_with_the_deployment_that_is_there_now() {
    let fake = Fake::new();
    let hook = json!({"name": "a", "clientConfig": {}, "admissionReviewVersions": ["v1"], "sideEffects": "None"});
    let kind = "MutatingWebhookConfiguration";
    fake.put(
        WEBHOOKS,
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {}, "webhooks": [hook]}),
    );
    let deployment =
        |uid: &str| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"uid": uid}, "spec": {}});
    fake.put(DEPLOYMENT, deployment("first"));
    tokio::spawn(collect(Arc::clone(&fake)));
    for name in ["operator-0", "operator-1", "operator-2"] {
        replica(&fake, name);
    }
    let owned_by = |fake: &Fake, uid: &str| {
        [SECRET, LEASE]
            .iter()
            .all(|path| owner(fake, path).as_deref() == Some(uid))
    };
    fake.until("owned by the first", |fake| owned_by(fake, "first")).await;
    let secret = fake.get(SECRET).unwrap()["data"].clone();

    // Nothing is asked for, once they know.
    let question = format!("GET {DEPLOYMENT}");
    tokio::time::sleep(Duration::from_mins(2)).await;
    let asked = count(&fake.calls(), &question);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(count(&fake.calls(), &question), asked, "at rest");

    // kubectl delete deployment --cascade=orphan, and made again a little later.
    fake.delete(DEPLOYMENT);
    tokio::time::sleep(Duration::from_secs(5)).await;
    fake.put(DEPLOYMENT, deployment("second"));
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(owned_by(&fake, "second"), "{:#?}", fake.writes());
    assert_eq!(fake.get(SECRET).unwrap()["data"], secret, "as the replicas had it");
    let made = |fake: &Fake| fake.writes().iter().filter(|write| write.starts_with("POST")).count();
    let (before, asked) = (made(&fake), count(&fake.calls(), &question));
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(made(&fake), before, "nothing is collected any more");
    assert_eq!(count(&fake.calls(), &question), asked, "and nothing asked for");
    assert!(owned_by(&fake, "second"));
}
