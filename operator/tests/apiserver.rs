//! The parts that read and write, against an apiserver in memory: what is written, how often, and by whom.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "apiserver/budgets.rs"]
mod budgets;
#[allow(dead_code, reason = "each test program uses its part of it")]
mod fake;
#[path = "apiserver/new_limits.rs"]
mod new_limits;
#[path = "apiserver/runaways.rs"]
mod runaways;
#[path = "apiserver/statuses.rs"]
mod statuses;
#[path = "apiserver/unread.rs"]
mod unread;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bowsprit_core::stream::{ReportedProvider, SidecarReport};
use bowsprit_operator::certs::Served;
use bowsprit_operator::certs::keeper::{Keeper, Names};
use bowsprit_operator::fleet::{Fleet, PodId};
use bowsprit_operator::lease::elector::{Elector, Leadership, UNKNOWING};
use bowsprit_operator::metrics::Metrics;
use bowsprit_operator::objects::Store;
use bowsprit_operator::owner::Defined;
use bowsprit_operator::poll::Poller;
use bowsprit_operator::reconcile;
use bowsprit_operator::stream::documents::Documents;
use bowsprit_operator::stream::trust::Trust;
use bowsprit_operator::time::Clock;
use fake::{Fake, Fate, PATIENCE};
use kube::Api;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

const CONFIG: &str = "/api/v1/namespaces/team/configmaps/bowsprit-config";
const CLAUDE: &str = "/apis/bowsprit.dev/v1alpha1/namespaces/team/providerconfigs/claude";
const POD: &str = "/api/v1/namespaces/team/pods/app";

fn provider(spec: &Value) -> Value {
    json!({"apiVersion": "bowsprit.dev/v1alpha1", "kind": "ProviderConfig", "metadata": {"uid": "u"}, "spec": spec})
}

fn good(model: &str) -> Value {
    let credentials = json!([{"name": "main", "secretKeyRef": {"name": "keys", "key": "claude"}}]);
    provider(&json!({"provider": "Anthropic", "defaultModel": model, "credentials": credentials}))
}

fn bad() -> Value {
    let mut bad = good("claude-x");
    bad["spec"]["endpoint"] = json!({"baseUrl": "ftp://nowhere"});
    bad
}

fn condition(fake: &Fake, kind: &str) -> Value {
    let object = fake.get(CLAUDE).unwrap_or_default();
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions
        .into_iter()
        .find(|condition| condition["type"] == kind)
        .unwrap_or_default()
}

fn status(fake: &Fake) -> Value {
    fake.get(CLAUDE).unwrap_or_default()["status"].clone()
}

fn status_writes(fake: &Fake) -> usize {
    fake.writes().iter().filter(|write| write.ends_with("/status")).count()
}

fn data(fake: &Fake, key: &str) -> String {
    let map = fake.get(CONFIG).unwrap_or_default();
    map["data"][key].as_str().unwrap_or_default().to_owned()
}

struct Running {
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
    metrics: Metrics,
    fleet: Fleet,
}

impl Running {
    /// Looks at a namespace so far.
    fn looks(&self) -> u64 {
        let text = self.metrics.encode().unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("bowsprit_operator_reconciles_total "));
        line.unwrap().parse().unwrap()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waited = async {
            while !holds(self) {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "never: {what}");
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.ended).await.expect("ends").unwrap();
    }
}

fn start(fake: &Arc<Fake>, leadership: Leadership) -> Running {
    start_owned(fake, leadership, None)
}

fn start_owned(fake: &Arc<Fake>, leadership: Leadership, owner: Option<Defined>) -> Running {
    start_with(fake, leadership, |context| match owner {
        Some(owner) => context.owned_by(owner),
        None => context,
    })
}

fn start_with(
    fake: &Arc<Fake>,
    leadership: Leadership,
    with: impl FnOnce(reconcile::Context) -> reconcile::Context,
) -> Running {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = fake.client();
    let (store, changes, watches) = Store::watch(&client);
    let metrics = Metrics::new();
    let (fleet, heard) = Fleet::new();
    let context = reconcile::Context::new(
        client,
        store,
        (fleet.clone(), Poller::new().unwrap()),
        metrics.reconcile(),
        "operator-0".into(),
        leadership,
    );
    let context = with(context);
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        tokio::select! {
            () = reconcile::run(Arc::new(context), changes, heard, stopped) => {}
            () = watches => panic!("the watches ended"),
        }
    });
    Running {
        stop,
        ended,
        metrics,
        fleet,
    }
}

