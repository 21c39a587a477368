//! The bound on series, what the families say, and what an update costs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowsprit_core::breaker::{Cause, StateName, Transition, Trip};
use bowsprit_core::clock::Moment;
use bowsprit_core::config::{self, Config, KeySource, LimitStore, Scope, Slo};
use bowsprit_core::cost::{Cost, Picodollars, Unpriced};
use bowsprit_core::dialect::{Dialect, Usage};
use bowsprit_core::fault::{Blame, Code};
use bowsprit_core::flow::SkipReason;
use bowsprit_core::flow::State;
use bowsprit_core::flow::moves::{Move, MoveRecord};
use bowsprit_core::flow::retry::{Next, Why};
use bowsprit_core::guard;
use bowsprit_core::kept::cache::Bypass;
use bowsprit_core::limiter::Which;
use bowsprit_core::record::path::Path;
use bowsprit_core::record::{AttemptKind, AttemptOutcome, AttemptRecord, Called, Outcome, RequestRecord, Spent};
use bowsprit_ledger::outbox::Counts;
use http::{HeaderMap, HeaderValue};

use super::*;
use crate::config::stream;
use crate::credentials::KeyFiles;
use crate::jobs::Report;
use crate::net::client::Connections;
use crate::net::server::Listener;
use crate::observe::MOST_SERIES as MOST;
use crate::observe::access::Decided;
use crate::observe::cache::{Came, Stored};
use crate::observe::genai::Detail;
use crate::observe::hedges::HedgeOutcome as Hedged;
use crate::observe::ledger::Sent;
use crate::observe::semantic;
use crate::observe::spans::Settings;
use crate::observe::stale::Fate;
use crate::observe::traffic::Handles;
use crate::store::Stores;
use crate::tenant::budgets::Met as Beyond;
use crate::tenant::limits::Met;
use crate::tenant::provider::States;

const KINDS: [&str; 4] = ["Anthropic", "Gemini", "OpenAI", "OpenAICompatible"];

/// So many providers of so many models each, of all kinds.
fn config(providers: usize, models: usize) -> Config {
    let mut text = String::new();
    for n in 0..providers {
        let kind = KINDS[n % KINDS.len()];
        let listed: Vec<String> = (0..models).map(|m| format!("{{name: model-{n}-{m}}}")).collect();
        let _ = write!(
            text,
            "---\napiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: provider-{n}}}\nspec:\n  \
             provider: {kind}\n  endpoint: {{baseUrl: 'https://p{n}.example/v1'}}\n  models: [{}]\n  \
             credentials: [{{name: main, secretKeyRef: {{name: keys, key: k{n}}}}}]\n",
            listed.join(", ")
        );
    }
    let _ = write!(
        text,
        "---\napiVersion: bowsprit.dev/v1alpha1\nkind: ModelRoute\nmetadata: {{name: smart}}\nspec:\n  match: {{models: [smart]}}\n  \
         targets: [{{provider: provider-0, model: model-0-0}}]\n  staleIfError: {{maxAge: 1h, maxBytes: 1048576}}\n  \
         cache: {{ttl: 1h, maxBytes: 1048576, embeddings: {{maxBytes: 1048576, next: {{provider: provider-0, model: next}}}}, \
         store: {{redisRef: {{name: answers, key: url}}}}, \
         semantic: {{embeddingModel: model-0-0, maxBytes: 1048576}}}}\n  \
         limits: [{{name: calls, requestsPerMinute: 5}}]\n  access: {{rules: [{{name: all, allow: 'true'}}]}}\n  \
         guards: [{{name: no-cards, applyTo: [Request], detect: [Card]}}, {{name: dlp, applyTo: [Request], webhook: {{url: 'https://dlp.example'}}}}]\n\
         ---\napiVersion: bowsprit.dev/v1alpha1\nkind: UsagePolicy\nmetadata: {{name: shop}}\nspec:\n  \
         budgets: [{{name: month, amount: '10', currency: USD, window: Month}}]\n"
    );
    config::load(&text, &Scope::Standalone).unwrap()
}

