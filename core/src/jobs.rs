//! Requests that are answered later: which of them is tried next, when, and what becomes of it.
//!
//! - **What is accepted is tried** until it is answered, refused for good, out of attempts or past its deadline. An attempt is counted
//!   when it begins, so that what brings a sidecar down does not do so for ever.
//! - **Bounded.** So many jobs, so many bytes of them; and no attempt begins for whose answer there might be no room: where answers
//!   are not fetched, jobs wait, and when too many wait, no more are accepted.
//! - **Spread.** Between attempts lies a back-off with full jitter, and never less than the provider asked for.
//!
//! Times are of the wall clock, in milliseconds since 1970, since a job outlives the process. Nothing here is I/O: what is decided is
//! written down first and entered then ([`Book::decide`], [`Book::enter`]).

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backoff::{BackoffSettings, Delay, Jitter};
use crate::fault::Code;

pub mod ask;
#[cfg(test)]
mod tests;

/// Milliseconds since 1970.
pub type Millis = u64;

/// The first step between two attempts.
const FIRST_STEP: Duration = Duration::from_secs(2);
/// The longest one: an outage of an hour costs a job some twenty attempts.
const LONGEST_STEP: Duration = Duration::from_mins(5);

/// What holds for all jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most jobs, ended ones that are kept included.
    pub jobs: usize,
    /// Most bytes of requests and answers.
    pub bytes: u64,
    /// Most attempts at once.
    pub at_once: usize,
    /// The largest answer; there is room for it before an attempt begins.
    pub answer: u64,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It waits for its turn, or for its next attempt.
    Queued,
    /// An attempt is under way.
    Running,
    /// It has been answered.
    Done,
    /// It was refused for good, or is out of attempts.
    Failed,
    /// Its deadline passed before there was an answer.
    Expired,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Done, Self::Failed, Self::Expired];

    /// The word in answers, and the metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    /// Whether nothing follows but that it is fetched or forgotten.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Expired)
    }
}

/// How an attempt ended, or why a job did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// HTTP status.
    pub status: u16,
    /// The error's code, where it is an error that the sidecar has a code for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// One job, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its id.
    pub id: String,
    /// The caller's own name for it: the same one again is no second job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A digest of what it asks ([`ask::Ask::digest`]); none: it was accepted by a release that made none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Path and query of its request.
    pub path: String,
    /// When it was accepted.
    pub created: Millis,
    /// When nothing is tried any more.
    pub deadline: Millis,
    /// When it is forgotten, with its answer.
    pub expires: Millis,
    /// Most attempts.
    pub max_attempts: u32,
    /// Bytes of its request.
    pub request_bytes: u64,
    /// Bytes of its answer.
    #[serde(default)]
    pub answer_bytes: u64,
    /// Attempts that have begun.
    #[serde(default)]
    pub attempts: u32,
    /// Where it stands.
    pub status: Status,
    /// When it is tried next, while it is queued.
    pub next: Millis,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Millis>,
    /// How its last attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<Heard>,
}

impl Job {
    fn bytes(&self) -> u64 {
        self.request_bytes.saturating_add(self.answer_bytes)
    }

    fn end(&mut self, status: Status, now: Millis) {
        self.status = status;
        self.ended = Some(now);
    }
}

/// A job that is to be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// Its id.
    pub id: String,
    /// The caller's own name for it.
    pub key: Option<String>,
    /// A digest of what it asks.
    pub digest: String,
    /// Path and query of its request.
    pub path: String,
    /// How long it is kept.
    pub ttl: Duration,
    /// How long it is tried.
    pub deadline: Duration,
    /// Most attempts, at least 1.
    pub max_attempts: u32,
    /// Bytes of its request.
    pub request_bytes: u64,
}

/// A job was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is new: it is tried once it has been written ([`Book::written`]).
    New(Job),
    /// There is one of that key.
    Known(Job),
}

/// A job is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// So many are kept already.
    Jobs(usize),
    /// Of so many bytes there are not enough left.
    Bytes(u64),
    /// One of that key is being accepted.
    Busy,
    /// One of that key asks for something else.
    Taken,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an answer, or a refusal that the same request would hear again.
    ForGood {
        /// What was heard.
        heard: Heard,
        /// Bytes of it.
        bytes: u64,
    },
    /// With an error that may pass.
    ForNow {
        /// What was heard.
        heard: Heard,
        /// Bytes of it.
        bytes: u64,
        /// When to come back, where that was told.
        hint: Option<Duration>,
    },
    /// The sidecar stops, or lost it: no fault of the job's.
    Cut,
}

/// All jobs of a sidecar.
#[derive(Debug)]
pub struct Book {
    bounds: Bounds,
    backoff: Option<BackoffSettings>,
    jobs: HashMap<String, Entry>,
    by_key: HashMap<String, String>,
    /// Ever rising: in this order jobs of the same moment are tried.
    accepted: u64,
}

