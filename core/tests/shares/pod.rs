//! One sidecar: its holder, its demand, its bucket, and a clock of its own.

use std::collections::VecDeque;
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::limiter::{Limiter, LimiterSettings, Shares};
use bowsprit_core::share::demand::Demand;
use bowsprit_core::share::holder::{Holder, Standing};
use bowsprit_core::share::{Ask, Grant};

/// How long a request waits for its turn, seconds: what a ProviderConfig has with `onLimit: Wait` where nothing else is said.
const MAX_WAIT: f64 = 10.0;

pub struct Pod {
    pub id: usize,
    pub holder: Holder,
    demand: Demand,
    limiter: Limiter,
    settings: LimiterSettings,
    share: u64,
    changes: Option<Moment>,
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
    pub fn new(id: usize, settings: LimiterSettings, whole: u64, rate: f64, second: f64) -> Self {
        let mut pod = Self {
            id,
            holder: Holder::new(whole, Moment::ZERO),
            demand: Demand::new(Moment::ZERO),
            limiter: Limiter::new(LimiterSettings::default(), Moment::ZERO),
            settings,
            share: u64::MAX,
            changes: None,
            rate,
            behind: 0.0,
            waiting: VecDeque::new(),
            cut_until: 0.0,
            busy_until: 0.0,
        };
        let now = pod.clock(second);
        pod.holder = Holder::new(whole, now);
        pod.demand = Demand::new(now);
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
        let (share, _) = self.holder.entitled(now);
        self.changes = self.holder.changes_at(now);
        if share == self.share {
            return;
        }
        self.share = share;
        let shares = Shares {
            requests_per_minute: share,
            tokens_per_minute: share,
            ..Shares::default()
        };
        self.limiter.share(self.settings, shares, now);
    }

    /// A request that uses so much came: it waits for its turn.
    pub fn request(&mut self, amount: u64, second: f64) {
        self.demand.note(amount);
        self.waiting.push_back((second, amount));
    }

    /// Lets in who waits, in order, as far as there is room; who has waited too long leaves. What was admitted.
    pub fn admit(&mut self, second: f64) -> u64 {
        let now = self.clock(second);
        if self.changes.is_some_and(|at| at <= now) {
            self.fit(now);
        }
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
        if self.changes.is_some_and(|at| at <= now) {
            self.fit(now);
        }
        let waiting = self.waiting.iter().map(|(_, amount)| amount).sum();
        let want = self.demand.per_minute(waiting, now);
        self.holder.ask(want, 0, now)
    }

    pub fn take(&mut self, grant: &Grant, second: f64) {
        let now = self.clock(second);
        if self.holder.take(grant, now) {
            self.fit(now);
        }
    }

    pub fn standing(&self, second: f64) -> (u64, Standing) {
        self.holder.entitled(self.clock(second))
    }
}
