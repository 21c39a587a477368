//! HTTP/1.1 as bytes: a request read off a connection, a response head written. Strict in what it takes, so that a proxy
//! which forwards an ambiguous request is caught here.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The head of a request: line and headers.
const HEAD_LIMIT: usize = 256 * 1024;
/// Headers of a request; more than any proxy should let through.
const HEADER_LIMIT: usize = 256;
/// The body of a request, as large as the largest real limit (Gemini's inline data and more).
const BODY_LIMIT: u64 = 64 * 1024 * 1024;

/// A request's head.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// Path and query as they came.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) raw: Bytes,
    pub(crate) length: Length,
    /// HTTP/1.1 without `connection: close`.
    pub(crate) keep_alive: bool,
}

/// How the body's length is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Length {
    #[default]
    None,
    Known(u64),
    Chunked,
}

impl Head {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The path without the query.
    pub(crate) fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(self.target.as_str(), |(path, _)| path)
    }

    /// A value of the query, as it stands in it.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}

/// Why no request could be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The peer closed, or the connection broke, before the request was complete.
    Closed,
    /// Not HTTP, or ambiguous; the sentence is the answer's body.
    Malformed(&'static str),
    /// A body beyond the limit.
    TooLarge,
}

impl From<io::Error> for ReadError {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// Reads the next head; `None` when the peer closed between requests.
pub(crate) async fn read_head<R: AsyncRead + Unpin>(
    from: &mut R,
    buffer: &mut BytesMut,
) -> Result<Option<Head>, ReadError> {
    loop {
        if let Some(head) = parse_head(buffer)? {
            return Ok(Some(head));
        }
        if buffer.len() > HEAD_LIMIT {
            return Err(ReadError::Malformed("request head too large"));
        }
        if from.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() {
                Ok(None)
            } else {
                Err(ReadError::Closed)
            };
        }
    }
}

fn parse_head(buffer: &mut BytesMut) -> Result<Option<Head>, ReadError> {
    let mut slots = [httparse::EMPTY_HEADER; HEADER_LIMIT];
    let mut request = httparse::Request::new(&mut slots);
    let length = match request.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(ReadError::Malformed("not an HTTP/1.1 request")),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = request
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), text(header.value)))
        .collect();
    let mut head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        headers,
        ..Head::default()
    };
    let http11 = request.version == Some(1);
    head.length = framing(&head.headers)?;
    let close = head
        .header("connection")
        .is_some_and(|value| value.to_ascii_lowercase().contains("close"));
    head.keep_alive = http11 && !close;
    head.raw = buffer.split_to(length).freeze();
    Ok(Some(head))
}

/// How long the body is, or why that cannot be said for sure.
fn framing(headers: &[(String, String)]) -> Result<Length, ReadError> {
    let mut length = Length::None;
    for (name, value) in headers {
        let found = if name.eq_ignore_ascii_case("content-length") {
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let known = value.parse().ok().filter(|_| digits);
            Length::Known(known.ok_or(ReadError::Malformed("content-length is not a number"))?)
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(ReadError::Malformed("unknown transfer-encoding"));
            }
            Length::Chunked
        } else {
            continue;
        };
        if length != Length::None {
            return Err(ReadError::Malformed("the body's length is said twice"));
        }
        length = found;
    }
    Ok(length)
}

/// Reads a request's body into `body`, so that a cut one leaves what had come.
pub(crate) async fn read_body<R: AsyncRead + Unpin>(
    from: &mut R,
    buffer: &mut BytesMut,
    length: Length,
    body: &mut BytesMut,
) -> Result<(), ReadError> {
    match length {
        Length::None => Ok(()),
        Length::Known(length) if length > BODY_LIMIT => Err(ReadError::TooLarge),
        Length::Known(length) => take(from, buffer, length, body).await,
        Length::Chunked => read_chunks(from, buffer, body).await,
    }
}

