//! Who asks alike gets an answer that was given: never one to another number, name or negation, never another caller's, never for a
//! request that acts. Vectors that fail or are late cost no request anything.

use bowsprit_providers::{Answer, Behaviour};
use bowsprit_rig::documents;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::{Bed, Reply, count, failing};

const CHAT: &str = "/v1/chat/completions";
const VECTORS: &str = "text-embedding-3-small";
const CAPITAL: &str = "What is the capital of France?";
/// The same in other words, as near as letters go.
const AGAIN: &str = "What is the capital city of France?";

/// Conversations go to Claude, vectors come from OpenAI.
async fn bed_with(semantic: &Value) -> Bed {
    bed_beside(semantic, "").await
}

/// The same beside more documents.
async fn bed_beside(semantic: &Value, more: &str) -> Bed {
    let mut bed = Bed::providers();
    let mut spec = json!({"embeddingModel": VECTORS, "threshold": "0.8", "maxBytes": 4 << 20, "maxWait": "5s"});
    spec.as_object_mut()
        .unwrap()
        .extend(semantic.as_object().unwrap().clone());
    let route = json!({
        "match": {"models": ["smart"]},
        "targets": [{"provider": "claude"}],
        "cache": {"ttl": "1h", "maxBytes": 1 << 20, "temperature": "Any", "allowTools": true, "semantic": spec},
    });
    let change = |name: &str, spec: &mut Value| {
        spec["circuitBreaker"] = json!({"failureThreshold": 1000});
        if name == "openai" {
            spec["models"] = json!([{"name": VECTORS}, {"name": spec["defaultModel"]}]);
        }
    };
    let documents = bed.documents(&change) + &documents::route("smart", &route) + more;
    std::fs::write(bed.config_path(), documents).unwrap();
    bed.start(&[]);
    bed
}

async fn bed() -> Bed {
    bed_with(&json!({})).await
}

fn question(text: &str) -> Value {
    json!({"model": "smart", "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": text}]})
}

async fn ask(bed: &Bed, text: &str) -> Reply {
    bed.post_as(CHAT, &question(text), &[]).await
}

