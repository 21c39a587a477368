//! A pod that is made together with its ProviderConfigs, in whatever order, gets their keys; and no pod waits for nothing twice.
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
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_operator::objects::{Changes, Store};
use bowsprit_operator::webhook::newest::Newest;
use bowsprit_operator::webhook::questions;
use bowsprit_operator::webhook::review::{Lookup as _, View};
use fake::{Fake, Fate};
use futures::future::join_all;
use serde_json::json;
use tokio::time::Instant;

/// As the webhook gives it.
const PATIENCE: Duration = Duration::from_secs(2);

struct Cluster {
    fake: Arc<Fake>,
    newest: Arc<Newest>,
    /// What becomes of watches, and of lists.
    fates: Arc<Mutex<(Fate, Fate)>>,
    _changes: Changes,
}

impl Cluster {
    /// With one provider, that was there before, in the namespace `old`.
    async fn new() -> Self {
        let fake = Fake::new();
        let fates = Arc::new(Mutex::new((Fate::Answered, Fate::Answered)));
        let decides = Arc::clone(&fates);
        let client = fake.client_through(move |head| {
            let is_watch = head.uri.query().is_some_and(|query| query.contains("watch=true"));
            let (watches, lists) = *decides.lock().unwrap();
            if is_watch { watches } else { lists }
        });
        let synced = Arc::new(AtomicBool::new(false));
        let (store, changes, watches) = Store::watch(&client);
        tokio::spawn(watches);
        let newest = Newest::new(store.clone(), client, questions(), Arc::clone(&synced));
        let newest = Arc::new(newest);
        let this = Self {
            fake,
            newest,
            fates,
            _changes: changes,
        };
        this.put("old", "claude");
        assert!(this.view("old", PATIENCE).await.0.is_none(), "nothing was read yet");
        store.ready().await;
        synced.store(true, Ordering::Release);
        // The watches begin where the lists ended.
        tokio::time::sleep(Duration::from_secs(5)).await;
        this
    }

    /// A provider whose key is in a Secret of its name.
    fn put(&self, namespace: &str, name: &str) {
        let credentials = json!([{"name": "main", "secretKeyRef": {"name": name, "key": "key"}}]);
        self.fake.put(
            &format!("/apis/bowsprit.dev/v1alpha1/namespaces/{namespace}/providerconfigs/{name}"),
            json!({"spec": {"provider": "OpenAI", "credentials": credentials}}),
        );
    }

    /// What a new pod gets, and after how many milliseconds.
    async fn view(&self, namespace: &str, patience: Duration) -> (Option<View>, u128) {
        let begun = Instant::now();
        let view = self.newest.view(namespace, &BTreeMap::new(), patience).await;
        (view, begun.elapsed().as_millis())
    }

    /// The Secrets that it has mounted, and after how many milliseconds.
    async fn mounted(&self, namespace: &str) -> (Vec<String>, u128) {
        let (view, took) = self.view(namespace, PATIENCE).await;
        (secrets(&view.unwrap()), took)
    }

    fn asked(&self, namespace: &str) -> usize {
        let path = format!("GET /apis/bowsprit.dev/v1alpha1/namespaces/{namespace}/providerconfigs");
        self.fake.calls().iter().filter(|call| **call == path).count()
    }
}

