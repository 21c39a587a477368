//! What is written to a sidecar's configuration, and what is asked of it.

use serde_json::{Value, json};

/// A ProviderConfig as one document of several.
pub fn provider(name: &str, spec: &Value) -> String {
    document("ProviderConfig", name, spec)
}

/// A ModelRoute as one document of several.
pub fn route(name: &str, spec: &Value) -> String {
    document("ModelRoute", name, spec)
}

/// A UsagePolicy as one document of several.
pub fn policy(name: &str, spec: &Value) -> String {
    document("UsagePolicy", name, spec)
}

fn document(kind: &str, name: &str, spec: &Value) -> String {
    let document = json!({
        "apiVersion": "bowsprit.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    });
    format!("---\n{document}\n")
}

/// A chat completions body.
pub fn chat(model: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello"}]})
}

/// A messages body.
pub fn message(model: &str, stream: bool) -> Value {
    json!({"model": model, "max_tokens": 64, "stream": stream, "messages": [{"role": "user", "content": "hello"}]})
}

/// A generateContent body.
pub fn contents() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]})
}
