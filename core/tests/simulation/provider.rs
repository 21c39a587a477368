//! One provider: its mood, its machines, and beside each machine its shadow.

use super::{Seen, shadow};
use bowsprit_core::breaker::{self, Breaker, ErrorRate, Permit, StateName, Verdict};
use bowsprit_core::budget::Trust;
use bowsprit_core::classify::{Decision, Ended, KeyVerdict};
use bowsprit_core::clock::Moment;
use bowsprit_core::config;
use bowsprit_core::fault::{ErrorKind, TransportFault};
use bowsprit_core::limiter::{self, Limited, Limiter, Reservation};
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

/// What a provider is like at the moment.
#[derive(Clone, Copy)]
pub enum Mood {
    Good,
    Failing,
    Throttling,
    Mixed,
}

/// One model of a provider.
pub struct Model {
    pub name: String,
    pub breaker: Breaker,
    pub breaker_shadow: shadow::Breaker,
    pub trust: Trust,
}

pub struct Provider {
    pub config: Arc<config::Provider>,
    pub mood: Mood,
    pub models: Vec<Model>,
    pub limiter: Limiter,
    pub limiter_shadow: shadow::Limiter,
    /// Until when each credential is set aside.
    pub set_aside: Vec<Moment>,
}

/// What one attempt holds of a provider.
pub struct Held {
    pub provider: usize,
    pub model: usize,
    pub permit: Option<(Permit, u64)>,
    pub reservation: Option<(Reservation, u64)>,
    pub credential: usize,
}

fn breaker_settings(rng: &mut fastrand::Rng, error_rate: Option<ErrorRate>) -> breaker::BreakerSettings {
    breaker::BreakerSettings {
        failure_threshold: NonZeroU32::new(rng.u32(1..=8)).unwrap(),
        open_for: Duration::from_millis(rng.u64(100..=20_000)),
        half_open_requests: NonZeroU32::new(rng.u32(1..=3)).unwrap(),
        error_rate,
        adaptive: rng.bool(),
    }
}

/// Which limits there are is settled by `old`: a limit that comes and goes is the unit tests' story.
fn limiter_settings(rng: &mut fastrand::Rng, old: limiter::LimiterSettings) -> limiter::LimiterSettings {
    limiter::LimiterSettings {
        requests_per_minute: old
            .requests_per_minute
            .and_then(|_| NonZeroU32::new(rng.u32(1..=6_000))),
        tokens_per_minute: old
            .tokens_per_minute
            .and_then(|_| NonZeroU64::new(rng.u64(1_000..=4_000_000))),
        concurrent: old.concurrent.and_then(|_| NonZeroU32::new(rng.u32(1..=20))),
        ..old
    }
}

impl Provider {
    pub fn new(config: &Arc<config::Provider>, rng: &mut fastrand::Rng, now: Moment) -> Self {
        let rate = ErrorRate {
            percent: rng.u8(20..=100),
            min_requests: rng.u32(1..=20),
            window: Duration::from_secs(rng.u64(1..=60)),
        };
        let error_rate = rng.bool().then_some(rate);
        let settings = breaker_settings(rng, error_rate);
        let all = limiter::LimiterSettings {
            requests_per_minute: rng.bool().then_some(NonZeroU32::MIN),
            tokens_per_minute: rng.bool().then_some(NonZeroU64::MIN),
            concurrent: rng.bool().then_some(NonZeroU32::MIN),
            ..limiter::LimiterSettings::default()
        };
        let limits = limiter_settings(rng, all);
        let model = |model: &config::Model| Model {
            name: model.name.clone(),
            breaker: Breaker::new(settings.clone()),
            breaker_shadow: shadow::Breaker::new(settings.clone()),
            trust: Trust::default(),
        };
        Self {
            mood: Mood::Good,
            models: config.models.iter().map(model).collect(),
            limiter: Limiter::new(limits, now),
            limiter_shadow: shadow::Limiter::new(limits, now),
            set_aside: vec![Moment::ZERO; config.credentials.len()],
            config: Arc::clone(config),
        }
    }

    pub fn model(&self, name: &str) -> usize {
        self.models
            .iter()
            .position(|model| model.name == name)
            .expect("a model of the config")
    }

    pub fn reconfigure(&mut self, rng: &mut fastrand::Rng, now: Moment) {
        if rng.bool() {
            let settings = breaker_settings(rng, self.models[0].breaker_shadow.settings.error_rate);
            for model in &mut self.models {
                model.breaker.reconfigure(settings.clone());
                model.breaker_shadow.reconfigure(settings.clone());
            }
        } else {
            let settings = limiter_settings(rng, self.limiter_shadow.settings);
            self.limiter.reconfigure(settings, now);
            self.limiter_shadow.reconfigure(settings);
        }
    }

    pub fn reset(&mut self, now: Moment) {
        for model in &mut self.models {
            let change = model.breaker.reset(now);
            assert_eq!(change.is_some(), model.breaker_shadow.state != StateName::Closed);
            model.breaker_shadow.reset(now);
        }
    }

    pub fn reserve(&mut self, tokens: u64, now: Moment, seen: &mut Seen) -> Result<Reservation, Limited> {
        let would = self.limiter.would_admit(tokens, now);
        let must = self.limiter_shadow.must_admit();
        let reserved = self.limiter.reserve(tokens, now);
        assert_eq!(would, reserved.is_ok(), "would_admit and reserve disagree");
        assert!(
            must.is_none_or(|must| must == would),
            "shadow: {must:?}, limiter: {reserved:?}"
        );
        match &reserved {
            Ok(_) => self.limiter_shadow.take(tokens),
            Err(limited) => {
                seen.note("limited");
                if let Some(wait) = limited.retry_in {
                    assert!(!wait.is_zero());
                    assert!(
                        self.limiter.would_admit(tokens, now + wait),
                        "the wait told is too short"
                    );
                }
            }
        }
        reserved
    }