/// A sidecar to which everything has happened that can happen.
pub(super) fn driven(config: &Config) -> Families {
    let metrics = Families::new(AccessLog::new(false, tracing::Level::INFO));
    metrics.sinks.fit(config);
    metrics.server.cannot_accept(Listener::App);
    metrics.server.connection_ended("malformed");
    for why in stream::Why::ALL {
        metrics.stream.ended(why);
    }
    metrics.sinks.spans.keep(collector());
    let connections = Arc::new(Connections::new(None, &metrics.connections.pool));
    let states = States::new(Stores::new("team-a", Arc::new(KeyFiles::new(None)), connections, 1));
    let now = Moment::ZERO;
    let second = Duration::from_secs(1);
    requests(&metrics);
    let mut all = Vec::new();
    for provider in &config.providers {
        let handles = metrics.sinks.traffic.handles(provider, &metrics.sinks.genai);
        let state = states.adopt(provider, &metrics.providers, now);
        let models = provider.models.iter().map(|model| model.name.as_str());
        for model in models.chain(["made-up-by-a-caller", "and-another"]) {
            attempts(&handles, model);
            drop(state.admit(model, 1, now));
        }
        let mut headers = HeaderMap::new();
        for name in ["x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens"] {
            headers.insert(name, HeaderValue::from_static("7"));
        }
        state.observe(None, &headers, now, 0);
        for which in [Which::Requests, Which::Tokens, Which::Concurrency] {
            state.count_limited(which);
        }
        state.count_wait(second);
        state.probed(true, now);
        state.probed(false, now);
        if provider.shares_limits {
            metrics.providers.lapsed(state.name(), Which::Requests);
            metrics.providers.not_stored(state.name());
        }
        metrics.providers.key_set_aside(state.name(), "rejected");
        metrics.providers.key_set_aside(state.name(), "throttled");
        let moved = |what: Move| {
            metrics.sinks.moved(&MoveRecord {
                provider: state.name(),
                what,
            });
        };
        metrics.sinks.traffic.request(&RequestRecord {
            provider: state.name(),
            fields_left_out: 3,
            tools_left_out: 1,
            ..request(Outcome::Ok, None)
        });
        for outcome in [Hedged::Won, Hedged::Lost, Hedged::Failed, Hedged::Cancelled] {
            metrics.sinks.hedges.sent(state.name()).ended(outcome);
        }
        for code in Code::ALL {
            moved(Move::Retried { after: *code });
            let followed = Some((Next::Onward, Why::AttemptsUsed));
            moved(Move::Failed { code: *code, followed });
        }
        for reason in [
            SkipReason::NoCredential,
            SkipReason::RetryBudget,
            SkipReason::CircuitOpen,
        ] {
            moved(Move::PassedOver { reason, is_last: false });
        }
        for outcome in [Hedged::Won, Hedged::Lost, Hedged::Failed, Hedged::Cancelled] {
            metrics.sinks.hedges.sent(state.name()).ended(outcome);
        }
        for transition in transitions() {
            metrics
                .providers
                .transition(state.name(), provider.models[0].name.as_str().into(), &transition);
        }
        all.push(state);
    }
    for limit in config.limits().map(|limit| &limit.full_name) {
        metrics.limits.wait([(&**limit, 1)].into_iter());
        for result in Met::ALL {
            metrics.limits.met(limit, result);
        }
        metrics.limits.stood(limit, Duration::from_secs(1));
        metrics.limits.reserved(limit, 1);
        metrics.limits.used(limit, 1);
    }
    for budget in config.budgets().map(|budget| &budget.full_name) {
        metrics.budgets.spent([(budget, 0.5)].into_iter());
        for result in Beyond::ALL {
            metrics.budgets.met(budget, result);
        }
    }
    metrics.jobs.observe(&Report {
        queued: 1,
        running: 1,
        kept: 1,
        bytes: 1,
    });
    for decided in [Decided::Denied, Decided::WouldDeny] {
        metrics
            .sinks
            .decisions
            .denied(&"small-models-only".into(), decided, true);
    }
    for decided in guard::Decided::ALL {
        metrics.sinks.guards.found(&"no-cards".into(), decided);
    }
    for why in guard::webhook::Why::ALL {
        for decision in [why.passed(), why.refused(), why.would_refuse()] {
            metrics.sinks.guards.count(&"no-cards".into(), decision);
        }
    }
    for guard in config.guards().filter(|guard| guard.webhook.is_some()) {
        metrics.sinks.guards.questions(&guard.name).asked(second);
    }
    for fate in Fate::ALL {
        metrics.sinks.stale.count(fate, 1);
        metrics.sinks.cache.count(fate, 1);
    }
    for why in Bypass::ALL {
        metrics.sinks.cache.bypassed("smart", why);
    }
    for came in Came::ALL {
        metrics.sinks.cache.came("smart", came);
    }
    for stored in Stored::ALL {
        metrics.sinks.cache.stored(stored);
    }
    for work in semantic::Work::ALL {
        metrics.sinks.semantic.worked(work, 1, second);
    }
    for result in semantic::Result::ALL {
        metrics.sinks.semantic.came("smart", result, 0.97);
    }
    for why in semantic::Error::ALL {
        metrics.sinks.semantic.failed(why);
    }
    let ledger = &metrics.sinks.ledger.metrics;
    for sent in Sent::ALL {
        ledger.sent(sent, "", 0);
    }
    ledger.lost(1);
    ledger.observe(&Counts {
        kept: 1,
        spilled: 1,
        folded: 1,
        not_written: 1,
        broken: 1,
        bytes: 1,
        taken: 1,
    });
    metrics.providers.observe(all.iter().map(|state| &**state), now);
    metrics
}

