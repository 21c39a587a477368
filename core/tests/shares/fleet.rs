//! The world around the sidecars: time, the network, operators, and what goes wrong.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::limiter::{LimiterSettings, Which};
use bowsprit_core::share::allocator::Allocator;
use bowsprit_core::share::bound::{Facts, bound};
use bowsprit_core::share::{Ask, Grant, SKEW};
use fastrand::Rng;

use crate::pod::Pod;
use crate::skew::Skew;

/// A step of the world, seconds.
const STEP: f64 = 0.1;
/// From one look of a sidecar that has just asked to the next, steps.
const BUSY_STEPS: usize = 3;
/// How long a run is, and how long it takes to warm up.
const SECONDS: f64 = 480.0;
const WARM: f64 = 30.0;
/// When faults are over.
const CALM: f64 = 300.0;
/// The limit of each pod, on average, requests a minute.
const EACH: u64 = 60;

/// What goes wrong, between the 60th and the 300th second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// A third of the pods is cut off from the operators, each for 10 to 200 seconds.
    Partition,
    /// The leader dies and nobody leads for 20 to 150 seconds.
    Kill,
    /// Another leads, every 40 seconds, who knows nothing.
    Leaders,
    /// Clocks are off by half a percent, and some stand still for up to 20 seconds.
    Clocks,
    /// Pods go, without a word, and others come.
    Churn,
    /// All of it.
    All,
}

impl Fault {
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Partition,
        Self::Kill,
        Self::Leaders,
        Self::Clocks,
        Self::Churn,
        Self::All,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Partition => "partition",
            Self::Kill => "kill",
            Self::Leaders => "leaders",
            Self::Clocks => "clocks",
            Self::Churn => "churn",
            Self::All => "all",
        }
    }

    fn has(self, other: Self) -> bool {
        self == other || self == Self::All
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub pods: usize,
    pub skew: Skew,
    pub fault: Fault,
    /// The most that one request uses: 1 counts requests, more counts tokens.
    pub largest: u64,
}

impl Scenario {
    pub fn counts_tokens(&self) -> bool {
        self.largest > 1
    }
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// The most that any window admitted beyond the limit, less what the bound has for that window's length.
    pub beyond: u64,
    pub bound: u64,
    /// Of the limit, from the warm-up to the end.
    pub used: f64,
    /// Of the limit, in the last minute.
    pub back: f64,
}

impl Figures {
    pub fn with(self, other: Self) -> Self {
        Self {
            beyond: self.beyond.max(other.beyond),
            bound: self.bound.max(other.bound),
            used: self.used.min(other.used),
            back: self.back.min(other.back),
        }
    }
}

enum Message {
    Ask(usize, Ask),
    Grant(usize, Grant),
}

struct World {
    scenario: Scenario,
    rng: Rng,
    whole: u64,
    pods: Vec<Option<Pod>>,
    made: usize,
    second: f64,
    leader: Option<Allocator<usize>>,
    epoch: u64,
    next_leader: f64,
    /// By arrival, thousandths of a second; the position is in `sent`.
    arriving: BinaryHeap<Reverse<(u64, usize)>>,
    sent: Vec<Option<Message>>,
    stalled: f64,
    /// Pods that are gone and of whom the operators will hear so many seconds later.
    leaving: Vec<(f64, usize)>,
}

/// One run, from a cold start.
pub fn run(scenario: Scenario, seed: u64) -> Figures {
    let mut world = World::new(scenario, seed);
    let per_second = world.whole as f64 / 60.0;
    let (mut used, mut last) = (0_u64, 0_u64);
    // Admitted less what the limit lets through: the most that it has risen above its least is the worst of all windows.
    let (mut line, mut least, mut beyond) = (0.0_f64, 0.0_f64, 0.0_f64);
    while world.second < SECONDS {
        let (came, unheard) = world.step();
        if world.second > WARM {
            used += came;
        }
        if world.second > SECONDS - 60.0 {
            last += came;
        }
        least = least.min(line);
        line += came as f64 - (per_second * (1.0 + 1.0 / f64::from(SKEW)) + unheard as f64 / 60.0) * STEP;
        beyond = beyond.max(line - least);
    }
    let facts = Facts {
        limit: world.whole,
        window: Duration::ZERO,
        pods: world.made as u64,
        largest: scenario.largest,
        stalled: Duration::from_secs_f64(world.stalled),
        unheard: 0,
    };
    Figures {
        beyond: beyond.ceil() as u64,
        bound: bound(&facts),
        used: used as f64 / (per_second * (SECONDS - WARM)),
        back: last as f64 / (per_second * 60.0),
    }
}

