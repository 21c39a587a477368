//! Limits of the fleet that a store counts: exact over sidecars, and no request waits for a store that is gone, stuck or lying.

use std::sync::Arc;

use bowsprit_core::config::{Config, Scope, load};
use bowsprit_core::share::store::script::{self, Place};
use bowsprit_core::share::store::{MOST_HOPS, Unanswered};
use bowsprit_providers::Behaviour;
use bowsprit_rig::SOON;
use bowsprit_rig::inside::Sidecar;
use bowsprit_sidecar::credentials::KeyFiles;
use bowsprit_sidecar::net::client::Connections;
use bowsprit_sidecar::store::{Limit, Stores, Taken};
use serde_json::{Value, json};

use crate::support::{Bed, Reply, chat, count};
use redis::{Redis, liar};

mod named;
pub mod redis;

const KEYS: [&str; 2] = ["bowsprit:{team-a/p}:rates", "bowsprit:{team-a/p}:places"];

/// One sidecar's view of a store, without the rest of the sidecar.
struct View {
    stores: Arc<Stores>,
    limit: Arc<Limit>,
    running: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Drop for View {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn provider(name: &str, limits: &str) -> Config {
    let text = format!(
        "apiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: {name}}}\nspec:\n  \
         provider: OpenAICompatible\n  endpoint: {{baseUrl: 'https://p.example/v1'}}\n  \
         rateLimits: {{scope: Fleet, {limits}, store: {{redisRef: {{name: limits, key: url}}, timeout: 250ms}}}}\n"
    );
    let scope = Scope::Cluster {
        pod_labels: std::collections::BTreeMap::new(),
    };
    load(&text, &scope).unwrap()
}

fn view(url: &str, name: &str, limits: &str, chance: u64) -> View {
    view_with_ca(url, name, limits, chance, None)
}

fn view_with_ca(url: &str, name: &str, limits: &str, chance: u64, ca: Option<&str>) -> View {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("limits")).unwrap();
    std::fs::write(dir.path().join("limits/url"), url).unwrap();
    let mut config = provider(name, limits);
    if let Some(pem) = ca {
        std::fs::create_dir(dir.path().join("ca")).unwrap();
        std::fs::write(dir.path().join("ca/pem"), pem).unwrap();
        let provider = Arc::make_mut(&mut config.providers[0]);
        provider.limit_store.as_mut().unwrap().ca_bundle = Some(bowsprit_core::config::CaBundle {
            config_map: "ca".into(),
            key: "pem".into(),
        });
    }
    let folder = dir.path().to_owned();
    let connections = Arc::new(Connections::new(Some(folder.clone()), &Arc::default()));
    let stores = Stores::new("team-a", Arc::new(KeyFiles::new(Some(folder))), connections, chance);
    let limit = stores.limit(&config.providers[0], None).unwrap();
    View {
        running: tokio::spawn(Arc::clone(&stores).run()),
        stores,
        limit,
        _dir: dir,
    }
}

impl View {
    /// Whether a request is admitted. On a machine that has much else to do an answer may be late; then what it took is given back.
    async fn admits(&self) -> Option<Taken> {
        self.takes(100).await
    }

    /// The same of so many tokens.
    async fn takes(&self, tokens: u64) -> Option<Taken> {
        let asking = async {
            loop {
                match self.limit.take(tokens).await {
                    Err(Unanswered::Late) => {}
                    answer => return answer.expect("the store answers").ok(),
                }
            }
        };
        tokio::time::timeout(SOON, asking).await.expect("an answer")
    }

    /// Tells of what is used. What is told late may be told twice.
    async fn keeps(&self, used: (u64, u64), places: &[Place]) {
        let telling = async {
            loop {
                match self.limit.keep(used, places).await {
                    Err(Unanswered::Late) => {}
                    told => return told.expect("the store answers"),
                }
            }
        };
        tokio::time::timeout(SOON, telling).await.expect("an answer");
    }

    /// Why there is no answer. Where it can be another reason, being late is none.
    async fn why(&self, is: Unanswered) -> Unanswered {
        let asking = async {
            loop {
                match self.limit.take(100).await.err().expect("no answer") {
                    Unanswered::Late if is != Unanswered::Late => {}
                    why => return why,
                }
            }
        };
        tokio::time::timeout(SOON, asking).await.expect("within its deadline")
    }
}

async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(SOON, waiting).await.is_ok(),
        "not within {SOON:?}: {what}"
    );
}