/// Spans go somewhere.
fn collector() -> Settings {
    let endpoint = |name: &str| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://collector:4318".to_owned());
    Settings::read(endpoint).unwrap().unwrap()
}

/// A request that ended so.
fn request(outcome: Outcome, code: Option<Code>) -> RequestRecord<'static> {
    RequestRecord {
        id: "r-1",
        trace_id: "",
        route: "",
        dialect: Dialect::OpenAiChat,
        operation: "chat_completions",
        asked_model: "m",
        provider: "p",
        model: "m",
        is_stream: false,
        attempts: 1,
        hedges: 0,
        sdk_retries: 0,
        fields_left_out: 0,
        tools_left_out: 0,
        state: State::Completed,
        illegal_changes: 0,
        outcome,
        code,
        status: 200,
        took: Duration::from_secs(1),
        first_token_after: None,
        overhead: Duration::from_micros(80),
        answer_bytes: 1_000,
        spent: Spent::NOTHING,
        path: Path::NONE,
        stale: None,
        cache: None,
        refused_by: "",
        would_refuse_by: "",
        guarded_by: "",
        span: None,
        cost: Ok(Picodollars::ZERO),
    }
}

/// An attempt at this model that was answered.
fn attempt(model: &str, spent: Spent) -> AttemptRecord<'_> {
    AttemptRecord {
        request_id: "r-1",
        trace_id: "",
        route: "",
        operation: "chat_completions",
        number: 1,
        kind: AttemptKind::First,
        provider: "p",
        model,
        reported_model: "",
        provider_request_id: "",
        credential: None,
        is_generation: true,
        is_stream: false,
        status: Some(200),
        outcome: AttemptOutcome::Answered,
        code: None,
        took: Duration::from_secs(1),
        head_after: None,
        first_content_after: None,
        spent,
        cost: Ok(COST),
        span: None,
        called: Called::default(),
    }
}

/// A third of a cent, and a picodollar.
const COST: Cost<'static> = Cost {
    reported: Picodollars::new(3_333_333_333),
    estimated: Picodollars::new(1),
    version: "config",
};

fn told(usage: Usage) -> Spent {
    Spent {
        reported: Some(usage),
        ..Spent::default()
    }
}

fn requests(metrics: &Families) {
    let traffic = &metrics.sinks.traffic;
    for dialect in Dialect::ALL {
        traffic.begun(dialect);
    }
    traffic.request(&request(Outcome::Ok, None));
    traffic.first_token(Duration::from_secs(1), None);
    traffic.taken(100);
    traffic.request(&request(Outcome::Cancelled, None));
    for code in Code::ALL {
        traffic.request(&request(Outcome::Cut, Some(*code)));
        let outcome = match (code, code.blame()) {
            (Code::RateLocalLimit | Code::SysOverloaded | Code::SysDraining, _) => Outcome::Shed,
            (_, Blame::Client) => Outcome::ClientError,
            (_, Blame::Provider) => Outcome::ProviderError,
            (_, Blame::Us) => Outcome::OwnError,
        };
        traffic.request(&request(outcome, Some(*code)));
    }
}

fn attempts(handles: &Handles, model: &str) {
    let usage = Usage {
        input: 1_000,
        output: 100,
        cached: 500,
        cache_write: 200,
        reasoning: 50,
        ..Usage::default()
    };
    handles.first_chunk(Duration::from_millis(300));
    handles.chunk(Duration::from_millis(20));
    let answered = attempt(model, told(usage));
    handles.attempt(&answered);
    for code in Code::ALL {
        handles.attempt(&AttemptRecord {
            outcome: AttemptOutcome::Failed,
            code: Some(*code),
            spent: Spent::NOTHING,
            cost: Ok(Cost::NOTHING),
            ..answered
        });
    }
    for why in Unpriced::ALL {
        handles.attempt(&AttemptRecord {
            spent: Spent::NOTHING,
            cost: Err(why),
            ..answered
        });
    }
    handles.attempt(&AttemptRecord {
        outcome: AttemptOutcome::Cancelled,
        spent: Spent {
            estimated_input: 3,
            estimated_output: 4,
            ..Spent::default()
        },
        ..answered
    });
}

