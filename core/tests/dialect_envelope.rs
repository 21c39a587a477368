//! Reading and splicing requests that otherwise pass as they came.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::borrow::Cow;

use bowsprit_core::dialect::{Dialect, peek, with_model, with_usage_option};
use bowsprit_core::fault::Code;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

const REQUEST: &str = "\u{20}{ \"messages\" : [ {\"role\":\"user\",\"model\":\"decoy\",\"content\":\"\\u0022model\\u0022: \\\"x\\\"\"} ],\n\t\"model\" :  \"gpt\\u002d4.1\" , \"unknown\":{\"model\":1.50e+2},\"stream\": true,\"stream_options\":{ \"include_usage\" : true },\"max_completion_tokens\":12 }\n";

#[test]
fn the_envelope_is_read_in_one_pass() {
    let envelope = peek(Dialect::OpenAiChat, REQUEST.as_bytes()).unwrap();
    assert_eq!(envelope.model, "gpt-4.1");
    assert!(envelope.stream && envelope.include_usage);
    assert_eq!(envelope.max_output_tokens, Some(12));
    assert_eq!(envelope.input_tokens_estimate, REQUEST.len() as u64 / 4);
    let envelope = peek(
        Dialect::AnthropicMessages,
        br#"{"model":"claude","max_tokens":5,"messages":[]}"#,
    )
    .unwrap();
    assert!(
        matches!(envelope.model, Cow::Borrowed("claude")),
        "a plain name is borrowed"
    );
    assert_eq!((envelope.stream, envelope.max_output_tokens), (false, Some(5)));
    for body in [
        r#"{"generationConfig":{"maxOutputTokens":7}}"#,
        r#"{"generation_config":{"max_output_tokens":7}}"#,
    ] {
        let envelope = peek(Dialect::Gemini, body.as_bytes()).unwrap();
        assert_eq!(
            (&*envelope.model, envelope.stream, envelope.max_output_tokens),
            ("", false, Some(7))
        );
    }
}

