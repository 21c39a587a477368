//! Waiting for room at a provider, in the order in which requests came.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::line::Ticket;
use tokio::sync::Notify;

use super::{Lease, ProviderState, Refused};

/// A place in a provider's line. Left on drop, which calls the next.
pub struct Turn {
    state: Arc<ProviderState>,
    ticket: Ticket,
    called: Arc<Notify>,
}

impl ProviderState {
    /// Joins the line of those who wait for room here.
    pub fn queue(self: &Arc<Self>) -> Turn {
        let called = Arc::new(Notify::new());
        let ticket = self.lock().line.join(Arc::clone(&called));
        Turn {
            state: Arc::clone(self),
            ticket,
            called,
        }
    }
}

impl Turn {
    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Takes a place, if this is the first in line and there is room.
    pub fn admit(&self, model: &str, tokens: u64, now: Moment) -> Result<Lease, Refused> {
        self.state.take_place(model, tokens, Some(self), now)
    }

    /// Waits until there may be room for whoever holds this, `wait` at most.
    pub async fn wait(&self, wait: Duration) {
        // Either way it is time to look: called, or the time is up.
        let _ = tokio::time::timeout(wait, self.called.notified()).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(next) = self.state.lock().line.leave(self.ticket) {
            next.notify_one();
        }
    }
}
