//! What Prometheus counted: raw samples, added up without the extrapolation of `increase()`. Pure.
//!
//! A counter begins at 0 with its process, so the first sample of a series that began in the window counts in full, and a sample that is
//! less than the one before begins anew. What a process counted after its last scrape is not there: that is what a drift after a kill is.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Kind, Tokens};

/// What is asked: reported tokens by model, estimated ones by provider.
pub const REPORTED: &str = "bowsprit_tokens_total";
/// Of answers that broke off, and of servers that tell none.
pub const ESTIMATED: &str = "bowsprit_estimated_tokens_total";

/// The answer of `/api/v1/query` to a selector with a range.
#[derive(Debug, Deserialize)]
pub struct Answer {
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Debug, Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// Adds the tokens of an answer whose samples reach back to before the window: `from` is its begin, seconds since 1970.
pub fn add(tokens: &mut Tokens, answer: &Answer, is_estimate: bool, from: f64) {
    for series in &answer.data.result {
        let label = |name: &str| series.metric.get(name).cloned().unwrap_or_default();
        let kind = match (label("kind").as_str(), is_estimate) {
            ("input", false) => Kind::Input,
            ("output", false) => Kind::Output,
            ("cached", false) => Kind::Cached,
            ("cache_write", false) => Kind::CacheWrite,
            ("reasoning", false) => Kind::Reasoning,
            ("input", true) => Kind::EstimatedInput,
            ("output", true) => Kind::EstimatedOutput,
            _ => continue,
        };
        *tokens.entry((label("provider"), label("model"), kind)).or_default() += grown(&series.values, from);
    }
}

/// By how much a counter grew after `from`.
fn grown(values: &[(f64, String)], from: f64) -> u64 {
    let (mut before, mut grown) = (0.0_f64, 0.0_f64);
    for (at, value) in values {
        let Ok(value) = value.parse::<f64>() else { continue };
        let more = if value < before { value } else { value - before };
        if *at > from {
            grown += more;
        }
        before = value;
    }
    // Whole numbers below 2^53, as counters of tokens are.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let grown = grown.round().max(0.0) as u64;
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_counts_from_its_begin_and_again_from_0_after_a_restart() {
        let values = |all: &[(f64, f64)]| -> Vec<(f64, String)> {
            all.iter().map(|(at, value)| (*at, value.to_string())).collect()
        };
        assert_eq!(grown(&values(&[(1.0, 5.0), (2.0, 8.0)]), 0.0), 8);
        assert_eq!(grown(&values(&[(1.0, 5.0), (2.0, 8.0)]), 1.0), 3);
        assert_eq!(grown(&values(&[(1.0, 5.0), (2.0, 2.0), (3.0, 4.0)]), 1.5), 4);
        assert_eq!(grown(&values(&[(1.0, 5.0)]), 1.0), 0);
    }

    #[test]
    fn an_answer_is_added_up_over_pods() {
        let answer = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"pod":"a","provider":"claude","model":"m","kind":"input"},"values":[[1,"10"],[2,"15"]]},
            {"metric":{"pod":"b","provider":"claude","model":"m","kind":"input"},"values":[[2,"1"]]},
            {"metric":{"pod":"b","provider":"claude","model":"m","kind":"strange"},"values":[[2,"1"]]}]}}"#;
        let mut tokens = Tokens::new();
        add(&mut tokens, &serde_json::from_str(answer).unwrap(), false, 0.0);
        assert_eq!(tokens, Tokens::from([(("claude".into(), "m".into(), Kind::Input), 16)]));
    }
}
