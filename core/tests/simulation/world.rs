//! The world of one seed: providers whose moods change, and requests on their way through the product's own flow, one
//! random step at a time.

use super::shadow;
use bowsprit_core::budget::{self, Budget};
use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Config, Scope, load};
use bowsprit_core::dialect::Dialect;
use bowsprit_core::fault::Code;
use bowsprit_core::flow::{Cancel, Flow, Terms};
use bowsprit_core::hedge::{self, Allowance};
use bowsprit_core::plan;
use bowsprit_core::record::Outcome;
use provider::{Mood, Provider};
use request::Request;
use std::fmt::Write as _;
use std::time::Duration;

mod pool;
mod provider;
mod request;

/// Requests that are under way at once, at most.
const MOST: usize = 30;

/// How often what happened: a simulation should see all of it.
#[derive(Default)]
pub struct Seen {
    pub outcomes: [u64; Outcome::ALL.len()],
    pub counts: std::collections::BTreeMap<&'static str, u64>,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        for (mine, others) in self.outcomes.iter_mut().zip(other.outcomes) {
            *mine += others;
        }
        for (name, count) in other.counts {
            *self.counts.entry(name).or_default() += count;
        }
    }
}

impl Seen {
    pub fn note(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Each of it must have happened at least `least` times, and what is rare by its nature at least a tenth of that.
    pub fn assert_rich(&self, least: u64) {
        const OFTEN: [&str; 22] = [
            "trip",
            "recovery",
            "refused, open",
            "limited",
            "no credential",
            "retry",
            "other credential",
            "fallback",
            "fallback paid",
            "hedge won",
            "hedge lost",
            "waited",
            "late settle",
            "may_pass",
            "credential_judged",
            "would_fail_again",
            "attempts_used",
            "not_covered_by_retry_on",
            "provider_forbids",
            "sdk_repeats",
            "not_trusted",
            "hint_too_long",
        ];
        const RARE: [&str; 4] = ["both failed", "budget spent", "budget_spent", "other_is_sooner"];
        for outcome in Outcome::ALL {
            let count = self.outcomes[outcome as usize];
            assert!(count >= least, "{}: seen only {count} times", outcome.as_str());
        }
        let seen = |name| self.counts.get(name).copied().unwrap_or_default();
        for (name, least) in OFTEN
            .map(|name| (name, least))
            .into_iter()
            .chain(RARE.map(|name| (name, least / 10)))
        {
            assert!(seen(name) >= least, "{name}: seen only {} times", seen(name));
        }
    }
}

/// What the flows of all requests share, as in the product.
pub struct Shared {
    pub rng: fastrand::Rng,
    pub now: Moment,
    pub providers: Vec<Provider>,
    pub budget: Budget,
    pub budget_shadow: shadow::Budget,
    pub budget_settings: budget::BudgetSettings,
    pub hedging: hedge::HedgeSettings,
    pub allowance: Allowance,
    pub hedgeable: u64,
    pub hedges: u64,
    pub seen: Seen,
}

pub struct World {
    pub trace: u64,
    pub shared: Shared,
    config: Config,
    live: Vec<Request>,
    received: u64,
    sent: u64,
}

/// Documents as a person would write them, of random providers: the flow reads the settings that a config really gives.
fn documents(rng: &mut fastrand::Rng, providers: usize) -> String {
    let mut text = String::new();
    let floor = rng.u32(0..=2);
    for n in 0..providers {
        let mut on = [
            "Connect",
            "Reset",
            "Timeout",
            "ServerError",
            "Overloaded",
            "RateLimited",
        ]
        .to_vec();
        on.retain(|_| rng.u8(0..4) > 0);
        let keys: Vec<String> = (0..rng.usize(1..=3))
            .map(|key| format!("{{name: k{key}, env: K{n}{key}}}"))
            .collect();
        let base = rng.u32(1..=400);
        let _ = writeln!(
            text,
            "---\napiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: p{n}}}\nspec:\n  provider: OpenAI\n  \
             priority: {}\n  credentials: [{}]\n  models: [{{name: m}}, {{name: extra-{n}}}]\n  defaultModel: m\n  \
             retry: {{maxAttempts: {}, retryOn: [{}], backoff: {{base: {base}ms, max: {}ms, jitter: {}}}, budget: {{percent: 20, minPerSecond: {floor}}}}}\n  \
             rateLimits: {{onLimit: {}, maxWait: {}ms}}",
            n * 10,
            keys.join(", "),
            rng.u32(1..=5),
            on.join(", "),
            base + rng.u32(0..=4_000),
            if rng.bool() { "Full" } else { "None" },
            ["Wait", "Fallback", "Reject"][rng.usize(0..3)],
            rng.u32(1..=5_000),
        );
    }
    // Two models of one provider in one route: a switch between them is a switch.
    let _ = writeln!(
        text,
        "---\napiVersion: bowsprit.dev/v1alpha1\nkind: ModelRoute\nmetadata: {{name: route}}\nspec: {{match: {{models: [routed]}}, \
         targets: [{{provider: p0, model: m}}, {{provider: p0, model: extra-0}}], fallback: [{{provider: p1, model: m}}]}}"
    );
    text
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let now = Moment::from_start(Duration::from_secs(1));
        let count = rng.usize(2..=4);
        let text = documents(&mut rng, count);
        let config = load(&text, &Scope::Standalone).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let providers = config
            .providers
            .iter()
            .map(|provider| Provider::new(provider, &mut rng, now))
            .collect();
        let budget_settings = config.providers[0].retry.budget;
        let hedging = hedge::HedgeSettings {
            after: Some(Duration::from_millis(rng.u64(1..=50))),
            percentile: None,
            max_percent: rng.u32(20..=100),
        };
        Self {
            trace: 0xcbf2_9ce4_8422_2325,
            shared: Shared {
                now,
                providers,
                budget: Budget::default(),
                budget_shadow: shadow::Budget::new(budget_settings),
                budget_settings,
                hedging,
                allowance: Allowance::default(),
                hedgeable: 0,
                hedges: 0,
                seen: Seen::default(),
                rng,
            },
            config,
            live: Vec::new(),
            received: 0,
            sent: 0,
        }
    }

