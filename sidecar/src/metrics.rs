//! What Prometheus sees. Each part of the sidecar declares its families where it lives; this file holds what they
//! share: labels, the registry, and the bound on the number of series.
//!
//! Labels take values from closed lists (outcome, code, dialect) or from the configuration (provider, model); a model
//! name that no ProviderConfig lists is counted as `other`, so traffic cannot make series. How many there may be is
//! [`Metrics::fit`]'s word. `docs/metrics.md` is written from the registry.
//!
//! A new family: declare and register it in the `register` of the part that counts it. One with labels that multiply
//! takes [`Registry::counters`], whose handles are resolved once where it is counted often. Then `make docs`.

use std::collections::HashSet;
use std::sync::Arc;

use bowsprit_core::config::Config;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;

use crate::pressure::ProcessMetrics;
use crate::proxy::hedge::Hedges;
use crate::proxy::traffic::Traffic;
use crate::reload::ConfigMetrics;
use crate::tenant::provider::ProviderMetrics;
use crate::upstream::ConnectionMetrics;

pub mod genai;
#[cfg(test)]
mod page;
mod process;
mod registry;
mod series;
#[cfg(test)]
mod tests;

use genai::{Detail, GenAi};
use process::Process;

pub use registry::Registry;
pub use series::{Counters, Labels, Seconds, Series};

/// The label value of a model that no ProviderConfig lists, and of what has no series of its own for want of room.
pub const OTHER: &str = "other";

/// Most series of a sidecar with ten providers of one model each.
const MOST: usize = 500;
/// Series without a provider's name: single ones, histograms of our own, closed lists, what is folded.
const GLOBAL: usize = 96;
/// Series that each provider has, or may have when the pool is used up.
const PER_PROVIDER: usize = 13;
/// Series that each model of a provider has.
const PER_MODEL: usize = 4;
/// The least that is left for what happens seldom.
const POOL: usize = 40;

/// Seconds, for whole answers: from a short one to the ten minutes that clients wait at most.
pub const ANSWER_SECONDS: [f64; 8] = [0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0];
/// Seconds, for the first token.
pub const FIRST_TOKEN_SECONDS: [f64; 8] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Seconds, for our own part of a request: 50 µs to 100 ms.
pub const OVERHEAD_SECONDS: [f64; 8] = [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 10e-3, 100e-3];

/// A provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProviderLabel {
    /// Name of the ProviderConfig.
    pub provider: Arc<str>,
}

impl Labels for ProviderLabel {
    fn provider(&self) -> Option<&str> {
        Some(&self.provider)
    }

    fn folded(&self) -> Self {
        Self { provider: OTHER.into() }
    }
}

/// A provider and a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModelLabels {
    /// Name of the ProviderConfig.
    pub provider: Arc<str>,
    /// Name of the model, as configured, or [`OTHER`].
    pub model: Arc<str>,
}

/// Every family.
pub struct Metrics {
    registry: Registry,
    /// Requests, attempts, tokens, durations.
    pub traffic: Traffic,
    /// Second attempts beside a first.
    pub hedges: Hedges,
    /// Exchanges with providers, under `OpenTelemetry`'s names.
    pub genai: GenAi,
    /// Breakers, keys, limits, health.
    pub providers: ProviderMetrics,
    /// Connections from the app and to providers.
    pub connections: ConnectionMetrics,
    /// Loading of configuration.
    pub config: ConfigMetrics,
    /// Memory for bodies, lines lost, connections that failed.
    pub pressure: ProcessMetrics,
    process: Process,
}

impl Metrics {
    /// All families, registered.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        let traffic = Traffic::register(r);
        let hedges = Hedges::register(r);
        let genai = GenAi::register(r);
        let providers = ProviderMetrics::register(r);
        let connections = ConnectionMetrics::register(r);
        let config = ConfigMetrics::register(r);
        let pressure = ProcessMetrics::register(r);
        r.register(
            "build",
            "Version of this sidecar; always 1",
            &["version"],
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        let folded = r.pool().folded();
        r.register(
            "metrics_folded",
            "Times that something was counted under the label other, or without its code, because this sidecar may have no more series; the log has the detail",
            &[],
            folded,
        );
        let process = Process::register(r);
        Self {
            registry,
            traffic,
            hedges,
            genai,
            providers,
            connections,
            config,
            pressure,
            process,
        }
    }

    /// Makes room for a configuration and forgets the providers that it does not name. To be called before its handles
    /// are made.
    ///
    /// What the configuration multiplies comes first, then as much detail of OpenTelemetry's families as fits; what is
    /// left is the pool for what happens seldom. Beyond ten providers the bound grows with their number.
    pub fn fit(&self, config: &Config) {
        let models: usize = config
            .providers
            .iter()
            .map(|provider| provider.models.len().max(1))
            .sum();
        let names: HashSet<_> = config
            .providers
            .iter()
            .map(|provider| genai::provider_name(provider.kind))
            .collect();
        let fixed = GLOBAL + config.providers.len() * PER_PROVIDER + models * PER_MODEL;
        let detail = Detail::that_fits(MOST.saturating_sub(fixed + POOL), names.len());
        self.genai.tell(detail);
        let left = MOST.saturating_sub(fixed + detail.series(names.len()));
        self.registry.pool().allow(left.max(POOL));
        self.registry.retain(&|name| config.provider(name).is_some());
    }

    /// The text exposition, with the process as it is now.
    pub fn encode(&self) -> String {
        self.process.observe();
        self.registry.encode()
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
