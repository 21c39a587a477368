//! Whether a request or an exchange with a provider was as its objective wants it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::{FIRST_TOKEN_PERCENT, Slo};

/// Whose objective it is, as metrics, reports and rules have it: a ProviderConfig's.
pub const PROVIDER: &str = "provider";
/// A ModelRoute's.
pub const ROUTE: &str = "route";
use crate::fault::{Blame, Code};
use crate::record::{AttemptOutcome, AttemptRecord, Outcome, RequestRecord};

/// What an objective is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Objective {
    /// Answered, and not failed.
    Availability,
    /// The first content of a stream came in time. A stream that failed without any, or was left after that time, is bad.
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
    let stream = Stream {
        first_content: record.first_token_after,
        lasted: record.is_stream.then_some(record.took),
        is_left: record.outcome == Outcome::Cancelled,
    };
    verdicts(slo, answered, stream)
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
    let stream = Stream {
        first_content: record.first_content_after,
        lasted: record.is_stream.then_some(record.took),
        is_left: record.outcome == AttemptOutcome::Cancelled,
    };
    verdicts(slo, answered, stream)
}

/// What is seen of a stream.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// When its first content came.
    first_content: Option<Duration>,
    /// How long it lasted, content or none; `None`: it was to be no stream.
    lasted: Option<Duration>,
    /// Its reader left.
    is_left: bool,
}

impl Stream {
    /// Whether its first content came within `most`; `None`: nobody can say. `failed`: for the provider's fault or our own.
    fn in_time(self, most: Duration, failed: bool) -> Option<bool> {
        if let Some(took) = self.first_content {
            return Some(took <= most);
        }
        let took = self.lasted?;
        (failed || (self.is_left && took > most)).then_some(false)
    }
}

fn verdicts(slo: &Slo, answered: Option<bool>, stream: Stream) -> Verdicts {
    let most = slo.first_token;
    let in_time = most.and_then(|most| stream.in_time(most, answered == Some(false)));
    [
        (Objective::Availability, answered.filter(|_| slo.availability.is_some())),
        (Objective::FirstToken, in_time),
    ]
}

/// Into how many parts a window is cut: what is counted reaches back over the whole of it, less one part at the most.
const PARTS: u32 = 30;

/// Counts that only grow, as counts within a window that slides.
#[derive(Clone, Debug, Default)]
pub struct Sliding {
    /// What the counts were when each part began; the first is where the window begins.
    marks: VecDeque<Mark>,
    last: [u64; 2],
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: u64,
    counts: [u64; 2],
}

/// What was counted, and since when in Unix seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// As it was wanted.
    pub good: u64,
    /// Not so.
    pub bad: u64,
    /// The beginning.
    pub since: u64,
}

impl Sliding {
    /// The counts, good and bad, stand at `counts` at `now`, Unix seconds. Gives what of it lies within `window`. The first call
    /// is the beginning; counts that have become smaller were begun anew. To be called often: a call that comes late makes the
    /// next part longer, and what is told then reaches back less far, never further.
    pub fn take(&mut self, counts: [u64; 2], now: u64, window: Duration) -> Counted {
        if counts.iter().zip(self.last).any(|(count, last)| *count < last) {
            self.marks.clear();
        }
        self.last = counts;
        let newest = self.marks.back().map(|mark| mark.at);
        match newest {
            None => self.marks.push_back(Mark {
                at: now,
                counts: [0; 2],
            }),
            Some(at) if now.saturating_sub(at) >= (window / PARTS).as_secs().max(1) => {
                self.marks.push_back(Mark { at: now, counts });
            }
            Some(_) => {}
        }
        while self.marks.len() > 1
            && let Some(oldest) = self.marks.front()
            && now.saturating_sub(oldest.at) > window.as_secs()
        {
            self.marks.pop_front();
        }
        let Some(first) = self.marks.front() else {
            return Counted::default();
        };
        let [good, bad] = counts;
        let [good_before, bad_before] = first.counts;
        Counted {
            good: good.saturating_sub(good_before),
            bad: bad.saturating_sub(bad_before),
            since: first.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn what_lies_before_the_window_falls_out_of_it_a_part_at_a_time() {
        let mut sliding = Sliding::default();
        // An event a second, every tenth a bad one, for three hours.
        let mut told = Counted::default();
        for second in 0..=10_800_u64 {
            told = sliding.take([second - second / 10, second / 10], 1000 + second, HOUR);
            let all = told.good + told.bad;
            assert!(all <= 3600, "{all} at {second}");
            assert_eq!(all, 1000 + second - told.since, "as many as it says since when");
            let least = second.min(3600 - 120);
            assert!(all >= least, "{all} of {least} at {second}");
        }
        assert!((340..=360).contains(&told.bad), "{told:?}");
        assert!(sliding.marks.len() <= 32);
    }

    #[test]
    fn counts_that_begin_anew_are_counted_from_there() {
        let mut sliding = Sliding::default();
        sliding.take([100, 7], 10, HOUR);
        let told = sliding.take([3, 1], 500, HOUR);
        assert_eq!((told.good, told.bad, told.since), (3, 1, 500));
    }

    #[test]
    fn a_clock_that_is_set_back_loses_nothing_and_adds_nothing() {
        let mut sliding = Sliding::default();
        sliding.take([1, 0], 5000, HOUR);
        let told = sliding.take([5, 2], 10, HOUR);
        assert_eq!((told.good, told.bad), (5, 2));
    }

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
            verdicts(&slo(), answered, Stream::default())[0].1
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
        let came = |millis| Stream {
            first_content: Some(Duration::from_millis(millis)),
            ..Stream::default()
        };
        let told = |millis| verdicts(&slo(), None, came(millis))[1].1;
        assert_eq!((told(1000), told(1001)), (Some(true), Some(false)));
        for answered in [Some(true), Some(false)] {
            assert_eq!(verdicts(&slo(), answered, Stream::default())[1].1, None, "no stream");
        }
    }

    #[test]
    fn a_stream_that_never_shows_anything_is_no_better_than_a_late_one() {
        let told = |answered, millis, is_left| {
            let stream = Stream {
                first_content: None,
                lasted: Some(Duration::from_millis(millis)),
                is_left,
            };
            verdicts(&slo(), answered, stream)[1].1
        };
        assert_eq!(told(Some(false), 30_000, false), Some(false), "timed out");
        assert_eq!(told(Some(false), 10, false), Some(false), "refused at once");
        assert_eq!(told(None, 1_001, true), Some(false), "left when it was late");
        assert_eq!(told(None, 1_000, true), None, "left before");
        assert_eq!(told(None, 5_000, false), None, "the caller's own mistake");
        assert_eq!(told(Some(true), 5_000, false), None, "an answer without content");
    }

    #[test]
    fn what_no_objective_asks_for_is_not_judged() {
        let none = Slo {
            availability: None,
            first_token: None,
            ..slo()
        };
        let late = Stream {
            first_content: Some(Duration::from_secs(9)),
            ..Stream::default()
        };
        let told = verdicts(&none, Some(false), late);
        assert!(told.iter().all(|(_, verdict)| verdict.is_none()));
    }
}
