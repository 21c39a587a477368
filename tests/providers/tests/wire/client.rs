//! A client of a few lines that hides nothing: where the bytes ended, how, and in which chunks they came.

use std::time::Duration;

use bowsprit_providers::{Api, Options, Provider};
use bowsprit_rig::connection::Connection;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Long enough for a busy machine; a test that passes never waits for it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its framing says it is complete.
    Complete,
    /// The provider closed before that.
    Eof,
    /// The provider reset before that.
    Reset,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The HTTP chunks, where the body came in chunks.
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) end: End,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        line.into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The events of an event stream: name (or nothing) and data.
    pub(crate) fn events(&self) -> Vec<(String, String)> {
        let text = self
            .text()
            .replace("\r\n", "\n")
            .replace('\r', "\n")
            .replace('\u{feff}', "");
        let field = |event: &str, name: &str| {
            event
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let events = text.split("\n\n").filter(|event| event.contains("data:"));
        events
            .map(|event| (field(event, "event:"), field(event, "data:")))
            .collect()
    }

    /// The events' data, parsed; `[DONE]` is left out.
    pub(crate) fn data(&self) -> Vec<Value> {
        self.events()
            .iter()
            .filter_map(|(_, data)| serde_json::from_str(data).ok())
            .collect()
    }
}

pub(crate) struct Client<S = TcpStream>(Connection<S>);

impl Client {
    pub(crate) async fn connect(provider: &Provider) -> Self {
        Client::over(TcpStream::connect(provider.addr()).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self(Connection::of(stream))
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) {
        let headers = headers.iter().fold(String::new(), |lines, (name, value)| {
            lines + name + ": " + value + "\r\n"
        });
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: provider\r\n{headers}content-length: {length}\r\n\r\n{body}");
        self.send_raw(request.as_bytes()).await;
    }

    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.0.send(bytes).await;
    }

    pub(crate) async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        self.send(method, path, headers, body).await;
        self.receive().await
    }

    /// Reads one response to its end, or to the end of the connection. Without a head it is all body.
    pub(crate) async fn receive(&mut self) -> Response {
        let Some(reply) = self.0.try_reply().await else {
            return Response {
                status: 0,
                head: String::new(),
                body: std::mem::take(&mut self.0.seen),
                chunks: Vec::new(),
                end: self.how_it_ended(),
            };
        };
        Response {
            status: reply.status,
            head: reply.head,
            body: reply.body,
            chunks: reply.chunks,
            end: if reply.complete {
                End::Complete
            } else {
                self.how_it_ended()
            },
        }
    }

    fn how_it_ended(&self) -> End {
        if self.0.is_broken { End::Reset } else { End::Eof }
    }

    /// Returns once these bytes have come.
    pub(crate) async fn wait_for_bytes(&mut self, needle: &str) {
        self.0.until(needle).await;
    }

    /// How the provider ends the connection.
    pub(crate) async fn end(&mut self) -> End {
        self.0.closed().await;
        self.how_it_ended()
    }
}

pub(crate) fn start() -> Provider {
    Provider::start(Options::default()).unwrap()
}

pub(crate) const BEARER: (&str, &str) = ("authorization", "Bearer test-key");
pub(crate) const ANTHROPIC: [(&str, &str); 2] = [("x-api-key", "test-key"), ("anthropic-version", "2023-06-01")];
pub(crate) const GOOG: (&str, &str) = ("x-goog-api-key", "test-key");

/// A small chat request of one API: path, headers, body.
pub(crate) fn chat(api: Api, stream: bool) -> (&'static str, Vec<(&'static str, &'static str)>, String) {
    let messages = json!([{"role": "user", "content": "ahoy there"}]);
    match (api, stream) {
        (Api::Anthropic, _) => {
            let body = json!({"model": "claude-test", "max_tokens": 64, "stream": stream, "messages": messages});
            ("/v1/messages", ANTHROPIC.to_vec(), body.to_string())
        }
        (Api::Gemini, _) => {
            let body = json!({"contents": [{"role": "user", "parts": [{"text": "ahoy there"}]}]}).to_string();
            let path = if stream {
                "/v1beta/models/gemini-test:streamGenerateContent?alt=sse"
            } else {
                "/v1beta/models/gemini-test:generateContent"
            };
            (path, vec![GOOG], body)
        }
        _ => {
            let body = json!({"model": "gpt-test", "stream": stream, "messages": messages});
            ("/v1/chat/completions", vec![BEARER], body.to_string())
        }
    }
}

/// Asks one chat question on a new connection.
pub(crate) async fn ask(provider: &Provider, api: Api, stream: bool) -> Response {
    let (path, headers, body) = chat(api, stream);
    Client::connect(provider)
        .await
        .exchange("POST", path, &headers, &body)
        .await
}

/// Sends one chat question on a new connection and leaves the answer to be read.
pub(crate) async fn begin(provider: &Provider, api: Api, stream: bool) -> Client {
    let (path, headers, body) = chat(api, stream);
    let mut client = Client::connect(provider).await;
    client.send("POST", path, &headers, &body).await;
    client
}
