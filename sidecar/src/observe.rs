//! What is told of requests and attempts: sinks of their records, which read these and nothing else.

use std::collections::HashSet;

use bowsprit_core::config::Config;
use bowsprit_core::flow::moves::MoveRecord;
use bowsprit_core::record::{AttemptRecord, HeadroomRecord, RequestRecord};

use crate::metrics::{Registry, SeriesBound};

pub mod slo;

pub mod access;
mod access_log;
pub mod cache;
pub mod genai;
pub mod guards;
pub mod hedges;
mod kept_labels;
pub mod ledger;
pub mod refill;
pub mod semantic;
pub mod spans;
pub mod stale;
pub mod traffic;

pub use access_log::{AccessLog, FLUSH_EVERY, LogMetrics};
use cache::CacheAnswers;
use genai::{Detail, GenAi};
use hedges::Hedges;
use ledger::Ledger;
use semantic::SemanticAnswers;
use spans::Spans;
use stale::StaleAnswers;
use traffic::{Handles, Traffic};

/// Most series of a sidecar with ten providers of one model each.
pub const MOST_SERIES: usize = 500;
/// Series without a provider's name: single ones, histograms of our own, closed lists, what is folded.
const GLOBAL: usize = 120;
/// Series of a provider whose limits are shared: three limits, with share, demand and whether it is the floor.
const PER_SHARING_PROVIDER: usize = 9;
/// Series of a provider whose limits a store counts: whether it answers. One more is what is folded of requests that went on without it.
const PER_STORED_PROVIDER: usize = 1;
/// Series about named limits, where there are any, beyond those of the pool: what is folded of requests, of waits and of the two
/// kinds of tokens.
const LIMITS_FOLDED: usize = 1 + 1 + 2;
/// Series about budgets, where there are any, beyond those of the pool: what is folded of requests.
const BUDGETS_FOLDED: usize = 1;
/// Series that each provider has, or may have when the pool is used up.
const PER_PROVIDER: usize = 13;
/// Series that each model of a provider has.
const PER_MODEL: usize = 4;
/// The least that is left for what happens seldom.
const POOL: usize = 15;

/// Where records go: metrics under our own names and under OpenTelemetry's, spans, the access log, and the ledger.
pub struct Sinks {
    /// Requests and exchanges against their objectives.
    pub slos: slo::Slos,
    /// Requests, attempts, tokens, durations.
    pub traffic: Traffic,
    /// Second attempts beside a first.
    pub hedges: Hedges,
    /// Answers that are kept for an outage.
    pub stale: StaleAnswers,
    /// Answers that are given in place of asking.
    pub cache: CacheAnswers,
    /// Answers that are given to questions that are alike.
    pub semantic: SemanticAnswers,
    /// How vectors of next models are filled.
    pub refill: refill::Refilled,
    /// Exchanges with providers, under OpenTelemetry's names.
    pub genai: GenAi,
    /// Spans for a collector.
    pub spans: Spans,
    /// What guards find.
    pub guards: guards::Findings,
    /// What access rules decide.
    pub decisions: access::Decisions,
    /// Access log.
    pub access: AccessLog,
    /// The ledger's outbox.
    pub ledger: Ledger,
    bound: SeriesBound,
}

impl Sinks {
    /// Registers the families of the records.
    pub fn register(registry: &mut Registry, access: AccessLog) -> Self {
        Self {
            slos: slo::Slos::register(registry),
            traffic: Traffic::register(registry),
            hedges: Hedges::register(registry),
            stale: StaleAnswers::register(registry),
            cache: CacheAnswers::register(registry),
            semantic: SemanticAnswers::register(registry),
            refill: refill::Refilled::register(registry),
            genai: GenAi::register(registry),
            spans: Spans::register(registry),
            guards: guards::Findings::register(registry),
            decisions: access::Decisions::register(registry),
            access,
            ledger: Ledger::register(registry),
            bound: registry.bound(),
        }
    }

    /// Tells of a request that has ended.
    pub fn request(&self, record: &RequestRecord<'_>) {
        self.slos.request(record);
        self.traffic.request(record);
        self.stale.request(record);
        self.cache.request(record);
        self.spans.request(record);
        self.access.write(record);
        self.ledger.request(record);
    }

    /// Tells of what a candidate did not answer, and what followed.
    pub fn moved(&self, record: &MoveRecord<'_>) {
        self.traffic.moved(record);
    }

    /// Tells of an attempt that has ended. `handles`: of the provider that it went to. `charged`: the tokens that its
    /// limit was charged.
    pub fn attempt(&self, handles: &Handles, record: &AttemptRecord<'_>, charged: u64) {
        self.slos.attempt(record);
        handles.attempt(record);
        self.spans.attempt(record);
        self.access.write_attempt(record, charged);
        self.ledger.attempt(record);
    }

    /// Tells of what one model used in a batch whose results have passed by. `handles`: of the provider that ran it; `None`: nobody
    /// knows whether one did, so that it is told to the ledger alone.
    pub fn batch(&self, handles: Option<&Handles>, record: &AttemptRecord<'_>) {
        if let Some(handles) = handles {
            handles.batch(record);
            self.access.write_batch(record);
        }
        self.ledger.attempt(record);
    }

    /// Tells of what a provider says of its own limits.
    pub fn headroom(&self, record: &HeadroomRecord<'_>) {
        self.ledger.headroom(record);
    }

    /// Makes room for a configuration and forgets the providers that it does not name. To be called before its handles
    /// are made.
    ///
    /// What the configuration multiplies comes first, then as much detail of OpenTelemetry's families as fits; what is
    /// left is the pool for what happens seldom. Beyond ten providers the bound grows with their number.
    pub fn fit(&self, config: &Config) {
        let models: usize = config
            .providers
            .iter()
            .map(|provider| provider.models.len().max(1))
            .sum();
        let names: HashSet<_> = config
            .providers
            .iter()
            .map(|provider| genai::provider_name(provider.kind))
            .collect();
        let shared = config
            .providers
            .iter()
            .filter(|provider| provider.shares_limits)
            .count();
        let stored = config
            .providers
            .iter()
            .filter(|provider| provider.limit_store.is_some())
            .count();
        let stores = if stored > 0 {
            stored * PER_STORED_PROVIDER + 1
        } else {
            0
        };
        let shares = shared * PER_SHARING_PROVIDER + stores;
        let switched_on = shares
            + self.slos.fit(config)
            + self.stale.fit(config)
            + self.cache.fit(config)
            + self.semantic.fit(config)
            + self.refill.fit(config)
            + self.decisions.fit(config)
            + guards::Findings::fit(config)
            + self.ledger.fit();
        let limits = config.limits().count();
        let switched_on = switched_on + if limits > 0 { limits + LIMITS_FOLDED } else { 0 };
        let budgets = config.budgets().count();
        let switched_on = switched_on + if budgets > 0 { budgets + BUDGETS_FOLDED } else { 0 };
        let fixed = GLOBAL + config.providers.len() * PER_PROVIDER + models * PER_MODEL + switched_on;
        let detail = Detail::that_fits(MOST_SERIES.saturating_sub(fixed + POOL), names.len());
        self.genai.tell(detail);
        let left = MOST_SERIES.saturating_sub(fixed + detail.series(names.len()));
        self.bound.allow(left.max(POOL));
        self.bound.retain(&|name| config.provider(name).is_some());
    }
}
