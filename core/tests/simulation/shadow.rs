//! The naive twins of the machines: slow, obvious, and written without a look at the originals' arithmetic.

use bowsprit_core::breaker::{self, StateName, Verdict};
use bowsprit_core::clock::Moment;
use bowsprit_core::{budget, limiter};
use std::collections::VecDeque;
use std::time::Duration;

/// Counts in slots of a tenth of the window, kept as a plain list of all events.
pub struct Log {
    window: Duration,
    events: VecDeque<(u128, bool)>,
}

impl Log {
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            events: VecDeque::new(),
        }
    }

    fn slot(&self, now: Moment) -> u128 {
        now.since_start().as_nanos() / (self.window.as_nanos() / 10)
    }

    pub fn add(&mut self, flag: bool, now: Moment) {
        self.events.push_back((self.slot(now), flag));
    }

    /// How many events of each kind are in the window: (flagged, not flagged).
    pub fn count(&mut self, now: Moment) -> (u64, u64) {
        let slot = self.slot(now);
        while self.events.front().is_some_and(|(of, _)| of + 10 <= slot) {
            self.events.pop_front();
        }
        let flagged = self.events.iter().filter(|(_, flag)| *flag).count() as u64;
        (flagged, self.events.len() as u64 - flagged)
    }
}

pub struct Breaker {
    pub settings: breaker::BreakerSettings,
    pub state: StateName,
    /// When the state began.
    pub since: Moment,
    /// The present generation; a permit carries the one it was made in.
    pub generation: u64,
    pub failures: u32,
    halvings: u32,
    answers: Log,
    probes_out: u32,
    probes_good: u32,
    last_probe: Moment,
}

impl Breaker {
    pub fn new(settings: breaker::BreakerSettings) -> Self {
        let window = settings.error_rate.map_or(Duration::from_secs(10), |rate| rate.window);
        Self {
            settings,
            state: StateName::Closed,
            since: Moment::ZERO,
            generation: 0,
            failures: 0,
            halvings: 0,
            answers: Log::new(window),
            probes_out: 0,
            probes_good: 0,
            last_probe: Moment::ZERO,
        }
    }

    fn enter(&mut self, state: StateName, now: Moment) {
        self.state = state;
        self.since = now;
        self.generation += 1;
        self.failures = 0;
        self.answers.events.clear();
        (self.probes_out, self.probes_good) = (0, 0);
    }

    pub fn would_admit(&self, now: Moment) -> bool {
        match self.state {
            StateName::Closed => true,
            StateName::Open => now >= self.since + self.settings.open_for,
            StateName::HalfOpen => {
                self.probes_out + self.probes_good < self.settings.half_open_requests.get()
                    || now >= self.last_probe + self.settings.open_for
            }
        }
    }

    pub fn admit(&mut self, now: Moment) {
        if self.state == StateName::Open {
            self.enter(StateName::HalfOpen, now);
        }
        if self.state == StateName::HalfOpen {
            self.probes_out += 1;
            self.last_probe = now;
        }
    }

    pub fn cancel(&mut self, generation: u64) {
        if generation == self.generation && self.state == StateName::HalfOpen {
            self.probes_out -= 1;
        }
    }

    fn halvings_now(&self, now: Moment) -> u32 {
        let mut left = self.halvings;
        let mut forgiven = self.since + self.settings.open_for * 5;
        while self.state == StateName::Closed && left > 0 && now >= forgiven {
            left -= 1;
            forgiven = forgiven + self.settings.open_for * 5;
        }
        left
    }

    pub fn threshold(&self, now: Moment) -> u32 {
        let configured = self.settings.failure_threshold.get();
        let mut threshold = configured;
        if self.settings.adaptive {
            for _ in 0..self.halvings_now(now) {
                threshold /= 2;
            }
        }
        threshold.max(configured.min(2))
    }

    fn trip(&mut self, now: Moment) {
        self.halvings = self.halvings_now(now) + 1;
        self.enter(StateName::Open, now);
    }

    pub fn settle(&mut self, generation: u64, verdict: Verdict, now: Moment) {
        if generation != self.generation {
            return;
        }
        match (self.state, verdict) {
            (StateName::HalfOpen, Verdict::Ignored) => self.probes_out -= 1,
            (StateName::HalfOpen, Verdict::Success) => {
                self.probes_out -= 1;
                self.probes_good += 1;
                if self.probes_good >= self.settings.half_open_requests.get() {
                    self.enter(StateName::Closed, now);
                }
            }
            (StateName::HalfOpen, Verdict::Failure(_) | Verdict::Throttled) => self.enter(StateName::Open, now),
            (StateName::Closed, Verdict::Ignored) => {}
            (StateName::Closed, _) => self.settle_closed(verdict, now),
            (StateName::Open, _) => panic!("a permit was made while open"),
        }
    }

    fn settle_closed(&mut self, verdict: Verdict, now: Moment) {
        match verdict {
            Verdict::Failure(_) => self.failures += 1,
            Verdict::Success => self.failures = 0,
            Verdict::Throttled | Verdict::Ignored => {}
        }
        if matches!(verdict, Verdict::Failure(_)) && self.failures >= self.threshold(now) {
            return self.trip(now);
        }
        let Some(rate) = self.settings.error_rate else { return };
        let bad = verdict != Verdict::Success;
        self.answers.add(bad, now);
        let (failed, good) = self.answers.count(now);
        let all = failed + good;
        if bad
            && all >= u64::from(rate.min_requests)
            && failed as f64 / all as f64 * 100.0 >= f64::from(rate.percent) - 1e-9
        {
            self.trip(now);
        }
    }

