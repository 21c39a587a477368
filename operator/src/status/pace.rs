//! When a status that has changed may be written. Pure: time is passed in.
//!
//! Each object has a pause after a write, and all objects share a budget, so neither circuits that flap nor ten thousand pods
//! that restart make a storm. Whoever has to wait is told how long, looks again then, and writes what is true by then: what
//! lay between is never written, and the last state always is.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// After a write, a changed count waits this long.
pub const COUNTS: Duration = Duration::from_secs(5);
/// And a changed verdict, which somebody may be waiting for, this long.
pub const VERDICT: Duration = Duration::from_secs(1);
/// Either pause doubles with each write that comes without a rest, up to this: what flaps is told twice a minute.
pub const LONGEST: Duration = Duration::from_secs(30);
/// Writes a second, over all objects, for as long as it takes.
pub const RATE: u32 = 20;
/// Writes at once, over all objects, after a rest.
pub const BURST: u32 = 50;

/// From one write for the sake of what moves all the time, such as money and counts, to the next, of one object.
pub const APART: Duration = Duration::from_mins(2);

/// What does not wait for that: so many points of a percentage that are used up since they were told last. From whole to spent there
/// are ten of them, so that what only moves on is never written often.
pub const LEAP: u64 = 10;
/// And a count without an end that has doubled, by so many at least: a billion is thirty of them.
const MORE: u64 = 10;

/// How long what was told at `last` stays as it is; none: what has moved since may be told.
pub fn stays(last: Timestamp, now: Timestamp) -> Option<Duration> {
    let age = now.duration_since(last).try_into().unwrap_or(APART);
    APART.checked_sub(age).filter(|wait| !wait.is_zero())
}

/// Whether so much more is used up than was `told` that somebody wants to know now: a tenth of all, or the last of it. In percent; what
/// is used beyond all of it is no leap.
pub fn is_leap(told: u64, now: u64) -> bool {
    let (told, now) = (told.min(100), now.min(100));
    now >= told + LEAP || told < 100 && now == 100
}

/// Whether so many more are counted than were `told`.
pub fn is_many_more(told: u64, now: u64) -> bool {
    now >= told.saturating_mul(2).max(told.saturating_add(MORE))
}

/// What has changed in a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A condition is true that was false, or the other way round; or it speaks of another generation.
    Verdict,
    /// Only numbers, names or words.
    Counts,
}

/// Whether a status may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Now; it counts as written.
    Now,
    /// Not before this has passed.
    After(Duration),
}

/// What is known of one object's writes.
#[derive(Clone, Copy, Debug)]
struct Line {
    written: Instant,
    /// How many writes in a row came without a rest of twice the pause of counts in between.
    waits: u32,
    /// When its turn in the budget comes, where it was told to wait for that.
    turn: Option<Instant>,
}

/// The pace of all objects. `K` names an object.
#[derive(Debug)]
pub struct Pace<K> {
    lines: HashMap<K, Line>,
    /// Turns that wait and belong to objects that were never written.
    first: HashMap<K, Instant>,
    /// When the budget is whole again.
    whole: Option<Instant>,
    swept: Option<Instant>,
}

impl<K> Default for Pace<K> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            first: HashMap::new(),
            whole: None,
            swept: None,
        }
    }
}

impl<K: std::hash::Hash + Eq + Clone> Pace<K> {
    /// Whether `object`, whose status differs from what is written, may be written at `now`.
    pub fn ask(&mut self, object: &K, news: News, now: Instant) -> Turn {
        self.sweep(now);
        let line = self.lines.get(object).copied();
        if let Some(line) = line {
            let open = line.written + pause(news, line.waits);
            if now < open {
                return Turn::After(open - now);
            }
        }
        let turn = line
            .and_then(|line| line.turn)
            .or_else(|| self.first.get(object).copied());
        let turn = turn.unwrap_or_else(|| self.next_turn(now));
        if now < turn {
            match self.lines.get_mut(object) {
                Some(line) => line.turn = Some(turn),
                None => drop(self.first.insert(object.clone(), turn)),
            }
            return Turn::After(turn - now);
        }
        self.first.remove(object);
        let waits = match line {
            // Without a rest since the one before.
            Some(line) if now < line.written + 2 * pause(News::Counts, line.waits) => line.waits.saturating_add(1),
            _ => 0,
        };
        let line = Line {
            written: now,
            waits,
            turn: None,
        };
        self.lines.insert(object.clone(), line);
        Turn::Now
    }

    /// Takes the next turn of the budget.
    fn next_turn(&mut self, now: Instant) -> Instant {
        let each = Duration::from_secs(1) / RATE;
        let whole = self.whole.map_or(now, |whole| whole.max(now));
        self.whole = Some(whole + each);
        // Up to BURST turns may be taken before their time.
        (whole + each)
            .checked_sub(each * BURST)
            .map_or(now, |turn| turn.max(now))
    }

    /// Forgets what no longer holds anybody up, so that objects that are gone are not kept.
    fn sweep(&mut self, now: Instant) {
        let swept = *self.swept.get_or_insert(now);
        if now < swept + 2 * LONGEST {
            return;
        }
        self.swept = Some(now);
        self.lines
            .retain(|_, line| now < line.written + 2 * LONGEST || line.turn.is_some_and(|turn| now < turn + LONGEST));
        self.first.retain(|_, turn| now < *turn + LONGEST);
    }
}

