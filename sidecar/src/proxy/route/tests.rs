use super::*;

fn look(method: &str, uri: &str) -> (Dialect, Result<Route, RouteError>) {
    let (parts, ()) = http::Request::builder()
        .method(method)
        .uri(uri)
        .body(())
        .unwrap()
        .into_parts();
    find(&parts)
}

#[test]
fn every_documented_path_is_found() {
    for (method, uri, dialect, label) in [
        ("POST", "/v1/chat/completions", Dialect::OpenAiChat, "chat_completions"),
        ("POST", "/chat/completions", Dialect::OpenAiChat, "chat_completions"),
        ("POST", "/v1/messages?beta=true", Dialect::AnthropicMessages, "messages"),
        (
            "POST",
            "/v1/messages/count_tokens",
            Dialect::AnthropicMessages,
            "count_tokens",
        ),
        (
            "POST",
            "/v1beta/models/gemini-2.5-flash:generateContent",
            Dialect::Gemini,
            "generate_content",
        ),
        (
            "POST",
            "/v1/models/g:streamGenerateContent?alt=sse",
            Dialect::Gemini,
            "stream_generate_content",
        ),
        (
            "POST",
            "/v1beta/tunedModels/mine:generateContent",
            Dialect::Gemini,
            "generate_content",
        ),
        (
            "POST",
            "/v1beta/models/g:embedContent",
            Dialect::Gemini,
            "embed_content",
        ),
        ("POST", "/v1/responses", Dialect::OpenAiResponses, "responses"),
        ("POST", "/responses", Dialect::OpenAiResponses, "responses"),
        ("POST", "/v1/embeddings", Dialect::OpenAiChat, "embeddings"),
        (
            "POST",
            "/v1/responses/input_tokens",
            Dialect::OpenAiResponses,
            "count_tokens",
        ),
        ("POST", "/v1beta/models/g:countTokens", Dialect::Gemini, "count_tokens"),
        ("GET", "/v1/models", Dialect::OpenAiChat, "models"),
        ("GET", "/v1beta/models", Dialect::Gemini, "models"),
    ] {
        let (told, route) = look(method, uri);
        let route = route.unwrap_or_else(|error| panic!("{uri}: {error:?}"));
        assert_eq!(
            (told, route.dialect(), route.label()),
            (dialect, dialect, label),
            "{uri}"
        );
    }
}

#[test]
fn a_gemini_url_says_model_stream_and_form() {
    let (_, route) = look("POST", "/v1beta/models/a%2Fb:streamGenerateContent?key=k&alt=sse");
    let Ok(Route::Generate {
        in_url: Some(in_url), ..
    }) = route
    else {
        panic!()
    };
    assert_eq!(
        in_url,
        InUrl {
            model: "a/b".into(),
            stream: true,
            sse: true
        }
    );
}

#[test]
fn a_model_name_may_hold_anything() {
    for (path, model) in [
        ("/v1beta/models/llama3:8b:generateContent", "llama3:8b"),
        ("/v1beta/models/ft:gpt-4o:org::id:generateContent", "ft:gpt-4o:org::id"),
        (
            "/v1beta/models/ft%3Agpt-4o%3Aorg%3A%3Aid:generateContent",
            "ft:gpt-4o:org::id",
        ),
        ("/v1beta/models/a%3Ab%3AgenerateContent", "a:b"),
        (
            "/v1beta/models/meta-llama/Llama-3.1-70B:generateContent",
            "meta-llama/Llama-3.1-70B",
        ),
        (
            "/v1/models/openrouter%2Fanthropic%2Fclaude@1:generateContent",
            "openrouter/anthropic/claude@1",
        ),
        ("/v1beta/models/models%2Fgemini:generateContent", "models/gemini"),
        ("/v1beta/models/caf%C3%A9%20noir:generateContent", "café noir"),
        ("/v1beta/models/a%252Fb:generateContent", "a%2Fb"),
        ("/v1beta/models/a//b:generateContent/", "a//b"),
        ("/v1beta/models/x:countTokens:generateContent", "x:countTokens"),
        ("/v1beta/tunedModels/a/b:c:generateContent", "tunedModels/a/b:c"),
    ] {
        let Ok(Route::Generate {
            in_url: Some(in_url), ..
        }) = look("POST", path).1
        else {
            panic!("{path}")
        };
        assert_eq!(in_url.model, model, "{path}");
    }
    for (path, model) in [
        ("/v1/models/meta-llama/Llama-3.1-70B", "meta-llama/Llama-3.1-70B"),
        ("/v1/models/llama3:8b", "llama3:8b"),
        ("/v1/models/a%2Fb%3Ac/", "a/b:c"),
        ("/v1beta/models/models/x", "models/x"),
    ] {
        let Ok(Route::Models { one, .. }) = look("GET", path).1 else {
            panic!("{path}")
        };
        assert_eq!(one.as_deref(), Some(model), "{path}");
    }
    assert_eq!(
        look("POST", "/v1beta/models/a%+1:generateContent").1,
        Err(RouteError::Path)
    );
}