async fn entries(bed: &Bed) -> f64 {
    bed.metric(r#"bowsprit_semantic_cache_entries{route="smart"}"#).await
}

/// Waits until so many questions are kept: their vectors are asked for behind their answers.
async fn kept(bed: &Bed, questions: f64) {
    bed.until("the question is kept", || async { entries(bed).await == questions })
        .await;
}

async fn result(bed: &Bed, result: &str) -> f64 {
    bed.metric(&format!(
        "bowsprit_semantic_cache_results_total{{route=\"smart\",result=\"{result}\"}}"
    ))
    .await
}

async fn error(bed: &Bed, reason: &str) -> f64 {
    bed.metric(&format!("bowsprit_semantic_cache_errors_total{{reason=\"{reason}\"}}"))
        .await
}

fn is_alike(reply: &Reply) -> bool {
    reply.status == 200 && reply.header("x-bowsprit-cache").starts_with("alike; ")
}

#[tokio::test]
async fn of_answers_that_are_verified_it_is_told_how_many_were_right() {
    let bed = bed_with(&json!({"verifyPercent": 100})).await;
    bed.claude.always(Answer::new("It is Paris, of course."));
    ask(&bed, CAPITAL).await;
    kept(&bed, 1.0).await;
    let other = "Nobody knows any more: ask another question.";
    for (number, (text, says, verdict)) in [
        (AGAIN, "It is Paris, of course.", "right"),
        // Not to the letter.
        ("What is the capital town of France?", "It is Paris of course.", "right"),
        ("What is the capital city, of France?", other, "wrong"),
    ]
    .into_iter()
    .enumerate()
    {
        let (asked, before) = (count(&bed.claude), result(&bed, verdict).await);
        bed.claude.always(Answer::new(says));
        let reply = ask(&bed, text).await;
        assert_eq!(reply.header("cache-status"), "bowsprit; fwd=miss", "{text}");
        assert!(
            reply.text.contains(says),
            "the provider's goes to the caller: {}",
            reply.text
        );
        assert_eq!(count(&bed.claude), asked + 1);
        bed.until("it is compared", || async {
            result(&bed, verdict).await == before + 1.0
        })
        .await;
        kept(&bed, number as f64 + 2.0).await;
    }
    assert_eq!((result(&bed, "hit").await, result(&bed, "unsure").await), (0.0, 0.0));
    bed.balanced().await;
}

#[tokio::test]
async fn who_asks_alike_gets_the_answer_and_is_told_how_alike_it_is() {
    let bed = bed().await;
    let first = ask(&bed, CAPITAL).await;
    assert_eq!(first.header("cache-status"), "bowsprit; fwd=miss");
    kept(&bed, 1.0).await;
    let (asked, tokens) = (count(&bed.claude), bed.family("bowsprit_tokens_total").await);
    let again = ask(&bed, AGAIN).await;
    assert!(is_alike(&again), "{:?} {}", again.headers, again.text);
    assert_eq!(
        (&again.text, count(&bed.claude)),
        (&first.text, asked),
        "nobody is asked"
    );
    let told = again.header("x-bowsprit-cache").to_owned();
    let similarity: f64 = told["alike; similarity=".len()..]
        .split(';')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!((0.8..1.0).contains(&similarity) && told.contains("; age="), "{told}");
    let status = again.header("cache-status");
    assert!(
        status.starts_with("bowsprit; hit; ttl=")
            && status.contains("; key=\"")
            && status.contains("; detail=\"similarity=0."),
        "{status}"
    );
    assert_eq!((again.provider(), again.header("x-bowsprit-attempts")), ("claude", "0"));
    assert!(!again.header("age").is_empty());
    // The very same is still the very same.
    assert!(
        ask(&bed, CAPITAL)
            .await
            .header("x-bowsprit-cache")
            .starts_with("hit; age=")
    );
    assert_eq!((result(&bed, "hit").await, result(&bed, "none").await), (1.0, 1.0));
    assert!(
        bed.metric(r#"bowsprit_semantic_cache_similarity_total{route="smart"}"#)
            .await
            >= 0.8
    );
    assert!(bed.metric(r#"bowsprit_semantic_cache_bytes{route="smart"}"#).await > 4096.0);
    for (operation, times) in [("search", 1.0), ("insert", 1.0), ("delete", 0.0)] {
        let name = format!("bowsprit_semantic_cache_operations_total{{operation=\"{operation}\"}}");
        assert_eq!(bed.metric(&name).await, times, "{operation}");
    }
    let line = bed
        .access()
        .into_iter()
        .rev()
        .find(|line| !line["cache_of"].is_null())
        .unwrap();
    assert_eq!(line["cache_of"], first.header("x-request-id"));
    assert!(bed.family("bowsprit_tokens_total").await >= tokens);
    bed.balanced().await;
}

#[tokio::test]
async fn what_vectors_cost_is_booked_as_a_request_of_its_own() {
    let bed = bed().await;
    let id = [("x-request-id", "asked-by-me")];
    assert_eq!(bed.post_as(CHAT, &question(CAPITAL), &id).await.status, 200);
    kept(&bed, 1.0).await;
    bed.balanced().await;
    let lines = bed.access();
    let own = lines.iter().find(|line| line["request_id"] == "asked-by-me.semantic");
    let own = own.unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!(
        (&own["operation"], &own["outcome"]),
        (&json!("embeddings"), &json!("ok"))
    );
    assert_eq!((&own["provider"], count(&bed.openai)), (&json!("openai"), 1));
}

#[tokio::test]
async fn another_number_name_negation_or_turn_is_another_question() {
    let bed = bed().await;
    for (one, other) in [
        (
            "Is a dose of 5 mg in the morning too much?",
            "Is a dose of 50 mg in the morning too much?",
        ),
        ("What is the capital of Austria?", "What is the capital of Australia?"),
        ("Is it safe to eat with nuts?", "Is it safe to eat without nuts?"),
        (
            "How long is the day in the north?",
            "Who was it that built all of this for you?",
        ),
    ] {
        let before = entries(&bed).await;
        assert_eq!(ask(&bed, one).await.status, 200);
        kept(&bed, before + 1.0).await;
        let reply = ask(&bed, other).await;
        assert!(!is_alike(&reply), "{other}: {}", reply.header("x-bowsprit-cache"));
        kept(&bed, before + 2.0).await;
    }
    // Nine turns that are equal do not hide one that is not.
    let talk = |last: &str| {
        let mut turns: Vec<Value> = (0..6)
            .map(|_| json!({"role": "user", "content": "what is it that you can tell me of the sea"}))
            .collect();
        turns.push(json!({"role": "user", "content": last}));
        json!({"model": "smart", "messages": turns})
    };
    let before = entries(&bed).await;
    assert_eq!(bed.post_as(CHAT, &talk("tell me of the ships"), &[]).await.status, 200);
    kept(&bed, before + 1.0).await;
    assert!(!is_alike(
        &bed.post_as(CHAT, &talk("which fish is the largest"), &[]).await
    ));
    bed.balanced().await;
}

#[tokio::test]
async fn what_is_not_the_callers_own_wording_must_be_equal_and_answers_are_their_callers() {
    let bed = bed().await;
    let key = [("authorization", "Bearer sk-a")];
    assert_eq!(bed.post_as(CHAT, &question(CAPITAL), &key).await.status, 200);
    kept(&bed, 1.0).await;
    assert!(!is_alike(
        &bed.post_as(CHAT, &question(AGAIN), &[("authorization", "Bearer sk-b")])
            .await
    ));
    assert!(!is_alike(&ask(&bed, AGAIN).await));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = question(AGAIN);
        change(&mut body);
        body
    };
    for body in [
        with(&|body| body["messages"][0]["content"] = json!("be briefer")),
        with(&|body| body["temperature"] = json!(0.5)),
        with(&|body| body["stream"] = json!(true)),
        with(&|body| body["max_tokens"] = json!(50)),
        with(&|body| body["tools"] = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}])),
    ] {
        assert!(!is_alike(&bed.post_as(CHAT, &body, &key).await), "{body}");
    }
    assert!(
        is_alike(&bed.post_as(CHAT, &question(AGAIN), &key).await),
        "it was there all the time"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn vectors_that_fail_cost_no_request_anything() {
    let bed = bed().await;
    assert_eq!(ask(&bed, CAPITAL).await.status, 200);
    kept(&bed, 1.0).await;
    failing(&bed.openai, 500);
    let reply = ask(&bed, AGAIN).await;
    assert_eq!((reply.status, is_alike(&reply)), (200, false));
    assert_eq!(error(&bed, "embedding").await, 1.0);
    bed.openai.always(Behaviour::Garbage);
    let reply = ask(&bed, &AGAIN.replace("city", "town")).await;
    assert_eq!((reply.status, is_alike(&reply)), (200, false));
    assert_eq!(error(&bed, "embedding").await + error(&bed, "unreadable").await, 2.0);
    bed.balanced().await;
}

#[tokio::test]
async fn vectors_that_do_not_come_are_waited_for_no_longer_than_the_route_says() {
    let bed = bed_with(&json!({"maxWait": "1ms"})).await;
    assert_eq!(ask(&bed, CAPITAL).await.status, 200);
    kept(&bed, 1.0).await;
    bed.openai.always(Behaviour::hang());
    let reply = ask(&bed, AGAIN).await;
    assert_eq!((reply.status, is_alike(&reply)), (200, false));
    assert_eq!(error(&bed, "late").await, 1.0);
    bed.balanced().await;
}

#[tokio::test]
async fn vectors_wait_for_no_place_that_their_own_request_holds() {
    let limits = json!([{"name": "one", "concurrentRequests": 1, "onLimit": "Wait", "maxWait": "60s"}]);
    let bed = bed_beside(&json!({}), &documents::policy("limits", &json!({ "limits": limits }))).await;
    assert_eq!(ask(&bed, CAPITAL).await.status, 200);
    kept(&bed, 1.0).await;
    let reply = ask(&bed, AGAIN).await;
    assert_eq!((reply.status, is_alike(&reply)), (200, false));
    assert_eq!((error(&bed, "late").await, error(&bed, "embedding").await), (0.0, 1.0));
    bed.balanced().await;
}

#[tokio::test]
async fn those_that_ask_alike_together_get_it_together() {
    let bed = bed().await;
    assert_eq!(ask(&bed, CAPITAL).await.status, 200);
    kept(&bed, 1.0).await;
    let asked = count(&bed.claude);
    let replies = join_all((0..20).map(|_| ask(&bed, AGAIN))).await;
    assert!(
        replies.iter().all(is_alike),
        "{:?}",
        replies
            .iter()
            .map(|r| r.header("x-bowsprit-cache").to_owned())
            .collect::<Vec<_>>()
    );
    assert_eq!(count(&bed.claude), asked);
    bed.balanced().await;
}

#[tokio::test]
async fn what_is_cleared_or_not_wanted_is_not_given() {
    let bed = bed().await;
    assert_eq!(ask(&bed, CAPITAL).await.status, 200);
    kept(&bed, 1.0).await;
    for directive in ["no-store", "no-cache", "max-age=0"] {
        let text = AGAIN.replace(
            "city",
            &format!("{} city", directive.replace(['-', '='], " ").replace('0', "")),
        );
        let reply = bed
            .post_as(CHAT, &question(&text), &[("cache-control", directive)])
            .await;
        assert!(!is_alike(&reply), "{directive}");
    }
    assert_eq!(bed.admin_post("/cache/clear?route=smart").await.status, 200);
    assert_eq!(entries(&bed).await, 0.0);
    assert!(!is_alike(&ask(&bed, AGAIN).await));
    bed.balanced().await;
}