impl World {
    fn new(scenario: Scenario, seed: u64) -> Self {
        // Of tokens the limit is as many requests of middling size.
        let size = if scenario.counts_tokens() {
            scenario.largest.div_ceil(2)
        } else {
            1
        };
        let whole = EACH * size * scenario.pods as u64;
        let mut world = Self {
            scenario,
            rng: Rng::with_seed(seed),
            whole,
            pods: Vec::new(),
            made: 0,
            second: 0.0,
            leader: Some(Allocator::of_a_new_limit(whole, 1, Moment::ZERO)),
            epoch: 1,
            next_leader: f64::INFINITY,
            arriving: BinaryHeap::new(),
            sent: Vec::new(),
            stalled: 0.0,
            leaving: Vec::new(),
        };
        if let Some(leader) = &mut world.leader {
            leader.expect(scenario.pods);
        }
        for _ in 0..scenario.pods {
            let pod = world.fresh();
            world.pods.push(Some(pod));
        }
        world
    }

    fn fresh(&mut self) -> Pod {
        let (which, settings) = if self.scenario.counts_tokens() {
            let settings = LimiterSettings {
                tokens_per_minute: NonZeroU64::new(self.whole),
                ..LimiterSettings::default()
            };
            (Which::Tokens, settings)
        } else {
            let settings = LimiterSettings {
                requests_per_minute: NonZeroU32::new(self.whole as u32),
                ..LimiterSettings::default()
            };
            (Which::Requests, settings)
        };
        let off = if self.scenario.fault.has(Fault::Clocks) {
            0.005
        } else {
            0.0
        };
        let rate = 1.0 + (self.rng.f64() * 2.0 - 1.0) * off;
        let id = self.made;
        self.made += 1;
        Pod::new(id, which, settings, rate, self.second)
    }

    fn now(&self) -> Moment {
        Moment::from_start(Duration::from_secs_f64(self.second))
    }

    /// Lets a step pass. What was admitted, and what those may use of whom the leader never heard, per minute.
    fn step(&mut self) -> (u64, u64) {
        self.second += STEP;
        if self.second > 60.0 && self.second < CALM {
            self.harm();
        }
        self.lead();
        self.deliver();
        let mut admitted = 0;
        let mut unheard = 0;
        let (count, skew) = (self.pods.len(), self.scenario.skew);
        let size = if self.scenario.counts_tokens() {
            self.scenario.largest.div_ceil(2)
        } else {
            1
        };
        for place in 0..count {
            let rate = skew.part(place, count, self.second) * self.whole as f64 / 60.0 / size as f64;
            let mut pod = self.pods[place].take().unwrap();
            let mut left = rate * STEP;
            loop {
                // The time to the next of a Poisson process, in steps.
                left -= -self.rng.f64().max(1e-12).ln();
                if left < 0.0 {
                    break;
                }
                let amount = if self.scenario.counts_tokens() {
                    self.rng.u64(1..=self.scenario.largest)
                } else {
                    1
                };
                pod.request(amount, self.second);
            }
            admitted += pod.admit(self.second);
            let (share, is_without) = pod.standing(self.second);
            // Whose floor this leader cannot know of.
            if is_without && pod.epoch != self.epoch {
                unheard += share;
            }
            // Each at its own moment, a sidecar looks whether there is something to say: once a second, and oftener while there is.
            let every = if self.second < pod.busy_until { BUSY_STEPS } else { 10 };
            let turn = ((self.second / STEP).round() as usize + pod.id).is_multiple_of(every);
            if turn
                && self.second >= pod.cut_until
                && let Some(ask) = pod.ask(self.second)
            {
                pod.busy_until = self.second + 5.0;
                self.send(Message::Ask(pod.id, ask), self.second);
            }
            self.pods[place] = Some(pod);
        }
        (admitted, unheard)
    }

