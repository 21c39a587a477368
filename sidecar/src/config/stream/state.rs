//! What is seen of the stream: at `/health`, in metrics, in the log.

use std::sync::Mutex;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::Registry;
use crate::sync::locked;
use crate::time::unix_now;

/// Why a stream ended, or could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Token or CA are not there.
    NotMounted,
    /// No address, or nobody there.
    Unreachable,
    /// Its certificate is not signed by the operator's CA, or is for another name.
    Tls,
    /// The operator does not accept the token.
    Denied,
    /// Another status.
    Refused,
    /// What came was not the protocol.
    Protocol,
    /// Nothing came, or nothing was taken.
    Silent,
    /// The connection ended.
    Closed,
    /// The operator is about to end.
    Moved,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NotMounted,
        Self::Unreachable,
        Self::Tls,
        Self::Denied,
        Self::Refused,
        Self::Protocol,
        Self::Silent,
        Self::Closed,
        Self::Moved,
    ];

    /// Its word at `/health` and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotMounted => "not_mounted",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Protocol => "protocol",
            Self::Silent => "silent",
            Self::Closed => "closed",
            Self::Moved => "moved",
        }
    }

    /// Its word in metrics, where each costs a series in each pod.
    pub fn kind(self) -> &'static str {
        match self {
            Self::NotMounted | Self::Tls | Self::Denied => "untrusted",
            Self::Unreachable => "unreachable",
            Self::Refused | Self::Protocol => "refused",
            Self::Silent | Self::Closed | Self::Moved => "closed",
        }
    }

    /// Whether another token or CA may mend it.
    pub(super) fn is_about_files(self) -> bool {
        matches!(self, Self::NotMounted | Self::Tls | Self::Denied)
    }
}

/// The end of a stream, or of an attempt to make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub why: Why,
    /// The same for people; never a token.
    pub detail: String,
    /// How long the operator asks to be left alone.
    pub not_before: Option<Duration>,
}

impl Ended {
    /// It ended so.
    pub(super) fn new(why: Why, detail: impl Into<String>) -> Self {
        Self {
            why,
            detail: detail.into(),
            not_before: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndedLabel {
    ended: &'static str,
}

/// Families about the stream.
#[derive(Clone, Debug, Default)]
pub struct StreamMetrics {
    connected: Gauge,
    heard_at: Gauge,
    ended: Family<EndedLabel, Counter>,
}

impl StreamMetrics {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register(
            "config_stream_connected",
            "1 while the operator's stream stands; without it a change comes with the mounted folder, which takes longer",
            &[],
            new.connected.clone(),
        );
        registry.register(
            "config_stream_heard_at_seconds",
            "When the operator said something last, Unix time; 0 before that",
            &[],
            new.heard_at.clone(),
        );
        registry.register(
            "config_stream_ended",
            "Streams to the operator that ended, and attempts that made none",
            &["ended"],
            new.ended.clone(),
        );
        new
    }

    /// Counts an end.
    pub fn ended(&self, why: Why) {
        let ended = why.kind();
        self.ended.get_or_create(&EndedLabel { ended }).inc();
    }
}

/// What is seen of the stream.
#[derive(Debug)]
pub struct StreamState {
    operator: String,
    metrics: StreamMetrics,
    /// Rung when there is something that the operator waits to hear.
    pub(super) news: Notify,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    since: Option<Instant>,
    heard: Option<Instant>,
    ended: Option<Ended>,
}

/// The stream at `/health`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamReport {
    /// Where the operator is.
    pub operator: String,
    /// Whether the stream stands.
    pub connected: bool,
    /// For so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_seconds: Option<u64>,
    /// Seconds since the operator said something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_seconds_ago: Option<u64>,
    /// Why the last one ended, or none could be made, while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl StreamState {
    /// No stream yet.
    pub fn new(operator: String, metrics: StreamMetrics) -> Self {
        Self {
            operator,
            metrics,
            news: Notify::new(),
            seen: Mutex::default(),
        }
    }

    /// Something has become of a configuration, which the operator waits to hear.
    pub fn has_news(&self) {
        self.news.notify_one();
    }

    pub(super) fn connected(&self) {
        self.metrics.connected.set(1);
        locked(&self.seen).since = Some(Instant::now());
        tracing::info!(operator = self.operator, "config stream connected");
    }

    pub(super) fn heard(&self) {
        let now = i64::try_from(unix_now().as_secs()).unwrap_or(i64::MAX);
        self.metrics.heard_at.set(now);
        let mut seen = locked(&self.seen);
        seen.heard = Some(Instant::now());
        seen.ended = None;
    }

    /// Counted each time, said when the reason is another than before.
    pub(super) fn ended(&self, ended: Ended, again: Duration) {
        self.metrics.connected.set(0);
        self.metrics.ended(ended.why);
        let mut seen = locked(&self.seen);
        seen.since = None;
        let is_known = seen.ended.as_ref().is_some_and(|before| before.why == ended.why);
        let (why, detail, again_ms) = (ended.why.as_str(), &ended.detail, again.as_millis());
        match ended.why {
            Why::Moved => tracing::info!(why, detail, "config stream ended"),
            _ if is_known => tracing::debug!(why, detail, again_ms, "no config stream"),
            _ => tracing::warn!(
                why,
                detail,
                again_ms,
                operator = self.operator,
                "no config stream; the configuration in service stays, and changes come with the mounted folder"
            ),
        }
        seen.ended = Some(ended);
    }

    /// For `/health`.
    pub fn report(&self) -> StreamReport {
        let seen = locked(&self.seen);
        let since = |moment: Option<Instant>| moment.map(|moment| moment.elapsed().as_secs());
        let ended = seen.ended.as_ref().filter(|_| seen.since.is_none());
        StreamReport {
            operator: self.operator.clone(),
            connected: seen.since.is_some(),
            connected_seconds: since(seen.since),
            heard_seconds_ago: since(seen.heard),
            problem: ended.map(|ended| format!("{}: {}", ended.why.as_str(), ended.detail)),
        }
    }
}