fn pause(news: News, waits: u32) -> Duration {
    let first = match news {
        News::Verdict => VERDICT,
        News::Counts => COUNTS,
    };
    first.saturating_mul(1 << waits.min(5)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_change_is_written_at_once_and_counts_wait_longer_than_verdicts() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.ask(&"a", News::Counts, start), Turn::Now);
        assert_eq!(pace.ask(&"a", News::Counts, start + 400 * MS), Turn::After(4600 * MS));
        assert_eq!(pace.ask(&"a", News::Verdict, start + 400 * MS), Turn::After(600 * MS));
        assert_eq!(pace.ask(&"a", News::Verdict, start + 1000 * MS), Turn::Now);
        assert_eq!(
            pace.ask(&"b", News::Counts, start + 400 * MS),
            Turn::Now,
            "another object"
        );
    }

    #[test]
    fn what_flaps_is_written_ever_more_rarely_and_after_a_rest_at_once() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut writes = 0;
        for at in 0..600_000 / 100 {
            if pace.ask(&"a", News::Verdict, start + at * 100 * MS) == Turn::Now {
                writes += 1;
            }
        }
        assert!(
            (20..=26).contains(&writes),
            "{writes} writes in ten minutes of flapping"
        );
        assert_eq!(pace.ask(&"a", News::Counts, start + Duration::from_mins(12)), Turn::Now);
        assert_eq!(
            pace.ask(&"a", News::Verdict, start + Duration::from_mins(12) + VERDICT),
            Turn::Now
        );
    }

    #[test]
    fn a_change_of_everything_takes_the_budget_and_no_more() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        // Each object asks, waits as it is told, and asks again.
        let mut waiting: Vec<(u32, Instant)> = (0..1000).map(|object| (object, start)).collect();
        let mut writes = Vec::new();
        while let Some(at) = (0..waiting.len()).min_by_key(|at| waiting[*at].1) {
            let (object, now) = waiting.swap_remove(at);
            match pace.ask(&object, News::Counts, now) {
                Turn::Now => writes.push(now - start),
                Turn::After(wait) => waiting.push((object, now + wait)),
            }
        }
        assert_eq!(writes.len(), 1000);
        let within = |seconds: u64| writes.iter().filter(|at| **at < Duration::from_secs(seconds)).count();
        assert!((50..=51).contains(&writes.iter().filter(|at| at.is_zero()).count()));
        assert!(within(10) <= 251, "{}", within(10));
        assert!(writes.iter().max().unwrap() <= &Duration::from_secs(48));
    }

    #[test]
    fn a_tenth_that_is_used_up_and_a_count_that_has_doubled_do_not_wait_and_are_few_whatever_comes() {
        for (told, now, wanted) in [
            (0, 9, false),
            (0, 10, true),
            (92, 99, false),
            (99, 100, true),
            (100, 100, false),
            (100, 5_000, false),
            (50, 20, false),
        ] {
            assert_eq!(is_leap(told, now), wanted, "{told} {now}");
        }
        for (told, now, wanted) in [
            (1, 10, false),
            (1, 11, true),
            (3, 28, true),
            (100, 199, false),
            (100, 200, true),
        ] {
            assert_eq!(is_many_more(told, now), wanted, "{told} {now}");
        }
        // What only rises, step by step.
        let tellings = |most: u64, is_news: fn(u64, u64) -> bool| {
            let (mut told, mut tellings) = (0, 0);
            for now in 0..most {
                if is_news(told, now) {
                    (told, tellings) = (now, tellings + 1);
                }
            }
            tellings
        };
        assert_eq!(tellings(100_000, is_leap), 10);
        assert_eq!(tellings(100_000, is_many_more), 14);
    }

    /// Whatever happens and whenever: the last state is written, within the longest pause; and writes are bounded.
    #[test]
    fn whatever_the_sequence_of_changes_the_last_is_written_and_writes_are_bounded() {
        for seed in 0..500 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut pace, start) = (Pace::default(), Instant::now());
            let objects = random.usize(1..=30);
            let mut state = vec![0_u32; objects];
            let mut written = vec![0_u32; objects];
            let mut look: Vec<Option<Instant>> = vec![None; objects];
            let mut writes: Vec<(usize, Instant)> = Vec::new();
            let mut now = start;
            let last_change = start + Duration::from_secs(random.u64(1..120));
            while now < last_change + 2 * LONGEST {
                now += MS * random.u32(1..500);
                for object in 0..objects {
                    let changes = now < last_change && random.u8(..) < 80;
                    if changes {
                        state[object] += 1;
                    }
                    let due = look[object].is_some_and(|at| now >= at);
                    if (changes || due) && state[object] != written[object] {
                        let news = if random.bool() { News::Verdict } else { News::Counts };
                        match pace.ask(&object, news, now) {
                            Turn::Now => {
                                written[object] = state[object];
                                look[object] = None;
                                writes.push((object, now));
                            }
                            Turn::After(wait) => {
                                assert!(wait <= LONGEST + Duration::from_secs(2), "seed {seed}: {wait:?}");
                                look[object] = Some(now + wait);
                            }
                        }
                    }
                }
            }
            assert_eq!(state, written, "seed {seed}: the last state is written");
            for (at, (object, when)) in writes.iter().enumerate() {
                let minute = writes[at..]
                    .iter()
                    .take_while(|(_, later)| *later - *when < Duration::from_mins(1));
                let all = minute.clone().count();
                let own = minute.filter(|(other, _)| other == object).count();
                assert!(all <= (RATE * 60 + BURST) as usize, "seed {seed}: {all} in a minute");
                assert!(own <= 8, "seed {seed}: {own} of one object in a minute");
            }
        }
    }
}
