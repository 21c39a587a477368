//! A named limit, valid by construction.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

use bowsprit_crds::limits::{CostPerMinute, LimitPer, NamedLimit};
use bowsprit_crds::provider_config::{LimitScope, OnLimit};

use super::glob;
use super::named::{self, Wrong};
use super::provider::LimitStore;
use crate::cost::Picodollars;
use crate::limits::limiter::{LimiterSettings, Which};
use crate::model_name;
use crate::stream::shares::LimitKey;

/// How long a request may wait for its turn where `maxWait` is not set.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(10);
/// No longer than clients wait for an answer.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// A named limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its own name.
    pub name: Arc<str>,
    /// Its name among all limits of a sidecar: that of the object which sets it, and its own: `fast/per-team`.
    pub full_name: Arc<str>,
    /// The models that it is for, as globs; none: all.
    pub models: Vec<String>,
    /// How much.
    pub settings: LimiterSettings,
    /// What it is counted apart by.
    pub per: Per,
    /// What happens to a request beyond it.
    pub on_limit: OnLimit,
    /// How long a request may wait.
    pub max_wait: Duration,
    /// Whether all sidecars that it is for have it together.
    pub is_shared: bool,
    /// Whom the operator lends it to as one, where they do.
    pub borrowers: Borrowers,
    /// Where it is counted then; none: the operator lends shares of it.
    pub store: Option<Arc<LimitStore>>,
}

/// What a limit is counted apart by, in one sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Per {
    /// By nothing: all requests of the sidecar are under one count.
    Sidecar,
    /// By the value of this request header, in lower case.
    Header(String),
    /// By this claim of the token in `authorization`, which nobody has verified.
    Claim(String),
    /// By the model as it was asked for.
    Model,
    /// By the ModelRoute.
    Route,
    /// By the workload that the sidecar's pod is of, where sidecars of several have it together.
    Workload,
    /// By the service account that its pod runs as, where sidecars of several have it together.
    ServiceAccount,
    /// By the provider that an attempt goes to: taken with the attempt's place, not when the request comes.
    Provider,
}

/// Which sidecars have one count together, where the operator lends a limit of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Borrowers {
    /// All that it is for.
    All,
    /// Those of each workload.
    Workload,
    /// Those of each service account.
    ServiceAccount,
}

/// What sidecars share of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedLimit {
    /// Its name on the wire.
    pub of: LimitKey,
    /// Its amount: in the unit of what it counts.
    pub whole: u64,
    /// Whether it is lent to groups of sidecars apart, so that who asks says of which it is.
    pub is_apart: bool,
}

impl SharedLimit {
    /// Whether this is what is asked of. Sidecars of the release before do not say of which group they are: they are one together.
    pub fn is(&self, asked: &LimitKey) -> bool {
        (self.is_apart || asked.apart.is_empty()) && self.of.is_of_the_same_limit(asked)
    }
}

impl Limit {
    /// Checks the limits of one object of this name.
    ///
    /// # Errors
    /// Everything that is wrong with them, with the field's path from the spec.
    pub(super) fn all_of(owner: &str, specs: &[NamedLimit]) -> Result<Vec<Arc<Self>>, Vec<Wrong>> {
        named::all_of(
            "limits",
            "limit",
            specs,
            |spec| &spec.name,
            |spec, note| Some(Self::of(owner, spec, note)),
        )
    }