fn elector(fake: &Arc<Fake>, identity: &str) -> Elector {
    Elector::new(
        Api::namespaced(fake.client(), "system"),
        "bowsprit-operator",
        identity,
        Clock::new(),
    )
}

/// Starts a leader, and returns once the status of `claude` counts the pod's sidecar, which has what was written.
async fn start_with_sidecar(fake: &Arc<Fake>) -> Running {
    let running = start(fake, leader(fake).await);
    fake.until("written", |fake| !data(fake, "revision").is_empty()).await;
    running.fleet.note("team", pod_id(), report(fake), Instant::now());
    fake.until("live", |fake| status(fake)["sidecars"]["current"] == 1)
        .await;
    running
}

/// A pod that has mounted what `good` names, and `corp-ca`.
fn pod() -> Value {
    let keys = json!({"secret": {"name": "keys", "items": [{"key": "claude", "path": "keys/claude"}]}});
    let bundle = json!({"configMap": {"name": "corp-ca", "items": [{"key": "ca.crt", "path": "corp-ca/ca.crt"}]}});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"uid": "pod-1", "labels": {"bowsprit.dev/injected": "true"}},
        "spec": {"containers": [], "volumes": [
            {"name": "bowsprit-secrets", "projected": {"sources": [keys]}},
            {"name": "bowsprit-ca", "projected": {"sources": [bundle]}},
            {"name": "bowsprit-token", "projected": {"sources": []}},
        ]},
        "status": {"phase": "Running", "podIP": "127.0.0.1"},
    })
}

fn pod_id() -> PodId {
    PodId {
        name: "app".into(),
        uid: "pod-1".into(),
    }
}

/// What a sidecar says that has in service what is written.
fn report(fake: &Fake) -> Arc<SidecarReport> {
    Arc::new(SidecarReport {
        revision: data(fake, "revision"),
        sequence: data(fake, "sequence").parse().unwrap(),
        ..SidecarReport::default()
    })
}

/// Leads for as long as a test may take: nobody renews the lease here, which lasts 15 s by the clock of the process, and that goes on where
/// a test's time stands still.
async fn leader(fake: &Arc<Fake>) -> Leadership {
    let mut elector = elector(fake, "operator-0");
    elector.acquire().await;
    let leadership = elector.leadership();
    leadership.leads_for(leadership.epoch().unwrap_or_default(), Duration::from_hours(1));
    leadership
}

fn namespace(fake: &Fake) {
    fake.put(
        "/api/v1/namespaces/team",
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {}}),
    );
}

#[tokio::test]
async fn a_provider_becomes_config_and_conditions_in_few_writes_and_then_nothing_is_written() {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(CLAUDE, good("claude-x"));
    let running = start(&fake, leader(&fake).await);
    fake.until("programmed", |fake| condition(fake, "Programmed")["status"] == "True")
        .await;
    assert!(data(&fake, "bowsprit.yaml").contains("claude-x"));
    assert_eq!(data(&fake, "formatVersion"), "1");
    assert_eq!(condition(&fake, "Programmed")["observedGeneration"], 1);
    let about = |text: &str| fake.writes().iter().filter(|write| write.contains(text)).count();
    assert_eq!((about("configmaps"), about("/status")), (1, 1), "{:#?}", fake.writes());

    // Looked at again, it leads to no write.
    let told = |fake: &Fake| fake.writes().iter().filter(|write| write.contains("/events")).count() >= 3;
    fake.until("told", told).await;
    let (looks, before) = (running.looks(), fake.writes().len());
    fake.put(CLAUDE, good("claude-x"));
    running.until("looked again", |running| running.looks() > looks).await;
    running.stop().await;
    assert_eq!(fake.writes().split_off(before), Vec::<String>::new());
}

