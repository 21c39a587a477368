//! A caller that writes and reads bytes: it can stop anywhere, and sees exactly what came.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::SOON;
use crate::http::Reply;

/// As much is read at once. A vector without room would be read into 64 bytes at a time.
const PIECE: usize = 32 << 10;

/// Looks for the run's keys in whatever callers are sent.
#[derive(Clone, Debug)]
pub struct Lookout {
    needle: Arc<str>,
    found: Arc<AtomicBool>,
}

impl Lookout {
    /// For a piece of text that all keys of a bed have in common.
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

    /// Looks at text.
    pub fn look(&self, bytes: &[u8]) {
        if memchr::memmem::find(bytes, self.needle.as_bytes()).is_some() {
            self.found.store(true, Ordering::Relaxed);
        }
    }
}

/// One connection to the sidecar.
#[derive(Debug)]
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
