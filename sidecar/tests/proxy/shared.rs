//! Answers that the pods of a workload share through a store: given by one pod as another had them, to nobody else, and no request waits for
//! a store that is gone, stuck or lying.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::config::{Config, Scope, load};
use bowsprit_core::cost::Picodollars;
use bowsprit_core::kept::key::Key;
use bowsprit_core::kept::shared::script;
use bowsprit_providers::Answer;
use bowsprit_rig::SOON;
use bowsprit_rig::documents;
use bowsprit_rig::inside::Sidecar;
use bowsprit_rig::metrics::sum;
use bowsprit_sidecar::credentials::KeyFiles;
use bowsprit_sidecar::metrics::Registry;
use bowsprit_sidecar::net::client::Connections;
use bowsprit_sidecar::observe::{AccessLog, Sinks};
use bowsprit_sidecar::store::Stores;
use bowsprit_sidecar::tenant::kept::{Answer as Kept, Which};
use bowsprit_sidecar::tenant::shared::{Looked, Place, SharedAnswers};
use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Value, json};

use crate::store::redis::{Redis, liar};
use crate::support::{Bed, Reply, chat, count, of_each_api};

const CHAT: &str = "/v1/chat/completions";

/// The pods of a namespace, of which the first is the bed's.
struct Pods {
    bed: Bed,
    others: Vec<Sidecar>,
    folders: [String; 2],
}

/// How a pod is called: its namespace, and its workload.
type Of<'a> = (&'a str, &'a str);

const SHOP: Of<'static> = ("team-a", "Deployment/shop");

impl Pods {
    async fn start(url: &str, of: &[Of<'_>]) -> Self {
        let mut bed = Bed::providers();
        bed.claude.always(Answer::new("as good as ever").chunks(3));
        let folders = folders(&bed, url);
        bed.start(&args(&folders, of[0]));
        let mut pods = Self {
            bed,
            others: Vec::new(),
            folders,
        };
        for of in &of[1..] {
            pods.another(*of);
        }
        pods
    }

    fn another(&mut self, of: Of<'_>) -> usize {
        self.others.push(Sidecar::start(&args(&self.folders, of)).unwrap());
        self.others.len()
    }

    async fn page(&self, pod: usize) -> String {
        match pod.checked_sub(1) {
            None => self.bed.metrics().await,
            Some(other) => {
                let url = format!("http://{}/metrics", self.others[other].admin);
                let http = reqwest::Client::builder().no_proxy().build().unwrap();
                http.get(url).send().await.unwrap().text().await.unwrap()
            }
        }
    }

    /// What became of answers at the store, as this pod counts it.
    async fn stored(&self, pod: usize, result: &str) -> f64 {
        let series = format!("bowsprit_cache_store_total{{result=\"{result}\"}}");
        let page = self.page(pod).await;
        page.lines()
            .filter_map(|line| line.strip_prefix(series.as_str()))
            .map(|value| value.trim().parse::<f64>().unwrap())
            .sum()
    }

    async fn ask_with(&self, pod: usize, path: &str, body: &Value, headers: &[(&str, &str)]) -> Reply {
        let Some(other) = pod.checked_sub(1) else {
            return self.bed.post_as(path, body, headers).await;
        };
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}{path}", self.others[other].listen);
        let mut request = http.post(url).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::of(request.body(body.to_string()).send().await.unwrap()).await
    }

    async fn ask(&self, pod: usize, path: &str, body: &Value) -> Reply {
        self.ask_with(pod, path, body, &[]).await
    }

    /// Asks what nobody asked before, again and again, until the store is asked as well.
    async fn is_connected(&self, pod: usize) {
        let asking = async {
            for number in 0_u32.. {
                let (before, kept) = (self.stored(pod, "miss").await, self.stored(pod, "kept").await);
                let body = question(&format!("is it there, {pod} {number}?"));
                assert_eq!(self.ask(pod, CHAT, &body).await.status, 200);
                if self.stored(pod, "miss").await > before {
                    // So that what is kept from now on is none of these.
                    return self.kept(pod, kept + 1.0).await;
                }
            }
        };
        tokio::time::timeout(SOON, asking).await.expect("the store is asked");
    }

