//! Callers of OpenAI's Responses, with every provider behind the sidecar.

use bowsprit_providers::{Answer, Fault, Point};
use serde_json::{Value, json};

use crate::support::{Bed, Reply, count};

const MODELS: [(&str, &str); 3] = [
    ("claude-sonnet-4-5", "claude"),
    ("gemini-2.5-flash", "gemini"),
    ("gpt-4.1-mini", "openai"),
];

fn ask(model: &str, stream: bool, extra: &Value) -> Value {
    let mut body = json!({"model": model, "input": "hello", "stream": stream});
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn send(bed: &Bed, body: &Value) -> Reply {
    Reply::of(bed.post("/v1/responses", body).send().await.unwrap()).await
}

/// The events by their data; half of one, where a provider broke off, is none.
fn events(reply: &Reply) -> Vec<Value> {
    let events = reply.events();
    events
        .iter()
        .filter_map(|event| serde_json::from_str(event).ok())
        .collect()
}

fn said(reply: &Reply) -> String {
    let of_text = |event: &Value| event["type"] == "response.output_text.delta";
    let events = events(reply);
    let deltas = events.iter().filter(|event| of_text(event));
    deltas.map(|event| event["delta"].as_str().unwrap()).collect()
}

/// What a provider was asked last, and where.
fn asked(provider: &bowsprit_providers::Provider) -> (String, Value) {
    let seen = provider.seen();
    let request = seen.requests.back().unwrap();
    (request.path.clone(), serde_json::from_slice(&request.body).unwrap())
}

#[tokio::test]
async fn every_provider_answers_plainly_and_in_a_stream() {
    let bed = Bed::new().await;
    for provider in [&bed.claude, &bed.gemini, &bed.openai] {
        provider.always(Answer::new("Ahoy there"));
    }
    for (model, name) in MODELS {
        let reply = send(&bed, &ask(model, false, &json!({"temperature": 0.5}))).await;
        assert_eq!((reply.status, reply.provider()), (200, name), "{}", reply.text);
        let body = reply.json();
        assert_eq!(
            (&body["object"], &body["status"], &body["model"], &body["temperature"]),
            (&json!("response"), &json!("completed"), &json!(model), &json!(0.5)),
            "{name}"
        );
        assert_eq!(body["output"][0]["content"][0]["text"], "Ahoy there", "{name}");
        assert!(body["usage"]["output_tokens"].as_u64().unwrap() > 0, "{name}");

        let reply = send(&bed, &ask(model, true, &json!({}))).await;
        assert_eq!((reply.status, reply.provider()), (200, name), "{}", reply.text);
        assert!(reply.header("content-type").starts_with("text/event-stream"));
        assert_eq!(said(&reply), "Ahoy there", "{name}");
        let events = events(&reply);
        assert_eq!(events.first().unwrap()["type"], "response.created", "{name}");
        assert_eq!(events.last().unwrap()["type"], "response.completed", "{name}");
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], number, "{name}: {event}");
        }
    }
    assert!(
        bed.metric("bowsprit_requests_received_total{dialect=\"openai_responses\"}")
            .await
            == 6.0
    );
    bed.balanced().await;
}

#[tokio::test]
async fn openai_is_asked_in_its_own_words_and_the_others_in_theirs() {
    let bed = Bed::new().await;
    let extra = json!({"previous_response_id": "resp_1", "tools": [{"type": "web_search"}], "brand_new": {"x": 1.50}});
    let reply = send(&bed, &ask("openai-alias", false, &extra)).await;
    assert_eq!((reply.status, reply.provider()), (200, "openai"), "{}", reply.text);
    let (path, body) = asked(&bed.openai);
    assert_eq!(path, "/v1/responses");
    assert_eq!(
        body,
        ask("gpt-4.1-mini", false, &extra),
        "only the model's name changed"
    );
    assert_eq!(reply.header("x-bowsprit-warning"), "");

    let reply = send(&bed, &ask("claude-sonnet-4-5", false, &json!({"store": true}))).await;
    assert_eq!((reply.status, asked(&bed.claude).0.as_str()), (200, "/v1/messages"));
    assert_eq!(reply.header("x-bowsprit-warning"), "not carried to claude: store");
}

#[tokio::test]
async fn a_compatible_server_is_asked_for_chat_completions() {
    let bed = Bed::with(|name, spec| {
        if name == "openai" {
            spec["provider"] = json!("OpenAICompatible");
        }
    })
    .await;
    bed.openai.always(Answer::new("Ahoy"));
    for stream in [false, true] {
        let reply = send(&bed, &ask("gpt-4.1-mini", stream, &json!({}))).await;
        assert_eq!((reply.status, reply.provider()), (200, "openai"), "{}", reply.text);
        assert_eq!(asked(&bed.openai).0, "/v1/chat/completions");
        assert!(reply.text.contains("Ahoy") && reply.text.contains("resp_bowsprit_"));
    }
}

