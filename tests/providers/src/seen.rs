//! What a provider saw: requests, responses cut by the peer, connections. Tests wait on it and read it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::api::{Api, Operation};
use crate::bill::Bill;

/// Requests kept; older ones are forgotten, the counts go on. A demo left running must not grow for ever.
const KEPT_REQUESTS: usize = 10_000;
/// Bytes of request bodies kept.
const KEPT_BYTES: usize = 256 * 1024 * 1024;

/// Everything a provider saw since its start or the last reset.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The requests, oldest first, at most the last 10,000.
    pub requests: VecDeque<Recorded>,
    /// The responses (and request bodies) that the peer cut by closing.
    pub cancelled: Vec<Cancelled>,
    /// Heads that were not HTTP, as they came.
    pub malformed: Vec<Bytes>,
    /// Responses sent to their scripted end.
    pub answered: u64,
    /// Connections open now.
    pub open_connections: u64,
    /// Connections accepted.
    pub connections: u64,
    /// TLS handshakes that failed.
    pub failed_handshakes: u64,
    /// Totals.
    pub counts: Counts,
    /// What it bills.
    pub bill: Bill,
    kept_bytes: usize,
}

impl Seen {
    pub(crate) fn record(&mut self, request: Recorded) {
        self.counts.add(&request);
        self.kept_bytes += request.body.len();
        self.requests.push_back(request);
        while self.requests.len() > KEPT_REQUESTS || self.kept_bytes > KEPT_BYTES {
            let Some(oldest) = self.requests.pop_front() else { break };
            self.kept_bytes -= oldest.body.len();
        }
    }

    /// Forgets everything but what is still open.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            open_connections: self.open_connections,
            ..Self::default()
        };
    }
}

/// Totals, by what tests and people ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All requests.
    pub requests: u64,
    /// By API.
    pub by_api: BTreeMap<&'static str, u64>,
    /// By model.
    pub by_model: BTreeMap<String, u64>,
    /// By what was done with them: `answer`, `status`, `hang`, `stall`, ...
    pub by_behaviour: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Models told apart in `by_model`; a fuzzer's further ones are counted together.
    const MODELS: usize = 1000;

    fn add(&mut self, request: &Recorded) {
        self.requests += 1;
        *self.by_api.entry(request.api.as_str()).or_default() += 1;
        *self.by_behaviour.entry(request.behaviour).or_default() += 1;
        let known = self.by_model.contains_key(&request.model) || self.by_model.len() < Self::MODELS;
        let model = if known {
            request.model.clone()
        } else {
            "(others)".to_owned()
        };
        *self.by_model.entry(model).or_default() += 1;
    }
}

/// One request as it came. The key is kept as it came too: this is a test's tool and holds no real ones.
#[derive(Debug, Clone, Serialize)]
pub struct Recorded {
    /// Its place in the sequence, from 1.
    pub id: u64,
    /// The connection it came on, from 1.
    pub connection: u64,
    /// When its body was complete (or cut), since the provider's start.
    #[serde(rename = "at_ms", serialize_with = "millis")]
    pub at: Duration,
    /// The API it was taken for.
    pub api: Api,
    /// What it asked for.
    pub operation: Operation,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The headers in order, names as they came.
    pub headers: Vec<(String, String)>,
    /// The head's bytes as they came.
    #[serde(skip)]
    pub raw_head: Bytes,
    /// The body, without transfer coding.
    #[serde(serialize_with = "text")]
    pub body: Bytes,
    /// Whether the body came whole.
    pub complete: bool,
    /// The model asked for; empty if none.
    pub model: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// The key, from the header of its API.
    pub key: Option<String>,
    /// What was done with it.
    pub behaviour: &'static str,
}

impl Recorded {
    /// The first value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

fn millis<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn text<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&String::from_utf8_lossy(bytes))
}

/// An exchange that the peer cut by closing the connection.
#[derive(Debug, Clone, Copy)]
pub struct Cancelled {
    /// The request's [`Recorded::id`].
    pub request: u64,
    /// When this end noticed.
    pub at: Instant,
    /// How far the exchange was.
    pub phase: Phase,
    /// Pieces of content sent until then.
    pub chunks: u32,
}

/// How far an exchange was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The request's body was still coming.
    RequestBody,
    /// Nothing was sent yet.
    BeforeHead,
    /// The head or more was sent.
    Body,
}

/// The wait for a condition ended without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSeen {
    waited: Duration,
    state: String,
}

impl NotSeen {
    pub(crate) fn new(waited: Duration, seen: &Seen) -> Self {
        let last = seen
            .requests
            .back()
            .map(|last| format!("; last {} {} ({})", last.method, last.path, last.behaviour));
        let state = format!(
            "{} requests, {} answered, {} cancelled, {} of {} connections open{}",
            seen.counts.requests,
            seen.answered,
            seen.cancelled.len(),
            seen.open_connections,
            seen.connections,
            last.unwrap_or_default()
        );
        Self { waited, state }
    }
}

impl fmt::Display for NotSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the provider did not see it within {:?}: {}",
            self.waited, self.state
        )
    }
}

impl std::error::Error for NotSeen {}