#[tokio::test]
async fn the_store_knows_the_script_by_the_sum_that_it_is_called_by() {
    let redis = Redis::start(&[]).await;
    let sum = redis.say(&["SCRIPT", "LOAD", script::TEXT]).await;
    assert_eq!(sum, format!("$40\n{}", script::SHA));
}

#[tokio::test]
async fn two_sidecars_have_one_limit_together_and_a_store_that_forgets_the_script_is_told_it() {
    let redis = Redis::start(&[]).await;
    // One request is what the bucket holds, and a minute until the next.
    let (one, two) = (
        view(&redis.url(), "p", "requestsPerMinute: 1", 1),
        view(&redis.url(), "p", "requestsPerMinute: 1", 2),
    );
    let first = one.admits().await.expect("there is room for one");
    redis.say(&["SCRIPT", "FLUSH"]).await;
    for sidecar in [&two, &one, &two] {
        assert!(sidecar.admits().await.is_none(), "it is one limit");
    }
    // Never sent: it flows back, without anybody waiting for it.
    drop(first);
    until("the other takes it", || async { two.admits().await.is_some() }).await;
    let other = view(&redis.url(), "another", "requestsPerMinute: 1", 1);
    assert!(
        other.admits().await.is_some(),
        "another provider has a limit of its own"
    );
}

#[tokio::test]
async fn what_was_used_is_what_is_taken() {
    let redis = Redis::start(&[]).await;
    let limits = "tokensPerMinute: 600";
    let (one, two) = (view(&redis.url(), "p", limits, 1), view(&redis.url(), "p", limits, 2));
    // A tenth of a minute's worth, all but a few of which come back.
    let taken = one.takes(500).await.unwrap();
    assert!(two.admits().await.is_none(), "in debt");
    taken.used(Some(10));
    until("most of it has come back", || async { two.takes(1).await.is_some() }).await;
    let level = redis.say(&["HGET", KEYS[0], "tokens"]).await;
    assert!(!level.contains("\n-"), "{level}");
    one.takes(1).await.unwrap().used(Some(3000));
    until("more than was taken is debt", || async { two.admits().await.is_none() }).await;
    two.keeps((0, 10_000), &[]).await;
    let level = redis.say(&["HGET", KEYS[0], "tokens"]).await;
    let level: f64 = level.lines().last().unwrap().parse().unwrap();
    assert!(
        level < -12_000.0 * 60_000_000.0,
        "what was used without asking counts: {level}"
    );
}

#[tokio::test]
async fn what_is_owed_when_a_limit_is_lowered_is_paid_within_an_hour() {
    let redis = Redis::start(&[]).await;
    // Of tokens alone.
    let run = async |wish: &str, per_minute: &str, tokens: &str| {
        let call = ["EVAL", script::TEXT, "2", KEYS[0], KEYS[1], wish, "0", "60000"];
        let amounts = ["0", per_minute, "0", "0", "0", "0", tokens, "0", "0", "0"];
        let answer = redis.say(&[&call[..], &amounts].concat()).await;
        answer.trim_start_matches(':').parse::<u64>().unwrap()
    };
    // An hour of the higher limit is ten thousand hours of the lower one.
    assert_eq!(run("keep", "600000", "90000000").await, 0);
    let minutes = async || run("take", "60", "1").await / 8 / 60_000_000;
    assert_eq!(minutes().await, 60);
    let half_an_hour = 30 * 60 * 1_000_000;
    let at = redis.say(&["HGET", KEYS[0], "tokens@"]).await;
    let at: u64 = at.lines().last().unwrap().parse().unwrap();
    let before = (at - half_an_hour).to_string();
    redis.say(&["HSET", KEYS[0], "tokens@", &before]).await;
    let left = minutes().await;
    assert!((29..=30).contains(&left), "{left}: half of it has been paid");
    // Nobody's debt is forgiven by looking: who is under the higher limit still has it.
    assert!(run("take", "600000", "1").await / 8 / 60_000_000 > 20);
}