    pub fn reset(&mut self, now: Moment) {
        self.enter(StateName::Closed, now);
        self.halvings = 0;
    }

    pub fn reconfigure(&mut self, settings: breaker::BreakerSettings) {
        self.probes_good = self.probes_good.min(settings.half_open_requests.get() - 1);
        self.settings = settings;
    }
}

/// Buckets in floats. What it says within a millionth of a unit of the edge is not held against the original.
pub struct Limiter {
    pub settings: limiter::LimiterSettings,
    requests: f64,
    tokens: f64,
    at: Moment,
    pub in_flight: u32,
}

fn capacity(per_minute: Option<u64>) -> f64 {
    per_minute.map_or(f64::INFINITY, |limit| (limit as f64 / 10.0).max(1.0))
}

impl Limiter {
    pub fn new(settings: limiter::LimiterSettings, now: Moment) -> Self {
        let mut new = Self {
            settings,
            requests: f64::INFINITY,
            tokens: f64::INFINITY,
            at: now,
            in_flight: 0,
        };
        new.advance(now);
        new
    }

    fn rates(&self) -> (Option<u64>, Option<u64>) {
        let requests = self.settings.requests_per_minute.map(|limit| u64::from(limit.get()));
        (requests, self.settings.tokens_per_minute.map(std::num::NonZeroU64::get))
    }

    pub fn advance(&mut self, now: Moment) {
        let minutes = (now - self.at).as_secs_f64() / 60.0;
        let (requests, tokens) = self.rates();
        let refill = |level: f64, rate: Option<u64>| (level + minutes * rate.unwrap_or(0) as f64).min(capacity(rate));
        self.requests = refill(self.requests, requests);
        self.tokens = refill(self.tokens, tokens);
        self.at = now;
    }

    /// Whether it must admit (`Some`), or is too close to the edge to say.
    pub fn must_admit(&self) -> Option<bool> {
        if self
            .settings
            .concurrent
            .is_some_and(|most| self.in_flight >= most.get())
        {
            return Some(false);
        }
        let least = self.requests.min(self.tokens);
        ((least - 1.0).abs() > 1e-6).then_some(least > 1.0)
    }

    pub fn take(&mut self, tokens: u64) {
        self.in_flight += 1;
        self.requests -= 1.0;
        self.tokens -= tokens as f64;
    }

    pub fn settle(&mut self, reserved: u64, used: Option<u64>) {
        self.in_flight -= 1;
        self.tokens += reserved as f64 - used.unwrap_or(reserved) as f64;
        self.cap();
    }

    pub fn cancel(&mut self, reserved: u64) {
        self.in_flight -= 1;
        self.requests += 1.0;
        self.tokens += reserved as f64;
        self.cap();
    }

    fn cap(&mut self) {
        let (requests, tokens) = self.rates();
        self.requests = self.requests.min(capacity(requests));
        // An hour's worth is the most debt there is; an absent limit owes nothing.
        let floor = tokens.map_or(f64::NEG_INFINITY, |rate| -60.0 * rate as f64);
        self.tokens = self.tokens.max(floor).min(capacity(tokens));
    }

    pub fn reconfigure(&mut self, settings: limiter::LimiterSettings) {
        self.settings = settings;
        self.cap();
    }

    pub fn agrees(&self, requests_left: Option<i64>, tokens_left: Option<i64>) -> bool {
        let near = |level: f64, left: Option<i64>| left.is_none_or(|left| (left as f64 - level.floor()).abs() <= 1.0);
        near(self.requests, requests_left) && near(self.tokens, tokens_left)
    }
}

/// Requests (flagged) and retries, as a list.
pub struct Budget {
    settings: budget::BudgetSettings,
    log: Log,
    pub requests: u64,
    pub retries: u64,
}

impl Budget {
    pub fn new(settings: budget::BudgetSettings) -> Self {
        Self {
            settings,
            log: Log::new(budget::WINDOW),
            requests: 0,
            retries: 0,
        }
    }

    pub fn deposit(&mut self, now: Moment) {
        self.requests += 1;
        self.log.add(true, now);
    }

    pub fn withdraw(&mut self, now: Moment) {
        self.retries += 1;
        self.log.add(false, now);
    }

    /// A repeat that an SDK made: it is taken in whether there is room or not, and is not ours to promise about.
    pub fn spend(&mut self, now: Moment) {
        self.log.add(false, now);
    }

    /// Retries left, the floor and the share each rounded down.
    pub fn remaining(&mut self, now: Moment) -> u64 {
        let (requests, retries) = self.log.count(now);
        let floor = whole(self.settings.min_per_second * budget::WINDOW.as_secs_f64());
        let share = whole(requests as f64 * self.settings.ratio);
        share.max(floor).saturating_sub(retries)
    }

    /// Retries of the whole run against what the module promises of every window.
    pub fn within_promise(&self, now: Moment) -> bool {
        let windows = (now.since_start().as_secs_f64() / budget::WINDOW.as_secs_f64()).floor() + 1.0;
        let floor = self.settings.min_per_second * budget::WINDOW.as_secs_f64() * windows;
        self.retries as f64 <= self.requests as f64 * self.settings.ratio + floor
    }
}

/// The largest whole number that is not more, but for what floats lose.
fn whole(value: f64) -> u64 {
    let mut number = 0;
    while (number + 1) as f64 <= value + 1e-9 {
        number += 1;
    }
    number
}
