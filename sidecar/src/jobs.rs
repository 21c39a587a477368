//! Requests that are answered later (`POST /jobs`): the book of them in memory, and their files, which outlive the container.
//!
//! The machine is pure ([`bowsprit_core::jobs`]) and lives under one lock, held for arithmetic only, never across an await. What is
//! promised to a caller is on the disk before it is said; what is decided of a job is written before it is entered, so that a sidecar
//! which is killed at any moment goes on from what it last wrote.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_core::jobs::{Accepted, Book, Bounds, Ended, Full, Job, Millis, New, Status};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Notify;

use crate::limits::{JOB_ANSWER, JOBS, JOBS_AT_ONCE};
use crate::sync::locked;
use crate::time::unix_millis;

pub mod files;
mod metrics;

use files::{Answer, Files, Said};
pub use metrics::JobMetrics;

/// A stopped clock or a full disk must not become a busy loop.
const LEAST_PAUSE: Duration = Duration::from_millis(50);
/// How they stand, as the metric says it.
pub const STATUSES: [&str; 3] = ["queued", "running", "kept"];

/// The jobs of a sidecar.
pub struct Jobs {
    book: Mutex<Book>,
    /// Where they are kept.
    pub files: Files,
    /// Something is to be done earlier than it seemed.
    changed: Notify,
    /// How attempts under way are told that their job is forgotten.
    stops: Mutex<HashMap<String, Arc<Notify>>>,
}

/// Why a job was not accepted.
#[derive(Debug)]
pub enum NotAccepted {
    /// There is no room.
    Full(Full),
    /// The disk does not take it.
    NotWritten(io::Error),
}

