//! A client of a few lines that hides nothing: where the bytes ended, how, and in which chunks they came.

use std::time::Duration;

use bowsprit_providers::{Api, Options, Provider};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
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

pub(crate) struct Client<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(provider: &Provider) -> Self {
        Client::over(TcpStream::connect(provider.addr()).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
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
        self.stream.write_all(bytes).await.unwrap();
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

    /// Reads one response to its end, or to the end of the connection.
    pub(crate) async fn receive(&mut self) -> Response {
        tokio::time::timeout(DEADLINE, self.receive_whole())
            .await
            .expect("the response ends")
    }

    async fn receive_whole(&mut self) -> Response {
        let head = match self.until(b"\r\n\r\n").await {
            Ok(head) if head.starts_with(b"HTTP/1.1 ") => String::from_utf8(head).unwrap(),
            Ok(mut body) => {
                let end = self.end_of_stream().await;
                body.append(&mut self.buffer);
                return Response {
                    status: 0,
                    head: String::new(),
                    body,
                    chunks: Vec::new(),
                    end,
                };
            }
            Err(end) => {
                let body = std::mem::take(&mut self.buffer);
                return Response {
                    status: 0,
                    head: String::new(),
                    body,
                    chunks: Vec::new(),
                    end,
                };
            }
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut response = Response {
            status,
            head,
            body: Vec::new(),
            chunks: Vec::new(),
            end: End::Complete,
        };
        if response.header("transfer-encoding") == Some("chunked") {
            response.end = self.chunks(&mut response.chunks).await.err().unwrap_or(End::Complete);
            response.body = response.chunks.concat();
        } else {
            let length = response.header("content-length").unwrap_or("0").parse().unwrap();
            response.end = self.at_least(length).await.err().unwrap_or(End::Complete);
            let here = length.min(self.buffer.len());
            response.body = self.buffer.drain(..here).collect();
        }
        response
    }

    async fn chunks(&mut self, chunks: &mut Vec<Vec<u8>>) -> Result<(), End> {
        loop {
            let line = self.until(b"\r\n").await?;
            let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            let whole = self.at_least(size + 2).await;
            let here = size.min(self.buffer.len());
            let chunk: Vec<u8> = self.buffer.drain(..here).collect();
            if size > 0 {
                chunks.push(chunk);
            }
            whole?;
            self.buffer.drain(..2);
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// Waits for the next HTTP chunk of a stream whose head was read or not; returns once `needle` has come.
    pub(crate) async fn wait_for_bytes(&mut self, needle: &str) {
        let found = async {
            while memchr::memmem::find(&self.buffer, needle.as_bytes()).is_none() {
                self.more().await.expect("the bytes come before the end");
            }
        };
        tokio::time::timeout(DEADLINE, found).await.expect("the bytes come");
    }

    /// Whether the provider ends the connection, and how.
    pub(crate) async fn end(&mut self) -> End {
        tokio::time::timeout(DEADLINE, self.end_of_stream())
            .await
            .expect("the connection ends")
    }

    async fn end_of_stream(&mut self) -> End {
        loop {
            if let Err(end) = self.more().await {
                return end;
            }
        }
    }

    async fn until(&mut self, needle: &[u8]) -> Result<Vec<u8>, End> {
        loop {
            if let Some(place) = memchr::memmem::find(&self.buffer, needle) {
                return Ok(self.buffer.drain(..place + needle.len()).collect());
            }
            self.more().await?;
        }
    }

    async fn at_least(&mut self, count: usize) -> Result<(), End> {
        while self.buffer.len() < count {
            self.more().await?;
        }
        Ok(())
    }

    async fn more(&mut self) -> Result<(), End> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err(End::Eof),
            Ok(_) => Ok(()),
            Err(_) => Err(End::Reset),
        }
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