#[tokio::test]
async fn places_are_shared_given_back_and_kept_by_who_says_so() {
    let redis = Redis::start(&[]).await;
    let limits = "concurrentRequests: 3";
    let (one, two) = (view(&redis.url(), "p", limits, 1), view(&redis.url(), "p", limits, 2));
    let held = [one.admits().await, two.admits().await, one.admits().await].map(Option::unwrap);
    assert!(one.admits().await.is_none() && two.admits().await.is_none());
    let places: Vec<_> = held.iter().map(Taken::place).collect();
    // The store lost all it knew: who holds a place says so.
    redis.say(&["FLUSHALL"]).await;
    one.keeps((0, 0), &places).await;
    assert_eq!(redis.say(&["ZCARD", KEYS[1]]).await, ":3");
    assert!(two.admits().await.is_none());
    drop(held);
    until("all are given back", || async {
        redis.say(&["ZCARD", KEYS[1]]).await == ":0"
    })
    .await;
}

#[tokio::test]
async fn who_has_gone_on_without_an_answer_takes_nothing() {
    let redis = Redis::start(&[]).await;
    let limits = "requestsPerMinute: 1, concurrentRequests: 5";
    let one = view(&redis.url(), "p", limits, 1);
    drop(one.admits().await.expect("connected"));
    until("it has flowed back", || async {
        redis.say(&["ZCARD", KEYS[1]]).await == ":0"
    })
    .await;
    redis.signal("-STOP");
    assert_eq!(one.why(Unanswered::Late).await, Unanswered::Late);
    redis.signal("-CONT");
    until("its late answer was given back", || async {
        one.limit.take(1).await.is_ok_and(|room| room.is_ok())
    })
    .await;
}

#[tokio::test]
async fn a_store_that_lies_is_told_from_one_that_answers() {
    let moved = Redis::start(&[]).await;
    let cases: [(&'static [u8], Unanswered); 9] = [
        (b"", Unanswered::Late),
        (b":", Unanswered::Late),
        (b":-1\r\n", Unanswered::Garbled),
        (b"*1\r\n:0\r\n", Unanswered::Unreachable),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Unanswered::Unreachable),
        (b"$-1\r\n", Unanswered::Garbled),
        (
            b"-OOM command not allowed when used memory > 'maxmemory'\r\n",
            Unanswered::Refused,
        ),
        (b"-MOVED 1 nowhere\r\n", Unanswered::Garbled),
        (b"-NOSCRIPT No matching script.\r\n", Unanswered::Moved),
    ];
    for (answer, why) in cases {
        let liar = view(&liar(answer).await, "p", "requestsPerMinute: 1", 1);
        assert_eq!(liar.why(why).await, why, "{:?}", String::from_utf8_lossy(answer));
    }
    let wrong_type = view(&moved.url(), "p", "requestsPerMinute: 1", 1);
    moved.say(&["SET", KEYS[0], "mine"]).await;
    assert_eq!(wrong_type.why(Unanswered::Refused).await, Unanswered::Refused);
    let gone = view("redis://127.0.0.1:1", "p", "requestsPerMinute: 1", 1);
    assert!(matches!(
        gone.why(Unanswered::Late).await,
        Unanswered::Unreachable | Unanswered::Late
    ));
    drop(moved);
}

#[tokio::test]
async fn who_sends_on_in_a_circle_is_followed_a_few_times() {
    // The empty host is its own: it sends to itself for ever.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let questions = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = Arc::clone(&questions);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut connection, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut read = vec![0; 64 << 10];
                let mut is_in = false;
                while let Ok(1..) = connection.read(&mut read).await {
                    let answer = if std::mem::replace(&mut is_in, true) {
                        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        format!("-MOVED 1 :{port}\r\n")
                    } else {
                        "+PONG\r\n".into()
                    };
                    if connection.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let looped = view(&format!("redis://127.0.0.1:{port}"), "p", "requestsPerMinute: 1", 1);
    let why = loop {
        questions.store(0, std::sync::atomic::Ordering::Relaxed);
        match looped.limit.take(100).await.err() {
            Some(Unanswered::Late) => {}
            why => break why,
        }
    };
    assert_eq!(why, Some(Unanswered::Moved));
    assert_eq!(questions.load(std::sync::atomic::Ordering::Relaxed), MOST_HOPS + 1);
}

#[tokio::test]
async fn a_cluster_is_followed_to_the_node_that_has_the_limit() {
    let settings = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"];
    let (one, two) = (Redis::start(&settings).await, Redis::start(&settings).await);
    assert_eq!(one.say(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]).await, "+OK");
    assert_eq!(two.say(&["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"]).await, "+OK");
    assert_eq!(
        one.say(&["CLUSTER", "MEET", "127.0.0.1", &two.port.to_string()]).await,
        "+OK"
    );
    for node in [&one, &two] {
        until("the cluster stands", || async {
            node.say(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok")
        })
        .await;
    }
    let mut at = [0, 0];
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let view = view(&one.url(), name, "requestsPerMinute: 1, concurrentRequests: 1", 1);
        let taken = view.admits().await.expect("wherever it is");
        assert!(view.admits().await.is_none());
        let key = format!("bowsprit:{{team-a/{name}}}:places");
        let held = |answer: String| usize::from(answer == ":1");
        at[0] += held(one.say(&["ZCARD", &key]).await);
        at[1] += held(two.say(&["ZCARD", &key]).await);
        drop(taken);
        drop(view);
    }
    assert_eq!(at[0] + at[1], 8);
    assert!(at[0] > 0 && at[1] > 0, "both nodes have some: {at:?}");
}