    fn of(owner: &str, spec: &NamedLimit, note: &mut dyn FnMut(&str, &str, &str)) -> Self {
        for (field, value) in [
            ("requestsPerMinute", spec.requests_per_minute),
            ("tokensPerMinute", spec.tokens_per_minute),
            ("inputTokensPerMinute", spec.input_tokens_per_minute),
            ("outputTokensPerMinute", spec.output_tokens_per_minute),
            ("concurrentRequests", spec.concurrent_requests),
        ] {
            if value == Some(0) {
                note(field, "is 0", "set it to 1 or more, or remove it");
            }
        }
        let tokens = |value: Option<u32>| value.map(u64::from).and_then(NonZeroU64::new);
        let settings = LimiterSettings {
            requests_per_minute: spec.requests_per_minute.and_then(NonZeroU32::new),
            tokens_per_minute: tokens(spec.tokens_per_minute),
            input_per_minute: tokens(spec.input_tokens_per_minute),
            output_per_minute: tokens(spec.output_tokens_per_minute),
            cost_per_minute: spec.cost_per_minute.as_ref().and_then(|cost| money(cost, note)),
            concurrent: spec.concurrent_requests.and_then(NonZeroU32::new),
        };
        if settings == LimiterSettings::default() && spec.cost_per_minute.is_none() {
            let remedy = "set requestsPerMinute, tokensPerMinute, inputTokensPerMinute, outputTokensPerMinute, costPerMinute or \
                          concurrentRequests";
            note("", "limits nothing", remedy);
        }
        if spec.models.iter().any(String::is_empty) {
            note("models", "has an empty name", "remove it");
        }
        if spec.scope == LimitScope::Fleet {
            shareable(spec.per, spec.store.is_some(), note);
        }
        if spec.max_wait.is_some() && spec.on_limit != OnLimit::Wait {
            note(
                "maxWait",
                "is set, and nothing waits with this onLimit",
                "remove it, or set onLimit to Wait",
            );
        }
        let max_wait = spec.max_wait.map_or(DEFAULT_MAX_WAIT, bowsprit_crds::DurationText::get);
        if max_wait > LONGEST_WAIT {
            note(
                "maxWait",
                "is longer than 10m, which clients do not wait",
                "set it to at most 10m",
            );
        }
        Self {
            name: spec.name.as_str().into(),
            full_name: format!("{owner}/{}", spec.name).into(),
            models: spec.models.clone(),
            settings,
            per: per(spec, note),
            on_limit: spec.on_limit,
            max_wait,
            is_shared: spec.scope == LimitScope::Fleet,
            borrowers: match spec.per {
                LimitPer::Workload => Borrowers::Workload,
                LimitPer::ServiceAccount => Borrowers::ServiceAccount,
                _ => Borrowers::All,
            },
            store: store(spec, note).map(Arc::new),
        }
    }

    /// What sidecars share of these limits of a ModelRoute.
    pub fn shared_of_route(route: &str, specs: &[NamedLimit]) -> Vec<SharedLimit> {
        Self::shared(route, specs)
    }

    /// The same, of a UsagePolicy.
    pub fn shared_of_policy(policy: &str, specs: &[NamedLimit]) -> Vec<SharedLimit> {
        Self::shared(&of_policy(policy), specs)
    }

    fn shared(owner: &str, specs: &[NamedLimit]) -> Vec<SharedLimit> {
        let shared = specs.iter().filter(|spec| spec.scope == LimitScope::Fleet);
        let mut all = Vec::new();
        for spec in shared {
            let mut is_wrong = false;
            let limit = Self::of(owner, spec, &mut |_, _, _| is_wrong = true);
            // No sidecar takes it.
            if is_wrong {
                continue;
            }
            let key = |which| LimitKey::of_limit(&limit.full_name, which);
            let shared = |which| {
                Some(SharedLimit {
                    of: key(which),
                    whole: limit.settings.amount(which)?,
                    is_apart: limit.borrowers != Borrowers::All,
                })
            };
            all.extend(Which::ALL.into_iter().filter_map(shared));
        }
        all
    }

    /// Whether it is for requests for this model.
    pub fn is_for(&self, asked: &str) -> bool {
        self.models.is_empty()
            || self
                .models
                .iter()
                .any(|pattern| glob::matches(pattern, asked) || glob::matches(pattern, model_name::bare(asked)))
    }
}

/// How the limits of a UsagePolicy are named: no route can be called like that.
pub(super) fn of_policy(name: &str) -> String {
    format!("policy/{name}")
}

