//! What goes by on a connection, as far as it must be known beside hyper.
//!
//! **Whether it is idle**, so that hyper can do without it: hyper waits for a head, all that was written is in the kernel, and no answer
//! is open. That hyper waits for a head is known by its asking for a timer ([`HeadTimer`]), which it does nowhere else. Everything less
//! is not enough: a connection that hyper is about to close looks the same from outside, and what comes on it must not be read as a request.
//!
//! **Until when a head must be there**: from the accept on, and from each answer's end on. Who serves the connection holds the limit.
//!
//! **Whether a request says twice where it ends.**
//! hyper obeys Transfer-Encoding, drops Content-Length and says nothing of it. That is safe here, as a request is only
//! ever sent on from its parsed parts, but a peer that sends both is confused or up to something, and the refusal must
//! not depend on what any other proxy in the path makes of it. So the head is looked at as it goes by: only for the two
//! names at the beginning of a line, nothing is kept. A request that was pipelined behind an answer in progress is not
//! seen; if it is chunked, it is refused for that.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::{Sleep, Timer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

const WHOLE: u8 = 1;
const LENGTH: u8 = 2;
const ENCODING: u8 = 4;

/// What may be asked about a connection while hyper has it.
#[derive(Clone, Debug)]
pub(super) struct Seen(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    /// What was found in the head that went by last.
    head: AtomicU8,
    /// When the head that is waited for must be complete, in milliseconds from `begun`; 0: none is waited for.
    head_by: AtomicU64,
    begun: Instant,
    /// Whether hyper had a request since it was given the connection.
    served: AtomicBool,
    /// Whether all that was written was flushed too.
    flushed: AtomicBool,
    /// Requests whose answer is not over.
    open: AtomicUsize,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self(Arc::new(Facts {
            head: AtomicU8::default(),
            head_by: AtomicU64::default(),
            begun: Instant::now(),
            served: AtomicBool::default(),
            flushed: AtomicBool::default(),
            open: AtomicUsize::default(),
        }))
    }

    /// Whether the last head, which hyper says is chunked, says so alone.
    pub(super) fn is_plainly_chunked(&self) -> bool {
        self.0.head.load(Relaxed) == WHOLE | ENCODING
    }

    /// Whether hyper has answered since it was given the connection and waits for a head, part of which it may have read.
    pub(super) fn is_idle(&self) -> bool {
        let facts = &*self.0;
        facts.head_by.load(Relaxed) != 0
            && facts.served.load(Relaxed)
            && facts.flushed.load(Relaxed)
            && facts.open.load(Relaxed) == 0
    }

    /// hyper is given the connection.
    pub(super) fn begin(&self) {
        self.0.served.store(false, Relaxed);
    }

    /// A request has come; its answer is over when this is dropped.
    pub(super) fn open(&self) -> Open {
        self.0.head_by.store(0, Relaxed);
        self.0.served.store(true, Relaxed);
        self.0.open.fetch_add(1, Relaxed);
        Open(self.clone())
    }

    /// A head is waited for, and must be complete by then. What is set already holds: it is the same head.
    pub(super) fn expect_head(&self, by: Instant) {
        let millis = by.saturating_duration_since(self.0.begun).as_millis();
        let by = u64::try_from(millis).unwrap_or(u64::MAX).max(1);
        let _ = self.0.head_by.compare_exchange(0, by, Relaxed, Relaxed);
    }

    /// When the head that is waited for must be complete.
    pub(super) fn head_by(&self) -> Option<Instant> {
        let millis = self.0.head_by.load(Relaxed);
        (millis != 0).then(|| self.0.begun + Duration::from_millis(millis))
    }
}

/// Held while a request has no answer, and by the answer's body.
#[derive(Debug)]
pub(super) struct Open(Seen);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Relaxed);
    }
}

/// The timer by which hyper would limit the wait for a head. It notes that hyper waits; the limit is held by who serves the connection,
/// with one timer instead of a new one for each request.
pub(super) struct HeadTimer(pub(super) Seen);

struct Never;

