//! Embeddings are kept input by input: only what is missing is asked for, and the answer comes in the caller's order.

use std::time::Duration;

use bowsprit_providers::{Answer, Behaviour, Provider};
use bowsprit_rig::documents;
use serde_json::{Value, json};

use crate::support::{Bed, Reply, count, failing, message, saw};

const MODELS: [(&str, &str); 2] = [("openai", "text-embedding-3-small"), ("gemini", "gemini-embedding-001")];

/// A route `vectors` to the embedding model of this provider.
async fn bed_to(provider: &str) -> Bed {
    bed_with(provider, &json!({})).await
}

/// The same with more in its cache.
async fn bed_with(provider: &str, more: &Value) -> Bed {
    bed_of(&[], provider, more).await
}

/// The same of a sidecar that is called so.
async fn bed_of(args: &[&str], provider: &str, more: &Value) -> Bed {
    let mut bed = Bed::providers();
    let model = MODELS.iter().find(|(name, _)| *name == provider).unwrap().1;
    let mut spec = json!({
        "match": {"models": ["vectors"]},
        "targets": [{"provider": provider, "model": model}],
        "cache": {"ttl": "1h", "maxBytes": 1 << 20, "embeddings": {"maxBytes": 4 << 20}},
    });
    let cache = spec["cache"].as_object_mut().unwrap();
    cache.extend(more.as_object().unwrap().clone());
    let change = |name: &str, spec: &mut Value| {
        if let Some((_, model)) = MODELS.iter().find(|(known, _)| *known == name) {
            spec["models"] = json!([{"name": model}, {"name": spec["defaultModel"]}]);
        }
    };
    let documents = bed.documents(&change) + &documents::route("vectors", &spec);
    std::fs::write(bed.config_path(), documents).unwrap();
    bed.start(args);
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

/// What passes because there is no memory to put it together says so.
const TOO_LARGE: &str = "bowsprit; fwd=bypass; detail=too_large";

/// These inputs: of 4,096 numbers each, their vectors are large.
fn large(numbers: std::ops::Range<u32>) -> Value {
    Value::from(numbers.map(|number| number.to_string()).collect::<Vec<_>>())
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

/// Once nothing is kept, no memory is.
async fn gives_all_back(bed: &Bed) {
    assert_eq!(bed.admin_post("/cache/clear").await.status, 200);
    bed.until("all memory is given back", || async {
        bed.metric("bowsprit_held_bytes").await == 0.0
    })
    .await;
    bed.balanced().await;
}

#[tokio::test]
async fn an_answer_that_there_is_no_memory_for_passes_as_it_is_and_is_never_half_one() {
    let more = json!({"dimensions": 4096});
    for (budget, is_enough) in [("5MiB", false), ("64MiB", true)] {
        let bed = bed_of(&["--memory-budget", budget], "openai", &json!({})).await;
        let entries = async || bed.metric(r#"bowsprit_embedding_cache_entries{route="vectors"}"#).await;
        let whole = embed(&bed, &large(0..200), &more).await;
        assert_eq!((whole.status, vectors(&whole).len()), (200, 200), "{budget}");
        assert!(whole.text.len() > 5 << 20, "{}", whole.text.len());
        assert_eq!(entries().await > 0.0, is_enough, "{budget}");
        // With one of them kept, there is something to be put in between.
        assert_eq!(embed(&bed, &large(7..8), &more).await.status, 200);
        let mixed = embed(&bed, &large(0..200), &more).await;
        assert_eq!((mixed.status, vectors(&mixed)), (200, vectors(&whole)));
        if !is_enough {
            assert_eq!(mixed.header("cache-status"), TOO_LARGE);
            assert_eq!(entries().await, 1.0, "nothing has given way to it");
        }
        gives_all_back(&bed).await;
    }
}

#[tokio::test]
async fn what_is_kept_whole_is_given_or_asked_for_and_never_refused_for_its_size() {
    // As kept they take a sixth of it, written they just fit, and both together do not.
    let bed = bed_of(&["--memory-budget", "4400000"], "openai", &json!({})).await;
    let more = json!({"dimensions": 4096});
    for from in (0..40).step_by(10) {
        assert_eq!(embed(&bed, &large(from..from + 10), &more).await.status, 200);
    }
    assert_eq!(embed(&bed, &large(40..42), &more).await.status, 200);
    let entries = async || bed.metric(r#"bowsprit_embedding_cache_entries{route="vectors"}"#).await;
    assert_eq!((entries().await, count(&bed.openai)), (42.0, 5));
    let partial = embed(&bed, &large(0..43), &more).await;
    assert_eq!(
        (partial.status, partial.header("x-bowsprit-cache")),
        (200, "partial; hits=42; misses=1"),
        "{}",
        partial.text
    );
    assert!(
        !partial.headers.contains_key("content-length"),
        "it is written as it goes out"
    );
    assert_eq!(asked(&bed.openai)["input"], large(42..43));
    assert_eq!(
        entries().await,
        43.0,
        "what is kept does not give way to an answer made of it"
    );
    let whole = embed(&bed, &large(0..43), &more).await;
    assert_eq!(
        (whole.status, whole.header("cache-status")),
        (200, TOO_LARGE),
        "{}",
        whole.text
    );
    assert_eq!(asked(&bed.openai)["input"], large(0..43));
    assert_eq!(vectors(&partial), vectors(&whole));
    gives_all_back(&bed).await;
}

#[tokio::test]
async fn where_there_is_no_memory_to_put_what_came_together_all_is_asked_for() {
    let bed = bed_of(&["--memory-budget", "8MiB"], "openai", &json!({})).await;
    let more = json!({"dimensions": 4096});
    assert_eq!(embed(&bed, &large(0..10), &more).await.status, 200);
    bed.claude.always(Behaviour::hang());
    let body = message("claude-sonnet-4-5", false).to_string();
    let body: Value = serde_json::from_str(&body.replace("hello", &"y".repeat(8_200_000))).unwrap();
    let held = tokio::spawn(bed.post("/v1/messages", &body).send());
    bed.until("the memory is full", || async {
        bed.metric("bowsprit_held_bytes").await > 8.2e6
    })
    .await;
    let mixed = embed(&bed, &large(0..20), &more).await;
    assert_eq!((mixed.status, vectors(&mixed).len()), (200, 20), "{}", mixed.text);
    assert_eq!(
        (asked(&bed.openai)["input"].clone(), count(&bed.openai)),
        (large(0..20), 3)
    );
    let ours = bed
        .access()
        .into_iter()
        .any(|line| line["request_id"].as_str().is_some_and(|id| id.contains(".whole")));
    assert!(ours, "and it says so");
    held.abort();
}

#[tokio::test]
async fn a_batch_that_is_larger_than_is_read_for_keys_is_asked_for_as_it_is() {
    let bed = bed_to("openai").await;
    let tokens = json!([vec![1; 200_000], [2]]);
    for _ in 0..2 {
        let reply = embed(&bed, &tokens, &json!({})).await;
        assert_eq!(
            (reply.status, reply.header("cache-status")),
            (200, "bowsprit; fwd=bypass; detail=too_large"),
            "{}",
            reply.text
        );
    }
    assert_eq!(count(&bed.openai), 2);
    assert_eq!(
        bed.metric(r#"bowsprit_embedding_cache_entries{route="vectors"}"#).await,
        0.0
    );
    bed.balanced().await;
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

#[tokio::test]
async fn of_what_many_want_at_once_each_input_is_asked_for_once() {
    let bed = bed_to("openai").await;
    bed.openai
        .always(Answer::default().head_delay(Duration::from_millis(300)));
    let all = ["a", "b", "c", "d"];
    // Batches that overlap in every way, so that each would wait for the others if it held what it has while it waits.
    let batches = (0..60).map(|place| {
        let input = json!([all[place % 4], all[(place + 1) % 4], all[(place * 3 + 2) % 4]]);
        let bed = &bed;
        async move { (input.clone(), embed(bed, &input, &json!({})).await) }
    });
    let replies = futures::future::join_all(batches).await;
    let mut asked_for: Vec<String> = bed
        .openai
        .seen()
        .requests
        .iter()
        .flat_map(|request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            body["input"].as_array().unwrap().clone()
        })
        .map(|input| input.as_str().unwrap().to_owned())
        .collect();
    asked_for.sort();
    assert_eq!(asked_for, all, "each once");
    let whole = embed(&bed, &json!(all), &json!({})).await;
    let known = vectors(&whole);
    for (input, reply) in &replies {
        assert_eq!(reply.status, 200, "{}", reply.text);
        let expected = input.as_array().unwrap().iter();
        let expected = expected.map(|input| known[all.iter().position(|known| input == known).unwrap()].clone());
        assert_eq!(vectors(reply), expected.collect::<Vec<_>>());
    }
    let shared = replies
        .iter()
        .filter(|(_, reply)| reply.header("x-bowsprit-cache") == "shared");
    assert!(shared.count() > 40);
    bed.balanced().await;
}

#[tokio::test]
async fn where_the_one_that_asks_for_an_input_fails_another_asks() {
    let bed = bed_to("openai").await;
    let slow = Duration::from_millis(300);
    bed.openai.script(Behaviour::status(500).delay(slow));
    bed.openai.always(Answer::default().head_delay(slow));
    let input = json!(["a"]);
    let more = json!({});
    let replies = futures::future::join_all((0..20).map(|_| embed(&bed, &input, &more))).await;
    let bad = replies.iter().filter(|reply| reply.status != 200).count();
    assert_eq!((bad, count(&bed.openai)), (1, 2));
    bed.balanced().await;
}

#[tokio::test]
async fn who_waits_longer_for_an_input_than_the_route_says_asks_for_itself() {
    let bed = bed_with("openai", &json!({"maxWait": "50ms"})).await;
    bed.openai.script(Behaviour::hang());
    let (input, more) = (json!(["a"]), json!({}));
    let first = embed(&bed, &input, &more);
    let second = async {
        saw(&bed.openai, |seen| seen.counts.requests == 1).await;
        embed(&bed, &json!(["a", "b"]), &json!({})).await
    };
    tokio::select! {
        reply = first => panic!("{}", reply.text),
        reply = second => assert_eq!(reply.status, 200, "{}", reply.text),
    }
    assert_eq!(asked(&bed.openai)["input"], json!(["a", "b"]));
}

#[tokio::test]
async fn what_came_of_the_first_parts_is_kept_though_the_last_one_failed() {
    let bed = bed_to("gemini").await;
    let inputs: Vec<String> = (0..250).map(|number| format!("text {number}")).collect();
    // A hundred at a time: the third part fails.
    bed.gemini.script(Behaviour::ok());
    bed.gemini.script(Behaviour::ok());
    bed.gemini.script(Behaviour::status(500));
    let failed = embed(&bed, &json!(inputs), &json!({})).await;
    assert_eq!((failed.status, count(&bed.gemini)), (502, 3), "{}", failed.text);
    let again = embed(&bed, &json!(inputs), &json!({})).await;
    assert_eq!((again.status, count(&bed.gemini)), (200, 4), "{}", again.text);
    assert_eq!(
        asked(&bed.gemini)["requests"].as_array().unwrap().len(),
        50,
        "only the rest"
    );
    assert_eq!(again.header("x-bowsprit-cache"), "partial; hits=200; misses=50");
    assert_eq!(vectors(&again).len(), 250);
    let alone = embed(&bed, &json!(["text 7"]), &json!({"encoding_format": "float"})).await;
    assert_eq!(vectors(&alone).len(), 1);
    bed.balanced().await;
}

#[tokio::test]
async fn a_vector_that_is_too_old_for_its_caller_is_asked_for_anew() {
    let bed = bed_to("openai").await;
    assert_eq!(embed(&bed, &json!(["a"]), &json!({})).await.status, 200);
    let body = json!({"model": "vectors", "input": ["a"], "dimensions": 8});
    let young = [("cache-control", "max-age=0")];
    assert_eq!(bed.post_as("/v1/embeddings", &body, &young).await.status, 200);
    assert_eq!(count(&bed.openai), 2);
    bed.balanced().await;
}
