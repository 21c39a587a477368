//! Embeddings are kept input by input: only what is missing is asked for, and the answer comes in the caller's order.

use bowsprit_providers::{Behaviour, Provider};
use bowsprit_rig::documents;
use serde_json::{Value, json};

use crate::support::{Bed, Reply, count, failing};

const MODELS: [(&str, &str); 2] = [("openai", "text-embedding-3-small"), ("gemini", "gemini-embedding-001")];

/// A route `vectors` to the embedding model of this provider.
async fn bed_to(provider: &str) -> Bed {
    let mut bed = Bed::providers();
    let model = MODELS.iter().find(|(name, _)| *name == provider).unwrap().1;
    let spec = json!({
        "match": {"models": ["vectors"]},
        "targets": [{"provider": provider, "model": model}],
        "cache": {"ttl": "1h", "maxBytes": 1 << 20, "embeddings": {"maxBytes": 4 << 20}},
    });
    let change = |name: &str, spec: &mut Value| {
        if let Some((_, model)) = MODELS.iter().find(|(known, _)| *known == name) {
            spec["models"] = json!([{"name": model}, {"name": spec["defaultModel"]}]);
        }
    };
    let documents = bed.documents(&change) + &documents::route("vectors", &spec);
    std::fs::write(bed.config_path(), documents).unwrap();
    bed.start(&[]);
    bed
}

async fn embed(bed: &Bed, input: &Value, more: &Value) -> Reply {
    let mut body = json!({"model": "vectors", "input": input, "dimensions": 8});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    bed.post_as("/v1/embeddings", &body, &[]).await
}

/// What a provider was asked last.
fn asked(provider: &Provider) -> Value {
    serde_json::from_slice(&provider.seen().requests.back().unwrap().body).unwrap()
}

fn vectors(reply: &Reply) -> Vec<Value> {
    let data = reply.json()["data"].as_array().unwrap().clone();
    assert!(data.iter().enumerate().all(|(place, vector)| vector["index"] == place));
    data.into_iter().map(|vector| vector["embedding"].clone()).collect()
}

async fn inputs(bed: &Bed, result: &str) -> f64 {
    bed.metric(&format!(
        "bowsprit_embedding_cache_inputs_total{{route=\"vectors\",result=\"{result}\"}}"
    ))
    .await
}

#[tokio::test]
async fn of_a_batch_only_what_is_missing_is_asked_for_and_the_answer_comes_in_order() {
    for (encoding, more) in [("float", json!({})), ("base64", json!({"encoding_format": "base64"}))] {
        let bed = bed_to("openai").await;
        let whole = embed(&bed, &json!(["a", "b", "c", "d", "e"]), &more).await;
        assert_eq!(whole.status, 200, "{}", whole.text);
        let (all, usage) = (vectors(&whole), whole.json()["usage"].clone());
        assert_eq!(bed.admin_post("/cache/clear").await.status, 200);
        assert_eq!(embed(&bed, &json!(["b", "d"]), &more).await.status, 200);
        let mixed = embed(&bed, &json!(["a", "b", "c", "d", "e", "a"]), &more).await;
        assert_eq!(mixed.status, 200, "{}", mixed.text);
        assert_eq!(asked(&bed.openai)["input"], json!(["a", "c", "e"]), "{encoding}");
        let mut expected = all.clone();
        expected.push(all[0].clone());
        assert_eq!(vectors(&mixed), expected, "to the last digit");
        assert_eq!(mixed.header("cache-status"), "bowsprit; fwd=partial");
        assert_eq!(mixed.header("x-bowsprit-cache"), "partial; hits=2; misses=4");
        let used = mixed.json()["usage"]["prompt_tokens"].as_u64().unwrap();
        assert!(
            used < usage["prompt_tokens"].as_u64().unwrap() && used > 0,
            "of what was asked"
        );
        let before = count(&bed.openai);
        let again = embed(&bed, &json!(["e", "a", "c", "b", "d"]), &more).await;
        assert_eq!(count(&bed.openai), before, "nobody is asked");
        assert_eq!(vectors(&again), [4, 0, 2, 1, 3].map(|place: usize| all[place].clone()));
        assert_eq!(again.json()["usage"], json!({"prompt_tokens": 0, "total_tokens": 0}));
        assert_eq!(
            (&again.json()["model"], &again.json()["object"]),
            (&whole.json()["model"], &json!("list"))
        );
        assert!(again.header("x-bowsprit-cache").starts_with("hit; age="));
        let one = embed(&bed, &json!("a"), &more).await;
        assert_eq!((vectors(&one), count(&bed.openai)), (vec![all[0].clone()], before));
        assert_eq!((inputs(&bed, "hit").await, inputs(&bed, "miss").await), (8.0, 11.0));
        bed.balanced().await;
    }
}

