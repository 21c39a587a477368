use bowsprit_providers::{Answer, Api, Tokens};
use serde_json::{Value, json};

use crate::client::{Client, GOOG, ask, chat, start};

#[tokio::test]
async fn a_plain_answer_has_candidates_and_counts() {
    let body = ask(&start(), Api::Gemini, false).await.json();
    let candidate = &body["candidates"][0];
    assert_eq!(candidate["content"]["role"], "model");
    assert_eq!(
        candidate["content"]["parts"],
        json!([{"text": "Hello from gemini (gemini-test): ahoy there"}])
    );
    assert_eq!(
        (&candidate["finishReason"], &body["modelVersion"]),
        (&json!("STOP"), &json!("gemini-test"))
    );
    assert!(body["responseId"].as_str().is_some());
}

#[tokio::test]
async fn thoughts_are_counted_beside_the_candidates() {
    let provider = start();
    let usage = Tokens {
        input: Some(50),
        output: Some(30),
        cached: 5,
        reasoning: 20,
        cache_write: 0,
    };
    provider.script(Answer {
        thinking: Some("hm".into()),
        ..Answer::new("so").usage(usage)
    });
    let body = ask(&provider, Api::Gemini, false).await.json();
    assert_eq!(
        body["candidates"][0]["content"]["parts"][0],
        json!({"text": "hm", "thought": true})
    );
    let usage = &body["usageMetadata"];
    assert_eq!(
        [
            &usage["promptTokenCount"],
            &usage["candidatesTokenCount"],
            &usage["thoughtsTokenCount"],
            &usage["totalTokenCount"]
        ],
        [50, 10, 20, 80].map(|count| json!(count)).each_ref()
    );
    assert_eq!(usage["cachedContentTokenCount"], 5);
}

#[tokio::test]
async fn a_stream_of_events_uses_crlf_and_ends_with_the_finish_reason() {
    let provider = start();
    provider.script(Answer::new("one two").tool_call("t", json!({"a": 1})));
    let response = ask(&provider, Api::Gemini, true).await;
    assert_eq!(response.header("content-type"), Some("text/event-stream"));
    assert!(response.body.ends_with(b"\r\n\r\n"));
    let data = response.data();
    let texts: Vec<&Value> = data
        .iter()
        .map(|event| &event["candidates"][0]["content"]["parts"][0]["text"])
        .collect();
    assert_eq!(texts, [&json!("one "), &json!("two"), &Value::Null, &json!("")]);
    assert_eq!(
        data[2]["candidates"][0]["content"]["parts"][0]["functionCall"],
        json!({"name": "t", "args": {"a": 1}})
    );
    let finished: Vec<bool> = data
        .iter()
        .map(|event| event["candidates"][0]["finishReason"] == "STOP")
        .collect();
    assert_eq!(finished, [false, false, false, true]);
}

#[tokio::test]
async fn without_alt_sse_the_stream_is_one_json_array() {
    let provider = start();
    provider.script(Answer::new("one two"));
    let (path, headers, body) = chat(Api::Gemini, true);
    let path = path.strip_suffix("?alt=sse").unwrap();
    let response = Client::connect(&provider)
        .await
        .exchange("POST", path, &headers, &body)
        .await;
    assert_eq!(response.chunks.len(), 3, "an element a chunk");
    assert_eq!(response.json().as_array().unwrap().len(), 3);
    provider.script(bowsprit_providers::Behaviour::status(503));
    let response = Client::connect(&provider)
        .await
        .exchange("POST", path, &headers, &body)
        .await;
    assert_eq!(response.json()[0]["error"]["status"], "UNAVAILABLE");
}

#[tokio::test]
async fn tokens_embeddings_and_models_are_answered() {
    let provider = start();
    let mut client = Client::connect(&provider).await;
    let (_, _, body) = chat(Api::Gemini, false);
    let counted = client
        .exchange("POST", "/v1beta/models/g:countTokens", &[GOOG], &body)
        .await
        .json();
    assert_eq!(counted["totalTokens"], body.len().div_ceil(4));

    let one = json!({"content": {"parts": [{"text": "one"}]}, "outputDimensionality": 8});
    let single = client
        .exchange("POST", "/v1beta/models/e:embedContent", &[GOOG], &one.to_string())
        .await
        .json();
    assert_eq!(single["embedding"]["values"].as_array().unwrap().len(), 8);
    let many = json!({"requests": [one, one]}).to_string();
    let batch = client
        .exchange("POST", "/v1beta/models/e:batchEmbedContents", &[GOOG], &many)
        .await
        .json();
    assert_eq!(batch["embeddings"][1], single["embedding"]);

    let models = client.exchange("GET", "/v1beta/models", &[GOOG], "").await.json();
    assert_eq!(models["models"][1]["name"], "models/gemini-2.5-flash");
    let model = client
        .exchange("GET", "/v1beta/models/gemini-2.5-flash", &[GOOG], "")
        .await
        .json();
    assert_eq!(model["inputTokenLimit"], 1_048_576);
}

#[tokio::test]
async fn the_first_of_parallel_calls_is_signed_else_the_end_of_the_text() {
    let signed = |answer: Answer| Answer {
        signature: Some("cHJvb2Y=".into()),
        ..answer
    };
    let provider = start();
    provider.script(signed(
        Answer::new("so").tool_call("t", json!({})).tool_call("t", json!({})),
    ));
    provider.script(signed(Answer::new("one two")));
    let parts = |body: &Value| body["candidates"][0]["content"]["parts"].clone();
    let calls = parts(&ask(&provider, Api::Gemini, false).await.json());
    assert_eq!(
        [0, 1, 2].map(|place| calls[place]["thoughtSignature"].clone()),
        [Value::Null, json!("cHJvb2Y="), Value::Null]
    );
    let stream = ask(&provider, Api::Gemini, true).await.data();
    assert_eq!(parts(stream.last().unwrap())[0]["thoughtSignature"], "cHJvb2Y=");
}

#[tokio::test]
async fn candidates_and_logprobs_come_as_asked_and_empty_contents_are_refused() {
    let provider = start();
    provider.script(Answer::new("one two"));
    let config = json!({"candidateCount": 2, "responseLogprobs": true, "logprobs": 1});
    let mut client = Client::connect(&provider).await;
    let path = "/v1beta/models/gemini-2.5-flash:generateContent";
    let body = json!({"contents": [{"parts": [{"text": "ahoy"}]}], "generationConfig": config});
    let answer = client.exchange("POST", path, &[GOOG], &body.to_string()).await.json();
    assert_eq!(answer["candidates"][1]["index"], 1);
    let logprobs = &answer["candidates"][1]["logprobsResult"];
    assert_eq!(logprobs["chosenCandidates"][1]["token"], "two");
    assert_eq!(logprobs["topCandidates"][1]["candidates"][0]["token"], "two");
    let body = json!({"contents": [{"role": "user", "parts": []}]}).to_string();
    let refused = client.exchange("POST", path, &[GOOG], &body).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("contents.parts must not be empty"));
}