#[tokio::test]
async fn a_compatible_server_never_sees_allowed_tools() {
    let bed = Bed::with(|name, spec| {
        if name == "openai" {
            spec["provider"] = json!("OpenAICompatible");
        }
    })
    .await;
    let own = Bed::new().await;
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    let allowed = json!({"mode": "auto", "tools": [tool("a"), tool("b")]});
    let chat = json!({
        "model": "gpt-4.1-mini",
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [tool("a"), tool("b"), tool("c")],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed},
    });
    for bed in [&bed, &own] {
        bed.openai.always(Answer::new("Ahoy"));
        let reply = Reply::of(bed.post("/v1/chat/completions", &chat).send().await.unwrap()).await;
        assert_eq!((reply.status, reply.provider()), (200, "openai"), "{}", reply.text);
    }
    let (_, sent) = asked(&bed.openai);
    assert_eq!(
        (&sent["tool_choice"], &sent["tools"]),
        (&json!("auto"), &json!([tool("a"), tool("b")]))
    );
    assert_eq!(asked(&own.openai).1, chat, "OpenAI itself gets the body as it came");
}

#[tokio::test]
async fn tools_are_called_and_answered_through_every_provider() {
    let bed = Bed::new().await;
    let tools = json!([{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}, "strict": false}]);
    for (model, name) in MODELS {
        let provider = match name {
            "claude" => &bed.claude,
            "gemini" => &bed.gemini,
            _ => &bed.openai,
        };
        provider.always(
            Answer::default()
                .tool_call("weather", json!({"city": "Oslo"}))
                .tool_call("weather", json!({"city": "Brest"})),
        );
        let mut output = Vec::new();
        for stream in [false, true] {
            let body = ask(model, stream, &json!({"tools": tools, "tool_choice": "required"}));
            let reply = send(&bed, &body).await;
            assert_eq!((reply.status, reply.provider()), (200, name), "{}", reply.text);
            let response = if stream {
                events(&reply).last().unwrap()["response"].clone()
            } else {
                reply.json()
            };
            output = response["output"].as_array().unwrap().clone();
            let cities: Vec<Value> = output
                .iter()
                .filter(|item| item["type"] == "function_call")
                .map(|item| serde_json::from_str::<Value>(item["arguments"].as_str().unwrap()).unwrap()["city"].clone())
                .collect();
            assert_eq!(cities, ["Oslo", "Brest"], "{name}: {response}");
        }
        // The whole output goes back, as SDKs send it, with what the tools said.
        let mut input = vec![json!({"role": "user", "content": "Weather?"})];
        input.extend(output.iter().cloned());
        for call in output.iter().filter(|item| item["type"] == "function_call") {
            input.push(json!({"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}));
        }
        provider.always(Answer::new("It rains."));
        let reply = send(&bed, &ask(model, false, &json!({"input": input, "tools": tools}))).await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.text);
        let (_, sent) = asked(provider);
        assert_eq!(sent.to_string().matches("rain").count(), 2, "{name}: {sent}");
    }
    bed.balanced().await;
}

#[tokio::test]
async fn a_thought_comes_back_to_who_thought_it_and_to_nobody_else() {
    let bed = Bed::new().await;
    bed.claude.always(Answer {
        thinking: Some("They greet.".into()),
        ..Answer::new("Ahoy")
    });
    let reply = send(&bed, &ask("claude-sonnet-4-5", true, &json!({}))).await;
    let response = events(&reply).last().unwrap()["response"].clone();
    assert_eq!(response["output"][0]["summary"][0]["text"], "They greet.", "{response}");
    let mut input = vec![json!({"role": "user", "content": "hello"})];
    input.extend(response["output"].as_array().unwrap().iter().cloned());
    input.push(json!({"role": "user", "content": "again"}));
    let again = |model: &str| ask(model, false, &json!({"input": input}));

    assert_eq!(send(&bed, &again("claude-sonnet-4-5")).await.status, 200);
    let thought = &asked(&bed.claude).1["messages"][1]["content"][0];
    assert_eq!(thought["thinking"], "They greet.");
    assert!(!thought["signature"].as_str().unwrap().is_empty());

    let reply = send(&bed, &again("gpt-4.1-mini")).await;
    assert_eq!(reply.status, 200);
    let (_, sent) = asked(&bed.openai);
    assert_eq!(sent["input"].as_array().unwrap().len(), 3, "{sent}");
    assert!(!sent.to_string().contains("reasoning"), "{sent}");
    assert_eq!(reply.header("x-bowsprit-warning"), "not carried to openai: input[1]");
}

#[tokio::test]
async fn an_error_before_any_content_falls_over() {
    for fault in [
        Fault::ErrorEvent {
            after: 0,
            code: 529,
            kind: None,
        },
        Fault::Reset {
            at: Point::AfterChunks(0),
        },
        Fault::TruncatedChunked { after: 0 },
    ] {
        // From Anthropic's to Gemini's, and from OpenAI's own events to Claude.
        for (model, first, second) in [
            ("claude-sonnet-4-5", "claude", "gemini"),
            ("gpt-4.1-mini", "openai", "claude"),
        ] {
            let bed = Bed::new().await;
            let provider = if first == "claude" { &bed.claude } else { &bed.openai };
            provider.always(Answer::new("never seen").fault(fault.clone()));
            let reply = send(&bed, &ask(model, true, &json!({}))).await;
            assert_eq!(
                (reply.status, reply.provider()),
                (200, second),
                "{fault:?} {first}: {}",
                reply.text
            );
            let events = events(&reply);
            assert_eq!(events.last().unwrap()["type"], "response.completed");
            let begun = |event: &&Value| event["type"] == "response.created";
            assert_eq!(
                events.iter().filter(begun).count(),
                1,
                "start-up events of the first are not seen"
            );
            bed.balanced().await;
        }
    }
}

#[tokio::test]
async fn a_cut_stream_ends_with_an_error_and_never_as_completed() {
    for cut in [
        Fault::Reset {
            at: Point::AfterChunks(2),
        },
        Fault::Reset { at: Point::MidChunk(2) },
        Fault::EarlyFin { after: 2 },
        Fault::NoFinish,
        Fault::ErrorEvent {
            after: 2,
            code: 529,
            kind: None,
        },
    ] {
        for (model, name) in MODELS {
            let bed = Bed::new().await;
            for scripted in [&bed.claude, &bed.gemini, &bed.openai] {
                scripted.always(Answer::new("one two three four five").fault(cut.clone()));
            }
            let reply = send(&bed, &ask(model, true, &json!({}))).await;
            assert_eq!((reply.status, reply.provider()), (200, name), "{cut:?}");
            assert!(reply.complete && said(&reply).starts_with("one"), "{cut:?} {name}");
            assert!(
                !reply.text.contains("response.completed"),
                "{cut:?} {name}: {}",
                reply.text
            );
            let events = events(&reply);
            let error = events.iter().find(|event| event["type"] == "error").unwrap();
            assert!(
                error["code"].is_string() && error["error"]["message"].is_string(),
                "{error}"
            );
            let last = events.last().unwrap();
            // The response object is ours to end only where it was ours to begin.
            let expected = if name == "openai" { "error" } else { "response.failed" };
            assert_eq!(last["type"], expected, "{cut:?} {name}");
            assert_eq!(
                count(&bed.claude) + count(&bed.gemini) + count(&bed.openai),
                1,
                "nothing is tried again"
            );
            bed.balanced().await;
        }
    }
}

#[tokio::test]
async fn a_failed_response_in_a_200_is_no_success() {
    let bed = Bed::new().await;
    bed.openai.always(bowsprit_providers::Behaviour::ErrorIn200);
    let reply = send(&bed, &ask("gpt-4.1-mini", false, &json!({}))).await;
    assert_eq!((reply.status, reply.provider()), (200, "claude"), "{}", reply.text);
    assert_eq!(reply.json()["status"], "completed");
}

#[tokio::test]
async fn what_only_openai_can_do_is_a_400_with_its_path_where_openai_is_not_asked() {
    let bed = Bed::with(|name, spec| {
        if name == "openai" {
            *spec = Value::Null;
        }
    })
    .await;
    let body = ask("claude-sonnet-4-5", false, &json!({"previous_response_id": "resp_1"}));
    let reply = send(&bed, &body).await;
    let error = &reply.json()["error"];
    assert_eq!(
        (reply.status, &error["code"], &error["param"]),
        (400, &json!("unsupported_parameter"), &json!("previous_response_id")),
        "{}",
        reply.text
    );
    assert_eq!(error["bowsprit_code"], "VAL_UNSUPPORTED");
    assert!(error["message"].as_str().unwrap().contains("send the whole history"));
    bed.balanced().await;
}

#[tokio::test]
async fn a_request_that_one_provider_cannot_carry_goes_to_the_one_that_can() {
    let bed = Bed::new().await;
    let extra = json!({"previous_response_id": "resp_1"});
    let reply = send(&bed, &ask("claude-sonnet-4-5", false, &extra)).await;
    assert_eq!((reply.status, reply.provider()), (200, "openai"), "{}", reply.text);
    assert_eq!(count(&bed.claude) + count(&bed.gemini), 0);
}

#[tokio::test]
async fn errors_are_in_openais_shape_and_stored_responses_are_pointed_at() {
    let bed = Bed::new().await;
    let reply = send(&bed, &json!({"input": "x"})).await;
    assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!("model")));
    let reply = Reply::of(bed.get("/v1/responses/resp_1").send().await.unwrap()).await;
    assert_eq!(reply.status, 404);
    let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("/providers/{name}/responses/"), "{message}");
    let reply = Reply::of(bed.get("/v1/responses").send().await.unwrap()).await;
    assert_eq!((reply.status, reply.header("allow")), (405, "POST"));
}
