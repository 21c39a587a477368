//! The three sums, side by side.

use bowsprit_ledger::query::Money;
use bowsprit_providers::BilledTokens;
use bowsprit_rig::metrics::sum;
use serde_json::Value;

use crate::world::{Backend, World};

/// What there is of one model, by one account of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Attempts that went out.
    pub(crate) attempts: u64,
    /// Input, output, cached, cache write, reasoning: as the provider told.
    pub(crate) tokens: [u64; 5],
    /// Input and output that are estimated beyond that.
    pub(crate) estimated: u64,
    /// Of what the provider told, picodollars.
    pub(crate) cost: i128,
}

pub(crate) const KINDS: [&str; 5] = ["input", "output", "cached", "cache_write", "reasoning"];

/// What the provider billed: whole answers, and those that broke off.
pub(crate) fn billed(backend: &Backend) -> (Sum, BilledTokens) {
    let bill = backend.provider.seen().bill;
    let billed = bill.get(backend.model).copied().unwrap_or_default();
    let BilledTokens {
        answers,
        input,
        output,
        cached,
        cache_write,
        reasoning,
    } = billed.whole;
    // Dollars per million tokens of at most six decimals are a whole number of picodollars per token.
    let [price_in, price_out, price_read, price_write] =
        backend.price.map(|text| text.parse::<Money>().unwrap().0 / 1_000_000);
    let plain = i128::from(input - cached - cache_write);
    let cost = plain * price_in
        + i128::from(output) * price_out
        + i128::from(cached) * price_read
        + i128::from(cache_write) * price_write;
    let sum = Sum {
        attempts: answers,
        tokens: [input, output, cached, cache_write, reasoning],
        estimated: 0,
        cost,
    };
    (sum, billed.cut)
}

/// What the sidecar's metrics count.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts, and dollars of a few cents
pub(crate) fn counted(metrics: &str, backend: &Backend) -> Sum {
    let model = format!("model=\"{}\"", backend.model);
    let provider = format!("provider=\"{}\"", backend.name);
    let of = |family: &str, labels: &[&str]| sum(metrics, family, labels);
    let tokens = KINDS.map(|kind| of("bowsprit_tokens_total", &[&model, &format!("kind=\"{kind}\"")]) as u64);
    let cost = of("bowsprit_cost_usd_total", &[&model, "kind=\"reported\""]);
    Sum {
        attempts: of("bowsprit_attempts_total", &[&provider]) as u64,
        tokens,
        estimated: of("bowsprit_estimated_tokens_total", &[&provider]) as u64,
        cost: (cost * 1e12).round() as i128,
    }
}

/// What the ledger holds; `None`: it does not answer.
pub(crate) async fn held(world: &World) -> Option<[Sum; 2]> {
    let answer = world.asked("/v1/stats?namespace=team&by=model").await?;
    let all = answer.as_array()?.clone();
    let of = |backend: &Backend| {
        let fits = |it: &&Value| it["provider"] == backend.name && it["name"] == backend.model;
        let Some(it) = all.iter().find(fits) else {
            return Sum::default();
        };
        let count = |value: &Value| value.as_u64().unwrap_or_default();
        let tokens = &it["tokens"];
        Sum {
            attempts: count(&it["attempts"]),
            tokens: ["input", "output", "cached", "cacheWrite", "reasoning"].map(|kind| count(&tokens[kind])),
            estimated: count(&tokens["estimatedInput"]) + count(&tokens["estimatedOutput"]),
            cost: it["cost"]
                .as_str()
                .and_then(|text| text.parse::<Money>().ok())
                .map_or(0, |it| it.0),
        }
    };
    Some([of(&world.first), of(&world.second)])
}