    fn send(&mut self, message: Message, second: f64) {
        let late = if self.scenario.fault == Fault::None { 50 } else { 400 };
        let at = (second * 1_000.0) as u64 + 1 + self.rng.u64(0..late);
        self.sent.push(Some(message));
        self.arriving.push(Reverse((at, self.sent.len() - 1)));
    }

    /// What has arrived since the last step, each at its own time; so is what is said in answer.
    fn deliver(&mut self) {
        let now = (self.second * 1_000.0) as u64;
        while let Some(Reverse((at, index))) = self.arriving.peek().copied() {
            if at > now {
                break;
            }
            self.arriving.pop();
            let message = self.sent[index].take().unwrap();
            let second = at as f64 / 1_000.0;
            let moment = Moment::from_start(Duration::from_millis(at));
            let (Message::Ask(id, _) | Message::Grant(id, _)) = &message;
            let Some(place) = self
                .pods
                .iter()
                .position(|pod| pod.as_ref().is_some_and(|pod| pod.id == *id))
            else {
                continue;
            };
            let pod = self.pods[place].as_mut().unwrap();
            if second < pod.cut_until {
                continue;
            }
            match message {
                Message::Ask(id, ask) => {
                    if let Some(leader) = &mut self.leader {
                        let grant = leader.hear(&id, &ask, moment);
                        let pushed = leader.push(moment);
                        for (id, grant) in grant.map(|grant| (id, grant)).into_iter().chain(pushed) {
                            self.send(Message::Grant(id, grant), second);
                        }
                    }
                }
                Message::Grant(id, grant) => {
                    pod.take(&grant, second);
                    // What it gives up it says at once.
                    if let Some(ask) = pod.ask(second) {
                        self.send(Message::Ask(id, ask), second);
                    }
                }
            }
        }
    }

    /// Who leads.
    fn lead(&mut self) {
        if self.leader.is_none() && self.second >= self.next_leader {
            self.succeed();
        }
        let moment = self.now();
        let second = self.second;
        let told: Vec<usize> = self
            .leaving
            .iter()
            .filter(|(at, _)| *at <= second)
            .map(|(_, id)| *id)
            .collect();
        self.leaving.retain(|(at, _)| *at > second);
        if let Some(leader) = &mut self.leader {
            for id in told {
                leader.gone(&id);
            }
            leader.tick(moment);
        }
    }

    /// Another leads, who knows nothing but how many sidecars there are.
    fn succeed(&mut self) {
        self.epoch += 1;
        let mut leader = Allocator::new(self.whole, self.epoch, self.now());
        leader.expect(self.pods.len());
        self.leader = Some(leader);
    }

    /// On average so often in the time of faults.
    fn happens(&mut self, times: f64) -> bool {
        self.rng.f64() < times * STEP / (CALM - 60.0)
    }

    fn harm(&mut self) {
        let fault = self.scenario.fault;
        let count = self.pods.len();
        if fault.has(Fault::Partition) && self.happens((count as f64 / 3.0).max(2.0)) {
            let until = self.second + 10.0 + self.rng.f64() * 190.0;
            let place = self.rng.usize(0..count);
            self.pods[place].as_mut().unwrap().cut_until = until.min(CALM);
        }
        if fault.has(Fault::Kill) && self.leader.is_some() && self.happens(3.0) {
            self.leader = None;
            self.next_leader = (self.second + 20.0 + self.rng.f64() * 130.0).min(CALM);
        }
        if fault.has(Fault::Leaders) && self.leader.is_some() && self.happens(6.0) {
            self.succeed();
        }
        if fault.has(Fault::Clocks) && self.happens(4.0) {
            let place = self.rng.usize(0..count);
            let stood = self.rng.f64() * 20.0;
            self.pods[place].as_mut().unwrap().stall(stood);
            self.stalled += stood;
        }
        if fault.has(Fault::Churn) && self.happens((count as f64 / 2.0).max(2.0)) {
            let place = self.rng.usize(0..count);
            let fresh = self.fresh();
            let gone = self.pods[place].replace(fresh).unwrap();
            self.leaving.push((self.second + 2.0, gone.id));
        }
    }
}