async fn read_chunks<R: AsyncRead + Unpin>(
    from: &mut R,
    buffer: &mut BytesMut,
    body: &mut BytesMut,
) -> Result<(), ReadError> {
    loop {
        let (line, size) = loop {
            match httparse::parse_chunk_size(buffer) {
                Ok(httparse::Status::Complete(found)) => break found,
                Ok(httparse::Status::Partial) if buffer.len() > 4096 => {
                    return Err(ReadError::Malformed("chunk size line too long"));
                }
                Ok(httparse::Status::Partial) => more(from, buffer).await?,
                Err(_) => return Err(ReadError::Malformed("not a chunk size")),
            }
        };
        buffer.advance(line);
        if size == 0 {
            return skip_trailers(from, buffer).await;
        }
        if size.saturating_add(body.len() as u64) > BODY_LIMIT {
            return Err(ReadError::TooLarge);
        }
        take(from, buffer, size, body).await?;
        let mut end = BytesMut::new();
        take(from, buffer, 2, &mut end).await?;
        if end != b"\r\n"[..] {
            return Err(ReadError::Malformed("a chunk is longer than it said"));
        }
    }
}

async fn skip_trailers<R: AsyncRead + Unpin>(from: &mut R, buffer: &mut BytesMut) -> Result<(), ReadError> {
    loop {
        if let Some(end) = memchr::memmem::find(buffer, b"\r\n") {
            buffer.advance(end + 2);
            if end == 0 {
                return Ok(());
            }
            continue;
        }
        if buffer.len() > HEAD_LIMIT {
            return Err(ReadError::Malformed("trailers too large"));
        }
        more(from, buffer).await?;
    }
}

/// Moves exactly `count` bytes to `to`.
async fn take<R: AsyncRead + Unpin>(
    from: &mut R,
    buffer: &mut BytesMut,
    mut count: u64,
    to: &mut BytesMut,
) -> Result<(), ReadError> {
    loop {
        let here = usize::try_from(count).unwrap_or(usize::MAX).min(buffer.len());
        to.extend_from_slice(&buffer.split_to(here));
        count -= here as u64;
        if count == 0 {
            return Ok(());
        }
        more(from, buffer).await?;
    }
}

async fn more<R: AsyncRead + Unpin>(from: &mut R, buffer: &mut BytesMut) -> Result<(), ReadError> {
    if from.read_buf(buffer).await? == 0 {
        Err(ReadError::Closed)
    } else {
        Ok(())
    }
}

/// A response head under construction.
#[derive(Debug, Clone)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl ResponseHead {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
        }
    }

    /// Adds a header, replaces the one of that name, or takes it away with an empty value.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        if !value.is_empty() {
            self.headers.push((name.to_owned(), value));
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            out.push_str(name);
            out.push_str(": ");
            out.push_str(value);
            out.push_str("\r\n");
        }
        out.push_str("\r\n");
        out.into_bytes()
    }
}

/// The words behind a status number.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Payload Too Large",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        529 => "Overloaded",
        _ => "Status",
    }
}

/// One HTTP chunk.
pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", data.len()).into_bytes();
    out.extend(data);
    out.extend(b"\r\n");
    out
}

/// The chunk that ends a chunked body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> Result<(Head, BytesMut), ReadError> {
        let (mut from, mut buffer, mut body) = (bytes, BytesMut::new(), BytesMut::new());
        let head = read_head(&mut from, &mut buffer).await?.ok_or(ReadError::Closed)?;
        read_body(&mut from, &mut buffer, head.length, &mut body).await?;
        Ok((head, body))
    }

    #[tokio::test]
    async fn bodies_of_both_framings_are_read() {
        let (head, body) = read(b"POST /v1/x?alt=sse&k=1 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")
            .await
            .unwrap();
        assert_eq!(
            (head.path(), head.query("alt"), head.keep_alive),
            ("/v1/x", Some("sse"), true)
        );
        assert_eq!(body, b"hello"[..]);
        let chunked =
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nt: 1\r\n\r\n";
        assert_eq!(read(chunked).await.unwrap().1, b"hello"[..]);
    }

    #[tokio::test]
    async fn an_ambiguous_request_is_refused() {
        for head in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: +5",
            "Transfer-Encoding: xchunked",
        ] {
            let bytes = format!("POST / HTTP/1.1\r\n{head}\r\n\r\nhello");
            assert!(
                matches!(read(bytes.as_bytes()).await, Err(ReadError::Malformed(_))),
                "{head}"
            );
        }
    }

    #[tokio::test]
    async fn a_cut_request_is_told_from_none() {
        let mut buffer = BytesMut::new();
        assert!(matches!(read_head(&mut &b""[..], &mut buffer).await, Ok(None)));
        assert!(matches!(
            read(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel").await,
            Err(ReadError::Closed)
        ));
    }
}