#[tokio::test]
async fn a_password_is_said_and_never_told_and_tls_is_checked() {
    let cert = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (pem, key) = (dir.path().join("pem"), dir.path().join("key"));
    std::fs::write(&pem, cert.cert.pem()).unwrap();
    std::fs::write(&key, cert.signing_key.serialize_pem()).unwrap();
    let plain = Redis::start(&["--requirepass", "p@ss-mizzen"]).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tls_port = free.local_addr().unwrap().port();
    drop(free);
    let tls = Redis::start(&[
        "--tls-port",
        &tls_port.to_string(),
        "--tls-cert-file",
        pem.to_str().unwrap(),
        "--tls-key-file",
        key.to_str().unwrap(),
        "--tls-auth-clients",
        "no",
        "--tls-ca-cert-file",
        pem.to_str().unwrap(),
    ])
    .await;
    let limits = "requestsPerMinute: 1";
    let url = |user: &str| format!("redis://{user}127.0.0.1:{}/3", plain.port);
    for (user, is_in) in [
        (":p%40ss-mizzen@", true),
        ("default:p%40ss-mizzen@", true),
        (":wrong-mizzen@", false),
        ("", false),
    ] {
        let view = view(&url(user), "p", limits, 1);
        let asked = view.limit.take(1).await;
        assert_eq!(asked.is_ok(), is_in, "{user}");
        plain.say(&["AUTH", "p@ss-mizzen"]).await;
    }
    let secure = format!("rediss://127.0.0.1:{tls_port}");
    let trusting = view_with_ca(&secure, "p", limits, 1, Some(&cert.cert.pem()));
    assert!(trusting.admits().await.is_some());
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let doubting = view_with_ca(&secure, "p", limits, 1, Some(&other.cert.pem()));
    assert!(doubting.limit.take(1).await.is_err(), "signed by somebody else");
    let logs = crate::support::logs();
    let told: Vec<&str> = logs.lines().filter(|line| line.contains("mizzen")).collect();
    // The word is none that a random id could hold.
    assert!(told.is_empty(), "no password is told: {told:#?}");
    let _ = (&tls, &trusting.stores);
}

/// A sidecar of the fleet whose limits of Claude are these, counted in the store at `url`.
struct Fleet {
    bed: Bed,
    second: Sidecar,
}

