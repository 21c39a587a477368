//! The webhook's certificates where the apiserver does not play along: what is refused keeps no replica from its leaf.
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

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bowsprit_operator::certs::Served;
use bowsprit_operator::certs::authority::{Material, STATE_KEY};
use bowsprit_operator::certs::issued::Issued;
use bowsprit_operator::certs::keeper::{Keeper, Ledger, Names};
use bowsprit_operator::metrics::Metrics;
use bowsprit_operator::readiness::Readiness;
use bowsprit_operator::time::unix_seconds;
use fake::{Fake, Fate, PATIENCE};
use serde_json::{Value, json};

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/bowsprit";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/bowsprit";
const SECRET: &str = "/api/v1/namespaces/system/secrets/tls";
const DNS: &str = "w.system.svc";

fn webhooks(fake: &Fake) {
    for (path, kind) in [(MUTATING, "Mutating"), (VALIDATING, "Validating")] {
        let hook = json!({"name": "a", "clientConfig": {}, "admissionReviewVersions": ["v1"], "sideEffects": "None"});
        let kind = format!("{kind}WebhookConfiguration");
        fake.put(
            path,
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {}, "webhooks": [hook]}),
        );
    }
}

struct Replica {
    keeper: Keeper,
    served: Arc<Served>,
    metrics: Metrics,
}

fn replica(client: kube::Client) -> Replica {
    replica_with(client, None)
}

fn replica_with(client: kube::Client, ledger: Option<Ledger>) -> Replica {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (served, metrics) = (Arc::new(Served::default()), Metrics::new());
    let names = Names {
        secret: "tls".into(),
        webhook_config: "bowsprit".into(),
        dns: vec![DNS.into()],
        ledger,
    };
    let keeper = Keeper::new(client, "system", names, Arc::clone(&served), metrics.clone());
    Replica {
        keeper,
        served,
        metrics,
    }
}

impl Replica {
    /// When what it serves ends.
    fn not_after(&self) -> i64 {
        let text = self.metrics.encode().unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("bowsprit_operator_webhook_certificate_not_after_seconds "));
        line.unwrap().parse().unwrap()
    }

    fn refusals(&self) -> bool {
        let line = "certificate_writes_total{object=\"webhook_configuration\",result=\"error\"}";
        self.metrics.encode().unwrap().contains(line)
    }
}

fn material(fake: &Fake) -> Material {
    let text = fake.get(SECRET).unwrap()["data"][STATE_KEY]
        .as_str()
        .unwrap()
        .to_owned();
    serde_json::from_slice(&BASE64.decode(text).unwrap()).unwrap()
}

/// Moves time for what is stored, not for what it certifies.
fn edit(fake: &Fake, change: impl FnOnce(&mut Material)) {
    let mut material = material(fake);
    change(&mut material);
    let mut secret = fake.get(SECRET).unwrap();
    secret["data"][STATE_KEY] = json!(BASE64.encode(serde_json::to_vec(&material).unwrap()));
    fake.put(SECRET, secret);
}

fn is_halfway(material: &mut Material) {
    material.current.not_after = unix_seconds() + 11 * 3_600;
}

fn was_announced_long_ago(material: &mut Material) {
    material.next.as_mut().unwrap().made_at -= 3_600;
}

fn bundle(fake: &Fake, path: &str) -> Value {
    fake.get(path).unwrap()["webhooks"][0]["clientConfig"]["caBundle"].clone()
}

/// A role that may not name the validating configuration, as of an older chart.
fn without_validating(head: &http::request::Parts) -> Fate {
    if head.uri.path().contains("validating") {
        Fate::Refused(403)
    } else {
        Fate::Answered
    }
}