    /// Waits until this pod has kept so many answers in the store.
    async fn kept(&self, pod: usize, answers: f64) {
        self.bed
            .until("the answers are in the store", || async {
                self.stored(pod, "kept").await >= answers
            })
            .await;
    }
}

fn question(text: &str) -> Value {
    let mut body = chat("smart", false);
    body["messages"] = json!([{"role": "user", "content": text}]);
    body
}

fn args<'a>([config, secrets]: &'a [String; 2], (namespace, workload): Of<'a>) -> [&'a str; 8] {
    [
        "--config-dir",
        config,
        "--secrets-dir",
        secrets,
        "--pod-namespace",
        namespace,
        "--workload",
        workload,
    ]
}

fn folders(bed: &Bed, url: &str) -> [String; 2] {
    let (config, secrets) = (bed.dir.path().join("config"), bed.dir.path().join("secrets"));
    for folder in [&config, &secrets.join("keys"), &secrets.join("cache")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(secrets.join("cache/url"), url).unwrap();
    let documents = bed.documents(&|name: &str, spec: &mut Value| {
        std::fs::write(secrets.join("keys").join(name), format!("key-of-{name}")).unwrap();
        spec["credentials"] = json!([{"name": "main", "secretKeyRef": {"name": "keys", "key": name}}]);
    });
    let route = json!({
        "match": {"models": ["smart"]},
        "targets": [{"provider": "claude"}],
        "cache": {
            "ttl": "1h", "maxBytes": 1 << 20, "temperature": "Any",
            // Long enough for a machine that has much else to do; who is gone is not waited for at all.
            "store": {"redisRef": {"name": "cache", "key": "url"}, "timeout": "500ms"},
        },
    });
    let documents = documents + &documents::route("smart", &route);
    std::fs::write(config.join("bowsprit.yaml"), documents).unwrap();
    std::fs::write(config.join("sequence"), "1").unwrap();
    [config.display().to_string(), secrets.display().to_string()]
}

/// The names of the answers that are in the store.
async fn names(redis: &Redis) -> Vec<String> {
    let keys = redis.say(&["KEYS", "bowsprit:{team-a/smart}:*"]).await;
    let mut keys: Vec<_> = keys.lines().map(ToOwned::to_owned).collect();
    keys.retain(|key| key.starts_with("bowsprit:") && !key.ends_with(":answers"));
    keys.sort();
    keys
}

fn is_fetched(reply: &Reply) -> bool {
    reply.header("x-bowsprit-cache").starts_with("hit") && reply.header("cache-status").ends_with("; detail=store")
}

#[tokio::test]
async fn the_store_knows_the_script_by_the_sum_that_it_is_called_by() {
    let redis = Redis::start(&[]).await;
    let sum = redis.say(&["SCRIPT", "LOAD", script::TEXT]).await;
    assert_eq!(sum, format!("$40\n{}", script::SHA));
}

#[tokio::test]
async fn what_one_pod_was_answered_another_of_its_workload_gives_byte_for_byte_plain_and_streamed() {
    let redis = Redis::start(&[]).await;
    let pods = Pods::start(&redis.url(), &[SHOP, SHOP]).await;
    pods.is_connected(0).await;
    pods.is_connected(1).await;
    let before = pods.stored(0, "kept").await;
    let mut first = Vec::new();
    for stream in [false, true] {
        for (path, body) in of_each_api(stream) {
            let reply = pods.ask(0, path.as_str(), &body).await;
            assert_eq!(
                reply.header("cache-status"),
                "bowsprit; fwd=miss",
                "{path}: {}",
                reply.text
            );
            first.push((path, body, reply));
        }
    }
    pods.kept(0, before + first.len() as f64).await;
    // It forgets the script, and is told it.
    redis.say(&["SCRIPT", "FLUSH"]).await;
    let asked = count(&pods.bed.claude);
    for (path, body, first) in &first {
        let reply = pods.ask(1, path, body).await;
        assert!(is_fetched(&reply), "{path}: {}", reply.header("cache-status"));
        assert_eq!((&reply.text, reply.complete), (&first.text, true), "{path}");
        for header in ["content-type", "x-bowsprit-model", "x-bowsprit-provider"] {
            assert_eq!(reply.header(header), first.header(header), "{path}: {header}");
        }
        assert!(reply.header("age").parse::<u64>().unwrap() < 60);
        let again = pods.ask(1, path, body).await;
        assert!(
            again.header("x-bowsprit-cache").starts_with("hit") && !is_fetched(&again),
            "from memory since"
        );
    }
    assert_eq!(count(&pods.bed.claude), asked, "nobody is asked");
    let page = pods.page(1).await;
    assert!(sum(&page, "bowsprit_cache_saved_tokens_total", &[]) > 0.0);
    assert_eq!(pods.stored(1, "hit").await, first.len() as f64);
    pods.bed.balanced().await;
}

#[tokio::test]
async fn another_workload_namespace_caller_or_question_gets_nothing_of_it() {
    let redis = Redis::start(&[]).await;
    let others = [("team-a", "Deployment/bank"), ("team-b", "Deployment/shop"), SHOP];
    let mut pods = Pods::start(&redis.url(), &[SHOP]).await;
    pods.is_connected(0).await;
    let body = question("whose is it?");
    let own = [("authorization", "Bearer sk-a")];
    let before = pods.stored(0, "kept").await;
    assert_eq!(pods.ask_with(0, CHAT, &body, &own).await.status, 200);
    pods.kept(0, before + 1.0).await;
    for of in others {
        let pod = pods.another(of);
        pods.is_connected(pod).await;
        for other in [
            &[("authorization", "Bearer sk-b")][..],
            &[],
            &[("authorization", "Bearer sk-a"), ("x-user", "eve")],
        ] {
            let reply = pods.ask_with(pod, CHAT, &body, other).await;
            assert_eq!(reply.header("cache-status"), "bowsprit; fwd=miss", "{of:?} {other:?}");
        }
        let reply = pods.ask_with(pod, CHAT, &body, &own).await;
        assert_eq!(
            is_fetched(&reply),
            of == SHOP,
            "{of:?}: {}",
            reply.header("cache-status")
        );
    }
    let keys = redis.say(&["KEYS", "*"]).await;
    for told in ["sk-a", "whose", "as good"] {
        assert!(!keys.contains(told), "names tell nothing of what was asked: {keys}");
    }
    pods.bed.balanced().await;
}

#[tokio::test]
async fn a_caller_says_what_it_wants_of_a_store_too() {
    let redis = Redis::start(&[]).await;
    let pods = Pods::start(&redis.url(), &[SHOP, SHOP]).await;
    pods.is_connected(0).await;
    pods.is_connected(1).await;
    let (before, body) = (pods.stored(0, "kept").await, question("is it there?"));
    let none = [("cache-control", "only-if-cached")];
    assert_eq!(pods.ask_with(1, CHAT, &body, &none).await.status, 504);
    assert_eq!(pods.ask(0, CHAT, &body).await.status, 200);
    pods.kept(0, before + 1.0).await;
    let anew = [("cache-control", "no-cache")];
    let reply = pods.ask_with(1, CHAT, &body, &anew).await;
    assert_eq!(reply.header("cache-status"), "bowsprit; fwd=request");
    let other = question("and this one?");
    assert_eq!(pods.ask(0, CHAT, &other).await.status, 200);
    pods.kept(0, before + 2.0).await;
    assert!(is_fetched(&pods.ask_with(1, CHAT, &other, &none).await));
    pods.bed.balanced().await;
}

#[tokio::test]
async fn what_is_older_than_its_route_says_by_now_is_asked_anew_and_the_new_one_takes_its_place() {
    let redis = Redis::start(&[]).await;
    let mut pods = Pods::start(&redis.url(), &[SHOP]).await;
    pods.is_connected(0).await;
    let (before, body) = (pods.stored(0, "kept").await, question("of when?"));
    assert_eq!(pods.ask(0, CHAT, &body).await.status, 200);
    pods.kept(0, before + 1.0).await;
    // As if it had been asked for 50 minutes ago.
    for name in names(&redis).await {
        redis.say(&["PEXPIRE", &name, "600000"]).await;
    }
    let file = std::path::Path::new(&pods.folders[0]).join("bowsprit.yaml");
    let long = std::fs::read_to_string(&file).unwrap();
    let short = long.replace("1h", "20m");
    assert_ne!(short, long);
    std::fs::write(&file, short).unwrap();
    let second = pods.another(SHOP);
    pods.is_connected(second).await;
    let kept = pods.stored(second, "kept").await;
    let reply = pods.ask(second, CHAT, &body).await;
    assert_eq!(reply.header("cache-status"), "bowsprit; fwd=miss");
    pods.kept(second, kept + 1.0).await;
    let third = pods.another(SHOP);
    pods.is_connected(third).await;
    let reply = pods.ask(third, CHAT, &body).await;
    assert!(is_fetched(&reply), "{}", reply.header("cache-status"));
    assert!(reply.header("age").parse::<u64>().unwrap() < 600);
    pods.bed.balanced().await;
}

#[tokio::test]
async fn what_is_cleared_at_one_pod_is_given_by_none_that_did_not_have_it_in_memory() {
    let mut redis = Redis::start(&[]).await;
    let mut pods = Pods::start(&redis.url(), &[SHOP]).await;
    pods.is_connected(0).await;
    let (before, body) = (pods.stored(0, "kept").await, question("old?"));
    assert_eq!(pods.ask(0, CHAT, &body).await.status, 200);
    pods.kept(0, before + 1.0).await;
    let cleared = pods.bed.admin_post("/cache/clear?route=smart").await.json();
    assert_eq!(cleared["stores"], json!(["smart"]), "{cleared}");
    let second = pods.another(SHOP);
    pods.is_connected(second).await;
    let reply = pods.ask(second, CHAT, &body).await;
    assert_eq!(reply.header("cache-status"), "bowsprit; fwd=miss");
    // A store that is gone is said to be, and cleared before it is asked again.
    let kept = pods.stored(second, "kept").await;
    pods.kept(second, kept.max(1.0)).await;
    redis.signal("-STOP");
    let cleared = pods.bed.admin_post("/cache/clear?model=smart").await.json();
    assert!(
        cleared["undone"][0].as_str().unwrap().starts_with("smart: "),
        "{cleared}"
    );
    redis.signal("-CONT");
    pods.is_connected(0).await;
    let third = pods.another(SHOP);
    pods.is_connected(third).await;
    assert_eq!(
        pods.ask(third, CHAT, &body).await.header("cache-status"),
        "bowsprit; fwd=miss"
    );
    redis.kill();
    pods.bed.balanced().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_dropped_counted_and_asked_anew() {
    let redis = Redis::start(&[]).await;
    let mut pods = Pods::start(&redis.url(), &[SHOP]).await;
    pods.is_connected(0).await;
    for (number, what) in ["foreign", "cut", "another's", "a list", "for ever"]
        .into_iter()
        .enumerate()
    {
        let (before, body) = (pods.stored(0, "kept").await, question(what));
        let known = names(&redis).await;
        assert_eq!(pods.ask(0, CHAT, &body).await.status, 200);
        pods.kept(0, before + 1.0).await;
        let now = names(&redis).await;
        let new = now.iter().find(|name| !known.contains(name)).unwrap().as_str();
        let other = known.first().unwrap().as_str();
        match what {
            "foreign" => redis.say(&["SET", new, "mine"]).await,
            "cut" => {
                redis
                    .say(&[
                        "EVAL",
                        "return redis.call('SET', KEYS[1], string.sub(redis.call('GET', KEYS[1]), 1, -2), 'PX', 60000)",
                        "1",
                        new,
                    ])
                    .await
            }
            "another's" => redis.say(&["COPY", other, new, "REPLACE"]).await,
            "a list" => {
                redis.say(&["DEL", new]).await;
                redis.say(&["RPUSH", new, "a"]).await
            }
            _ => redis.say(&["PERSIST", new]).await,
        };
        let pod = pods.another(SHOP);
        pods.is_connected(pod).await;
        let reply = pods.ask(pod, CHAT, &body).await;
        assert_eq!(
            (reply.status, reply.header("cache-status")),
            (200, "bowsprit; fwd=miss"),
            "{number} {what}"
        );
        assert_eq!(pods.stored(pod, "undecodable").await, 1.0, "{what}");
        // What was asked anew takes its place.
        let pod = {
            pods.kept(pod, 2.0).await;
            pods.another(SHOP)
        };
        pods.is_connected(pod).await;
        assert!(is_fetched(&pods.ask(pod, CHAT, &body).await), "{what}");
    }
    pods.bed.balanced().await;
}

#[tokio::test]
async fn a_store_that_is_killed_stuck_or_lying_fails_no_request_and_is_back_by_itself() {
    let mut redis = Redis::start(&[]).await;
    let pods = Pods::start(&redis.url(), &[SHOP]).await;
    pods.is_connected(0).await;
    for stuck in [false, true] {
        if stuck {
            redis.signal("-STOP");
        } else {
            redis.kill();
        }
        for number in 0..5 {
            let reply = pods.ask(0, CHAT, &question(&format!("{stuck} {number}"))).await;
            assert_eq!(
                (reply.status, reply.header("cache-status")),
                (200, "bowsprit; fwd=miss")
            );
        }
        assert!(pods.stored(0, "unasked").await > 0.0, "nobody waits for it again");
        if stuck {
            redis.signal("-CONT");
        } else {
            redis.again().await;
        }
        pods.is_connected(0).await;
    }
    pods.bed.balanced().await;
    let lies: [&'static [u8]; 6] = [
        b"",
        b"$99999999999\r\n",
        b"$5\r\nshort\r\n",
        b"*1\r\n:0\r\n",
        b"-MOVED 1 :1\r\n",
        b"-WRONGTYPE Operation against a key\r\n",
    ];
    for lie in lies {
        let pods = Pods::start(&liar(lie).await, &[SHOP]).await;
        let body = question("whatever it says?");
        for is_first in [true, false] {
            let reply = pods.ask(0, CHAT, &body).await;
            assert_eq!(reply.status, 200);
            assert_eq!(
                reply.header("x-bowsprit-cache").is_empty(),
                is_first,
                "memory is not its own"
            );
        }
        pods.bed.balanced().await;
    }
}

/// One pod's view of a store, without the rest of the sidecar.
struct View {
    shared: SharedAnswers,
    config: Config,
    running: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Drop for View {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// A configuration whose route shares its answers. `timeout`: of its store.
fn sharing(timeout: &str) -> Config {
    let text = format!(
        "apiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: p}}\nspec:\n  \
         provider: OpenAICompatible\n  endpoint: {{baseUrl: 'https://p.example/v1'}}\n---\n\
         apiVersion: bowsprit.dev/v1alpha1\nkind: ModelRoute\nmetadata: {{name: smart}}\nspec:\n  \
         match: {{models: [smart]}}\n  targets: [{{provider: p, model: m}}]\n  \
         cache: {{ttl: 1h, maxBytes: 1048576, store: {{redisRef: {{name: cache, key: url}}, timeout: {timeout}}}}}\n"
    );
    let scope = Scope::Cluster {
        pod_labels: std::collections::BTreeMap::new(),
    };
    load(&text, &scope).unwrap()
}

fn view(url: &str) -> View {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("cache")).unwrap();
    std::fs::write(dir.path().join("cache/url"), url).unwrap();
    let config = sharing("250ms");
    let folder = Some(dir.path().to_owned());
    let connections = Arc::new(Connections::new(folder.clone(), &Arc::default()));
    let stores = Stores::new("team-a", Arc::new(KeyFiles::new(folder)), connections, 1);
    let sinks = Arc::new(Sinks::register(&mut Registry::default(), AccessLog::in_memory()));
    let shared = SharedAnswers::new(Arc::clone(&stores), "Deployment/shop", &sinks);
    shared.fit(&config);
    View {
        shared,
        config,
        running: tokio::spawn(stores.run()),
        _dir: dir,
    }
}

impl View {
    /// What there is, and where an answer is kept, once the store answers.
    async fn look(&self, number: u8) -> (Option<Bytes>, Place) {
        let shared = self.shared.of(&self.config.routes[0]).unwrap();
        let looking = async {
            loop {
                if let Looked {
                    found,
                    place: Some(place),
                } = shared.look(&Key::of_digest([number; 32])).await
                {
                    return (found.map(|(answer, _)| answer.body.clone()), place);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, looking).await.expect("the store answers")
    }

    async fn until(&self, number: u8, is: &[u8]) {
        let waiting = async {
            while self.look(number).await.0.as_deref() != Some(is) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, waiting).await.expect("it is kept");
    }
}

fn answer(body: &[u8]) -> Arc<Kept> {
    Arc::new(Kept {
        request_id: "r-1".into(),
        asked: "smart".into(),
        spent: (5, Picodollars::ZERO),
        provider: HeaderValue::from_static("p"),
        model: None,
        warning: None,
        content_type: None,
        body: Bytes::copy_from_slice(body),
    })
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn what_was_asked_for_before_a_clear_is_kept_by_no_pod_after_it() {
    let redis = Redis::start(&[]).await;
    let (one, two) = (view(&redis.url()), view(&redis.url()));
    let (found, early) = two.look(1).await;
    assert_eq!(found, None);
    let cleared = one.shared.clear(&Which::default()).await;
    assert_eq!((cleared.done, cleared.undone), (vec!["smart".to_owned()], Vec::new()));
    let (_, late) = two.look(2).await;
    early.keep(&answer(b"of before"), HOUR);
    late.keep(&answer(b"of after"), HOUR);
    // Both went the same way, one behind the other.
    one.until(2, b"of after").await;
    assert_eq!(one.look(1).await.0, None);
    // A generation that the store has lost is one that was cleared.
    redis.say(&["DEL", "bowsprit:{team-a/smart}:answers"]).await;
    assert_eq!(one.look(2).await.0, None);
}

#[tokio::test]
async fn a_clear_that_the_store_has_not_taken_outlives_a_change_of_configuration() {
    let mut redis = Redis::start(&[]).await;
    let mut one = view(&redis.url());
    // Told of another timeout; and taken away, and given back.
    for steps in [&["300ms"][..], &["", "300ms"]] {
        let (_, place) = one.look(1).await;
        place.keep(&answer(b"of before"), HOUR);
        one.until(1, b"of before").await;
        redis.signal("-STOP");
        let cleared = one.shared.clear(&Which::default()).await;
        assert_eq!((cleared.done.len(), cleared.undone.len()), (0, 1), "{steps:?}");
        for step in steps {
            let config = if step.is_empty() {
                Config::default()
            } else {
                sharing(step)
            };
            one.shared.fit(&config);
            one.config = config;
        }
        redis.signal("-CONT");
        assert_eq!(one.look(1).await.0, None, "{steps:?}");
    }
    redis.kill();
}

#[tokio::test]
async fn the_largest_answer_is_kept_and_goes_when_its_time_is_over() {
    let redis = Redis::start(&[]).await;
    let one = view(&redis.url());
    let large = vec![b'x'; 1 << 20];
    let (_, place) = one.look(1).await;
    place.keep(&answer(&large), HOUR);
    one.until(1, &large).await;
    let (_, place) = one.look(2).await;
    place.keep(&answer(b"short"), Duration::from_millis(1));
    let (_, place) = one.look(3).await;
    place.keep(&answer(b"behind it"), HOUR);
    one.until(3, b"behind it").await;
    let gone = async {
        while one.look(2).await.0.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("it goes");
    assert_eq!(
        redis
            .say(&["KEYS", "*"])
            .await
            .lines()
            .filter(|line| line.starts_with("bowsprit"))
            .count(),
        3
    );
}

#[tokio::test]
async fn a_cluster_is_followed_to_the_node_that_has_the_route() {
    let settings = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"];
    let (one, two) = (Redis::start(&settings).await, Redis::start(&settings).await);
    // The route's slot is at the second, whichever it is.
    let slot = one
        .say(&["CLUSTER", "KEYSLOT", "bowsprit:{team-a/smart}:answers"])
        .await;
    let slot: u32 = slot.trim_start_matches(':').parse().unwrap();
    let ranges = if slot < 8192 {
        [("8192", "16383"), ("0", "8191")]
    } else {
        [("0", "8191"), ("8192", "16383")]
    };
    for (node, (first, last)) in [&one, &two].into_iter().zip(ranges) {
        assert_eq!(node.say(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await, "+OK");
    }
    assert_eq!(
        one.say(&["CLUSTER", "MEET", "127.0.0.1", &two.port.to_string()]).await,
        "+OK"
    );
    for node in [&one, &two] {
        let standing = async {
            while !node.say(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(SOON, standing).await.expect("the cluster stands");
    }
    let view = view(&one.url());
    let (_, place) = view.look(1).await;
    place.keep(&answer(b"elsewhere"), HOUR);
    view.until(1, b"elsewhere").await;
    assert_eq!(two.say(&["DBSIZE"]).await, ":2", "its generation, and the answer");
}
