//! An operator that dies or stands still at any call to the apiserver: whoever goes on makes the same of it, and nothing of the old
//! one arrives late.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[allow(dead_code, reason = "each test program uses its part of it")]
mod fake;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_operator::fleet::Fleet;
use bowsprit_operator::lease::elector::Elector;
use bowsprit_operator::metrics::Metrics;
use bowsprit_operator::objects::Store;
use bowsprit_operator::poll::Poller;
use bowsprit_operator::reconcile;
use bowsprit_operator::time::Clock;
use fake::{Fake, Fate, PATIENCE};
use kube::Api;
use serde_json::{Value, json};
use tokio::sync::Notify;

const CONFIG: &str = "/api/v1/namespaces/team/configmaps/bowsprit-config";
const CLAUDE: &str = "/apis/bowsprit.dev/v1alpha1/namespaces/team/providerconfigs/claude";
const ROUTE: &str = "/apis/bowsprit.dev/v1alpha1/namespaces/team/modelroutes/fast";
const POD: &str = "/api/v1/namespaces/team/pods/app";
/// More calls than it takes; the test says so if that changes.
const MOST_CALLS: usize = 80;

/// An operator as one process: it wants the lease, and then reconciles.
async fn operator(client: kube::Client) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (store, changes, watches) = Store::watch(&client);
    let leases = Api::namespaced(client.clone(), "system");
    let mut elector = Elector::new(leases, "bowsprit-operator", "operator-0", Clock::new());
    let leadership = elector.leadership();
    let work = async move {
        elector.acquire().await;
        // Nobody renews it here, and the machine may do much else.
        leadership.leads_for(leadership.epoch().unwrap_or_default(), Duration::from_hours(1));
        let (fleet, heard) = Fleet::new();
        let context = reconcile::Context::new(
            client,
            store,
            (fleet, Poller::new().unwrap()),
            Metrics::new().reconcile(),
            "operator-0".into(),
            leadership,
        );
        reconcile::run(Arc::new(context), changes, heard, std::future::pending()).await;
    };
    tokio::select! {
        () = work => panic!("the reconciler ended"),
        () = watches => panic!("the watches ended"),
    }
}

/// What a team applied.
fn applied(fake: &Fake) {
    fake.put(
        "/api/v1/namespaces/team",
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {}}),
    );
    let spec = json!({
        "provider": "Anthropic", "defaultModel": "claude-x",
        "credentials": [{"name": "main", "secretKeyRef": {"name": "keys", "key": "claude"}}],
    });
    fake.put(
        CLAUDE,
        json!({"apiVersion": "bowsprit.dev/v1alpha1", "kind": "ProviderConfig", "metadata": {"uid": "u"}, "spec": spec}),
    );
    let spec = json!({"match": {"models": ["fast"]}, "targets": [{"provider": "claude"}]});
    fake.put(
        ROUTE,
        json!({"apiVersion": "bowsprit.dev/v1alpha1", "kind": "ModelRoute", "metadata": {"uid": "r"}, "spec": spec}),
    );
    let metadata = json!({"labels": {"bowsprit.dev/injected": "true"}});
    fake.put(
        POD,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": "Running"}}),
    );
}

fn condition(fake: &Fake, path: &str, kind: &str) -> Value {
    let object = fake.get(path).unwrap_or_default();
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == kind);
    found.unwrap_or_default()
}

/// All is said and done: the config, the nudge, the statuses.
fn is_done(fake: &Fake) -> bool {
    let config = fake.get(CONFIG).unwrap_or_default();
    let touched = fake.get(POD).unwrap()["metadata"]["annotations"]["bowsprit.dev/config-revision"].clone();
    let revision = &config["data"]["revision"];
    let is_told = |path: &str| {
        let status = fake.get(path).unwrap()["status"].clone();
        status["revision"] == *revision && condition(fake, path, "Accepted")["status"] == "True"
    };
    !revision.is_null() && touched == *revision && is_told(CLAUDE) && is_told(ROUTE)
}

/// What is there in the end, without what differs between any two runs: times, versions, the clock's sequence.
fn outcome(fake: &Fake) -> BTreeMap<String, Value> {
    let objects = fake
        .objects()
        .into_iter()
        .filter(|(path, _)| !path.contains("/events/") && !path.contains("/leases/"));
    objects.map(|(path, object)| (path, timeless(object))).collect()
}

fn timeless(value: Value) -> Value {
    let differs = ["resourceVersion", "lastTransitionTime", "sequence", "generation"];
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(name, _)| !differs.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name, timeless(value))).collect())
        }
        Value::Array(all) => Value::Array(all.into_iter().map(timeless).collect()),
        value => value,
    }
}