#[tokio::test]
async fn an_object_that_turns_bad_disturbs_nothing_and_one_that_is_mended_moves_the_sequence() {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(CLAUDE, good("claude-x"));
    let running = start(&fake, leader(&fake).await);
    fake.until("accepted", |fake| condition(fake, "Accepted")["status"] == "True")
        .await;
    let (text, sequence) = (data(&fake, "bowsprit.yaml"), data(&fake, "sequence"));

    fake.put(CLAUDE, bad());
    fake.until("refused", |fake| condition(fake, "Accepted")["status"] == "False")
        .await;
    let message = condition(&fake, "Accepted")["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("ProviderConfig claude: spec.endpoint.baseUrl: "),
        "{message}"
    );
    assert_eq!(
        (data(&fake, "bowsprit.yaml"), data(&fake, "sequence")),
        (text, sequence.clone())
    );
    let events = |fake: &Fake| fake.writes().iter().filter(|write| write.contains("/events")).count();
    fake.until("told", |fake| events(fake) > 0).await;

    fake.put(CLAUDE, good("claude-y"));
    fake.until("mended", |fake| data(fake, "bowsprit.yaml").contains("claude-y"))
        .await;
    let number = |text: String| text.parse::<u64>().unwrap();
    assert!(number(data(&fake, "sequence")) > number(sequence));
    running.stop().await;
}

#[tokio::test]
async fn when_the_last_object_goes_or_the_config_is_deleted_the_sequence_still_grows() {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(CLAUDE, good("claude-x"));
    let running = start(&fake, leader(&fake).await);
    fake.until("written", |fake| !data(fake, "sequence").is_empty()).await;
    let number = |fake: &Fake| data(fake, "sequence").parse::<u64>().unwrap_or(0);
    let first = number(&fake);
    fake.delete(CONFIG);
    fake.until("written again", |fake| number(fake) >= first).await;
    let second = number(&fake);
    fake.delete(CLAUDE);
    fake.until("emptied", |fake| {
        number(fake) > second && data(fake, "bowsprit.yaml").is_empty()
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_config_of_a_release_without_owners_gets_one_and_keeps_its_sequence() {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(CLAUDE, good("claude-x"));
    let before = start(&fake, leader(&fake).await);
    fake.until("written", |fake| !data(fake, "sequence").is_empty()).await;
    before.stop().await;
    let sequence = data(&fake, "sequence");
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/providerconfigs.bowsprit.dev";
    fake.put(definition, json!({"metadata": {"uid": "of-the-crd"}}));

    let after = start_owned(&fake, leader(&fake).await, Some(Defined::new(&fake.client())));
    let owner = |fake: &Fake| fake.get(CONFIG).unwrap()["metadata"]["ownerReferences"].clone();
    let wanted = json!([{
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "name": "providerconfigs.bowsprit.dev", "uid": "of-the-crd",
    }]);
    fake.until("adopted", |fake| owner(fake) == wanted).await;
    assert_eq!(data(&fake, "sequence"), sequence, "no sidecar has anything to load");
    fake.put(CLAUDE, good("claude-y"));
    fake.until("changed", |fake| data(fake, "bowsprit.yaml").contains("claude-y"))
        .await;
    assert_eq!(owner(&fake), wanted);
    after.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_config_that_went_with_its_crd_is_made_once_for_the_crd_that_is_there_now() {
    const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/providerconfigs.bowsprit.dev";
    let fake = Fake::new();
    namespace(&fake);
    let crd = |uid: &str| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
               "metadata": {"uid": uid}, "spec": {}})
    };
    fake.put(CRD, crd("first"));
    fake.put(CLAUDE, good("claude-x"));
    let running = start_owned(&fake, leader(&fake).await, Some(Defined::new(&fake.client())));
    let owned_by = |fake: &Fake, uid: &str| {
        let map = fake.get(CONFIG).unwrap_or_default();
        map["metadata"]["ownerReferences"][0]["uid"] == uid
    };
    fake.until("written", |fake| owned_by(fake, "first")).await;
    // What the garbage collector does with whoever names an owner that is no more.
    fake.put(CRD, crd("second"));
    fake.delete(CONFIG);
    fake.until("made again", |fake| owned_by(fake, "second")).await;
    let made = |fake: &Fake| fake.writes().iter().filter(|write| write.ends_with(CONFIG)).count();
    let before = made(&fake);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(made(&fake), before, "nothing more is written");

    // While there is none, whoever names one that was is collected: it goes without, and with the next one again.
    fake.delete(CRD);
    fake.delete(CONFIG);
    fake.until("made without", |fake| fake.get(CONFIG).is_some()).await;
    let owners = |fake: &Fake| fake.get(CONFIG).unwrap()["metadata"]["ownerReferences"].clone();
    assert!(owners(&fake).as_array().is_none_or(Vec::is_empty), "{}", owners(&fake));
    let before = made(&fake);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(made(&fake), before, "nothing more is written without one");
    fake.put(CRD, crd("third"));
    fake.put(CLAUDE, good("claude-y"));
    fake.until("adopted", |fake| owned_by(fake, "third")).await;
    running.stop().await;
}

#[tokio::test]
async fn a_pod_is_nudged_once_a_revision() {
    let fake = Fake::new();
    namespace(&fake);
    let metadata = json!({"labels": {"bowsprit.dev/injected": "true"}});
    fake.put(
        POD,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": "Running"}}),
    );
    fake.put(CLAUDE, good("claude-x"));
    let running = start(&fake, leader(&fake).await);
    let touched =
        |fake: &Fake| fake.get(POD).unwrap()["metadata"]["annotations"]["bowsprit.dev/config-revision"].clone();
    fake.until("nudged", |fake| touched(fake) == data(fake, "revision").as_str())
        .await;
    fake.until("judged", |fake| {
        condition(fake, "Programmed")["reason"] == "SecretNotMounted"
    })
    .await;
    let message = condition(&fake, "Programmed")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("keys/claude") && message.contains("app"), "{message}");
    running.stop().await;
    let nudges = fake
        .writes()
        .iter()
        .filter(|write| write.ends_with("/pods/app"))
        .count();
    assert_eq!(nudges, 1);
}

