//! The attempts that are out: one, or two where a hedge went out beside the first.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bowsprit_core::clock::Moment;
use futures::future::OptionFuture;
use tokio::time::Instant;

use crate::observe::hedges::Hedge;
use crate::proxy::attempt::Finished;

/// An attempt that is out.
pub(super) struct Running<'a> {
    /// Whom it asks.
    pub candidate: usize,
    /// When it went out.
    pub at: Moment,
    /// The hedge that it is, if it is one: counted once, whatever becomes of it.
    pub counted: Option<Hedge<'a>>,
}

/// What comes to its end first.
pub(super) enum Ends {
    /// The first attempt.
    First(Finished),
    /// The second one, which went out beside it.
    Second(Finished),
    /// The time until the flow wants to be asked again.
    Alarm,
}

/// Waits for whichever of the attempts that are out comes to its end first, or for the alarm.
pub(super) async fn first_to_end<F: Future<Output = Finished>>(
    mut first: Pin<&mut OptionFuture<F>>,
    mut second: Option<&mut Pin<Box<F>>>,
    alarm: Option<Instant>,
) -> Ends {
    let mut alarm = pin!(OptionFuture::from(alarm.map(tokio::time::sleep_until)));
    poll_fn(|cx| {
        if let Poll::Ready(Some(ran)) = first.as_mut().poll(cx) {
            return Poll::Ready(Ends::First(ran));
        }
        if let Some(second) = &mut second
            && let Poll::Ready(ran) = second.as_mut().poll(cx)
        {
            return Poll::Ready(Ends::Second(ran));
        }
        match alarm.as_mut().poll(cx) {
            Poll::Ready(Some(())) => Poll::Ready(Ends::Alarm),
            _ => Poll::Pending,
        }
    })
    .await
}