impl Jobs {
    /// Goes on with what is in the folder `dir`, which may come to hold `bytes`.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn open(dir: PathBuf, bytes: usize) -> io::Result<Self> {
        let (files, kept) = Files::open(dir)?;
        let bytes = bytes as u64;
        let bounds = Bounds {
            jobs: JOBS,
            bytes,
            at_once: JOBS_AT_ONCE,
            // Half of a small folder is for requests.
            answer: (JOB_ANSWER as u64).min(bytes / (2 * JOBS_AT_ONCE as u64)),
        };
        Ok(Self {
            book: Mutex::new(Book::new(bounds, kept, unix_millis())),
            files,
            changed: Notify::new(),
            stops: Mutex::default(),
        })
    }

    /// Takes a job in: once this returns, it outlives the process.
    ///
    /// # Errors
    /// There is no room for it, or it cannot be written.
    pub async fn accept(&self, new: New, said: Said, request: &[u8]) -> Result<Accepted, NotAccepted> {
        let accepted = locked(&self.book).accept(new, unix_millis());
        let job = match accepted.map_err(NotAccepted::Full)? {
            Accepted::New(job) => job,
            known @ Accepted::Known(_) => return Ok(known),
        };
        // Should the caller go away meanwhile, nobody was promised anything.
        let mut unwritten = Unwritten {
            jobs: self,
            id: Some(job.id.clone()),
        };
        self.files
            .add(&job, said, request)
            .await
            .map_err(NotAccepted::NotWritten)?;
        unwritten.id = None;
        locked(&self.book).written(&job.id);
        self.changed.notify_one();
        Ok(Accepted::New(job))
    }

    /// A job.
    pub fn get(&self, id: &str) -> Option<Job> {
        locked(&self.book).get(id).cloned()
    }

    /// The newest `most`, of one status where one is named, and whether there are more.
    pub fn list(&self, status: Option<Status>, most: usize) -> (Vec<Job>, bool) {
        let book = locked(&self.book);
        let (jobs, has_more) = book.list(status, most);
        (jobs.into_iter().cloned().collect(), has_more)
    }

    /// Forgets a job and its answer; an attempt that is under way is given up.
    pub async fn forget(&self, id: &str) -> Option<Job> {
        let job = locked(&self.book).forget(id)?;
        self.gone(&job.id).await;
        Some(job)
    }

    async fn gone(&self, id: &str) {
        if let Some(stop) = locked(&self.stops).get(id) {
            stop.notify_one();
        }
        self.files.remove(id).await;
        // Its room may be what others wait for.
        self.changed.notify_one();
    }

    /// Does what time brings, and begins what may be tried now: the jobs whose attempts are to be made, and written down as begun.
    pub async fn start(&self) -> Vec<Job> {
        let now = unix_millis();
        let (expired, forgotten) = locked(&self.book).pass(now);
        for job in &forgotten {
            self.gone(&job.id).await;
        }
        for job in &expired {
            self.note(job, None).await;
        }
        let started = locked(&self.book).start(now);
        for job in &started {
            locked(&self.stops).insert(job.id.clone(), Arc::default());
            self.note(job, None).await;
        }
        started
    }

    /// Waits until there may be something to do.
    pub async fn wait(&self) {
        let wake = locked(&self.book).wake();
        let pause = wake.map(|wake| Duration::from_millis(wake.saturating_sub(unix_millis())).max(LEAST_PAUSE));
        match pause {
            Some(pause) => {
                let _ = tokio::time::timeout(pause, self.changed.notified()).await;
            }
            None => self.changed.notified().await,
        }
    }

    /// Waits until this job, whose attempt is under way, is forgotten.
    pub async fn forgotten(&self, id: &str) {
        let stop = locked(&self.stops).get(id).map(Arc::clone);
        match stop {
            Some(stop) => stop.notified().await,
            None => std::future::pending().await,
        }
    }

    /// An attempt has ended: what becomes of the job is written, and holds.
    pub async fn ended(&self, id: &str, ended: Ended, answer: Option<(Answer, Bytes)>) {
        let now: Millis = unix_millis();
        let decided = locked(&self.book).decide(id, &ended, now, &mut fastrand::Rng::new());
        let Some(mut job) = decided else {
            locked(&self.stops).remove(id);
            return self.files.remove(id).await;
        };
        let answer = answer.filter(|_| job.status.is_end());
        if let Some((head, body)) = answer {
            if let Err(error) = self.files.answer(&job, head, &body).await {
                tracing::error!(job = id, %error, "a job's answer cannot be written: it is lost");
                job.status = Status::Failed;
                job.answer_bytes = 0;
                self.note(&job, None).await;
            }
        } else {
            job.answer_bytes = 0;
            self.note(&job, None).await;
        }
        if !locked(&self.book).enter(job) {
            self.files.remove(id).await;
        }
        locked(&self.stops).remove(id);
    }

    /// Writes how a job stands. Where that fails, a restart goes on from what was written before: it may try once more.
    async fn note(&self, job: &Job, answer: Option<Answer>) {
        if let Err(error) = self.files.update(job, answer).await {
            tracing::warn!(job = job.id, %error, "how a job stands cannot be written: a restart would go back behind it");
        }
    }

    /// The largest answer that there is room for, bytes.
    pub fn largest_answer(&self) -> u64 {
        locked(&self.book).bounds().answer
    }

    /// How they stand, for `/health` and the metrics.
    pub fn report(&self) -> Report {
        let book = locked(&self.book);
        let mut report = Report {
            bytes: book.bytes(),
            ..Report::default()
        };
        for (status, count) in book.counts() {
            match status {
                Status::Queued => report.queued = count,
                Status::Running => report.running = count,
                Status::Done | Status::Failed | Status::Expired => report.kept += count,
            }
        }
        report
    }
}

/// A job that is not written yet: dropped, it is forgotten.
struct Unwritten<'a> {
    jobs: &'a Jobs,
    id: Option<String>,
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            locked(&self.jobs.book).forget(id);
        }
    }
}

/// Jobs at `/health`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Those that wait for their turn or their next attempt.
    pub queued: usize,
    /// Those of which an attempt is under way.
    pub running: usize,
    /// Those that have ended and are kept until they are fetched and deleted.
    pub kept: usize,
    /// Bytes of all requests and answers.
    pub bytes: u64,
}
