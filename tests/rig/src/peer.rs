//! A provider made of bytes: it takes connections as they come and sends exactly what it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::SOON;
use crate::connection::Connection;
use crate::http::is_whole;

/// Heads of answers that are usual.
pub const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
/// The last chunk.
pub const LAST: &str = "0\r\n\r\n";

/// A whole answer with a JSON body.
pub fn json(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// One HTTP chunk.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut all = format!("{:x}\r\n", bytes.len()).into_bytes();
    all.extend_from_slice(bytes);
    all.extend_from_slice(b"\r\n");
    all
}

/// A listening port.
#[derive(Debug)]
pub struct Peer {
    listener: TcpListener,
}

impl Peer {
    /// On a free port.
    pub async fn start() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The next connection.
    pub async fn accept(&self) -> Connection {
        tokio::time::timeout(SOON, self.accept_any())
            .await
            .expect("no connection came")
    }

    /// The next connection, whenever it comes.
    pub async fn accept_any(&self) -> Connection {
        Connection::accepted(self.listener.accept().await.unwrap().0)
    }

    /// The next connection with a whole request on it.
    pub async fn asked(&self) -> Connection {
        let mut connection = self.accept().await;
        connection.request().await;
        connection
    }

    /// Answers every request with the same bytes, on every connection, and keeps it open. Returns what it saw.
    pub fn answering(self, answer: impl AsRef<[u8]> + Send + Sync + 'static) -> Record {
        let record = Record {
            connections: Arc::default(),
            address: self.address(),
        };
        let (answer, kept) = (Arc::new(answer), record.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = self.listener.accept().await {
                let (answer, kept) = (Arc::clone(&answer), kept.clone());
                tokio::spawn(async move { kept.serve(stream, answer.as_ref().as_ref()).await });
            }
        });
        record
    }
}

/// Everything that came in, byte for byte: one buffer for each connection.
#[derive(Clone, Debug)]
pub struct Record {
    connections: Arc<Mutex<Vec<Vec<u8>>>>,
    address: SocketAddr,
}

impl Record {
    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bytes of each connection on which anything came.
    pub fn connections(&self) -> Vec<Vec<u8>> {
        let all = self.connections.lock().unwrap();
        all.iter().filter(|bytes| !bytes.is_empty()).cloned().collect()
    }

    /// Forgets them.
    pub fn forget(&self) {
        self.connections.lock().unwrap().iter_mut().for_each(Vec::clear);
    }

    async fn serve(&self, mut stream: TcpStream, answer: &[u8]) {
        let place = {
            let mut connections = self.connections.lock().unwrap();
            connections.push(Vec::new());
            connections.len() - 1
        };
        let mut pending = Vec::new();
        let mut piece = vec![0; 64 << 10];
        while let Ok(read @ 1..) = stream.read(&mut piece).await {
            self.connections.lock().unwrap()[place].extend_from_slice(&piece[..read]);
            pending.extend_from_slice(&piece[..read]);
            if is_whole(&pending) {
                pending.clear();
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    }
}
