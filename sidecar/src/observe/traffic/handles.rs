//! A provider's metric handles, by which its attempts are counted.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bowsprit_core::cost::{Cost, Picodollars, Unpriced};
use bowsprit_core::dialect::Usage;
use bowsprit_core::record::{AttemptOutcome, AttemptRecord, Spent};
use prometheus_client::metrics::counter::Counter;

use super::labels::{AttemptLabels, EstimatedLabels, TokenLabels, UnpricedLabels};
use crate::metrics::{Counters, Dollars, OTHER, Seconds, Series};
use crate::observe::genai::GenAiHandles;

/// What stands for the model where a request passes to a provider unread: its breaker and its label.
pub const PASS_THROUGH: &str = "passthrough";

/// The `code` of an attempt that went well.
const OK: &str = "ok";
/// The `code` of an attempt that was given up because the caller left.
const CANCELLED: &str = "cancelled";

/// The kinds of tokens.
pub const TOKEN_KINDS: [&str; 5] = ["input", "output", "cached", "cache_write", "reasoning"];
/// How it is known what something cost: from tokens that a provider told, or from an estimate.
pub const COST_KINDS: [&str; 2] = ["reported", "estimated"];

/// Metric handles of one provider, each resolved at its first use: the hot path looks nothing up, and what never happens
/// makes no series.
pub struct Handles {
    pub(super) seconds: Seconds,
    pub(super) estimated: EstimatedHandles,
    pub(super) unpriced: UnpricedHandles,
    pub(super) genai: GenAiHandles,
    pub(super) models: Vec<ModelHandles>,
}

/// Handles of the tokens of one provider that nobody told.
pub(super) struct EstimatedHandles {
    pub(super) provider: Arc<str>,
    pub(super) family: Counters<EstimatedLabels>,
    pub(super) made: [OnceLock<Counter>; 2],
}

impl EstimatedHandles {
    fn count(&self, spent: &Spent) {
        let counts = [("input", spent.estimated_input), ("output", spent.estimated_output)];
        for (slot, (kind, count)) in self.made.iter().zip(counts) {
            if count > 0 {
                let make = || {
                    self.family.get(&EstimatedLabels {
                        provider: Arc::clone(&self.provider),
                        kind,
                    })
                };
                slot.get_or_init(make).inc_by(count);
            }
        }
    }
}

/// Handles of the attempts of one provider that cost nobody knows how much: of a model without a price each is one.
pub(super) struct UnpricedHandles {
    pub(super) provider: Arc<str>,
    pub(super) family: Counters<UnpricedLabels>,
    pub(super) made: [OnceLock<Counter>; Unpriced::ALL.len()],
}

impl UnpricedHandles {
    fn count(&self, why: Unpriced) {
        let slot = self.made.iter().zip(Unpriced::ALL).find(|(_, known)| *known == why);
        if let Some((slot, _)) = slot {
            let make = || {
                self.family.get(&UnpricedLabels {
                    provider: Arc::clone(&self.provider),
                    why: why.as_str(),
                })
            };
            slot.get_or_init(make).inc();
        }
    }
}

/// Metric handles of one model of a provider.
pub(super) struct ModelHandles {
    pub(super) provider: Arc<str>,
    /// The label: the model, or `other`.
    pub(super) model: Arc<str>,
    pub(super) ok: OnceLock<Counter>,
    pub(super) attempts: Counters<AttemptLabels>,
    pub(super) tokens: [OnceLock<Counter>; TOKEN_KINDS.len()],
    pub(super) token_family: Counters<TokenLabels>,
    pub(super) cost: [OnceLock<Dollars>; COST_KINDS.len()],
    pub(super) cost_family: Series<TokenLabels, Dollars>,
}

impl Handles {
    /// The handles of a model; of what passes unread where it is empty.
    fn model(&self, model: &str) -> Option<&ModelHandles> {
        let model = if model.is_empty() { PASS_THROUGH } else { model };
        self.models
            .iter()
            .find(|handles| *handles.model == *model)
            .or(self.models.last())
    }

    /// This model as a label: `other` where the configuration does not name it.
    pub fn label(&self, model: &str) -> Arc<str> {
        self.model(model)
            .map_or_else(|| OTHER.into(), |handles| Arc::clone(&handles.model))
    }