/// Where it is counted.
fn store(spec: &NamedLimit, note: &mut dyn FnMut(&str, &str, &str)) -> Option<LimitStore> {
    let store = spec.store.as_ref()?;
    if spec.scope != LimitScope::Fleet {
        note(
            "store",
            "counts limits that sidecars share, and this is each sidecar's own",
            "remove it, or set scope to Fleet",
        );
        return None;
    }
    let at = (&store.redis_ref, store.ca_bundle_ref.as_ref());
    LimitStore::of(at, store.timeout)
        .map_err(|wrong| {
            for (field, problem, remedy) in wrong {
                note(&format!("store.{field}"), &problem, remedy);
            }
        })
        .ok()
}

/// What the operator lends apart is by what a pod is: keys that callers make up would each be a limit of its own there. A store has a count for
/// each.
fn shareable(per: LimitPer, is_stored: bool, note: &mut dyn FnMut(&str, &str, &str)) {
    let remedy = match per {
        LimitPer::Pod | LimitPer::Namespace | LimitPer::Workload | LimitPer::ServiceAccount => return,
        LimitPer::Provider => "set rateLimits with scope: Fleet in each ProviderConfig, which holds for every route",
        _ if is_stored => return,
        LimitPer::Caller => {
            "set store, where each has a count of its own; or per: Namespace beside another limit with per: Caller and scope: Pod"
        }
        LimitPer::Model => "set store, or per: Namespace, and one limit for each model with models",
        LimitPer::Route => "set store, or per: Namespace in the limits of each ModelRoute",
    };
    let problem = format!("{per:?} cannot be counted over all sidecars");
    note("per", &problem, remedy);
}

fn per(spec: &NamedLimit, note: &mut dyn FnMut(&str, &str, &str)) -> Per {
    match (spec.per, &spec.caller) {
        (LimitPer::Caller, Some(caller)) => match (&caller.header, &caller.claim) {
            (Some(header), None) => {
                let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
                if header.is_empty() || !header.bytes().all(is_token) {
                    note("caller.header", "is no name of a header", "name one, such as x-team");
                }
                Per::Header(header.to_ascii_lowercase())
            }
            (None, Some(claim)) => Per::Claim(claim.clone()),
            _ => {
                note("caller", "must say one thing", "set header or claim, one of the two");
                Per::Sidecar
            }
        },
        (LimitPer::Caller, None) => {
            note(
                "caller",
                "is missing",
                "say how callers are told apart: caller: {header: x-team}",
            );
            Per::Sidecar
        }
        (_, Some(_)) => {
            note(
                "caller",
                "belongs to per: Caller alone",
                "set per: Caller, or remove it",
            );
            Per::Sidecar
        }
        (LimitPer::Model, None) => Per::Model,
        (LimitPer::Route, None) => Per::Route,
        (LimitPer::Provider, None) => Per::Provider,
        (LimitPer::Workload, None) if spec.store.is_some() => Per::Workload,
        (LimitPer::ServiceAccount, None) if spec.store.is_some() => Per::ServiceAccount,
        // All callers of a sidecar are of one pod, and so of one of each.
        (LimitPer::Pod | LimitPer::ServiceAccount | LimitPer::Workload | LimitPer::Namespace, None) => Per::Sidecar,
    }
}

/// Picodollars. A price per million tokens is read in the same unit: a picodollar per token is a dollar per 10^12 of them.
fn money(cost: &CostPerMinute, note: &mut dyn FnMut(&str, &str, &str)) -> Option<NonZeroU64> {
    let dollars = Picodollars::per_token(&cost.amount)
        .ok()
        .map(|amount| amount.times(1_000_000));
    let amount = dollars.and_then(|amount| NonZeroU64::new(u64::try_from(amount.get()).ok()?));
    if amount.is_none() {
        let problem = format!("{:?} is no amount of money above 0", cost.amount);
        note(
            "costPerMinute.amount",
            &problem,
            "write US dollars with at most six decimals, such as \"0.50\"",
        );
    }
    amount
}
