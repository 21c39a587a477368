//! What the streams count. Labels are closed sets, and name nobody.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// Why something ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// What may become of a request for a stream.
const REQUESTS: [&str; 16] = [
    "accepted",
    "tls",
    "not_found",
    "protocol",
    "no_token",
    "wrong_token",
    "denied",
    "no_pod",
    "no_peer",
    "full",
    "unreviewed",
    "leaving",
    "in_doubt",
    "crowded",
    "mute",
    "gone",
];
/// Why a stream may end.
const ENDS: [&str; 7] = [
    "closed",
    "silent",
    "malformed",
    "pod_gone",
    "replaced",
    "leaving",
    "in_doubt",
];
/// What may be said of a token.
const REVIEWS: [&str; 4] = ["authentic", "denied", "error", "cached"];

/// The families of the config streams; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    open: Gauge,
    links: Gauge,
    requests: Family<ResultLabel, Counter>,
    ended: Family<ReasonLabel, Counter>,
    configs: Counter,
    reports: Counter,
    reviews: Family<ResultLabel, Counter>,
    push_seconds: Histogram,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self {
            open: Gauge::default(),
            links: Gauge::default(),
            requests: Family::default(),
            ended: Family::default(),
            configs: Counter::default(),
            reports: Counter::default(),
            reviews: Family::default(),
            // The promise is a second from a change to all its sidecars, of which this is a part.
            push_seconds: Histogram::new([0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0]),
        };
        registry.register("streams_open", "Config streams open to this replica", this.open.clone());
        registry.register(
            "peer_links",
            "Other replicas that tell this one of their sidecars",
            this.links.clone(),
        );
        registry.register(
            "stream_requests",
            "Requests for a stream, by what became of them",
            this.requests.clone(),
        );
        registry.register("streams_ended", "Streams that ended, by why", this.ended.clone());
        registry.register("stream_configs", "Configs written to streams", this.configs.clone());
        registry.register("stream_reports", "Reports heard from sidecars", this.reports.clone());
        registry.register(
            "token_reviews",
            "Tokens judged, by what the apiserver said or from memory",
            this.reviews.clone(),
        );
        registry.register(
            "stream_push_seconds",
            "From the watch's word of a config to the end of its writing to one stream",
            this.push_seconds.clone(),
        );
        // At 0 from the start: what Prometheus first sees at 1 is no increase to it.
        for result in REQUESTS {
            drop(this.requests.get_or_create(&ResultLabel { result }));
        }
        for reason in ENDS {
            drop(this.ended.get_or_create(&ReasonLabel { reason }));
        }
        for result in REVIEWS {
            drop(this.reviews.get_or_create(&ResultLabel { result }));
        }
        this
    }

    /// A request was let in (`accepted`) or refused.
    pub(crate) fn requested(&self, result: &'static str) {
        debug_assert!(REQUESTS.contains(&result), "{result} is not among REQUESTS");
        self.requests.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn linked(&self, more: i64) {
        self.links.inc_by(more);
    }

    pub(crate) fn opened(&self) {
        self.open.inc();
    }

    pub(crate) fn ended(&self, reason: &'static str) {
        debug_assert!(ENDS.contains(&reason), "{reason} is not among ENDS");
        self.open.dec();
        self.ended.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A config was written; `took` where it was news to an open stream.
    pub(crate) fn sent(&self, took: Option<Duration>) {
        self.configs.inc();
        if let Some(took) = took {
            self.push_seconds.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn reported(&self) {
        self.reports.inc();
    }

    /// `authentic`, `denied`, `error` or `cached`.
    pub(crate) fn reviewed(&self, result: &'static str) {
        debug_assert!(REVIEWS.contains(&result), "{result} is not among REVIEWS");
        self.reviews.get_or_create(&ResultLabel { result }).inc();
    }
}
