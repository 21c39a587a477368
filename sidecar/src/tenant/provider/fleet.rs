//! Limits that all sidecars of the namespace share: this one's part in each, by what the operator grants and what its requests
//! ask for.

use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::limiter::{LimiterSettings, Shares, Which};
use bowsprit_core::share::demand::Demand;
use bowsprit_core::share::holder::{Holder, Standing};

/// The most requests that were in flight or waited are remembered for about so long.
const PEAK_KEPT: Duration = Duration::from_secs(6);

/// This sidecar's part in the limits of one provider.
pub(super) struct FleetLimits {
    pub(super) whole: LimiterSettings,
    pub(super) parts: Vec<Part>,
    /// What the limiter has of them now.
    pub(super) shares: Shares,
    /// When a share changes by itself.
    pub(super) changes: Option<Moment>,
}

/// Its part in one limit.
pub(super) struct Part {
    pub(super) which: Which,
    pub(super) holder: Holder,
    pub(super) wants: Wants,
    pub(super) standing: Standing,
}

/// How much is wanted.
pub(super) enum Wants {
    /// So much a minute.
    Rate(Demand),
    /// So many at once.
    Peak { requests: f64, since: Moment },
}

/// A part, for metrics.
pub(super) struct Seen {
    pub(super) which: Which,
    pub(super) share: u64,
    pub(super) wanted: u64,
    pub(super) is_without: bool,
}

fn whole_of(settings: &LimiterSettings, which: Which) -> Option<u64> {
    match which {
        Which::Requests => settings.requests_per_minute.map(|limit| limit.get().into()),
        Which::Tokens => settings.tokens_per_minute.map(std::num::NonZeroU64::get),
        Which::Concurrency => settings.concurrent.map(|limit| limit.get().into()),
        // A provider has none of these.
        Which::Input | Which::Output | Which::Cost => None,
    }
}

impl FleetLimits {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            whole: LimiterSettings::default(),
            parts: Vec::new(),
            shares: Shares::default(),
            changes: Some(now),
        }
    }

    pub(super) fn reconfigure(&mut self, whole: LimiterSettings, now: Moment) {
        self.whole = whole;
        for which in [Which::Requests, Which::Tokens, Which::Concurrency] {
            let at = self.parts.iter().position(|part| part.which == which);
            match (whole_of(&whole, which), at.and_then(|at| self.parts.get_mut(at))) {
                (Some(amount), Some(part)) => part.holder.reconfigure(amount, now),
                (Some(amount), None) => self.parts.push(Part::new(which, amount, now)),
                (None, _) => self.parts.retain(|part| part.which != which),
            }
        }
        self.changes = Some(now);
    }
}

impl Part {
    fn new(which: Which, whole: u64, now: Moment) -> Self {
        Self {
            which,
            holder: Holder::new(whole, now),
            wants: match which {
                Which::Requests | Which::Tokens | Which::Input | Which::Output | Which::Cost => {
                    Wants::Rate(Demand::new(now))
                }
                Which::Concurrency => Wants::Peak {
                    requests: 0.0,
                    since: now,
                },
            },
            standing: Standing::New,
        }
    }

    /// What is wanted, where so many are in flight and so many wait.
    pub(super) fn want(&mut self, in_flight: u64, waiting: u64, now: Moment) -> u64 {
        match &mut self.wants {
            Wants::Rate(demand) => demand.per_minute(waiting, now),
            Wants::Peak { requests, since } => {
                let passed = now.saturating_since(*since).as_secs_f64();
                *requests *= (-passed / PEAK_KEPT.as_secs_f64()).exp();
                *since = now;
                rounded(*requests).max(in_flight.saturating_add(waiting))
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates, which is what is meant
fn rounded(value: f64) -> u64 {
    // What is left of a single request after a while is none.
    (value - 0.1).ceil().max(0.0) as u64
}
