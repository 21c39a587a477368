//! How likely each token of an answer was, as `OpenAI` and `Gemini` say it. `Anthropic` does not.

use crate::json::{Value, json};

use super::message::TokenLogprob;

/// Tokens of one answer or chunk that are read at most, and alternatives of each: beyond what any API gives.
const MAX: usize = 100_000;
const MAX_OTHERS: usize = 32;

fn list<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn pair(value: &Value, logprob: &str) -> Option<(String, f64)> {
    Some((value.get("token")?.as_str()?.to_owned(), value.get(logprob)?.as_f64()?))
}

/// `OpenAI`'s `logprobs`.
pub(super) fn from_openai(value: Option<&Value>) -> Vec<TokenLogprob> {
    let Some(value) = value else { return Vec::new() };
    let read = |entry: &Value| {
        let (token, logprob) = pair(entry, "logprob")?;
        let others = list(entry, "top_logprobs").take(MAX_OTHERS);
        Some(TokenLogprob {
            token,
            logprob,
            others: others.filter_map(|other| pair(other, "logprob")).collect(),
        })
    };
    list(value, "content").take(MAX).filter_map(read).collect()
}

/// `OpenAI`'s `logprobs`; null where there are none.
pub(super) fn to_openai(tokens: &[TokenLogprob]) -> Value {
    if tokens.is_empty() {
        return Value::Null;
    }
    json!({ "content": openai_list(tokens), "refusal": null })
}

/// The list in `OpenAI`'s `logprobs`, which is all of it in Responses.
pub(super) fn openai_list(tokens: &[TokenLogprob]) -> Vec<Value> {
    let one = |token: &str, logprob: f64| json!({ "token": token, "logprob": logprob, "bytes": token.as_bytes() });
    tokens
        .iter()
        .map(|entry| {
            let others: Vec<Value> = entry
                .others
                .iter()
                .map(|(token, logprob)| one(token, *logprob))
                .collect();
            let mut value = one(&entry.token, entry.logprob);
            if let Some(object) = value.as_object_mut() {
                object.insert("top_logprobs".to_owned(), others.into());
            }
            value
        })
        .collect()
}

/// `Gemini`'s `logprobsResult`.
pub(super) fn from_gemini(value: Option<&Value>) -> Vec<TokenLogprob> {
    let Some(value) = value else { return Vec::new() };
    let mut tops = list(value, "topCandidates");
    let chosen = list(value, "chosenCandidates").take(MAX);
    chosen
        .filter_map(|entry| {
            let others = tops.next();
            let (token, logprob) = pair(entry, "logProbability")?;
            let others = others
                .into_iter()
                .flat_map(|top| list(top, "candidates"))
                .take(MAX_OTHERS);
            Some(TokenLogprob {
                token,
                logprob,
                others: others.filter_map(|other| pair(other, "logProbability")).collect(),
            })
        })
        .collect()
}

/// `Gemini`'s `logprobsResult`; none where there are none.
pub(super) fn to_gemini(tokens: &[TokenLogprob]) -> Option<Value> {
    if tokens.is_empty() {
        return None;
    }
    let one = |token: &str, logprob: f64| json!({ "token": token, "logProbability": logprob });
    let chosen: Vec<Value> = tokens.iter().map(|entry| one(&entry.token, entry.logprob)).collect();
    let tops: Vec<Value> = tokens
        .iter()
        .map(|entry| {
            let others: Vec<Value> = entry
                .others
                .iter()
                .map(|(token, logprob)| one(token, *logprob))
                .collect();
            json!({ "candidates": others })
        })
        .collect();
    Some(json!({ "topCandidates": tops, "chosenCandidates": chosen }))
}
