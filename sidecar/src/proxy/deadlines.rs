//! Until when an answer is waited for: its head, its first content, its next piece and its end.

use bowsprit_core::config::Timeouts;
use bowsprit_core::fault::TransportFault;
use tokio::time::Instant;

/// The times an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    timeouts: Timeouts,
    begun: Instant,
    /// The whole answer must be there by then.
    ends: Instant,
    /// A stream that is not held must show its first content by then.
    content: Option<Instant>,
}

impl Deadlines {
    /// Of an answer that is waited for since `begun`.
    pub(super) fn new(timeouts: Timeouts, begun: Instant) -> Self {
        Self {
            timeouts,
            begun,
            ends: begun + timeouts.total,
            content: None,
        }
    }

    /// When the head must be there, and a stream's first content too; and what it is called if it is not.
    pub(super) fn first(&self, is_stream: bool) -> (Instant, TransportFault) {
        if is_stream && self.timeouts.first_token < self.timeouts.total {
            (
                self.begun + self.timeouts.first_token,
                TransportFault::FirstTokenTimeout,
            )
        } else {
            (self.ends, TransportFault::TotalTimeout)
        }
    }

    /// The same for a stream that is passed on before its first content: that must follow in time.
    pub(super) fn until_content(mut self) -> Self {
        self.content = Some(self.first(true).0);
        self
    }

    /// The first content is there.
    pub(super) fn content_is_here(&mut self) {
        self.content = None;
    }

    /// When to look again, after the last sign of life.
    pub fn next(&self, last: Instant) -> Instant {
        self.ends.min(self.content.unwrap_or(last + self.timeouts.idle))
    }

    /// Which deadline has passed.
    pub fn expired(&self, last: Instant, now: Instant) -> Option<TransportFault> {
        if now >= self.ends {
            Some(TransportFault::TotalTimeout)
        } else if let Some(content) = self.content {
            (now >= content).then_some(TransportFault::FirstTokenTimeout)
        } else if now >= last + self.timeouts.idle {
            Some(TransportFault::IdleTimeout)
        } else {
            None
        }
    }

    /// A deadline in words, with its length and the field that sets it.
    pub fn describe(&self, fault: TransportFault) -> String {
        let (name, limit) = match fault {
            TransportFault::FirstTokenTimeout => ("firstToken", self.timeouts.first_token),
            TransportFault::IdleTimeout => ("idle", self.timeouts.idle),
            _ => ("total", self.timeouts.total),
        };
        format!("{} s (timeouts.{name})", limit.as_secs_f64())
    }
}
