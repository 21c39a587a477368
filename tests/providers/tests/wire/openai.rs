use base64::Engine as _;
use bowsprit_providers::{Answer, Api, Tokens};
use serde_json::{Value, json};

use crate::client::{ANTHROPIC, BEARER, Client, End, Response, ask, start};

async fn post(path: &str, answer: Answer, body: Value) -> Response {
    let provider = start();
    provider.script(answer);
    Client::connect(&provider)
        .await
        .exchange("POST", path, &[BEARER], &body.to_string())
        .await
}

fn question(more: &Value) -> Value {
    let mut body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "ahoy"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_plain_completion_names_who_answered_and_counts_its_tokens() {
    let response = ask(&start(), Api::OpenAi, false).await;
    let body = response.json();
    assert_eq!((response.status, response.end), (200, End::Complete));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert!(response.header("x-request-id").unwrap().starts_with("req_"));
    assert_eq!(response.header("x-ratelimit-reset-requests"), Some("6ms"));
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(body["object"], "chat.completion");
    let message = &body["choices"][0]["message"];
    assert_eq!(message["content"], "Hello from openai (gpt-test): ahoy there");
    assert_eq!(message["refusal"], Value::Null);
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let sum = body["usage"]["prompt_tokens"].as_u64().unwrap() + body["usage"]["completion_tokens"].as_u64().unwrap();
    assert_eq!(body["usage"]["total_tokens"], sum);
}

#[tokio::test]
async fn the_same_place_in_the_sequence_gives_the_same_answer() {
    assert_eq!(
        ask(&start(), Api::OpenAi, false).await.body,
        ask(&start(), Api::OpenAi, false).await.body
    );
}

#[tokio::test]
async fn a_stream_ends_with_usage_only_where_asked_and_then_done() {
    let usage = Tokens {
        input: Some(30),
        output: Some(12),
        cached: 10,
        reasoning: 4,
        ..Tokens::default()
    };
    let answer = || Answer::new("one two three").usage(usage);
    let asked = json!({"stream": true, "stream_options": {"include_usage": true}});
    let response = post("/v1/chat/completions", answer(), question(&asked)).await;
    assert_eq!(
        response.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(response.events().last().unwrap().1, "[DONE]");
    let chunks = response.data();
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "one two three");
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
    let last = chunks.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["total_tokens"], 42);
    assert_eq!(last["usage"]["prompt_tokens_details"]["cached_tokens"], 10);
    assert_eq!(last["usage"]["completion_tokens_details"]["reasoning_tokens"], 4);
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["id"] == last["id"] && chunk["object"] == "chat.completion.chunk")
    );
    assert!(chunks[..chunks.len() - 1].iter().all(|chunk| chunk["usage"].is_null()));

    let response = post("/v1/chat/completions", answer(), question(&json!({"stream": true}))).await;
    assert!(response.data().iter().all(|chunk| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn tool_calls_come_whole_or_in_pieces_with_index_and_id() {
    let answer = || {
        Answer::default()
            .tool_call("get_weather", json!({"city": "Ghent"}))
            .tool_call("get_time", json!({"zone": "Europe/Brussels"}))
    };
    let plain = post("/v1/chat/completions", answer(), question(&json!({})))
        .await
        .json();
    let choice = &plain["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
    assert_eq!(choice["message"]["tool_calls"][1]["function"]["name"], "get_time");
    assert!(
        choice["message"]["tool_calls"][0]["id"]
            .as_str()
            .unwrap()
            .starts_with("call_")
    );

    let streamed = post("/v1/chat/completions", answer(), question(&json!({"stream": true}))).await;
    let mut arguments = [String::new(), String::new()];
    for delta in streamed
        .data()
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].get(0).cloned())
    {
        let index = usize::try_from(delta["index"].as_u64().unwrap()).unwrap();
        arguments[index].push_str(delta["function"]["arguments"].as_str().unwrap());
    }
    assert_eq!(arguments, [r#"{"city":"Ghent"}"#, r#"{"zone":"Europe/Brussels"}"#]);
}

#[tokio::test]
async fn a_tool_call_without_a_name_takes_the_first_tool_offered() {
    let answer = Answer {
        tool_calls: vec![bowsprit_providers::ToolCall::default()],
        ..Answer::default()
    };
    let tools = json!({"tools": [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]});
    let body = post("/v1/chat/completions", answer, question(&tools)).await.json();
    assert_eq!(
        body["choices"][0]["message"]["tool_calls"][0]["function"]["name"],
        "look_up"
    );
}

#[tokio::test]
async fn several_choices_are_numbered() {
    let plain = post("/v1/chat/completions", Answer::new("x"), question(&json!({"n": 3})))
        .await
        .json();
    assert_eq!(plain["choices"].as_array().unwrap().len(), 3);
    assert_eq!(plain["choices"][2]["index"], 2);
    let streamed = post(
        "/v1/chat/completions",
        Answer::new("x"),
        question(&json!({"n": 2, "stream": true})),
    )
    .await;
    let ends = streamed
        .data()
        .iter()
        .filter(|chunk| chunk["choices"][0]["finish_reason"] == "stop")
        .count();
    assert_eq!(ends, 2);
}

#[tokio::test]
async fn custom_tools_grouped_ones_and_searches_are_called_as_the_api_has_them() {
    let patch = "*** Begin Patch\n*** End Patch";
    let calls: Answer = serde_json::from_value(json!({"tool_calls": [
        {"name": "apply_patch", "input": patch},
        {"name": "spawn", "namespace": "crew", "arguments": {"who": "mate"}},
        {"name": "tool_search", "search": true, "arguments": {"query": "tide"}},
    ]}))
    .unwrap();
    let body = json!({"model": "gpt-4o", "input": "ahoy", "stream": true});
    let data = post("/v1/responses", calls.clone(), body).await.data();
    let of = |name: &str| data.iter().filter(|event| event["type"] == name).collect::<Vec<_>>();
    let pieces: String = of("response.custom_tool_call_input.delta")
        .iter()
        .map(|event| event["delta"].as_str().unwrap())
        .collect();
    assert_eq!(pieces, patch);
    assert_eq!(of("response.custom_tool_call_input.done")[0]["input"], patch);
    let output = &data.last().unwrap()["response"]["output"];
    assert_eq!(
        (&output[0]["type"], &output[0]["input"], &output[0]["namespace"]),
        (&json!("custom_tool_call"), &json!(patch), &Value::Null)
    );
    assert_eq!(
        (&output[1]["type"], &output[1]["name"], &output[1]["namespace"]),
        (&json!("function_call"), &json!("spawn"), &json!("crew"))
    );
    assert_eq!(
        (&output[2]["type"], &output[2]["arguments"]),
        (&json!("tool_search_call"), &json!({"query": "tide"}))
    );

    // Where there are no such tools, a function stands for them.
    let plain = post("/v1/chat/completions", calls, question(&json!({}))).await.json();
    assert_eq!(
        plain["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"],
        json!({"input": patch}).to_string()
    );
}

#[tokio::test]
async fn responses_are_answered_plain_and_as_numbered_events() {
    let body =
        json!({"model": "gpt-4o", "input": [{"role": "user", "content": [{"type": "input_text", "text": "ahoy"}]}]});
    let plain = post("/v1/responses", Answer::default(), body).await.json();
    assert_eq!(
        (&plain["object"], &plain["status"]),
        (&json!("response"), &json!("completed"))
    );
    assert_eq!(
        plain["output"][0]["content"][0]["text"],
        "Hello from openai (gpt-4o): ahoy"
    );

    let body = json!({"model": "gpt-4o", "input": "ahoy", "stream": true});
    let answer = Answer::new("one two").tool_call("t", json!({"a": 1}));
    let response = post("/v1/responses", answer, body).await;
    let events = response.events();
    let data = response.data();
    assert_eq!(data.len(), events.len());
    for (place, (event, (name, _))) in data.iter().zip(&events).enumerate() {
        assert_eq!(
            (&event["type"], &event["sequence_number"]),
            (&json!(name), &json!(place))
        );
    }
    let of = |name: &str| data.iter().filter(|event| event["type"] == name).collect::<Vec<_>>();
    let text: String = of("response.output_text.delta")
        .iter()
        .map(|event| event["delta"].as_str().unwrap())
        .collect();
    assert_eq!(text, "one two");
    assert_eq!(
        of("response.function_call_arguments.done")[0]["arguments"],
        r#"{"a":1}"#
    );
    let last = data.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["output"][1]["type"], "function_call");
    assert!(last["response"]["usage"]["total_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn embeddings_come_as_numbers_or_packed_and_are_the_same() {
    let body = |format: &str| json!({"model": "text-embedding-3-small", "input": ["one", "two"], "dimensions": 8, "encoding_format": format});
    let plain = post("/v1/embeddings", Answer::default(), body("float")).await.json();
    let packed = post("/v1/embeddings", Answer::default(), body("base64")).await.json();
    assert_eq!(plain["data"].as_array().unwrap().len(), 2);
    assert_ne!(plain["data"][0]["embedding"], plain["data"][1]["embedding"]);
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(packed["data"][1]["embedding"].as_str().unwrap())
        .unwrap();
    let unpacked: Vec<f32> = bytes
        .chunks(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect();
    let listed: Vec<f32> = serde_json::from_value(plain["data"][1]["embedding"].clone()).unwrap();
    assert_eq!(unpacked, listed);
    assert_eq!(plain["usage"], json!({"prompt_tokens": 2, "total_tokens": 2}));
}

#[tokio::test]
async fn models_are_told_apart_by_the_anthropic_version() {
    let provider = start();
    let mut client = Client::connect(&provider).await;
    let openai = client.exchange("GET", "/v1/models", &[BEARER], "").await.json();
    assert_eq!(openai["data"][0]["object"], "model");
    let anthropic = client.exchange("GET", "/v1/models", &ANTHROPIC, "").await.json();
    assert_eq!(anthropic["data"][0]["type"], "model");
    assert_eq!(anthropic["has_more"], false);
    let one = client.exchange("GET", "/v1/models/gpt-4o", &[BEARER], "").await;
    assert_eq!((one.status, &one.json()["id"]), (200, &json!("gpt-4o")));
    let none = client.exchange("GET", "/v1/models/none", &[BEARER], "").await;
    assert_eq!(
        (none.status, &none.json()["error"]["code"]),
        (404, &json!("model_not_found"))
    );
    assert_eq!(provider.seen().connections, 1, "the connection is kept");
}

#[tokio::test]
async fn reasoning_is_an_item_before_the_text_and_encrypted_only_where_asked() {
    let answer = || Answer {
        thinking: Some("hm so".into()),
        signature: Some("proof".into()),
        ..Answer::new("one two")
    };
    let mut body = json!({"model": "gpt-5", "input": "ahoy", "stream": true});
    let data = post("/v1/responses", answer(), body.clone()).await.data();
    let of = |name: &str| data.iter().filter(|event| event["type"] == name).collect::<Vec<_>>();
    let deltas = of("response.reasoning_summary_text.delta");
    assert_eq!(
        (&deltas[0]["delta"], &deltas[1]["delta"]),
        (&json!("hm "), &json!("so"))
    );
    assert_eq!(of("response.output_item.added")[0]["item"]["summary"], json!([]));
    assert_eq!(
        of("response.output_item.done")[0]["item"]["encrypted_content"],
        Value::Null
    );
    body["stream"] = json!(false);
    body["include"] = json!(["reasoning.encrypted_content"]);
    let plain = post("/v1/responses", answer(), body).await.json();
    assert_eq!(plain["output"][0]["encrypted_content"], "proof");
    assert_eq!(plain["output"][1]["content"][0]["text"], "one two");
}

#[tokio::test]
async fn logprobs_come_with_the_pieces_where_asked() {
    let asked = json!({"logprobs": true, "top_logprobs": 1});
    let plain = post("/v1/chat/completions", Answer::new("one two"), question(&asked)).await;
    let tokens = &plain.json()["choices"][0]["logprobs"]["content"];
    assert_eq!(
        (&tokens[0]["token"], &tokens[1]["token"]),
        (&json!("one "), &json!("two"))
    );
    assert_eq!(tokens[0]["top_logprobs"][0]["logprob"], tokens[0]["logprob"]);
    let asked = json!({"logprobs": true, "stream": true});
    let stream = post("/v1/chat/completions", Answer::new("one two"), question(&asked)).await;
    let streamed: Vec<Value> = stream
        .data()
        .iter()
        .filter_map(|chunk| chunk.pointer("/choices/0/logprobs/content/0/logprob").cloned())
        .collect();
    assert_eq!(streamed, [tokens[0]["logprob"].clone(), tokens[1]["logprob"].clone()]);
}
