//! `OpenAI`'s models at `Azure`: <https://learn.microsoft.com/azure/ai-foundry/openai/latest>.
//!
//! The v1 API is `OpenAI`'s own below another base URL (`https://NAME.openai.azure.com/openai/v1`), needs no `api-version`,
//! and takes a deployment's name as the model. Its older paths, with the deployment and a dated version in the URL, are not
//! spoken.

use bowsprit_crds::ProviderKind;
use http::HeaderName;
use http::header::AUTHORIZATION;

use super::public::openai_path;
use super::row::{AuthScheme, ModelPlace, Platform};
use crate::dialect::Dialect;

const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// A key of the resource, or a token of Entra ID.
static KEYS: [HeaderName; 2] = [API_KEY, AUTHORIZATION];

/// `Azure`'s v1 API.
pub(super) static AZURE_OPENAI: Platform = Platform {
    kind: ProviderKind::AzureOpenAI,
    dialect: Dialect::OpenAiChat,
    native: &[Dialect::OpenAiResponses],
    auth: AuthScheme {
        header: API_KEY,
        prefix: "",
    },
    caller_keys: &KEYS,
    headers: &[],
    model: ModelPlace::Body,
    models: "/models",
    // The reference of the v1 API has no such operation.
    counts: None,
    allowed_tools: true,
    genai_name: "azure.ai.openai",
    genai_operation: "chat",
    path: openai_path,
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Provider, Scope};
    use crate::dialect::embeddings::EmbeddingsApi;
    use crate::dialect::{parse_error, success_error};
    use crate::fault::ErrorKind;
    use crate::platform::{Endpoint, Framing};

    fn provider(base_url: Option<&str>) -> Result<Provider, String> {
        let mut spec = BTreeMap::from([
            ("provider", serde_json::json!("AzureOpenAI")),
            ("credentials", serde_json::json!([{"name": "main", "file": "/key"}])),
        ]);
        if let Some(url) = base_url {
            spec.insert("endpoint", serde_json::json!({"baseUrl": url}));
        }
        let spec = serde_json::from_value(serde_json::json!(spec)).unwrap();
        Provider::from_spec("azure", &spec, &Scope::Standalone).map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_resource_makes_the_paths_of_the_v1_api() {
        for url in [
            "https://ours.openai.azure.com",
            "https://ours.openai.azure.com/openai/",
            "https://ours.openai.azure.com/openai/v1",
        ] {
            let provider = provider(Some(url)).unwrap();
            let platform = provider.platform;
            let whole = |endpoint, wire| {
                let path = platform.path(endpoint, wire, "our-deployment")?;
                Some(format!("{}{path}", provider.base_url.path()))
            };
            let generate = Endpoint::Generate(Framing::Events);
            for (endpoint, caller, path) in [
                (generate, Dialect::OpenAiChat, "/openai/v1/chat/completions"),
                (generate, Dialect::AnthropicMessages, "/openai/v1/chat/completions"),
                (generate, Dialect::OpenAiResponses, "/openai/v1/responses"),
                (
                    Endpoint::Embed(EmbeddingsApi::OpenAi),
                    Dialect::OpenAiChat,
                    "/openai/v1/embeddings",
                ),
            ] {
                assert_eq!(whole(endpoint, platform.wire(caller)).as_deref(), Some(path), "{url}");
            }
            assert_eq!(whole(Endpoint::Count, Dialect::OpenAiResponses), None);
        }
    }

    #[test]
    fn no_resource_and_a_deployments_own_url_are_refused_with_what_is_right() {
        let problem = provider(None).unwrap_err();
        assert!(problem.contains("is required for AzureOpenAI"), "{problem}");
        for path in ["openai/deployments/d", "openai/deployments/d/chat/completions", "v1"] {
            let problem = provider(Some(&format!("https://ours.openai.azure.com/{path}"))).unwrap_err();
            assert!(
                problem.contains("use https://ours.openai.azure.com/openai/v1"),
                "{problem}"
            );
        }
    }

    #[test]
    fn its_errors_are_read() {
        for (status, body, kind) in [
            (
                400,
                r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"}}}}}"#,
                ErrorKind::ContentFilter,
            ),
            (
                404,
                r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again."}}"#,
                ErrorKind::NotFound,
            ),
            (
                401,
                r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource."}}"#,
                ErrorKind::Authentication,
            ),
            (
                429,
                r#"{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded call rate limit of your current OpenAI S0 pricing tier. Please retry after 12 seconds."}}"#,
                ErrorKind::RateLimited,
            ),
        ] {
            let error = parse_error(Dialect::OpenAiChat, status, body.as_bytes());
            assert_eq!(error.kind, kind, "{body}");
        }
        // The verdict on the prompt, which comes first in a stream and in every answer, is no error.
        let first = r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}"#;
        assert_eq!(success_error(Dialect::OpenAiChat, first.as_bytes()), None);
    }
}