#[tokio::test]
async fn a_role_that_names_no_validating_configuration_keeps_no_replica_from_a_rotated_leaf() {
    let fake = Fake::new();
    webhooks(&fake);
    let replica = replica(fake.client_through(without_validating));
    replica.keeper.look().await.unwrap();
    assert!(replica.served.is_serving() && replica.refusals());
    let first = material(&fake).current;

    edit(&fake, is_halfway);
    replica.keeper.look().await.unwrap();
    edit(&fake, was_announced_long_ago);
    replica.keeper.look().await.unwrap();
    let second = material(&fake).current;
    assert_ne!(second, first);
    assert_eq!(replica.not_after(), second.not_after);
    assert!(bundle(&fake, VALIDATING).is_null());
}

#[tokio::test]
async fn where_the_bundle_can_no_longer_be_written_the_old_leaf_goes_on_and_none_is_promoted() {
    let fake = Fake::new();
    webhooks(&fake);
    replica(fake.client()).keeper.look().await.unwrap();
    let first = material(&fake).current;
    let denied = |head: &http::request::Parts| match head.method {
        http::Method::PATCH => Fate::Refused(403),
        _ => Fate::Answered,
    };
    let replica = replica(fake.client_through(denied));
    // Ready: the apiserver trusts what is served, whoever told it.
    replica.keeper.look().await.unwrap();
    assert_eq!(replica.not_after(), first.not_after);

    edit(&fake, is_halfway);
    replica.keeper.look().await.unwrap();
    edit(&fake, was_announced_long_ago);
    replica.keeper.look().await.unwrap();
    assert_eq!(
        material(&fake).current.certificate,
        first.certificate,
        "a leaf that nobody trusts was promoted"
    );
    assert!(material(&fake).next.is_some() && replica.refusals());
}

#[tokio::test]
async fn a_secret_that_is_deleted_or_damaged_comes_back_as_it_was_served() {
    let fake = Fake::new();
    webhooks(&fake);
    let replica = replica(fake.client());
    replica.keeper.look().await.unwrap();
    let (first, told) = (material(&fake), bundle(&fake, MUTATING));
    fake.delete(SECRET);
    replica.keeper.look().await.unwrap();
    assert_eq!(material(&fake), first);
    edit(&fake, |material| material.current.certificate.clear());
    replica.keeper.look().await.unwrap();
    assert_eq!((material(&fake), bundle(&fake, MUTATING)), (first, told));
}

#[tokio::test]
async fn clients_are_told_of_a_new_ca_before_its_leaf_is_served_and_of_the_old_one_after() {
    let fake = Fake::new();
    webhooks(&fake);
    let replica = replica(fake.client());
    let told = replica.served.bundle();
    replica.keeper.look().await.unwrap();
    let first = material(&fake).current;
    edit(&fake, is_halfway);
    replica.keeper.look().await.unwrap();
    let next = material(&fake).next.unwrap();
    let trusts = |ca: &str| {
        told.borrow()
            .as_ref()
            .is_some_and(|bundle| bundle.contains(ca.trim_end()))
    };
    assert!(trusts(&first.ca) && trusts(&next.ca));
    assert_ne!(replica.not_after(), next.not_after);
    edit(&fake, was_announced_long_ago);
    replica.keeper.look().await.unwrap();
    assert_eq!(replica.not_after(), next.not_after);
    assert!(trusts(&first.ca) && trusts(&next.ca));
}

/// A Secret as cert-manager makes it.
fn issued(now: i64) -> (Value, i64) {
    let pair = Material::step(None, &[DNS.to_owned()], now, |_| true)
        .unwrap()
        .unwrap()
        .current;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {
            "annotations": {
                "cert-manager.io/certificate-name": "bowsprit-webhook", "cert-manager.io/issuer-kind": "Issuer",
                "cert-manager.io/issuer-name": "bowsprit", "cert-manager.io/alt-names": DNS,
            },
            "labels": {"controller.cert-manager.io/fao": "true"},
        },
        "data": {
            "tls.crt": BASE64.encode(&pair.certificate), "tls.key": BASE64.encode(pair.key.expose()),
            "ca.crt": BASE64.encode(&pair.ca),
        },
    });
    (secret, pair.not_after)
}