#[test]
fn a_doubled_version_or_slash_is_taken_as_one() {
    for (path, label) in [
        ("/v1/v1/messages", "messages"),
        ("/messages", "messages"),
        ("/v1/messages/", "messages"),
        ("//v1/messages", "messages"),
        ("/v1//messages//", "messages"),
        ("/messages/count_tokens", "count_tokens"),
        ("/v1/v1/chat/completions", "chat_completions"),
        ("/v1/v1/v1/embeddings/", "embeddings"),
        ("/v1/v1beta/models/g:generateContent", "generate_content"),
        ("/v1beta/v1beta/models/v1/v1:generateContent", "generate_content"),
        ("/v1beta/v1/models/g:countTokens", "count_tokens"),
    ] {
        let route = look("POST", path).1.unwrap_or_else(|error| panic!("{path}: {error:?}"));
        assert_eq!(route.label(), label, "{path}");
    }
    assert_eq!(look("GET", "/v1/v1/models/").1.unwrap().label(), "models");
    for path in ["/v1/openai/chat/completions", "/", "//", "/v1", "/v1/", "/v1/v1"] {
        assert_eq!(look("POST", path).1, Err(RouteError::Path), "{path}");
    }
    let (_, kept) = look("GET", "/providers/openai/v1/files/");
    assert!(matches!(kept, Ok(Route::PassThrough { rest, .. }) if rest == "/v1/files/"));
}

#[test]
fn other_methods_are_told_which_one_there_is() {
    for (method, path, allow) in [
        ("HEAD", "/v1/messages", "POST"),
        ("OPTIONS", "/v1/chat/completions", "POST"),
        ("GET", "/v1/embeddings", "POST"),
        ("DELETE", "/v1beta/models/a/b:c:generateContent", "POST"),
        ("POST", "/v1/models/a/b", "GET"),
    ] {
        assert_eq!(look(method, path).1, Err(RouteError::Method(allow)), "{method} {path}");
    }
}

#[test]
fn a_miss_still_knows_its_callers_dialect() {
    assert_eq!(look("GET", "/v1/chat/completions").1, Err(RouteError::Method("POST")));
    assert_eq!(
        look("POST", "/v1beta/nothing"),
        (Dialect::Gemini, Err(RouteError::Path))
    );
    assert_eq!(look("POST", "/v1beta/models/x:explode").0, Dialect::Gemini);
    assert_eq!(look("POST", "/v2"), (Dialect::OpenAiChat, Err(RouteError::Path)));
    assert_eq!(look("POST", "/v1/messages/batches").0, Dialect::AnthropicMessages);
    for path in [
        "/v1/responses/resp_1",
        "/responses/resp_1/input_items",
        "/v1/responses/compact",
    ] {
        assert_eq!(
            look("GET", path),
            (Dialect::OpenAiResponses, Err(RouteError::Stored)),
            "{path}"
        );
    }
    assert_eq!(look("GET", "/v1/responses").1, Err(RouteError::Method("POST")));
}
