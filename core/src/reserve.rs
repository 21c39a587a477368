//! What is kept back for an attempt until it is known what it did cost.

use crate::call::Call;
use crate::cost::{Picodollars, Unpriced};
use crate::dialect::{Terms, Usage};
use crate::record::Spent;

/// What a call may come to at the most, whoever answers it. Kept for as long as its attempts are out, so without the call itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Tokens of input: a quarter of the request's bytes.
    pub input: u64,
    /// Tokens of all answers that it asks for.
    pub output: u64,
    /// How many answers these are.
    pub answers: u64,
    /// The provider's priority terms are asked for.
    pub is_priority: bool,
}

/// The most that one attempt may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Tokens of output.
    pub output: u64,
    /// What it may cost, or why nobody knows.
    pub cost: Result<Picodollars, Unpriced>,
}

impl Bound {
    /// Of this call.
    pub fn of(call: &Call) -> Self {
        let output = call.tokens.saturating_sub(call.input_tokens);
        Self {
            input: call.input_tokens,
            output,
            answers: output.div_ceil(call.answer_tokens().max(1)),
            is_priority: call.is_priority,
        }
    }

    /// Where a model can answer with no more than `most` tokens, the caller may have asked for more in vain.
    fn at(self, most: Option<u64>) -> Self {
        let most = most.map_or(u64::MAX, |most| most.saturating_mul(self.answers));
        Self {
            output: self.output.min(most),
            ..self
        }
    }

    /// The most of an attempt at a model that can answer with `longest` tokens, where that is known, by what its tokens cost.
    pub fn most(self, longest: Option<u64>, cost: impl Fn(&Spent) -> Result<Picodollars, Unpriced>) -> Most {
        let bound = self.at(longest);
        Most {
            output: bound.output,
            cost: most_of(bound, cost),
        }
    }
}

/// The most that an attempt may cost, by what tokens cost: at the usual terms or at those that are asked for, whichever are
/// dearer. A provider may bill by either.
///
/// # Errors
/// Why the usual price is not known.
pub fn most(call: &Call, cost: impl Fn(&Spent) -> Result<Picodollars, Unpriced>) -> Result<Picodollars, Unpriced> {
    most_of(Bound::of(call), cost)
}

fn most_of(bound: Bound, cost: impl Fn(&Spent) -> Result<Picodollars, Unpriced>) -> Result<Picodollars, Unpriced> {
    let mut spent = Spent {
        estimated_input: bound.input,
        estimated_output: bound.output,
        ..Spent::default()
    };
    let usual = cost(&spent)?;
    if !bound.is_priority {
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

    #[test]
    fn the_most_of_a_model_is_at_its_own_price_and_no_longer_than_it_can_answer() {
        let cost = |spent: &Spent| {
            let tokens = i64::try_from(spent.estimated_output).unwrap_or(i64::MAX);
            Ok(Picodollars::new(tokens.saturating_mul(2)))
        };
        let of = |body: &str, longest| {
            let most = Bound::of(&asks(body)).most(longest, cost);
            (most.output, most.cost.unwrap().get())
        };
        let two = r#"{"model":"m","max_tokens":500,"n":2}"#;
        assert_eq!(of(two, None), (1_000, 2_000));
        assert_eq!(of(two, Some(600)), (1_000, 2_000));
        assert_eq!(of(two, Some(200)), (400, 800), "each answer");
        assert_eq!(of(r#"{"model":"m"}"#, Some(200)), (200, 400));
        let absurd = r#"{"model":"m","max_tokens":18446744073709551615,"n":3}"#;
        assert_eq!(of(absurd, None).1, i64::MAX);
        let nothing = Bound::of(&Call::new(Dialect::OpenAiChat, Operation::Count));
        assert_eq!(nothing.most(Some(200), cost).output, 0);
    }
}
