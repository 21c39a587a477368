use bowsprit_providers::{Answer, Api, Provider, Tokens};
use serde_json::{Value, json};

use crate::client::{ANTHROPIC, Client, Response, ask, start};

async fn stream(provider: &Provider) -> Response {
    ask(provider, Api::Anthropic, true).await
}

fn names(response: &Response) -> Vec<String> {
    response.events().into_iter().map(|(name, _)| name).collect()
}

#[tokio::test]
async fn a_plain_message_has_the_shape_and_headers_of_the_real_one() {
    let response = ask(&start(), Api::Anthropic, false).await;
    let body = response.json();
    assert!(response.header("request-id").unwrap().starts_with("req_011C"));
    assert_eq!(response.header("anthropic-ratelimit-requests-limit"), Some("4000"));
    assert!(
        response
            .header("anthropic-ratelimit-tokens-reset")
            .unwrap()
            .ends_with('Z')
    );
    assert!(body["id"].as_str().unwrap().starts_with("msg_01"));
    assert_eq!((&body["type"], &body["role"]), (&json!("message"), &json!("assistant")));
    assert_eq!(
        body["content"],
        json!([{"type": "text", "text": "Hello from anthropic (claude-test): ahoy there"}])
    );
    assert_eq!(body["stop_reason"], "end_turn");
    assert!(body["usage"]["input_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_streamed_message_has_every_event_in_order() {
    let provider = start();
    provider.script(Answer::new("one two").usage(Tokens {
        output: Some(9),
        ..Tokens::default()
    }));
    let response = stream(&provider).await;
    let expected = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names(&response), expected);
    let data = response.data();
    assert_eq!(data[0]["message"]["content"], json!([]));
    assert_eq!(data[0]["message"]["usage"]["output_tokens"], 1);
    assert_eq!(data[4]["delta"], json!({"type": "text_delta", "text": "two"}));
    assert_eq!(data[6]["delta"]["stop_reason"], "end_turn");
    assert_eq!(data[6]["usage"]["output_tokens"], 9);
}

#[tokio::test]
async fn thinking_text_and_tools_are_blocks_of_their_own() {
    let answer = || Answer {
        thinking: Some("hm hm".into()),
        ..Answer::new("so").tool_call("t", json!({"a": [1, 2]}))
    };
    let provider = start();
    provider.script(answer());
    let plain = ask(&provider, Api::Anthropic, false).await.json();
    let kinds: Vec<&Value> = plain["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| &block["type"])
        .collect();
    assert_eq!(kinds, ["thinking", "text", "tool_use"]);
    assert!(!plain["content"][0]["signature"].as_str().unwrap().is_empty());
    assert_eq!(plain["content"][2]["input"], json!({"a": [1, 2]}));
    assert_eq!(plain["stop_reason"], "tool_use");

    provider.script(answer());
    let data = stream(&provider).await.data();
    let starts: Vec<&Value> = data
        .iter()
        .filter(|event| event["type"] == "content_block_start")
        .collect();
    assert_eq!(
        starts
            .iter()
            .map(|start| start["index"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    let deltas = |kind: &str, field: &str| -> String {
        data.iter()
            .filter(|event| event["delta"]["type"] == kind)
            .map(|event| event["delta"][field].as_str().unwrap())
            .collect()
    };
    assert_eq!(deltas("thinking_delta", "thinking"), "hm hm");
    assert!(!deltas("signature_delta", "signature").is_empty());
    assert_eq!(deltas("input_json_delta", "partial_json"), r#"{"a":[1,2]}"#);
}

#[tokio::test]
async fn cached_tokens_are_beside_the_input_not_in_it() {
    let provider = start();
    provider.script(Answer::default().usage(Tokens {
        input: Some(100),
        output: Some(5),
        cached: 70,
        cache_write: 20,
        reasoning: 0,
    }));
    let usage = ask(&provider, Api::Anthropic, false).await.json()["usage"].clone();
    assert_eq!(
        (
            &usage["input_tokens"],
            &usage["cache_read_input_tokens"],
            &usage["cache_creation_input_tokens"]
        ),
        (&json!(10), &json!(70), &json!(20))
    );
}

#[tokio::test]
async fn tokens_are_counted_without_an_answer() {
    let provider = start();
    let body = json!({"model": "claude-test", "messages": [{"role": "user", "content": "ahoy"}]}).to_string();
    let mut client = Client::connect(&provider).await;
    let counted = client
        .exchange("POST", "/v1/messages/count_tokens", &ANTHROPIC, &body)
        .await
        .json();
    assert_eq!(counted, json!({"input_tokens": body.len().div_ceil(4)}));
}

#[tokio::test]
async fn a_request_that_the_real_one_refuses_is_refused() {
    let provider = start();
    let mut client = Client::connect(&provider).await;
    let messages = json!([{"role": "user", "content": "x"}]);
    for (body, expected) in [
        (
            json!({"model": "c", "messages": messages}),
            "max_tokens: Field required",
        ),
        (
            json!({"model": "c", "max_tokens": 1, "messages": []}),
            "messages: at least one message is required",
        ),
        (json!({"max_tokens": 1, "messages": messages}), "model: Field required"),
        (
            json!({"model": "c", "max_tokens": 1, "messages": [{"role": "system", "content": "x"}]}),
            "messages.0.role",
        ),
    ] {
        let response = client
            .exchange("POST", "/v1/messages", &ANTHROPIC, &body.to_string())
            .await;
        let message = response.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(response.status == 400 && message.contains(expected), "{message}");
    }
    let response = client.exchange("POST", "/v1/messages", &ANTHROPIC[..1], "{}").await;
    assert_eq!(
        response.json()["error"]["message"],
        "anthropic-version: header is required"
    );
}

#[tokio::test]
async fn a_system_message_between_the_turns_is_for_those_who_name_the_beta() {
    let provider = start();
    let turns = json!([{"role": "user", "content": "ahoy"}, {"role": "system", "content": "Be brief."}]);
    let body = json!({"model": "claude-test", "max_tokens": 9, "messages": turns}).to_string();
    let mut client = Client::connect(&provider).await;
    let [key, version] = ANTHROPIC;
    let refused = client.exchange("POST", "/v1/messages", &[key, version], &body).await;
    assert_eq!(refused.status, 400);
    let beta = ("anthropic-beta", "per-turn-control-2026-07-01");
    let answered = client
        .exchange("POST", "/v1/messages", &[key, version, beta], &body)
        .await;
    assert_eq!(answered.status, 200);
}

#[tokio::test]
async fn a_chosen_signature_signs_the_thought() {
    let provider = start();
    provider.script(Answer {
        thinking: Some("hm".into()),
        signature: Some("proof".into()),
        ..Answer::new("so")
    });
    let body = ask(&provider, Api::Anthropic, false).await.json();
    assert_eq!(body["content"][0]["signature"], "proof");
}

#[tokio::test]
async fn a_batch_ends_at_once_and_has_the_same_results_however_often_they_are_fetched() {
    let provider = start();
    let mut client = Client::connect(&provider).await;
    let path = "/v1/messages/batches";
    let request = |id: &str, content: &str| {
        let params =
            json!({"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": content}]});
        json!({"custom_id": id, "params": params})
    };
    let body = json!({"requests": [request("a", "ahoy"), request("b", "there")]});
    let made = client
        .exchange("POST", path, &ANTHROPIC, &body.to_string())
        .await
        .json();
    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("msgbatch_01"));
    assert_eq!(
        (
            &made["type"],
            &made["processing_status"],
            &made["request_counts"]["processing"],
            &made["results_url"]
        ),
        (&json!("message_batch"), &json!("in_progress"), &json!(2), &Value::Null)
    );
    let ended = client
        .exchange("GET", &format!("{path}/{id}"), &ANTHROPIC, "")
        .await
        .json();
    assert_eq!(
        (&ended["processing_status"], &ended["request_counts"]["succeeded"]),
        (&json!("ended"), &json!(2))
    );
    let results = format!("{path}/{id}/results");
    let first = client.exchange("GET", &results, &ANTHROPIC, "").await;
    assert_eq!(first.header("content-type"), Some("application/x-jsonl"));
    let text = first.text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[1]["custom_id"]), (2, &json!("b")));
    let message = &lines[1]["result"]["message"];
    assert_eq!(lines[1]["result"]["type"], "succeeded");
    assert_eq!(
        (&message["model"], &message["usage"]["service_tier"]),
        (&json!("claude-haiku-4-5"), &json!("batch"))
    );
    assert_eq!(
        message["content"][0]["text"],
        "Hello from anthropic (claude-haiku-4-5): there"
    );
    let again = client.exchange("GET", &results, &ANTHROPIC, "").await;
    assert_eq!(again.text(), text);
    let other = client
        .exchange("GET", &format!("{path}/msgbatch_x/results"), &ANTHROPIC, "")
        .await;
    assert_eq!(other.status, 404);
    let none = client.exchange("POST", path, &ANTHROPIC, "{}").await;
    assert_eq!(none.status, 400);
}
