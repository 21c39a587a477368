//! Whether a request or an exchange with a provider was as its objective wants it.

use std::time::Duration;

use crate::config::{FIRST_TOKEN_PERCENT, Slo};
use crate::fault::{Blame, Code};
use crate::record::{AttemptOutcome, AttemptRecord, Outcome, RequestRecord};

/// What an objective is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Objective {
    /// Answered, and not failed.
    Availability,
    /// The first content of a stream came in time.
    FirstToken,
}

impl Objective {
    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::FirstToken => "first_token",
        }
    }
}

/// What is asked for: each objective, and the percentage that must be good.
pub fn objectives(slo: &Slo) -> impl Iterator<Item = (Objective, f64)> + use<> {
    let availability = slo.availability.map(|percent| (Objective::Availability, percent));
    let first_token = slo.first_token.map(|_| (Objective::FirstToken, FIRST_TOKEN_PERCENT));
    availability.into_iter().chain(first_token)
}

/// The verdicts on one request or exchange: whether it was good, for each objective that it counts for.
pub type Verdicts = [(Objective, Option<bool>); 2];

/// A request, as the app saw it.
pub fn of_request(slo: &Slo, record: &RequestRecord<'_>) -> Verdicts {
    let answered = match record.outcome {
        Outcome::Ok => Some(true),
        Outcome::ClientError | Outcome::Cancelled => None,
        Outcome::ProviderError | Outcome::OwnError | Outcome::Shed | Outcome::Cut => Some(false),
    };
    verdicts(slo, answered, record.first_token_after)
}

/// An exchange with a provider. What the request brought with it, or our own key or configuration, is no failure of the
/// provider's; that it throttles is.
pub fn of_attempt(slo: &Slo, record: &AttemptRecord<'_>) -> Verdicts {
    let is_the_providers = |code: Option<Code>| code.is_none_or(|code| code.blame() == Blame::Provider);
    let answered = match record.outcome {
        AttemptOutcome::Answered => Some(true),
        AttemptOutcome::Failed if is_the_providers(record.code) => Some(false),
        AttemptOutcome::Failed | AttemptOutcome::Cancelled => None,
    };
    verdicts(slo, answered, record.first_content_after)
}

fn verdicts(slo: &Slo, answered: Option<bool>, first_content: Option<Duration>) -> Verdicts {
    let in_time = slo.first_token.zip(first_content).map(|(most, took)| took <= most);
    [
        (Objective::Availability, answered.filter(|_| slo.availability.is_some())),
        (Objective::FirstToken, in_time),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slo() -> Slo {
        Slo {
            availability: Some(99.0),
            first_token: Some(Duration::from_secs(1)),
            window: Duration::from_hours(1),
        }
    }

    #[test]
    fn what_the_caller_got_wrong_or_left_counts_for_nothing() {
        let verdict = |outcome| {
            let answered = match outcome {
                Outcome::Ok => Some(true),
                Outcome::ClientError | Outcome::Cancelled => None,
                _ => Some(false),
            };
            verdicts(&slo(), answered, None)[0].1
        };
        assert_eq!(
            Outcome::ALL.map(verdict),
            [
                Some(true),
                None,
                Some(false),
                Some(false),
                Some(false),
                None,
                Some(false)
            ]
        );
    }

    #[test]
    fn a_first_content_in_the_very_last_moment_is_in_time() {
        let told = |millis| verdicts(&slo(), None, Some(Duration::from_millis(millis)))[1].1;
        assert_eq!((told(1000), told(1001)), (Some(true), Some(false)));
        assert_eq!(verdicts(&slo(), Some(true), None)[1].1, None, "no stream");
    }

    #[test]
    fn what_no_objective_asks_for_is_not_judged() {
        let none = Slo {
            availability: None,
            first_token: None,
            ..slo()
        };
        let told = verdicts(&none, Some(false), Some(Duration::from_secs(9)));
        assert!(told.iter().all(|(_, verdict)| verdict.is_none()));
    }
}
