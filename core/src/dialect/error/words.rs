//! The words of providers: what a code, a type, a status or a message says, in the vocabulary of every server known.
//!
//! Sources: the error pages of `OpenAI`, `Anthropic`, `Gemini`, `Azure`, `Mistral`, `Groq`, `xAI`, `DeepSeek`, `OpenRouter`,
//! `Moonshot`, `DashScope` and `Zhipu`; the sources of vLLM, `SGLang`, llama.cpp, `Ollama`, TGI and LM Studio; and public reports
//! where a page is silent. All messages are compared in lower case.

use crate::fault::ErrorKind;

/// Codes, types, statuses and reasons, by what they mean, the more exact first; compared in full and in lower
/// case. Names that only
/// repeat the status' class (`invalid_request_error`, `INVALID_ARGUMENT`) are left out: a more exact one may stand beside
/// them, and the status says as much.
pub(super) const NAMES: &[(ErrorKind, &[&str])] = &[
    (
        ErrorKind::Billing,
        &[
            "insufficient_quota",
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "project_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "billing_hard_limit_reached",
            "billing_not_active",
            "billing_error",
            // Anthropic's `details.error_code`.
            "contract_spend_limit_reached",
            "enforced_spend_limit_reached",
            "linked_organization_spend_limit_reached",
            "linked_organization_billing_unavailable",
            // Google's ErrorInfo.
            "billing_disabled",
            // Moonshot, DashScope and resellers.
            "exceeded_current_quota_error",
            "arrearage",
            "creditserror",
            "payment_required",
            "insufficient_balance",
            "insufficient_credits",
            "insufficient_funds",
        ],
    ),
    (
        ErrorKind::AccountClosed,
        &[
            "account_deactivated",
            "account_disabled",
            "account_suspended",
            "deactivated_workspace",
            "organization_deactivated",
            // Anthropic's `details.error_code`.
            "organization_on_hold",
            // Groq, Google, Moonshot.
            "organization_restricted",
            "consumer_suspended",
            "access_terminated_error",
        ],
    ),
    (
        ErrorKind::ContextLength,
        &[
            "context_length_exceeded",
            "context_window_exceeded",
            "model_context_window_exceeded",
            "model_max_prompt_tokens_exceeded",
            // llama.cpp and its kin.
            "exceed_context_size_error",
            "context_exceeded",
        ],
    ),
    (
        ErrorKind::ContentFilter,
        &[
            "content_filter",
            "content_policy_violation",
            "image_content_policy_violation",
            "responsibleaipolicyviolation",
            "moderation_blocked",
            // DashScope.
            "data_inspection_failed",
            "datainspectionfailed",
        ],
    ),
    (
        ErrorKind::Authentication,
        &[
            "invalid_api_key",
            "authentication_error",
            "invalid_authentication_error",
            "unauthenticated",
            "api_key_invalid",
            "api_key_expired",
        ],
    ),
    (
        ErrorKind::Permission,
        &[
            "permission_error",
            "permission_denied",
            "missing_scope",
            "unsupported_country_region_territory",
        ],
    ),
    (
        ErrorKind::NotFound,
        &[
            "model_not_found",
            "model_not_supported",
            "model_decommissioned",
            "invalid_model",
            "deploymentnotfound",
            "not_found_error",
            "not_found",
        ],
    ),
    (
        ErrorKind::TooLarge,
        &["request_too_large", "request_body_too_large_after_decoding"],
    ),
    (
        ErrorKind::Overloaded,
        &[
            "overloaded_error",
            "unavailable",
            "overloaded",
            "engine_overloaded",
            "engine_overloaded_error",
            "server_overloaded",
            "server_is_overloaded",
            // Groq's flexible tier, Mistral's tiers.
            "capacity_exceeded",
            "service_tier_capacity_exceeded",
        ],
    ),
    (
        ErrorKind::RateLimited,
        &[
            "rate_limit_exceeded",
            "rate_limit_error",
            "resource_exhausted",
            "too_many_requests",
            "slow_down",
            "throttling",
        ],
    ),
    (ErrorKind::Timeout, &["timeout_error", "deadline_exceeded", "timeout"]),
    (
        ErrorKind::Internal,
        &[
            "api_error",
            "server_error",
            "internal_error",
            "internal_server_error",
            "internal",
            "unknown",
        ],
    ),
];

