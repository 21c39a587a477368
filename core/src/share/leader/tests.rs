use proptest::prelude::*;

use super::super::holder::{Holder, Standing};
use super::super::{Ask, Grant};
use super::*;

const WHOLE: u64 = 1_000;
/// The limit that comes and goes.
const LIMIT: u8 = 0;
/// One that is there all the time.
const OTHER: u8 = 1;

fn at(millis: u64) -> Moment {
    Moment::from_start(Duration::from_millis(millis))
}

fn first_ask(want: u64) -> Ask {
    Holder::new(WHOLE, at(0)).asks(want, 0, at(0))
}

/// What a sidecar is lent that holds nothing and wants 100.
fn lent(leader: &mut Leader<u8, u8>, limit: u8, millis: u64) -> u64 {
    let granted = leader
        .of(&limit, WHOLE, at(millis))
        .hear(&7, &first_ask(100), at(millis));
    granted.map_or(0, |grant| grant.share)
}

fn leader() -> Leader<u8, u8> {
    Leader::new([(OTHER, WHOLE)], 2, at(0))
}

#[test]
fn a_limit_that_a_new_leader_is_the_first_to_tell_of_is_lent_at_once_and_no_other() {
    let mut leader = leader();
    leader.wrote("team", Some([OTHER]), [(OTHER, WHOLE), (LIMIT, WHOLE)], at(1_000));
    assert_eq!(lent(&mut leader, LIMIT, 1_001), 125);
    assert_eq!(lent(&mut leader, OTHER, 1_001), 0, "it was there before");
    assert_eq!(lent(&mut leader, OTHER, 60_000), 0);
    assert_eq!(lent(&mut leader, OTHER, 60_600), 125, "a lease after it began");
}

#[test]
fn what_was_asked_before_the_write_was_answered_is_lent_then() {
    let mut leader = leader();
    assert_eq!(lent(&mut leader, LIMIT, 999), 0);
    leader.wrote("team", Some([OTHER]), [(OTHER, WHOLE), (LIMIT, WHOLE)], at(1_000));
    assert_eq!(lent(&mut leader, LIMIT, 1_001), 125);
}

#[test]
fn in_doubt_a_limit_is_not_new_and_the_doubt_is_over_with_the_lease() {
    let told = [(LIMIT, WHOLE)];
    let nothing: [u8; 0] = [];
    // Whoever holds something of a config before the last may use it still.
    let mut unsettled = leader();
    unsettled.wrote("team", None::<[u8; 0]>, told, at(1_000));
    // The config that it replaces has it, and this leader learned late of it.
    let mut late = leader();
    late.wrote("team", Some([LIMIT]), told, at(1_000));
    // It goes and comes again.
    let mut again = leader();
    again.wrote("team", Some([LIMIT]), [], at(500));
    again.wrote("team", Some(nothing), told, at(1_000));
    // It was there when this leader began.
    let mut found = Leader::new([(LIMIT, WHOLE)], 2, at(0));
    found.wrote("team", Some(nothing), told, at(1_000));
    for leader in [&mut unsettled, &mut late, &mut again, &mut found] {
        assert_eq!(lent(leader, LIMIT, 60_000), 0);
        assert_eq!(lent(leader, LIMIT, 60_600), 125);
    }
    // First asked for when all that was lent before is over.
    assert_eq!(lent(&mut leader(), LIMIT, 60_600), 125);
}

#[test]
fn what_is_known_of_a_limit_holds_for_the_count_of_each_group() {
    const GROUP: u8 = 10;
    let of_group = |leader: &mut Leader<u8, u8>, limit: u8, millis| {
        let granted =
            leader
                .of_group(&limit, &GROUP, (WHOLE, 1), at(millis))
                .unwrap()
                .hear(&7, &first_ask(100), at(millis));
        granted.map_or(0, |grant| grant.share)
    };
    let mut inherited = leader();
    assert_eq!(of_group(&mut inherited, OTHER, 1_000), 0);
    assert_eq!(of_group(&mut inherited, OTHER, 60_600), 125);
    let mut new = leader();
    assert_eq!(of_group(&mut new, LIMIT, 999), 0, "the write is not answered yet");
    new.wrote("team", Some([OTHER]), [(OTHER, WHOLE), (LIMIT, WHOLE)], at(1_000));
    assert_eq!(of_group(&mut new, LIMIT, 1_001), 125);
}

