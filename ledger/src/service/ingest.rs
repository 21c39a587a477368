//! Batches wait here for the one that writes. It takes all that wait together, so that a commit is paid once for many; a queue that
//! is full says so at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::metrics::Metrics;
use super::now;
use crate::store::{Answer, Arrival, Error, Query, Store};
use crate::wire::{Refused, RefusedBecause};

/// Batches that wait at most. With [`crate::wire::MAX_BYTES`] each, the most memory that waiting takes; they are smaller by far.
pub const QUEUE: usize = 64;
/// Batches of one transaction.
const GROUP: usize = 32;
/// Between two questions to a store that does not answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Why a batch was neither taken nor refused: it is to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// More wait than fit.
    Busy,
    /// The store does not answer.
    Unavailable,
}

struct Waiting {
    arrival: Arrival,
    answer: oneshot::Sender<Result<Answer, Later>>,
}

/// The way in.
#[derive(Clone)]
pub struct Ingest {
    queue: mpsc::Sender<Waiting>,
    is_up: Arc<AtomicBool>,
    metrics: Metrics,
}

/// The one that writes.
pub struct Writer {
    queue: mpsc::Receiver<Waiting>,
    store: Arc<dyn Store>,
    is_up: Arc<AtomicBool>,
    metrics: Metrics,
}

/// Both ends of the queue.
pub fn ingest(store: Arc<dyn Store>, metrics: Metrics) -> (Ingest, Writer) {
    let (queue, waiting) = mpsc::channel(QUEUE);
    let is_up = Arc::new(AtomicBool::new(false));
    let ingest = Ingest {
        queue,
        is_up: Arc::clone(&is_up),
        metrics: metrics.clone(),
    };
    let writer = Writer {
        queue: waiting,
        store,
        is_up,
        metrics,
    };
    (ingest, writer)
}

impl Ingest {
    /// Takes a batch, or says why not.
    pub async fn take(&self, arrival: Arrival) -> Result<Answer, Later> {
        let (answer, answered) = oneshot::channel();
        if self.queue.try_send(Waiting { arrival, answer }).is_err() {
            return Err(Later::Busy);
        }
        self.metrics.waiting(1);
        let done = answered.await.unwrap_or(Err(Later::Unavailable));
        self.metrics.waiting(-1);
        done
    }

    /// Whether the store answered last; it does not keep the queue open.
    pub fn up(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_up)
    }
}

impl Writer {
    /// Writes until nobody can send any more and nothing waits.
    pub async fn run(mut self) {
        let mut group = Vec::with_capacity(GROUP);
        loop {
            let got = if self.is_up.load(Ordering::Relaxed) {
                self.queue.recv_many(&mut group, GROUP).await
            } else {
                tokio::select! {
                    got = self.queue.recv_many(&mut group, GROUP) => got,
                    // Nobody may send while it is known to be down: it is asked all the same, so that it is known when it is back.
                    () = tokio::time::sleep(ASK_AGAIN) => {
                        self.ask().await;
                        continue;
                    }
                }
            };
            if got == 0 {
                return;
            }
            self.write(std::mem::take(&mut group)).await;
        }
    }

    async fn ask(&self) {
        let query = Query {
            name: "ping",
            sql: "SELECT CAST(count(*) AS BIGINT) FROM schema_migrations".to_owned(),
            parameters: Vec::new(),
        };
        self.note(self.store.query(query).await.err().as_ref());
    }

    fn note(&self, error: Option<&Error>) {
        let is_up = error.is_none_or(|error| !error.may_pass());
        let was_up = self.is_up.swap(is_up, Ordering::Relaxed);
        self.metrics.store(is_up);
        match error {
            Some(error) if was_up && !is_up => {
                tracing::warn!(%error, "the store is away: sidecars keep what they have");
            }
            None if !was_up => tracing::info!("the store answers"),
            _ => {}
        }
    }

    async fn write(&self, group: Vec<Waiting>) {
        let (arrivals, answers): (Vec<_>, Vec<_>) = group.into_iter().map(|one| (one.arrival, one.answer)).unzip();
        let arrivals = Arc::new(arrivals);
        let told = match self.take(Arc::clone(&arrivals)).await {
            Ok(told) => told.into_iter().map(Ok).collect(),
            Err(error) if error.may_pass() => vec![Err(Later::Unavailable); answers.len()],
            // One that cannot be stored holds nobody else up.
            Err(_) => self.one_by_one(&arrivals).await,
        };
        for (answer, told) in answers.into_iter().zip(told) {
            // Who has hung up sends it again, and it is passed over.
            let _ = answer.send(told);
        }
    }

    async fn one_by_one(&self, arrivals: &[Arrival]) -> Vec<Result<Answer, Later>> {
        let mut told = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            told.push(match self.take(Arc::new(vec![arrival.clone()])).await {
                Ok(mut answers) => answers.pop().ok_or(Later::Unavailable),
                Err(error) if error.may_pass() => Err(Later::Unavailable),
                Err(error) => {
                    let Arrival { identity, batch } = arrival;
                    tracing::warn!(
                        namespace = identity.namespace, pod = identity.pod, from = batch.from, to = batch.to, %error,
                        "a batch that cannot be stored is refused"
                    );
                    Ok(Err(Refused {
                        reason: RefusedBecause::Malformed,
                        message: format!("entries: the store does not take them: {error}"),
                        expected: None,
                    }))
                }
            });
        }
        told
    }

    async fn take(&self, arrivals: Arc<Vec<Arrival>>) -> Result<Vec<Answer>, Error> {
        let (began, batches) = (Instant::now(), arrivals.len());
        let done = self.store.take(arrivals, now()).await;
        self.note(done.as_ref().err());
        if done.is_ok() {
            self.metrics.took(began.elapsed(), batches);
        }
        done
    }
}
