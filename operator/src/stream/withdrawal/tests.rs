use kube::runtime::watcher::Error;

use super::*;

const AFTER: Duration = Duration::from_secs(75);

fn failed() -> watcher::Result<Event<()>> {
    Err(Error::NoResourceVersion)
}

fn follower(name: &str) -> Who {
    Who::Follower(name.into())
}

#[test]
fn who_is_worse_off_for_long_enough_sends_its_streams_away_until_it_is_not() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let replica = Withdrawal::new(AFTER, start);
    let is_on = |second: u64| {
        replica.look(at(second));
        replica.is_on()
    };
    replica.note(&Ok(Event::<()>::InitDone), at(1));
    let says = |seconds: std::ops::Range<u64>| {
        for second in seconds.step_by(5) {
            replica.heard(Who::Leader, true, at(second));
        }
    };
    says(0..1000);
    assert!(!is_on(1000), "it works");
    replica.note(&failed(), at(1000));
    says(1000..1101);
    assert!(!is_on(1074));
    assert!(is_on(1075));
    replica.note(&Ok(Event::<()>::InitDone), at(1100));
    assert!(!is_on(1100), "it is mended");
    replica.note(&failed(), at(1200));
    assert!(!is_on(1300), "the leader has said nothing since");
    says(1300..1376);
    assert!(!is_on(1374) && is_on(1375), "both for long enough");
    replica.heard(Who::Leader, false, at(1376));
    assert!(!is_on(1376), "nobody would take them");
}

#[test]
fn a_leader_tells_each_of_the_others_and_goes_by_those_that_follow() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let replica = Withdrawal::new(Duration::ZERO, start);
    replica.heard(follower("a"), true, at(0));
    assert!(!replica.follower_takes("a", at(0)) && replica.follower_takes("b", at(0)));
    replica.look(at(0));
    assert!(replica.is_on(), "it has not listed, and a has");
    assert!(!replica.follower_takes("b", at(30)), "a word that is old");
    replica.look(at(30));
    assert!(!replica.is_on());
    // What the leader says of others is no word of one that follows.
    replica.heard(Who::Leader, true, at(30));
    assert!(!replica.follower_takes("b", at(30)));
}

/// Three replicas, the first leads; their watches fail and are mended, links break and come back, all by chance. Each second each looks.
#[test]
fn whatever_fails_nobody_is_sent_away_while_no_other_works_and_all_are_once_one_has_worked_for_long() {
    for seed in 0..60 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let start = Instant::now();
        let replicas: Vec<Withdrawal> = (0..3).map(|_| Withdrawal::new(AFTER, start)).collect();
        // Whether its watch fails, whether its link is up, and since when each has been as it is, seconds.
        let (mut fails, mut linked) = ([(false, 0); 3], [(true, 0); 3]);
        for second in 0..2_000_u64 {
            let now = start + Duration::from_secs(second);
            for which in 0..3 {
                if chance.u32(0..150) == 0 {
                    fails[which] = (!fails[which].0, second);
                }
                if which > 0 && chance.u32(0..400) == 0 {
                    linked[which] = (!linked[which].0, second);
                }
                // A watch that works tells something at once after it was mended; one that fails is tried each 60 s at the least.
                let since = second - fails[which].1;
                if fails[which].0 && since % 50 == 0 {
                    replicas[which].note(&failed(), now);
                } else if !fails[which].0 && since == 0 {
                    replicas[which].note(&Ok(Event::<()>::InitDone), now);
                }
            }
            if second % 5 == 0 {
                for which in (1..3).filter(|which| linked[*which].0) {
                    let uid = which.to_string();
                    replicas[0].heard(Who::Follower(uid.clone()), replicas[which].works(now), now);
                    let others = replicas[0].works(now) || replicas[0].follower_takes(&uid, now);
                    replicas[which].heard(Who::Leader, others, now);
                }
            }
            for (which, replica) in replicas.iter().enumerate() {
                replica.look(now);
                let case = || format!("seed {seed}, second {second}, replica {which}");
                // A word holds for 30 s, and by the leader for as long once more.
                let worked = |other: usize| !fails[other].0 || second - fails[other].1 < 30 + 30 + 10;
                let others = (0..3).filter(|other| *other != which);
                if replica.is_on() {
                    assert!(fails[which].0, "{}: it works", case());
                    assert!(second - fails[which].1 >= 75, "{}: it was soon mended", case());
                    assert!(others.clone().any(worked), "{}: no other works", case());
                }
                let is_steady = |it: (bool, u64), as_is: bool| it.0 == as_is && second - it.1 > 75 + 15;
                let hears = |other: usize| {
                    [which, other]
                        .iter()
                        .all(|end| is_steady(linked[*end], true) || *end == 0)
                };
                let is_long = is_steady(fails[which], true)
                    && others
                        .clone()
                        .any(|other| hears(other) && is_steady(fails[other], false));
                assert!(!is_long || replica.is_on(), "{}: another is better off", case());
            }
        }
    }
}

#[test]
fn who_is_almost_full_takes_nobody() {
    for (free, most, takes) in [
        (10_000, 10_000, true),
        (1_000, 10_000, true),
        (999, 10_000, false),
        (0, 10_000, false),
        (1, 1, true),
        (0, 1, false),
        (0, 0, false),
    ] {
        assert_eq!(has_room(free, most), takes, "{free} of {most}");
    }
}
