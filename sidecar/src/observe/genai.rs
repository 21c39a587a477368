//! The names that OpenTelemetry's conventions for generative AI (1.41) give, beside our own, so that dashboards made for
//! them work: instruments, attributes and bucket boundaries are theirs, written as Prometheus does.
//!
//! A sidecar is the *client* of a provider, whatever the app is: so it is the `client` families that it fills, with one
//! observation per exchange with a provider (an attempt), and never the `server` ones, which a model server counts.
//! Embeddings, token counts and what passes unread are not in them; our own families count those.
//!
//! Each histogram has 17 series. What the conventions would allow (model, server address, every error) would make
//! thousands, so the labels are what is needed to tell providers apart, and there is less detail the more providers are
//! configured: see [`Detail`].

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use bowsprit_core::dialect::Usage;
use bowsprit_core::platform;
use bowsprit_crds::provider_config::ProviderKind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::metrics::Registry;
use crate::sync::locked;

/// Series of one histogram: 14 buckets, `+Inf`, sum and count.
const SERIES: usize = 17;

/// Of `gen_ai.client.operation.*`, in seconds.
pub const SECONDS: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
/// Of `gen_ai.client.token.usage`.
pub const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// The conventions' value for what is not told apart.
const NOT_TOLD: &str = "_OTHER";

/// How much these families tell apart. It depends on the configuration alone, never on traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Every provider name, and the duration of its failures apart.
    Full,
    /// Every provider name; failures of all together.
    Names,
    /// All providers together.
    Sum,
    /// The same without the times between pieces: many providers and much that is switched on.
    Least,
    /// Nor with the time to the first piece: our own families have it.
    Bare,
    /// Nor with failures: our own families have them, by their codes.
    Fewest,
}

impl Detail {
    /// The most detail that fits into so many series, for so many provider names.
    pub fn that_fits(room: usize, names: usize) -> Self {
        [Self::Full, Self::Names, Self::Sum, Self::Least, Self::Bare]
            .into_iter()
            .find(|detail| detail.series(names) <= room)
            .unwrap_or(Self::Fewest)
    }

    /// Series for so many provider names: input, output, duration, first chunk, chunks, failures.
    pub fn series(self, names: usize) -> usize {
        SERIES
            * match self {
                Self::Full => 6 * names,
                Self::Names => 5 * names + 1,
                Self::Sum => 6,
                Self::Least => 5,
                Self::Bare => 4,
                Self::Fewest => 3,
            }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
}

#[allow(clippy::struct_field_names, reason = "the fields are the labels' names")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_token_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    error_type: Option<&'static str>,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

fn tokens() -> Histogram {
    Histogram::new(TOKENS)
}

/// The four families.
pub struct GenAi {
    usage: Histograms<TokenLabels>,
    duration: Histograms<DurationLabels>,
    first_chunk: Histograms<OperationLabels>,
    per_chunk: Histograms<OperationLabels>,
    detail: Mutex<Detail>,
}

const OPERATION: &[&str] = &["gen_ai_operation_name", "gen_ai_provider_name"];

impl GenAi {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self {
            usage: Family::new_with_constructor(tokens),
            duration: Family::new_with_constructor(seconds),
            first_chunk: Family::new_with_constructor(seconds),
            per_chunk: Family::new_with_constructor(seconds),
            detail: Mutex::new(Detail::Sum),
        };
        registry.register_foreign(
            "gen_ai_client_token_usage",
            "Tokens of one exchange with a provider, where it reported them; input includes cached tokens, output reasoning",
            &["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_token_type"],
            new.usage.clone(),
        );
        registry.register_foreign(
            "gen_ai_client_operation_duration_seconds",
            "One exchange with a provider, from its request to the end of its answer; error_type is there where it failed",
            &["gen_ai_operation_name", "gen_ai_provider_name", "error_type"],
            new.duration.clone(),
        );
        registry.register_foreign(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "From the request to a provider to the first content of its stream",
            OPERATION,
            new.first_chunk.clone(),
        );
        registry.register_foreign(
            "gen_ai_client_operation_time_per_output_chunk_seconds",
            "From one piece of content of a provider's stream to the next; the count is the number of pieces",
            OPERATION,
            new.per_chunk.clone(),
        );
        new
    }

    /// Tells so much apart from now on. A change begins anew: old and new series would count the same things twice.
    pub fn tell(&self, detail: Detail) {
        let mut current = locked(&self.detail);
        if std::mem::replace(&mut *current, detail) != detail {
            self.usage.clear();
            self.duration.clear();
            self.first_chunk.clear();
            self.per_chunk.clear();
        }
    }

