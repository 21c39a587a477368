//! Making the stream: address, TLS against the operator's own CA, the request with the pod's token, the answer's head.

use std::time::Duration;

use bowsprit_core::stream::{PROTOCOL, STREAM_PATH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::state::{Ended, Why};
use crate::limits::{STREAM_ANSWER, STREAM_OPEN};
use crate::net::client::{NoConnection, Resolve};

pub use crate::net::client::OwnService as Operator;

/// A stream, ready for messages.
pub(super) async fn connect(operator: &Operator, resolver: &dyn Resolve) -> Result<TlsStream<TcpStream>, Ended> {
    let token = operator.token().map_err(none)?;
    let stream = operator.connect(resolver).await.map_err(none)?;
    timeout(STREAM_OPEN, ask(stream, operator.address.authority(), &token))
        .await
        .map_err(|_| Ended::new(Why::Silent, "gave up waiting for the answer"))?
}

fn none(why: NoConnection) -> Ended {
    match why {
        NoConnection::NotMounted(why) => Ended::new(Why::NotMounted, why),
        NoConnection::Unreachable(why) => Ended::new(Why::Unreachable, why),
        NoConnection::Tls(why) => Ended::new(Why::Tls, why),
    }
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
        Some(status) => Err(Ended {
            not_before: retry_after(head),
            ..Ended::new(Why::Refused, format!("status {status}"))
        }),
        None => Err(Ended::new(Why::Protocol, "its answer is not HTTP")),
    }
}

/// The time that an answer asks for, in whole seconds as the operator writes it.
fn retry_after(head: &str) -> Option<Duration> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    value.trim().parse().ok().map(Duration::from_secs)
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
        let refused = judge("HTTP/1.1 503 Busy\r\nserver: x\r\nRetry-After: 7\r\n\r\n").unwrap_err();
        assert_eq!(refused.not_before, Some(Duration::from_secs(7)));
        for head in [
            "HTTP/1.1 503 Busy\r\n\r\n",
            "HTTP/1.1 503 Busy\r\nretry-after: soon\r\n\r\n",
        ] {
            assert_eq!(judge(head).unwrap_err().not_before, None, "{head}");
        }
        assert_eq!(why("SSH-2.0-x\r\n\r\n"), Some(Why::Protocol));
        assert_eq!(why("\r\n\r\n"), Some(Why::Protocol));
    }
}
