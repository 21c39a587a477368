//! Errors of providers, and ours as each caller's SDK knows them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::time::Duration;

use bowsprit_core::dialect::{Dialect, ErrorView, error_body, error_event, parse_error, peek, words_for};
use bowsprit_core::fault::{Code, ErrorKind};
use proptest::prelude::*;
use serde_json::Value;

use Dialect::{AnthropicMessages as Anthropic, Gemini, OpenAiChat as OpenAi};

#[test]
fn every_known_error_has_its_kind() {
    let table = [
        (
            OpenAi,
            401,
            r#"{"error":{"message":"Incorrect API key provided: sk-abcd***wxyz.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            ErrorKind::Authentication,
        ),
        (
            OpenAi,
            429,
            r#"{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
            ErrorKind::RateLimited,
        ),
        (
            OpenAi,
            429,
            r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            ErrorKind::Billing,
        ),
        (
            OpenAi,
            400,
            r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            ErrorKind::ContextLength,
        ),
        (
            OpenAi,
            400,
            r#"{"error":{"message":"filtered","type":null,"param":"prompt","code":"content_filter"}}"#,
            ErrorKind::ContentFilter,
        ),
        (
            OpenAi,
            400,
            r#"{"error":{"message":"Invalid 'temperature'","type":"invalid_request_error","param":"temperature","code":"decimal_above_max_value"}}"#,
            ErrorKind::InvalidRequest,
        ),
        (
            OpenAi,
            404,
            r#"{"error":{"message":"The model does not exist","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            ErrorKind::NotFound,
        ),
        (OpenAi, 404, r#"{"error":"model 'x' not found"}"#, ErrorKind::NotFound),
        (
            OpenAi,
            400,
            r#"{"object":"error","message":"bad","type":"BadRequestError","param":null,"code":400}"#,
            ErrorKind::InvalidRequest,
        ),
        (
            OpenAi,
            400,
            r#"[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}]"#,
            ErrorKind::Authentication,
        ),
        (
            OpenAi,
            500,
            r#"{"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}"#,
            ErrorKind::Internal,
        ),
        (
            OpenAi,
            502,
            "<html><body>Bad gateway</body></html>",
            ErrorKind::Internal,
        ),
        (OpenAi, 503, "", ErrorKind::Overloaded),
        (OpenAi, 301, "", ErrorKind::Redirect),
        (OpenAi, 200, "", ErrorKind::Malformed),
        (OpenAi, 418, "{}", ErrorKind::InvalidRequest),
        (
            Anthropic,
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: Field required"}}"#,
            ErrorKind::InvalidRequest,
        ),
        (
            Anthropic,
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
            ErrorKind::ContextLength,
        ),
        (
            Anthropic,
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API."}}"#,
            ErrorKind::Billing,
        ),
        (
            Anthropic,
            401,
            r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
            ErrorKind::Authentication,
        ),
        (
            Anthropic,
            402,
            r#"{"type":"error","error":{"type":"billing_error","message":"x"}}"#,
            ErrorKind::Billing,
        ),
        (
            Anthropic,
            403,
            r#"{"type":"error","error":{"type":"permission_error","message":"x"}}"#,
            ErrorKind::Permission,
        ),
        (
            Anthropic,
            413,
            r#"{"type":"error","error":{"type":"request_too_large","message":"x"}}"#,
            ErrorKind::TooLarge,
        ),
        (
            Anthropic,
            429,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#,
            ErrorKind::RateLimited,
        ),
        (
            Anthropic,
            500,
            r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#,
            ErrorKind::Internal,
        ),
        (
            Anthropic,
            504,
            r#"{"type":"error","error":{"type":"timeout_error","message":"x"}}"#,
            ErrorKind::Timeout,
        ),
        (
            Anthropic,
            529,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#,
            ErrorKind::Overloaded,
        ),
        (Anthropic, 524, "<html>", ErrorKind::Timeout),
        (Anthropic, 520, "<html>", ErrorKind::Internal),
        // The same with a 4xx, as servers that copy the API write it.
        (
            Anthropic,
            429,
            r#"{"type":"error","error":{"type":"api_error","message":"slow down"}}"#,
            ErrorKind::RateLimited,
        ),
        (
            Gemini,
            400,
            r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#,
            ErrorKind::Authentication,
        ),
        // The type names the 5xx family only; the status is the more exact.
        (
            OpenAi,
            503,
            r#"{"error":{"message":"The server is currently overloaded with other requests.","type":"server_error","param":null,"code":null}}"#,
            ErrorKind::Overloaded,
        ),
        (
            Gemini,
            400,
            r#"{"error":{"code":400,"message":"The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#,
            ErrorKind::ContextLength,
        ),
        (
            Gemini,
            400,
            r#"{"error":{"code":400,"message":"Invalid value","status":"INVALID_ARGUMENT"}}"#,
            ErrorKind::InvalidRequest,
        ),
        (
            Gemini,
            403,
            r#"{"error":{"code":403,"message":"x","status":"PERMISSION_DENIED"}}"#,
            ErrorKind::Permission,
        ),
        (
            Gemini,
            404,
            r#"{"error":{"code":404,"message":"x","status":"NOT_FOUND"}}"#,
            ErrorKind::NotFound,
        ),
        (
            Gemini,
            429,
            r#"{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}"#,
            ErrorKind::RateLimited,
        ),
        (
            Gemini,
            500,
            r#"{"error":{"code":500,"message":"x","status":"INTERNAL"}}"#,
            ErrorKind::Internal,
        ),
        (
            Gemini,
            503,
            r#"{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}"#,
            ErrorKind::Overloaded,
        ),
        (
            Gemini,
            504,
            r#"{"error":{"code":504,"message":"x","status":"DEADLINE_EXCEEDED"}}"#,
            ErrorKind::Timeout,
        ),
    ];
    for (provider, status, body, kind) in table {
        let error = parse_error(provider, status, body.as_bytes());
        assert_eq!(error.kind, kind, "{provider} {status} {body}");
        assert!(
            !error.message.is_empty() && !error.message.contains("abcd"),
            "{}",
            error.message
        );
    }
}

#[test]
fn geminis_retry_info_is_the_time_to_wait() {
    let body = r#"{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure"},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.5s"}]}}"#;
    let error = parse_error(Gemini, 429, body.as_bytes());
    assert_eq!(
        (error.retry_after, error.code.as_deref()),
        (Some(Duration::from_millis(34_500)), Some("RESOURCE_EXHAUSTED"))
    );
    for bad in ["-1s", "NaNs", "1e99s", "34", ""] {
        assert_eq!(
            parse_error(Gemini, 429, body.replace("34.5s", bad).as_bytes()).retry_after,
            None,
            "{bad}"
        );
    }
}

fn view(code: Code) -> ErrorView<'static> {
    ErrorView {
        code,
        message: "messages[0]: \"bad\"",
        status: None,
        exact: None,
        param: Some("messages[0]"),
        request_id: "req-1",
        retry_after: Some(Duration::from_secs(7)),
    }
}

