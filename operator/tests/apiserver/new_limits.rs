//! A limit of the fleet that a leader is the first to write is lent at once; one that may have been lent before is not.

use std::sync::Arc;

use bowsprit_core::config::SharedLimit;
use bowsprit_core::limiter::Which;
use bowsprit_core::share::leader::SETTLED;
use bowsprit_core::stream::shares::{LimitKey, WireAsk};
use bowsprit_operator::fleet::{Fleet, PodId};
use bowsprit_operator::lease::elector::Leadership;
use bowsprit_operator::metrics::Metrics;
use bowsprit_operator::shares::Shares;
use bowsprit_operator::time::Clock;
use serde_json::{Value, json};

use super::fake::Fake;
use super::{CLAUDE, CONFIG, POD, data, good, leader, namespace, start, start_with};

fn limit() -> LimitKey {
    LimitKey::of_provider("claude", Which::Requests)
}

fn limited(model: &str) -> Value {
    let mut provider = good(model);
    provider["spec"]["rateLimits"] = json!({"requestsPerMinute": 600, "scope": "Fleet"});
    provider
}

fn shares(leadership: &Leadership) -> Shares {
    let (fleet, _) = Fleet::new();
    Shares::new(
        Clock::new(),
        leadership.clone(),
        fleet,
        Arc::new(|_| {
            Some(vec![SharedLimit {
                of: limit(),
                whole: 600,
                is_apart: false,
            }])
        }),
        Arc::new(Vec::new),
        Metrics::new().shares(),
    )
}

/// What a sidecar is lent of the limit once a leader that is new has written it over what it found.
async fn lent(fake: &Arc<Fake>) -> u64 {
    let leadership = leader(fake).await;
    let shares = shares(&leadership);
    let running = start_with(fake, leadership, |context| context.sharing(shares.clone()));
    fake.put(CLAUDE, limited("claude-y"));
    // The write has been answered.
    running
        .until("written", |running| {
            let text = running.metrics.encode().unwrap();
            text.contains("bowsprit_operator_config_writes_total 1")
        })
        .await;
    assert!(data(fake, "bowsprit.yaml").contains("claude-y"));
    let ask = WireAsk {
        of: limit(),
        number: 1,
        want: 100,
        ..WireAsk::default()
    };
    let pod = PodId {
        name: "app".into(),
        uid: "uid-app".into(),
    };
    let grants = shares.ask("team", &pod, &[ask]).unwrap();
    running.stop().await;
    grants[0].share
}

/// A leader before wrote this, so many seconds ago.
async fn found(provider: Value, seconds_ago: u64) -> Arc<Fake> {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(CLAUDE, provider);
    let before = start(&fake, leader(&fake).await);
    fake.until("written", |fake| !data(fake, "sequence").is_empty()).await;
    before.stop().await;
    let mut map = fake.get(CONFIG).unwrap();
    let sequence: u64 = data(&fake, "sequence").parse().unwrap();
    map["data"]["sequence"] = json!((sequence - seconds_ago).to_string());
    fake.put(CONFIG, map);
    fake
}

#[tokio::test]
async fn a_limit_that_is_new_is_lent_at_once_by_a_leader_that_is_new() {
    let settled = SETTLED.as_secs();
    assert_eq!(lent(&found(good("claude-x"), settled).await).await, 125);
    let first = Fake::new();
    namespace(&first);
    assert_eq!(lent(&first).await, 125, "nothing was there, and no sidecar");
}

#[tokio::test]
async fn a_limit_that_may_have_been_lent_before_is_not_lent_at_once() {
    let settled = SETTLED.as_secs();
    assert_eq!(
        lent(&found(limited("claude-x"), settled).await).await,
        0,
        "it was there"
    );
    // What was there before that, a sidecar may use still.
    assert_eq!(lent(&found(good("claude-x"), 60).await).await, 0);
    // Somebody took the config away, and not the sidecars.
    let taken = Fake::new();
    namespace(&taken);
    let labels = json!({"bowsprit.dev/injected": "true"});
    taken.put(POD, json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"uid": "u", "labels": labels}, "spec": {"containers": []}}));
    assert_eq!(lent(&taken).await, 0);
}
