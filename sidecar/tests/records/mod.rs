//! The records of one plain request, and the sinks that they go to: for what is counted and measured of recording.

use std::time::Duration;

use bowsprit_core::config::{Config, Scope, load};
use bowsprit_core::cost::{Cost, Picodollars};
use bowsprit_core::dialect::{Dialect, Usage};
use bowsprit_core::flow::State;
use bowsprit_core::record::path::Path;
use bowsprit_core::record::{AttemptKind, AttemptOutcome, AttemptRecord, Called, Outcome, RequestRecord, Spent};
use bowsprit_core::trace::{Span, SpanId, TraceId};
use bowsprit_sidecar::observe::spans::Settings;

/// A provider with a model.
pub(crate) fn config() -> Config {
    let text = "apiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {name: openai}\nspec:\n  provider: OpenAI\n  \
        credentials: [{name: main, env: K}]\n  models: [{name: gpt-4o-mini}]\n";
    load(text, &Scope::Standalone).expect("it is a configuration")
}

/// Spans go somewhere, and so many wait that none is left out.
pub(crate) fn collector() -> Settings {
    let variable = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://127.0.0.1:4318".to_owned()),
        "OTEL_BSP_MAX_QUEUE_SIZE" => Some("65536".to_owned()),
        _ => None,
    };
    Settings::read(variable)
        .expect("they are settings")
        .expect("they are on")
}

/// The span of a trace that is kept.
pub(crate) fn span() -> Span {
    Span {
        trace: TraceId::new(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736),
        id: SpanId::new(0x00f0_67aa_0ba9_02b7),
        parent: None,
        is_sampled: true,
    }
}

const SPENT: Spent = Spent {
    reported: Some(Usage {
        input: 210,
        output: 140,
        cached: 0,
        cache_write: 0,
        reasoning: 0,
        cache_write_hour: 0,
        searches: 0,
        terms: bowsprit_core::dialect::Terms::Standard,
    }),
    estimated_input: 0,
    estimated_output: 0,
    is_nothing: false,
};

const COST: Cost<'static> = Cost {
    reported: Picodollars::new(115_500_000),
    estimated: Picodollars::ZERO,
    version: "table:2026-11-28",
};

/// Its request. `span`: where spans are made.
pub(crate) fn request(span: Option<Span>) -> RequestRecord<'static> {
    RequestRecord {
        id: "0af7651916cd43dd8448eb211c80319c",
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
        route: "chat",
        dialect: Dialect::OpenAiChat,
        operation: "chat_completions",
        asked_model: "gpt-4o-mini",
        provider: "openai",
        model: "gpt-4o-mini",
        is_stream: false,
        attempts: 1,
        hedges: 0,
        sdk_retries: 0,
        fields_left_out: 0,
        tools_left_out: 0,
        state: State::Completed,
        illegal_changes: 0,
        outcome: Outcome::Ok,
        code: None,
        status: 200,
        took: Duration::from_micros(812_345),
        first_token_after: None,
        overhead: Duration::from_micros(83),
        answer_bytes: 1_093,
        spent: SPENT,
        path: Path::NONE,
        stale: None,
        cache: None,
        refused_by: "",
        would_refuse_by: "",
        guarded_by: "",
        span,
        cost: Ok(COST.total()),
    }
}

/// Its attempt.
pub(crate) fn attempt(span: Option<Span>) -> AttemptRecord<'static> {
    AttemptRecord {
        request_id: "0af7651916cd43dd8448eb211c80319c",
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
        route: "chat",
        operation: "chat_completions",
        number: 1,
        kind: AttemptKind::First,
        provider: "openai",
        model: "gpt-4o-mini",
        reported_model: "gpt-4o-mini-2024-07-18",
        provider_request_id: "req_6f3a1c",
        credential: Some("main"),
        is_generation: true,
        is_stream: false,
        status: Some(200),
        outcome: AttemptOutcome::Answered,
        code: None,
        took: Duration::from_micros(812_101),
        head_after: Some(Duration::from_micros(811_002)),
        first_content_after: None,
        spent: SPENT,
        cost: Ok(COST),
        span,
        called: Called {
            system: "openai",
            operation: "chat",
            host: "api.openai.com",
            port: 443,
        },
    }
}
