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
use tokio::sync::{Notify, oneshot};

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

    /// Takes a job in: once this returns, it outlives the process. Should the caller go away before, nothing of it is left, since nobody
    /// was promised anything.
    ///
    /// # Errors
    /// There is no room for it, its key is another one's, or it cannot be written.
    pub async fn accept(self: &Arc<Self>, new: New, said: Said, request: Bytes) -> Result<Accepted, NotAccepted> {
        let accepted = locked(&self.book).accept(new, unix_millis());
        let job = match accepted.map_err(NotAccepted::Full)? {
            Accepted::New(job) => job,
            known @ Accepted::Known(_) => return Ok(known),
        };
        let (told, hears) = oneshot::channel();
        // In a task of its own, which ends whoever goes away: half a write would be nobody's.
        tokio::spawn(Arc::clone(self).write(job.clone(), said, request, told));
        let lost = |_| Err(io::Error::other("whoever wrote it failed"));
        let heard = hears.await.unwrap_or_else(lost).map_err(NotAccepted::NotWritten)?;
        locked(&self.book).written(&job.id);
        // From here on to the answer nothing waits.
        let _ = heard.send(());
        self.changed.notify_one();
        Ok(Accepted::New(job))
    }

    /// Writes a new job, and takes it away again where nobody hears that it is written.
    async fn write(self: Arc<Self>, job: Job, said: Said, request: Bytes, told: oneshot::Sender<io::Result<Heard>>) {
        let mut unwritten = Unwritten {
            jobs: &self,
            id: &job.id,
            is_told: false,
        };
        let (heard, is_heard) = oneshot::channel();
        let added = self.files.add(&job, said, &request).await;
        let is_written = added.is_ok();
        let _ = told.send(added.map(|()| heard));
        unwritten.is_told = is_written && is_heard.await.is_ok();
        drop(unwritten);
        // Nobody heard of it, or it was in the list and somebody has deleted it meanwhile.
        if is_written && self.get(&job.id).is_none() {
            self.gone(&job.id).await;
        }
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

/// Says that somebody has heard that a job is written.
type Heard = oneshot::Sender<()>;

/// A job that is not written yet: dropped before its caller is told, it is forgotten.
struct Unwritten<'a> {
    jobs: &'a Jobs,
    id: &'a str,
    is_told: bool,
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            locked(&self.jobs.book).forget(self.id);
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::path::Path;
    use std::task::Poll;

    use super::*;

    fn new(id: &str) -> New {
        New {
            id: id.into(),
            key: None,
            digest: String::new(),
            path: "/v1/messages".into(),
            ttl: Duration::from_hours(1),
            deadline: Duration::from_hours(1),
            max_attempts: 1,
            request_bytes: 2,
        }
    }

    fn files(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
        let wait = async {
            while !is_so() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect(what);
    }

    #[tokio::test]
    async fn a_job_whose_caller_goes_away_is_there_whole_or_not_at_all() {
        // Cut when it has been woken so often: in each of its steps.
        for polls in 1..=24 {
            let dir = tempfile::tempdir().unwrap();
            let jobs = Arc::new(Jobs::open(dir.path().into(), 64 << 20).unwrap());
            let mut accept = Box::pin(jobs.accept(new("a"), Said::default(), Bytes::from_static(b"{}")));
            let mut left = polls;
            let told = poll_fn(|cx| {
                left -= 1;
                match accept.as_mut().poll(cx) {
                    Poll::Ready(told) => Poll::Ready(Some(told)),
                    Poll::Pending if left == 0 => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            });
            let told = told.await;
            drop(accept);
            if let Some(told) = told {
                assert!(matches!(told, Ok(Accepted::New(_))));
                assert_eq!((files(dir.path()), jobs.report().queued), (2, 1));
            } else {
                until("nothing is left", || {
                    files(dir.path()) == 0 && jobs.report().queued == 0
                })
                .await;
            }
        }
    }

    #[tokio::test]
    async fn a_job_that_is_written_while_its_caller_goes_away_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = Arc::new(Jobs::open(dir.path().into(), 64 << 20).unwrap());
        let mut accept = Box::pin(jobs.accept(new("a"), Said::default(), Bytes::from_static(b"{}")));
        assert!(poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx).is_pending())).await);
        until("it is written", || dir.path().join("a.job").exists()).await;
        drop(accept);
        until("nothing is left", || {
            files(dir.path()) == 0 && jobs.report().queued == 0
        })
        .await;
    }

    #[tokio::test]
    async fn a_job_that_is_deleted_while_it_is_written_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = Arc::new(Jobs::open(dir.path().into(), 64 << 20).unwrap());
        let mut accept = Box::pin(jobs.accept(new("a"), Said::default(), Bytes::from_static(b"{}")));
        assert!(poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx).is_pending())).await);
        assert!(jobs.forget("a").await.is_some());
        let _ = accept.await;
        until("nothing is left", || {
            files(dir.path()) == 0 && jobs.report().queued == 0
        })
        .await;
    }
}
