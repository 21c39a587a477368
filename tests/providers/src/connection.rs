//! One connection: requests in, the scripted bytes out, and a watch on the peer all the while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::api::{Operation, Route};
use crate::bill::bill;
use crate::call::{Call, key};
use crate::provider::Shared;
use crate::script::{Behaviour, Facts};
use crate::seen::{Cancelled, Phase, Recorded};
use crate::transport::Transport;
use crate::wire::{self, Head, ReadError, ResponseHead};

/// Bytes taken from a peer that sends on while it is answered; then reading stops, and TCP holds it back.
const READ_AHEAD: usize = 256 * 1024;
/// How often a connection that must not be read is asked whether its peer has gone.
const CLOSED_CHECK: Duration = Duration::from_millis(5);

/// The peer closed or broke the connection.
#[derive(Debug)]
pub(crate) struct Gone;

/// What becomes of the connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Keep,
    Close,
    Reset,
    ResetOnNextRequest,
    /// Nothing is read or written any more until the peer goes.
    Ignore {
        request: u64,
    },
    Gone,
}

pub(crate) struct Connection {
    read: ReadHalf<Transport>,
    write: WriteHalf<Transport>,
    buffer: BytesMut,
    pub(crate) shared: Arc<Shared>,
    number: u64,
    /// Of the response under way: whether its head was sent, and how many pieces of content.
    pub(crate) head_sent: bool,
    pub(crate) chunks_sent: u32,
}

/// Serves a connection until its end.
pub(crate) async fn serve(transport: Transport, shared: &Arc<Shared>, number: u64) {
    let (read, write) = tokio::io::split(transport);
    let mut connection = Connection {
        read,
        write,
        buffer: BytesMut::new(),
        shared: Arc::clone(shared),
        number,
        head_sent: false,
        chunks_sent: 0,
    };
    let next = loop {
        match connection.exchange().await {
            Next::Keep => {}
            Next::ResetOnNextRequest => {
                let waiting = connection.buffer.is_empty();
                let gone = waiting
                    && connection
                        .read
                        .read_buf(&mut connection.buffer)
                        .await
                        .is_ok_and(|read| read == 0);
                break if gone { Next::Gone } else { Next::Reset };
            }
            next => break next,
        }
    };
    match next {
        Next::Close => {
            // The peer may be gone already; then there is nothing to close.
            let _ = connection.write.shutdown().await;
        }
        Next::Reset => connection.read.unsplit(connection.write).reset(),
        Next::Ignore { request } => {
            let transport = connection.read.unsplit(connection.write);
            while !transport.is_read_closed().await {
                tokio::time::sleep(CLOSED_CHECK).await;
            }
            let cancelled = Cancelled {
                request,
                at: Instant::now(),
                phase: Phase::RequestBody,
                chunks: 0,
            };
            shared.update(|state| state.seen.cancelled.push(cancelled));
        }
        Next::Keep | Next::ResetOnNextRequest | Next::Gone => {}
    }
}

impl Connection {
    /// Reads one request and does with it what the script says.
    async fn exchange(&mut self) -> Next {
        (self.head_sent, self.chunks_sent) = (false, 0);
        let head = match wire::read_head(&mut self.read, &mut self.buffer).await {
            Ok(Some(head)) => head,
            Ok(None) => return Next::Gone,
            Err(error) => {
                let raw = self.buffer.split().freeze();
                return self.refuse_bytes(&error, raw).await;
            }
        };
        let route = Route::of(&head, self.shared.api);
        if let Some(next) = self.refuse_body(&head, &route).await {
            return next;
        }
        if head
            .header("expect")
            .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
            && self.write.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err()
        {
            return Next::Gone;
        }
        let mut body = BytesMut::new();
        let read = wire::read_body(&mut self.read, &mut self.buffer, head.length, &mut body).await;
        let body = body.freeze();
        let call = Call::read(route, &body);
        match read {
            Ok(()) => self.answer(&head, &call, body).await,
            Err(ReadError::Closed) => {
                let request = self.record(&head, &call, body, false, "cut");
                self.cancelled(request, Phase::RequestBody);
                Next::Gone
            }
            Err(ReadError::TooLarge) => {
                let request = self.record(&head, &call, body, false, "too_large");
                let act = Behaviour::status(413).into();
                self.perform(request, &act, &call).await;
                Next::Close
            }
            Err(error @ ReadError::Malformed(_)) => self.refuse_bytes(&error, head.raw).await,
        }
    }

    async fn answer(&mut self, head: &Head, call: &Call, body: Bytes) -> Next {
        let key = key(call.route.api, head);
        let facts = facts(head, call, key.as_deref());
        let refusal = call.refusal(head, self.shared.keys().as_deref());
        let unknown = call.route.operation == Operation::Unknown;
        // A path that the real API does not have may still be given a behaviour, by its path.
        let scripted = unknown && self.shared.read(|state| state.script.names_path(&facts));
        let (act, word) = match refusal {
            Some(refusal) if !scripted || refusal.status == 401 || refusal.status == 403 => {
                let mut status = Behaviour::status(refusal.status).message(refusal.message);
                status.kind = Some(refusal.kind.to_owned()).filter(|kind| !kind.is_empty());
                (status.into(), "refused")
            }
            _ => {
                let act = self.shared.update(|state| state.script.take(&facts));
                let word = act.as_str();
                (act, word)
            }
        };
        let request = self.record(head, call, body, true, word);
        let next = self.perform(request, &act, call).await;
        if next == Next::Keep && !head.keep_alive {
            Next::Close
        } else {
            next
        }
    }