fn folder(bed: &Bed, url: &str, limits: &Value) -> [String; 2] {
    let (config, secrets) = (bed.dir.path().join("config"), bed.dir.path().join("secrets"));
    for folder in [&config, &secrets.join("keys"), &secrets.join("limits")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(secrets.join("limits/url"), url).unwrap();
    let documents = bed.documents(&|name: &str, spec: &mut Value| {
        std::fs::write(secrets.join("keys").join(name), format!("key-of-{name}")).unwrap();
        spec["credentials"] = json!([{"name": "main", "secretKeyRef": {"name": "keys", "key": name}}]);
        if name == "claude" && !limits.is_null() {
            let mut limits = limits.clone();
            limits["scope"] = json!("Fleet");
            // Long enough for a machine that has much else to do; who is gone is not waited for at all.
            limits["store"] = json!({"redisRef": {"name": "limits", "key": "url"}, "timeout": "500ms"});
            spec["rateLimits"] = limits;
        }
    });
    write(&config, &documents);
    [config.display().to_string(), secrets.display().to_string()]
}

fn write(config: &std::path::Path, documents: &str) {
    std::fs::write(config.join("bowsprit.yaml"), documents).unwrap();
    std::fs::write(config.join("sequence"), "1").unwrap();
}

impl Fleet {
    async fn start(redis: &Redis, limits: Value) -> Self {
        let mut bed = Bed::providers();
        let [config, secrets] = folder(&bed, &redis.url(), &limits);
        let args = [
            "--config-dir",
            &config,
            "--secrets-dir",
            &secrets,
            "--pod-namespace",
            "team-a",
        ];
        bed.start(&args);
        let fleet = Self {
            second: Sidecar::start(&args).unwrap(),
            bed,
        };
        fleet.are_connected().await;
        fleet
    }

    /// Both sidecars ask the store.
    async fn are_connected(&self) {
        let answers = |text: String| text.contains("bowsprit_store_answers{provider=\"claude\"} 1");
        until("the store answers the first", || async {
            answers(self.bed.metrics().await)
        })
        .await;
        until("and the second", || async {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let page = http
                .get(format!("http://{}/metrics", self.second.admin))
                .send()
                .await
                .unwrap();
            answers(page.text().await.unwrap())
        })
        .await;
    }

    /// A chat completion by the second one.
    async fn chat(&self) -> Reply {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/v1/chat/completions", self.second.listen);
        let body = chat("claude-sonnet-4-5", false).to_string();
        let request = http.post(url).header("content-type", "application/json").body(body);
        Reply::of(request.send().await.unwrap()).await
    }

    async fn fallbacks(&self) -> f64 {
        self.bed.family("bowsprit_store_fallbacks_total").await
    }
}

#[tokio::test]
async fn of_one_request_a_minute_two_sidecars_send_one() {
    let redis = Redis::start(&[]).await;
    let fleet = Fleet::start(&redis, json!({"requestsPerMinute": 1})).await;
    let mut by_claude = 0;
    for _ in 0..4 {
        for reply in [fleet.bed.chat().await, fleet.chat().await] {
            assert_eq!(reply.status, 200);
            by_claude += usize::from(reply.provider() == "claude");
        }
    }
    assert_eq!((by_claude, count(&fleet.bed.claude)), (1, 1));
    assert_eq!(fleet.fallbacks().await, 0.0);
    fleet.bed.balanced().await;
}

#[tokio::test]
async fn a_place_that_the_other_sidecar_gives_back_goes_to_who_waits() {
    let redis = Redis::start(&[]).await;
    let limits = json!({"concurrentRequests": 1, "onLimit": "Wait", "maxWait": "20s"});
    let fleet = Fleet::start(&redis, limits).await;
    fleet.bed.claude.script(Behaviour::hang());
    let first = fleet
        .bed
        .post("/v1/chat/completions", &chat("claude-sonnet-4-5", false))
        .send();
    let first = tokio::spawn(first);
    crate::support::saw(&fleet.bed.claude, |seen| seen.counts.requests == 1).await;
    let leaves = async {
        first.abort();
        let _ = first.await;
    };
    let (reply, ()) = tokio::join!(fleet.chat(), leaves);
    assert_eq!((reply.status, reply.provider()), (200, "claude"));
    fleet.bed.balanced().await;
}

#[tokio::test]
async fn a_store_that_is_killed_or_stuck_fails_no_request_and_is_back_by_itself() {
    let mut redis = Redis::start(&[]).await;
    let fleet = Fleet::start(&redis, json!({"requestsPerMinute": 60000})).await;
    assert_eq!(fleet.bed.chat().await.status, 200);
    assert_eq!(fleet.fallbacks().await, 0.0);
    let mut counted = 0.0;
    for stuck in [false, true] {
        if stuck {
            redis.signal("-STOP");
        } else {
            redis.kill();
        }
        for _ in 0..5 {
            assert_eq!(fleet.bed.chat().await.status, 200);
            assert_eq!(fleet.chat().await.status, 200);
        }
        let now = fleet.fallbacks().await;
        assert!(now > counted, "those that went on by a share are counted: {now}");
        if stuck {
            redis.signal("-CONT");
        } else {
            redis.again().await;
        }
        fleet.are_connected().await;
        counted = fleet.fallbacks().await;
        assert_eq!(fleet.bed.chat().await.provider(), "claude");
        assert_eq!(fleet.fallbacks().await, counted, "the store is asked again");
    }
    fleet.bed.balanced().await;
}