impl Future for Never {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Sleep for Never {}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        self.0.expect_head(Instant::from_std(deadline));
        Box::pin(Never)
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }

    fn reset(&self, _: &mut Pin<Box<dyn Sleep>>, deadline: std::time::Instant) {
        self.0.expect_head(Instant::from_std(deadline));
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
            if let (Some(_), 0) = (end, self.length) {
                // All of it is here.
                self.line(line);
                bytes = rest.get(1..).unwrap_or_default();
                continue;
            }
            for (into, byte) in self.prefix.iter_mut().skip(self.length).zip(line) {
                *into = *byte;
            }
            self.length = (self.length + line.len()).min(PREFIX);
            if end.is_none() {
                return;
            }
            let (prefix, length) = (self.prefix, std::mem::take(&mut self.length));
            self.line(prefix.get(..length).unwrap_or_default());
            bytes = rest.get(1..).unwrap_or_default();
        }
    }

    fn line(&mut self, line: &[u8]) {
        if line.is_empty() || line == b"\r" {
            if self.begun {
                self.found |= WHOLE;
            }
            return;
        }
        if std::mem::replace(&mut self.begun, true) && matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
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

/// Passes everything through and looks at it on its way.
pub(super) struct Watched<S> {
    inner: S,
    head: Head,
    seen: Seen,
    /// Read from the inner one before, and not used.
    unread: Bytes,
}

impl<S> Watched<S> {
    pub(super) fn new(inner: S, seen: Seen) -> Self {
        Self {
            inner,
            head: Head::default(),
            seen,
            unread: Bytes::new(),
        }
    }

    pub(super) fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Puts back what was read and not used; it is what is read next. It was looked at when it came.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        // A copy: even none of hyper's bytes keep all of its buffer.
        self.unread = Bytes::copy_from_slice(bytes);
    }

    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// An answer is being written: what comes next is another head.
    fn writing(&mut self) {
        self.seen.0.flushed.store(false, Relaxed);
        self.seen.0.head_by.store(0, Relaxed);
        if self.head.begun {
            self.head = Head::default();
            // What comes next, pipelined perhaps, must not be judged by the head before it.
            self.seen.0.head.store(0, Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.has_unread() {
            let bytes = this.unread.split_to(this.unread.len().min(into.remaining()));
            into.put_slice(&bytes);
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, into);
        if this.head.found & WHOLE == 0 && read.is_ready() {
            this.head.push(into.filled().get(before..).unwrap_or_default());
            this.seen.0.head.store(this.head.found, Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.writing();
        Pin::new(&mut this.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.writing();
        Pin::new(&mut this.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper flushes when it has written all that it holds.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.seen.0.flushed.store(true, Relaxed);
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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

    #[tokio::test]
    async fn a_connection_is_idle_when_all_answers_are_over_and_a_head_is_waited_for() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let seen = Seen::new();
        let timer = HeadTimer(seen.clone());
        let mut io = Watched::new(ours, seen.clone());
        seen.begin();
        io.flush().await.unwrap();
        drop(timer.sleep(Duration::from_secs(1)));
        assert!(!seen.is_idle(), "nothing was asked yet");
        let (first, second) = (seen.open(), seen.open());
        io.write_all(b"answer").await.unwrap();
        drop(first);
        io.flush().await.unwrap();
        assert!(!seen.is_idle(), "a second answer is not over");
        io.write_all(b"answer").await.unwrap();
        drop(second);
        io.flush().await.unwrap();
        assert!(
            !seen.is_idle(),
            "hyper does not wait for a head: it may be about to close"
        );
        drop(timer.sleep(Duration::from_secs(1)));
        assert!(seen.is_idle());
        io.write_all(b"HTTP/1.1 400").await.unwrap();
        io.flush().await.unwrap();
        assert!(!seen.is_idle(), "it answered what was no request");
        drop(timer.sleep(Duration::from_secs(1)));
        seen.begin();
        assert!(!seen.is_idle(), "what follows has not been answered");
    }

    #[tokio::test]
    async fn what_was_not_used_is_read_again_before_anything_else() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut io = Watched::new(ours, Seen::new());
        theirs.write_all(b"defg").await.unwrap();
        io.unread(b"abc");
        let mut read = Vec::new();
        while read.len() < 7 {
            io.read_buf(&mut (&mut read).limit(2)).await.unwrap();
        }
        assert_eq!(read, b"abcdefg");
        assert!(!io.has_unread());
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