    fn note(&mut self, what: u64) {
        self.trace = (self.trace ^ what).wrapping_mul(0x0100_0000_01b3);
    }

    pub fn step(&mut self) {
        let what = self.shared.rng.u32(0..1_000);
        self.note(u64::from(what));
        match what {
            0..300 => self.shared.advance(50_000_000),
            300..315 => self.shared.advance(20_000_000_000),
            315..317 => self.shared.advance(600_000_000_000),
            317..460 => self.receive(),
            460..950 => self.progress(),
            950..975 => {
                let moods = [Mood::Good, Mood::Good, Mood::Failing, Mood::Throttling, Mood::Mixed];
                let provider = self.shared.rng.usize(0..self.shared.providers.len());
                self.shared.providers[provider].mood = moods[self.shared.rng.usize(0..moods.len())];
            }
            975..985 => self.shared.reconfigure(),
            985..990 => self.shared.reset(),
            _ => self.lose_a_permit(),
        }
    }

    fn receive(&mut self) {
        if self.live.len() >= MOST {
            return;
        }
        self.received += 1;
        let mut flow = Flow::received();
        let rng = &mut self.shared.rng;
        if rng.u32(0..30) == 0 {
            flow.rejected([Code::ValNotJson, Code::AuthKeyMissing][rng.usize(0..2)]);
            return self.count(&flow);
        }
        let model = if rng.bool() { "routed" } else { "m" };
        let tokens = rng.u64(0..20_000);
        let draw = rng.f64();
        let shared = &self.shared;
        let view = |provider: &bowsprit_core::config::Provider, model: &str| shared.availability(provider, model);
        let plan = plan::plan(&self.config, Dialect::OpenAiChat, &model.into(), &view, &mut || draw);
        let rng = &mut self.shared.rng;
        let terms = Terms {
            sdk_retries: u32::from(rng.u32(0..8) == 0),
            hedge: (rng.u32(0..4) > 0).then_some(self.shared.hedging),
        };
        flow.planned(plan.candidates.clone(), terms);
        let stream = self.shared.rng.bool();
        let unfit = self.shared.rng.usize(0..20);
        self.live
            .push(Request::new(flow, &plan, &self.config, terms, tokens, stream, unfit));
        let last = self.live.len() - 1;
        self.progress_at(last);
    }