fn transitions() -> [Transition; 7] {
    use StateName::{Closed, HalfOpen, Open};
    let change = |from, to, cause| Transition {
        from,
        to,
        cause,
        at: Moment::ZERO,
    };
    let last = Trip::Timeout;
    [
        change(Closed, Open, Cause::Consecutive { failures: 5, last }),
        change(Closed, Open, Cause::ErrorRate { failed: 9, requests: 9 }),
        change(Open, HalfOpen, Cause::OpenForPassed),
        change(HalfOpen, Open, Cause::ProbeFailed(last)),
        change(HalfOpen, Open, Cause::ProbeThrottled),
        change(HalfOpen, Closed, Cause::Recovered),
        change(Open, Closed, Cause::Reset),
    ]
}

/// The samples of an exposition.
pub(super) fn samples(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

/// The labels of a sample, without buckets.
pub(super) fn labels(sample: &str) -> Vec<(&str, &str)> {
    let Some((_, rest)) = sample.split_once('{') else {
        return Vec::new();
    };
    let (inside, _) = rest.rsplit_once('}').unwrap();
    inside
        .split("\",")
        .map(|pair| pair.split_once("=\"").unwrap())
        .map(|(name, value)| (name, value.trim_end_matches('"')))
        .filter(|(name, _)| *name != "le")
        .collect()
}

/// The values of a family's samples.
fn values<'a, T: FromStr<Err: Debug>>(text: &'a str, family: &'a str) -> impl Iterator<Item = T> + 'a {
    samples(text)
        .filter(move |line| line.starts_with(&format!("{family}{{")))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

/// Of a family of whole counts.
fn sum(text: &str, family: &str) -> usize {
    values::<usize>(text, family).sum()
}

#[test]
fn ten_providers_make_no_more_than_500_series_whatever_happens() {
    for (providers, models) in [(1, 1), (3, 1), (3, 4), (6, 2), (10, 1), (10, 3)] {
        let metrics = driven(&config(providers, models));
        let before = metrics.encode();
        let series = samples(&before).count();
        println!("{providers} providers of {models} models: {series} series");
        assert!(
            series <= MOST,
            "{providers} providers of {models} models: {series} series"
        );
        let distinct: BTreeSet<&str> = samples(&before).map(|line| line.rsplit_once(' ').unwrap().0).collect();
        assert_eq!(distinct.len(), series, "no series twice");
    }
}

#[test]
fn what_has_no_series_of_its_own_is_still_in_the_sums() {
    let metrics = driven(&config(10, 1));
    let text = metrics.encode();
    assert!(text.contains("code=\"other\""), "with ten providers not all fit");
    // Each of ten providers: one listed model and two that are not, each well, cancelled and failed in every way.
    let each = 3 * (Code::ALL.len() + 2 + Unpriced::ALL.len());
    assert_eq!(sum(&text, "bowsprit_attempts_total"), 10 * each);
    assert_eq!(sum(&text, "bowsprit_fallbacks_total"), 10 * (Code::ALL.len() + 3));
    // And one request each of which something was left out.
    assert_eq!(sum(&text, "bowsprit_requests_total"), 2 + 2 * Code::ALL.len() + 10);
    assert_eq!(sum(&text, "bowsprit_tokens_total"), 10 * 3 * 1_850);
    assert_eq!(sum(&text, "bowsprit_estimated_tokens_total"), 10 * 3 * 7);
    assert_eq!(
        sum(&text, "bowsprit_cost_unknown_attempts_total"),
        10 * 3 * Unpriced::ALL.len()
    );
    // Each model twice: what was answered and what was cancelled.
    let dollars: f64 = values::<f64>(&text, "bowsprit_cost_usd_total").sum();
    assert!((dollars - 60.0 * 0.003_333_333_334).abs() < 1e-12, "{dollars}");
}

#[test]
fn three_providers_are_told_apart_in_full() {
    let metrics = Families::new(AccessLog::new(false, tracing::Level::INFO));
    let mut config = config(3, 1);
    // With a cache, limits, budgets, access rules or guards as well, failures are told together.
    config.policies.clear();
    let route = Arc::make_mut(&mut config.routes[0]);
    (route.cache, route.semantic, route.access, route.next) = (None, None, None, None);
    route.limits.clear();
    route.guards.clear();
    metrics.sinks.fit(&config);
    for provider in &config.providers {
        let handles = metrics.sinks.traffic.handles(provider, &metrics.sinks.genai);
        handles.attempt(&AttemptRecord {
            outcome: AttemptOutcome::Failed,
            code: Some(Code::ExtReset),
            ..attempt(&provider.models[0].name, Spent::NOTHING)
        });
    }
    let text = metrics.encode();
    for (name, operation) in [
        ("anthropic", "chat"),
        ("gcp.gemini", "generate_content"),
        ("openai", "chat"),
    ] {
        let series = format!(
            "gen_ai_client_operation_duration_seconds_count{{gen_ai_operation_name=\"{operation}\",\
             gen_ai_provider_name=\"{name}\",error_type=\"_OTHER\"}} 1"
        );
        assert!(text.contains(&series), "{series} in {text}");
    }
}

#[test]
fn opentelemetrys_buckets_are_those_of_its_conventions() {
    let text = driven(&config(1, 1)).encode();
    let bounds = |family: &str| -> Vec<f64> {
        let mut bounds: Vec<f64> = samples(&text)
            .filter(|line| line.starts_with(&format!("{family}_bucket")))
            .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()?.parse().ok())
            .filter(|bound: &f64| bound.is_finite())
            .collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        bounds
    };
    let tokens: Vec<f64> = (0..14).map(|n| 4_f64.powi(n)).collect();
    assert_eq!(bounds("gen_ai_client_token_usage"), tokens);
    let seconds: Vec<f64> = (0..14).map(|n| (2_f64.powi(n)) / 100.0).collect();
    for family in ["duration", "time_to_first_chunk", "time_per_output_chunk"] {
        assert_eq!(
            bounds(&format!("gen_ai_client_operation_{family}_seconds")),
            seconds,
            "{family}"
        );
    }
}

#[test]
fn a_provider_that_left_the_configuration_leaves_the_exposition() {
    let metrics = driven(&config(3, 1));
    assert!(metrics.encode().contains("provider=\"provider-2\""));
    metrics.sinks.fit(&config(2, 1));
    let text = metrics.encode();
    let counters: Vec<&str> = samples(&text).filter(|line| line.contains("_total{")).collect();
    assert!(counters.iter().any(|line| line.contains("provider=\"provider-1\"")));
    for line in counters {
        assert!(!line.contains("provider=\"provider-2\""), "{line}");
    }
}

#[test]
fn a_change_of_opentelemetrys_detail_counts_nothing_twice() {
    let metrics = driven(&config(2, 1));
    let names = |text: &str| -> BTreeSet<String> {
        samples(text)
            .flat_map(labels)
            .filter(|(name, _)| *name == "gen_ai_provider_name")
            .map(|(_, value)| value.to_owned())
            .collect()
    };
    assert_eq!(
        names(&metrics.encode()),
        BTreeSet::from(["anthropic".into(), "gcp.gemini".into()])
    );
    metrics.sinks.genai.tell(Detail::Sum);
    assert!(names(&metrics.encode()).is_empty(), "begun anew");
}

#[test]
fn the_registry_says_every_label_that_a_sample_has() {
    let mut config = config(3, 1);
    Arc::make_mut(&mut config.providers[0]).slo = Some(Slo {
        availability: Some(99.0),
        first_token: Some(Duration::from_secs(5)),
        window: Duration::from_hours(720),
    });
    let shares = Arc::make_mut(&mut config.providers[0]);
    shares.shares_limits = true;
    shares.limits.requests_per_minute = std::num::NonZeroU32::new(60);
    shares.limit_store = Some(LimitStore {
        url: KeySource::Env("REDIS_URL".into()),
        ca_bundle: None,
        deadline: Duration::from_millis(50),
    });
    let metrics = driven(&config);
    let text = metrics.encode();
    let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for sample in samples(&text) {
        let name = sample.split(['{', ' ']).next().unwrap();
        let entry = metrics.registry.entries.iter().find(|entry| {
            let rest = name.strip_prefix(entry.name.as_str());
            rest.is_some_and(|rest| ["", "_total", "_sum", "_count", "_bucket", "_info"].contains(&rest))
        });
        let entry = entry.unwrap_or_else(|| panic!("{name} is not registered"));
        let names: Vec<&str> = labels(sample).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, entry.labels, "{sample}");
        seen.entry(entry.name.as_str()).or_default();
        for (name, value) in labels(sample) {
            super::page::check_value(&entry.name, name, value);
        }
    }
    let all: BTreeSet<&str> = metrics
        .registry
        .entries
        .iter()
        .map(|entry| entry.name.as_str())
        .collect();
    let shown: BTreeSet<&str> = seen.into_keys().collect();
    // Those that only a load of configuration fills.
    let unseen: Vec<_> = all.difference(&shown).collect();
    assert_eq!(unseen, [&"bowsprit_config_revision"]);
    assert!(all.len() >= 23, "{} families", all.len());
}

