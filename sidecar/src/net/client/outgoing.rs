//! What is sent to a provider: a body that is held, or one that is still arriving from the app.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// The body of a request to a provider.
pub enum Outgoing {
    /// Held whole, so it can be sent again.
    Whole(Bytes),
    /// Sent on as it arrives, once.
    Arriving(Box<Upload>),
}

/// Looks into a body that passes.
pub trait Look: Send + Sync {
    /// Whether this piece may go on. `is_last`: no other follows.
    fn piece(&mut self, piece: &[u8], is_last: bool) -> bool;
}

impl Outgoing {
    /// A body that is still arriving, of at most `limit` bytes, and the handle on its sending.
    pub fn arriving(incoming: Incoming, limit: u64, look: Option<Box<dyn Look>>) -> (Self, Sending) {
        let progress = Arc::new(Progress {
            begun: Instant::now(),
            moved: AtomicU64::new(0),
            phase: AtomicU8::new(RUNNING),
            waits_for_app: AtomicU8::new(0),
            over: Notify::new(),
        });
        let (hold, given_up) = oneshot::channel();
        let upload = Upload {
            incoming,
            left: limit,
            look,
            progress: Arc::clone(&progress),
            given_up,
        };
        let sending = Sending { progress, _hold: hold };
        (Self::Arriving(Box::new(upload)), sending)
    }
}

impl From<Bytes> for Outgoing {
    fn from(body: Bytes) -> Self {
        Self::Whole(body)
    }
}

/// Why a body could not be sent to its end. The connection it was on is lost with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// Nobody waits for it any more.
    #[error("the request was given up")]
    GivenUp,
    /// It is longer than allowed.
    #[error("the body is larger than the limit")]
    TooLarge,
    /// The app broke off.
    #[error("the body broke off")]
    Broke,
    /// Who looks into it does not let it pass.
    #[error("the body may not pass")]
    Refused,
}

const RUNNING: u8 = 0;
const DONE: u8 = 1;
const TOO_LARGE: u8 = 2;
const BROKE: u8 = 3;
const REFUSED: u8 = 4;

struct Progress {
    begun: Instant,
    /// Milliseconds after `begun` at which a piece last moved.
    moved: AtomicU64,
    phase: AtomicU8,
    /// 1 while the app is expected to send, 0 while the provider is expected to take.
    waits_for_app: AtomicU8,
    over: Notify,
}

impl Progress {
    fn end(&self, phase: u8) {
        self.phase.store(phase, Ordering::Release);
        self.over.notify_waiters();
    }

    fn is_running(&self) -> bool {
        self.phase.load(Ordering::Acquire) == RUNNING
    }

    fn last_moved(&self) -> Instant {
        self.begun + Duration::from_millis(self.moved.load(Ordering::Acquire))
    }
}

/// Who let an upload stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stalled {
    /// The app sent nothing.
    App,
    /// The provider took nothing.
    Provider,
}

/// The handle on a body that is being sent. Dropped before the body's end, the sending stops and its connection closes.
pub struct Sending {
    progress: Arc<Progress>,
    _hold: oneshot::Sender<()>,
}

impl Sending {
    /// Whether all of it was handed over.
    pub fn is_done(&self) -> bool {
        self.progress.phase.load(Ordering::Acquire) == DONE
    }

    /// What ended it early on the app's side.
    pub fn failed(&self) -> Option<UploadError> {
        match self.progress.phase.load(Ordering::Acquire) {
            TOO_LARGE => Some(UploadError::TooLarge),
            BROKE => Some(UploadError::Broke),
            REFUSED => Some(UploadError::Refused),
            _ => None,
        }
    }

    /// Resolves when the sending is over, well or not (`None`), or when nothing has moved for `idle`.
    pub async fn over_or_stalled(&self, idle: Duration) -> Option<Stalled> {
        let progress = &self.progress;
        loop {
            let over = progress.over.notified();
            tokio::pin!(over);
            over.as_mut().enable();
            if !progress.is_running() {
                return None;
            }
            let patience = progress.last_moved() + idle;
            if patience <= Instant::now() {
                let by_app = progress.waits_for_app.load(Ordering::Acquire) == 1;
                return Some(if by_app { Stalled::App } else { Stalled::Provider });
            }
            let _ = tokio::time::timeout_at(patience, over).await;
        }
    }
}

/// A body on its way through: nothing of it is kept.
pub struct Upload {
    incoming: Incoming,
    left: u64,
    look: Option<Box<dyn Look>>,
    progress: Arc<Progress>,
    given_up: oneshot::Receiver<()>,
}

impl Upload {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UploadError>>> {
        if Pin::new(&mut self.given_up).poll(cx).is_ready() {
            return Poll::Ready(Some(Err(UploadError::GivenUp)));
        }
        loop {
            let Poll::Ready(next) = Pin::new(&mut self.incoming).poll_frame(cx) else {
                self.progress.waits_for_app.store(1, Ordering::Release);
                return Poll::Pending;
            };
            self.progress.waits_for_app.store(0, Ordering::Release);
            return Poll::Ready(match next.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => Some(self.piece(data)),
                Some(Ok(Err(_trailers))) => continue,
                Some(Err(_)) => {
                    self.progress.end(BROKE);
                    Some(Err(UploadError::Broke))
                }
                None if !self.may_pass(&[], true) => Some(Err(UploadError::Refused)),
                None => {
                    self.progress.end(DONE);
                    None
                }
            });
        }
    }

    fn piece(&mut self, data: Bytes) -> Result<Bytes, UploadError> {
        let Some(left) = self.left.checked_sub(data.len() as u64) else {
            self.progress.end(TOO_LARGE);
            return Err(UploadError::TooLarge);
        };
        self.left = left;
        let elapsed = u64::try_from(self.progress.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress.moved.store(elapsed, Ordering::Release);
        // With a length announced, hyper does not ask again after the last piece.
        let is_last = self.incoming.is_end_stream();
        if !self.may_pass(&data, is_last) {
            return Err(UploadError::Refused);
        }
        if is_last {
            self.progress.end(DONE);
        }
        Ok(data)
    }

    fn may_pass(&mut self, piece: &[u8], is_last: bool) -> bool {
        let may = self.look.as_mut().is_none_or(|look| look.piece(piece, is_last));
        if !may {
            self.progress.end(REFUSED);
        }
        may
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Arriving(upload) => upload
                .poll_data(cx)
                .map(|next| next.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Arriving(upload) => upload.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Arriving(upload) => upload.incoming.size_hint(),
        }
    }
}