    /// Plays a behaviour; notes whether it came to its end or the peer cut it.
    async fn perform(&mut self, request: u64, act: &Behaviour, call: &Call) -> Next {
        let played = self.play(request, act, call).await;
        if let Behaviour::Answer(answer) = act
            && self.head_sent
        {
            let (is_whole, pieces) = (played.is_ok(), self.chunks_sent);
            self.shared
                .update(|state| bill(&mut state.seen.bill, call, answer, is_whole, pieces));
        }
        if let Ok(next) = played {
            self.shared.update(|state| state.seen.answered += 1);
            return next;
        }
        self.cancelled(request, if self.head_sent { Phase::Body } else { Phase::BeforeHead });
        Next::Gone
    }

    /// Takes a step that wants the body unread, if that is the next one for this request.
    async fn refuse_body(&mut self, head: &Head, route: &Route) -> Option<Next> {
        let call = Call::read(route.clone(), b"");
        let key = key(route.api, head);
        let facts = facts(head, &call, key.as_deref());
        let act = self.shared.update(|state| state.script.take_refusal(&facts))?;
        let request = self.record(head, &call, Bytes::new(), false, act.as_str());
        let Behaviour::RefuseBody { status: Some(status) } = act else {
            return Some(Next::Ignore { request });
        };
        let act = Behaviour::status(status).header("Connection", "close").into();
        let next = self.perform(request, &act, &call).await;
        Some(if next == Next::Gone { next } else { Next::Close })
    }

    /// Answers bytes that are no request with a bare 400 and keeps them for the test to see.
    async fn refuse_bytes(&mut self, error: &ReadError, raw: Bytes) -> Next {
        let ReadError::Malformed(problem) = error else {
            return Next::Gone;
        };
        self.shared.update(|state| state.seen.malformed.push(raw));
        let mut head = ResponseHead::new(400);
        head.set("Connection", "close");
        head.set("Content-Type", "text/plain");
        head.set("Content-Length", problem.len().to_string());
        let mut bytes = head.to_bytes();
        bytes.extend(problem.as_bytes());
        if self.send(&bytes).await.is_err() {
            Next::Gone
        } else {
            Next::Close
        }
    }

    fn record(&mut self, head: &Head, call: &Call, body: Bytes, complete: bool, behaviour: &'static str) -> u64 {
        let (connection, at) = (self.number, self.shared.started.elapsed());
        self.shared.update(|state| {
            state.last_request += 1;
            let id = state.last_request;
            state.seen.record(Recorded {
                id,
                connection,
                at,
                api: call.route.api,
                operation: call.route.operation,
                method: head.method.clone(),
                path: head.target.clone(),
                headers: head.headers.clone(),
                raw_head: head.raw.clone(),
                body,
                complete,
                model: call.model.clone(),
                stream: call.stream != crate::call::StreamForm::None,
                key: key(call.route.api, head),
                behaviour,
            });
            id
        })
    }

    fn cancelled(&self, request: u64, phase: Phase) {
        let cancelled = Cancelled {
            request,
            at: Instant::now(),
            phase,
            chunks: self.chunks_sent,
        };
        self.shared.update(|state| state.seen.cancelled.push(cancelled));
    }

    /// Writes all of `bytes`, unless the peer goes.
    pub(crate) async fn send(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        while !bytes.is_empty() {
            // Written first: what the peer could still take counts as sent, even if it closed right after the last byte.
            tokio::select! {
                biased;
                written = self.write.write(bytes) => match written {
                    Ok(written) if written > 0 => bytes = bytes.split_at_checked(written).map_or(&[], |(_, rest)| rest),
                    _ => return Err(Gone),
                },
                () = gone(&mut self.read, &mut self.buffer) => return Err(Gone),
            }
        }
        self.write.flush().await.map_err(|_| Gone)
    }

    /// Waits, unless the peer goes.
    pub(crate) async fn pause(&mut self, milliseconds: u64) -> Result<(), Gone> {
        if milliseconds == 0 {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(milliseconds)) => Ok(()),
            () = gone(&mut self.read, &mut self.buffer) => Err(Gone),
        }
    }

    /// Waits until the peer goes.
    pub(crate) async fn silence(&mut self) -> Gone {
        gone(&mut self.read, &mut self.buffer).await;
        Gone
    }
}

fn facts<'a>(head: &'a Head, call: &'a Call, key: Option<&'a str>) -> Facts<'a> {
    Facts {
        api: call.route.api,
        path: head.path(),
        model: &call.model,
        key,
        stream: call.stream != crate::call::StreamForm::None,
    }
}

/// Returns when the peer has closed. What it sends meanwhile is kept for the next request.
async fn gone(read: &mut ReadHalf<Transport>, buffer: &mut BytesMut) {
    while buffer.len() < READ_AHEAD {
        if !read.read_buf(buffer).await.is_ok_and(|read| read > 0) {
            return;
        }
    }
    std::future::pending::<()>().await;
}
