//! One sidecar: its parts as the product has them, its bucket, and a clock of its own.

use std::collections::VecDeque;
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::limiter::{Limiter, LimiterSettings, Need, Which};
use bowsprit_core::share::parts::{Load, Parts};
use bowsprit_core::share::{Ask, Grant};

/// How long a request waits for its turn, seconds: what a ProviderConfig has with `onLimit: Wait` where nothing else is said.
const MAX_WAIT: f64 = 10.0;

pub struct Pod {
    pub id: usize,
    parts: Parts,
    limiter: Limiter,
    which: Which,
    /// Whose grant it took last.
    pub epoch: u64,
    /// How fast its clock goes, and what it has fallen behind.
    rate: f64,
    behind: f64,
    waiting: VecDeque<(f64, u64)>,
    /// Cut off from the operators until this second.
    pub cut_until: f64,
    /// Until when it looks often whether there is something to say.
    pub busy_until: f64,
}

impl Pod {
    pub fn new(id: usize, which: Which, settings: LimiterSettings, rate: f64, second: f64) -> Self {
        let mut pod = Self {
            id,
            parts: Parts::new(0, Moment::ZERO),
            limiter: Limiter::new(LimiterSettings::default(), Moment::ZERO),
            which,
            epoch: 0,
            rate,
            behind: 0.0,
            waiting: VecDeque::new(),
            cut_until: 0.0,
            busy_until: 0.0,
        };
        let now = pod.clock(second);
        pod.parts = Parts::new(u32::try_from(id).unwrap(), now);
        pod.parts.reconfigure(settings, now);
        pod.fit(now);
        pod
    }

    /// What its own clock says.
    pub fn clock(&self, second: f64) -> Moment {
        Moment::from_start(Duration::from_secs_f64(
            (second * self.rate - self.behind).max(0.0) + 1_000.0,
        ))
    }

    /// Its clock stood still for so long.
    pub fn stall(&mut self, seconds: f64) {
        self.behind += seconds * self.rate;
    }

    fn fit(&mut self, now: Moment) {
        if self.parts.fit(now).is_some() {
            self.limiter.share(self.parts.whole(), self.parts.shares(), now);
        }
    }

    fn load(&self) -> Load {
        Load {
            in_flight: 0,
            waiting: self.waiting.len() as u64,
        }
    }

    /// A request that uses so much came: it waits for its turn.
    pub fn request(&mut self, amount: u64, second: f64) {
        let need = Need {
            input: amount,
            ..Need::default()
        };
        self.parts.came(need, self.load());
        self.waiting.push_back((second, amount));
    }

    /// Lets in who waits, in order, as far as there is room; who has waited too long leaves. What was admitted.
    pub fn admit(&mut self, second: f64) -> u64 {
        let now = self.clock(second);
        self.fit(now);
        let mut admitted = 0;
        while let Some((since, amount)) = self.waiting.front().copied() {
            if second - since <= MAX_WAIT {
                let Ok(reservation) = self.limiter.reserve(amount, now) else {
                    break;
                };
                self.limiter.settle(reservation, Some(amount), now);
                admitted += amount;
            }
            self.waiting.pop_front();
        }
        admitted
    }

    /// What it has to say now.
    pub fn ask(&mut self, second: f64) -> Option<Ask> {
        let now = self.clock(second);
        self.fit(now);
        let load = self.load();
        self.parts.asks(false, load, now).pop().map(|(_, ask)| ask)
    }

    pub fn take(&mut self, grant: &Grant, second: f64) {
        let now = self.clock(second);
        if self.parts.granted(self.which.as_str(), grant, now) {
            self.epoch = grant.epoch;
            self.fit(now);
        }
    }

    /// What it may use now, and whether that is without a good share.
    pub fn standing(&mut self, second: f64) -> (u64, bool) {
        let (load, now) = (self.load(), self.clock(second));
        let seen = self.parts.seen(load, now);
        seen.first().map_or((0, false), |seen| (seen.share, seen.is_without))
    }
}