#[test]
fn of_two_bounds_of_an_answer_the_larger_is_what_it_may_cost() {
    for (body, most) in [
        (
            r#"{"model":"m","max_tokens":9000,"max_completion_tokens":1}"#,
            Some(9_000),
        ),
        (
            r#"{"model":"m","max_tokens":1,"max_completion_tokens":9000}"#,
            Some(9_000),
        ),
        (r#"{"model":"m","max_completion_tokens":7}"#, Some(7)),
        (r#"{"model":"m","max_tokens":7,"max_completion_tokens":null}"#, Some(7)),
        (r#"{"model":"m"}"#, None),
    ] {
        let envelope = peek(Dialect::OpenAiChat, body.as_bytes()).unwrap();
        assert_eq!(envelope.max_output_tokens, most, "{body}");
    }
}

#[test]
fn how_many_answers_and_which_tier_a_body_asks_for_is_known() {
    for (dialect, body, asks) in [
        (Dialect::OpenAiChat, r#"{"model":"m"}"#, (1, false)),
        (
            Dialect::OpenAiChat,
            r#"{"model":"m","n":8,"service_tier":"priority"}"#,
            (8, true),
        ),
        (
            Dialect::OpenAiChat,
            r#"{"model":"m","n":0,"service_tier":"flex"}"#,
            (1, false),
        ),
        (
            Dialect::OpenAiChat,
            r#"{"model":"m","n":"8","service_tier":null}"#,
            (1, false),
        ),
        (
            Dialect::OpenAiResponses,
            r#"{"model":"m","service_tier":"priority"}"#,
            (1, true),
        ),
        (Dialect::AnthropicMessages, r#"{"model":"m","n":8}"#, (1, false)),
        (
            Dialect::Gemini,
            r#"{"generationConfig":{"candidateCount":4}}"#,
            (4, false),
        ),
        (
            Dialect::Gemini,
            r#"{"generation_config":{"candidate_count":4}}"#,
            (4, false),
        ),
        (Dialect::Gemini, "{}", (1, false)),
    ] {
        let envelope = peek(dialect, body.as_bytes()).unwrap();
        assert_eq!((envelope.choices, envelope.is_priority), asks, "{body}");
    }
}

#[test]
fn a_wrong_envelope_is_refused_with_its_path() {
    let table = [
        ("", Code::ValNotJson, ""),
        ("[]", Code::ValNotJson, ""),
        ("{\"model\":\"m\"} x", Code::ValNotJson, ""),
        ("{\"model\":\"m\",}", Code::ValNotJson, ""),
        ("{\"model\":\"m\",\"x\":NaN}", Code::ValNotJson, ""),
        ("{}", Code::ValField, "model"),
        ("{\"model\":null}", Code::ValField, "model"),
        ("{\"model\":\"\"}", Code::ValField, "model"),
        ("{\"model\":5}", Code::ValField, "model"),
        ("{\"model\":\"a\",\"model\":\"b\"}", Code::ValField, "model"),
        ("{\"model\":\"a\",\"mo\\u0064el\":\"b\"}", Code::ValField, "model"),
        (
            "{\"model\":\"a\",\"stream\":true,\"stream\":false}",
            Code::ValField,
            "stream",
        ),
        ("{\"model\":\"a\",\"stream\":\"yes\"}", Code::ValField, "stream"),
        (
            "{\"model\":\"a\",\"stream_options\":[]}",
            Code::ValField,
            "stream_options",
        ),
        (
            "{\"model\":\"a\",\"stream_options\":{\"include_usage\":1}}",
            Code::ValField,
            "stream_options.include_usage",
        ),
        ("{\"model\":\"a\",\"max_tokens\":-1}", Code::ValField, "max_tokens"),
        (
            "{\"model\":\"a\",\"max_completion_tokens\":\"5\"}",
            Code::ValField,
            "max_completion_tokens",
        ),
    ];
    for (body, code, path) in table {
        let error = peek(Dialect::OpenAiChat, body.as_bytes()).expect_err(body);
        assert_eq!((error.code, error.path.as_str()), (code, path), "{body}");
    }
    assert_eq!(
        peek(Dialect::OpenAiChat, b"{\"model\":\"a\",\"x\":\"\xff\"}")
            .unwrap_err()
            .code,
        Code::ValNotJson
    );
    let error = peek(Dialect::Gemini, br#"{"generationConfig":{"maxOutputTokens":"x"}}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "generationConfig.maxOutputTokens: must be a whole number, 0 or more"
    );
}

#[test]
fn only_the_value_of_the_top_level_model_changes() {
    let body = Bytes::from_static(REQUEST.as_bytes());
    let changed = with_model(&body, "new \"name\"");
    assert_eq!(changed, REQUEST.replace("\"gpt\\u002d4.1\"", "\"new \\\"name\\\"\""));
    let same = with_model(&body, "gpt-4.1");
    assert_eq!(
        (same.as_ptr(), same.len()),
        (body.as_ptr(), body.len()),
        "an equal name costs no copy"
    );
    for bad in ["", "[]", "{\"x\":1}", "{\"model\":1,\"model\":2}"] {
        let body = Bytes::from_static(bad.as_bytes());
        assert_eq!(with_model(&body, "m"), bad);
    }
}

#[test]
fn usage_is_asked_for_by_splicing() {
    let table = [
        (
            r#"{"model":"m"}"#,
            r#"{"stream_options":{"include_usage":true},"model":"m"}"#,
        ),
        (r" { }", r#" {"stream_options":{"include_usage":true} }"#),
        (
            r#"{"stream_options": null,"model":"m"}"#,
            r#"{"stream_options": {"include_usage":true},"model":"m"}"#,
        ),
        (
            r#"{"stream_options":{ }}"#,
            r#"{"stream_options":{"include_usage":true }}"#,
        ),
        (
            r#"{"stream_options":{"x": 1}}"#,
            r#"{"stream_options":{"include_usage":true,"x": 1}}"#,
        ),
        (
            r#"{"stream_options":{"include_usage": false ,"x":1}}"#,
            r#"{"stream_options":{"include_usage": true ,"x":1}}"#,
        ),
        (
            r#"{"stream_options":{"include_usage":null}}"#,
            r#"{"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"stream_options":{"include_usage":true}}"#,
            r#"{"stream_options":{"include_usage":true}}"#,
        ),
    ];
    for (body, expected) in table {
        let got = with_usage_option(&Bytes::from_static(body.as_bytes()));
        assert_eq!(got, expected);
        let value: Value = serde_json::from_slice(&got).unwrap();
        assert_eq!(value["stream_options"]["include_usage"], true);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn with_model_keeps_every_other_byte(before in "[ \t\n]{0,3}", name in "\\PC{0,12}", new in "\\PC{1,12}", rest in "[a-z]{0,8}", space in "[ \n]{0,2}") {
        let head = format!("{before}{{\"a\":{{\"model\":\"{rest}\"}},\"model\"{space}:{space}");
        let tail = format!("{space},\"z\":[1.0,\"{rest}\"]}}{before}");
        let body = Bytes::from(format!("{head}{}{tail}", serde_json::to_string(&name).unwrap()));
        let expected = format!("{head}{}{tail}", serde_json::to_string(&new).unwrap());
        let changed = with_model(&body, &new);
        prop_assert_eq!(&changed[..], expected.as_bytes());
        prop_assert_eq!(&peek(Dialect::OpenAiChat, &changed).unwrap().model, &new);
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..100), at in 0usize..300, byte in any::<u8>()) {
        let mut near = REQUEST.as_bytes().to_vec();
        let at = at % near.len();
        near[at] = byte;
        for body in [Bytes::from(body), Bytes::from(near)] {
            for dialect in Dialect::ALL {
                let _ = peek(dialect, &body);
            }
            let _ = with_model(&body, "m");
            let usage = with_usage_option(&body);
            if let Ok(envelope) = peek(Dialect::OpenAiChat, &body) {
                let asked = peek(Dialect::OpenAiChat, &usage).unwrap();
                prop_assert!(asked.include_usage);
                prop_assert_eq!(asked.model, envelope.model);
            }
        }
    }
}