fn said(caller: Dialect, view: &ErrorView<'_>) -> Value {
    serde_json::from_slice(&error_body(caller, view)).unwrap()
}

#[test]
fn each_api_has_its_own_words_and_ours_stand_beside() {
    let view = view(Code::RateLocalLimit);
    for caller in Dialect::ALL {
        assert_eq!(
            said(caller, &view)["error"]["bowsprit_code"],
            "RATE_LOCAL_LIMIT",
            "{caller}"
        );
    }
    let body = said(OpenAi, &view);
    assert_eq!(body["error"]["code"], "rate_limit_exceeded");
    assert_eq!(body["error"]["type"], "rate_limit_error");
    assert_eq!(body["error"]["param"], "messages[0]");
    assert_eq!(said(Dialect::OpenAiResponses, &view), body);
    let body = said(Anthropic, &view);
    assert_eq!((&body["type"], &body["request_id"]), (&"error".into(), &"req-1".into()));
    assert_eq!(body["error"]["type"], "rate_limit_error");
    let body = said(Gemini, &view);
    assert_eq!(
        (&body["error"]["code"], &body["error"]["status"]),
        (&429.into(), &"RESOURCE_EXHAUSTED".into())
    );
    assert_eq!(body["error"]["details"][0]["reason"], "RATE_LOCAL_LIMIT");
    assert_eq!(body["error"]["details"][1]["retryDelay"], "7s");
}

