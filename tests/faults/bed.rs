//! A sidecar in front of providers, and what must hold of it when a promise is done.

use std::cell::Cell;
use std::ops::Deref;
use std::process::Command;
use std::rc::Rc;
use std::time::Instant;

use bowsprit_providers::Provider;
use bowsprit_rig::documents;
pub use bowsprit_rig::documents::contents;
pub use bowsprit_rig::http::post;
use bowsprit_rig::law::{self, Told};
pub use bowsprit_rig::metrics::sum;
use bowsprit_rig::operator::ScriptedOperator;
use bowsprit_rig::program::Program;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::trial::SOON;
use bowsprit_rig::connection::Connection;
use bowsprit_rig::http::Reply;

/// The model that every provider serves.
pub const MODEL: &str = "m";

/// What is started: providers in the order of their priority, and how.
#[derive(Default)]
pub struct Setup {
    providers: Vec<(String, Value)>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    launcher: Vec<String>,
    quiet: bool,
    ca: Option<String>,
    operator: Option<Vec<String>>,
}

impl Setup {
    /// Without providers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A provider that speaks OpenAI's dialect at `url`, with these fields of its spec.
    pub fn openai(self, name: &str, url: impl std::fmt::Display, spec: Value) -> Self {
        self.provider(name, "OpenAI", &format!("{url}/v1"), spec)
    }

    /// The same for Anthropic's.
    pub fn anthropic(self, name: &str, url: impl std::fmt::Display, spec: Value) -> Self {
        self.provider(name, "Anthropic", &url.to_string(), spec)
    }

    /// The same for Gemini's.
    pub fn gemini(self, name: &str, url: impl std::fmt::Display, spec: Value) -> Self {
        self.provider(name, "Gemini", &url.to_string(), spec)
    }

    /// A good provider to fall back to.
    pub fn backup(self, provider: &Provider) -> Self {
        self.anthropic("backup", provider.url(), json!({}))
    }

    fn provider(mut self, name: &str, kind: &str, url: &str, more: Value) -> Self {
        let mut spec = json!({
            "provider": kind,
            "priority": (self.providers.len() + 1) * 10,
            "endpoint": {"baseUrl": url, "allowedAddresses": ["Loopback"]},
            "models": [{"name": MODEL}],
            "defaultModel": MODEL,
            "retry": {"maxAttempts": 1},
        });
        if url.starts_with("http:") {
            spec["endpoint"]["allowHttp"] = true.into();
        }
        merge(&mut spec, more);
        self.providers.push((name.to_owned(), spec));
        self
    }

