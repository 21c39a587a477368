//! A provider that changes its embedding model under the name that it has: no answer has vectors of two versions, and no request fails
//! for it.

use bowsprit_providers::{Answer, Behaviour, Provider, Step, embedding};
use bowsprit_rig::documents;
use serde_json::{Value, json};

use crate::support::{Bed, Reply, count};

const MODEL: &str = "text-embedding-3-small";
const SIZE: usize = 8;

/// A route `vectors`; `more` is what its `cache.embeddings` has beside its bound.
fn bed(more: &Value) -> Bed {
    let mut bed = Bed::providers();
    let mut embeddings = json!({"maxBytes": 8 << 20});
    embeddings
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let spec = json!({
        "match": {"models": ["vectors"]},
        "targets": [{"provider": "openai", "model": MODEL}],
        "cache": {"ttl": "1h", "maxBytes": 1 << 20, "embeddings": embeddings},
    });
    let change = |name: &str, spec: &mut Value| {
        if name == "openai" {
            spec["models"] = json!([{"name": MODEL}, {"name": spec["defaultModel"]}]);
        }
    };
    let documents = bed.documents(&change) + &documents::route("vectors", &spec);
    std::fs::write(bed.config_path(), documents).unwrap();
    bed.start(&[]);
    bed
}

async fn embed(bed: &Bed, inputs: &[String]) -> Reply {
    let body = json!({"model": "vectors", "input": inputs, "dimensions": SIZE});
    bed.post_as("/v1/embeddings", &body, &[]).await
}

fn texts(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("text {number}")).collect()
}

fn gives(provider: &Provider, version: &str) {
    provider.always(Answer::default().version(version));
}

/// The version of an answer, whose vectors are all of it.
fn version_of(reply: &Reply, inputs: &[String]) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text);
    let answer = reply.json();
    let version = answer["model"].as_str().unwrap();
    let data = answer["data"].as_array().unwrap();
    assert_eq!(data.len(), inputs.len());
    for (input, vector) in inputs.iter().zip(data) {
        let expected = embedding(&format!("{input} {version}"), SIZE);
        // As 32-bit numbers: serde_json reads a 64-bit one to its last digit but one.
        let numbers: Vec<f32> = serde_json::from_value(vector["embedding"].clone()).unwrap();
        assert_eq!(numbers, expected, "{input} is not of {version}");
    }
    version.to_owned()
}

async fn outdated(bed: &Bed) -> f64 {
    bed.metric("bowsprit_cache_answers_total{fate=\"outdated\"}").await
}

async fn report(bed: &Bed) -> Value {
    bed.health().await["nextEmbeddings"][0].clone()
}

#[tokio::test]
async fn under_traffic_another_version_takes_over_no_request_fails_and_what_is_known_is_filled_again() {
    let bed = bed(&json!({"keepInputs": 1 << 20}));
    gives(&bed.openai, "m-1");
    let known = texts(0..150);
    assert_eq!(version_of(&embed(&bed, &known).await, &known), "m-1");
    gives(&bed.openai, "m-2");
    let mut versions = Vec::new();
    for turn in 0..20 {
        // Known ones, and one that is new in most of them.
        let mut some: Vec<String> = (0..4)
            .map(|place| known[(turn * 7 + place * 31) % 150].clone())
            .collect();
        let other = some.clone();
        some.push(format!("new {turn}"));
        let (one, two) = tokio::join!(embed(&bed, &some), embed(&bed, &other));
        versions.push(version_of(&one, &some));
        version_of(&two, &other);
    }
    assert!(
        versions.iter().all(|version| version == "m-2"),
        "who asks for something new finds out: {versions:?}"
    );
    assert_eq!(outdated(&bed).await, 150.0);
    bed.until("it is renewed", || async { report(&bed).await["state"] == "renewed" })
        .await;
    let told = report(&bed).await;
    assert_eq!((&told["next"], &told["filled"]), (&json!("m-2"), &told["of"]), "{told}");
    let before = count(&bed.openai);
    assert_eq!(version_of(&embed(&bed, &known).await, &known), "m-2");
    assert_eq!(count(&bed.openai), before, "what was known is there");
    bed.balanced().await;
}