    /// Counts an attempt. One whose answer nobody wanted is no failure of the provider's, and no duration of its answers.
    pub fn attempt(&self, record: &AttemptRecord<'_>) {
        let is_cancelled = record.outcome == AttemptOutcome::Cancelled;
        if let Some(model) = self.model(record.model) {
            match (record.outcome, record.code) {
                (AttemptOutcome::Cancelled, _) => model.failed(CANCELLED),
                (_, None) => model.answered(),
                (_, Some(code)) => model.failed(code.as_str()),
            }
            if let Some(usage) = &record.spent.reported {
                model.count(usage);
            }
        }
        self.paid(record);
        self.estimated.count(&record.spent);
        if !is_cancelled {
            self.seconds.inc_by(record.took.as_secs_f64());
        }
        if record.is_generation {
            let took = (!is_cancelled).then_some(record.took);
            self.genai
                .ended(took, record.code.is_none(), record.spent.reported.as_ref());
        }
    }

    /// Counts what one model used in a batch: tokens and what they cost. Its answers are no exchanges that were made from here.
    pub(in crate::observe) fn batch(&self, record: &AttemptRecord<'_>) {
        if let (Some(model), Some(usage)) = (self.model(record.model), &record.spent.reported) {
            model.count(usage);
        }
        self.paid(record);
    }

    fn paid(&self, record: &AttemptRecord<'_>) {
        match &record.cost {
            Ok(cost) => {
                if let Some(model) = self.model(record.model) {
                    model.paid(cost);
                }
            }
            Err(why) => self.unpriced.count(*why),
        }
    }

    /// The first content of a stream came, so long after the attempt began.
    pub fn first_chunk(&self, after: Duration) {
        self.genai.first_chunk(after);
    }

    /// More content of a stream came, so long after what came before.
    pub fn chunk(&self, after: Duration) {
        self.genai.chunk(after);
    }
}

impl ModelHandles {
    fn answered(&self) {
        let counter = self.ok.get_or_init(|| {
            let labels = self.attempt(OK);
            if *self.model == *OTHER {
                self.attempts.get(&labels)
            } else {
                self.attempts.fixed(&labels)
            }
        });
        counter.inc();
    }

    fn failed(&self, code: &'static str) {
        self.attempts.get(&self.attempt(code)).inc();
    }

    fn attempt(&self, code: &'static str) -> AttemptLabels {
        AttemptLabels {
            provider: Arc::clone(&self.provider),
            model: Arc::clone(&self.model),
            code,
        }
    }

    fn count(&self, usage: &Usage) {
        let counts = [
            usage.input,
            usage.output,
            usage.cached,
            usage.cache_write,
            usage.reasoning,
        ];
        for ((slot, kind), count) in self.tokens.iter().zip(TOKEN_KINDS).zip(counts) {
            if count > 0 {
                slot.get_or_init(|| self.tokens_of(kind)).inc_by(count);
            }
        }
    }

    fn paid(&self, cost: &Cost<'_>) {
        let amounts = [cost.reported, cost.estimated];
        for ((slot, kind), amount) in self.cost.iter().zip(COST_KINDS).zip(amounts) {
            if amount > Picodollars::ZERO {
                slot.get_or_init(|| self.cost_of(kind)).inc_by(amount.into());
            }
        }
    }

    /// Drawn from the pool, since ten providers of three models leave no room for one more series of each model. A model makes
    /// its own with its first answer, before most of what happens seldom.
    fn cost_of(&self, kind: &'static str) -> Dollars {
        self.cost_family.get(&TokenLabels {
            provider: Arc::clone(&self.provider),
            model: Arc::clone(&self.model),
            kind,
        })
    }

    /// What every answer has is certain of its series; the other kinds are only there where a provider tells them.
    fn tokens_of(&self, kind: &'static str) -> Counter {
        let labels = TokenLabels {
            provider: Arc::clone(&self.provider),
            model: Arc::clone(&self.model),
            kind,
        };
        if *self.model != *OTHER && matches!(kind, "input" | "output") {
            self.token_family.fixed(&labels)
        } else {
            self.token_family.get(&labels)
        }
    }
}