#[test]
fn each_code_is_json_field_metric_label_and_anchor_at_once() {
    let codes = driven(&config(1, 1)).encode();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md")).unwrap();
    for code in Code::ALL {
        let text = code.as_str();
        let (prefix, _) = text.split_once('_').unwrap();
        assert!(
            ["AUTH", "VAL", "RES", "SYS", "EXT", "RATE", "BIZ"].contains(&prefix),
            "{text}"
        );
        assert!(
            codes.contains(&format!("bowsprit_requests_total{{outcome=\"cut\",code=\"{text}\"}} 1")),
            "{text}"
        );
        let anchor = text.to_lowercase().replace('_', "-");
        assert!(page.contains(&format!("<a id=\"{anchor}\"></a>`{text}`")), "{text}");
        for dialect in Dialect::ALL {
            let view = bowsprit_core::dialect::ErrorView {
                code: *code,
                message: "why",
                status: None,
                exact: None,
                param: None,
                request_id: "r-1",
                retry_after: None,
            };
            let body = bowsprit_core::dialect::error_body(dialect, &view);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert!(has_field(&body, text), "{text} in {dialect:?}: {body}");
        }
    }
}

/// Whether some field's value is this text.
fn has_field(value: &serde_json::Value, text: &str) -> bool {
    match value {
        serde_json::Value::Object(map) => map.values().any(|value| has_field(value, text)),
        serde_json::Value::Array(list) => list.iter().any(|value| has_field(value, text)),
        value => value == text,
    }
}

