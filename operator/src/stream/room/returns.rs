//! Ten thousand sidecars whose operators all went come back to the first that is up: in virtual time, with the rules of this
//! module and of the sidecar's pace, and with those of a kernel's backlog in their place. The seed is printed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::{AT_THE_DOOR, room};

const SIDECARS: usize = 10_000;
/// All operators leave at once, and tell theirs to go within this, seconds.
const LEAVE_WITHIN: f64 = 8.0;
/// When the first of the new ones accepts, seconds.
const UP: f64 = 12.0;
/// Waits as `sidecar/src/config/stream/pace.rs` has them, seconds: the least, the longest first one, the longest.
const PACE: (f64, f64, f64) = (0.5, 5.0, 15.0);
/// When a kernel that gets no answer to a SYN asks again, and when the sidecar gives up, seconds after it began.
const SYN_AGAIN: [f64; 3] = [1.0, 3.0, 7.0];
const CONNECT: f64 = 10.0;
/// Connections that a kernel keeps for a program that does not accept them yet.
const BACKLOG: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// What does not fit at the door is left to the kernel.
    Backlog,
    /// What does not fit at the door waits in the room.
    Room,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A sidecar comes, or its kernel asks for the so-manyth time.
    Comes { sidecar: usize, again: usize },
    /// Whoever is first in the order is let in.
    LetIn,
}

/// What became of them.
struct Returned {
    /// When half of them were back, seconds after the operator was up.
    half: f64,
    /// When all were.
    last: f64,
    /// Seconds in which the operator had nobody to let in, before the last was.
    idle: f64,
}

impl std::fmt::Display for Returned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { half, last, idle } = self;
        write!(f, "half after {half:.1} s, all after {last:.1} s, idle for {idle:.1} s")
    }
}

struct World {
    rule: Rule,
    chance: fastrand::Rng,
    events: BinaryHeap<Reverse<(Duration, Event)>>,
    failed: Vec<u32>,
    order: VecDeque<usize>,
    let_in: Vec<f64>,
}

impl World {
    fn at(&mut self, seconds: f64, event: Event) {
        self.events.push(Reverse((Duration::from_secs_f64(seconds), event)));
    }

    /// The sidecar comes again after a wait of its own.
    fn waits(&mut self, now: f64, sidecar: usize) {
        let (least, first, most) = PACE;
        let longest = (first * f64::from(1 << self.failed[sidecar].min(10))).min(most);
        self.failed[sidecar] += 1;
        let wait = least + (longest - least) * self.chance.f64();
        self.at(now + wait, Event::Comes { sidecar, again: 0 });
    }

    fn comes(&mut self, now: f64, sidecar: usize, again: usize) {
        if now < UP {
            return self.waits(now, sidecar);
        }
        let free = SIDECARS - self.let_in.len();
        let most = match self.rule {
            Rule::Backlog => BACKLOG,
            Rule::Room => room(free),
        };
        if self.order.len() < AT_THE_DOOR + most {
            self.order.push_back(sidecar);
        } else if self.rule == Rule::Room {
            self.waits(now, sidecar);
        } else {
            let begun = now - again.checked_sub(1).map_or(0.0, |before| SYN_AGAIN[before]);
            match SYN_AGAIN.get(again) {
                Some(after) => self.at(
                    begun + after,
                    Event::Comes {
                        sidecar,
                        again: again + 1,
                    },
                ),
                None => self.waits(begun + CONNECT, sidecar),
            }
        }
    }
}

/// How they come back where `rate` a second are let in.
fn returned(rule: Rule, rate: f64, seed: u64) -> Returned {
    let mut world = World {
        rule,
        chance: fastrand::Rng::with_seed(seed),
        events: BinaryHeap::new(),
        failed: vec![0; SIDECARS],
        order: VecDeque::new(),
        let_in: Vec::new(),
    };
    for sidecar in 0..SIDECARS {
        let leaves = LEAVE_WITHIN * world.chance.f64();
        world.at(leaves, Event::Comes { sidecar, again: 0 });
    }
    world.at(UP, Event::LetIn);
    let mut idle = 0.0;
    while world.let_in.len() < SIDECARS {
        let Reverse((now, event)) = world.events.pop().unwrap();
        let now = now.as_secs_f64();
        match event {
            Event::Comes { sidecar, again } => world.comes(now, sidecar, again),
            Event::LetIn => {
                match world.order.pop_front() {
                    Some(_) => world.let_in.push(now - UP),
                    None => idle += 1.0 / rate,
                }
                world.at(now + 1.0 / rate, Event::LetIn);
            }
        }
    }
    Returned {
        half: world.let_in[SIDECARS / 2],
        last: world.let_in[SIDECARS - 1],
        idle,
    }
}

#[test]
fn ten_thousand_that_come_back_at_once_are_let_in_as_fast_as_the_operator_can() {
    let seed = std::env::var("SEED").map_or(4, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    for rate in [150.0, 350.0, 700.0] {
        let (before, now) = (returned(Rule::Backlog, rate, seed), returned(Rule::Room, rate, seed));
        println!("{rate} a second: with a backlog {before}; with a room {now}");
        let least = SIDECARS as f64 / rate;
        // The last of them comes up to a wait after the operator is up, whatever its rate.
        assert!(
            now.last <= (1.05 * least).max(PACE.2) + 3.0,
            "{rate} a second: {now}, of {least:.1} s of work"
        );
        assert!(now.last <= before.last);
    }
}
