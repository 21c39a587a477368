//! An apiserver that is away, refuses, or has forgotten: an operator asks ever more seldom, and lists once when it is back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[allow(dead_code, reason = "each test program uses its part of it")]
mod fake;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_operator::certs::Served;
use bowsprit_operator::certs::issued::Issued;
use bowsprit_operator::certs::keeper::{Keeper, Names};
use bowsprit_operator::fleet::Fleet;
use bowsprit_operator::lease::elector::{Elector, Leadership};
use bowsprit_operator::metrics::Metrics;
use bowsprit_operator::objects::Store;
use bowsprit_operator::poll::Poller;
use bowsprit_operator::readiness::Readiness;
use bowsprit_operator::reconcile;
use bowsprit_operator::time::Clock;
use bowsprit_operator::watchdog;
use fake::{Fake, Fate};
use kube::Api;
use serde_json::json;

/// As long as the longest outage that is promised for.
const OUTAGE: Duration = Duration::from_mins(10);
/// One request a second, over all that a replica does.
const MOST: usize = 600;

/// The apiserver's mood, and what it was asked, as `LIST path`, `WATCH path` or `METHOD path`.
#[derive(Clone)]
struct Watched {
    mood: Arc<Mutex<Fate>>,
    /// Of lists alone.
    lists: Arc<Mutex<Fate>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    fn client(&self, fake: &Arc<Fake>) -> kube::Client {
        let this = self.clone();
        fake.client_through(move |head| {
            let query = head.uri.query().unwrap_or_default();
            let is_one = head
                .uri
                .path()
                .rsplit('/')
                .next()
                .is_some_and(|last| last == "bowsprit" || last == "tls" || last == "bowsprit-operator");
            let what = match head.method.as_str() {
                "GET" if query.contains("watch=true") => "WATCH",
                "GET" if !is_one => "LIST",
                method => method,
            };
            this.asked.lock().unwrap().push(format!("{what} {}", head.uri.path()));
            let mood = if what == "LIST" { &this.lists } else { &this.mood };
            *mood.lock().unwrap()
        })
    }

    fn is(&self, mood: Fate) {
        *self.mood.lock().unwrap() = mood;
        *self.lists.lock().unwrap() = mood;
    }

    /// What it was asked since the last time.
    fn asked(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for what in std::mem::take(&mut *self.asked.lock().unwrap()) {
            *counts.entry(what).or_default() += 1;
        }
        counts
    }
}

/// All that a replica does beside answering others: watches, certificates, the wait for the lease, the reconciler.
fn replica(client: &kube::Client) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (store, changes, watches) = Store::watch(client);
    let clock = Clock::new();
    let (metrics, (fleet, heard)) = (Metrics::new(), Fleet::new());
    let context = reconcile::Context::new(
        client.clone(),
        store,
        (fleet, Poller::new().unwrap()),
        metrics.reconcile(),
        "operator-0".into(),
        Leadership::new(clock),
    );
    let names = Names {
        secret: "tls".into(),
        webhook_config: "bowsprit".into(),
        dns: vec!["w.system.svc".into()],
        ledger: None,
    };
    let keeper = Keeper::new(client.clone(), "system", names, Arc::new(Served::default()), metrics);
    let mut elector = Elector::new(
        Api::namespaced(client.clone(), "system"),
        "bowsprit-operator",
        "operator-0",
        clock,
    );
    tokio::spawn(watches);
    tokio::spawn(reconcile::run(
        Arc::new(context),
        changes,
        heard,
        std::future::pending(),
    ));
    tokio::spawn(keeper.run(Readiness::default().block("webhook certificate")));
    tokio::spawn(async move { elector.acquire().await });
}