#[test]
fn a_count_that_nobody_has_to_do_with_is_forgotten_once_nothing_of_before_is_out() {
    let mut leader = leader();
    leader.of_group(&OTHER, &10, (WHOLE, 1), at(0));
    let counts = |leader: &mut Leader<u8, u8>, millis| {
        leader.tick(|_| true, at(millis));
        leader.each().map(|(limit, _)| *limit).collect::<Vec<_>>()
    };
    assert_eq!(counts(&mut leader, 60_000), [OTHER, 10]);
    assert_eq!(counts(&mut leader, 60_600), [OTHER]);
}

#[test]
fn a_limit_has_no_more_groups_than_it_may() {
    let mut leader = leader();
    let mut is_lent = |group: u8| leader.of_group(&OTHER, &group, (WHOLE, 2), at(0)).is_some();
    assert_eq!(
        [10, 11, 12, 10, OTHER].map(&mut is_lent),
        [true, true, false, true, true]
    );
}

#[test]
fn what_all_had_together_is_over_before_groups_have_it_and_the_other_way_round() {
    const GROUP: u8 = 10;
    let want = |allocator: &mut Allocator<u8>, pod: u8, millis| {
        allocator.expect(8);
        let granted = allocator.hear(&pod, &first_ask(100), at(millis));
        granted.map_or(0, |grant| grant.share)
    };
    let mut leader = Leader::new([], 2, at(0));
    assert_eq!(want(leader.of(&LIMIT, WHOLE, at(100_000)), 1, 100_000), 125);
    // From here on each group has it.
    let mut of_group = |millis, pod| {
        let allocator = leader.of_group(&LIMIT, &GROUP, (WHOLE, 9), at(millis)).unwrap();
        want(allocator, pod, millis)
    };
    assert_eq!(of_group(101_000, 2), 0, "what was lent may still be held");
    assert_eq!(of_group(161_700, 3), 125);
    assert_eq!(
        want(leader.of(&LIMIT, WHOLE, at(162_000)), 4, 162_000),
        0,
        "and all together again"
    );
    assert_eq!(want(leader.of(&LIMIT, WHOLE, at(222_600)), 5, 222_600), 125);
}

#[test]
fn floors_are_for_all_that_may_come_until_a_lease_after_the_first_asked() {
    let mut leader = Leader::<u8, u8>::new([], 2, at(0));
    let allocator = leader.of_group(&LIMIT, &10, (WHOLE, 9), at(3_600_000)).unwrap();
    assert!(!allocator.has_heard_all(at(3_600_000)), "nobody has asked");
    allocator.hear(&1, &first_ask(100), at(3_600_000));
    assert!(!allocator.has_heard_all(at(3_660_000)));
    assert!(allocator.has_heard_all(at(3_660_600)));
}

#[test]
fn a_pod_that_is_gone_keeps_nothing_once_its_share_is_over() {
    let mut leader = Leader::new([], 2, at(0));
    let ask = first_ask(900);
    assert!(
        leader
            .of(&LIMIT, WHOLE, at(100_000))
            .hear(&1, &ask, at(100_000))
            .is_some()
    );
    leader.keep_only(|pod| *pod != 1);
    leader.tick(|_| true, at(161_000));
    assert_eq!(leader.of(&LIMIT, WHOLE, at(161_000)).totals().lent, 0);
}

#[test]
fn a_limit_that_comes_again_knows_who_holds_of_it_and_not_for_ever() {
    let mut leader = leader();
    let millis = 100_000;
    let mut holder = Holder::new(WHOLE, at(millis));
    let ask = holder.asks(900, 0, at(millis));
    let grant = leader.of(&LIMIT, WHOLE, at(millis)).hear(&1, &ask, at(millis)).unwrap();
    assert!(holder.take(&grant, at(millis)));
    let share = holder.entitled(at(millis)).0;
    assert!(share > 900);
    leader.tick(|limit| *limit == OTHER, at(millis + 1_000));
    assert_eq!(leader.each().count(), 1, "it is not counted any more");
    assert!(lent(&mut leader, LIMIT, millis + 2_000) <= WHOLE - share);
    leader.tick(|limit| *limit == OTHER, at(millis + 3_000));
    let hour = 3_600_000;
    leader.tick(|limit| *limit == OTHER, at(millis + hour));
    assert_eq!(
        lent(&mut leader, LIMIT, millis + hour),
        0,
        "the silent one has its floor"
    );
    leader.tick(|limit| *limit == OTHER, at(millis + hour + 3_000));
    leader.tick(|limit| *limit == OTHER, at(millis + 2 * hour + 3_000));
    assert_eq!(lent(&mut leader, LIMIT, millis + 2 * hour + 3_001), 125, "forgotten");
}

