//! The tables that rows are added to, as both engines have them: names, and columns in the order of a row.

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers.
    Int,
    /// Text.
    Text,
}

/// A table that rows are added to.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its columns, in the order of a row.
    pub columns: &'static [(&'static str, Kind)],
}

use Kind::{Int, Text};

/// `provider_requests`.
pub const REQUESTS: Table = Table {
    name: "provider_requests",
    columns: &[
        ("at", Int),
        ("outbox", Int),
        ("sequence", Int),
        ("namespace", Text),
        ("workload", Text),
        ("request_id", Text),
        ("trace_id", Text),
        ("route", Text),
        ("dialect", Text),
        ("operation", Text),
        ("asked_model", Text),
        ("provider", Text),
        ("model", Text),
        ("is_stream", Int),
        ("attempts", Int),
        ("hedges", Int),
        ("sdk_retries", Int),
        ("fields_left_out", Int),
        ("tools_left_out", Int),
        ("outcome", Text),
        ("code", Text),
        ("status", Int),
        ("took", Int),
        ("first_token", Int),
        ("overhead", Int),
        ("answer_bytes", Int),
        ("input", Int),
        ("output", Int),
        ("cached", Int),
        ("cache_write", Int),
        ("reasoning", Int),
        ("estimated_input", Int),
        ("estimated_output", Int),
        ("path", Text),
        ("turns_left_out", Int),
        ("arrived", Int),
        ("cache_age", Int),
        ("cache_of", Text),
        ("cache_provider", Text),
        ("cache_saved_tokens", Int),
        ("cache_saved_cost", Int),
        ("refused_by", Text),
        ("would_refuse_by", Text),
    ],
};

/// `sampled_requests`: of some requests that succeeded what percentiles are told by; columns of [`REQUESTS`].
pub const SAMPLED: Table = Table {
    name: "sampled_requests",
    columns: &[
        ("at", Int),
        ("outbox", Int),
        ("sequence", Int),
        ("namespace", Text),
        ("workload", Text),
        ("route", Text),
        ("provider", Text),
        ("model", Text),
        ("took", Int),
    ],
};

/// `provider_logs`.
pub const ATTEMPTS: Table = Table {
    name: "provider_logs",
    columns: &[
        ("at", Int),
        ("outbox", Int),
        ("sequence", Int),
        ("namespace", Text),
        ("workload", Text),
        ("request_id", Text),
        ("trace_id", Text),
        ("route", Text),
        ("number", Int),
        ("reason", Text),
        ("provider", Text),
        ("model", Text),
        ("reported_model", Text),
        ("credential", Text),
        ("provider_request_id", Text),
        ("operation", Text),
        ("status", Int),
        ("outcome", Text),
        ("code", Text),
        ("took", Int),
        ("head", Int),
        ("first_token", Int),
        ("input", Int),
        ("output", Int),
        ("cached", Int),
        ("cache_write", Int),
        ("reasoning", Int),
        ("estimated_input", Int),
        ("estimated_output", Int),
        ("tokens_unknown", Int),
        ("cost_reported", Int),
        ("cost_estimated", Int),
        ("cost_unknown", Int),
        ("price_version", Text),
    ],
};

/// `provider_rate_limits`.
pub const RATE_LIMITS: Table = Table {
    name: "provider_rate_limits",
    columns: &[
        ("at", Int),
        ("outbox", Int),
        ("sequence", Int),
        ("namespace", Text),
        ("provider", Text),
        ("credential", Text),
        ("what", Text),
        ("most", Int),
        ("remaining", Int),
        ("reset", Int),
    ],
};

/// `provider_metrics`: a row that is there already is added to, from the column [`FIRST_SUMMED`] on.
pub const METRICS: Table = Table {
    name: "provider_metrics",
    columns: &[
        ("grain", Int),
        ("start", Int),
        ("names_digest", Text),
        ("kind", Text),
        ("namespace", Text),
        ("workload", Text),
        ("route", Text),
        ("provider", Text),
        ("model", Text),
        ("outcome", Text),
        ("count", Int),
        ("folded", Int),
        ("took", Int),
        ("input", Int),
        ("output", Int),
        ("cached", Int),
        ("cache_write", Int),
        ("reasoning", Int),
        ("estimated_input", Int),
        ("estimated_output", Int),
        ("tokens_unknown", Int),
        ("cost_reported", Int),
        ("cost_estimated", Int),
        ("cost_unknown", Int),
    ],
};

/// A minute, as a grain of [`METRICS`]: seconds.
pub const MINUTE: i64 = 60;
/// An hour.
pub const HOUR: i64 = 60 * MINUTE;
/// A day, of UTC.
pub const DAY: i64 = 24 * HOUR;

/// The first column of [`METRICS`] that is a sum; all after it are.
pub const FIRST_SUMMED: usize = 10;

/// `provider_configs`, without what the database itself sets.
pub const CONFIGS: Table = Table {
    name: "provider_configs",
    columns: &[
        ("at", Int),
        ("namespace", Text),
        ("kind", Text),
        ("name", Text),
        ("what", Text),
        ("who", Text),
        ("revision", Text),
        ("change_id", Text),
    ],
};

/// Adds to the row that is there, up to the largest number and never beyond it: what a pod tells must not make the row of another one
/// one that nothing can be added to. Both engines read it alike.
pub fn on_conflict_sum() -> String {
    const MOST: i64 = i64::MAX;
    let summed = METRICS.columns.iter().skip(FIRST_SUMMED);
    let adds: Vec<_> = summed
        .map(|(name, _)| {
            let old = format!("provider_metrics.{name}");
            format!("{name} = CASE WHEN {old} > {MOST} - excluded.{name} THEN {MOST} ELSE {old} + excluded.{name} END")
        })
        .collect();
    format!(
        "ON CONFLICT (grain, start, names_digest) DO UPDATE SET {}",
        adds.join(", ")
    )
}
