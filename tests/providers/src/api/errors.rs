//! The three providers' error bodies, by status and by the provider's own word for the error.

use serde_json::{Value, json};

use crate::api::Api;

/// An error to be written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ErrorSays<'a> {
    pub(crate) status: u16,
    /// The provider's word; `None`: the usual one of the status.
    pub(crate) kind: Option<&'a str>,
    pub(crate) message: Option<&'a str>,
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) request_id: &'a str,
    pub(crate) model: &'a str,
}

/// The provider's error body.
pub(crate) fn body(api: Api, error: &ErrorSays<'_>) -> Value {
    match api {
        Api::Anthropic => anthropic(error),
        Api::Gemini => gemini(error),
        Api::OpenAi | Api::All => openai(error),
    }
}

/// OpenAI tells errors apart by `code`; `type` is the coarse family.
fn openai(error: &ErrorSays<'_>) -> Value {
    let model = error.model;
    let code = error.kind.or(match error.status {
        401 => Some("invalid_api_key"),
        404 => Some("model_not_found"),
        429 => Some("rate_limit_exceeded"),
        _ => None,
    });
    let family = match (error.status, code) {
        (_, Some("insufficient_quota")) => "insufficient_quota",
        (429, _) => "requests",
        (500.., _) => "server_error",
        (403, None) => "request_forbidden",
        _ => "invalid_request_error",
    };
    let usual = match (error.status, code) {
        (_, Some("insufficient_quota")) => "You exceeded your current quota, please check your plan and billing details. \
            For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
            .to_owned(),
        (_, Some("context_length_exceeded")) => "This model's maximum context length is 128000 tokens. However, your messages \
            resulted in 200010 tokens. Please reduce the length of the messages."
            .to_owned(),
        (401, _) => "Incorrect API key provided: sk-scrip*******ted. You can find your API key at \
            https://platform.openai.com/account/api-keys."
            .to_owned(),
        (403, _) => "You have insufficient permissions for this operation.".to_owned(),
        (404, _) => format!("The model `{model}` does not exist or you do not have access to it."),
        (408, _) => "Request timed out.".to_owned(),
        (413, _) => "Maximum content size limit (26214400) exceeded.".to_owned(),
        (429, _) => format!(
            "Rate limit reached for {model} in organization org-scripted on requests per min (RPM): Limit 3, Used 3, \
             Requested 1. Please try again in 20s. Visit https://platform.openai.com/account/rate-limits to learn more."
        ),
        (503, _) => "The server is currently overloaded with other requests. Sorry about that! You can retry your request, \
            or contact us through our help center at help.openai.com if the error persists."
            .to_owned(),
        (500.., _) => "The server had an error while processing your request. Sorry about that!".to_owned(),
        _ => "Invalid request.".to_owned(),
    };
    let param = match code {
        Some("context_length_exceeded") => Some("messages"),
        Some("model_not_found") => Some("model"),
        _ => None,
    };
    json!({"error": {"message": error.message.unwrap_or(&usual), "type": family, "param": param, "code": code}})
}

/// Anthropic tells errors apart by `error.type`; the request id is in the body too.
fn anthropic(error: &ErrorSays<'_>) -> Value {
    let kind = error.kind.unwrap_or(match error.status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 | 503 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    });
    let not_found = format!("model: {}", error.model);
    let usual = match kind {
        "authentication_error" => "invalid x-api-key",
        "billing_error" => {
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."
        }
        "permission_error" => "Your API key does not have permission to use the specified resource.",
        "not_found_error" => &not_found,
        "request_too_large" => "Request exceeds the maximum size",
        "rate_limit_error" => {
            "This request would exceed the rate limit for your organization (00000000-0000-4000-8000-000000000000) \
            of 50 requests per minute. For details, refer to: https://docs.claude.com/en/api/rate-limits."
        }
        "timeout_error" => "Request timed out",
        "overloaded_error" => "Overloaded",
        "api_error" => "Internal server error",
        _ => "Invalid request.",
    };
    json!({
        "type": "error",
        "error": {"type": kind, "message": error.message.unwrap_or(usual)},
        "request_id": error.request_id,
    })
}

