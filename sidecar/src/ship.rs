//! Shipping: what the outbox holds goes to the ledger service, batch after batch, until it says that it has it.
//!
//! One task, beside all requests. Whatever goes wrong costs no request anything: the outbox keeps within its bounds, and the
//! next attempt comes after a while that chance spreads over the fleet ([`pace`]). What an answer means is decided in
//! [`answer`], how it is asked in [`post`].

use std::sync::Arc;
use std::time::Duration;

use bowsprit_ledger::outbox::{self, Most, Offer, Outbox, Sender};
use bowsprit_ledger::wire::MAX_ENTRIES;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::net::client::{OwnService, Resolve};
use crate::observe::ledger::{LedgerMetrics, Sent};
use crate::time::unix_millis;
use answer::Answer;
use pace::Pace;
use post::Connection;

mod answer;
mod pace;
mod post;

/// Bytes of a batch's entries: an eighth of what the service takes, so that a sidecar's memory hardly sees it.
const BATCH_BYTES: usize = 512 << 10;
/// The most that a batch holds.
const MOST: Most = Most {
    entries: MAX_ENTRIES,
    bytes: BATCH_BYTES,
};

/// What is needed to ship.
pub struct Shipping {
    /// Whose entries.
    pub outbox: Arc<Outbox>,
    /// Where to.
    pub service: OwnService,
    /// Who sends.
    pub sender: Sender,
    /// Where its name leads.
    pub resolver: Arc<dyn Resolve>,
    /// What is counted.
    pub metrics: LedgerMetrics,
}

/// Where a task that ships stands.
#[derive(Default)]
struct State {
    connection: Option<Connection>,
    pace: Pace,
    /// Less than [`MOST`] after a batch that the service did not like, until one is taken.
    most: Option<Most>,
    /// Why the last batch was not taken, to say it when it changes.
    problem: Option<Sent>,
}

impl Shipping {
    /// Ships. Ends never.
    pub async fn run(self: Arc<Self>) {
        let mut state = State::default();
        loop {
            let wait = self.once(&mut state).await;
            tokio::time::sleep(wait).await;
        }
    }

    /// Ships what is there until nothing is, or the time is up: for the end of the sidecar. Tries each batch once.
    pub async fn last(&self, until: Instant) {
        let mut state = State::default();
        let ship = async { while self.once(&mut state).await.is_zero() {} };
        if tokio::time::timeout_at(until, ship).await.is_err() {
            tracing::warn!("the ledger's last batch was not taken in time; what is left stays in the outbox");
        }
    }

    /// Ships one batch. Returns when to ship the next: at once where there is more.
    async fn once(&self, state: &mut State) -> Duration {
        let most = state.most.unwrap_or(MOST);
        let Some(offer) = self.offer(most).await else {
            return pace::idle(fastrand::f64());
        };
        let is_full = offer.entries >= most.entries || offer.joined.len() * 2 >= most.bytes;
        let body = outbox::body(&offer, &self.sender);
        let answer = post::post(&self.service, &*self.resolver, &mut state.connection, body).await;
        let (sent, detail) = match &answer {
            Answer::Taken(_) => (Sent::Taken, ""),
            Answer::Expects(_) => (Sent::Gap, ""),
            Answer::NotThis(why) => (Sent::Refused, why.as_str()),
            Answer::NotNow(sent, why) => (*sent, why.as_str()),
        };
        let now = i64::try_from(unix_millis()).unwrap_or(i64::MAX);
        self.metrics.sent(sent, detail, now);
        self.say(state, sent, detail);
        match answer {
            Answer::Taken(through) => {
                self.outbox.taken(through);
                state.most = None;
                state.pace = Pace::default();
                if is_full {
                    Duration::ZERO
                } else {
                    pace::idle(fastrand::f64())
                }
            }
            Answer::Expects(sequence) => {
                self.go_on_from(&offer, sequence).await;
                state.pace.failed(sent, fastrand::f64())
            }
            Answer::NotThis(_) if offer.entries > 1 => {
                let entries = offer.entries / 2;
                state.most = Some(Most { entries, ..MOST });
                Duration::ZERO
            }
            Answer::NotThis(why) => {
                // One entry that the service will never take must not hold back all others.
                tracing::error!(
                    sequence = offer.to,
                    why,
                    "the ledger service refuses an entry for good; it is left out"
                );
                self.metrics.lost(offer.entries as u64);
                self.outbox.taken(offer.to);
                Duration::ZERO
            }
            Answer::NotNow(..) => state.pace.failed(sent, fastrand::f64()),
        }
    }

    async fn offer(&self, most: Most) -> Option<Offer> {
        let (sender, offer) = oneshot::channel();
        self.outbox.offer(most, move |offer| {
            let _ = sender.send(offer);
        });
        // Without an answer the outbox has ended.
        offer.await.ok().flatten()
    }

    async fn go_on_from(&self, offer: &Offer, sequence: u64) {
        let (sender, lost) = oneshot::channel();
        self.outbox.expected(sequence, move |lost| {
            let _ = sender.send(lost);
        });
        let lost = lost.await.unwrap_or(0);
        if lost > 0 {
            self.metrics.lost(lost);
            tracing::warn!(
                outbox = offer.outbox,
                from = sequence,
                sequences = lost,
                "the ledger service lacks entries that it had taken, and which are here no more"
            );
        }
    }

    /// Says how batches fare when that changes.
    fn say(&self, state: &mut State, sent: Sent, detail: &str) {
        let is_well = matches!(sent, Sent::Taken | Sent::Gap);
        let before = if is_well {
            state.problem.take()
        } else {
            state.problem.replace(sent)
        };
        match before {
            Some(_) if is_well => tracing::info!("the ledger service takes batches again"),
            before if !is_well && before != Some(sent) => tracing::warn!(
                why = sent.as_str(),
                detail,
                service = %self.service.address,
                "the ledger service takes no batches; the outbox keeps them"
            ),
            _ => {}
        }
    }
}