#[tokio::test]
async fn what_was_kept_is_asked_for_too_once_and_the_usage_is_of_all_that_was_asked() {
    let bed = bed(&json!({}));
    gives(&bed.openai, "m-1");
    let kept = ["alpha".to_owned(), "beta".to_owned()];
    version_of(&embed(&bed, &kept).await, &kept);
    gives(&bed.openai, "m-2");
    let all = ["alpha".to_owned(), "gamma gamma".to_owned(), "beta".to_owned()];
    let reply = embed(&bed, &all).await;
    assert_eq!(version_of(&reply, &all), "m-2");
    let asked: Vec<Value> = bed
        .openai
        .seen()
        .requests
        .iter()
        .map(|request| serde_json::from_slice::<Value>(&request.body).unwrap()["input"].clone())
        .collect();
    assert_eq!(asked[1..], [json!(["gamma gamma"]), json!(["alpha", "beta"])]);
    // Four bytes a token.
    assert_eq!(
        reply.json()["usage"],
        json!({"prompt_tokens": 3 + 2 + 1, "total_tokens": 3 + 2 + 1})
    );
    assert_eq!(reply.header("cache-status"), "bowsprit; fwd=miss");
    assert_eq!(reply.header("x-bowsprit-cache"), "partial; hits=0; misses=3");
    assert!(
        !reply.header("x-request-id").ends_with(".version"),
        "it is the caller's"
    );
    assert_eq!(outdated(&bed).await, 2.0);
    assert_eq!(version_of(&embed(&bed, &all).await, &all), "m-2");
    assert_eq!(count(&bed.openai), 3, "all of it is kept");
    assert!(
        report(&bed).await.is_null(),
        "no text is kept, so nothing is asked in the background"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn a_provider_that_goes_to_and_fro_is_asked_three_times_at_most_and_its_answer_is_of_one_version() {
    let bed = bed(&json!({}));
    gives(&bed.openai, "m-1");
    let known = texts(0..6);
    version_of(&embed(&bed, &known).await, &known);
    for turn in 0..60 {
        bed.openai.script(Answer::default().version(["m-2", "m-1"][turn % 2]));
    }
    for turn in 0..6 {
        let mut some = known.clone();
        some.push(format!("new {turn}"));
        let before = count(&bed.openai);
        version_of(&embed(&bed, &some).await, &some);
        let asked = count(&bed.openai) - before;
        assert!(asked <= 3, "{asked}");
    }
    bed.balanced().await;
}

#[tokio::test]
async fn where_what_was_kept_cannot_be_had_anew_the_error_is_the_providers_and_the_next_request_is_well() {
    let bed = bed(&json!({}));
    gives(&bed.openai, "m-1");
    let kept = texts(0..2);
    version_of(&embed(&bed, &kept).await, &kept);
    bed.openai.script(Answer::default().version("m-2"));
    bed.openai.script(Step::new(Behaviour::status(500)));
    gives(&bed.openai, "m-2");
    let all = texts(0..3);
    let failed = embed(&bed, &all).await;
    assert_eq!(failed.status, 500, "{}", failed.text);
    assert!(!failed.header("x-request-id").ends_with(".version"));
    let reply = embed(&bed, &all).await;
    assert_eq!(version_of(&reply, &all), "m-2");
    assert_eq!(count(&bed.openai), 4, "what came the first time is kept");
    bed.balanced().await;
}

#[tokio::test]
async fn an_answer_in_whole_of_another_version_ends_what_is_kept_as_well() {
    let bed = bed(&json!({}));
    gives(&bed.openai, "m-1");
    let (old, new) = (texts(0..3), texts(10..12));
    version_of(&embed(&bed, &old).await, &old);
    gives(&bed.openai, "m-2");
    assert_eq!(version_of(&embed(&bed, &new).await, &new), "m-2");
    // From memory alone, it would be of the version before.
    assert_eq!(version_of(&embed(&bed, &old).await, &old), "m-2");
    assert_eq!(count(&bed.openai), 3);
    bed.balanced().await;
}