/// Gemini tells errors apart by `status` and puts the retry time into `details`.
fn gemini(error: &ErrorSays<'_>) -> Value {
    let status = error.kind.unwrap_or(match error.status {
        401 => "UNAUTHENTICATED",
        402 | 403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 499 => "CANCELLED",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        500 | 502 => "INTERNAL",
        503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INVALID_ARGUMENT",
    });
    let not_found = format!(
        "models/{} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the \
         list of available models and their supported methods.",
        error.model
    );
    let usual = match status {
        "UNAUTHENTICATED" => {
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential."
        }
        "PERMISSION_DENIED" => "Permission denied.",
        "NOT_FOUND" => &not_found,
        "RESOURCE_EXHAUSTED" => {
            "You exceeded your current quota, please check your plan and billing details. For more \
            information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."
        }
        "INTERNAL" => {
            "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting"
        }
        "UNAVAILABLE" => "The model is overloaded. Please try again later.",
        "DEADLINE_EXCEEDED" => "Deadline expired before operation could complete.",
        _ => "Request contains an invalid argument.",
    };
    let mut body =
        json!({"error": {"code": error.status, "message": error.message.unwrap_or(usual), "status": status}});
    let details = details(error, status);
    if let (false, Some(inner)) = (details.is_empty(), body.get_mut("error").and_then(Value::as_object_mut)) {
        inner.insert("details".to_owned(), Value::Array(details));
    }
    body
}

fn details(error: &ErrorSays<'_>, status: &str) -> Vec<Value> {
    let mut details = Vec::new();
    if status == "RESOURCE_EXHAUSTED" {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
                "quotaDimensions": {"model": error.model, "location": "global"},
                "quotaValue": "10",
            }],
        }));
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{"description": "Learn more about Gemini API quotas",
                "url": "https://ai.google.dev/gemini-api/docs/rate-limits"}],
        }));
    }
    if error
        .message
        .is_some_and(|message| message.starts_with("API key not valid"))
    {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        }));
    }
    if let Some(wait) = error.retry_after_ms {
        // A protobuf Duration: whole seconds bare, else with as many digits as needed.
        let seconds = if wait % 1000 == 0 {
            format!("{}s", wait / 1000)
        } else {
            format!("{}.{:03}s", wait / 1000, wait % 1000)
        };
        details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": seconds}));
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(status: u16, kind: Option<&'static str>) -> ErrorSays<'static> {
        ErrorSays {
            status,
            kind,
            request_id: "req_1",
            model: "m",
            ..ErrorSays::default()
        }
    }

    #[test]
    fn every_provider_has_its_own_word_for_a_status() {
        for (status, openai, anthropic, gemini) in [
            (400, "null", "invalid_request_error", "INVALID_ARGUMENT"),
            (401, "invalid_api_key", "authentication_error", "UNAUTHENTICATED"),
            (403, "null", "permission_error", "PERMISSION_DENIED"),
            (404, "model_not_found", "not_found_error", "NOT_FOUND"),
            (413, "null", "request_too_large", "INVALID_ARGUMENT"),
            (429, "rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED"),
            (500, "null", "api_error", "INTERNAL"),
            (503, "null", "overloaded_error", "UNAVAILABLE"),
            (504, "null", "timeout_error", "DEADLINE_EXCEEDED"),
            (529, "null", "overloaded_error", "UNAVAILABLE"),
        ] {
            let error = says(status, None);
            assert_eq!(
                body(Api::OpenAi, &error)["error"]["code"].as_str().unwrap_or("null"),
                openai,
                "{status}"
            );
            assert_eq!(body(Api::Anthropic, &error)["error"]["type"], anthropic, "{status}");
            assert_eq!(body(Api::Gemini, &error)["error"]["status"], gemini, "{status}");
        }
    }

    #[test]
    fn gemini_says_the_retry_time_in_its_body() {
        let error = ErrorSays {
            retry_after_ms: Some(34_000),
            ..says(429, None)
        };
        assert_eq!(body(Api::Gemini, &error)["error"]["details"][2]["retryDelay"], "34s");
        let error = ErrorSays {
            retry_after_ms: Some(1_250),
            ..says(503, None)
        };
        assert_eq!(body(Api::Gemini, &error)["error"]["details"][0]["retryDelay"], "1.250s");
    }

    #[test]
    fn an_exhausted_quota_is_not_a_rate_limit() {
        let body = body(Api::OpenAi, &says(429, Some("insufficient_quota")));
        assert_eq!(body["error"]["type"], "insufficient_quota");
        assert_eq!(body["error"]["code"], "insufficient_quota");
    }
}