#[tokio::test]
async fn a_certificate_that_is_issued_is_served_when_it_comes_and_again_when_it_changes_and_nothing_is_written() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let fake = Fake::new();
    webhooks(&fake);
    let (served, metrics, readiness) = (Arc::new(Served::default()), Metrics::new(), Readiness::default());
    let replica = Replica {
        keeper: replica(fake.client()).keeper,
        served: Arc::clone(&served),
        metrics: metrics.clone(),
    };
    let follower = Issued::new(fake.client(), "system", "tls", DNS, served, metrics);
    let running = tokio::spawn(follower.run(readiness.block("webhook certificate")));
    let until = async |what: &str, holds: &dyn Fn() -> bool| {
        let waited = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "never: {what}");
    };
    let now = unix_seconds();
    // While it is issued for the first time the Secret has a key only.
    fake.put(
        SECRET,
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {}, "type": "kubernetes.io/tls"}),
    );
    let (secret, first) = issued(now - 60);
    assert_eq!(readiness.waiting_for(), ["webhook certificate"]);
    fake.put(SECRET, secret);
    until("ready", &|| readiness.waiting_for().is_empty()).await;
    assert_eq!(replica.not_after(), first);
    let told = replica.served.bundle().borrow().clone().unwrap();
    assert!(told.contains("BEGIN CERTIFICATE"));

    let (secret, second) = issued(now);
    fake.put(SECRET, secret);
    until("the new one is served", &|| replica.not_after() == second).await;
    let mut broken = fake.get(SECRET).unwrap();
    broken["data"]["tls.crt"] = json!(BASE64.encode("-----BEGIN CERTIFICATE-----"));
    fake.put(SECRET, broken);
    let (third, end) = issued(now + 1);
    fake.put(SECRET, third);
    until("one that is good again is served", &|| replica.not_after() == end).await;
    assert_eq!(fake.writes(), Vec::<String>::new());
    running.abort();
}

#[tokio::test]
async fn the_ledger_has_a_key_of_its_own_and_sidecars_are_told_to_trust_it() {
    let fake = Fake::new();
    webhooks(&fake);
    let ledger = Ledger {
        secret: "ledger-tls".into(),
        dns: vec!["ledger.system.svc".into()],
    };
    let replica = replica_with(fake.client(), Some(ledger));
    replica.keeper.look().await.unwrap();
    let secret = fake.get("/api/v1/namespaces/system/secrets/ledger-tls").unwrap();
    let of = |key: &str| String::from_utf8(BASE64.decode(secret["data"][key].as_str().unwrap()).unwrap()).unwrap();
    assert!(of("tls.crt").contains("BEGIN CERTIFICATE") && of("tls.key").contains("PRIVATE KEY"));
    let webhook = material(&fake);
    assert!(
        !secret
            .to_string()
            .contains(&BASE64.encode(webhook.current.key.expose()))
    );
    let told = replica.served.bundle().borrow().clone().unwrap();
    for ca in [webhook.current.ca, of("ca.crt")] {
        assert!(told.contains(ca.trim_end()));
    }
    // The apiserver trusts the webhook's alone.
    let trusted = BASE64.decode(bundle(&fake, MUTATING).as_str().unwrap()).unwrap();
    assert!(!String::from_utf8(trusted).unwrap().contains(of("ca.crt").trim_end()));
}

#[tokio::test]
async fn trouble_with_the_ledgers_secret_touches_no_webhook() {
    let fake = Fake::new();
    webhooks(&fake);
    let denied = |head: &http::request::Parts| {
        if head.uri.path().contains("ledger-tls") {
            Fate::Refused(403)
        } else {
            Fate::Answered
        }
    };
    let ledger = Ledger {
        secret: "ledger-tls".into(),
        dns: vec!["ledger.system.svc".into()],
    };
    let replica = replica_with(fake.client_through(denied), Some(ledger));
    replica.keeper.look().await.unwrap();
    assert!(replica.served.is_serving());
}
