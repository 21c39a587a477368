//! The scripted providers of a namespace, through their control port.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::Bed;

/// The port of the control API.
const CONTROL: u16 = 9101;

/// A ProviderConfig whose breaker opens after three failures, and lets a probe through after `OPEN_FOR`.
const QUICK: &str = r#"
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: claude}
spec:
  provider: Anthropic
  priority: 10
  endpoint: {baseUrl: "http://providers.NAMESPACE.svc:9100", allowHttp: true}
  credentials: [{name: main, secretKeyRef: {name: keys, key: anthropic}}]
  models: [{name: claude-sonnet-4-5, aliases: [gpt-5-mini]}]
  defaultModel: claude-sonnet-4-5
  retry: {maxAttempts: 1}
  circuitBreaker: {failureThreshold: 3, openFor: OPEN_FOR}
"#;

/// The ProviderConfig `claude` with a breaker that opens after three failures, and lets a probe through after so long, such as `10m`.
pub fn quick_breaker(open_for: &str) -> String {
    QUICK.replace("OPEN_FOR", open_for)
}

/// The control API of the scripted providers.
pub struct Providers<'a> {
    bed: &'a Bed,
}

impl<'a> Providers<'a> {
    pub(crate) fn new(bed: &'a Bed) -> Self {
        Self { bed }
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let (status, text) = self.bed.pod_http(method, "providers", CONTROL, path, body).await?;
        ensure!(
            status == 200,
            "the scripted providers answered {method} {path} with {status}: {text}"
        );
        serde_json::from_str(&text).with_context(|| format!("{path} is no JSON: {text}"))
    }

    /// From now on, requests to `api` (`anthropic`, `gemini`, `openai`) are treated like this.
    pub async fn always(&self, api: &str, act: Value) -> Result<()> {
        let script = json!({"always": [{"when": {"api": api}, "do": act}]});
        self.call("POST", "/script", &script.to_string()).await.map(drop)
    }

    /// From now on, every request is answered, and those seen before are forgotten.
    pub async fn reset(&self) -> Result<()> {
        self.call("POST", "/reset", "{}").await.map(drop)
    }

    /// From now on, requests are treated as the first of these rules says that is for them, each `{when, do}`.
    pub async fn rules(&self, rules: &[Value]) -> Result<()> {
        let script = json!({"always": rules});
        self.call("POST", "/script", &script.to_string()).await.map(drop)
    }

    /// The totals.
    pub async fn counts(&self) -> Result<Value> {
        self.call("GET", "/counts", "").await
    }

    /// What was generated, by model.
    pub async fn bill(&self) -> Result<Value> {
        self.call("GET", "/bill", "").await
    }

    /// The requests to `api`, oldest first, each with `key`, `model`, `headers`, `body`, ...
    pub async fn requests(&self, api: &str) -> Result<Vec<Value>> {
        let all = self.call("GET", "/requests", "").await?;
        let all = all.as_array().cloned().unwrap_or_default();
        Ok(all.into_iter().filter(|request| request["api"] == *api).collect())
    }

    /// The number and the key of every request that came, oldest first.
    pub async fn keys(&self) -> Result<Vec<(u64, String)>> {
        let all = self.call("GET", "/requests", "").await?;
        let all = all.as_array().cloned().unwrap_or_default();
        let key = |request: &Value| {
            let key = request["key"].as_str().unwrap_or_default().to_owned();
            (request["id"].as_u64().unwrap_or_default(), key)
        };
        Ok(all.iter().map(key).collect())
    }

    /// How many requests came for `api`.
    pub async fn asked(&self, api: &str) -> Result<u64> {
        Ok(self.counts().await?["by_api"][api].as_u64().unwrap_or_default())
    }
}
