//! Making the stream: address, TLS against the operator's own CA, the request with the pod's token, the answer's head.

use std::fmt::Display;
use std::path::PathBuf;

use bowsprit_core::config::BaseUrl;
use bowsprit_core::stream::{PROTOCOL, STREAM_PATH};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::state::{Ended, Why};
use crate::files;
use crate::limits::{STREAM_ANSWER, STREAM_CONNECT, STREAM_OPEN};
use crate::net::client::{Resolve, connect_anywhere, tls};

/// Largest CA file and largest token, bytes.
const MAX_FILE: u64 = 1 << 20;

/// Where the operator is and how the two know each other.
#[derive(Clone, Debug)]
pub struct Operator {
    /// `https://host:port`.
    pub address: BaseUrl,
    /// The CAs that its certificate is checked against, PEM; nothing else is trusted.
    pub ca: PathBuf,
    /// The pod's own token.
    pub token: PathBuf,
}

/// A stream, ready for messages.
pub(super) async fn connect(operator: &Operator, resolver: &dyn Resolve) -> Result<TlsStream<TcpStream>, Ended> {
    let (host, port) = (operator.address.host(), operator.address.port());
    let not_mounted = |why: String| Ended::new(Why::NotMounted, why);
    // Read anew each time: both are rotated.
    let ca = files::read(&operator.ca, MAX_FILE).map_err(not_mounted)?;
    let token = Zeroizing::new(files::read(&operator.token, MAX_FILE).map_err(not_mounted)?);
    if token.trim().is_empty() || !token.trim().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(not_mounted(format!("{}: holds no token", operator.token.display())));
    }
    let bad_ca = |why: &dyn Display| Ended::new(Why::Tls, format!("{}: {why}", operator.ca.display()));
    let config = tls::only(ca.as_bytes()).map_err(|error| bad_ca(&error))?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Ended::new(Why::Tls, format!("{host:?} is no TLS server name")))?;
    let stream = timeout(STREAM_CONNECT, connect_anywhere(host, port, resolver))
        .await
        .map_err(|_| late(Why::Unreachable, "connecting"))?
        .map_err(|fault| Ended::new(Why::Unreachable, fault.to_string()))?;
    let open = async {
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|error| Ended::new(Why::Tls, format!("TLS with {host}: {error}")))?;
        ask(stream, operator.address.authority(), token.trim()).await
    };
    timeout(STREAM_OPEN, open)
        .await
        .map_err(|_| late(Why::Silent, "waiting for the answer"))?
}

fn late(why: Why, doing: &str) -> Ended {
    Ended::new(why, format!("gave up {doing}"))
}

async fn ask(mut stream: TlsStream<TcpStream>, host: &str, token: &str) -> Result<TlsStream<TcpStream>, Ended> {
    let request = Zeroizing::new(format!(
        "GET {STREAM_PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n\
         Authorization: Bearer {token}\r\nUser-Agent: bowsprit-sidecar/{}\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    ));
    let closed = |error: std::io::Error| Ended::new(Why::Closed, format!("before the answer: {error}"));
    stream.write_all(request.as_bytes()).await.map_err(closed)?;
    stream.flush().await.map_err(closed)?;
    // Byte by byte: nothing that belongs to the stream may be read. It is a short head once per connection.
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == STREAM_ANSWER {
            return Err(Ended::new(Why::Protocol, "the head of the answer has no end"));
        }
        head.push(stream.read_u8().await.map_err(closed)?);
    }
    judge(&String::from_utf8_lossy(&head))?;
    Ok(stream)
}

fn judge(head: &str) -> Result<(), Ended> {
    let mut words = head.split(' ');
    let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let status = words.next().and_then(|word| word.trim_end().parse::<u16>().ok());
    match status.filter(|_| is_http) {
        Some(101) if head.to_ascii_lowercase().contains(PROTOCOL) => Ok(()),
        Some(101) => Err(Ended::new(
            Why::Protocol,
            "it speaks another protocol than this sidecar",
        )),
        Some(status @ (401 | 403)) => {
            let detail = format!("status {status}: it does not accept this pod's token");
            Err(Ended::new(Why::Denied, detail))
        }
        Some(status) => Err(Ended::new(Why::Refused, format!("status {status}"))),
        None => Err(Ended::new(Why::Protocol, "its answer is not HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_by_its_status_what_to_make_of_it() {
        let why = |head: &str| judge(head).err().map(|ended| ended.why);
        let switched = format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: {PROTOCOL}\r\n\r\n");
        assert_eq!(why(&switched), None);
        assert_eq!(
            why("HTTP/1.1 101 Ok\r\nupgrade: websocket\r\n\r\n"),
            Some(Why::Protocol)
        );
        assert_eq!(why("HTTP/1.1 401 Unauthorized\r\n\r\n"), Some(Why::Denied));
        assert_eq!(why("HTTP/1.1 403\r\n\r\n"), Some(Why::Denied));
        assert_eq!(why("HTTP/1.1 503 Busy\r\n\r\n"), Some(Why::Refused));
        assert_eq!(why("SSH-2.0-x\r\n\r\n"), Some(Why::Protocol));
        assert_eq!(why("\r\n\r\n"), Some(Why::Protocol));
    }
}