fn secrets(view: &View) -> Vec<String> {
    view.references.secrets.iter().map(|(name, _)| name.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn where_all_is_quiet_a_pod_is_made_at_once_and_from_memory() {
    let cluster = Cluster::new().await;
    assert_eq!(cluster.mounted("old").await, (vec!["claude".to_owned()], 0));
    assert_eq!(cluster.asked("old"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_comes_before_its_providers_or_among_them_gets_all_their_keys() {
    let cluster = Cluster::new().await;
    // As Helm does it: the workload first, and then one provider after the other.
    let apply = async {
        for name in ["claude", "gemini", "openai"] {
            tokio::time::sleep(Duration::from_millis(200)).await;
            cluster.put("new", name);
        }
    };
    let (first, ()) = tokio::join!(cluster.mounted("new"), apply);
    let all = ["claude", "gemini", "openai"].map(str::to_owned);
    assert_eq!(first, (all.to_vec(), 1100), "and half a second after the last");

    // Into a namespace that has one: the pod comes after the second, and before the third.
    cluster.put("old", "gemini");
    let apply = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cluster.put("old", "openai");
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (second, ()) = tokio::join!(cluster.mounted("old"), apply);
    assert_eq!(second, (all.to_vec(), 700));
}

#[tokio::test(start_paused = true)]
async fn who_applies_on_and_on_holds_no_pod_up_for_longer_than_two_seconds() {
    let cluster = Cluster::new().await;
    let apply = async {
        for turn in 0..20 {
            cluster.put("old", &format!("p{turn}"));
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let asked = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        cluster.mounted("old").await
    };
    let ((_, took), ()) = tokio::join!(asked, apply);
    assert_eq!(took, 2000);
}

#[tokio::test(start_paused = true)]
async fn a_first_provider_is_waited_for_ever_more_rarely_and_the_apiserver_has_the_last_word() {
    let cluster = Cluster::new().await;
    let none = |took| (Vec::<String>::new(), took);
    let (first, second) = tokio::join!(cluster.mounted("empty"), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.mounted("empty").await
    });
    assert_eq!((first, second), (none(2000), none(1500)), "one patience together");
    assert_eq!(cluster.asked("empty"), 1, "and one question");
    assert_eq!(cluster.mounted("empty").await, none(0));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(cluster.mounted("empty").await, none(2000));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(cluster.mounted("empty").await, none(0), "two minutes, this time");
    assert_eq!(cluster.asked("empty"), 2);
    // Whoever applies something there now is waited for all the same.
    let apply = async {
        for name in ["claude", "gemini"] {
            cluster.put("empty", name);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let pod = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.mounted("empty").await
    };
    let (pod, ()) = tokio::join!(pod, apply);
    assert_eq!(pod, (vec!["claude".to_owned(), "gemini".to_owned()], 700));
}

#[tokio::test(start_paused = true)]
async fn namespaces_without_a_provider_hold_up_nobody_for_long() {
    let cluster = Cluster::new().await;
    // Each has a pod made every minute, as after a drain, or by a CronJob.
    let namespaces: Vec<_> = (0..400).map(|turn| format!("empty-{turn}")).collect();
    let mut waited = Vec::new();
    for _ in 0..10 {
        let took = join_all(namespaces.iter().map(|namespace| cluster.mounted(namespace))).await;
        waited.extend(took.into_iter().filter_map(|(_, took)| (took > 0).then_some(took)));
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
    assert!(
        waited.len() <= 16 + 10 && waited.iter().all(|took| *took <= 2000),
        "{waited:?}"
    );
    let asked: usize = namespaces.iter().map(|namespace| cluster.asked(namespace)).sum();
    assert_eq!(asked, waited.len(), "nobody asks where nothing is to come");
    // Beside them a namespace that comes with its provider, once there is a wait left.
    tokio::time::sleep(Duration::from_mins(1)).await;
    let apply = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.put("new", "claude");
    };
    let (pod, ()) = tokio::join!(cluster.mounted("new"), apply);
    assert_eq!(pod, (vec!["claude".to_owned()], 800));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_none_is_asked_about_nowhere() {
    let cluster = Cluster::new().await;
    let before = cluster.fake.calls().len();
    assert_eq!(cluster.mounted("../../../api/v1/secrets?").await, (vec![], 0));
    assert_eq!(cluster.fake.calls().len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_waits_for_nobody_and_asks_nobody() {
    let cluster = Cluster::new().await;
    let (view, took) = cluster.view("empty", Duration::ZERO).await;
    assert_eq!((secrets(&view.unwrap()), took, cluster.asked("empty")), (vec![], 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_made_while_the_watch_is_interrupted_gets_what_the_apiserver_has() {
    let cluster = Cluster::new().await;
    let set = |watches, lists| *cluster.fates.lock().unwrap() = (watches, lists);
    // What an apiserver says that has yet to prepare for watches of a kind.
    set(Fate::Refused(429), Fate::Answered);
    cluster.fake.cut_watches();
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.put("old", "gemini");
    let both = ["claude", "gemini"].map(str::to_owned).to_vec();
    assert_eq!(cluster.mounted("old").await, (both, 0));
    assert_eq!(cluster.asked("old"), 1);
    // With nobody to ask, a pod is made with what is known, and not refused.
    set(Fate::Refused(429), Fate::Lost);
    assert_eq!(cluster.mounted("old").await, (vec!["claude".to_owned()], 1000));
    let namespaces: Vec<_> = (0..50).map(|turn| format!("other-{turn}")).collect();
    let took = join_all(namespaces.iter().map(|namespace| cluster.view(namespace, PATIENCE))).await;
    let asked = cluster.fake.calls();
    assert!(
        took.iter().filter(|(_, took)| *took == 0).count() >= 50 - 16,
        "nobody waits for it again"
    );
    assert!(!asked.iter().any(|call| call.contains("other-49")));
    tokio::time::sleep(Duration::from_secs(10)).await;
    // Once it answers again, pods that are made together ask together.
    set(Fate::Refused(429), Fate::Answered);
    join_all((0..20).map(|_| cluster.mounted("old"))).await;
    assert_eq!(cluster.asked("old"), 2);
    // And once the watch tells again, nobody is asked.
    set(Fate::Answered, Fate::Answered);
    cluster.put("new", "claude");
    tokio::time::sleep(Duration::from_mins(1)).await;
    let both = ["claude", "gemini"].map(str::to_owned).to_vec();
    assert_eq!(cluster.mounted("old").await, (both, 0));
    assert_eq!(cluster.asked("old"), 2, "the one that got no answer was not heard");
}