/// Not asserted, as machines differ: `cargo test --profile fast -p bowsprit-sidecar --lib update_costs -- --nocapture`.
#[test]
fn an_update_costs_this() {
    const TIMES: u32 = if cfg!(debug_assertions) { 1_000 } else { 50_000 };
    // The best of so many rounds: the others were interrupted.
    const ROUNDS: u32 = 40;
    let config = config(10, 1);
    let metrics = Families::new(AccessLog::new(false, tracing::Level::INFO));
    metrics.sinks.fit(&config);
    let handles: Vec<Handles> = config
        .providers
        .iter()
        .map(|provider| metrics.sinks.traffic.handles(provider, &metrics.sinks.genai))
        .collect();
    let provider: Arc<str> = "provider-3".into();
    let model = handles[3].label("model-3-0");
    let usage = Usage {
        input: 1_000,
        output: 100,
        ..Usage::default()
    };
    let measure = |what: &str, update: &dyn Fn(u32)| {
        update(0);
        let round = |_| {
            let begun = Instant::now();
            (0..TIMES).for_each(update);
            begun.elapsed()
        };
        let best = (0..ROUNDS).map(round).min().unwrap_or_default();
        let each = best.as_nanos() as f64 / f64::from(TIMES);
        println!("{each:7.1} ns  {what}");
    };
    measure("counter: a request begins", &|_| {
        metrics.sinks.traffic.begun(Dialect::OpenAiChat);
    });
    measure("histogram: a chunk of a stream", &|n| {
        handles[3].chunk(Duration::from_micros(u64::from(n)));
    });
    measure("a request ends well: counter and two histograms", &|n| {
        metrics.sinks.traffic.request(&RequestRecord {
            took: Duration::from_micros(u64::from(n)),
            ..request(Outcome::Ok, None)
        });
    });
    measure("an attempt ends well: 4 counters, 3 histograms", &|n| {
        handles[3].attempt(&AttemptRecord {
            took: Duration::from_micros(u64::from(n)),
            ..attempt(&model, told(usage))
        });
    });
    measure("looked up, seldom: a retry", &|_| {
        metrics.sinks.moved(&MoveRecord {
            provider: &provider,
            what: Move::Retried { after: Code::ExtReset },
        });
    });
}
