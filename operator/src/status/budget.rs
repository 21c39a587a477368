//! What is left of the error budgets of an object, by what its sidecars have counted, and when that is worth a write. Pure: time
//! is passed in.
//!
//! The sidecars that run now are asked, so what pods that are gone have counted is not in it: the status says of how many
//! sidecars it speaks and since when. Over a whole window, through every restart, it is Prometheus that knows.
//!
//! What a sidecar says is its pod's word, and whoever is in the pod may say anything in its name: so only those count that the
//! object selects, and only what a sidecar could have counted. Within that, a pod spoils the sum no more than by real traffic.

use std::time::Duration;

use bowsprit_core::slo::Objective;
use bowsprit_crds::{ObjectiveStatus, Slo, SloStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::fleet::{Counted, Objectives};
use crate::slo::asked;
use crate::status::pace::{is_leap, stays};

/// Thousandths of a percent in one whole.
const WHOLE: u64 = 100_000;

/// What no sidecar does more of, events a second: twice the burst of 50,000 requests a second that one is tried with.
const MOST_A_SECOND: u64 = 100_000;
/// As long as this it may have counted whatever its clock says, which may be wrong.
const LEEWAY: u64 = 3600;
/// The largest whole number that JSON carries through everybody: Kubernetes refuses an integer beyond it.
const MOST: u64 = (1 << 53) - 1;

/// What was `counted` in the sidecars that it selects, says of the objectives of `object`, which is its kind as sidecars call it and
/// its name. Nothing where none of them has counted anything.
pub fn measured<'a>(
    slo: &Slo,
    (object, name): (&str, &str),
    counted: impl Iterator<Item = &'a Objectives>,
    now: Timestamp,
) -> Option<SloStatus> {
    let unix = u64::try_from(now.as_second()).unwrap_or(0);
    let window = slo.over_window.get().as_secs();
    let [mut availability, mut first_token] = [None, None];
    let (mut sidecars, mut since) = (0_u32, u64::MAX);
    for objectives in counted {
        let mut counts = false;
        for (which, sum) in [
            (Objective::Availability, &mut availability),
            (Objective::FirstToken, &mut first_token),
        ] {
            let own = objectives.of(object, name, which.as_str());
            let own = own.and_then(|own| Some((own, begun(&own, window, unix)?)));
            if let Some((own, begun)) = own {
                let [good, bad] = sum.get_or_insert([0_u64; 2]);
                *good = good.saturating_add(own.good);
                *bad = bad.saturating_add(own.bad);
                since = since.min(begun);
                counts = true;
            }
        }
        sidecars = sidecars.saturating_add(u32::from(counts));
    }
    let objective = |which: Objective, sum: Option<[u64; 2]>| {
        let (_, percent) = asked(slo).find(|(objective, _)| *objective == which)?;
        status(percent, sum?)
    };
    let availability = objective(Objective::Availability, availability);
    let first_token = objective(Objective::FirstToken, first_token);
    if availability.is_none() && first_token.is_none() {
        return None;
    }
    let now = now.as_second();
    let since = i64::try_from(since).unwrap_or(now);
    let time = |seconds| Timestamp::from_second(seconds).ok().map(Time);
    Some(SloStatus {
        availability,
        first_token,
        window: slo.over_window,
        sidecars,
        since: time(since)?,
        as_of: time(now)?,
    })
}

/// Since when it was counted, where a sidecar can have counted that within the window; its clock may be wrong.
fn begun(one: &Counted, window: u64, now: u64) -> Option<u64> {
    let since = one.since.clamp(now.saturating_sub(window), now);
    let most = now.saturating_sub(since).max(LEEWAY).saturating_mul(MOST_A_SECOND);
    (one.good.saturating_add(one.bad) <= most).then_some(since)
}

fn status(percent: String, [good, bad]: [u64; 2]) -> Option<ObjectiveStatus> {
    let all = u128::from(good) + u128::from(bad);
    let allowed = WHOLE.checked_sub(thousandths(&percent)?)?;
    if all == 0 || allowed == 0 {
        return None;
    }
    let share = u128::from(good) * u128::from(WHOLE) / all;
    // How many times the budget of all of them the bad ones are, in percent, rounded up: what is left is rounded down.
    let spent = u128::from(bad) * 100 * u128::from(WHOLE);
    let spent = i128::try_from(spent.div_ceil(all * u128::from(allowed))).ok()?;
    Some(ObjectiveStatus {
        measured: format!("{}.{:03}", share / 1000, share % 1000),
        budget_remaining_percent: i64::try_from(100 - spent).unwrap_or(i64::MIN),
        objective: percent,
        good: good.min(MOST),
        bad: bad.min(MOST),
    })
}

/// `99.5` as 99500.
fn thousandths(percent: &str) -> Option<u64> {
    let (whole, part) = percent.split_once('.').unwrap_or((percent, ""));
    let part = format!("{part:0<3}");
    if part.len() > 3 {
        return None;
    }
    Some(whole.parse::<u64>().ok()? * 1000 + part.parse::<u64>().ok()?)
}

