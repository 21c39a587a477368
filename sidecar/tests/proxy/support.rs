//! A sidecar in process, with three scripted providers behind it.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use bowsprit_providers::{Api, Behaviour, Options, Provider, Seen};
use bowsprit_rig::connection::{Connection, Lookout};
use bowsprit_rig::documents;
pub use bowsprit_rig::documents::{chat, contents, message};
use bowsprit_rig::http::post;
use bowsprit_rig::inside::Sidecar;
use bowsprit_rig::metrics::sum;
use bowsprit_rig::peer::Peer;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use bowsprit_rig::SOON;

/// The providers' keys, which end alike: no text of ours may ever hold one.
pub const CANARIES: [&str; 3] = [
    "sk-canary-claude-7f3a",
    "AIza-canary-gemini-7f3a",
    "sk-canary-openai-7f3a",
];

pub struct Bed {
    pub claude: Provider,
    pub gemini: Provider,
    pub openai: Provider,
    pub sidecar: Option<Sidecar>,
    pub dir: TempDir,
    lookout: Lookout,
    http: reqwest::Client,
    base: String,
    admin: String,
}

impl Bed {
    /// Three providers, Claude first, then Gemini, then OpenAI, without retries unless a test asks for them.
    pub async fn new() -> Self {
        Self::with(|_, _| {}).await
    }

    /// The same, with each provider's spec changed.
    pub async fn with(change: impl Fn(&str, &mut Value)) -> Self {
        Self::build(change, &[]).await
    }

    /// The same, with more arguments.
    pub async fn build(change: impl Fn(&str, &mut Value), args: &[&str]) -> Self {
        let mut bed = Self::providers();
        bed.write_config(&change);
        bed.start(args);
        bed
    }

    /// The three providers behind a ModelRoute for the model `smart`: `more` is what its spec says beside Claude as the
    /// target and Gemini and OpenAI as fallbacks.
    pub async fn routed(more: Value, change: impl Fn(&str, &mut Value)) -> Self {
        let mut spec = json!({
            "match": {"models": ["smart"]},
            "targets": [{"provider": "claude"}],
            "fallback": [{"provider": "gemini"}, {"provider": "openai"}],
        });
        let spec_fields = spec.as_object_mut().unwrap();
        spec_fields.extend(more.as_object().unwrap().clone());
        let mut bed = Self::providers();
        let documents = bed.documents(&change);
        std::fs::write(bed.config_path(), documents + &documents::route("smart", &spec)).unwrap();
        bed.start(&[]);
        bed
    }

    /// One of the three is made of bytes, and the other two are not configured.
    pub async fn raw(name: &str, change: impl Fn(&mut Value), args: &[&str]) -> (Self, Peer) {
        let peer = Peer::start().await;
        let path = if name == "openai" { "/v1" } else { "" };
        let url = format!("{}{path}", peer.url());
        let change = |provider: &str, spec: &mut Value| {
            if provider == name {
                spec["endpoint"]["baseUrl"] = json!(url);
                change(spec);
            } else {
                *spec = Value::Null;
            }
        };
        (Self::build(change, args).await, peer)
    }

