//! `endpoint.httpProxy`: CONNECT for https, absolute-form for http.

use bowsprit_core::fault::TransportFault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::fault::Fault;
use crate::limits::PROXY_ANSWER;

/// An HTTP proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// What is wrong with a proxy's URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Not an absolute http URL.
    #[error("httpProxy must be like http://proxy.example:3128")]
    NotHttp,
    /// It carries a user name or password, which would have to live in a ConfigMap.
    #[error("httpProxy must carry no user name or password")]
    UserInfo,
}

impl Proxy {
    /// Reads `http://host:port`.
    pub fn parse(url: &str) -> Result<Self, ProxyError> {
        let uri: http::Uri = url.parse().map_err(|_| ProxyError::NotHttp)?;
        let authority = uri
            .authority()
            .filter(|_| uri.scheme_str() == Some("http"))
            .ok_or(ProxyError::NotHttp)?;
        if authority.as_str().contains('@') {
            return Err(ProxyError::UserInfo);
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        Ok(Self {
            host,
            port: authority.port_u16().unwrap_or(80),
        })
    }

    /// Asks the proxy for a tunnel and hands the stream on once it stands.
    pub(super) async fn tunnel(&self, mut stream: TcpStream, host: &str, port: u16) -> Result<TcpStream, Fault> {
        let failed = |detail: &dyn std::fmt::Display| {
            Fault::new(
                TransportFault::ConnectRefused,
                format_args!("proxy {}:{}: {detail}", self.host, self.port),
            )
        };
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let ask = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.map_err(|error| failed(&error))?;
        // Byte by byte: nothing that belongs to the tunnel may be read. It is one short line once per connection.
        let mut answer = Vec::with_capacity(128);
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == PROXY_ANSWER {
                return Err(failed(&"its answer to CONNECT has no end"));
            }
            answer.push(stream.read_u8().await.map_err(|error| failed(&error))?);
        }
        let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        if status == b"200" {
            return Ok(stream);
        }
        Err(failed(&format_args!(
            "refused the tunnel with status {}",
            String::from_utf8_lossy(status)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn a_proxy_url_is_plain_http_without_secrets() {
        assert_eq!(
            Proxy::parse("http://proxy:3128"),
            Ok(Proxy {
                host: "proxy".into(),
                port: 3128
            })
        );
        assert_eq!(
            Proxy::parse("http://proxy"),
            Ok(Proxy {
                host: "proxy".into(),
                port: 80
            })
        );
        assert_eq!(Proxy::parse("http://me:pw@proxy"), Err(ProxyError::UserInfo));
        assert_eq!(Proxy::parse("socks5://proxy"), Err(ProxyError::NotHttp));
    }

    #[tokio::test]
    async fn a_tunnel_starts_right_after_the_proxys_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 1024];
            let n = stream.read(&mut asked).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\nfirst")
                .await
                .unwrap();
            String::from_utf8_lossy(&asked[..n]).into_owned()
        });
        let proxy = Proxy {
            host: "127.0.0.1".into(),
            port: address.port(),
        };
        let stream = TcpStream::connect(address).await.unwrap();
        let mut tunnel = proxy.tunnel(stream, "api.example", 443).await.unwrap();
        let mut first = [0; 5];
        tunnel.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"first");
        assert!(
            peer.await
                .unwrap()
                .starts_with("CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n")
        );
    }
}
