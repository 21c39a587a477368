//! The world of one seed: requests on their way through all machines, one random step at a time.

use super::shadow;
use bowsprit_core::breaker::{self, Breaker, ErrorRate, Permit, StateName, Verdict};
use bowsprit_core::budget::{self, Budget};
use bowsprit_core::clock::Moment;
use bowsprit_core::fault::Code;
use bowsprit_core::hedge::{self, Allowance, Latencies};
use bowsprit_core::lifecycle::{Cancel, Event, Machine, Outcome, State};
use bowsprit_core::limiter::{self, Limiter, Reservation};
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

mod hedges;
mod requests;

struct Request {
    machine: Machine,
    permit: Option<(Permit, u64)>,
    reservation: Option<(Reservation, u64)>,
    /// Of a second attempt beside the first, at a provider of its own.
    hedge: Option<(Permit, Reservation)>,
    /// When the present attempt went out.
    sent: Moment,
    tokens: u64,
    content_sent: bool,
}

/// What the first provider is like at the moment.
#[derive(Clone, Copy)]
enum Mood {
    Good,
    Failing,
    Throttling,
    Mixed,
}

/// How often what happened: a simulation should see all of it.
#[derive(Default)]
pub struct Seen {
    outcomes: [u64; Outcome::ALL.len()],
    trips: u64,
    recoveries: u64,
    refused_open: u64,
    limited: u64,
    retries: u64,
    over_budget: u64,
    illegal: u64,
    late: u64,
    hedges_won: u64,
    hedges_lost: u64,
    hedges_failed: u64,
    hedges_refused: u64,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        for (mine, others) in self.outcomes.iter_mut().zip(other.outcomes) {
            *mine += others;
        }
        self.trips += other.trips;
        self.recoveries += other.recoveries;
        self.refused_open += other.refused_open;
        self.limited += other.limited;
        self.retries += other.retries;
        self.over_budget += other.over_budget;
        self.illegal += other.illegal;
        self.late += other.late;
        self.hedges_won += other.hedges_won;
        self.hedges_lost += other.hedges_lost;
        self.hedges_failed += other.hedges_failed;
        self.hedges_refused += other.hedges_refused;
    }
}

impl Seen {
    /// Each of it must have happened at least `least` times.
    pub fn assert_rich(&self, least: u64) {
        for (name, count) in [
            ("ok", self.outcomes[Outcome::Ok as usize]),
            ("client errors", self.outcomes[Outcome::ClientError as usize]),
            ("provider errors", self.outcomes[Outcome::ProviderError as usize]),
            ("own errors", self.outcomes[Outcome::OwnError as usize]),
            ("shed", self.outcomes[Outcome::Shed as usize]),
            ("cancelled", self.outcomes[Outcome::Cancelled as usize]),
            ("cut", self.outcomes[Outcome::Cut as usize]),
            ("trips", self.trips),
            ("recoveries", self.recoveries),
            ("refused while open", self.refused_open),
            ("limited", self.limited),
            ("retries", self.retries),
            ("refused by the budget", self.over_budget),
            ("illegal events", self.illegal),
            ("late settles", self.late),
            ("hedges won", self.hedges_won),
            ("hedges lost", self.hedges_lost),
            ("hedges failed", self.hedges_failed),
            ("hedges refused", self.hedges_refused),
        ] {
            assert!(count >= least, "{name}: seen only {count} times");
        }
    }
}

pub struct World {
    pub trace: u64,
    pub seen: Seen,
    rng: fastrand::Rng,
    now: Moment,
    mood: Mood,
    live: Vec<Request>,
    received: u64,
    breaker: Breaker,
    limiter: Limiter,
    budget: Budget,
    budget_settings: budget::Settings,
    hedging: hedge::Settings,
    allowance: Allowance,
    latencies: Latencies,
    hedges: u64,
    /// Attempts of requests that have ended.
    sent: u64,
    /// The second target: its breaker and limiter only ever see hedges.
    second_breaker: Breaker,
    second_limiter: Limiter,
    breaker_shadow: shadow::Breaker,
    limiter_shadow: shadow::Limiter,
    budget_shadow: shadow::Budget,
}

fn breaker_settings(rng: &mut fastrand::Rng, error_rate: Option<ErrorRate>) -> breaker::Settings {
    breaker::Settings {
        failure_threshold: NonZeroU32::new(rng.u32(1..=8)).unwrap(),
        open_for: Duration::from_millis(rng.u64(100..=20_000)),
        half_open_requests: NonZeroU32::new(rng.u32(1..=3)).unwrap(),
        error_rate,
        adaptive: rng.bool(),
    }
}