#[tokio::test]
async fn a_gemini_caller_and_a_translated_pair_get_the_same_vectors_again() {
    let texts = |texts: &[&str]| {
        let requests: Vec<_> = texts
            .iter()
            .map(|text| json!({"content": {"parts": [{"text": text}]}, "outputDimensionality": 8}))
            .collect();
        json!({ "requests": requests })
    };
    let path = "/v1beta/models/vectors:batchEmbedContents";
    for provider in ["gemini", "openai"] {
        let bed = bed_to(provider).await;
        let asked = || count(&bed.gemini) + count(&bed.openai);
        let first = bed.post_as(path, &texts(&["a", "b"]), &[]).await;
        assert_eq!(first.status, 200, "{}", first.text);
        let mixed = bed.post_as(path, &texts(&["b", "c", "a"]), &[]).await;
        let values = |reply: &Reply| reply.json()["embeddings"].as_array().unwrap().clone();
        assert_eq!(values(&mixed)[0], values(&first)[1], "{provider}");
        assert_eq!(values(&mixed)[2], values(&first)[0], "{provider}");
        assert_eq!(asked(), 2);
        let again = bed.post_as(path, &texts(&["c", "b"]), &[]).await;
        assert_eq!(values(&again), [values(&mixed)[1].clone(), values(&mixed)[0].clone()]);
        assert_eq!(asked(), 2);
        bed.balanced().await;
    }
}

#[tokio::test]
async fn a_failure_is_the_providers_and_what_is_kept_stays() {
    let bed = bed_to("openai").await;
    assert_eq!(embed(&bed, &json!(["a"]), &json!({})).await.status, 200);
    failing(&bed.openai, 500);
    let failed = embed(&bed, &json!(["a", "b"]), &json!({})).await;
    assert_eq!(failed.status, 500, "{}", failed.text);
    let kept = embed(&bed, &json!(["a"]), &json!({})).await;
    assert_eq!(kept.status, 200);
    bed.openai.always(Behaviour::Garbage);
    assert!(embed(&bed, &json!(["a", "c"]), &json!({})).await.status >= 500);
    bed.balanced().await;
}

#[tokio::test]
async fn vectors_are_their_callers_and_cache_control_is_heeded() {
    let bed = bed_to("openai").await;
    let body = json!({"model": "vectors", "input": ["a", "b"], "dimensions": 8});
    let ask = |headers: &'static [(&'static str, &'static str)]| bed.post_as("/v1/embeddings", &body, headers);
    assert_eq!(ask(&[("authorization", "Bearer a")]).await.status, 200);
    assert_eq!(ask(&[("authorization", "Bearer b")]).await.status, 200);
    assert_eq!(count(&bed.openai), 2, "another caller's are its own");
    let a = [("authorization", "Bearer a")];
    assert_eq!(
        ask(&[("authorization", "Bearer a"), ("cache-control", "no-store")])
            .await
            .status,
        200
    );
    assert_eq!(
        ask(&[("authorization", "Bearer a"), ("cache-control", "no-cache")])
            .await
            .status,
        200
    );
    assert_eq!(count(&bed.openai), 4);
    assert_eq!(
        ask(&[("authorization", "Bearer a"), ("cache-control", "only-if-cached")])
            .await
            .status,
        200
    );
    assert_eq!(
        ask(&[("authorization", "Bearer c"), ("cache-control", "only-if-cached")])
            .await
            .status,
        504
    );
    assert_eq!(count(&bed.openai), 4);
    let cleared = bed.admin_post("/cache/clear?route=vectors").await.json();
    assert!(cleared["cleared"].as_u64().unwrap() >= 4, "{cleared}");
    assert_eq!(bed.post_as("/v1/embeddings", &body, &a).await.status, 200);
    assert_eq!(count(&bed.openai), 5);
    bed.balanced().await;
}
