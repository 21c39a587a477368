//! Telling a request that says twice where it ends.
//!
//! hyper obeys Transfer-Encoding, drops Content-Length and says nothing of it. That is safe here, as a request is only
//! ever sent on from its parsed parts, but a peer that sends both is confused or up to something, and the refusal must
//! not depend on what any other proxy in the path makes of it. So the head is looked at as it goes by: only for the two
//! names at the beginning of a line, nothing is kept. A request that was pipelined behind an answer in progress is not
//! seen; if it is chunked, it is refused for that.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const WHOLE: u8 = 1;
const LENGTH: u8 = 2;
const ENCODING: u8 = 4;

/// What the connection's service may ask about the head that went by last.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Arc<AtomicU8>);

impl Seen {
    /// Whether the last head, which hyper says is chunked, says so alone.
    pub(super) fn is_plainly_chunked(&self) -> bool {
        self.0.load(Ordering::Relaxed) == WHOLE | ENCODING
    }
}

const NAMES: [(&[u8], u8); 2] = [(b"content-length", LENGTH), (b"transfer-encoding", ENCODING)];
/// Enough of a line to tell both names and what follows them.
const PREFIX: usize = 18;

/// Reads heads line by line, across any number of reads.
#[derive(Debug, Default)]
struct Head {
    found: u8,
    /// Whether the request line has gone by; empty lines before it mean nothing.
    begun: bool,
    prefix: [u8; PREFIX],
    length: usize,
}

impl Head {
    fn push(&mut self, mut bytes: &[u8]) {
        while self.found & WHOLE == 0 && !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            for (into, byte) in self.prefix.iter_mut().skip(self.length).zip(line) {
                *into = *byte;
            }
            self.length = (self.length + line.len()).min(PREFIX);
            if end.is_none() {
                return;
            }
            self.line();
            bytes = rest.get(1..).unwrap_or_default();
        }
    }

    fn line(&mut self) {
        let line = self.prefix.get(..std::mem::take(&mut self.length)).unwrap_or_default();
        if line.is_empty() || line == b"\r" {
            if self.begun {
                self.found |= WHOLE;
            }
            return;
        }
        if std::mem::replace(&mut self.begun, true) {
            for (name, flag) in NAMES {
                let (start, rest) = line.split_at_checked(name.len()).unwrap_or_default();
                if start.eq_ignore_ascii_case(name)
                    && rest
                        .first()
                        .is_none_or(|next| !next.is_ascii_alphanumeric() && *next != b'-')
                {
                    self.found |= flag;
                }
            }
        }
    }
}

/// Passes everything through and looks at heads on their way.
pub(super) struct Watched<S> {
    inner: S,
    head: Head,
    seen: Seen,
}

impl<S> Watched<S> {
    pub(super) fn new(inner: S) -> (Self, Seen) {
        let seen = Seen::default();
        let watched = Self {
            inner,
            head: Head::default(),
            seen: seen.clone(),
        };
        (watched, seen)
    }

    /// An answer is being written: what comes next is another head.
    fn written(&mut self) {
        if self.head.begun {
            self.head = Head::default();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, into);
        if this.head.found & WHOLE == 0 && read.is_ready() {
            this.head.push(into.filled().get(before..).unwrap_or_default());
            this.seen.0.store(this.head.found, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.written();
        Pin::new(&mut this.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.written();
        Pin::new(&mut this.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> u8 {
        let mut whole = Head::default();
        whole.push(text.as_bytes());
        for size in 1..text.len() {
            let mut cut = Head::default();
            text.as_bytes().chunks(size).for_each(|piece| cut.push(piece));
            assert_eq!(cut.found, whole.found, "in pieces of {size}: {text:?}");
        }
        whole.found
    }

    #[test]
    fn both_names_are_seen_however_they_are_written_and_cut() {
        for text in [
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\ntransfer-encoding:chunked\ncontent-LENGTH:5\n\nbody",
            "\r\n\r\nPOST / HTTP/1.1\r\nhost: x\r\nTRANSFER-ENCODING: chunked\r\ncontent-length : 5\r\n\r\n",
        ] {
            assert_eq!(found(text), WHOLE | LENGTH | ENCODING, "{text:?}");
        }
    }

    #[test]
    fn only_names_count_and_only_in_the_head() {
        let text = "POST /content-length HTTP/1.1\r\nx-content-length: 5\r\ncontent-length-x: 5\r\n\
            note: content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n4\r\ncontent-length: 5\r\n";
        assert_eq!(found(text), WHOLE | ENCODING);
    }

    #[test]
    fn an_unfinished_head_is_not_whole() {
        assert_eq!(found("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n"), ENCODING);
    }
}