    /// Gives the limiter its room back: unused (`None`), or with what was used.
    pub fn give_room_back(&mut self, (reservation, tokens): (Reservation, u64), used: Option<u64>, now: Moment) {
        match used {
            None => {
                self.limiter.cancel(reservation, now);
                self.limiter_shadow.cancel(tokens);
            }
            used => {
                self.limiter.settle(reservation, used, now);
                self.limiter_shadow.settle(tokens, used);
            }
        }
    }

    /// Gives the breaker its permit back, with a verdict or unused.
    pub fn give_permit_back(
        &mut self,
        model: usize,
        (permit, generation): (Permit, u64),
        verdict: Option<Verdict>,
        now: Moment,
        seen: &mut Seen,
    ) {
        let model = &mut self.models[model];
        let before = model.breaker_shadow.state;
        if generation != model.breaker_shadow.generation {
            seen.note("late settle");
        }
        let Some(verdict) = verdict else {
            model.breaker.cancel(permit);
            return model.breaker_shadow.cancel(generation);
        };
        let change = model.breaker.settle(permit, verdict, now);
        model.breaker_shadow.settle(generation, verdict, now);
        let after = model.breaker_shadow.state;
        assert_eq!(
            change.map(|change| (change.from, change.to)),
            (before != after).then_some((before, after))
        );
        if (before, after) == (StateName::Closed, StateName::Open) {
            seen.note("trip");
        }
        if (before, after) == (StateName::HalfOpen, StateName::Closed) {
            seen.note("recovery");
        }
    }

    /// What an end teaches the provider's machines.
    pub fn settle(&mut self, held: Held, decision: &Decision, used: u64, now: Moment, seen: &mut Seen) {
        if let Some(permit) = held.permit {
            self.give_permit_back(held.model, permit, Some(decision.breaker), now, seen);
        }
        if let Some(reservation) = held.reservation {
            self.give_room_back(reservation, Some(used), now);
        }
        let trust = &mut self.models[held.model].trust;
        match decision.breaker {
            Verdict::Success => trust.answered(),
            _ if decision.retry_same || decision.try_next => trust.failed(),
            _ => {}
        }
        if decision.key != KeyVerdict::Fine {
            self.set_aside[held.credential] = now + Duration::from_secs(10);
        }
    }

    /// How the provider answers: well (`None`) or not.
    pub fn answer(&self, rng: &mut fastrand::Rng) -> Option<Ended> {
        let bad = match self.mood {
            Mood::Good => 2,
            Mood::Failing => 95,
            Mood::Throttling => 80,
            Mood::Mixed => 40,
        };
        if rng.u32(0..100) >= bad {
            return None;
        }
        let status = |status, kind| Some(Ended::Status { status, kind });
        let transport = |fault| {
            Some(Ended::Transport {
                fault,
                content_sent: false,
            })
        };
        if matches!(self.mood, Mood::Throttling) {
            return status(429, ErrorKind::RateLimited);
        }
        match rng.u32(0..9) {
            0 => status(429, ErrorKind::RateLimited),
            1 => status(400, ErrorKind::InvalidRequest),
            2 => status(401, ErrorKind::Authentication),
            3 => status(529, ErrorKind::Overloaded),
            4 => transport(TransportFault::ConnectRefused),
            5 => transport(TransportFault::FirstTokenTimeout),
            6 => transport(TransportFault::Reset),
            _ => status(500, ErrorKind::Internal),
        }
    }

    /// What must hold after every step; `held` attempts are out.
    pub fn check(&mut self, held: usize, now: Moment) {
        for model in &mut self.models {
            let shadow = &model.breaker_shadow;
            let admits = shadow.would_admit(now);
            let open_is_over = shadow.state == StateName::Open && admits;
            let state = if open_is_over {
                StateName::HalfOpen
            } else {
                shadow.state
            };
            assert_eq!(model.breaker.state(now), state);
            assert_eq!(model.breaker.would_admit(now), admits);
            assert_eq!(model.breaker.failures(), shadow.failures);
            assert_eq!(model.breaker.threshold(now), shadow.threshold(now));
        }
        assert_eq!(self.limiter.in_flight() as usize, held, "a place leaked");
        assert_eq!(self.limiter.in_flight(), self.limiter_shadow.in_flight);
        let left = (self.limiter.requests_left(now), self.limiter.tokens_left(now));
        assert!(self.limiter_shadow.agrees(left.0, left.1), "buckets drifted: {left:?}");
    }

    /// After an hour of rest a probe passes and the limiter admits.
    pub fn find_back(&mut self, now: Moment) {
        assert_eq!(self.limiter.in_flight(), 0);
        assert!(self.limiter.would_admit(1, now), "a debt outlived the hour");
        for model in &mut self.models {
            let permit = model.breaker.admit(now).expect("a probe after the open time");
            model.breaker.settle(permit, Verdict::Success, now);
        }
    }

    /// All breakers are closed.
    pub fn is_well(&self, now: Moment) -> bool {
        self.models
            .iter()
            .all(|model| model.breaker.state(now) == StateName::Closed)
    }
}
