//! The response body towards the app: one enum, unboxed but for streams, which allocate once each.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::relay::{Broken, Relay};
#[cfg(feature = "failpoints")]
use crate::failpoint;
use crate::memory::Room;

/// What the app gets.
pub enum Body {
    /// A whole answer, or what is left of it to hand over.
    Whole(Bytes),
    /// An answer that is still arriving.
    Relay(Box<Relay>),
    /// The same, of which a part was taken in already.
    Resumed(Box<Resumed>),
    /// An answer of ours that is written piece by piece as it goes out, where there is no memory for all of it at once.
    Written(Box<dyn Iterator<Item = Bytes> + Send>),
    /// One that is still arriving, which panics after its first piece: see `crate::failpoint`.
    #[cfg(feature = "failpoints")]
    Failing(Box<Relay>, u8),
}

/// A body of which a part was taken in, and goes on to the app after all.
pub struct Resumed {
    held: VecDeque<Bytes>,
    /// What the part takes.
    room: Option<Room>,
    rest: Body,
}

impl Resumed {
    /// This part, with the room that it takes, and then the rest.
    pub fn new(held: VecDeque<Bytes>, room: Room, rest: Body) -> Self {
        let room = Some(room);
        Self { held, room, rest }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(piece) = self.held.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        self.room = None;
        Pin::new(&mut self.rest).poll_frame(cx)
    }
}

impl Body {
    /// What hardly ever goes out: apart, so that it costs the other chunks nothing.
    #[cold]
    #[inline(never)]
    fn poll_rare(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self {
            Self::Resumed(resumed) => resumed.poll(cx),
            Self::Written(pieces) => Poll::Ready(pieces.next().map(|piece| Ok(Frame::data(piece)))),
            _ => Poll::Ready(None),
        }
    }

    /// The same, which panics in mid-stream where this request asks for it: see `crate::failpoint`.
    #[inline]
    #[must_use]
    pub fn with_failpoint(self, headers: &HeaderMap) -> Self {
        match self {
            #[cfg(feature = "failpoints")]
            Self::Relay(relay) if failpoint::asked(headers, failpoint::STREAM) => Self::Failing(relay, 0),
            body => {
                let _ = headers;
                body
            }
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Relay(relay) => relay.poll_next(cx).map(|next| next.map(|chunk| chunk.map(Frame::data))),
            rare @ (Self::Resumed(_) | Self::Written(_)) => rare.poll_rare(cx),
            #[cfg(feature = "failpoints")]
            Self::Failing(relay, polls) => {
                *polls += 1;
                // The first piece goes out, hyper gets a turn to write it, and then it happens.
                assert!(*polls < 3, "failpoint {}", failpoint::STREAM);
                if *polls == 2 {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                relay.poll_next(cx).map(|next| next.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Relay(relay) => relay.size_hint(),
            Self::Resumed(_) | Self::Written(_) => SizeHint::default(),
            #[cfg(feature = "failpoints")]
            Self::Failing(relay, _) => relay.size_hint(),
        }
    }
}
