//! Every route, plain and streamed, to every provider.

use serde_json::{Value, json};

use crate::support::{Bed, Reply, chat, contents, message};

const MODELS: [(&str, &str); 3] = [
    ("claude-sonnet-4-5", "claude"),
    ("gemini-2.5-flash", "gemini"),
    ("gpt-4.1-mini", "openai"),
];

#[tokio::test]
async fn an_openai_caller_is_answered_by_every_provider() {
    let bed = Bed::new().await;
    for (model, provider) in MODELS {
        let plain = bed.chat_with(model, false).await;
        assert_eq!((plain.status, plain.provider()), (200, provider), "{}", plain.text);
        let answer = plain.json();
        assert_eq!(answer["object"], "chat.completion");
        assert_eq!(answer["model"], model);
        assert!(plain.content().contains("hello"), "{}", plain.text);
        assert!(answer["usage"]["total_tokens"].as_u64().unwrap() > 0);
        let streamed = bed.chat_with(model, true).await;
        assert_eq!((streamed.status, streamed.provider()), (200, provider));
        assert!(streamed.header("content-type").starts_with("text/event-stream"));
        assert_eq!(streamed.events().last(), Some(&"[DONE]"));
        assert!(streamed.content().contains("hello"), "{}", streamed.text);
        assert!(
            !streamed.text.contains("\"usage\":{"),
            "usage was not asked for: {}",
            streamed.text
        );
    }
    bed.balanced().await;
}

#[tokio::test]
async fn an_anthropic_caller_is_answered_by_every_provider() {
    let bed = Bed::new().await;
    for (model, provider) in MODELS {
        let post = |stream| {
            bed.post("/v1/messages", &message(model, stream))
                .header("anthropic-version", "2023-06-01")
        };
        let plain = Reply::of(post(false).send().await.unwrap()).await;
        assert_eq!((plain.status, plain.provider()), (200, provider), "{}", plain.text);
        assert_eq!(plain.json()["type"], "message");
        assert!(plain.json()["content"][0]["text"].as_str().unwrap().contains("hello"));
        let streamed = Reply::of(post(true).send().await.unwrap()).await;
        assert_eq!((streamed.status, streamed.provider()), (200, provider));
        assert!(streamed.text.contains("event: message_start") && streamed.text.contains("event: message_stop"));
    }
    bed.balanced().await;
}

#[tokio::test]
async fn a_gemini_caller_is_answered_by_every_provider() {
    let bed = Bed::new().await;
    for (model, provider) in MODELS {
        let plain = bed.post(&format!("/v1beta/models/{model}:generateContent"), &contents());
        let plain = Reply::of(plain.send().await.unwrap()).await;
        assert_eq!((plain.status, plain.provider()), (200, provider), "{}", plain.text);
        assert!(
            plain.json()["candidates"][0]["content"]["parts"][0]["text"]
                .as_str()
                .unwrap()
                .contains("hello")
        );
        let streamed = bed.post(
            &format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            &contents(),
        );
        let streamed = Reply::of(streamed.send().await.unwrap()).await;
        assert_eq!((streamed.status, streamed.provider()), (200, provider));
        let last: Value = serde_json::from_str(streamed.events().last().unwrap()).unwrap();
        assert_eq!(last["candidates"][0]["finishReason"], "STOP", "{}", streamed.text);
    }
    bed.balanced().await;
}

