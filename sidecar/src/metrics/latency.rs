//! Histograms that lead from a bucket to a trace: OpenMetrics' exemplars.

use std::fmt::{Error, Write as _};
use std::time::{Duration, UNIX_EPOCH};

use bowsprit_core::trace::{Span, TraceId};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::exemplar::HistogramWithExemplars;

use crate::time::unix_now;

/// Seconds, each bucket with the last trace in it that is kept.
#[derive(Clone, Debug)]
pub struct Latency(HistogramWithExemplars<TraceLabel>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TraceLabel {
    trace_id: Hex,
}

/// Written when it is read, so that nothing is allocated when it is noted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Hex(TraceId);

impl EncodeLabelValue for Hex {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), Error> {
        encoder.write_str(std::str::from_utf8(&self.0.hex()).unwrap_or(""))
    }
}

impl Latency {
    /// With these buckets, seconds.
    pub fn new(buckets: &'static [f64]) -> Self {
        Self(HistogramWithExemplars::new(buckets.iter().copied()))
    }

    /// What is registered.
    pub fn metric(&self) -> HistogramWithExemplars<impl EncodeLabelSet + std::fmt::Debug + Send + Sync + use<>> {
        self.0.clone()
    }

    /// Observes a duration. `span`: what took it.
    pub fn observe(&self, took: Duration, span: Option<Span>) {
        let kept = span.filter(|span| span.is_sampled);
        let label = kept.map(|span| TraceLabel {
            trace_id: Hex(span.trace),
        });
        let now = kept.map(|_| UNIX_EPOCH + unix_now());
        self.0.observe(took.as_secs_f64(), label, now);
    }
}
