//! Embeddings and token counts, from one API to another.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use base64::Engine as _;
use bowsprit_core::dialect::embeddings::{self, Answered, EmbeddingsApi};
use bowsprit_core::dialect::{Dialect, RequestError, count, rename_model};
use bowsprit_core::fault::{Code, ErrorKind};
use bowsprit_crds::model_route::OnUnsupported;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use Dialect::{AnthropicMessages as Anthropic, Gemini, OpenAiChat as OpenAi, OpenAiResponses as Responses};
use asking::target;

#[path = "shared/asking.rs"]
mod asking;

fn embed(from: EmbeddingsApi, to: EmbeddingsApi, body: &Value) -> Result<(Value, Vec<String>), RequestError> {
    let translated = embeddings::translate_request(from, to, body.to_string().as_bytes(), "m-2", None)?.first;
    Ok((serde_json::from_slice(&translated.body).unwrap(), translated.dropped))
}

fn vectors(
    from: EmbeddingsApi,
    to: EmbeddingsApi,
    answer: &Value,
    request: &Value,
) -> Result<(Value, Option<u64>), ErrorKind> {
    let sent = embeddings::translate_request(to, from, request.to_string().as_bytes(), "m-2", None).unwrap();
    let (answer, request) = (answer.to_string(), request.to_string());
    let part = Answered {
        sent: &sent.first.body,
        answer: answer.as_bytes(),
    };
    let (body, used) = embeddings::translate_response(from, to, &[part], request.as_bytes(), "asked-for")?;
    Ok((serde_json::from_slice(&body).unwrap(), used.map(|used| used.input)))
}