/// Events as a person reads them; one that is there twice was told twice.
fn told(fake: &Fake) -> Vec<String> {
    let objects = fake.objects().into_iter().filter(|(path, _)| path.contains("/events/"));
    let line = |event: &Value| format!("{} {} {}", event["regarding"]["name"], event["reason"], event["note"]);
    objects.map(|(_, event)| line(&event)).collect()
}

/// Runs an operator until its `n`th call, which it does not survive: `done` says whether the apiserver still did it. False where it
/// never made so many.
async fn dies_at(fake: &Arc<Fake>, n: usize, fate: Fate) -> bool {
    let (calls, dead) = (AtomicUsize::new(0), Arc::new(Notify::new()));
    let died = Arc::clone(&dead);
    let client = fake.client_through(move |_| match calls.fetch_add(1, Ordering::SeqCst) + 1 {
        call if call < n => Fate::Answered,
        call if call == n => {
            died.notify_one();
            fate
        }
        _ => Fate::Lost,
    });
    let running = tokio::spawn(operator(client));
    let survived = fake.until("done", is_done);
    let has_died = tokio::select! {
        // A call that is done is done in the same turn in which it tells.
        () = dead.notified() => true,
        () = survived => false,
    };
    if fate == Fate::Done {
        tokio::task::yield_now().await;
    }
    running.abort();
    let _ = running.await;
    has_died
}

#[tokio::test]
async fn killed_at_any_call_it_comes_to_the_same_end_leaves_nothing_behind_and_tells_nothing_twice() {
    let undisturbed = Fake::new();
    applied(&undisturbed);
    let running = tokio::spawn(operator(undisturbed.client()));
    undisturbed.until("done", is_done).await;
    running.abort();
    let wanted = outcome(&undisturbed);

    for fate in [Fate::Lost, Fate::Done] {
        let mut deaths = 0;
        for n in 1..=MOST_CALLS {
            let fake = Fake::new();
            applied(&fake);
            if !dies_at(&fake, n, fate).await {
                break;
            }
            deaths += 1;
            let running = tokio::spawn(operator(fake.client()));
            fake.until(&format!("done after a death at call {n} ({fate:?})"), is_done)
                .await;
            running.abort();
            assert_eq!(outcome(&fake), wanted, "after a death at call {n} ({fate:?})");
            let told = told(&fake);
            let once: BTreeSet<_> = told.iter().collect();
            assert_eq!(
                once.len(),
                told.len(),
                "after a death at call {n} ({fate:?}): {told:#?}"
            );
        }
        assert!((12..MOST_CALLS).contains(&deaths), "it died {deaths} times, {fate:?}");
    }
}

#[tokio::test]
async fn what_a_leader_decided_before_it_stood_still_is_not_written_over_what_another_wrote_since() {
    for (what, path) in [("configmaps", CONFIG), ("providerconfigs", CLAUDE), ("pods", POD)] {
        let fake = Fake::new();
        applied(&fake);
        let running = tokio::spawn(operator(fake.client()));
        fake.until("done", is_done).await;
        running.abort();
        let _ = running.await;

        // The request is on its way when its sender is stopped; the next leader is faster.
        let (cluster, late) = (Arc::clone(&fake), Arc::new(AtomicBool::new(false)));
        let (is_late, written) = (Arc::clone(&late), Arc::new(Mutex::new(Value::Null)));
        let next_leaders = Arc::clone(&written);
        let client = fake.client_through(move |head| {
            let is_it = head.method == http::Method::PATCH && head.uri.path().contains(what);
            if is_late.load(Ordering::SeqCst) {
                return Fate::Lost;
            }
            if is_it {
                let mut object = cluster.get(path).unwrap();
                object["metadata"]["annotations"]["written-by"] = json!("the next leader");
                cluster.put(path, object);
                *next_leaders.lock().unwrap() = cluster.get(path).unwrap();
                is_late.store(true, Ordering::SeqCst);
            }
            Fate::Answered
        });
        let running = tokio::spawn(operator(client));
        let mut changed = fake.get(CLAUDE).unwrap();
        changed["spec"]["defaultModel"] = json!("claude-y");
        fake.put(CLAUDE, changed);
        let waited = async {
            while !late.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
        };
        assert!(
            tokio::time::timeout(PATIENCE, waited).await.is_ok(),
            "it never wrote {what}"
        );
        // The request that met the other's write was answered in the same turn, and no later one gets there.
        assert_eq!(
            fake.get(path).unwrap(),
            *written.lock().unwrap(),
            "{what} was written over"
        );
        running.abort();
    }
}
