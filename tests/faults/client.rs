//! A caller that writes and reads bytes: it can stop anywhere, and sees exactly what came.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::trial::SOON;

/// As much is read at once. A vector without room would be read into 64 bytes at a time.
const PIECE: usize = 32 << 10;

/// Looks for the run's keys in whatever callers are sent.
#[derive(Clone)]
pub struct Lookout {
    needle: Rc<str>,
    found: Rc<Cell<bool>>,
}

impl Lookout {
    /// For a piece of text that all keys of a bed have in common.
    pub fn new(needle: &str) -> Self {
        Self {
            needle: needle.into(),
            found: Rc::default(),
        }
    }

    /// Whether it was seen.
    pub fn found(&self) -> bool {
        self.found.get()
    }

    /// Looks at text.
    pub fn look(&self, bytes: &[u8]) {
        if memchr::memmem::find(bytes, self.needle.as_bytes()).is_some() {
            self.found.set(true);
        }
    }
}

/// One connection to the sidecar.
pub struct Client {
    stream: TcpStream,
    lookout: Lookout,
    /// What was received and not yet taken as part of an answer.
    pub seen: Vec<u8>,
    /// Everything received from here on has been looked at.
    looked: usize,
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr, lookout: &Lookout) -> Self {
        Self::over(TcpSocket::new_v4().unwrap(), address, lookout)
            .await
            .unwrap()
    }

    /// Connects, or says why not.
    pub async fn try_connect(address: SocketAddr, lookout: &Lookout) -> io::Result<Self> {
        Self::over(TcpSocket::new_v4().unwrap(), address, lookout).await
    }

    /// Connects with next to no room to receive.
    pub async fn connect_narrow(address: SocketAddr, lookout: &Lookout) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::over(socket, address, lookout).await.unwrap()
    }

    async fn over(socket: TcpSocket, address: SocketAddr, lookout: &Lookout) -> io::Result<Self> {
        let stream = match tokio::time::timeout(SOON, socket.connect(address)).await {
            Ok(stream) => stream?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            lookout: lookout.clone(),
            seen: Vec::new(),
            looked: 0,
        })
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    /// Sends bytes, or says why not.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let sending = self.stream.write_all(bytes.as_ref());
        tokio::time::timeout(SOON, sending)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Closes its own direction: nothing more will be sent.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Ends with a TCP reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// Receives something more; false at the end, clean or not.
    pub async fn more(&mut self) -> bool {
        self.more_within(SOON).await.expect("nothing came for a long time")
    }

    /// The same within a time; `None` if nothing came.
    pub async fn more_within(&mut self, time: Duration) -> Option<bool> {
        self.seen.reserve(PIECE);
        let read = tokio::time::timeout(time, self.stream.read_buf(&mut self.seen))
            .await
            .ok()?;
        // A key that lies across two reads is still found.
        let from = self.looked.saturating_sub(64).min(self.seen.len());
        self.lookout.look(&self.seen[from..]);
        self.looked = self.seen.len();
        Some(read.is_ok_and(|read| read > 0))
    }

    /// Lets go of what was received, after `seen` was taken from by hand.
    pub fn forget(&mut self) {
        self.seen.clear();
        self.looked = 0;
    }

    /// Receives until this text has come.
    pub async fn until(&mut self, text: &str) {
        while memchr::memmem::find(&self.seen, text.as_bytes()).is_none() {
            assert!(
                self.more().await,
                "{text:?} did not come, but {:?}",
                String::from_utf8_lossy(&self.seen)
            );
        }
    }

    /// The next answer.
    pub async fn reply(&mut self) -> Reply {
        loop {
            if let Some((reply, used)) = Reply::read(&self.seen, false) {
                self.seen.drain(..used);
                self.looked = self.seen.len();
                return reply;
            }
            if !self.more().await {
                let (reply, _) = Reply::read(&self.seen, true)
                    .unwrap_or_else(|| panic!("no answer, but {:?}", String::from_utf8_lossy(&self.seen)));
                return reply;
            }
        }
    }

    /// Everything up to the connection's end. False if nothing ended it within a time.
    pub async fn ends_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            match self
                .more_within(deadline.saturating_duration_since(Instant::now()))
                .await
            {
                Some(true) => {}
                Some(false) => return true,
                None => return false,
            }
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Header fields in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body without its transfer coding.
    pub body: Vec<u8>,
    /// Whether the body came to its proper end.
    pub complete: bool,
}

impl Reply {
    /// Reads an answer and how many bytes it is long; `None` if more is needed. `ended`: nothing more will come.
    fn read(bytes: &[u8], ended: bool) -> Option<(Self, usize)> {
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut head = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(at) = head.parse(bytes).unwrap_or_else(|error| {
            panic!("{error}: {:?}", String::from_utf8_lossy(bytes));
        }) else {
            return None;
        };
        let headers: Vec<(String, String)> = head
            .headers
            .iter()
            .map(|field| {
                (
                    field.name.to_ascii_lowercase(),
                    String::from_utf8_lossy(field.value).into_owned(),
                )
            })
            .collect();
        let status = head.code?;
        let mut reply = Self {
            status,
            headers,
            body: Vec::new(),
            complete: false,
        };
        let rest = &bytes[at..];
        if matches!(status, 204 | 304) {
            reply.complete = true;
            return Some((reply, at));
        }
        if reply.header("transfer-encoding") == "chunked" {
            let used = reply.dechunk(rest);
            return (reply.complete || ended).then_some((reply, at + used));
        }
        if let Ok(length) = reply.header("content-length").parse::<usize>() {
            reply.complete = rest.len() >= length;
            reply.body = rest[..length.min(rest.len())].to_vec();
            return (reply.complete || ended).then(|| {
                let used = at + reply.body.len();
                (reply, used)
            });
        }
        reply.body = rest.to_vec();
        ended.then_some((reply, bytes.len()))
    }

    /// Takes the chunks out of `bytes`; returns how many bytes that were.
    fn dechunk(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&bytes[at..]) {
            let size = usize::try_from(size).unwrap();
            let from = at + line;
            if size == 0 {
                self.complete = bytes[from..].starts_with(b"\r\n");
                return from + if self.complete { 2 } else { 0 };
            }
            self.body
                .extend_from_slice(&bytes[from.min(bytes.len())..(from + size).min(bytes.len())]);
            if from + size + 2 > bytes.len() {
                return bytes.len();
            }
            at = from + size + 2;
        }
        at
    }

    /// The first value of a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error's code, in any dialect's body.
    pub fn code(&self) -> String {
        let json: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        code_in(&json)
    }

    /// Who answered.
    pub fn provider(&self) -> &str {
        self.header("x-bowsprit-provider")
    }

    /// The data of the events.
    pub fn events(&self) -> Vec<String> {
        self.text()
            .lines()
            .filter_map(|line| line.strip_prefix("data: ").map(str::to_owned))
            .collect()
    }

    /// The code of the stream's error event, if it has one.
    pub fn stream_error(&self) -> Option<String> {
        let events = self.events();
        let json = events
            .iter()
            .filter_map(|event| serde_json::from_str::<Value>(event).ok());
        json.map(|event| code_in(&event)).find(|code| !code.is_empty())
    }

    /// Whether the end mark of the caller's dialect is there.
    pub fn is_ended_well(&self) -> bool {
        let text = self.text();
        text.contains("data: [DONE]") || text.contains("\"message_stop\"") || text.contains("\"finishReason\"")
    }
}

/// Our code in an error body or error event of any dialect.
fn code_in(json: &Value) -> String {
    json["error"]["bowsprit_code"].as_str().unwrap_or_default().to_owned()
}
