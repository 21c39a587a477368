//! One HTTP/1.1 connection, from either side, over anything that reads and writes.

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::body::{Decoder, Framing};
use crate::head::{self, RequestHead, ResponseHead};

/// Longest head taken, in bytes: twice what a provider's answer has at most.
const LONGEST_HEAD: usize = 64 * 1024;
/// Room for one read, in bytes: a plain answer and its head fit several times.
const READ_ROOM: usize = 16 * 1024;

/// A connection and what has arrived on it but has not been used yet.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    buffer: Vec<u8>,
    reads: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A connection on which nothing has been sent yet.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::with_capacity(READ_ROOM),
            reads: 0,
        }
    }

    /// Reads done so far on this connection: how finely the peer's bytes came apart.
    pub fn reads(&self) -> u64 {
        self.reads
    }

    /// Sends all of `bytes`.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.context("send")?;
        self.stream.flush().await.context("send")
    }

    /// The next request's head; `None` when the peer closed between two requests.
    pub async fn request_head(&mut self) -> Result<Option<RequestHead>> {
        let head = self.head(head::request, |head| head.bytes).await?;
        ensure!(
            head.is_some() || self.buffer.is_empty(),
            "closed in the middle of a head"
        );
        Ok(head)
    }

    /// The head of the answer to the request just sent.
    pub async fn response_head(&mut self) -> Result<ResponseHead> {
        self.head(head::response, |head| head.bytes)
            .await?
            .context("closed before the answer's head was complete")
    }

    async fn head<H>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<Option<H>>,
        length: impl Fn(&H) -> usize,
    ) -> Result<Option<H>> {
        loop {
            if !self.buffer.is_empty()
                && let Some(head) = parse(&self.buffer)?
            {
                self.buffer.drain(..length(&head));
                return Ok(Some(head));
            }
            ensure!(
                self.buffer.len() <= LONGEST_HEAD,
                "a head is longer than {LONGEST_HEAD} bytes"
            );
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// Reads a body to its end and hands its content to `sink` as it arrives.
    pub async fn body(&mut self, framing: Framing, mut sink: impl FnMut(&[u8])) -> Result<()> {
        let mut decoder = Decoder::new(framing);
        loop {
            let taken = decoder.feed(&self.buffer, &mut sink)?;
            self.buffer.drain(..taken);
            if decoder.is_done() {
                return Ok(());
            }
            if !self.read().await? {
                ensure!(decoder.may_close(), "closed in the middle of a body");
                return Ok(());
            }
        }
    }

    /// Waits until the peer closes. It has nothing to say meanwhile.
    pub async fn end(&mut self) -> Result<()> {
        while self.read().await? {
            ensure!(self.buffer.is_empty(), "the peer sent bytes that nobody asked for");
        }
        Ok(())
    }

    /// Reads once; false at the end of the stream.
    async fn read(&mut self) -> Result<bool> {
        self.buffer.reserve(READ_ROOM);
        self.reads += 1;
        Ok(self.stream.read_buf(&mut self.buffer).await.context("receive")? > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collect(wire: &mut Wire<tokio::io::DuplexStream>, framing: Framing) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        wire.body(framing, |bytes| content.extend_from_slice(bytes)).await?;
        Ok(content)
    }

    #[tokio::test]
    async fn two_answers_in_one_read_are_told_apart() {
        let (near, mut far) = tokio::io::duplex(4096);
        let mut wire = Wire::new(near);
        far.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\noneHTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n",
        )
        .await
        .unwrap();
        let first = wire.response_head().await.unwrap();
        assert_eq!(
            (first.status, collect(&mut wire, first.framing).await.unwrap()),
            (200, b"one".to_vec())
        );
        let second = wire.response_head().await.unwrap();
        assert_eq!(
            (second.status, collect(&mut wire, second.framing).await.unwrap()),
            (503, b"two".to_vec())
        );
        assert_eq!(wire.reads(), 1);
    }

    #[tokio::test]
    async fn an_answer_cut_short_is_an_error() {
        for cut in [
            "HTTP/1.1 200 OK\r\ncontent-le",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\non",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\ntwo\r\n",
        ] {
            let (near, mut far) = tokio::io::duplex(4096);
            let mut wire = Wire::new(near);
            far.write_all(cut.as_bytes()).await.unwrap();
            drop(far);
            let outcome = async {
                let head = wire.response_head().await?;
                collect(&mut wire, head.framing).await
            };
            assert!(outcome.await.is_err(), "{cut:?}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_closes_between_requests_is_no_error() {
        let (near, mut far) = tokio::io::duplex(4096);
        let mut wire = Wire::new(near);
        far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        drop(far);
        assert!(wire.request_head().await.unwrap().is_some());
        assert!(wire.request_head().await.unwrap().is_none());
    }
}