#[test]
fn openai_embeddings_are_asked_of_gemini_as_a_batch() {
    let (sent, dropped) = embed(
        EmbeddingsApi::OpenAi,
        EmbeddingsApi::Batch,
        &json!({"model": "m", "input": "ahoy", "user": "u-1"}),
    )
    .unwrap();
    assert_eq!(
        sent,
        json!({"requests": [{"model": "models/m-2", "content": {"parts": [{"text": "ahoy"}]}}]})
    );
    assert_eq!(dropped, ["user"]);
    let (sent, dropped) = embed(
        EmbeddingsApi::OpenAi,
        EmbeddingsApi::Batch,
        &json!({"model": "m", "input": ["a", "b"], "dimensions": 256, "encoding_format": "base64"}),
    )
    .unwrap();
    let requests = sent["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 2);
    assert_eq!(
        (
            &requests[1]["outputDimensionality"],
            &requests[1]["content"]["parts"][0]["text"]
        ),
        (&json!(256), &json!("b"))
    );
    assert_eq!(dropped, Vec::<String>::new());
}

#[test]
fn gemini_embeddings_are_asked_of_openai_in_one_request() {
    let one =
        json!({"content": {"parts": [{"text": "ahoy"}]}, "taskType": "RETRIEVAL_QUERY", "output_dimensionality": 256});
    let (sent, dropped) = embed(EmbeddingsApi::One, EmbeddingsApi::OpenAi, &one).unwrap();
    assert_eq!(
        sent,
        json!({"model": "m-2", "input": ["ahoy"], "dimensions": 256, "encoding_format": "float"})
    );
    assert_eq!(dropped, ["taskType"]);
    let request = |text: &str, dimensions: u64| json!({"model": "models/m", "content": {"parts": [{"text": text}]}, "outputDimensionality": dimensions});
    let batch = json!({"requests": [request("a", 256), request("b", 256)]});
    assert_eq!(
        embed(EmbeddingsApi::Batch, EmbeddingsApi::OpenAi, &batch).unwrap().0["input"],
        json!(["a", "b"])
    );
    let mixed = json!({"requests": [request("a", 256), request("b", 512)]});
    let error = embed(EmbeddingsApi::Batch, EmbeddingsApi::OpenAi, &mixed).unwrap_err();
    assert_eq!(
        (error.code, error.path.as_str()),
        (Code::ValUnsupported, "requests[1].outputDimensionality")
    );
}

#[test]
fn inputs_that_cannot_be_carried_are_refused_with_their_path() {
    let many: Vec<String> = (0..10_001).map(|n| n.to_string()).collect();
    let table = [
        (
            EmbeddingsApi::OpenAi,
            EmbeddingsApi::Batch,
            json!({"input": [1, 2]}),
            Code::ValUnsupported,
            "input",
        ),
        (
            EmbeddingsApi::OpenAi,
            EmbeddingsApi::Batch,
            json!({"input": [[1, 2]]}),
            Code::ValUnsupported,
            "input",
        ),
        (
            EmbeddingsApi::OpenAi,
            EmbeddingsApi::Batch,
            json!({"input": many}),
            Code::ValUnsupported,
            "input",
        ),
        (
            EmbeddingsApi::OpenAi,
            EmbeddingsApi::Batch,
            json!({"input": []}),
            Code::ValField,
            "input",
        ),
        (
            EmbeddingsApi::OpenAi,
            EmbeddingsApi::Batch,
            json!({"input": {}}),
            Code::ValField,
            "input",
        ),
        (
            EmbeddingsApi::OpenAi,
            EmbeddingsApi::Batch,
            json!({"input": "x", "encoding_format": "hex"}),
            Code::ValField,
            "encoding_format",
        ),
        (
            EmbeddingsApi::OpenAi,
            EmbeddingsApi::Batch,
            json!({}),
            Code::ValField,
            "input",
        ),
        (
            EmbeddingsApi::One,
            EmbeddingsApi::OpenAi,
            json!({"content": {"parts": [{"inlineData": {}}]}}),
            Code::ValUnsupported,
            "content.parts[0]",
        ),
        (
            EmbeddingsApi::Batch,
            EmbeddingsApi::OpenAi,
            json!({"requests": [{}]}),
            Code::ValField,
            "requests[0].content",
        ),
    ];
    for (from, to, body, code, path) in table {
        let error = embed(from, to, &body).expect_err(&body.to_string());
        assert_eq!((error.code, error.path.as_str()), (code, path), "{body}");
    }
    assert_eq!(EmbeddingsApi::OpenAi.at(Anthropic), None, "Anthropic has no embeddings");
}

#[test]
fn openai_callers_get_vectors_of_length_one_in_the_encoding_they_asked_for() {
    let answer = json!({"embeddings": [{"values": [3.0, 4.0]}, {"values": [1.0, 0.0]}]});
    let plain = json!({"input": ["a", "b"]});
    let (body, used) = vectors(EmbeddingsApi::Batch, EmbeddingsApi::OpenAi, &answer, &plain).unwrap();
    assert_eq!(
        body["data"][0],
        json!({"object": "embedding", "index": 0, "embedding": [0.6, 0.8]})
    );
    assert_eq!(
        (&body["model"], &body["usage"], used),
        (
            &json!("asked-for"),
            &json!({"prompt_tokens": 0, "total_tokens": 0}),
            None
        )
    );
    let (body, _) = vectors(
        EmbeddingsApi::Batch,
        EmbeddingsApi::OpenAi,
        &answer,
        &json!({"input": ["a", "b"], "encoding_format": "base64"}),
    )
    .unwrap();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(body["data"][0]["embedding"].as_str().unwrap())
        .unwrap();
    let floats: Vec<f32> = bytes
        .chunks(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect();
    assert_eq!(floats, [0.6_f32, 0.8]);
    let counted = json!({"embeddings": [{"values": [1.0]}], "usageMetadata": {"promptTokenCount": 7}});
    let (body, used) = vectors(
        EmbeddingsApi::Batch,
        EmbeddingsApi::OpenAi,
        &counted,
        &json!({"input": "a"}),
    )
    .unwrap();
    assert_eq!((&body["usage"]["prompt_tokens"], used), (&json!(7), Some(7)));
}

#[test]
fn gemini_callers_get_vectors_in_the_order_of_their_inputs() {
    let answer = json!({"object": "list", "data": [{"index": 1, "embedding": [0.0, 1.0]}, {"index": 0, "embedding": [0.6, 0.8]}], "usage": {"prompt_tokens": 5, "total_tokens": 5}});
    let content = json!({"content": {"parts": [{"text": "a"}]}});
    let batch = json!({"requests": [content, content]});
    let (body, used) = vectors(EmbeddingsApi::OpenAi, EmbeddingsApi::Batch, &answer, &batch).unwrap();
    assert_eq!(
        body,
        json!({"embeddings": [{"values": [0.6, 0.8]}, {"values": [0.0, 1.0]}]})
    );
    assert_eq!(used, Some(5));
    let single = json!({"data": [{"index": 0, "embedding": [0.6, 0.8]}]});
    assert_eq!(
        vectors(EmbeddingsApi::OpenAi, EmbeddingsApi::One, &single, &content)
            .unwrap()
            .0,
        json!({"embedding": {"values": [0.6, 0.8]}})
    );
}

#[test]
fn an_answer_with_a_vector_too_few_is_no_answer() {
    let answer = json!({"embeddings": [{"values": [1.0]}]});
    let two = json!({"input": ["a", "b"]});
    assert_eq!(
        vectors(EmbeddingsApi::Batch, EmbeddingsApi::OpenAi, &answer, &two).unwrap_err(),
        ErrorKind::Malformed
    );
    assert_eq!(
        vectors(EmbeddingsApi::Batch, EmbeddingsApi::OpenAi, &json!({}), &two).unwrap_err(),
        ErrorKind::Malformed
    );
    let error = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x"}});
    assert_eq!(
        vectors(EmbeddingsApi::Batch, EmbeddingsApi::OpenAi, &error, &two).unwrap_err(),
        ErrorKind::RateLimited
    );
}

#[test]
fn more_inputs_than_a_batch_takes_are_asked_for_in_parts_and_put_together_in_order() {
    let texts: Vec<String> = (0..205).map(|n| format!("text {n}")).collect();
    let request = json!({"model": "m", "input": texts, "dimensions": 2}).to_string();
    let divided = embeddings::translate_request(
        EmbeddingsApi::OpenAi,
        EmbeddingsApi::Batch,
        request.as_bytes(),
        "m-2",
        None,
    )
    .unwrap();
    let bodies: Vec<&Bytes> = [&divided.first.body].into_iter().chain(&divided.more).collect();
    let sent: Vec<Value> = bodies
        .iter()
        .map(|body| serde_json::from_slice(body).unwrap())
        .collect();
    let sizes: Vec<usize> = sent
        .iter()
        .map(|body| body["requests"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [100, 100, 5]);
    assert_eq!(sent[2]["requests"][4]["content"]["parts"][0]["text"], "text 204");
    assert_eq!(sent[2]["requests"][4]["outputDimensionality"], 2);
    let mut next = 0.0;
    let mut answer = |size: usize| {
        let vectors: Vec<Value> = (0..size)
            .map(|_| {
                next += 1.0;
                json!({"values": [0.0, next]})
            })
            .collect();
        json!({"embeddings": vectors, "usageMetadata": {"promptTokenCount": size}}).to_string()
    };
    let mut answers: Vec<String> = sizes.iter().map(|size| answer(*size)).collect();
    let join = |answers: &[String]| {
        let parts: Vec<Answered<'_>> = bodies
            .iter()
            .zip(answers)
            .map(|(sent, answer)| Answered {
                sent,
                answer: answer.as_bytes(),
            })
            .collect();
        let request = request.replace(r#""dimensions":2"#, r#""dimensions":1"#);
        embeddings::translate_response(
            EmbeddingsApi::Batch,
            EmbeddingsApi::OpenAi,
            &parts,
            request.as_bytes(),
            "m",
        )
    };
    let (body, used) = join(&answers).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let data = body["data"].as_array().unwrap();
    assert_eq!(
        (data.len(), used.unwrap().input, &body["usage"]["total_tokens"]),
        (205, 205, &json!(205))
    );
    assert!(data.iter().enumerate().all(|(index, vector)| vector["index"] == index));
    assert_eq!(join(&answers[..2]).unwrap_err(), ErrorKind::Malformed);
    answers.swap(1, 2);
    assert_eq!(
        join(&answers).unwrap_err(),
        ErrorKind::Malformed,
        "each part answers its own inputs"
    );
}

#[test]
fn long_inputs_are_parted_before_openai_counts_too_many_tokens() {
    let request = |n: usize| json!({"content": {"parts": [{"text": "x".repeat(n)}]}});
    let batch = json!({"requests": [request(300_000), request(300_000), request(1), request(599_999)]}).to_string();
    let divided = embeddings::translate_request(
        EmbeddingsApi::Batch,
        EmbeddingsApi::OpenAi,
        batch.as_bytes(),
        "m-2",
        None,
    )
    .unwrap();
    let inputs = |body: &Bytes| {
        serde_json::from_slice::<Value>(body).unwrap()["input"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(inputs(&divided.first.body), 2);
    assert_eq!(divided.more.iter().map(inputs).collect::<Vec<_>>(), [2]);
}

fn ask_count(from: Dialect, to: Dialect, body: &Value) -> Result<Value, RequestError> {
    let translated = count::translate_request(from, to, body.to_string().as_bytes(), &target("m-2"))?;
    Ok(serde_json::from_slice(&translated.body).unwrap())
}

fn anthropic_count() -> Value {
    json!({"model": "m", "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "tide?"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "tide", "input": {"port": "Brest"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "high"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]}],
        "tools": [{"name": "tide", "input_schema": {"type": "object"}}], "thinking": {"type": "enabled", "budget_tokens": 2000}})
}

#[test]
fn system_and_tools_count_with_gemini() {
    let sent = ask_count(Anthropic, Gemini, &anthropic_count()).unwrap();
    let inner = &sent["generateContentRequest"];
    assert_eq!(inner["model"], "models/m-2");
    assert_eq!(inner["systemInstruction"]["parts"][0]["text"], "Be brief.");
    assert_eq!(inner["tools"][0]["functionDeclarations"][0]["name"], "tide");
    assert_eq!(inner["contents"].as_array().unwrap().len(), 3);
    assert_eq!(inner.get("generationConfig"), None);
}

#[test]
fn system_and_tools_count_with_openai() {
    let sent = ask_count(Anthropic, Responses, &anthropic_count()).unwrap();
    assert_eq!(
        sent,
        json!({"model": "m-2", "instructions": "Be brief.", "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "tide?"}]},
        {"type": "function_call", "call_id": "t1", "name": "tide", "arguments": "{\"port\":\"Brest\"}"},
        {"type": "function_call_output", "call_id": "t1", "output": "high"},
        {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"}]},
    ], "tools": [{"type": "function", "name": "tide", "description": null, "parameters": {"type": "object", "properties": {}}, "strict": false}]})
    );
    let error = ask_count(Anthropic, OpenAi, &anthropic_count()).unwrap_err();
    assert_eq!((error.code, error.path.as_str()), (Code::ValUnsupported, "model"));
}

#[test]
fn gemini_counts_are_asked_of_anthropic_in_either_form() {
    let contents = json!([{"role": "user", "parts": [{"text": "tide?"}]}]);
    let whole = json!({"generateContentRequest": {"model": "models/m", "contents": contents,
        "systemInstruction": {"parts": [{"text": "Be brief."}]}, "generationConfig": {"temperature": 1.5, "candidateCount": 4}}});
    let messages = json!([{"role": "user", "content": [{"type": "text", "text": "tide?"}]}]);
    assert_eq!(
        ask_count(Gemini, Anthropic, &whole).unwrap(),
        json!({"model": "m-2", "system": "Be brief.", "messages": messages})
    );
    assert_eq!(
        ask_count(Gemini, Anthropic, &json!({"contents": contents})).unwrap(),
        json!({"model": "m-2", "messages": messages})
    );
    let error = ask_count(Gemini, Anthropic, &json!({"generateContentRequest": {"contents": 5}})).unwrap_err();
    assert_eq!(error.path, "generateContentRequest.contents");
    let sent = ask_count(
        Responses,
        Anthropic,
        &json!({"model": "m", "input": "tide?", "instructions": "Be brief."}),
    )
    .unwrap();
    assert_eq!(
        sent,
        json!({"model": "m-2", "system": "Be brief.", "messages": messages})
    );
}

#[test]
fn a_count_is_a_count_in_every_dialect() {
    let say = |from, to, body: &Value| -> Result<Value, ErrorKind> {
        count::translate_response(from, to, body.to_string().as_bytes())
            .map(|body| serde_json::from_slice(&body).unwrap())
    };
    let forms = [
        (Anthropic, json!({"input_tokens": 42})),
        (Gemini, json!({"totalTokens": 42})),
        (
            Responses,
            json!({"object": "response.input_tokens", "input_tokens": 42}),
        ),
    ];
    for (from, told) in &forms {
        for (to, heard) in &forms {
            assert_eq!(say(*from, *to, told).unwrap(), *heard);
        }
        assert_eq!(say(*from, Gemini, &json!({})).unwrap_err(), ErrorKind::Malformed);
    }
}

#[test]
fn geminis_own_bodies_name_the_model_that_the_url_names() {
    let batch =
        Bytes::from(r#"{"requests":[{"model":"models/alias","content":{"parts":[{"text":"a"}]}},{"content":{}}]}"#);
    let renamed: Value = serde_json::from_slice(&rename_model(Gemini, &batch, "real")).unwrap();
    assert_eq!(
        (&renamed["requests"][0]["model"], renamed["requests"][1].get("model")),
        (&json!("models/real"), None)
    );
    let whole = Bytes::from(r#"{"generateContentRequest":{"model":"models/alias"}}"#);
    let renamed: Value = serde_json::from_slice(&rename_model(Gemini, &whole, "real")).unwrap();
    assert_eq!(renamed["generateContentRequest"]["model"], "models/real");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200), structured in "\\{\"(input|requests|content|embeddings|data|contents|messages)\":[\\[\\]{}0-9a-z\",:]{0,40}\\}") {
        for body in [body.as_slice(), structured.as_bytes()] {
            for from in [EmbeddingsApi::OpenAi, EmbeddingsApi::One, EmbeddingsApi::Batch] {
                for to in [EmbeddingsApi::OpenAi, EmbeddingsApi::Batch] {
                    let _ = embeddings::translate_request(from, to, body, "m", Some(OnUnsupported::Drop));
                    let _ = embeddings::translate_response(from, to, &[Answered { sent: body, answer: body }], body, "m");
                }
            }
            for from in Dialect::ALL {
                for to in Dialect::ALL {
                    let _ = count::translate_request(from, to, body, &target("m"));
                    let _ = count::translate_response(from, to, body);
                }
            }
            let _ = rename_model(Gemini, &Bytes::copy_from_slice(body), "m");
        }
    }
}
