//! OpenAI's models at Azure: the same dialects at another platform.

use bowsprit_providers::{Answer, Behaviour};
use serde_json::{Value, json};

use crate::support::{Bed, CANARIES, Reply, chat, message};

/// The provider "openai" as a resource of Azure's.
async fn bed() -> Bed {
    Bed::with(|name, spec| {
        if name == "openai" {
            let url = spec["endpoint"]["baseUrl"].as_str().unwrap();
            spec["endpoint"]["baseUrl"] = url.replace("/v1", "").into();
            spec["provider"] = json!("AzureOpenAI");
        }
    })
    .await
}

async fn send(bed: &Bed, path: &str, body: &Value) -> Reply {
    Reply::of(bed.post(path, body).send().await.unwrap()).await
}

#[tokio::test]
async fn every_operation_goes_to_the_v1_api_with_the_key_in_its_own_header() {
    let bed = bed().await;
    bed.openai.always(Answer::new("Ahoy"));
    let responses = json!({"model": "gpt-4.1-mini", "input": "hello", "stream": true});
    for (path, body, asked) in [
        (
            "/v1/chat/completions",
            chat("gpt-4.1-mini", false),
            "/openai/v1/chat/completions",
        ),
        (
            "/v1/chat/completions",
            chat("gpt-4.1-mini", true),
            "/openai/v1/chat/completions",
        ),
        (
            "/v1/messages",
            message("gpt-4.1-mini", false),
            "/openai/v1/chat/completions",
        ),
        ("/v1/responses", responses, "/openai/v1/responses"),
        (
            "/providers/openai/files",
            json!({"purpose": "batch"}),
            "/openai/v1/files",
        ),
        (
            "/providers/openai/openai/v1/files",
            json!({"purpose": "batch"}),
            "/openai/v1/files",
        ),
    ] {
        let reply = send(&bed, path, &body).await;
        let requests = bed.openai.requests();
        let seen = requests.last().unwrap();
        assert_eq!(seen.path, asked, "{path}");
        assert_eq!(seen.header("api-key"), Some(CANARIES[2]), "{path}");
        assert_eq!(seen.header("authorization"), None, "{path}");
        if !path.starts_with("/providers") {
            assert_eq!((reply.status, reply.provider()), (200, "openai"), "{}", reply.text);
            assert!(reply.text.contains("Ahoy"), "{}", reply.text);
        }
    }
    let tokens = bed.metrics().await;
    assert!(tokens.contains(r#"gen_ai_provider_name="azure.ai.openai""#), "{tokens}");
    bed.balanced().await;
}

#[tokio::test]
async fn a_prompt_that_its_filter_refuses_is_told_as_such() {
    let bed = bed().await;
    let filtered = json!({"error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "type": null, "param": "prompt", "code": "content_filter", "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation"},
    }});
    bed.openai.always(Behaviour::status(400).body(filtered.to_string()));
    let reply = send(&bed, "/v1/messages", &message("gpt-4.1-mini", false)).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    assert_eq!(
        reply.json()["error"]["bowsprit_code"],
        "BIZ_CONTENT_FILTERED",
        "{}",
        reply.text
    );
}
