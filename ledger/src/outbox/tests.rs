use std::time::Duration;

use bowsprit_core::cost::{Cost, Picodollars};
use bowsprit_core::dialect::{Dialect, Usage};
use bowsprit_core::fault::Code;
use bowsprit_core::flow::State;
use bowsprit_core::record::path::Path;
use bowsprit_core::record::{AttemptKind, AttemptOutcome, AttemptRecord, Called, Outcome, RequestRecord, Spent};

mod pages;
mod sums_are_never_lost;
mod texts;
mod trouble;

pub(super) fn request(asked_model: &str) -> RequestRecord<'_> {
    RequestRecord {
        id: "r-1",
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
        route: "chat",
        dialect: Dialect::OpenAiChat,
        operation: "chat_completions",
        asked_model,
        provider: "claude",
        model: "m",
        is_stream: true,
        attempts: 2,
        hedges: 1,
        sdk_retries: 1,
        fields_left_out: 2,
        tools_left_out: 1,
        state: State::Failed,
        illegal_changes: 0,
        outcome: Outcome::Cut,
        code: Some(Code::ExtReset),
        status: 200,
        took: Duration::from_millis(2_500),
        first_token_after: Some(Duration::from_secs(1)),
        overhead: Duration::from_micros(80),
        answer_bytes: 100,
        spent: spent(7),
        path: Path::NONE,
        stale: None,
        cache: None,
        refused_by: "",
        would_refuse_by: "",
        guarded_by: "",
        span: None,
        cost: Ok(COST.total()),
    }
}

pub(super) fn attempt(model: &str, input: u64) -> AttemptRecord<'_> {
    AttemptRecord {
        request_id: "r-1",
        trace_id: "",
        route: "chat",
        operation: "chat_completions",
        number: 1,
        kind: AttemptKind::First,
        provider: "claude",
        model,
        reported_model: "m-2026",
        provider_request_id: "req_1",
        credential: Some("main"),
        is_generation: true,
        is_stream: false,
        status: Some(200),
        outcome: AttemptOutcome::Answered,
        code: None,
        took: Duration::from_micros(1_500),
        head_after: Some(Duration::ZERO),
        first_content_after: None,
        spent: spent(input),
        cost: Ok(COST),
        span: None,
        called: Called::default(),
    }
}

const COST: Cost<'static> = Cost {
    reported: Picodollars::new(1_250_000),
    estimated: Picodollars::new(5),
    version: "table:2026-11-28",
};

fn spent(input: u64) -> Spent {
    Spent {
        reported: Some(Usage {
            input,
            output: 9,
            cached: 3,
            cache_write: 2,
            reasoning: 1,
            ..Usage::default()
        }),
        estimated_input: 4,
        estimated_output: 5,
        is_nothing: false,
    }
}