/// What the status is to say where it says `before` now, and how long to wait for a look at more. Only a whole percent is news,
/// and only so often, but a tenth of a budget that is gone at once; where nobody has counted anything the last word stays, with its time.
pub fn told(
    before: Option<&SloStatus>,
    slo: Option<&Slo>,
    measured: Option<SloStatus>,
    now: Timestamp,
) -> (Option<SloStatus>, Option<Duration>) {
    let Some(slo) = slo else { return (None, None) };
    let known = before.filter(|before| is_of(before, slo));
    let (Some(known), Some(fresh)) = (known, &measured) else {
        return (measured.or_else(|| known.cloned()), None);
    };
    let budgets = |status: &SloStatus| {
        let left = |one: &Option<ObjectiveStatus>| one.as_ref().map(|one| one.budget_remaining_percent);
        (left(&status.availability), left(&status.first_token))
    };
    if budgets(known) == budgets(fresh) {
        return (Some(known.clone()), None);
    }
    let is_hurry = [
        (&known.availability, &fresh.availability),
        (&known.first_token, &fresh.first_token),
    ];
    let is_hurry = is_hurry
        .into_iter()
        .any(|(known, fresh)| is_hurry_of(known.as_ref(), fresh.as_ref()));
    match stays(known.as_of.0, now) {
        Some(wait) if !is_hurry => (Some(known.clone()), Some(wait)),
        _ => (measured, None),
    }
}

/// Whether what is measured of an objective is told at once: the first word of it, and a leap of what is spent.
fn is_hurry_of(known: Option<&ObjectiveStatus>, fresh: Option<&ObjectiveStatus>) -> bool {
    let spent =
        |one: &ObjectiveStatus| u64::try_from(100_i64.saturating_sub(one.budget_remaining_percent)).unwrap_or(0);
    match (known, fresh) {
        (Some(known), Some(fresh)) => is_leap(spent(known), spent(fresh)),
        (None, Some(_)) => true,
        (_, None) => false,
    }
}

/// Whether a status speaks of these objectives.
fn is_of(status: &SloStatus, slo: &Slo) -> bool {
    let percents = |which| {
        asked(slo)
            .find(|(objective, _)| *objective == which)
            .map(|(_, percent)| percent)
    };
    let same = |told: &Option<ObjectiveStatus>, which| {
        let told = told.as_ref().map(|one| &one.objective);
        told.is_none() || told == percents(which).as_ref()
    };
    status.window == slo.over_window
        && same(&status.availability, Objective::Availability)
        && same(&status.first_token, Objective::FirstToken)
}

#[cfg(test)]
#[allow(clippy::cast_possible_wrap, clippy::cast_sign_loss, clippy::cast_possible_truncation)]
mod tests {
    use bowsprit_core::stream::ReportedObjective;

    use super::*;