#[test]
fn every_type_has_the_status_that_its_api_documents() {
    let anthropic = [
        // 409: its SDKs know it as ConflictError and try it again.
        ("invalid_request_error", &[400, 405, 409][..]),
        ("authentication_error", &[401]),
        ("billing_error", &[402]),
        ("permission_error", &[403]),
        ("not_found_error", &[404]),
        ("request_too_large", &[413]),
        ("rate_limit_error", &[429]),
        ("api_error", &[500]),
        ("timeout_error", &[504]),
        ("overloaded_error", &[529]),
    ];
    let gemini = [
        ("INVALID_ARGUMENT", &[400][..]),
        ("FAILED_PRECONDITION", &[400]),
        ("UNAUTHENTICATED", &[401]),
        ("PERMISSION_DENIED", &[403]),
        ("NOT_FOUND", &[404]),
        ("ABORTED", &[409]),
        ("RESOURCE_EXHAUSTED", &[429]),
        ("INTERNAL", &[500]),
        ("UNIMPLEMENTED", &[501, 405]),
        ("UNAVAILABLE", &[503]),
        ("DEADLINE_EXCEEDED", &[504]),
    ];
    for (caller, documented) in [(Anthropic, anthropic.as_slice()), (Gemini, gemini.as_slice())] {
        for code in Code::ALL {
            let words = words_for(caller, *code);
            let (_, statuses) = documented.iter().find(|(kind, _)| *kind == words.kind).unwrap();
            assert!(statuses.contains(&words.status), "{caller} {code}: {words:?}");
            let body = said(caller, &view(*code));
            let kind = if caller == Gemini { "status" } else { "type" };
            assert_eq!(body["error"][kind], words.kind, "{caller} {code}");
        }
    }
}

#[test]
fn no_code_of_ours_stands_where_openai_has_its_own() {
    let known = [
        "account_deactivated",
        "content_filter",
        "context_length_exceeded",
        "insufficient_quota",
        "invalid_api_key",
        "invalid_value",
        "method_not_supported",
        "missing_scope",
        "model_not_found",
        "rate_limit_exceeded",
        "server_error",
        "server_is_overloaded",
        "unknown_url",
        "unsupported_parameter",
    ];
    for code in Code::ALL {
        for caller in [OpenAi, Dialect::OpenAiResponses] {
            let body = said(caller, &view(*code));
            let word = &body["error"]["code"];
            assert!(
                word.is_null() || known.contains(&word.as_str().unwrap()),
                "{code}: {body}"
            );
        }
    }
}

#[test]
fn a_more_exact_code_of_openais_is_kept() {
    let body =
        br#"{"error":{"message":"no","type":"invalid_request_error","param":"top_k","code":"unknown_parameter"}}"#;
    let read = parse_error(OpenAi, 400, body);
    let view = ErrorView {
        exact: read.openai_code(),
        ..view(Code::ValProviderRefused)
    };
    assert_eq!(
        said(Dialect::OpenAiResponses, &view)["error"]["code"],
        "unknown_parameter"
    );
    // Not what is no word of OpenAI's, nor what another kind of error says better.
    for (status, code) in [(400, "E1234"), (404, "invalid_value")] {
        let body = body.to_vec();
        let body = String::from_utf8(body).unwrap().replace("unknown_parameter", code);
        assert_eq!(parse_error(OpenAi, status, body.as_bytes()).openai_code(), None);
    }
}