#[test]
fn who_comes_back_to_a_limit_that_was_forgotten_has_no_more_than_others_leave() {
    let (mut leader, began) = (leader(), 100_000);
    let granted = |leader: &mut Leader<u8, u8>, pod: u8, holder: &mut Holder, want: u64, millis: u64| {
        let ask = holder.asks(want, 0, at(millis));
        let allocator = leader.of(&LIMIT, WHOLE, at(millis));
        allocator.expect(5);
        let grant = allocator.hear(&pod, &ask, at(millis)).unwrap();
        assert!(holder.take(&grant, at(millis)));
        holder.entitled(at(millis)).0
    };
    let mut silent = Holder::new(WHOLE, at(began));
    granted(&mut leader, 1, &mut silent, 0, began);
    let hour = 3_600_000;
    for passed in [1_000, 1_000 + hour] {
        leader.tick(|limit| *limit == OTHER, at(began + passed));
    }
    let (mut other, again) = (Holder::new(WHOLE, at(began)), began + 2 * hour);
    let others = granted(&mut leader, 2, &mut other, 900, again);
    assert_eq!(silent.entitled(at(again)), (WHOLE / 5, Standing::Floor));
    let back = granted(&mut leader, 1, &mut silent, 900, again + 1);
    assert!(back + others <= WHOLE, "{back} and {others}");
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The limit is applied, or taken away; or something else of the config is changed. The answer to the write may be lost.
    Write {
        exists: bool,
        is_lost: bool,
    },
    /// A sidecar takes the newest config.
    Hears {
        pod: u8,
    },
    /// A sidecar asks, if its config has the limit; the ask or the answer is lost, or neither.
    Ask {
        pod: u8,
        want: u16,
        lost: u8,
    },
    /// Another leads, whose clock is off by so much; it may not know yet which limits there are.
    AnotherLeads {
        ahead: u32,
        is_late: bool,
    },
    Pass {
        millis: u32,
    },
    Restarts {
        pod: u8,
    },
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (any::<bool>(), 0_u8..4).prop_map(|(exists, lost)| Event::Write { exists, is_lost: lost == 0 }),
        4 => (0_u8..5).prop_map(|pod| Event::Hears { pod }),
        8 => (0_u8..5, 0_u16..1_500, 0_u8..5).prop_map(|(pod, want, lost)| Event::Ask { pod, want, lost }),
        1 => (0_u32..59_000, any::<bool>()).prop_map(|(ahead, is_late)| Event::AnotherLeads { ahead, is_late }),
        3 => (1_u32..20_000).prop_map(|millis| Event::Pass { millis }),
        1 => (60_000_u32..200_000).prop_map(|millis| Event::Pass { millis }),
        1 => (0_u8..5).prop_map(|pod| Event::Restarts { pod }),
    ]
}

/// A sidecar: what it holds, where the config that it has in service has the limit.
#[derive(Default)]
struct Pod {
    /// The config that was the newest when it was granted something last.
    granted: usize,
    holder: Option<Holder>,
}

impl Pod {
    fn take(&mut self, grant: &Grant, newest: usize, now: Moment) {
        if self.holder.as_mut().is_some_and(|holder| holder.take(grant, now)) {
            self.granted = newest;
        }
    }
}

/// A config as it was written: whether it has the limit, and when, by the clock of who wrote it.
#[derive(Clone, Copy)]
struct Config {
    has_it: bool,
    written: u64,
}

struct World {
    millis: u64,
    epoch: u64,
    ahead: u64,
    leader: Leader<u8, u8>,
    configs: Vec<Config>,
    pods: BTreeMap<u8, Pod>,
}