#[derive(Debug)]
struct Entry {
    job: Job,
    number: u64,
    is_written: bool,
}

impl Book {
    /// Goes on with the jobs that an earlier run has left: what was running is queued again, as often as it may be.
    pub fn new(bounds: Bounds, mut kept: Vec<Job>, now: Millis) -> Self {
        let backoff = BackoffSettings::new(FIRST_STEP, LONGEST_STEP, Jitter::Full).ok();
        let mut book = Self {
            bounds,
            // A hint may name a budget's next window, weeks away: the deadline judges it.
            backoff: backoff.map(|backoff| backoff.with_max_hint(Duration::MAX)),
            jobs: HashMap::new(),
            by_key: HashMap::new(),
            accepted: 0,
        };
        kept.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        for mut job in kept {
            if job.status == Status::Running {
                job.status = Status::Queued;
                job.next = now;
                if job.attempts >= job.max_attempts {
                    job.end(Status::Failed, now);
                }
            }
            book.insert(job, true);
        }
        book
    }

    fn insert(&mut self, job: Job, is_written: bool) {
        if let Some(key) = &job.key {
            self.by_key.insert(key.clone(), job.id.clone());
        }
        self.accepted += 1;
        let number = self.accepted;
        let entry = Entry {
            job,
            number,
            is_written,
        };
        self.jobs.insert(entry.job.id.clone(), entry);
    }

    /// Takes a job in, or finds the one of its key.
    ///
    /// # Errors
    /// There is no room for it, or its key is another one's.
    pub fn accept(&mut self, new: New, now: Millis) -> Result<Accepted, Full> {
        if let Some(known) = new.key.as_ref().and_then(|key| self.by_key.get(key))
            && let Some(entry) = self.jobs.get(known)
        {
            let is_other = entry.job.digest.as_ref().is_some_and(|digest| *digest != new.digest);
            return if is_other {
                Err(Full::Taken)
            } else if entry.is_written {
                Ok(Accepted::Known(entry.job.clone()))
            } else {
                Err(Full::Busy)
            };
        }
        if self.jobs.len() >= self.bounds.jobs {
            return Err(Full::Jobs(self.bounds.jobs));
        }
        // The answers of all that run at once have their room.
        let reserved = self.bounds.answer.saturating_mul(self.bounds.at_once as u64);
        let wanted = self.bytes().saturating_add(new.request_bytes).saturating_add(reserved);
        if wanted > self.bounds.bytes {
            return Err(Full::Bytes(self.bounds.bytes));
        }
        let expires = now.saturating_add(millis(new.ttl));
        let job = Job {
            id: new.id,
            key: new.key,
            digest: Some(new.digest),
            path: new.path,
            created: now,
            deadline: now.saturating_add(millis(new.deadline)).min(expires),
            expires,
            max_attempts: new.max_attempts.max(1),
            request_bytes: new.request_bytes,
            answer_bytes: 0,
            attempts: 0,
            status: Status::Queued,
            next: now,
            ended: None,
            heard: None,
        };
        self.insert(job.clone(), false);
        Ok(Accepted::New(job))
    }

    /// It is where it outlives the process, and may be tried.
    pub fn written(&mut self, id: &str) {
        if let Some(entry) = self.jobs.get_mut(id) {
            entry.is_written = true;
        }
    }

    /// Those whose turn it is, who came first before the others. Their attempts are counted, and they run.
    pub fn start(&mut self, now: Millis) -> Vec<Job> {
        let mut due: Vec<(Millis, u64, String)> = self
            .jobs
            .values()
            .filter(|entry| entry.is_written && entry.job.status == Status::Queued)
            .filter(|entry| entry.job.next <= now && now < entry.job.deadline)
            .map(|entry| (entry.job.next, entry.number, entry.job.id.clone()))
            .collect();
        due.sort_unstable();
        let mut started = Vec::new();
        for (_, _, id) in due {
            if !self.has_room() {
                break;
            }
            if let Some(entry) = self.jobs.get_mut(&id) {
                entry.job.status = Status::Running;
                entry.job.attempts = entry.job.attempts.saturating_add(1);
                started.push(entry.job.clone());
            }
        }
        started
    }

    /// What becomes of a job whose attempt has ended; `None`: it was forgotten meanwhile. Nothing changes until it is
    /// [entered](Self::enter).
    pub fn decide(&self, id: &str, ended: &Ended, now: Millis, rng: &mut fastrand::Rng) -> Option<Job> {
        let mut job = self.jobs.get(id)?.job.clone();
        if job.status != Status::Running {
            return None;
        }
        match ended {
            Ended::ForGood { heard, bytes } => {
                let is_answer = heard.status < 400;
                job.end(if is_answer { Status::Done } else { Status::Failed }, now);
                (job.heard, job.answer_bytes) = (Some(heard.clone()), *bytes);
            }
            Ended::ForNow { heard, bytes, hint } => {
                job.heard = Some(heard.clone());
                let retry = job.attempts.saturating_sub(1);
                let delay = self.backoff.map(|backoff| backoff.delay(retry, *hint, rng));
                let wait = match delay {
                    Some(Delay::Wait(wait)) => millis(wait),
                    Some(Delay::GiveUp) | None => Millis::MAX,
                };
                job.next = now.saturating_add(wait);
                if job.attempts >= job.max_attempts || job.next >= job.deadline {
                    job.end(Status::Failed, now);
                    job.answer_bytes = *bytes;
                } else {
                    job.status = Status::Queued;
                }
            }
            Ended::Cut => {
                job.status = Status::Queued;
                job.next = now;
                if job.attempts >= job.max_attempts {
                    job.end(Status::Failed, now);
                }
            }
        }
        Some(job)
    }

