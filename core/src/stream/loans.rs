//! Asks and loans of budgets on the wire ([`crate::spend::shared`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::spend::shared::{Ask, Loan};
use crate::spend::window::Window;

/// Most asks in one message; each takes some 300 bytes beside its names.
pub const MOST_BORROWS: usize = 32;

/// Which budget of the namespace is spoken of, and whose.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetKey {
    /// The policy's name and its own, `shop/month`.
    pub budget: String,
    /// Who spends it together, such as `Deployment/checkout`; empty: all of the namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub of: String,
}

/// One ask, as [`Ask`] says it; amounts in picodollars.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "each is the field of `Ask` of the same name")]
pub struct WireBorrow {
    #[serde(flatten)]
    pub key: BudgetKey,
    pub number: u64,
    pub run: u64,
    pub epoch: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<i64>,
    pub held: u64,
    pub spent: u64,
    pub least: u64,
    pub want: u64,
}

/// One loan, as [`Loan`] says it; times in milliseconds, windows in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "each is the field of `Loan` of the same name")]
pub struct WireLoan {
    #[serde(flatten)]
    pub key: BudgetKey,
    pub number: u64,
    pub epoch: u64,
    pub window_begins: i64,
    pub window_ends: i64,
    pub remaining_ms: u64,
    pub held: u64,
    pub spent: u64,
    pub is_pending: bool,
    pub is_short: bool,
    pub again_ms: u64,
}

impl WireBorrow {
    /// The ask about a budget.
    pub fn new(key: BudgetKey, ask: &Ask) -> Self {
        let Ask {
            number,
            run,
            epoch,
            window,
            held,
            spent,
            least,
            want,
        } = *ask;
        Self {
            key,
            number,
            run,
            epoch,
            window,
            held,
            spent,
            least,
            want,
        }
    }

    /// What it asks.
    pub fn ask(&self) -> Ask {
        Ask {
            number: self.number,
            run: self.run,
            epoch: self.epoch,
            window: self.window,
            held: self.held,
            spent: self.spent,
            least: self.least,
            want: self.want,
        }
    }
}

impl WireLoan {
    /// The loan of a budget.
    pub fn new(key: BudgetKey, loan: &Loan) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            key,
            number: loan.number,
            epoch: loan.epoch,
            window_begins: loan.window.begins,
            window_ends: loan.window.ends,
            remaining_ms: millis(loan.remaining),
            held: loan.held,
            spent: loan.spent,
            is_pending: loan.is_pending,
            is_short: loan.is_short,
            again_ms: millis(loan.again),
        }
    }

    /// What it lends.
    pub fn loan(&self) -> Loan {
        Loan {
            number: self.number,
            epoch: self.epoch,
            window: Window {
                begins: self.window_begins,
                ends: self.window_ends,
            },
            remaining: Duration::from_millis(self.remaining_ms),
            held: self.held,
            spent: self.spent,
            is_pending: self.is_pending,
            is_short: self.is_short,
            again: Duration::from_millis(self.again_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{ToOperator, ToSidecar};

    #[test]
    fn the_words_on_the_wire_are_these_and_fields_of_a_later_release_are_passed_over() {
        let ask = Ask {
            number: 7,
            run: 99,
            epoch: 3,
            window: Some(1_764_374_400),
            held: 40,
            spent: 30,
            least: 60,
            want: 90,
        };
        let key = BudgetKey {
            budget: "shop/month".into(),
            of: "Deployment/checkout".into(),
        };
        let message = ToOperator::Borrow {
            asks: vec![WireBorrow::new(key.clone(), &ask)],
        };
        let line = serde_json::to_string(&message).unwrap();
        assert_eq!(
            line,
            r#"{"type":"borrow","asks":[{"budget":"shop/month","of":"Deployment/checkout","number":7,"run":99,"epoch":3,"window":1764374400,"held":40,"spent":30,"least":60,"want":90}]}"#
        );
        let ToOperator::Borrow { asks } = serde_json::from_str(&line).unwrap() else {
            panic!("{line}")
        };
        assert_eq!(asks[0].ask(), ask);
        let line = r#"{"type":"lend","new":1,"loans":[{"budget":"shop/month","of":"Deployment/checkout","new":2,"number":7,"epoch":3,"windowBegins":1764374400,"windowEnds":1764460800,"remainingMs":60000,"held":80,"spent":50,"isPending":false,"isShort":true,"againMs":1000}]}"#;
        let ToSidecar::Lend { loans } = serde_json::from_str(line).unwrap() else {
            panic!("{line}")
        };
        let loan = loans[0].loan();
        assert!((loan.held, loan.is_short, loan.remaining) == (80, true, Duration::from_mins(1)));
        assert_eq!(WireLoan::new(key, &loan), loans[0]);
    }
}
