//! What errors mean in the words of every server known: a row is what one was seen to say.
#![allow(clippy::panic, missing_docs)]

use bowsprit_core::dialect::{Dialect, parse_error};
use bowsprit_core::fault::ErrorKind::{self, *};
use serde_json::json;

use Dialect::{AnthropicMessages as Claude, Gemini, OpenAiChat as OpenAi, OpenAiResponses as Responses};

type Row = (Dialect, u16, &'static str, ErrorKind);

fn holds(rows: &[Row]) {
    for (provider, status, body, kind) in rows {
        let read = parse_error(*provider, *status, body.as_bytes());
        assert_eq!(read.kind, *kind, "{provider} {status} {body}");
    }
}

#[rustfmt::skip]
#[test]
fn an_account_that_cannot_pay_is_no_rate_limit() {
    holds(&[
        (OpenAi, 429, r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#, Billing),
        (OpenAi, 429, r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":null}}"#, Billing),
        (OpenAi, 429, r#"{"error":{"message":"No credits.","type":"insufficient_quota","param":null,"code":"credit_balance_exhausted"}}"#, Billing),
        (OpenAi, 429, r#"{"error":{"message":"The project's limit.","type":"insufficient_quota","param":null,"code":"project_spend_limit_exceeded"}}"#, Billing),
        (OpenAi, 400, r#"{"error":{"message":"Billing hard limit has been reached","type":"invalid_request_error","param":null,"code":"billing_hard_limit_reached"}}"#, Billing),
        (OpenAi, 429, r#"{"error":{"message":"Your account is not active, please check your billing details on our website.","type":"billing_not_active","param":null,"code":"billing_not_active"}}"#, Billing),
        (Responses, 200, r#"{"error":{"code":"insufficient_quota","message":"You exceeded your current quota"}}"#, Billing),
        (Claude, 400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."}}"#, Billing),
        (Claude, 402, r#"{"type":"error","error":{"type":"billing_error","message":"x"}}"#, Billing),
        (Claude, 429, r#"{"type":"error","error":{"type":"rate_limit_error","message":"x","details":{"error_code":"enforced_spend_limit_reached"}}}"#, Billing),
        (Claude, 200, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#, Billing),
        (Gemini, 429, r#"{"error":{"code":429,"message":"Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing.","status":"RESOURCE_EXHAUSTED"}}"#, Billing),
        (Gemini, 400, r#"{"error":{"code":400,"message":"Gemini API free tier is not available in your country. Please enable billing on your project in Google AI Studio.","status":"FAILED_PRECONDITION"}}"#, Billing),
        (Gemini, 403, r#"{"error":{"code":403,"message":"This API method requires billing to be enabled. Please enable billing on project #1.","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"BILLING_DISABLED"}]}}"#, Billing),
        (OpenAi, 429, r#"[{"error":{"code":429,"message":"Your prepayment credits are depleted.","status":"RESOURCE_EXHAUSTED"}}]"#, Billing),
        // DeepSeek, OpenRouter, xAI, Moonshot, Mistral, Together, DashScope, Zhipu, resellers.
        (OpenAi, 402, r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#, Billing),
        (OpenAi, 402, r#"{"error":{"message":"Insufficient credits. Add more using https://openrouter.ai/credits","code":402}}"#, Billing),
        (OpenAi, 402, r#"{"error":{"error":{"message":"More credits are required to run this request.","code":402},"code":402}}"#, Billing),
        (OpenAi, 403, r#"{"error":{"message":"Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys","code":403}}"#, Billing),
        (OpenAi, 200, r#"{"error":{"code":402,"message":"Insufficient credits"},"choices":[]}"#, Billing),
        (OpenAi, 429, r#"{"code":"Some resource has been exhausted","error":"Your team 16f has either used all available credits or reached its monthly spending limit."}"#, Billing),
        (OpenAi, 403, r#"{"code":"The caller does not have permission to execute the specified operation","error":"Your newly created team doesn't have any credits yet. You can purchase credits."}"#, Billing),
        (OpenAi, 429, r#"{"error":{"message":"Your account org-1 <ak-2> is suspended due to insufficient balance, please recharge your account or check your plan and billing details","type":"exceeded_current_quota_error"}}"#, Billing),
        (OpenAi, 401, r#"{"error":{"message":"Insufficient balance. Manage your billing here.","type":"CreditsError"}}"#, Billing),
        (OpenAi, 400, r#"{"error":{"message":"Access denied, please make sure your account is in good standing.","type":"Arrearage","param":null,"code":"Arrearage"}}"#, Billing),
        (OpenAi, 429, r#"{"error":{"code":"1113","message":"余额不足或无可用资源包,请充值。"}}"#, Billing),
        (OpenAi, 402, "", Billing),
        (OpenAi, 402, "<html><body>402 Payment Required</body></html>", Billing),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_limit_per_minute_or_day_stays_a_rate_limit() {
    holds(&[
        (OpenAi, 429, r#"{"error":{"message":"Rate limit reached for gpt-4.1 in organization org-1 on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Visit https://platform.openai.com/account/rate-limits to learn more.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#, RateLimited),
        (OpenAi, 429, r#"{"error":{"message":"Slow down.","type":"rate_limit_error","param":null,"code":"slow_down"}}"#, RateLimited),
        (OpenAi, 429, r#"{"error":{"message":"Rate limit reached for model `llama` on tokens per day (TPD). Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing","type":"tokens","code":"rate_limit_exceeded"}}"#, RateLimited),
        (OpenAi, 413, r#"{"error":{"message":"Request too large for model `llama` on tokens per minute (TPM): Limit 6000, Requested 14368, please reduce your message size and try again.","type":"tokens","code":"rate_limit_exceeded"}}"#, RateLimited),
        (Claude, 429, r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 20,000 input tokens per minute."}}"#, RateLimited),
        (Claude, 429, r#"{"type":"error","error":{"type":"rate_limit_error","message":"x","details":{"error_code":"ramp_limit_exceeded"}}}"#, RateLimited),
        (Gemini, 429, r#"{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure"},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34s"}]}}"#, RateLimited),
        (OpenAi, 429, r#"[{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED"}}]"#, RateLimited),
        (OpenAi, 429, r#"{"error":{"message":"Requests rate limit exceeded, please try again later.","type":"limit_requests","code":"Throttling.RateQuota"}}"#, RateLimited),
        (OpenAi, 429, r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"{\"error\":{\"message\":\"Your account is suspended due to insufficient balance\"}}","provider_name":"x"}}}"#, RateLimited),
        (OpenAi, 429, "Too Many Requests", RateLimited),
        (OpenAi, 429, "<html>", RateLimited),
    ]);
}

#[rustfmt::skip]
#[test]
fn an_account_that_is_closed_is_told_from_a_wrong_key() {
    holds(&[
        (OpenAi, 401, r#"{"error":{"message":"The OpenAI account associated with this API key has been deactivated. Please check your email.","type":"invalid_request_error","param":null,"code":"account_deactivated"}}"#, AccountClosed),
        (OpenAi, 403, r#"{"error":{"message":"gone","code":"account_deactivated"}}"#, AccountClosed),
        (Claude, 400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"This organization has been disabled."}}"#, AccountClosed),
        (Claude, 400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"x","details":{"error_code":"organization_on_hold"}}}"#, AccountClosed),
        (Claude, 403, r#"{"type":"error","error":{"type":"permission_error","message":"Your organization has been disabled."}}"#, AccountClosed),
        (Gemini, 403, r#"{"error":{"code":403,"message":"Your API key was reported as leaked. Please use another API key.","status":"PERMISSION_DENIED"}}"#, AccountClosed),
        (Gemini, 403, r#"{"error":{"code":403,"message":"Permission denied: Consumer 'api_key:x' has been suspended.","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"CONSUMER_SUSPENDED"}]}}"#, AccountClosed),
        (OpenAi, 400, r#"{"error":{"message":"Organization has been restricted. Please reach out to support.","type":"invalid_request_error","code":"organization_restricted"}}"#, AccountClosed),
        (OpenAi, 403, r#"{"code":"forbidden","error":"The API key xai-1 is disabled and cannot be used to perform requests."}"#, AccountClosed),
        (OpenAi, 401, r#"{"error":{"message":"This key has been revoked.","code":401}}"#, AccountClosed),
        (OpenAi, 401, r#"{"error":{"message":"User not found.","code":401}}"#, Authentication),
        (OpenAi, 400, r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***ab. You can obtain an API key from https://console.x.ai."}"#, Authentication),
        (Gemini, 400, r#"{"error":{"code":400,"message":"API key expired. Please renew the API key.","status":"INVALID_ARGUMENT"}}"#, Authentication),
        (OpenAi, 403, r#"{"error":{"message":"You have insufficient permissions for this operation.","type":"invalid_request_error","param":null,"code":"missing_scope"}}"#, Permission),
    ]);
}

#[test]
fn no_text_of_a_callers_takes_a_key_away() {
    for words in [
        "Your credit balance is too low",
        "insufficient balance",
        "This organization has been disabled.",
        "API key not valid",
    ] {
        for message in [
            format!("Invalid value: '{words}'. Supported values are: 'a' and 'b'."),
            format!("messages.0.content: \"{words}\" is not allowed"),
            format!("1 validation error for Body: field `{words}`"),
            format!("{} {words}", "The schema of the tool is not valid: ".repeat(6)),
        ] {
            let body = json!({"error": {"message": message, "type": "invalid_request_error"}}).to_string();
            for provider in Dialect::ALL {
                assert_eq!(
                    parse_error(provider, 400, body.as_bytes()).kind,
                    InvalidRequest,
                    "{message}"
                );
            }
        }
    }
}

#[rustfmt::skip]
#[test]
fn a_prompt_that_is_too_long_is_known_in_every_servers_words() {
    holds(&[
        (OpenAi, 400, r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#, ContextLength),
        (Responses, 400, r#"{"error":{"message":"Your input exceeds the context window of this model. Please adjust your input and try again.","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}"#, ContextLength),
        (OpenAi, 400, r#"{"error":{"message":"Invalid 'messages[1].content': string too long.","type":"invalid_request_error","param":"messages[1].content","code":"string_above_max_length"}}"#, ContextLength),
        (OpenAi, 400, r#"{"error":{"message":"Invalid 'metadata.a': string too long.","type":"invalid_request_error","param":"metadata.a","code":"string_above_max_length"}}"#, InvalidRequest),
        // vLLM, SGLang, llama.cpp, Ollama, TGI, LM Studio, TensorRT.
        (OpenAi, 400, r#"{"object":"error","message":"This model's maximum context length is 40960 tokens. However, you requested 41060 tokens.","type":"BadRequestError","param":null,"code":400}"#, ContextLength),
        (OpenAi, 400, r#"{"object":"error","message":"The decoder prompt (length 5000) is longer than the maximum model length of 4096.","type":"BadRequestError","param":null,"code":400}"#, ContextLength),
        (OpenAi, 400, r#"{"object":"error","message":"The input (9000 tokens) is longer than the model's context length (8192 tokens).","type":"BadRequestError","code":400}"#, ContextLength),
        (OpenAi, 400, r#"{"error":{"code":400,"message":"request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":4390,"n_ctx":4096}}"#, ContextLength),
        (OpenAi, 500, r#"{"error":{"code":500,"message":"Context size has been exceeded.","type":"server_error"}}"#, ContextLength),
        (OpenAi, 200, r#"{"error":{"code":400,"message":"the request exceeds the available context size. try increasing the context size or enable context shift","type":"invalid_request_error"}}"#, ContextLength),
        (OpenAi, 400, r#"{"error":{"message":"prompt too long; exceeded max context length by 12 tokens","type":"invalid_request_error"}}"#, ContextLength),
        (OpenAi, 500, r#"{"error":{"message":"the input length exceeds the context length","type":"api_error"}}"#, ContextLength),
        (OpenAi, 422, r#"{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 1512. Given: 1000 `inputs` tokens and 1024 `max_new_tokens`","error_type":"validation"}"#, ContextLength),
        (OpenAi, 422, r#"{"error":"Input validation error: `inputs` must have less than 1024 tokens. Given: 1168","error_type":"validation"}"#, ContextLength),
        (OpenAi, 400, r#"{"error":"Trying to keep the first 10136 tokens when context the overflows. However, the model is loaded with context length of only 7866 tokens"}"#, ContextLength),
        (OpenAi, 400, "Prompt length (9000) exceeds maximum input length (8192).", ContextLength),
        // Mistral, Groq, xAI, Copilot, Moonshot, Zhipu, DashScope, OpenRouter.
        (OpenAi, 400, r#"{"object":"error","message":"Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length","type":"invalid_request_prompt","param":null,"code":"3051"}"#, ContextLength),
        (OpenAi, 400, r#"{"error":{"message":"Please reduce the length of the messages or completion.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#, ContextLength),
        (OpenAi, 400, r#"{"code":"Client specified an invalid argument","error":"This model's maximum prompt length is 131072 but the request contains 537812 tokens."}"#, ContextLength),
        (OpenAi, 400, r#"{"error":{"message":"prompt token count of 93854 exceeds the limit of 90000","param":"","code":"","type":""}}"#, ContextLength),
        (OpenAi, 400, r#"{"error":{"message":"Your request exceeded model token limit: 262144 (requested: 290000)","type":"invalid_request_error"}}"#, ContextLength),
        (OpenAi, 400, r#"{"error":{"code":"1261","message":"Prompt exceeds max length"}}"#, ContextLength),
        (OpenAi, 400, r#"{"error":{"code":"invalid_parameter_error","message":"<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 98304]","type":"invalid_request_error"}}"#, ContextLength),
        (OpenAi, 400, r#"{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"error\":{\"message\":\"prompt is too long: 210000 tokens > 200000 maximum\"}}"}}}"#, ContextLength),
        (Claude, 400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#, ContextLength),
        (Claude, 400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000"}}"#, ContextLength),
        (Claude, 200, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Prompt is too long"}}"#, ContextLength),
        (Gemini, 400, r#"{"error":{"code":400,"message":"The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#, ContextLength),
    ]);
}

#[rustfmt::skip]
#[test]
fn what_a_filter_holds_back_sets_no_key_aside() {
    holds(&[
        (OpenAi, 400, r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#, ContentFilter),
        (OpenAi, 400, r#"{"error":{"message":"Invalid prompt: your prompt was flagged as potentially violating our usage policy.","type":"invalid_request_error","param":null,"code":"invalid_prompt"}}"#, ContentFilter),
        (OpenAi, 400, r#"{"error":{"message":"Your request was rejected as a result of our safety system.","type":"image_generation_user_error","param":null,"code":"moderation_blocked"}}"#, ContentFilter),
        (OpenAi, 400, r#"{"error":{"message":"Content Exists Risk","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#, ContentFilter),
        (OpenAi, 400, r#"{"error":{"message":"Input data may contain inappropriate content.","type":"data_inspection_failed","code":"data_inspection_failed"}}"#, ContentFilter),
        (OpenAi, 400, r#"{"error":{"message":"The request was rejected because it was considered high risk","type":"content_filter"}}"#, ContentFilter),
        (OpenAi, 403, r#"{"code":"The caller does not have permission","error":"Content violates usage guidelines. Team: 1"}"#, ContentFilter),
        (OpenAi, 403, r#"{"error":{"code":403,"message":"openai/gpt-4 requires moderation. Your input was flagged for violence.","metadata":{"reasons":["violence"]}}}"#, ContentFilter),
        (Claude, 400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#, ContentFilter),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_model_that_is_not_there_is_known_whatever_the_status() {
    holds(&[
        (OpenAi, 404, r#"{"error":{"message":"The model `x` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#, NotFound),
        (OpenAi, 403, r#"{"error":{"message":"Project `p` does not have access to model `x`","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#, NotFound),
        (OpenAi, 404, r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":"model","code":404}"#, NotFound),
        (OpenAi, 400, r#"{"error":{"message":"model 'x' does not exist","type":"invalid_request_error"}}"#, NotFound),
        (OpenAi, 404, r#"{"error":{"message":"model \"x\" not found, try pulling it first","type":"api_error","param":null,"code":null}}"#, NotFound),
        (OpenAi, 400, r#"{"object":"error","message":"Invalid model: x","type":"invalid_model","param":null,"code":"1500"}"#, NotFound),
        (OpenAi, 400, r#"{"error":{"message":"The model `x` has been decommissioned and is no longer supported.","type":"invalid_request_error","code":"model_decommissioned"}}"#, NotFound),
        (OpenAi, 400, r#"{"error":{"message":"Model Not Exist","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#, NotFound),
        (OpenAi, 400, r#"{"error":{"message":"x/y is not a valid model ID","code":400}}"#, NotFound),
        (OpenAi, 400, r#"{"error":{"message":"The requested model 'x' is not supported by any provider you have enabled.","type":"invalid_request_error","param":"model","code":"model_not_supported"}}"#, NotFound),
        (OpenAi, 404, r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#, NotFound),
        (OpenAi, 404, r#"{"detail":"Not Found"}"#, NotFound),
        (OpenAi, 404, "404 page not found", NotFound),
        (Claude, 404, r#"{"type":"error","error":{"type":"not_found_error","message":"model: x"}}"#, NotFound),
        (Gemini, 404, r#"{"error":{"code":404,"message":"models/x is not found for API version v1beta, or is not supported for generateContent.","status":"NOT_FOUND"}}"#, NotFound),
        // Another thing that does not exist is the caller's mistake.
        (OpenAi, 400, r#"{"error":{"message":"The file file-1 does not exist","type":"invalid_request_error"}}"#, InvalidRequest),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_server_without_room_is_told_from_one_that_failed() {
    holds(&[
        (OpenAi, 503, r#"{"error":{"message":"Our servers are currently overloaded. Please try again later.","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}"#, Overloaded),
        (OpenAi, 429, r#"{"error":{"message":"The engine is currently overloaded, please try again later","type":"engine_overloaded_error"}}"#, Overloaded),
        (OpenAi, 429, r#"{"error":"Model is overloaded","error_type":"overloaded"}"#, Overloaded),
        (OpenAi, 429, r#"{"object":"error","message":"Service tier capacity exceeded for this model.","type":"service_tier_capacity_exceeded","param":null,"code":"3505"}"#, Overloaded),
        (OpenAi, 498, r#"{"error":{"message":"Flex tier capacity exceeded.","type":"","code":"capacity_exceeded"}}"#, Overloaded),
        (OpenAi, 500, r#"{"error":{"message":"Selected model is at capacity. Please try a different model.","type":"server_error"}}"#, Overloaded),
        (Responses, 200, r#"{"error":{"code":"server_is_overloaded","message":"Our servers are currently overloaded."}}"#, Overloaded),
        (Claude, 529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Overloaded),
        (Claude, 500, r#"{"type":"error","error":{"type":"api_error","message":"Overloaded"}}"#, Overloaded),
        (Claude, 200, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Overloaded),
        (Gemini, 503, r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#, Overloaded),
        (Gemini, 200, r#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#, Overloaded),
        (OpenAi, 500, r#"{"error":{"message":"The server had an error","type":"server_error","param":null,"code":"server_error"}}"#, Internal),
        (OpenAi, 200, r#"{"error":{"message":"upstream provider failed","code":"502"}}"#, Internal),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_gateways_page_is_read_by_its_status() {
    for (status, kind) in [
        (400, InvalidRequest), (403, Permission), (404, NotFound), (408, Timeout), (413, TooLarge), (429, RateLimited), (500, Internal),
        (502, Internal), (503, Overloaded), (504, Timeout), (520, Internal), (521, Internal), (522, Timeout), (523, Internal), (524, Timeout),
        (529, Overloaded), (530, Internal),
    ] {
        for body in ["", "<html><body><h1>error code: 522</h1>billing overloaded</body></html>", "\u{0}\u{1}", "{\"half\":"] {
            for provider in Dialect::ALL {
                let read = parse_error(provider, status, body.as_bytes());
                assert_eq!(read.kind, kind, "{status} {body:?}");
                assert!(!read.message.contains('<'), "no page is shown to a caller");
            }
        }
    }
}

#[test]
fn the_message_is_found_wherever_a_server_puts_it() {
    for body in [
        json!({"error": {"message": "why"}}),
        json!({"error": {"error": {"message": "why"}}}),
        json!({"error": "why"}),
        json!({"error": ["why"]}),
        json!({"errors": [{"message": "why", "code": 7}]}),
        json!({"message": "why"}),
        json!({"detail": "why"}),
        json!({"detail": [{"loc": ["body"], "msg": "why"}]}),
        json!({"object": "error", "message": {"detail": [{"msg": "why"}]}}),
        json!({"error": {"message": "", "metadata": {"raw": "why"}}}),
        json!([{"error": {"message": "why"}}]),
    ] {
        let read = parse_error(OpenAi, 400, body.to_string().as_bytes());
        assert_eq!(read.message, "why", "{body}");
    }
    assert_eq!(parse_error(OpenAi, 400, b"why").message, "why");
}