fn cluster() -> (Arc<Fake>, Watched) {
    let fake = Fake::new();
    fake.put(
        "/api/v1/namespaces/other",
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {}}),
    );
    for kind in ["Mutating", "Validating"] {
        let path = format!(
            "/apis/admissionregistration.k8s.io/v1/{}webhookconfigurations/bowsprit",
            kind.to_lowercase()
        );
        let kind = format!("{kind}WebhookConfiguration");
        fake.put(
            &path,
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {}, "webhooks": []}),
        );
    }
    // Another leads, so that this replica goes on waiting.
    fake.put(
        "/apis/coordination.k8s.io/v1/namespaces/system/leases/bowsprit-operator",
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {},
               "spec": {"holderIdentity": "operator-1", "leaseDurationSeconds": 36_000}}),
    );
    let watched = Watched {
        mood: Arc::new(Mutex::new(Fate::Answered)),
        lists: Arc::new(Mutex::new(Fate::Answered)),
        asked: Arc::default(),
    };
    (fake, watched)
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_without_an_apiserver_cost_at_most_a_request_a_second() {
    for mood in [Fate::Unreachable, Fate::Refused(429), Fate::Refused(500)] {
        let (fake, watched) = cluster();
        replica(&watched.client(&fake));
        tokio::time::sleep(Duration::from_secs(30)).await;
        watched.asked();
        watched.is(mood);
        fake.cut_watches();
        tokio::time::sleep(OUTAGE).await;
        let asked = watched.asked();
        let sum: usize = asked.values().sum();
        println!("{mood:?}: {sum} requests in {OUTAGE:?}");
        assert!(sum > 20 && sum <= MOST, "{mood:?}: {sum} requests: {asked:#?}");

        // It is back: everything is watched again soon, and nothing that was known is listed again more than once.
        watched.is(Fate::Answered);
        tokio::time::sleep(Duration::from_mins(1)).await;
        let asked = watched.asked();
        let watches = asked.keys().filter(|what| what.starts_with("WATCH")).count();
        assert_eq!(watches, 6, "{mood:?}: {asked:#?}");
        let relisted = asked
            .iter()
            .filter(|(what, times)| what.starts_with("LIST") && **times > 1);
        assert_eq!(relisted.collect::<Vec<_>>(), [], "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_apiserver_that_has_forgotten_the_history_is_listed_once() {
    let (fake, watched) = cluster();
    replica(&watched.client(&fake));
    tokio::time::sleep(Duration::from_secs(30)).await;
    watched.asked();
    fake.put(
        "/api/v1/namespaces/new",
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {}}),
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Everybody's watch is older than what is still known.
    fake.put("/apis/other/v1/things/a", json!({"metadata": {}}));
    fake.compact();
    fake.cut_watches();
    tokio::time::sleep(Duration::from_mins(2)).await;
    let asked = watched.asked();
    let lists: Vec<_> = asked.iter().filter(|(what, _)| what.starts_with("LIST")).collect();
    assert_eq!(lists.len(), 6, "each kind: {asked:#?}");
    assert!(lists.iter().all(|(_, times)| **times == 1), "{lists:#?}");
}

#[tokio::test(start_paused = true)]
async fn while_lists_fail_each_watch_asks_ever_more_seldom() {
    let (fake, watched) = cluster();
    let client = watched.client(&fake);
    replica(&client);
    let metrics = Metrics::new();
    let certificate = Issued::new(
        client.clone(),
        "system",
        "issued",
        "w.system.svc",
        Arc::default(),
        metrics.clone(),
    );
    tokio::spawn(certificate.run(Readiness::default().block("webhook certificate")));
    let leadership = Leadership::new(Clock::new());
    tokio::spawn(watchdog::run(client, "operator-0".into(), leadership, metrics));
    tokio::time::sleep(Duration::from_secs(30)).await;
    watched.asked();
    // No watch can go on, and none can begin anew.
    *watched.lists.lock().unwrap() = Fate::Refused(500);
    fake.put("/apis/other/v1/things/a", json!({"metadata": {}}));
    fake.put("/apis/other/v1/things/b", json!({"metadata": {}}));
    fake.compact();
    fake.cut_watches();
    tokio::time::sleep(OUTAGE).await;
    let asked = watched.asked();
    let lists: Vec<_> = asked.iter().filter(|(what, _)| what.starts_with("LIST")).collect();
    println!("{lists:#?}");
    assert_eq!(lists.len(), 12, "{lists:#?}");
    // Pods are watched by three, and namespaces by two.
    let watches = |what: &str| match what.rsplit('/').next() {
        Some("pods") => 3,
        Some("namespaces") => 2,
        _ => 1,
    };
    assert!(
        lists.iter().all(|(what, times)| **times <= 30 * watches(what)),
        "{lists:#?}"
    );
}
