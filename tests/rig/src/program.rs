//! The sidecar as a program: started, waited for, and killed when the test is done with it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::connection::{Connection, Lookout};
use crate::http::{self, Reply};
use crate::process::Process;

/// A running sidecar on two free ports of its own.
#[derive(Debug)]
pub struct Program {
    process: Process,
    /// Where callers connect.
    pub listen: SocketAddr,
    /// Where health and metrics are.
    pub admin: SocketAddr,
    /// Looks for keys in all that it answers.
    pub lookout: Lookout,
    /// A pipe that takes its output and is not read.
    _unread: Option<ChildStdout>,
}

impl Program {
    /// Starts it and waits until it serves. `command`: its program and arguments, without its ports; `output`: a file for
    /// what it says; `needle`: a text that all keys which it knows have in common.
    pub async fn start(mut command: Command, output: &Path, needle: &str) -> Self {
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let process = Process::start(&mut command, output);
        let mut said = None;
        crate::until("the sidecar serves", || {
            said = started(&process.output());
            let is_over = said.is_some() || process.ended().is_some();
            async move { is_over }
        })
        .await;
        let (listen, admin) = said.unwrap_or_else(|| panic!("it did not start: {}", process.output()));
        Self {
            process,
            listen,
            admin,
            lookout: Lookout::new(needle),
            _unread: None,
        }
    }

    /// The same without anybody who reads its output once it serves.
    pub fn start_unread(mut command: Command) -> Self {
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let process = Process::of(child, Path::new("/dev/null"));
        let mut line = String::new();
        let (listen, admin) = loop {
            if let Some(addresses) = started(&line) {
                break addresses;
            }
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "it did not start");
        };
        Self {
            process,
            listen,
            admin,
            lookout: Lookout::new("(no key)"),
            _unread: Some(output.into_inner()),
        }
    }

    /// A new connection of a caller.
    pub async fn connect(&self) -> Connection {
        Connection::connect(self.listen, &self.lookout).await
    }

    /// The admin port's answer.
    pub async fn admin(&self, path: &str) -> Reply {
        let mut connection = Connection::connect(self.admin, &self.lookout).await;
        connection.send(http::get(path)).await;
        connection.reply().await
    }

    /// What the admin port answers to a POST without a body.
    pub async fn admin_post(&self, path: &str) -> Reply {
        let mut connection = Connection::connect(self.admin, &self.lookout).await;
        let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        connection.send(request).await;
        connection.reply().await
    }

    /// The metrics.
    pub async fn metrics(&self) -> String {
        self.admin("/metrics").await.text()
    }

    /// `/health`.
    pub async fn health(&self) -> Value {
        self.admin("/health").await.json()
    }
}

impl Deref for Program {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// The addresses that it says it listens on.
fn started(output: &str) -> Option<(SocketAddr, SocketAddr)> {
    let is_told = |line: &&str| line.contains("\"started\"") && line.ends_with('}');
    let line: Value = serde_json::from_str(output.lines().find(is_told)?).unwrap();
    let read = |name: &str| line[name].as_str().unwrap().parse().unwrap();
    Some((read("listen"), read("admin")))
}
