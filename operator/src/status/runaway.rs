//! Which pods run away by a policy, by what their sidecars say, and when that is worth a write. Pure: time is passed in.
//!
//! That it begins, that more pods do, that the worst has doubled and that it is over is written as soon as the pace of statuses allows; whose
//! it is and how often, every two minutes at the most: ten thousand pods that go round are as many writes as one.

use std::cmp::Reverse;
use std::time::Duration;

use bowsprit_core::stream::ReportedRunaway;
use bowsprit_crds::{RunawayPod, RunawayStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::status::pace::{is_many_more, stays};

/// Pods that a status names.
const MOST: usize = 10;
/// What came more often is no longer told exactly.
const MOST_REPEATS: u64 = 1_000_000_000;

/// What sidecars say of runaways by `policy`, each with its pod: those with the most repeats first. None: nobody runs away.
pub fn measured<'a>(
    policy: &str,
    said: impl Iterator<Item = (&'a str, &'a [ReportedRunaway])>,
    now: Timestamp,
) -> Option<RunawayStatus> {
    let of_policy = |(pod, all): (&'a str, &'a [ReportedRunaway])| {
        let one = all.iter().find(|one| one.policy == policy)?;
        let since = i64::try_from(one.since).ok();
        let since = since.and_then(|since| Timestamp::from_second(since).ok());
        // A clock of a node that is ahead says what has not been yet.
        Some((pod, one, since.unwrap_or(now).min(now)))
    };
    let mut all: Vec<_> = said.filter_map(of_policy).collect();
    if all.is_empty() {
        return None;
    }
    all.sort_unstable_by_key(|(pod, one, _)| (Reverse(one.repeats), *pod));
    let worst = all.iter().take(MOST).map(|(pod, one, since)| RunawayPod {
        pod: (*pod).to_owned(),
        stops: one.stops,
        repeats: one.repeats.min(MOST_REPEATS),
        since: Time(*since),
    });
    Some(RunawayStatus {
        pods: u32::try_from(all.len()).unwrap_or(u32::MAX),
        worst: worst.collect(),
        as_of: Time(now),
    })
}

/// What the status is to say where it says `before` now, and when to look again, where that waits.
pub fn told(
    before: Option<&RunawayStatus>,
    measured: Option<RunawayStatus>,
    now: Timestamp,
) -> (Option<RunawayStatus>, Option<Duration>) {
    let (Some(old), Some(new)) = (before, measured.as_ref()) else {
        return (measured, None);
    };
    if (old.pods, &old.worst) == (new.pods, &new.worst) {
        return (before.cloned(), None);
    }
    let wait = stays(old.as_of.0, now);
    match wait {
        Some(_) if new.pods <= old.pods && stops(old) == stops(new) && !is_many_more(most(old), most(new)) => {
            (before.cloned(), wait)
        }
        _ => (measured, None),
    }
}

/// Whether any is stopped.
fn stops(status: &RunawayStatus) -> bool {
    status.worst.iter().any(|one| one.stops)
}

/// How often the worst came.
fn most(status: &RunawayStatus) -> u64 {
    status.worst.first().map_or(0, |one| one.repeats)
}

