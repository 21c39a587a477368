//! A real Redis on a port of loopback (or Valkey: tests/valkey), and servers that only seem to be one.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bowsprit_rig::SOON;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A server, ended with the test.
pub struct Redis {
    pub port: u16,
    more: Vec<String>,
    server: Option<Child>,
    dir: TempDir,
}

impl Redis {
    /// With these settings beside the usual ones.
    pub async fn start(more: &[&str]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut redis = Self {
            port: free.local_addr().unwrap().port(),
            more: more.iter().map(ToString::to_string).collect(),
            server: None,
            dir: tempfile::tempdir().unwrap(),
        };
        drop(free);
        redis.again().await;
        redis
    }

    /// Starts it (anew, with nothing in it) and waits until it listens.
    pub async fn again(&mut self) {
        let port = self.port.to_string();
        // The Valkey that PyPI has speaks no TLS.
        let is_tls = self.more.iter().any(|more| more == "--tls-port");
        let other = std::env::var_os("BOWSPRIT_REDIS_SERVER").filter(|_| !is_tls);
        let mut server = other.map_or_else(|| Command::new("redis-server"), Command::new);
        let server = server
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.dir.path())
            .args(&self.more)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server: apt-get install redis-server; BOWSPRIT_REDIS_SERVER: must be a program");
        self.server = Some(server);
        let listens = async {
            while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, listens).await.expect("redis-server listens");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What it answers a command, as one line for each.
    pub async fn say(&self, words: &[&str]) -> String {
        let mut command = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            command.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
        }
        command.extend(b"*1\r\n$4\r\nQUIT\r\n");
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        connection.write_all(&command).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let answer = answer.strip_suffix("+OK\r\n").unwrap_or(&answer);
        answer.trim_end().replace("\r\n", "\n")
    }

    /// It stands still, connections and all; or goes on.
    pub fn signal(&self, signal: &str) {
        let pid = self.server.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// It is gone at once.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Lets everybody in and answers each question with these bytes; holds its tongue where there are none. Returns its URL.
pub async fn liar(answer: &'static [u8]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut read = vec![0; 64 << 10];
                let mut is_in = false;
                while let Ok(1..) = connection.read(&mut read).await {
                    let answer = if is_in { answer } else { b"+PONG\r\n" };
                    is_in = true;
                    if connection.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}
