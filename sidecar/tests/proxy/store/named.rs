//! Named limits that a store counts: exact over sidecars, for each that is told apart too, and nobody waits for a store that is gone.

use bowsprit_core::limits::keyed::MAX_KEYS;
use bowsprit_providers::Behaviour;
use bowsprit_rig::documents;
use bowsprit_rig::inside::Sidecar;
use serde_json::{Value, json};

use super::redis::Redis;
use super::{folder, until, write};
use crate::support::{Bed, Reply, chat, count, saw};

/// Two sidecars of different workloads under the limits of one policy, all counted in the store.
struct House {
    bed: Bed,
    second: Sidecar,
}

impl House {
    async fn start(redis: &Redis, mut limits: Value) -> Self {
        for limit in limits.as_array_mut().unwrap() {
            limit["scope"] = json!("Fleet");
            limit["store"] = json!({"redisRef": {"name": "limits", "key": "url"}, "timeout": "500ms"});
        }
        let mut bed = Bed::providers();
        let [config, secrets] = folder(&bed, &redis.url(), &Value::Null);
        let policy = documents::policy("house", &json!({"limits": limits}));
        let text = std::fs::read_to_string(format!("{config}/bowsprit.yaml")).unwrap();
        write(std::path::Path::new(&config), &(text + &policy));
        let args = |workload: &'static str| {
            let args = [
                "--config-dir",
                &config,
                "--secrets-dir",
                &secrets,
                "--pod-namespace",
                "team-a",
            ];
            let own = ["--workload", workload, "--pod-service-account", "shop"];
            args.map(str::to_owned)
                .into_iter()
                .chain(own.map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let (ones, twos) = (args("Deployment/one"), args("Deployment/two"));
        bed.start(&ones.iter().map(String::as_str).collect::<Vec<_>>());
        let house = Self {
            second: Sidecar::start(&twos.iter().map(String::as_str).collect::<Vec<_>>()).unwrap(),
            bed,
        };
        house.are_connected().await;
        house
    }

    async fn health_of_second(&self) -> Value {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/health", self.second.admin);
        serde_json::from_str(&http.get(url).send().await.unwrap().text().await.unwrap()).unwrap()
    }

    async fn are_connected(&self) {
        let asked = |health: &Value| {
            let limits = health["limits"].as_array().cloned().unwrap_or_default();
            !limits.is_empty() && limits.iter().all(|limit| limit["isStoreAsked"] == true)
        };
        until("both ask the store", || async {
            asked(&self.bed.health().await) && asked(&self.health_of_second().await)
        })
        .await;
    }

    /// A chat completion of this team by the first or the second.
    async fn ask(&self, sidecar: usize, team: &str) -> Reply {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let body = chat("claude-sonnet-4-5", false);
        let request = match sidecar {
            0 => self.bed.post("/v1/chat/completions", &body),
            _ => http
                .post(format!("http://{}/v1/chat/completions", self.second.listen))
                .header("content-type", "application/json")
                .body(body.to_string()),
        };
        Reply::of(request.header("x-team", team).send().await.unwrap()).await
    }

    async fn met(&self, limit: &str, met: &str) -> f64 {
        let series = format!("bowsprit_limit_requests_total{{limit_name=\"policy/house/{limit}\",met=\"{met}\"}}");
        self.bed.metric(&series).await
    }
}

#[tokio::test]
async fn of_one_request_a_minute_of_a_team_two_sidecars_send_one_and_another_team_has_its_own() {
    let redis = Redis::start(&[]).await;
    let team = json!([{"name": "team", "requestsPerMinute": 1, "per": "Caller", "caller": {"header": "x-team"}}]);
    let house = House::start(&redis, team).await;
    for team in ["red", "blue"] {
        let answers = [
            house.ask(0, team).await,
            house.ask(1, team).await,
            house.ask(0, team).await,
        ];
        assert_eq!(answers.each_ref().map(|reply| reply.status), [200, 429, 429]);
        assert_eq!(answers[1].header("x-bowsprit-limit"), "team");
    }
    assert_eq!(house.met("team", "by_share").await, 0.0);
    let keys = redis.say(&["KEYS", "*"]).await;
    assert!(keys.contains("bowsprit:{team-a/limit/policy/house/team}:"), "{keys}");
    assert!(
        !keys.contains("red") && !keys.contains("blue"),
        "nothing tells who they are: {keys}"
    );
    let key = keys
        .lines()
        .find(|line| line.ends_with(":rates") && line.len() > 60)
        .unwrap();
    let left = redis.say(&["PTTL", key]).await;
    let left: i64 = left.trim_start_matches(':').parse().unwrap();
    assert!(
        (1..=120_000).contains(&left),
        "it goes by itself once it is as good as new: {left}"
    );
    house.bed.balanced().await;
}

#[tokio::test]
async fn beyond_so_many_callers_with_a_debt_those_that_are_new_share_one_count_in_the_store_too() {
    let redis = Redis::start(&[]).await;
    // Each is let in once, and owes for minutes.
    let team = json!([{"name": "team", "tokensPerMinute": 1, "per": "Caller", "caller": {"header": "x-team"}}]);
    let house = House::start(&redis, team).await;
    let callers: Vec<String> = (0..MAX_KEYS).map(|number| format!("caller-{number}")).collect();
    for some in callers.chunks(20) {
        let replies = futures::future::join_all(some.iter().map(|team| house.ask(0, team))).await;
        assert!(replies.iter().all(|reply| reply.status == 200));
    }
    let known = house.ask(0, "caller-7").await.status;
    let mut made_up = Vec::new();
    for number in 0..5 {
        made_up.push(house.ask(0, &format!("made-up-{number}")).await.status);
    }
    assert_eq!((known, &made_up[..]), (429, &[200, 429, 429, 429, 429][..]));
    let keys = redis.say(&["KEYS", "*:rates"]).await;
    // Beside that of the limit as a whole.
    let apart = |line: &&str| line.ends_with(":rates") && !line.ends_with("/team}:rates");
    let keys = keys.lines().filter(apart).count();
    assert_eq!(keys, MAX_KEYS + 1);
    // A sidecar that has seen none of them counts them apart as yet.
    assert_eq!(house.ask(1, "caller-7").await.status, 429);
    house.bed.balanced().await;
}

#[tokio::test]
async fn a_workload_has_its_own_and_a_service_account_that_two_run_as_is_one() {
    let redis = Redis::start(&[]).await;
    let limits = json!([
        {"name": "workload", "requestsPerMinute": 10, "per": "Workload"},
        {"name": "account", "requestsPerMinute": 20, "per": "ServiceAccount"},
    ]);
    let house = House::start(&redis, limits).await;
    assert_eq!(house.ask(0, "a").await.status, 200);
    let reply = house.ask(0, "a").await;
    assert_eq!((reply.status, reply.header("x-bowsprit-limit")), (429, "workload"));
    assert_eq!(
        house.ask(1, "a").await.status,
        200,
        "another workload, and the second of the account"
    );
    let reply = house.ask(1, "a").await;
    assert_eq!(reply.status, 429);
    assert_eq!(count(&house.bed.claude), 2);
    house.bed.balanced().await;
}

#[tokio::test]
async fn all_or_none_over_stores_and_what_was_not_used_flows_back() {
    let redis = Redis::start(&[]).await;
    let limits = json!([
        {"name": "wide", "requestsPerMinute": 30, "tokensPerMinute": 600_000, "outputTokensPerMinute": 600_000},
        {"name": "narrow", "requestsPerMinute": 1, "per": "Model"},
    ]);
    let house = House::start(&redis, limits).await;
    assert_eq!(house.ask(0, "a").await.status, 200);
    let level = || async {
        let level = redis
            .say(&["HGET", "bowsprit:{team-a/limit/policy/house/wide}:rates", "requests"])
            .await;
        level.lines().last().unwrap().parse::<f64>().unwrap()
    };
    let before = level().await;
    for _ in 0..4 {
        assert_eq!(house.ask(1, "a").await.header("x-bowsprit-limit"), "narrow");
    }
    until("what the refused took has flowed back", || async {
        level().await >= before
    })
    .await;
    let tokens = || async {
        let key = "bowsprit:{team-a/limit/policy/house/wide}:rates";
        let level = redis.say(&["HGET", key, "output"]).await;
        level.lines().last().unwrap().parse::<f64>().unwrap() / 60_000_000.0
    };
    until("it is settled by what was used", || async { tokens().await > 59_900.0 }).await;
    house.bed.balanced().await;
}

#[tokio::test]
async fn a_place_that_the_other_sidecar_gives_back_goes_to_who_waits() {
    let redis = Redis::start(&[]).await;
    let limits =
        json!([{"name": "places", "concurrentRequests": 1, "onLimit": "Wait", "maxWait": "20s", "per": "Namespace"}]);
    let house = House::start(&redis, limits).await;
    house.bed.claude.script(Behaviour::hang());
    let first = house
        .bed
        .post("/v1/chat/completions", &chat("claude-sonnet-4-5", false));
    let first = tokio::spawn(first.send());
    saw(&house.bed.claude, |seen| seen.counts.requests == 1).await;
    let leaves = async {
        until("the second waits", || async {
            house.health_of_second().await["limits"][0]["waiting"] == 1
        })
        .await;
        first.abort();
        let _ = first.await;
    };
    let (reply, ()) = tokio::join!(house.ask(1, "a"), leaves);
    assert_eq!((reply.status, reply.provider()), (200, "claude"));
    until("nothing is held", || async {
        redis
            .say(&["ZCARD", "bowsprit:{team-a/limit/policy/house/places}:places"])
            .await
            == ":0"
    })
    .await;
    house.bed.balanced().await;
}

#[tokio::test]
async fn a_store_that_is_killed_or_stuck_fails_no_request_and_is_back_by_itself() {
    let mut redis = Redis::start(&[]).await;
    // Who was never granted a share has a 64th of it.
    let limits = json!([{
        "name": "team", "requestsPerMinute": 600_000, "onLimit": "Wait", "maxWait": "20s",
        "per": "Caller", "caller": {"header": "x-team"},
    }]);
    let house = House::start(&redis, limits).await;
    assert_eq!(house.ask(0, "a").await.status, 200);
    assert_eq!(house.met("team", "by_share").await, 0.0);
    let mut counted = 0.0;
    for stuck in [false, true] {
        if stuck {
            redis.signal("-STOP");
        } else {
            redis.kill();
        }
        for _ in 0..5 {
            assert_eq!(house.ask(0, "a").await.status, 200);
            assert_eq!(house.ask(1, "b").await.status, 200);
        }
        let now = house.met("team", "by_share").await;
        assert!(now > counted, "those that went on by a share are counted: {now}");
        if stuck {
            redis.signal("-CONT");
        } else {
            redis.again().await;
        }
        house.are_connected().await;
        counted = house.met("team", "by_share").await;
        assert_eq!(house.ask(0, "a").await.status, 200);
        assert_eq!(house.met("team", "by_share").await, counted, "the store is asked again");
    }
    house.bed.balanced().await;
}
