//! Heads of requests and responses: only the few facts the tools act on.

use anyhow::{Context, Result, ensure};

use crate::body::Framing;

/// Headers a head may have. Providers send about 30.
const MOST_HEADERS: usize = 96;

/// What the upstream needs of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Bytes the head takes, blank line included.
    pub bytes: usize,
    /// `POST`, `GET` ..
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// How its body ends.
    pub framing: Framing,
}

/// What the load tool needs of a response.
#[derive(Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Bytes the head takes, blank line included.
    pub bytes: usize,
    /// HTTP status.
    pub status: u16,
    /// How its body ends.
    pub framing: Framing,
    /// Whether the connection can carry another request.
    pub keep_alive: bool,
}

/// Reads a request head at the start of `input`; `None` while it is incomplete.
pub fn request(input: &[u8]) -> Result<Option<RequestHead>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(bytes) = parsed.parse(input).context("a request head does not parse")? else {
        return Ok(None);
    };
    let (framing, _) = framing(parsed.headers)?;
    Ok(Some(RequestHead {
        bytes,
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        framing: framing.unwrap_or(Framing::Length(0)),
    }))
}

/// Reads a response head at the start of `input`; `None` while it is incomplete.
pub fn response(input: &[u8]) -> Result<Option<ResponseHead>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(bytes) = parsed.parse(input).context("a response head does not parse")? else {
        return Ok(None);
    };
    let (framing, closes) = framing(parsed.headers)?;
    let framing = framing.unwrap_or(Framing::UntilClose);
    Ok(Some(ResponseHead {
        bytes,
        status: parsed.code.unwrap_or_default(),
        framing,
        keep_alive: !closes && parsed.version == Some(1) && framing != Framing::UntilClose,
    }))
}

/// The framing headers, and whether `connection: close` is among them.
fn framing(headers: &[httparse::Header<'_>]) -> Result<(Option<Framing>, bool)> {
    let mut framing = None;
    let mut closes = false;
    for header in headers {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            let bytes = value
                .parse()
                .with_context(|| format!("content-length is no number: {value:?}"))?;
            ensure!(
                framing.is_none(),
                "more than one of content-length and transfer-encoding"
            );
            framing = Some(Framing::Length(bytes));
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            ensure!(
                value.eq_ignore_ascii_case("chunked"),
                "transfer-encoding is not chunked: {value:?}"
            );
            ensure!(
                framing.is_none(),
                "more than one of content-length and transfer-encoding"
            );
            framing = Some(Framing::Chunked);
        } else if header.name.eq_ignore_ascii_case("connection") {
            closes |= value.eq_ignore_ascii_case("close");
        }
    }
    Ok((framing, closes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_head_is_read_once_it_is_complete() {
        let wire = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n{";
        for end in 0..wire.len() - 1 {
            assert_eq!(request(&wire[..end]).unwrap(), None);
        }
        let head = request(wire).unwrap().unwrap();
        assert_eq!(head.bytes, wire.len() - 1);
        assert_eq!(
            (head.method.as_str(), head.target.as_str()),
            ("POST", "/v1/chat/completions")
        );
        assert_eq!(head.framing, Framing::Length(12));
    }

    #[test]
    fn a_request_without_framing_headers_has_no_body() {
        let head = request(b"GET /v1/models HTTP/1.1\r\n\r\n").unwrap().unwrap();
        assert_eq!(head.framing, Framing::Length(0));
    }

    #[test]
    fn a_response_tells_how_it_ends_and_whether_the_connection_lives_on() {
        let cases: [(&str, Framing, bool); 5] = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", Framing::Length(3), true),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
                Framing::Chunked,
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nConnection: close\r\n\r\n",
                Framing::Length(3),
                false,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose, false),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n",
                Framing::Length(3),
                false,
            ),
        ];
        for (wire, framing, keep_alive) in cases {
            let head = response(wire.as_bytes()).unwrap().unwrap();
            assert_eq!(
                (head.status, head.framing, head.keep_alive),
                (200, framing, keep_alive),
                "{wire:?}"
            );
        }
    }

    #[test]
    fn a_head_with_two_framings_is_refused() {
        let both = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n";
        let twice = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n";
        assert!(response(both).is_err());
        assert!(response(twice).is_err());
        assert!(response(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n").is_err());
    }
}
