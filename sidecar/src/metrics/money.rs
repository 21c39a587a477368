//! A counter of dollars that never rounds: it counts whole picodollars and says dollars when it is read.

use std::fmt::Error;
use std::sync::atomic::{AtomicU64, Ordering};

use bowsprit_core::cost::Picodollars;
use prometheus_client::encoding::{CounterValueEncoder, EncodeCounterValue};
use prometheus_client::metrics::counter::{Atomic, Counter};

/// A sum of money in US dollars. It holds 18 million of them, far more than one sidecar spends in its life.
pub type Dollars = Counter<Amount, Sum>;

/// What is added to [`Dollars`]: whole picodollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount(u64);

impl From<Picodollars> for Amount {
    /// Nothing is ever paid back: what is below zero counts as zero.
    fn from(amount: Picodollars) -> Self {
        Self(u64::try_from(amount.get()).unwrap_or(0))
    }
}

impl EncodeCounterValue for Amount {
    fn encode(&self, encoder: &mut CounterValueEncoder<'_>) -> Result<(), Error> {
        // Rounded here alone, to what Prometheus can hold: below 9,000 dollars not even a picodollar is lost.
        (self.0 as f64 / 1e12).encode(encoder)
    }
}

/// The sum so far, picodollars.
#[derive(Debug, Default)]
pub struct Sum(AtomicU64);

impl Atomic<Amount> for Sum {
    fn inc(&self) -> Amount {
        self.inc_by(Amount(1))
    }

    fn inc_by(&self, amount: Amount) -> Amount {
        Amount(self.0.fetch_add(amount.0, Ordering::Relaxed))
    }

    fn get(&self) -> Amount {
        Amount(self.0.load(Ordering::Relaxed))
    }
}