/// Which limits there are is settled by `old`: a limit that comes and goes is the unit tests' story.
fn limiter_settings(rng: &mut fastrand::Rng, old: limiter::Settings) -> limiter::Settings {
    limiter::Settings {
        requests_per_minute: old
            .requests_per_minute
            .and_then(|_| NonZeroU32::new(rng.u32(1..=6_000))),
        tokens_per_minute: old
            .tokens_per_minute
            .and_then(|_| NonZeroU64::new(rng.u64(1_000..=4_000_000))),
        concurrent: old.concurrent.and_then(|_| NonZeroU32::new(rng.u32(1..=20))),
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let now = Moment::from_start(Duration::from_secs(1));
        let rate = ErrorRate {
            percent: rng.u8(20..=100),
            min_requests: rng.u32(1..=20),
            window: Duration::from_secs(rng.u64(1..=60)),
        };
        let error_rate = rng.bool().then_some(rate);
        let breaker_settings = breaker_settings(&mut rng, error_rate);
        let all = limiter::Settings {
            requests_per_minute: rng.bool().then_some(NonZeroU32::MIN),
            tokens_per_minute: rng.bool().then_some(NonZeroU64::MIN),
            concurrent: rng.bool().then_some(NonZeroU32::MIN),
        };
        let limiter_settings = limiter_settings(&mut rng, all);
        let min_per_second = if rng.bool() { 0.0 } else { 1.0 };
        let budget_settings = budget::Settings {
            min_per_second,
            ..budget::Settings::default()
        };
        let hedging = hedge::Settings {
            after: rng.bool().then(|| Duration::from_millis(rng.u64(1..=200))),
            percentile: rng.bool().then(|| rng.u32(50..=99)),
            max_percent: rng.u32(1..=100),
        };
        Self {
            trace: 0xcbf2_9ce4_8422_2325,
            seen: Seen::default(),
            now,
            mood: Mood::Good,
            live: Vec::new(),
            received: 0,
            breaker: Breaker::new(breaker_settings.clone()),
            limiter: Limiter::new(limiter_settings, now),
            budget: Budget::default(),
            budget_settings,
            hedging,
            allowance: Allowance::default(),
            latencies: Latencies::default(),
            hedges: 0,
            sent: 0,
            second_breaker: Breaker::new(breaker_settings.clone()),
            second_limiter: Limiter::new(limiter_settings, now),
            breaker_shadow: shadow::Breaker::new(breaker_settings),
            limiter_shadow: shadow::Limiter::new(limiter_settings, now),
            budget_shadow: shadow::Budget::new(budget_settings),
            rng,
        }
    }

    fn note(&mut self, what: u64) {
        self.trace = (self.trace ^ what).wrapping_mul(0x0100_0000_01b3);
    }

    pub fn step(&mut self) {
        let what = self.rng.u32(0..1_000);
        self.note(u64::from(what));
        match what {
            0..300 => self.advance(50_000_000),
            300..330 => self.advance(20_000_000_000),
            330..333 => self.advance(600_000_000_000),
            333..530 => self.receive(),
            530..930 => self.progress(),
            930..950 => self.mood = [Mood::Good, Mood::Failing, Mood::Throttling, Mood::Mixed][self.rng.usize(0..4)],
            950..957 => self.reconfigure(),
            957..960 => self.reset(),
            960..963 => self.lose_a_permit(),
            _ => self.send_nonsense(),
        }
    }

    fn advance(&mut self, most_nanos: u64) {
        self.now = self.now + Duration::from_nanos(self.rng.u64(0..=most_nanos));
        self.limiter_shadow.advance(self.now);
    }

    fn reconfigure(&mut self) {
        if self.rng.bool() {
            let settings = breaker_settings(&mut self.rng, self.breaker_shadow.settings.error_rate);
            self.breaker.reconfigure(settings.clone());
            self.breaker_shadow.reconfigure(settings);
        } else {
            let settings = limiter_settings(&mut self.rng, self.limiter_shadow.settings);
            self.limiter.reconfigure(settings, self.now);
            self.limiter_shadow.reconfigure(settings);
        }
    }

    fn reset(&mut self) {
        let change = self.breaker.reset(self.now);
        assert_eq!(change.is_some(), self.breaker_shadow.state != StateName::Closed);
        self.breaker_shadow.reset(self.now);
    }

    /// A bug elsewhere: somebody forgets a permit. Recovery must survive it.
    fn lose_a_permit(&mut self) {
        if let Some(request) = self.live.iter_mut().find(|request| request.permit.is_some()) {
            request.permit = None;
        }
    }

    /// Somebody reports what cannot have happened.
    fn send_nonsense(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let index = self.rng.usize(0..self.live.len());
        let request = &mut self.live[index];
        let state = request.machine.state();
        let failed = Event::AttemptFailed {
            code: Code::ExtReset,
            retry_in: Duration::ZERO,
        };
        let candidate = request.machine.context().candidate.unwrap_or(0);
        let (under_way, code) = (request.machine.context().under_way, Code::ExtReset);
        let event = match state {
            State::Requesting if under_way > 1 => [
                Event::GaveUp { code },
                Event::Dispatched {
                    candidate: candidate + 1,
                },
            ][self.rng.usize(0..2)],
            State::Streaming if request.content_sent => failed,
            State::Streaming => Event::Answered { bytes: 1 },
            State::Retrying => [Event::FellBack { candidate }, Event::StreamOpened][self.rng.usize(0..2)],
            State::Requesting => [
                Event::Retried,
                Event::Chunk {
                    bytes: 1,
                    content: true,
                },
            ][self.rng.usize(0..2)],
            _ => [Event::Received { streaming: true }, failed, Event::StreamEnded][self.rng.usize(0..3)],
        };
        let before = request.machine.context().clone();
        assert!(
            request.machine.on(event, self.now).is_err(),
            "{event:?} was accepted in {state:?}"
        );
        assert_eq!((request.machine.state(), request.machine.context()), (state, &before));
        self.seen.illegal += 1;
    }

    /// What must hold after every step.
    pub fn check(&mut self) {
        let (now, shadow) = (self.now, &self.breaker_shadow);
        let admits = shadow.would_admit(now);
        let open_is_over = shadow.state == StateName::Open && admits;
        let state = if open_is_over {
            StateName::HalfOpen
        } else {
            shadow.state
        };
        assert_eq!(self.breaker.state(now), state);
        assert_eq!(self.breaker.would_admit(now), admits);
        assert_eq!(self.breaker.failures(), shadow.failures);
        assert_eq!(self.breaker.threshold(now), shadow.threshold(now));
        assert!(
            shadow.failures < shadow.settings.failure_threshold.get().max(9),
            "failures beyond any threshold"
        );

        let reserved = self.live.iter().filter(|request| request.reservation.is_some()).count();
        assert_eq!(self.limiter.in_flight() as usize, reserved, "a place leaked");
        assert_eq!(self.limiter.in_flight(), self.limiter_shadow.in_flight);
        let hedged = self.live.iter().filter(|request| request.hedge.is_some()).count();
        assert_eq!(
            self.second_limiter.in_flight() as usize,
            hedged,
            "a hedge's place leaked"
        );
        assert!(
            self.hedges * 100 <= self.received * u64::from(self.hedging.max_percent),
            "{} hedges for {} requests",
            self.hedges,
            self.received
        );
        let left = (self.limiter.requests_left(now), self.limiter.tokens_left(now));
        assert!(self.limiter_shadow.agrees(left.0, left.1), "buckets drifted: {left:?}");

        assert_eq!(
            self.budget.remaining(&self.budget_settings, now),
            self.budget_shadow.remaining(now)
        );
        assert!(
            self.budget_shadow.within_promise(now),
            "more retries than the budget promises"
        );

        for request in &self.live {
            let context = request.machine.context();
            assert!(context.attempts <= context.max_attempts && context.outcome.is_none());
            assert!(context.under_way <= 2 && (context.under_way < 2 || request.hedge.is_some()));
            assert!(!request.machine.state().is_terminal());
        }
        let out = |request: &Request| u64::from(request.machine.context().attempts);
        let sent = self.sent + self.live.iter().map(out).sum::<u64>();
        assert!(
            sent <= self.received + self.seen.retries + self.hedges,
            "{sent} attempts for {} requests, {} from the budget and {} hedges",
            self.received,
            self.seen.retries,
            self.hedges
        );
        let ended: u64 = self.seen.outcomes.iter().sum();
        assert_eq!(
            self.received,
            ended + self.live.len() as u64,
            "every request has one outcome"
        );
    }

    /// After the last fault everything must find back: no place leaked, the breaker closes, the limiter admits.
    pub fn calm_down(&mut self) {
        while let Some(mut request) = self.live.pop() {
            self.give_back(&mut request, None);
            self.give_hedge_back(&mut request, None);
            self.end(request, Event::Cancelled(Cancel::Caller));
        }
        assert_eq!((self.limiter.in_flight(), self.second_limiter.in_flight()), (0, 0));
        for _ in 0..4 {
            self.now = self.now + Duration::from_mins(61);
            self.limiter_shadow.advance(self.now);
            let permit = self.breaker.admit(self.now).expect("a probe after the open time");
            self.breaker.settle(permit, Verdict::Success, self.now);
            let permit = self.second_breaker.admit(self.now).expect("the second's as well");
            self.second_breaker.settle(permit, Verdict::Success, self.now);
            assert!(self.limiter.would_admit(1, self.now), "a debt outlived the hour");
        }
        for breaker in [&self.breaker, &self.second_breaker] {
            assert_eq!(breaker.state(self.now), StateName::Closed, "the breaker found back");
        }
    }
}