    /// The handles of a provider of this kind.
    pub fn handles(&self, kind: ProviderKind) -> GenAiHandles {
        let detail = *locked(&self.detail);
        let told = OperationLabels {
            gen_ai_operation_name: operation_name(kind),
            gen_ai_provider_name: provider_name(kind),
        };
        let untold = OperationLabels {
            gen_ai_operation_name: NOT_TOLD,
            gen_ai_provider_name: NOT_TOLD,
        };
        let (of, failed) = match detail {
            Detail::Full => (told.clone(), told),
            Detail::Names => (told, untold),
            Detail::Sum | Detail::Least | Detail::Bare | Detail::Fewest => (untold.clone(), untold),
        };
        let tokens = |gen_ai_token_type| TokenLabels {
            gen_ai_operation_name: of.gen_ai_operation_name,
            gen_ai_provider_name: of.gen_ai_provider_name,
            gen_ai_token_type,
        };
        GenAiHandles {
            input: Lazy::new(&self.usage, tokens("input")),
            output: Lazy::new(&self.usage, tokens("output")),
            duration: Lazy::new(&self.duration, of.clone().ending_with(None)),
            failed: (detail < Detail::Fewest).then(|| Lazy::new(&self.duration, failed.ending_with(Some(NOT_TOLD)))),
            first_chunk: (detail < Detail::Bare).then(|| Lazy::new(&self.first_chunk, of.clone())),
            per_chunk: (detail < Detail::Least).then(|| Lazy::new(&self.per_chunk, of)),
        }
    }
}

impl OperationLabels {
    fn ending_with(self, error_type: Option<&'static str>) -> DurationLabels {
        DurationLabels {
            gen_ai_operation_name: self.gen_ai_operation_name,
            gen_ai_provider_name: self.gen_ai_provider_name,
            error_type,
        }
    }
}

/// `gen_ai.provider.name`: whose format is spoken, as the conventions want it. A server that is merely compatible with
/// `OpenAI` counts as `openai`; our own families name the ProviderConfig.
pub fn provider_name(kind: ProviderKind) -> &'static str {
    platform::of(kind).genai_name
}

/// `gen_ai.operation.name`.
pub(super) fn operation_name(kind: ProviderKind) -> &'static str {
    platform::of(kind).genai_operation
}

/// A histogram that is made when it is first needed, and not looked up again.
struct Lazy<L> {
    labels: L,
    family: Histograms<L>,
    made: OnceLock<Histogram>,
}

impl<L: Clone + Eq + std::hash::Hash> Lazy<L> {
    fn new(family: &Histograms<L>, labels: L) -> Self {
        Self {
            labels,
            family: family.clone(),
            made: OnceLock::new(),
        }
    }

    fn observe(&self, value: f64) {
        let histogram = self.made.get_or_init(|| self.family.get_or_create_owned(&self.labels));
        histogram.observe(value);
    }
}

/// A provider's handles.
pub struct GenAiHandles {
    input: Lazy<TokenLabels>,
    output: Lazy<TokenLabels>,
    duration: Lazy<DurationLabels>,
    /// This and the next two are `None` where there is no room for them.
    failed: Option<Lazy<DurationLabels>>,
    first_chunk: Option<Lazy<OperationLabels>>,
    per_chunk: Option<Lazy<OperationLabels>>,
}

impl GenAiHandles {
    /// An exchange has ended, after so long; `took` is none where nobody wanted its end.
    pub fn ended(&self, took: Option<Duration>, well: bool, usage: Option<&Usage>) {
        if let Some(took) = took {
            let duration = if well {
                Some(&self.duration)
            } else {
                self.failed.as_ref()
            };
            if let Some(duration) = duration {
                duration.observe(took.as_secs_f64());
            }
        }
        if let Some(usage) = usage {
            #[allow(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
            for (histogram, count) in [(&self.input, usage.input), (&self.output, usage.output)] {
                histogram.observe(count as f64);
            }
        }
    }

    /// A stream's first content came.
    pub fn first_chunk(&self, after: Duration) {
        if let Some(first_chunk) = &self.first_chunk {
            first_chunk.observe(after.as_secs_f64());
        }
    }

    /// A stream's next content came.
    pub fn chunk(&self, after: Duration) {
        if let Some(per_chunk) = &self.per_chunk {
            per_chunk.observe(after.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_as_much_detail_as_fits() {
        assert_eq!(Detail::that_fits(306, 3), Detail::Full);
        assert_eq!(Detail::that_fits(305, 3), Detail::Names);
        assert_eq!(Detail::that_fits(271, 3), Detail::Sum);
        assert_eq!(Detail::that_fits(102, 9), Detail::Sum);
        assert_eq!(Detail::that_fits(68, 9), Detail::Bare);
        assert_eq!(Detail::that_fits(0, 1), Detail::Fewest, "there is no less");
    }
}