impl World {
    fn new() -> Self {
        Self {
            millis: 0,
            epoch: 1,
            ahead: 0,
            leader: Leader::new([], 1, at(0)),
            configs: vec![Config {
                has_it: false,
                written: 0,
            }],
            pods: (0..5).map(|pod| (pod, Pod::default())).collect(),
        }
    }

    fn newest(&self) -> Config {
        *self.configs.last().unwrap()
    }

    /// The config from which on the limit has been there without a break.
    fn since(&self) -> usize {
        let gone = self.configs.iter().rposition(|config| !config.has_it);
        gone.map_or(0, |gone| gone + 1)
    }

    fn happens(&mut self, event: Event) {
        let now = at(self.millis);
        match event {
            Event::Write { exists, is_lost } => {
                let before = self.newest();
                let clock = self.millis + self.ahead;
                let is_settled = clock.saturating_sub(before.written) >= SETTLED.as_secs() * 1_000;
                self.configs.push(Config {
                    has_it: exists,
                    written: clock,
                });
                if !is_lost {
                    let limits = |has_it: bool| has_it.then_some(LIMIT);
                    let replaced = is_settled.then(|| limits(before.has_it));
                    let written = limits(exists).map(|limit| (limit, WHOLE));
                    self.leader.wrote("team", replaced, written, now);
                }
            }
            Event::Hears { pod } => {
                let has_it = self.newest().has_it;
                let pod = self.pods.get_mut(&pod).unwrap();
                let holder = pod.holder.take();
                pod.holder = has_it.then(|| holder.unwrap_or_else(|| Holder::new(WHOLE, now)));
            }
            Event::Ask { pod, want, lost } => {
                let (exists, newest) = (self.newest().has_it, self.configs.len() - 1);
                let Some(holder) = &mut self.pods.get_mut(&pod).unwrap().holder else {
                    return;
                };
                let ask = holder.asks(want.into(), 0, now);
                if lost == 1 || !exists {
                    return;
                }
                let allocator = self.leader.of(&LIMIT, WHOLE, now);
                allocator.expect(5);
                let answer = allocator.hear(&pod, &ask, now).filter(|_| lost != 2);
                let pushed = allocator.push(now);
                for (pod, grant) in answer.map(|grant| (pod, grant)).into_iter().chain(pushed) {
                    self.pods.get_mut(&pod).unwrap().take(&grant, newest, now);
                }
            }
            Event::AnotherLeads { ahead, is_late } => {
                self.epoch += 1;
                self.ahead = ahead.into();
                let found = (self.newest().has_it && !is_late).then_some((LIMIT, WHOLE));
                self.leader = Leader::new(found, self.epoch, now);
            }
            Event::Pass { millis } => {
                // It looks every second.
                for _ in 0..(millis / 1_000).min(70) {
                    self.millis += 1_000;
                    let exists = self.newest().has_it;
                    self.leader.tick(|_| exists, at(self.millis));
                }
                self.millis += u64::from(millis).saturating_sub(u64::from((millis / 1_000).min(70)) * 1_000);
            }
            Event::Restarts { pod } => {
                let pod = self.pods.get_mut(&pod).unwrap();
                pod.holder = pod.holder.take().map(|_| Holder::new(WHOLE, now));
            }
        }
    }

    /// What may be used together. What those use without a share is named in the bound, whom this leader has granted nothing yet since the
    /// limit is there.
    fn used(&self) -> u64 {
        let since = self.since();
        let used = self.pods.values().filter_map(|pod| {
            let holder = pod.holder.as_ref()?;
            let (amount, standing) = holder.entitled(at(self.millis));
            let is_without = matches!(standing, Standing::Lapsed | Standing::Floor);
            let is_unheard = holder.epoch() != self.epoch || pod.granted < since;
            Some(if is_without && is_unheard { 0 } else { amount })
        });
        used.sum()
    }
}

proptest! {
    #[test]
    fn limits_that_come_and_go_are_never_lent_twice(events in prop::collection::vec(events(), 1..200)) {
        let mut world = World::new();
        for event in events {
            world.happens(event);
            let used = world.used();
            prop_assert!(used <= WHOLE, "{used} of {WHOLE} at {} ms", world.millis);
        }
    }
}