/// For people, where it begins, or has become more pods than `before` had: one text, however many they are.
pub fn news(before: Option<&RunawayStatus>, status: Option<&RunawayStatus>) -> Option<String> {
    let status = status?;
    let pods = before.map_or(0, |before| before.pods);
    if status.pods <= pods {
        return None;
    }
    let is_known = |one: &&RunawayPod| {
        let mut known = before.into_iter().flat_map(|before| &before.worst);
        known.any(|known| known.pod == one.pod && known.since == one.since)
    };
    // Where none of the worst is new, the worst of all stands for them.
    let new = status.worst.iter().find(|one| !is_known(one));
    let one = new.or(status.worst.first())?;
    let others = match status.pods {
        1 => String::new(),
        pods => format!(" ({pods} pods do so)"),
    };
    let follows = if one.stops { "refused" } else { "passed" };
    Some(format!(
        "pod {} sends the same request, or makes the same step, again and again: {} beyond spec.runaway so far, {follows}{others}",
        one.pod, one.repeats
    ))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::status::pace::{News, Pace, Turn};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn said(policy: &str, repeats: u64) -> Vec<ReportedRunaway> {
        vec![ReportedRunaway {
            policy: policy.into(),
            stops: true,
            repeats,
            since: 100,
        }]
    }

    fn of(pods: &[(&str, u64)], second: i64) -> Option<RunawayStatus> {
        let all: Vec<_> = pods
            .iter()
            .map(|(pod, repeats)| (*pod, said("house", *repeats)))
            .collect();
        measured(
            "house",
            all.iter().map(|(pod, said)| (*pod, said.as_slice())),
            at(second),
        )
    }

    #[test]
    fn the_ten_worst_of_ten_thousand_are_named_and_all_are_counted() {
        let all: Vec<_> = (0..10_000_u64)
            .map(|number| (format!("app-{number}"), said("house", number)))
            .collect();
        let other = said("another", u64::MAX);
        let said = all.iter().map(|(pod, said)| (pod.as_str(), said.as_slice()));
        let status = measured("house", said.chain([("web", other.as_slice())]), at(200)).unwrap();
        assert_eq!((status.pods, status.worst.len()), (10_000, MOST));
        let worst = &status.worst[0];
        assert_eq!(
            (worst.pod.as_str(), worst.repeats, worst.stops, worst.since.0),
            ("app-9999", 9999, true, at(100))
        );
        assert_eq!(status.worst[9].pod, "app-9990");
        assert_eq!(of(&[], 200), None);
    }

    #[test]
    fn what_no_clock_and_no_counter_of_ours_says_is_bounded() {
        let mut odd = said("house", u64::MAX);
        for since in [u64::MAX, 300] {
            odd[0].since = since;
            let status = measured("house", [("app", odd.as_slice())].into_iter(), at(200)).unwrap();
            assert_eq!(
                (status.worst[0].repeats, status.worst[0].since.0),
                (MOST_REPEATS, at(200))
            );
        }
    }

    #[test]
    fn a_beginning_more_pods_many_more_repeats_and_the_end_are_written_at_once_and_counts_every_two_minutes() {
        let one = of(&[("a", 1)], 100);
        assert_eq!(told(None, one.clone(), at(100)), (one.clone(), None), "it begins");
        let same = told(one.as_ref(), of(&[("a", 1)], 500), at(500));
        assert_eq!(same, (one.clone(), None), "nothing has changed");
        let soon = told(one.as_ref(), of(&[("a", 9)], 130), at(130));
        assert_eq!(soon, (one.clone(), Some(Duration::from_secs(90))), "only counts");
        let due = of(&[("a", 9)], 220);
        assert_eq!(told(one.as_ref(), due.clone(), at(220)), (due, None));
        let many = of(&[("a", 50)], 101);
        assert_eq!(
            told(one.as_ref(), many.clone(), at(101)),
            (many, None),
            "a loop at full speed"
        );
        let more = of(&[("a", 50), ("b", 1)], 130);
        assert_eq!(told(one.as_ref(), more.clone(), at(130)), (more.clone(), None));
        let fewer = told(more.as_ref(), of(&[("a", 60)], 140), at(140));
        assert_eq!(fewer, (more, Some(Duration::from_secs(110))), "fewer, but not over");
        assert_eq!(told(one.as_ref(), None, at(101)), (None, None), "it is over");
        assert_eq!(told(None, None, at(1)), (None, None));
        let mut passes = of(&[("a", 1)], 110).unwrap();
        passes.worst[0].stops = false;
        assert_eq!(
            told(one.as_ref(), Some(passes.clone()), at(110)).0,
            Some(passes),
            "stopped no more"
        );
    }

    #[test]
    fn ten_thousand_pods_that_begin_within_a_minute_and_go_on_are_a_handful_of_writes_and_fewer_events() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let (mut written, mut writes, mut told_of): (Option<RunawayStatus>, _, _) = (None, 0, 0);
        let mut pods: Vec<_> = (0..10_000_u64)
            .map(|pod| (format!("app-{pod}"), said("house", 1)))
            .collect();
        // Ten minutes of looks, one in five seconds.
        for second in (0..600_u64).step_by(5) {
            for (pod, (_, said)) in (0..).zip(&mut pods) {
                said[0].repeats = 1 + second * (pod % 97);
            }
            let begun = usize::try_from((second + 5) * 10_000 / 60).unwrap();
            let now = at(1000 + i64::try_from(second).unwrap());
            let all = pods.iter().take(begun);
            let all = all.map(|(pod, said)| (pod.as_str(), said.as_slice()));
            let status = measured("house", all, now);
            let (status, _) = told(written.as_ref(), status, now);
            if status == written {
                continue;
            }
            let news_of = if written.is_some() { News::Counts } else { News::Verdict };
            if pace.ask(&"house", news_of, start + Duration::from_secs(second)) == Turn::Now {
                writes += 1;
                told_of += u32::from(news(written.as_ref(), status.as_ref()).is_some());
                written = status;
            }
        }
        assert_eq!(written.unwrap().pods, 10_000);
        assert!((3..=12).contains(&writes), "{writes} writes");
        assert!((2..=7).contains(&told_of), "{told_of} Events");
    }

    #[test]
    fn an_event_tells_that_it_begins_and_that_more_do_and_nothing_else() {
        let one = of(&[("app-7", 1)], 100);
        let begins = news(None, one.as_ref()).unwrap();
        assert_eq!(
            begins,
            "pod app-7 sends the same request, or makes the same step, again and again: 1 beyond spec.runaway so far, refused"
        );
        assert_eq!(news(one.as_ref(), of(&[("app-7", 900)], 300).as_ref()), None);
        let more = of(&[("app-7", 900), ("app-8", 3)], 300);
        let told = news(one.as_ref(), more.as_ref()).unwrap();
        assert!(told.starts_with("pod app-8 ") && told.contains(": 3 beyond"), "{told}");
        assert!(told.ends_with("refused (2 pods do so)"), "{told}");
        assert_eq!(news(more.as_ref(), one.as_ref()), None, "fewer");
        assert_eq!(news(one.as_ref(), None), None, "the end");
    }
}
