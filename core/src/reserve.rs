//! What is kept back for an attempt until it is known what it did cost.

use crate::call::Call;
use crate::cost::{Picodollars, Unpriced};
use crate::dialect::{Terms, Usage};
use crate::record::Spent;

/// The most that an attempt may cost, by what tokens cost: at the usual terms or at those that are asked for, whichever are
/// dearer. A provider may bill by either.
///
/// # Errors
/// Why the usual price is not known.
pub fn most(call: &Call, cost: impl Fn(&Spent) -> Result<Picodollars, Unpriced>) -> Result<Picodollars, Unpriced> {
    let mut spent = Spent {
        estimated_input: call.input_tokens,
        estimated_output: call.tokens.saturating_sub(call.input_tokens),
        ..Spent::default()
    };
    let usual = cost(&spent)?;
    if !call.is_priority {
        return Ok(usual);
    }
    spent.reported = Some(Usage {
        terms: Terms::Priority,
        ..Usage::default()
    });
    Ok(cost(&spent).map_or(usual, |dearer| dearer.max(usual)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Operation;
    use crate::dialect::{Dialect, peek};

    fn asks(body: &str) -> Call {
        let mut call = Call::new(Dialect::OpenAiChat, Operation::Generate);
        call.asks(&peek(Dialect::OpenAiChat, body.as_bytes()).unwrap());
        call
    }

    #[test]
    fn the_reserve_is_at_the_priority_price_where_that_is_asked_for_and_dearer() {
        let usual = Picodollars::new(7);
        let cost = |dearer: Result<i64, Unpriced>| {
            move |spent: &Spent| match spent.reported.map(|usage| usage.terms) {
                None => Ok(usual),
                Some(Terms::Priority) => dearer.map(Picodollars::new),
                Some(_) => Err(Unpriced::Terms),
            }
        };
        let priority = asks(r#"{"model":"m","service_tier":"priority"}"#);
        assert_eq!(most(&priority, cost(Ok(14))), Ok(Picodollars::new(14)));
        assert_eq!(
            most(&priority, cost(Ok(3))),
            Ok(usual),
            "a provider may bill by the usual one"
        );
        assert_eq!(most(&priority, cost(Err(Unpriced::Terms))), Ok(usual));
        let flex = asks(r#"{"model":"m","service_tier":"flex"}"#);
        assert_eq!(most(&flex, cost(Ok(14))), Ok(usual));
        assert_eq!(most(&priority, |_| Err(Unpriced::Model)), Err(Unpriced::Model));
    }
}
