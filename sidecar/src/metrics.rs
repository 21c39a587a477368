//! What Prometheus sees. Each part of the sidecar declares its families where it lives; this file holds what they
//! share: labels, buckets, the registry.
//!
//! Labels take values from closed lists (outcome, code, dialect) or from the configuration (provider, model); a model
//! name that no ProviderConfig lists is counted as `other`, so traffic cannot make series.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::process::ProcessMetrics;
use crate::proxy::traffic::Traffic;
use crate::reload::ConfigMetrics;
use crate::state::ProviderMetrics;

/// The label value of a model that no ProviderConfig lists.
pub const OTHER: &str = "other";

/// Seconds, for whole answers: from a cached short one to the ten minutes that clients wait at most.
pub const ANSWER_SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0];
/// Seconds, for the first token.
pub const FIRST_TOKEN_SECONDS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Seconds, for our own part of a request: 25 µs to 100 ms.
pub const OVERHEAD_SECONDS: [f64; 10] = [25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 10e-3, 25e-3, 100e-3];

/// A provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProviderLabel {
    /// Name of the ProviderConfig.
    pub provider: Arc<str>,
}

/// A provider and a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModelLabels {
    /// Name of the ProviderConfig.
    pub provider: Arc<str>,
    /// Name of the model, as configured, or [`OTHER`].
    pub model: Arc<str>,
}

/// A family of histograms with fixed buckets.
pub type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Every family.
pub struct Metrics {
    registry: Registry,
    /// Requests, attempts, tokens, durations.
    pub traffic: Traffic,
    /// Breakers, keys, limits, health.
    pub providers: ProviderMetrics,
    /// Loading of configuration.
    pub config: ConfigMetrics,
    /// Connections, memory, lines lost.
    pub process: ProcessMetrics,
}

impl Metrics {
    /// All families, registered under `bowsprit_`.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("bowsprit");
        let traffic = Traffic::register(&mut registry);
        let providers = ProviderMetrics::register(&mut registry);
        let config = ConfigMetrics::register(&mut registry);
        let process = ProcessMetrics::register(&mut registry);
        registry.register(
            "build",
            "Version of this sidecar",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            registry,
            traffic,
            providers,
            config,
            process,
        }
    }

    /// The text exposition.
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(16 << 10);
        // Writing into a String cannot fail; a half exposition would be worse than an empty one.
        if encode(&mut out, &self.registry).is_err() {
            out.clear();
        }
        out
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Sets a gauge from a count.
pub fn set(gauge: &Gauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}