/// The prompt does not fit. `*` stands for one word, here and below.
pub(super) const CONTEXT: &[&str] = &[
    // Anthropic; Ollama and Bedrock.
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "exceed context limit",
    // OpenAI, vLLM, DeepSeek, Mistral, OpenRouter; Responses; xAI.
    "maximum context length",
    "exceeds the context window",
    "exceed context window",
    "exceed the context window",
    "maximum prompt length",
    // Gemini.
    "exceeds the maximum number of tokens",
    // llama.cpp.
    "exceeds the available context size",
    "context size has been exceeded",
    // vLLM, SGLang, TensorRT.
    "longer than the maximum model length",
    "longer than the model's context length",
    "exceeds maximum input length",
    // Ollama, LM Studio.
    "exceeds the context length",
    "context length exceeded",
    "exceeded max context length",
    "context the overflows",
    "greater than the context length",
    // TGI.
    "tokens + `max_new_tokens` must be <=",
    "`inputs` must have less than",
    // Groq, Cerebras, Copilot, Moonshot, Zhipu, MiniMax, Cohere, DashScope.
    "reduce the length of the messages",
    "prompt token count of * exceeds the limit",
    "exceeded model token limit",
    "prompt exceeds max length",
    "context window exceeds limit",
    "number of tokens in the prompt cannot exceed",
    "range of input length should be",
];

/// The account cannot pay.
pub(super) const BILLING: &[&str] = &[
    // Anthropic, OpenAI.
    "your credit balance is too low",
    "your account is not active, please check your billing",
    "billing hard limit",
    // Gemini.
    "prepayment credits are depleted",
    "credits are depleted",
    "this api method requires billing to be enabled",
    "gemini api free tier is not available in your country",
    "please enable billing",
    "billing account for the owning project is disabled",
    "billing account * not found",
    // DeepSeek, Moonshot, OpenRouter, xAI, Together and resellers.
    "insufficient balance",
    "insufficient credit",
    "insufficient funds",
    "insufficient account balance",
    "not enough credits",
    "this request requires more credits",
    "more credits are required",
    "run out of credits",
    "out of credits",
    "used all available credits",
    "doesn't have any credits",
    "does not have any credits",
    "no credits left",
    "spending limit",
    "key limit exceeded",
    "payment required",
    // DashScope: its code is `Arrearage`; Zhipu.
    "make sure your account is in good standing",
    "余额不足",
    "欠费",
];

/// What `OpenAI` says of an empty account, and `Gemini` of a limit per minute or day. It counts where the error has no
/// Google status.
pub(super) const QUOTA: &[&str] = &["exceeded your current quota"];

/// Whose end it is that closes a key ...
pub(super) const CLOSED_WHO: &[&str] = &[
    "account",
    "organization",
    "organisation",
    "key",
    "team",
    "workspace",
    "project",
];
/// ... and what has become of it, behind `has been`, `is` or `was`.
pub(super) const CLOSED_HOW: &[&str] = &[
    "deactivated",
    "disabled",
    "suspended",
    "revoked",
    "terminated",
    "banned",
    "blocked",
    "closed",
    "deleted",
    "reported as leaked",
];

/// The key is not known.
pub(super) const KEY: &[&str] = &[
    "api key not valid",
    "api key expired",
    "api key not found",
    "invalid api key",
    "incorrect api key",
    "please pass a valid api key",
];

/// The prompt or the answer was held back for its content.
pub(super) const FILTER: &[&str] = &[
    // Azure, OpenAI, Anthropic.
    "content management policy",
    "flagged as potentially violating",
    "rejected as a result of our safety system",
    "rejected by the safety system",
    "content filtering policy",
    // DeepSeek, DashScope, Moonshot, xAI, OpenRouter.
    "content exists risk",
    "inappropriate content",
    "considered high risk",
    "content violates usage guidelines",
    "requires moderation",
];

/// The model is not there.
pub(super) const MODEL: &[&str] = &[
    "model not exist",
    "model not found",
    "model does not exist",
    "model is not found",
    "model * does not exist",
    "model * not found",
    "model * is not found",
    "models/* is not found",
    "model * is not supported by any provider",
    "is not a valid model",
    "unknown model",
    "invalid model: ",
    "invalid model name",
];

/// The server has no room.
pub(super) const OVERLOADED: &[&str] = &[
    "overloaded",
    "at capacity",
    "capacity exceeded",
    "no capacity",
    "over capacity",
    "out of capacity",
    "insufficient capacity",
];

/// The body is too large.
pub(super) const TOO_LARGE: &[&str] = &["request payload size exceeds", "request entity too large"];

/// Codes by which `OpenAI`'s API says what is wrong with a request; servers that are compatible with it use them too.
pub(super) const OPENAI_EXACT: &[&str] = &[
    "unsupported_parameter",
    "unsupported_value",
    "unknown_parameter",
    "missing_required_parameter",
    "invalid_type",
    "invalid_value",
    "invalid_prompt",
    "invalid_json",
    "invalid_json_schema",
    "invalid_function_parameters",
    "invalid_image",
    "invalid_image_format",
    "invalid_image_url",
    "invalid_base64_image",
    "image_parse_error",
    "image_too_large",
    "string_above_max_length",
    "string_below_min_length",
    "array_above_max_length",
    "array_below_min_length",
    "empty_array",
    "empty_string",
    "integer_above_max_value",
    "integer_below_min_value",
    "decimal_above_max_value",
    "decimal_below_min_value",
];