    fn progress(&mut self) {
        if !self.live.is_empty() {
            let index = self.shared.rng.usize(0..self.live.len());
            self.progress_at(index);
        }
    }

    fn progress_at(&mut self, index: usize) {
        let mut request = self.live.swap_remove(index);
        self.note(request.flow.state() as u64);
        if self.shared.rng.u32(0..40) == 0 {
            let by = [Cancel::Caller, Cancel::Drain, Cancel::Memory][self.shared.rng.usize(0..3)];
            request.drop_all(&mut self.shared);
            request.flow.cancelled(by);
        } else {
            request.progress(&mut self.shared);
        }
        if request.flow.state().is_terminal() {
            self.end(&request);
        } else {
            self.live.push(request);
        }
    }

    fn end(&mut self, request: &Request) {
        assert!(request.holds_nothing(), "ended with a permit in hand");
        self.sent += u64::from(request.flow.attempts());
        self.count(&request.flow);
    }

    fn count(&mut self, flow: &Flow) {
        assert_eq!(flow.illegal_changes(), 0, "a change outside the table");
        let outcome = flow.outcome().expect("every end has an outcome");
        self.shared.seen.outcomes[outcome as usize] += 1;
        self.note(outcome as u64);
    }

    /// A bug elsewhere: somebody forgets a breaker's permit. Recovery must survive it.
    fn lose_a_permit(&mut self) {
        if let Some(request) = self.live.iter_mut().find(|request| !request.holds_nothing()) {
            request.forget_permits();
        }
    }

    /// What must hold after every step.
    pub fn check(&mut self) {
        let now = self.shared.now;
        for (index, provider) in self.shared.providers.iter_mut().enumerate() {
            let held = self.live.iter().map(|request| request.held_at(index)).sum();
            provider.check(held, now);
        }
        let shared = &mut self.shared;
        assert_eq!(
            shared.budget.remaining(&shared.budget_settings, now),
            shared.budget_shadow.remaining(now)
        );
        assert!(
            shared.budget_shadow.within_promise(now),
            "more retries than the budget promises"
        );
        assert!(
            shared.hedges * 100 <= shared.hedgeable * u64::from(shared.hedging.max_percent),
            "{} hedges for {} requests",
            shared.hedges,
            shared.hedgeable
        );
        let ended: u64 = self.shared.seen.outcomes.iter().sum();
        assert_eq!(
            self.received,
            ended + self.live.len() as u64,
            "every request has one outcome"
        );
    }

    /// After the last fault everything must find back: no place leaked, the breakers close, the limiters admit.
    pub fn calm_down(&mut self) {
        while let Some(mut request) = self.live.pop() {
            request.drop_all(&mut self.shared);
            request.flow.cancelled(Cancel::Caller);
            self.end(&request);
        }
        for _ in 0..4 {
            self.shared.advance_to(self.shared.now + Duration::from_mins(61));
            let now = self.shared.now;
            for provider in &mut self.shared.providers {
                provider.find_back(now);
            }
        }
        let now = self.shared.now;
        assert!(
            self.shared.providers.iter().all(|provider| provider.is_well(now)),
            "the breakers found back"
        );
    }
}

impl Shared {
    fn advance(&mut self, most_nanos: u64) {
        let to = self.now + Duration::from_nanos(self.rng.u64(0..=most_nanos));
        self.advance_to(to);
    }

    fn advance_to(&mut self, now: Moment) {
        self.now = now;
        for provider in &mut self.providers {
            provider.limiter_shadow.advance(now);
        }
    }

    fn reconfigure(&mut self) {
        let index = self.rng.usize(0..self.providers.len());
        let now = self.now;
        let (providers, rng) = (&mut self.providers, &mut self.rng);
        providers[index].reconfigure(rng, now);
    }

    fn reset(&mut self) {
        let index = self.rng.usize(0..self.providers.len());
        let now = self.now;
        self.providers[index].reset(now);
    }
}
