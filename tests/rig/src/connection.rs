//! One end of a TCP connection as bytes, a caller's or a provider's: it can stop anywhere, and sees exactly what came.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::SOON;
use crate::http::{Reply, is_whole};

/// As much is read at once, bytes. A vector without room would be read into 64 bytes at a time.
const PIECE: usize = 32 << 10;

/// Looks for the run's keys in whatever callers are sent.
#[derive(Clone, Debug)]
pub struct Lookout {
    needle: Arc<str>,
    found: Arc<AtomicBool>,
}

impl Lookout {
    /// For a piece of text that all keys of a run have in common.
    pub fn new(needle: &str) -> Self {
        Self {
            needle: needle.into(),
            found: Arc::default(),
        }
    }

    /// Whether it was seen.
    pub fn found(&self) -> bool {
        self.found.load(Ordering::Relaxed)
    }

    /// Looks at bytes.
    pub fn look(&self, bytes: &[u8]) {
        if memchr::memmem::find(bytes, self.needle.as_bytes()).is_some() {
            self.found.store(true, Ordering::Relaxed);
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: S,
    /// A provider's end is sent keys, a caller's must not be.
    lookout: Option<Lookout>,
    /// What was received and not yet taken as part of an answer.
    pub seen: Vec<u8>,
    /// The lookout has seen as many of these bytes.
    looked: usize,
    /// The other end broke it off, instead of closing it.
    pub is_broken: bool,
}

impl Connection {
    /// Connects as a caller.
    pub async fn connect(address: SocketAddr, lookout: &Lookout) -> Self {
        Self::try_connect(address, lookout).await.unwrap()
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
        match tokio::time::timeout(SOON, socket.connect(address)).await {
            Ok(stream) => Ok(Self {
                lookout: Some(lookout.clone()),
                ..Self::accepted(stream?)
            }),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// A provider's end.
    pub fn accepted(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self::of(stream)
    }

    /// Ends with a TCP reset.
    pub fn reset(self) {
        let linger = Some(Duration::ZERO);
        socket2::SockRef::from(&self.stream).set_linger(linger).unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Over a stream that is open, such as one of TLS.
    pub fn of(stream: S) -> Self {
        Self {
            stream,
            lookout: None,
            seen: Vec::new(),
            looked: 0,
            is_broken: false,
        }
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        tokio::time::timeout(SOON, self.try_send(bytes))
            .await
            .expect("nothing is taken")
            .unwrap();
    }

    /// Sends bytes, however long the other end lets us wait, or says why not.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// Sends the same bytes again and again until the other end is gone or so many bytes were sent; how many were.
    pub async fn pour(&mut self, bytes: &[u8], most: usize) -> usize {
        let mut sent = 0;
        while sent < most && self.try_send(bytes).await.is_ok() {
            sent += bytes.len();
        }
        sent
    }

    /// Sends the same bytes again and again and receives meanwhile, until this text has come.
    pub async fn pour_until(&mut self, bytes: &[u8], text: &str) {
        let (mut from, mut to) = tokio::io::split(&mut self.stream);
        let pouring = async { while to.write_all(bytes).await.is_ok() {} };
        let seen = &mut self.seen;
        let reading = async {
            while memchr::memmem::find(seen, text.as_bytes()).is_none() {
                let read = tokio::time::timeout(SOON, from.read_buf(seen)).await;
                let read = read.expect("nothing came for a long time").unwrap_or(0);
                assert!(
                    read > 0,
                    "{text:?} did not come, but {:?}",
                    String::from_utf8_lossy(seen)
                );
            }
        };
        tokio::pin!(reading);
        tokio::select! {
            () = &mut reading => return,
            () = pouring => {}
        }
        reading.await;
    }

    /// Closes its own direction and goes on reading.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
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
        if let Some(lookout) = &self.lookout {
            // A key that lies across two reads is still found.
            let from = self.looked.saturating_sub(64).min(self.seen.len());
            lookout.look(&self.seen[from..]);
            self.looked = self.seen.len();
        }
        self.is_broken |= read.is_err();
        Some(read.is_ok_and(|read| read > 0))
    }

    /// Lets go of what was received.
    pub fn forget(&mut self) {
        self.seen.clear();
        self.looked = 0;
    }

    /// What was received, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Receives until this text has come.
    pub async fn until(&mut self, text: &str) {
        while memchr::memmem::find(&self.seen, text.as_bytes()).is_none() {
            assert!(self.more().await, "{text:?} did not come, but {:?}", self.text());
        }
    }

    /// The same, and takes all that has come.
    pub async fn take_until(&mut self, text: &str) -> String {
        self.until(text).await;
        let taken = self.text();
        self.forget();
        taken
    }

    /// The next answer.
    pub async fn reply(&mut self) -> Reply {
        let reply = self.try_reply().await;
        reply.unwrap_or_else(|| panic!("no answer, but {:?}", self.text()))
    }

    /// The same; `None` if what comes, to its end, is none.
    pub async fn try_reply(&mut self) -> Option<Reply> {
        let mut is_over = false;
        loop {
            match Reply::read(&self.seen, is_over) {
                Ok(Some((reply, used))) => {
                    self.seen.drain(..used);
                    self.looked = self.seen.len();
                    return Some(reply);
                }
                Ok(None) if !is_over => is_over = !self.more().await,
                Ok(None) => return None,
                Err(_) => {
                    self.rest().await;
                    return None;
                }
            }
        }
    }

    /// Receives a whole request; the text of all that was received.
    pub async fn request(&mut self) -> String {
        while !is_whole(&self.seen) {
            assert!(self.more().await, "the request broke off: {:?}", self.text());
        }
        self.text()
    }

    /// Receives up to the connection's end. False if nothing ended it within a time.
    pub async fn ends_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.more_within(left).await {
                Some(true) => {}
                Some(false) => return true,
                None => return false,
            }
        }
    }

    /// Everything up to the connection's end, as text.
    pub async fn rest(&mut self) -> String {
        while self.more().await {}
        self.text()
    }

    /// Waits for the other end to close; when it did.
    pub async fn closed(&mut self) -> Instant {
        assert!(self.ends_within(SOON).await, "the connection stays open");
        Instant::now()
    }
}