    /// More arguments.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// A program that starts it: it gets the sidecar's path and arguments after its own.
    pub fn launcher(mut self, words: &[&str]) -> Self {
        self.launcher = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// With the log of production in place of the most talkative one: for what is measured.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// With the mounted folder of this operator and a stream to it, in place of a file. What is mounted is the caller's.
    pub fn operator(mut self, operator: &ScriptedOperator) -> Self {
        self.operator = Some(operator.args());
        self
    }

    /// A CA bundle that every provider's TLS is checked against.
    pub fn ca(mut self, pem: &str) -> Self {
        self.ca = Some(pem.to_owned());
        for (_, spec) in &mut self.providers {
            spec["endpoint"]["caBundleRef"] = json!({"name": "corp", "key": "ca.crt"});
        }
        self
    }
}

/// Lays `over` over `under`, field by field.
fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                merge(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

/// A running sidecar.
pub struct Bed {
    program: Program,
    /// Keys, configuration, output.
    _dir: TempDir,
    needle: Rc<str>,
    panics: Cell<bool>,
    /// Whether each attempt has a line in its log.
    tells_all: bool,
}

impl Bed {
    /// Starts it and waits until it serves.
    pub async fn start(setup: Setup, seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let needle: Rc<str> = format!("canary-{seed:016x}").into();
        let mut text = String::new();
        for (name, mut spec) in setup.providers {
            let key = dir.path().join(format!("{name}.key"));
            std::fs::write(&key, format!("sk-{needle}-{name}\n")).unwrap();
            if spec.get("credentials").is_none() {
                spec["credentials"] = json!([{"name": "main", "file": key}]);
            }
            text.push_str(&documents::provider(&name, &spec));
        }
        let config = dir.path().join("config.yaml");
        std::fs::write(&config, text).unwrap();
        let binary = env!("CARGO_BIN_EXE_bowsprit-sidecar");
        let mut words = setup.launcher.iter().map(String::as_str).chain([binary]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).env_clear().envs(setup.env);
        match setup.operator {
            Some(args) => command.args(args),
            None => command.arg("--config").arg(&config),
        };
        command.args(["--log-level", if setup.quiet { "info" } else { "trace" }]);
        if let Some(pem) = setup.ca {
            let folder = dir.path().join("ca/corp");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("ca.crt"), pem).unwrap();
            command.arg("--ca-dir").arg(dir.path().join("ca"));
        }
        command.args(&setup.args);
        Self {
            program: Program::start(command, &dir.path().join("output"), &needle).await,
            _dir: dir,
            needle,
            panics: Cell::new(false),
            tells_all: !setup.quiet,
        }
    }

    /// Requests panic on purpose here.
    pub fn panics_on_purpose(&self) {
        self.panics.set(true);
    }

    /// A new connection with a request on it.
    pub async fn ask(&self, path: &str, body: &Value) -> Connection {
        let mut client = self.connect().await;
        client.send(post(path, body)).await;
        client
    }

    /// A chat completion, whole.
    pub async fn chat(&self, stream: bool) -> Reply {
        self.ask(CHAT, &chat(stream)).await.reply().await
    }

    /// The sum of all series of a family whose labels contain every one of `labels`.
    pub async fn sum(&self, family: &str, labels: &[&str]) -> f64 {
        sum(&self.metrics().await, family, labels)
    }

    /// Attempts at a provider that ended with this code.
    pub async fn attempts(&self, provider: &str, code: &str) -> f64 {
        let (provider, code) = (format!("provider=\"{provider}\""), format!("code=\"{code}\""));
        self.sum("bowsprit_attempts_total", &[&provider, &code]).await
    }

    /// Requests that ended with this outcome.
    pub async fn outcomes(&self, outcome: &str) -> f64 {
        self.sum("bowsprit_requests_total", &[&format!("outcome=\"{outcome}\"")])
            .await
    }

    /// Waits until no request is in flight.
    pub async fn idle(&self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let in_flight = self.sum("bowsprit_in_flight", &[]).await;
            if in_flight == 0.0 {
                return Ok(());
            }
            if started.elapsed() > SOON {
                return Err(format!("{in_flight} requests are in flight for ever"));
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// The sums law, once the log has caught up with the metrics.
    async fn sums(&self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let (metrics, log) = (self.metrics().await, self.output());
            let told = Told {
                metrics: &metrics,
                log: &log,
                removed: &[],
            };
            let lost = sum(&metrics, "bowsprit_log_lines_lost_total", &[]);
            let broken = match told.holds() {
                Err(broken) if self.tells_all && lost == 0.0 => broken,
                // Some lines are missing by intention, but what is in flight and what has ended is still what came.
                _ => return told.counts(),
            };
            if started.elapsed() > SOON {
                return Err(broken);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Zero lost answers: every request that was received has ended, each as exactly one outcome; every place is given
    /// back; what it tells in one place agrees with every other; no change of a request's state was illegal; no key is in any output, log, metric or answer.
    pub async fn settled(&self) -> Result<(), String> {
        if self.ended().is_none() {
            self.idle().await?;
            self.sums().await?;
            let health = self.health().await;
            for provider in health["providers"].as_array().into_iter().flatten() {
                if provider["inFlight"] != 0 {
                    return Err(format!("a place was not given back: {provider}"));
                }
            }
        }
        if self.lookout.found() {
            return Err("a key was sent to a caller or is in metrics or health".into());
        }
        let output = self.output();
        if let Some(line) = output.lines().find(|line| line.contains(&*self.needle)) {
            return Err(format!(
                "a key is in the log: {}",
                line.replace(&*self.needle, "(the key)")
            ));
        }
        let panicked = output.lines().find(|line| line.contains("panicked"));
        if let Some(line) = panicked.filter(|_| !self.panics.get()) {
            return Err(format!("a panic: {line}"));
        }
        Ok(())
    }

    /// The access lines so far.
    pub fn access(&self) -> Vec<Value> {
        law::lines(&self.output(), "access")
    }

    /// The end of its output.
    pub fn log_tail(&self, lines: usize) -> String {
        let output = self.output();
        let all: Vec<&str> = output.lines().collect();
        all[all.len().saturating_sub(lines)..]
            .join("\n")
            .replace(&*self.needle, "(the key)")
    }
}

impl Deref for Bed {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

/// Where OpenAI's chat completions live.
pub const CHAT: &str = "/v1/chat/completions";
/// Where Anthropic's messages live.
pub const MESSAGES: &str = "/v1/messages";
/// Where Gemini's streams live, for the model of the bed.
pub const GENERATE: &str = "/v1beta/models/m:streamGenerateContent?alt=sse";

/// A chat completion.
pub fn chat(stream: bool) -> Value {
    documents::chat(MODEL, stream)
}

/// A message.
pub fn message(stream: bool) -> Value {
    documents::message(MODEL, stream)
}
