//! Collecting an answer: within its deadlines, up to a size, and a stream only as far as its first content.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use bowsprit_core::dialect::{Pushed, Stream, StreamError};
use bowsprit_core::fault::TransportFault;
use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::deadlines::Deadlines;
use super::exchange::Exchange;
use crate::limits::{ROOM_WAIT, SMALL_BODY, STREAM_HELD_BYTES, STREAM_HELD_PIECES};
use crate::memory::Memory;
use crate::net::client::{AnswerBody, Fault};
use crate::time;

/// What came of collecting a body.
pub(super) enum Collected {
    Whole(Bytes),
    /// It is larger than the limit.
    Part(VecDeque<Bytes>),
    /// There is no memory for more of it.
    NoRoom(VecDeque<Bytes>),
}

/// Takes a body in, up to a limit, within the answer's times and the memory there is.
pub(super) async fn collect(
    body: &mut AnswerBody,
    deadlines: &Deadlines,
    limit: usize,
    from: Instant,
    memory: &Arc<Memory>,
) -> Result<Collected, Fault> {
    let mut last = from;
    // Most answers come in one piece, which needs no list.
    let mut first = Bytes::new();
    let mut rest: VecDeque<Bytes> = VecDeque::new();
    let mut length = 0;
    let mut room = memory.room();
    let mut grace_given = false;
    loop {
        let Ok(next) = time::until(deadlines.next(last), &mut grace_given, pin!(body.data())).await else {
            let fault = deadlines
                .expired(last, Instant::now())
                .unwrap_or(TransportFault::IdleTimeout);
            let text = format!("nothing more arrived within {}", deadlines.describe(fault));
            return Err(Fault::new(fault, text));
        };
        match next {
            Some(Ok(data)) => {
                length += data.len();
                if first.is_empty() {
                    first = data;
                } else {
                    rest.push_back(data);
                }
                if length > limit {
                    rest.push_front(first);
                    return Ok(Collected::Part(rest));
                }
                if length > SMALL_BODY && !room.grow_to(length, ROOM_WAIT).await {
                    rest.push_front(first);
                    return Ok(Collected::NoRoom(rest));
                }
                if body.is_end() {
                    break;
                }
                last = Instant::now();
            }
            Some(Err(fault)) => return Err(fault),
            None => break,
        }
    }
    let whole = if rest.is_empty() {
        first
    } else {
        let mut whole = BytesMut::with_capacity(length);
        whole.extend_from_slice(&first);
        for part in &rest {
            whole.extend_from_slice(part);
        }
        whole.freeze()
    };
    Ok(Collected::Whole(room.hold(whole)))
}

/// Why a stream did not begin.
pub(super) enum StartFault {
    Transport(Fault),
    Stream(StreamError),
}

/// Holds what comes before the first content. Returns it, and whether the stream has ended already. The exchange knows at
/// each moment what the provider has told of its tokens, should nobody want the rest.
pub(super) async fn until_first_token(
    body: &mut AnswerBody,
    stream: &mut Stream,
    exchange: &mut Exchange,
) -> Result<(VecDeque<Bytes>, bool), StartFault> {
    let mut held = VecDeque::new();
    let mut out = BytesMut::new();
    let mut length = 0;
    let mut pieces = 0;
    loop {
        match body.data().await {
            Some(Ok(chunk)) => {
                let pushed = stream.push(&chunk, &mut out);
                exchange.saw(stream.usage(), stream.chunks());
                let pushed = pushed.map_err(StartFault::Stream)?;
                let piece = if pushed == Pushed::Same {
                    chunk
                } else {
                    out.split().freeze()
                };
                length += piece.len();
                pieces += 1;
                if !piece.is_empty() {
                    held.push_back(piece);
                }
                if stream.content_started() || pieces >= STREAM_HELD_PIECES || length >= STREAM_HELD_BYTES {
                    return Ok((held, false));
                }
            }
            Some(Err(fault)) => return Err(StartFault::Transport(fault)),
            None => {
                stream.finish(&mut out).map_err(StartFault::Stream)?;
                if !out.is_empty() {
                    held.push_back(out.freeze());
                }
                return Ok((held, true));
            }
        }
    }
}