#[tokio::test]
async fn a_gemini_stream_without_alt_sse_is_the_json_array_that_google_sends() {
    let bed = Bed::new().await;
    let path = |model| format!("/v1beta/models/{model}:streamGenerateContent");
    let own = Reply::of(bed.post(&path("gemini-2.5-flash"), &contents()).send().await.unwrap()).await;
    assert_eq!(own.status, 200, "{}", own.text);
    assert!(own.json().as_array().unwrap().len() > 1, "{}", own.text);
    assert_eq!(
        bed.gemini.requests()[0].path,
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn the_same_dialect_passes_byte_for_byte() {
    let bed = Bed::new().await;
    // Odd spacing, unknown fields, a duplicate-looking nested model: nothing may be touched.
    let body = "{ \"model\" :\"gpt-4.1-mini\",\"x_unknown\":[1, 2,3],\"messages\":[{\"role\":\"user\",\"content\":\"h\\u00e9\"}],\"metadata\":{\"model\":\"no\"}}";
    let request = bed.post("/v1/chat/completions", &Value::Null).body(body);
    let reply = Reply::of(request.send().await.unwrap()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(bed.openai.requests()[0].body, body.as_bytes());
}

#[tokio::test]
async fn an_alias_changes_the_model_and_nothing_else() {
    let bed = Bed::new().await;
    let body = "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}] , \"model\": \"openai-alias\", \"seed\":1}";
    let reply = Reply::of(
        bed.post("/v1/chat/completions", &Value::Null)
            .body(body)
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(
        bed.openai.requests()[0].body,
        body.replace("openai-alias", "gpt-4.1-mini").as_bytes()
    );
}

#[tokio::test]
async fn usage_is_counted_in_streams_whose_caller_did_not_ask_for_it() {
    let bed = Bed::new().await;
    for (model, provider) in MODELS {
        bed.chat_with(model, true).await;
        let series = format!("bowsprit_tokens_total{{provider=\"{provider}\",model=\"{model}\",kind=\"output\"}}");
        assert!(bed.metric(&series).await > 0.0, "{provider}");
    }
    let asked: Value = bed.openai.requests()[0].json();
    assert_eq!(asked["stream_options"]["include_usage"], true);
}

#[tokio::test]
async fn usage_that_was_asked_for_arrives() {
    let bed = Bed::new().await;
    for (model, _) in MODELS {
        let mut body = chat(model, true);
        body["stream_options"] = json!({"include_usage": true});
        let reply = Reply::of(bed.post("/v1/chat/completions", &body).send().await.unwrap()).await;
        assert!(reply.text.contains("\"usage\":{"), "{model}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_model_route_sends_a_virtual_model_to_its_targets_and_then_to_its_fallback() {
    let targets = json!({
        "targets": [{"provider": "gemini", "weight": 1}, {"provider": "openai", "weight": 1}],
        "fallback": [{"provider": "claude"}],
    });
    let bed = Bed::routed(targets, |_, _| {}).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let reply = bed.chat_with("smart", false).await;
        assert!(
            !reply.header("x-bowsprit-model").is_empty(),
            "the model that really answered is told"
        );
        seen.insert(reply.provider().to_owned());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["gemini", "openai"]);
    crate::support::failing(&bed.gemini, 500);
    crate::support::failing(&bed.openai, 500);
    assert_eq!(bed.chat_with("smart", true).await.provider(), "claude");
    bed.balanced().await;
}

#[tokio::test]
async fn models_are_listed_from_the_configuration_without_asking_anybody() {
    let bed = Bed::new().await;
    let openai = Reply::of(bed.get("/v1/models").send().await.unwrap()).await.json();
    let ids: Vec<&str> = openai["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert!(
        ids.contains(&"claude-sonnet-4-5") && ids.contains(&"openai-alias"),
        "{ids:?}"
    );
    let anthropic = bed
        .get("/v1/models")
        .header("anthropic-version", "2023-06-01")
        .send()
        .await
        .unwrap();
    assert_eq!(Reply::of(anthropic).await.json()["data"][0]["type"], "model");
    let gemini = Reply::of(bed.get("/v1beta/models").send().await.unwrap()).await.json();
    assert_eq!(gemini["models"][0]["name"], "models/claude-sonnet-4-5");
    let one = Reply::of(bed.get("/v1/models/gpt-4.1-mini").send().await.unwrap()).await;
    assert_eq!(one.json()["owned_by"], "openai");
    let none = Reply::of(bed.get("/v1/models/gpt-9").send().await.unwrap()).await;
    assert_eq!(
        (none.status, none.json()["error"]["bowsprit_code"].as_str()),
        (404, Some("RES_MODEL_NOT_FOUND"))
    );
    assert_eq!(
        bed.claude.requests().len() + bed.openai.requests().len() + bed.gemini.requests().len(),
        0
    );
    bed.balanced().await;
}