    fn slo(text: &str) -> Slo {
        serde_json::from_str(text).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn counted(name: &str, objective: &str, [good, bad]: [u64; 2], since: u64) -> Objectives {
        let one = ReportedObjective {
            object: "route".into(),
            name: name.into(),
            objective: objective.into(),
            good,
            bad,
            since,
        };
        Objectives::new(vec![one], None)
    }

    #[test]
    fn the_budget_is_exact_and_rounded_to_the_safe_side() {
        let left = |percent: &str, counts| {
            let status = status(percent.into(), counts).unwrap();
            (status.measured, status.budget_remaining_percent)
        };
        assert_eq!(left("99", [99, 1]), ("99.000".into(), 0));
        assert_eq!(left("99", [98, 2]), ("98.000".into(), -100));
        assert_eq!(left("99.5", [1000, 0]), ("100.000".into(), 100));
        assert_eq!(left("99.999", [999_999, 1]), ("99.999".into(), 90));
        // 1 of 3 of a budget of 10 %: 3.33 times spent.
        assert_eq!(left("90", [2, 1]), ("66.666".into(), -234));
        assert_eq!(left("95", [0, 7]), ("0.000".into(), -1900));
        assert_eq!(left("50.25", [u64::MAX, u64::MAX]).0, "50.000");
        assert_eq!(status("99".into(), [0, 0]), None);
    }

    #[test]
    fn all_sidecars_that_counted_for_the_object_are_added_up_and_no_other() {
        let slo = slo(r#"{"availability": "90", "firstToken": "1s"}"#);
        let reports = [
            counted("chat", "availability", [40, 4], 500),
            counted("chat", "availability", [59, 1], 300),
            counted("chat", "first_token", [19, 1], 400),
            counted("other", "availability", [0, 900], 1),
            Objectives::default(),
        ];
        let told = measured(&slo, ("route", "chat"), reports.iter(), at(1000)).unwrap();
        assert_eq!((told.sidecars, told.since.0, told.as_of.0), (3, at(300), at(1000)));
        let availability = told.availability.unwrap();
        assert_eq!((availability.good, availability.bad), (99, 5));
        assert_eq!(availability.budget_remaining_percent, 51);
        assert_eq!(told.first_token.unwrap().budget_remaining_percent, 0);
        let of_a_provider = measured(&slo, ("provider", "chat"), reports.iter(), at(1000));
        assert_eq!(of_a_provider, None);
    }

    #[test]
    fn what_no_sidecar_can_have_counted_spoils_no_sum() {
        const DAY: u64 = 24 * 3600;
        let slo = slo(r#"{"availability": "90", "overWindow": "168h"}"#);
        let now = 1000 * DAY;
        let with = |other: Objectives| {
            let honest = counted("chat", "availability", [99, 1], now - DAY);
            let status = measured(&slo, ("route", "chat"), [honest, other].iter(), at(now as i64)).unwrap();
            let of = status.availability.unwrap();
            (status.sidecars, of.good, of.bad, status.since.0.as_second() as u64)
        };
        let honest = (1, 99, 1, now - DAY);
        for [good, bad] in [
            [u64::MAX, u64::MAX],
            [u64::MAX, 0],
            [0, 10_u64.pow(12)],
            [0, MOST_A_SECOND * DAY + 1],
        ] {
            assert_eq!(
                with(counted("chat", "availability", [good, bad], now - DAY)),
                honest,
                "{good} {bad}"
            );
        }
        // What it says of long ago, it says of the window.
        assert_eq!(
            with(counted("chat", "availability", [1, 0], 0)),
            (2, 100, 1, now - 7 * DAY)
        );
        let most = MOST_A_SECOND * 7 * DAY;
        assert_eq!(with(counted("chat", "availability", [0, most + 1], 0)), honest);
        // A clock that goes fast.
        assert_eq!(
            with(counted("chat", "availability", [1, 0], now + DAY)),
            (2, 100, 1, now - DAY)
        );
        // The same objective again and again counts once.
        let again = counted("chat", "availability", [5, 0], now).reported();
        let again = Objectives::new(vec![again[0].clone(); 256], None);
        assert_eq!(with(again), (2, 104, 1, now - DAY));
    }

    #[test]
    fn a_sum_beyond_what_kubernetes_takes_for_an_integer_is_cut() {
        let most = status("90".into(), [u64::MAX, MOST]).unwrap();
        assert_eq!((most.good, most.bad), (MOST, MOST));
        let number = serde_json::to_string(&most.good).unwrap();
        assert_eq!(number.parse::<f64>().unwrap() as u64, most.good, "the same as a float");
    }

    #[test]
    fn only_a_whole_percent_is_written_and_only_every_two_minutes_but_a_tenth_of_the_budget_at_once() {
        let slo = slo(r#"{"availability": "90"}"#);
        let fresh = |good, bad, second| {
            let report = counted("chat", "availability", [good, bad], 0);
            measured(&slo, ("route", "chat"), [report].iter(), at(second))
        };
        let first = told(None, Some(&slo), fresh(1000, 0, 10), at(10));
        assert_eq!(first, (fresh(1000, 0, 10), None), "the first at once");
        let known = first.0;
        let same = told(known.as_ref(), Some(&slo), fresh(5000, 0, 900), at(900));
        assert_eq!(same, (known.clone(), None), "more events, the same budget");
        let soon = told(known.as_ref(), Some(&slo), fresh(5000, 40, 100), at(100));
        assert_eq!(soon, (known.clone(), Some(Duration::from_secs(30))));
        let due = told(known.as_ref(), Some(&slo), fresh(5000, 40, 130), at(130));
        assert_eq!(due, (fresh(5000, 40, 130), None));
        let leap = told(known.as_ref(), Some(&slo), fresh(5000, 50, 11), at(11));
        assert_eq!(leap, (fresh(5000, 50, 11), None), "a tenth of it is gone");
        let better = told(fresh(5000, 500, 10).as_ref(), Some(&slo), fresh(9000, 500, 11), at(11));
        assert_eq!(
            better,
            (fresh(5000, 500, 10), Some(Duration::from_secs(119))),
            "better can wait"
        );
        let mut both = fresh(1000, 0, 11).unwrap();
        both.first_token.clone_from(&both.availability);
        let first = told(known.as_ref(), Some(&slo), Some(both.clone()), at(11));
        assert_eq!(first.0, Some(both), "the first of the other objective");
        let nobody = told(known.as_ref(), Some(&slo), None, at(900));
        assert_eq!(nobody, (known, None), "the last word stays");
    }

    #[test]
    fn another_objective_is_told_at_once_and_none_is_none() {
        let slo = slo(r#"{"availability": "90"}"#);
        let report = counted("chat", "availability", [9, 1], 0);
        let status = |slo| measured(slo, ("route", "chat"), [report.clone()].iter(), at(10));
        let known = status(&slo);
        let stricter = Slo {
            availability: Some("99".into()),
            ..slo.clone()
        };
        let now = told(known.as_ref(), Some(&stricter), status(&stricter), at(11));
        assert_eq!(now.0.unwrap().availability.unwrap().budget_remaining_percent, -900);
        assert_eq!(told(known.as_ref(), Some(&stricter), None, at(11)), (None, None));
        assert_eq!(told(known.as_ref(), None, None, at(11)), (None, None));
    }
}
