//! The same request again and again from one pod is told, or stopped until its time has passed.

use bowsprit_providers::Answer;
use bowsprit_rig::documents;
use bowsprit_rig::operator::ScriptedOperator;
use serde_json::{Value, json};

use crate::support::{Bed, Reply, chat};

async fn bed(runaway: Value) -> Bed {
    let mut bed = Bed::providers();
    let policy = documents::policy("house", &json!({ "runaway": runaway }));
    std::fs::write(bed.config_path(), bed.documents(&|_, _| {}) + &policy).unwrap();
    bed.start(&[]);
    bed.claude.always(Answer::new("hello"));
    bed
}

async fn ask(bed: &Bed, text: &str) -> Reply {
    let mut body = chat("claude-sonnet-4-5", false);
    body["messages"][0]["content"] = json!(text);
    bed.post_as("/v1/chat/completions", &body, &[]).await
}

#[tokio::test]
async fn a_member_in_other_letters_is_refused_where_the_same_requests_are_counted() {
    let bed = bed(json!({"times": 3, "within": "1h", "action": "Stop"})).await;
    let mut body = chat("claude-sonnet-4-5", false);
    body["Messages"] = json!([]);
    let refused = bed.post_as("/v1/chat/completions", &body, &[]).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["param"]),
        (400, &json!("Messages"))
    );
    assert!(bed.claude.requests().is_empty(), "nobody was asked");
}

#[tokio::test]
async fn a_loop_is_stopped_with_what_to_do_and_other_requests_pass() {
    let bed = bed(json!({"times": 3, "within": "1h", "action": "Stop"})).await;
    for _ in 0..3 {
        assert_eq!(ask(&bed, "again").await.status, 200);
    }
    let asked = bed.claude.requests().len();
    let stopped = ask(&bed, "again").await;
    assert_eq!(stopped.status, 429, "{}", stopped.text);
    let error = &stopped.json()["error"];
    assert_eq!(error["bowsprit_code"], "BIZ_RUNAWAY");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("this very request came 3 times") && message.contains("UsagePolicy house"),
        "{message}"
    );
    assert!(stopped.headers.contains_key("retry-after") && stopped.headers["x-should-retry"] == "false");
    assert_eq!(bed.claude.requests().len(), asked, "nobody was asked");
    assert_eq!(bed.access().pop().unwrap()["refused_by"], "limit:runaway");
    assert_eq!(ask(&bed, "another").await.status, 200);
    let refused = "bowsprit_limit_requests_total{limit_name=\"policy/house/runaway\",met=\"refused\"}";
    assert_eq!(bed.metric(refused).await, 1.0);
    bed.balanced().await;
}

#[tokio::test]
async fn a_loop_that_is_only_told_passes_and_is_counted() {
    let bed = bed(json!({"times": 2, "within": "1h"})).await;
    for _ in 0..5 {
        assert_eq!(ask(&bed, "again").await.status, 200);
    }
    let warned = "bowsprit_limit_requests_total{limit_name=\"policy/house/runaway\",met=\"admitted\"}";
    assert_eq!(bed.metric(warned).await, 3.0);
    bed.balanced().await;
}

#[tokio::test]
async fn the_operator_is_told_that_a_pod_runs_away_and_nothing_of_what_it_asks() {
    let (mut bed, operator) = (Bed::providers(), ScriptedOperator::start().await);
    let policy = documents::policy(
        "house",
        &json!({"runaway": {"times": 2, "within": "1h", "action": "Stop"}}),
    );
    // In a cluster keys are of Secrets.
    let keys = |name: &str, spec: &mut serde_json::Value| {
        spec["credentials"] = json!([{"name": "main", "secretKeyRef": {"name": "llm-keys", "key": name}}]);
    };
    operator.mount(&(bed.documents(&keys) + &policy), 5);
    crate::stream::start(&mut bed, &operator, None);
    bed.claude.always(Answer::new("hello"));
    let mut held = operator.accept().await;
    assert_eq!(held.report(|report| report.sequence == 5).await.runaways, []);
    for _ in 0..2 {
        assert_eq!(ask(&bed, "round and round").await.status, 200);
    }
    assert_eq!(ask(&bed, "round and round").await.status, 429);
    let report = held.report(|report| !report.runaways.is_empty()).await;
    let [runaway] = report.runaways.as_slice() else {
        panic!("{report:?}")
    };
    assert_eq!(
        (runaway.policy.as_str(), runaway.stops, runaway.repeats),
        ("house", true, 1)
    );
    assert!(runaway.since > 1_700_000_000, "{runaway:?}");
    assert!(!serde_json::to_string(&report).unwrap().contains("round"), "{report:?}");
}