    /// What was decided holds. `false`: the job was forgotten meanwhile, and what was written of it is nobody's.
    pub fn enter(&mut self, job: Job) -> bool {
        let Some(entry) = self.jobs.get_mut(&job.id) else {
            return false;
        };
        entry.job = job;
        true
    }

    /// Forgets a job, whatever it is doing.
    pub fn forget(&mut self, id: &str) -> Option<Job> {
        let job = self.jobs.remove(id)?.job;
        if let Some(key) = &job.key {
            self.by_key.remove(key);
        }
        Some(job)
    }

    /// What time alone does: those whose deadline has passed while they waited have expired; those that are kept no longer are
    /// forgotten. Returns the first with their new state, and the second.
    pub fn pass(&mut self, now: Millis) -> (Vec<Job>, Vec<Job>) {
        let mut expired = Vec::new();
        for entry in self.jobs.values_mut() {
            if entry.job.status == Status::Queued && now >= entry.job.deadline {
                entry.job.end(Status::Expired, now);
                expired.push(entry.job.clone());
            }
        }
        let old: Vec<String> = self
            .jobs
            .values()
            .filter(|entry| now >= entry.job.expires)
            .map(|entry| entry.job.id.clone())
            .collect();
        let forgotten: Vec<Job> = old.iter().filter_map(|id| self.forget(id)).collect();
        expired.retain(|job| now < job.expires);
        (expired, forgotten)
    }

    /// When it is worth looking again, if nobody comes meanwhile: an attempt, a deadline or an end of keeping is due.
    pub fn wake(&self) -> Option<Millis> {
        let is_full = !self.has_room();
        let wake = |entry: &Entry| {
            let job = &entry.job;
            match job.status {
                // One that is due already waits for room, which an end makes.
                Status::Queued if !is_full && entry.is_written => job.next.min(job.deadline).min(job.expires),
                Status::Queued => job.deadline.min(job.expires),
                _ => job.expires,
            }
        };
        self.jobs.values().map(wake).min()
    }

    /// A job.
    pub fn get(&self, id: &str) -> Option<&Job> {
        self.jobs.get(id).map(|entry| &entry.job)
    }

    /// The newest first: `most` of those that are of this status, where one is named; and whether there are more.
    pub fn list(&self, status: Option<Status>, most: usize) -> (Vec<&Job>, bool) {
        let mut all: Vec<&Entry> = self
            .jobs
            .values()
            .filter(|entry| status.is_none_or(|status| entry.job.status == status))
            .collect();
        all.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.number));
        let has_more = all.len() > most;
        (all.into_iter().take(most).map(|entry| &entry.job).collect(), has_more)
    }

    /// How many there are of each status.
    pub fn counts(&self) -> [(Status, usize); 5] {
        Status::ALL.map(|status| {
            let count = self.jobs.values().filter(|entry| entry.job.status == status).count();
            (status, count)
        })
    }

    /// Bytes of requests and answers that are kept.
    pub fn bytes(&self) -> u64 {
        self.jobs.values().map(|entry| entry.job.bytes()).sum()
    }

    /// What holds for all of them.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Whether one more attempt may begin, and there is room for its answer.
    fn has_room(&self) -> bool {
        let running = self.running();
        let reserved = self.bounds.answer.saturating_mul(running as u64 + 1);
        running < self.bounds.at_once && self.bytes().saturating_add(reserved) <= self.bounds.bytes
    }

    fn running(&self) -> usize {
        let is_running = |entry: &&Entry| entry.job.status == Status::Running;
        self.jobs.values().filter(is_running).count()
    }
}

/// Whether the same request may be answered later, by what was heard: its status, whether whoever said so meant that another attempt
/// makes sense (`x-should-retry`), and the error's code. What opens again by itself, a budget's next window or a pause, is waited for
/// though no caller that waits should.
pub fn may_pass(status: u16, should_retry: Option<bool>, code: Option<Code>) -> bool {
    match (code, should_retry) {
        (Some(Code::BizBudgetSpent | Code::BizPaused), _) => true,
        (_, Some(should_retry)) => should_retry,
        _ => matches!(status, 408 | 409 | 425 | 429 | 500..),
    }
}

fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