#[test]
fn a_field_that_is_missing_is_told_from_one_that_is_wrong() {
    let error = |body: &str| peek(OpenAi, body.as_bytes()).unwrap_err();
    assert_eq!(error("{}").openai_code(), Some("missing_required_parameter"));
    assert_eq!(error(r#"{"model":7}"#).openai_code(), Some("invalid_type"));
    assert_eq!(error(r#"{"model":""}"#).openai_code(), None);
}

#[test]
fn a_prompt_that_is_too_long_is_said_in_the_words_that_agents_look_for() {
    let vllm = r#"{"object":"error","message":"This model's maximum context length is 40960 tokens. However, you requested 41060 tokens (40960 in the messages, 100 in the completion).","type":"BadRequestError","param":null,"code":400}"#;
    let read = parse_error(OpenAi, 400, vllm.as_bytes());
    let code = Code::from(read.kind);
    for (caller, words) in [
        (OpenAi, "maximum context length is 40960 tokens"),
        (Dialect::OpenAiResponses, "exceeds the context window"),
        (Anthropic, "prompt is too long: 41060 tokens > 40960 maximum"),
        (
            Gemini,
            "input token count (41060) exceeds the maximum number of tokens allowed (40960)",
        ),
    ] {
        let view = ErrorView {
            message: &read.message,
            ..view(code)
        };
        let body = said(caller, &view);
        let message = body["error"]["message"].as_str().unwrap();
        assert!(
            message.contains(words) && message.contains("100 in the completion"),
            "{message}"
        );
        let event = String::from_utf8(error_event(caller, &view).to_vec()).unwrap();
        assert!(event.contains(words), "{event}");
    }
    assert_eq!(words_for(OpenAi, code).code, Some("context_length_exceeded"));
}

#[test]
fn what_we_say_is_read_back_as_what_it_is() {
    for caller in Dialect::ALL {
        for code in Code::ALL {
            let view = view(*code);
            let status = words_for(caller, *code).status;
            let read = parse_error(caller, status, &error_body(caller, &view));
            assert!(
                read.message.ends_with("bad\"") || read.message.ends_with("bad\")"),
                "{caller} {code}"
            );
        }
        // Another sidecar behind this one is understood as the provider would be.
        for (code, kind) in [
            (Code::AuthBilling, ErrorKind::Billing),
            (Code::ValContextLength, ErrorKind::ContextLength),
            (Code::RateProvider, ErrorKind::RateLimited),
            (Code::ExtOverloaded, ErrorKind::Overloaded),
        ] {
            // Gemini has one word for all that must be mended first.
            if (caller, code) != (Gemini, Code::AuthBilling) {
                let body = error_body(caller, &view(code));
                assert_eq!(
                    parse_error(caller, words_for(caller, code).status, &body).kind,
                    kind,
                    "{caller}"
                );
            }
        }
        let event = error_event(caller, &view(Code::ExtTruncated));
        let text = std::str::from_utf8(&event).unwrap();
        let ours = text.contains("\"bowsprit_code\":\"EXT_TRUNCATED\"");
        assert!(text.ends_with("\n\n") && ours && !text.contains("[DONE]"), "{text}");
        let named = matches!(caller, Anthropic | Dialect::OpenAiResponses);
        assert_eq!(text.starts_with("event: error\n"), named);
        assert_eq!(text.trim_end().lines().count(), if named { 2 } else { 1 });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bodies_never_panic(status in any::<u16>(), body in proptest::collection::vec(any::<u8>(), 0..200), message in "\\PC{0,2000}") {
        for provider in Dialect::ALL {
            parse_error(provider, status, &body);
            let body = serde_json::json!({"error": {"message": message}}).to_string();
            prop_assert!(parse_error(provider, status, body.as_bytes()).message.len() <= 8192);
        }
    }
}