#[tokio::test]
async fn a_ca_bundle_that_is_not_there_is_said_with_what_to_do() {
    let fake = Fake::new();
    namespace(&fake);
    let mut object = good("claude-x");
    object["spec"]["endpoint"] = json!({"caBundleRef": {"name": "corp-ca", "key": "ca.crt"}});
    fake.put(CLAUDE, object);
    let running = start(&fake, leader(&fake).await);
    fake.until("judged", |fake| {
        condition(fake, "ResolvedRefs")["reason"] == "RefNotFound"
    })
    .await;
    let message = condition(&fake, "ResolvedRefs")["message"].as_str().unwrap().to_owned();
    assert_eq!(
        message,
        "ProviderConfig claude: spec.endpoint.caBundleRef: there is no ConfigMap \"corp-ca\": create it with the key \"ca.crt\", or correct the name"
    );
    assert_eq!(condition(&fake, "Accepted")["status"], "True");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_ca_bundle_that_a_sidecar_lost_is_looked_for_again() {
    const BUNDLE: &str = "/api/v1/namespaces/team/configmaps/corp-ca";
    let bundle = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"ca.crt": "PEM"}});
    let fake = Fake::new();
    namespace(&fake);
    let mut object = good("claude-x");
    object["spec"]["endpoint"] = json!({"caBundleRef": {"name": "corp-ca", "key": "ca.crt"}});
    fake.put(CLAUDE, object);
    fake.put(BUNDLE, bundle.clone());
    fake.put(POD, pod());
    let running = start_with_sidecar(&fake).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(condition(&fake, "ResolvedRefs")["status"], "True");
    fake.delete(BUNDLE);
    let mut lost = SidecarReport::clone(&report(&fake));
    lost.providers = vec![ReportedProvider {
        name: "claude".into(),
        status: "CA bundle /bundles/corp-ca/ca.crt: No such file or directory".into(),
        ..ReportedProvider::default()
    }];
    running.fleet.note("team", pod_id(), Arc::new(lost), Instant::now());
    fake.until("its loss is told", |fake| {
        condition(fake, "ResolvedRefs")["reason"] == "RefNotFound"
    })
    .await;
    fake.put(BUNDLE, bundle);
    running.fleet.note("team", pod_id(), report(&fake), Instant::now());
    // The next look for a missing one.
    tokio::time::sleep(Duration::from_secs(15)).await;
    fake.until("all is well", |fake| {
        condition(fake, "ResolvedRefs")["status"] == "True"
    })
    .await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_serves_what_a_restored_cluster_has_lost_is_given_what_the_cluster_has() {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(POD, pod());
    fake.put(CLAUDE, good("claude-x"));
    // As a backup holds it: of long before now.
    let running = start_with_sidecar(&fake).await;
    let mut map = fake.get(CONFIG).unwrap();
    map["data"]["sequence"] = json!("1000");
    fake.put(CONFIG, map);
    let mut ahead = SidecarReport::clone(&report(&fake));
    ahead.sequence = 2000;
    "lost".clone_into(&mut ahead.revision);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (writes, revision) = (fake.writes().len(), data(&fake, "revision"));
    running.fleet.note("team", pod_id(), Arc::new(ahead), Instant::now());
    let sequence = |fake: &Fake| data(fake, "sequence").parse::<u64>().unwrap();
    fake.until("written again", |fake| sequence(fake) > 2000).await;
    assert_eq!(data(&fake, "revision"), revision, "the same documents");
    running.fleet.note("team", pod_id(), report(&fake), Instant::now());
    tokio::time::sleep(Duration::from_mins(5)).await;
    let mut writes = fake.writes().split_off(writes);
    writes.retain(|write| write.contains("/configmaps/"));
    assert_eq!(writes.len(), 1, "{writes:#?}");
    assert_eq!(condition(&fake, "Programmed")["status"], "True");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn at_rest_nothing_is_asked_and_nothing_written() {
    let fake = Fake::new();
    namespace(&fake);
    let mut object = good("claude-x");
    object["spec"]["endpoint"] = json!({"caBundleRef": {"name": "corp-ca", "key": "ca.crt"}});
    fake.put(CLAUDE, object);
    fake.put(
        "/api/v1/namespaces/team/configmaps/corp-ca",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"ca.crt": "PEM"}}),
    );
    fake.put(POD, pod());
    let running = start_with_sidecar(&fake).await;
    // The last Event is on its way.
    tokio::time::sleep(Duration::from_mins(1)).await;
    let before = fake.calls().len();
    tokio::time::sleep(Duration::from_hours(2)).await;
    let mut calls = fake.calls().split_off(before);
    calls.retain(|call| !call.starts_with("WATCH "));
    assert_eq!(calls, Vec::<String>::new());
    let nudged = fake.writes().iter().any(|write| write.ends_with("/pods/app"));
    assert!(!nudged, "{:#?}", fake.writes());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_is_behind_then_live_in_a_handful_of_writes_with_the_time_it_took() {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(POD, pod());
    fake.put(CLAUDE, good("claude-x"));
    let running = start_with_sidecar(&fake).await;
    tokio::time::sleep(Duration::from_mins(1)).await;

    let (writes, revision) = (fake.writes().len(), data(&fake, "revision"));
    fake.put(CLAUDE, good("claude-y"));
    fake.until("behind", |fake| status(fake)["sidecars"]["behind"] == 1)
        .await;
    assert_eq!(status(&fake)["sidecars"]["behindPods"], json!(["app"]));
    assert_eq!(condition(&fake, "Programmed")["reason"], "Pending");
    assert_ne!(status(&fake)["revision"], revision.as_str());
    running.fleet.note("team", pod_id(), report(&fake), Instant::now());
    fake.until("live again", |fake| condition(fake, "Ready")["status"] == "True")
        .await;
    let propagation = status(&fake)["propagation"].clone();
    assert_eq!(propagation["of"], data(&fake, "revision"));
    assert_eq!(propagation["sidecars"], 1);
    tokio::time::sleep(Duration::from_mins(1)).await;
    let writes = fake.writes().split_off(writes);
    assert!(writes.len() <= 5, "{writes:#?}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_broken_leaves_the_status_of_the_other_and_its_sidecars_alone() {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(POD, pod());
    fake.put(CLAUDE, good("claude-x"));
    let running = start_with_sidecar(&fake).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (config, before) = (fake.get(CONFIG).unwrap(), fake.get(CLAUDE).unwrap());
    let other = CLAUDE.replace("claude", "other");
    fake.put(&other, bad());
    fake.until("refused", |fake| {
        fake.get(&other).is_some_and(|it| !it["status"].is_null())
    })
    .await;
    // And another that is right: what carries the first is older, and its sidecars have that.
    fake.put(&CLAUDE.replace("claude", "third"), good("claude-z"));
    fake.until("carried", |fake| data(fake, "bowsprit.yaml").contains("claude-z"))
        .await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_ne!(fake.get(CONFIG).unwrap(), config);
    assert_eq!(fake.get(CLAUDE).unwrap(), before);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn circuits_that_flap_are_told_twice_a_minute_and_how_they_stand_at_the_end() {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(POD, pod());
    fake.put(CLAUDE, good("claude-x"));
    let running = start(&fake, leader(&fake).await);
    fake.until("written", |fake| !data(fake, "revision").is_empty()).await;
    let with = |open: u32| {
        let mut report = (*report(&fake)).clone();
        report.providers.push(ReportedProvider {
            name: "claude".into(),
            closed: 3 - open,
            open,
            ..ReportedProvider::default()
        });
        Arc::new(report)
    };
    let writes = status_writes(&fake);
    for second in 0..600 {
        running.fleet.note("team", pod_id(), with(second % 2), Instant::now());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    running.fleet.note("team", pod_id(), with(2), Instant::now());
    tokio::time::sleep(Duration::from_mins(1)).await;
    let writes = status_writes(&fake) - writes;
    assert!((15..=30).contains(&writes), "{writes} writes in eleven minutes");
    assert_eq!(status(&fake)["circuits"]["summary"], "2 open, 1 closed");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_begins_writes_nothing_anew_and_says_nothing_of_sidecars_before_they_had_time_to_come() {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(POD, pod());
    fake.put(CLAUDE, good("claude-x"));
    let first = start_with_sidecar(&fake).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    first.stop().await;
    let writes = fake.writes().len();
    let next = start(&fake, leader(&fake).await);
    tokio::time::sleep(Duration::from_secs(10)).await;
    next.fleet.note("team", pod_id(), report(&fake), Instant::now());
    tokio::time::sleep(Duration::from_mins(2)).await;
    let mut writes = fake.writes().split_off(writes);
    writes.retain(|write| !write.contains("/leases/"));
    assert_eq!(writes, Vec::<String>::new());
    next.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_do_not_answer_hold_up_no_change_of_another_namespace() {
    let fake = Fake::new();
    namespace(&fake);
    // Takes connections, as the kernel does for it, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = |number: usize| format!("dead-{number}");
    for number in 0..12 {
        let namespace = dead(number);
        fake.put(
            &format!("/api/v1/namespaces/{namespace}"),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {}}),
        );
        fake.put(&CLAUDE.replace("team", &namespace), good("claude-x"));
        for pod in 0..64 {
            let mut object = self::pod();
            object["metadata"]["annotations"]["bowsprit.dev/sidecar-admin-port"] =
                json!(silent.local_addr().unwrap().port().to_string());
            object["metadata"]["uid"] = json!(format!("{namespace}-{pod}"));
            // Without a token for a stream: they are asked from the first look on.
            object["spec"]["volumes"].as_array_mut().unwrap().pop();
            object["status"] = json!({"phase": "Running", "podIP": "127.0.0.1"});
            fake.put(&format!("/api/v1/namespaces/{namespace}/pods/app-{pod}"), object);
        }
    }
    let running = start(&fake, leader(&fake).await);
    fake.until("the others have their config", |fake| {
        (0..12).all(|number| fake.get(&CONFIG.replace("team", &dead(number))).is_some())
    })
    .await;
    // They are asked by now, twice a second each.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let changed = tokio::time::Instant::now();
    fake.put(CLAUDE, good("claude-x"));
    fake.until("the change is written", |fake| fake.get(CONFIG).is_some())
        .await;
    let took = changed.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    // Nor is it left unsaid that they do not answer.
    let of_dead = CLAUDE.replace("team", &dead(0));
    fake.until("they are told of", |fake| {
        let status = fake.get(&of_dead).unwrap_or_default()["status"].clone();
        status["sidecars"]["behind"] == 64
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn whoever_does_not_hold_the_lease_writes_nothing() {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(CLAUDE, good("claude-x"));
    let running = start(&fake, Leadership::new(Clock::new()));
    let none = "bowsprit_operator_reconcile_failures_total 0";
    running
        .until("a reconcile was tried", |running| {
            !running.metrics.encode().unwrap().contains(none)
        })
        .await;
    assert!(fake.writes().is_empty(), "{:#?}", fake.writes());
    running.stop().await;
}

#[tokio::test]
async fn the_bundle_is_brought_to_each_config_as_no_news_of_it_and_only_by_the_leader() {
    let fake = Fake::new();
    let client = fake.client();
    let (documents, served) = (Documents::default(), Served::default());
    let noted = documents.clone();
    let (store, _changes, watches) = Store::watch_and_tell(&client, move |event| noted.note(event), |_| {}, |_| {});
    let watches = tokio::spawn(watches);
    let start = |leadership: Leadership| {
        let trust = Trust {
            client: client.clone(),
            store: store.clone(),
            documents: documents.clone(),
            bundle: served.bundle(),
            leadership,
        };
        tokio::spawn(trust.keep())
    };
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {},
        "data": {"sequence": "7", "revision": "r", "formatVersion": "1", "bowsprit.yaml": "t"}});
    fake.put(CONFIG, config.clone());
    served.announce("old");
    let other = start(Leadership::new(Clock::new()));
    let keeping = start(leader(&fake).await);
    fake.until("brought", |fake| data(fake, "ca.crt") == "old").await;
    served.announce("old\nnew");
    fake.until("brought again", |fake| data(fake, "ca.crt") == "old\nnew")
        .await;
    assert_eq!(
        (data(&fake, "sequence"), data(&fake, "bowsprit.yaml")),
        ("7".into(), "t".into())
    );
    // Somebody takes it away.
    fake.put(CONFIG, config);
    fake.until("brought back", |fake| data(fake, "ca.crt") == "old\nnew")
        .await;
    // A ConfigMap that is deleted is not made by it, and one that is not ours is left alone.
    fake.delete(CONFIG);
    let foreign = "/api/v1/namespaces/web/configmaps/bowsprit-config";
    fake.put(
        foreign,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"a": "b"}}),
    );
    served.announce("new");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(fake.get(CONFIG).is_none());
    assert_eq!(fake.get(foreign).unwrap()["data"], json!({"a": "b"}));
    let patches = fake
        .writes()
        .iter()
        .filter(|write| write.contains("configmaps"))
        .count();
    assert_eq!(patches, 3, "{:#?}", fake.writes());
    for task in [other, keeping, watches] {
        task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn one_replica_leads_and_its_release_lets_the_other_lead_at_once() {
    let fake = Fake::new();
    let (mut first, mut second) = (elector(&fake, "a"), elector(&fake, "b"));
    first.acquire().await;
    assert!(first.leadership().check().is_ok());
    let waiting = tokio::time::timeout(Duration::from_secs(7), second.acquire()).await;
    assert!(waiting.is_err() && second.leadership().check().is_err());
    first.release().await;
    assert!(first.leadership().check().is_err());
    second.acquire().await;
    assert!(second.leadership().check().is_ok());
    let lease = fake
        .get("/apis/coordination.k8s.io/v1/namespaces/system/leases/bowsprit-operator")
        .unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "b");
}

#[tokio::test(start_paused = true)]
async fn before_the_lease_names_it_a_replica_notes_what_there_is_and_not_while_it_leads() {
    let fake = Fake::new();
    let path = "/apis/coordination.k8s.io/v1/namespaces/system/leases/bowsprit-operator";
    let (noted, notes) = std::sync::mpsc::channel();
    let seen = Arc::clone(&fake);
    let mut first = elector(&fake, "a").before_it_leads(move || noted.send(seen.get(path)).expect("heard"));
    first.acquire().await;
    assert_eq!(notes.try_iter().collect::<Vec<_>>(), [None], "nobody led");
    let renewing = tokio::time::timeout(Duration::from_secs(9), first.hold()).await;
    assert!(renewing.is_err() && first.leadership().check().is_ok());
    assert_eq!(notes.try_iter().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_the_lease_names_notes_nothing_anew_where_the_answer_was_lost() {
    let fake = Fake::new();
    let lost = AtomicBool::new(false);
    let client = fake.client_through(move |head| {
        let is_write = head.method != http::Method::GET;
        if is_write && !lost.swap(true, Ordering::SeqCst) {
            return Fate::Done;
        }
        Fate::Answered
    });
    let (noted, notes) = std::sync::mpsc::channel();
    let elector = Elector::new(
        Api::namespaced(client, "system"),
        "bowsprit-operator",
        "a",
        Clock::new(),
    );
    let mut first = elector.before_it_leads(move || noted.send(()).expect("heard"));
    first.acquire().await;
    assert!(first.leadership().check().is_ok());
    // Everybody has known of it since the write, and what came since is new.
    assert_eq!(notes.try_iter().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_just_started_asks_for_the_lease_once_it_knows_what_there_is_and_not_much_later() {
    let fake = Fake::new();
    let (knows, known) = watch::channel(false);
    let mut first = elector(&fake, "a").once(known.clone());
    let early = tokio::time::timeout(UNKNOWING / 2, first.acquire()).await;
    assert!(early.is_err() && fake.writes().is_empty(), "{:#?}", fake.writes());
    let began = tokio::time::Instant::now();
    tokio::join!(first.acquire(), async { knows.send_replace(true) });
    assert!(began.elapsed() < Duration::from_secs(1), "nothing is waited for then");
    first.release().await;

    // A kind of object that cannot be watched leaves no fleet without a leader.
    knows.send_replace(false);
    let mut second = elector(&fake, "b").once(known);
    let late = tokio::time::timeout(UNKNOWING * 2, second.acquire()).await;
    assert!(late.is_ok() && second.leadership().check().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_is_taken_stops_to_lead() {
    let fake = Fake::new();
    let mut first = elector(&fake, "a");
    first.acquire().await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/system/leases/bowsprit-operator";
    let mut lease = fake.get(path).unwrap();
    lease["spec"]["holderIdentity"] = json!("b");
    fake.put(path, lease);
    tokio::time::timeout(Duration::from_mins(1), first.hold())
        .await
        .expect("notices");
    assert!(first.leadership().check().is_err());
}

#[tokio::test]
async fn replicas_that_start_together_agree_on_one_certificate_and_every_webhook_trusts_it() {
    let fake = Fake::new();
    let webhooks = ["Mutating", "Validating"].map(|kind| {
        let plural = kind.to_lowercase();
        let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}webhookconfigurations/bowsprit");
        (path, format!("{kind}WebhookConfiguration"))
    });
    let hook = |name: &str| json!({"name": name, "clientConfig": {}, "admissionReviewVersions": ["v1"], "sideEffects": "None"});
    let hooks = json!([hook("a"), hook("b")]);
    for (path, kind) in &webhooks {
        fake.put(
            path,
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {}, "webhooks": hooks}),
        );
    }
    let keeper = || {
        let names = Names {
            secret: "tls".into(),
            webhook_config: "bowsprit".into(),
            dns: vec!["w.system.svc".into()],
            ledger: None,
        };
        Keeper::new(
            fake.client(),
            "system",
            names,
            Arc::new(Served::default()),
            Metrics::new(),
        )
    };
    let (first, second) = (keeper(), keeper());
    let (one, two) = tokio::join!(first.look(), second.look());
    // The slower one may have lost the race for the webhook configuration; its next look finds all in order.
    if one.is_err() {
        first.look().await.unwrap();
    }
    if two.is_err() {
        second.look().await.unwrap();
    }
    let secret = fake.get("/api/v1/namespaces/system/secrets/tls").unwrap();
    for (path, _) in &webhooks {
        let config = fake.get(path).unwrap();
        for hook in config["webhooks"].as_array().unwrap() {
            assert_eq!(hook["clientConfig"]["caBundle"], secret["data"]["ca.crt"], "{path}");
        }
    }
    let secrets = fake.writes().iter().filter(|write| write.contains("/secrets")).count();
    assert_eq!(secrets, 1, "{:#?}", fake.writes());
    let before = fake.writes().len();
    first.look().await.unwrap();
    second.look().await.unwrap();
    assert_eq!(fake.writes().len(), before, "nothing is written at rest");
}
