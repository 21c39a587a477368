//! Metrics as a framework: labels, the registry, and the bound on the number of series. It knows nothing of what is
//! counted; each part of the sidecar declares its families where it lives, and `families` is their sum.
//!
//! Labels take values from closed lists (outcome, code, dialect) or from the configuration (provider, model); a model
//! name that no ProviderConfig lists is counted as `other`, so traffic cannot make series.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::gauge::Gauge;

mod latency;
mod money;
mod process;
mod registry;
mod series;

pub use latency::Latency;
pub use money::Dollars;
pub use process::OsProcess;
#[cfg(test)]
pub use registry::Entry;
pub use registry::{Registry, SeriesBound};
pub use series::{Counters, Labels, OTHER, Seconds, Series};

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

/// Labels of a provider and one word from a short list. Where there is no room, the provider's name is folded and the word
/// stays.
macro_rules! word_labels {
    ($(#[doc = $doc:literal] $name:ident { $word:ident })*) => {$(
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq, Eq, Hash, ::prometheus_client::encoding::EncodeLabelSet)]
        pub(super) struct $name {
            pub provider: ::std::sync::Arc<str>,
            pub $word: &'static str,
        }

        impl $crate::metrics::Labels for $name {
            fn provider(&self) -> Option<&str> {
                Some(&self.provider)
            }

            fn folded(&self) -> Self {
                Self {
                    provider: $crate::metrics::OTHER.into(),
                    $word: self.$word,
                }
            }
        }
    )*};
}
pub(crate) use word_labels;

/// Sets a gauge from a count.
pub fn set(gauge: &Gauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}