    /// The providers, with nothing in front of them yet.
    pub fn providers() -> Self {
        capture_logs();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let start = |api| Provider::start(Options::api(api)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for (name, key) in ["claude", "gemini", "openai"].iter().zip(CANARIES) {
            std::fs::write(dir.path().join(format!("{name}.key")), format!("{key}\n")).unwrap();
        }
        Self {
            claude: start(Api::Anthropic),
            gemini: start(Api::Gemini),
            openai: start(Api::OpenAi),
            sidecar: None,
            dir,
            lookout: Lookout::new("-7f3a"),
            http: reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            base: String::new(),
            admin: String::new(),
        }
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    /// The three documents.
    pub fn documents(&self, change: &impl Fn(&str, &mut Value)) -> String {
        let entries = [
            ("claude", "Anthropic", self.claude.url(), "claude-sonnet-4-5"),
            ("gemini", "Gemini", self.gemini.url(), "gemini-2.5-flash"),
            ("openai", "OpenAI", format!("{}/v1", self.openai.url()), "gpt-4.1-mini"),
        ];
        let mut text = String::new();
        for (index, (name, kind, url, model)) in entries.into_iter().enumerate() {
            let mut spec = json!({
                "provider": kind,
                "priority": (index + 1) * 10,
                // Listed, as some tests run the same documents as a cluster's, where loopback is not allowed by itself.
                "endpoint": {"baseUrl": url, "allowHttp": true, "allowedAddresses": ["Public", "Private", "Loopback"]},
                "credentials": [{"name": "main", "file": self.dir.path().join(format!("{name}.key"))}],
                "models": [{"name": model, "aliases": [format!("{name}-alias")]}],
                "defaultModel": model,
                "retry": {"maxAttempts": 1},
            });
            change(name, &mut spec);
            if spec.is_null() {
                continue;
            }
            text.push_str(&documents::provider(name, &spec));
        }
        text
    }

    pub fn write_config(&self, change: &impl Fn(&str, &mut Value)) {
        std::fs::write(self.config_path(), self.documents(change)).unwrap();
    }

    pub fn start(&mut self, more: &[&str]) {
        let config = self.config_path();
        let mut args = more.to_vec();
        if !more.contains(&"--config-dir") {
            args.extend(["--config", config.to_str().unwrap()]);
        }
        let running = Sidecar::start(&args).unwrap();
        self.base = format!("http://{}", running.listen);
        self.admin = format!("http://{}", running.admin);
        self.sidecar = Some(running);
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub fn sidecar(&self) -> &Sidecar {
        self.sidecar.as_ref().unwrap()
    }

    /// The access lines so far.
    pub fn access(&self) -> Vec<Value> {
        self.sidecar().access()
    }

    /// The lines of attempts so far.
    pub fn attempts(&self) -> Vec<Value> {
        self.sidecar().attempts()
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.sidecar().listen
    }

    /// A connection to it that sends and receives bytes.
    pub async fn connect(&self) -> Connection {
        Connection::connect(self.address(), &self.lookout).await
    }

    /// The same with next to no room to receive.
    pub async fn connect_narrow(&self) -> Connection {
        Connection::connect_narrow(self.address(), &self.lookout).await
    }

    /// A new connection with these bytes sent on it.
    pub async fn send(&self, bytes: impl AsRef<[u8]>) -> Connection {
        let mut connection = self.connect().await;
        connection.send(bytes).await;
        connection
    }

    /// The same with a request on it.
    pub async fn ask(&self, path: &str, body: &Value) -> Connection {
        self.send(post(path, body)).await
    }

    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http
            .post(self.url(path))
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    /// Posts a body with more headers, and waits for the whole answer.
    pub async fn post_as(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Reply {
        let mut request = self.post(path, body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::of(request.send().await.unwrap()).await
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(self.url(path))
    }

    /// A chat completion for Claude's model: an OpenAI caller, an Anthropic provider first.
    pub async fn chat(&self) -> Reply {
        self.chat_with("claude-sonnet-4-5", false).await
    }

    pub async fn chat_with(&self, model: &str, stream: bool) -> Reply {
        Reply::of(
            self.post("/v1/chat/completions", &chat(model, stream))
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    pub async fn admin(&self, path: &str) -> Reply {
        Reply::of(self.http.get(format!("{}{path}", self.admin)).send().await.unwrap()).await
    }

    pub async fn admin_post(&self, path: &str) -> Reply {
        Reply::of(self.http.post(format!("{}{path}", self.admin)).send().await.unwrap()).await
    }

    pub async fn metrics(&self) -> String {
        self.admin("/metrics").await.text
    }

    /// The value of one series; 0 where there is none yet.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.metrics().await;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// The sum of a family over all its labels.
    pub async fn family(&self, name: &str) -> f64 {
        sum(&self.metrics().await, name, &[])
    }

    pub async fn health(&self) -> Value {
        self.admin("/health").await.json()
    }

    /// One provider at `/health`.
    pub async fn provider_health(&self, name: &str) -> Value {
        let health = self.health().await;
        let providers = health["providers"].as_array().unwrap();
        providers
            .iter()
            .find(|provider| provider["name"] == name)
            .cloned()
            .unwrap_or_default()
    }

    /// Waits for a condition that is looked up again and again.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, condition: impl Fn() -> F) {
        let waiting = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(
            tokio::time::timeout(SOON, waiting).await.is_ok(),
            "not within {SOON:?}: {what}"
        );
    }

    /// Every request ended, and each exactly once: called at the end of the tests that end requests in odd ways.
    pub async fn balanced(&self) {
        self.until("no request is in flight", || async {
            self.family("bowsprit_in_flight").await == 0.0
        })
        .await;
        self.sidecar().holds();
        for provider in self.health().await["providers"].as_array().unwrap() {
            assert_eq!(provider["inFlight"], 0, "a place was not given back: {provider}");
        }
    }
}

/// After every test, whatever it was about; the sums law is checked by the sidecar itself.
impl Drop for Bed {
    fn drop(&mut self) {
        assert!(
            std::thread::panicking() || !self.lookout.found(),
            "a key was sent to a caller"
        );
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub text: String,
    /// Whether the body came to its proper end.
    pub complete: bool,
}

impl Reply {
    pub async fn of(mut response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let mut bytes = Vec::new();
        let complete = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        Self {
            status,
            headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
            complete,
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn provider(&self) -> &str {
        self.header("x-bowsprit-provider")
    }

    /// The data lines of an event stream.
    pub fn events(&self) -> Vec<&str> {
        self.text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .collect()
    }

    /// The text of a chat completion, plain or streamed.
    pub fn content(&self) -> String {
        if self.events().is_empty() {
            return self.json()["choices"][0]["message"]["content"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
        }
        let events = self.events();
        let json = events
            .iter()
            .filter_map(|event| serde_json::from_str::<Value>(event).ok());
        json.filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned()))
            .collect()
    }
}

/// How many requests a provider was sent.
pub fn count(provider: &Provider) -> u64 {
    provider.seen().counts.requests
}

/// Waits until a provider has seen something.
pub async fn saw(provider: &Provider, condition: impl Fn(&Seen) -> bool) {
    provider.wait_for(condition, SOON).await.unwrap();
}

/// A failure for every request.
pub fn failing(provider: &Provider, code: u16) {
    provider.always(Behaviour::status(code));
}

static LOGS: OnceLock<&'static Mutex<Vec<u8>>> = OnceLock::new();

/// Everything that was logged so far by all tests of this process, at the most talkative level.
pub fn logs() -> String {
    String::from_utf8_lossy(&capture_logs().lock().unwrap()).into_owned()
}

fn capture_logs() -> &'static Mutex<Vec<u8>> {
    struct Sink(&'static Mutex<Vec<u8>>);
    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    LOGS.get_or_init(|| {
        let logs: &'static Mutex<Vec<u8>> = Box::leak(Box::default());
        let _ = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || Sink(logs))
            .try_init();
        logs
    })
}

/// Path and body of a request in each of the four APIs, plain or streamed.
pub fn of_each_api(stream: bool) -> Vec<(String, Value)> {
    let gemini = if stream {
        "/v1beta/models/smart:streamGenerateContent?alt=sse"
    } else {
        "/v1beta/models/smart:generateContent"
    };
    let response = json!({"model": "smart", "stream": stream, "store": false, "input": "hello"});
    vec![
        ("/v1/chat/completions".into(), chat("smart", stream)),
        ("/v1/messages".into(), message("smart", stream)),
        (gemini.into(), contents()),
        ("/v1/responses".into(), response),
    ]
}

/// A card's number.
pub(crate) const CARD: &str = "4111 1111 1111 1111";

/// Whether anything of [`CARD`] stands there. A request's id or a time may have digits as one of its groups has; not beside a space, nor alone.
pub(crate) fn shows_card(text: &str) -> bool {
    ["4111 ", " 4111", "\"4111\"", "1111 ", " 1111", "\"1111\""]
        .iter()
        .any(|group| text.contains(group))
}
