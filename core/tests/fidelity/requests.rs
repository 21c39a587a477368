//! Fields of requests.

use std::fmt::Write as _;

use bowsprit_core::dialect::{Dialect, Target, translate_request};
use bowsprit_core::fault::Code;
use bowsprit_crds::model_route::OnUnsupported;
use serde_json::{Value, json};

use super::{diff, table};

use Dialect::{AnthropicMessages as Messages, Gemini, OpenAiChat as Chat, OpenAiResponses as Responses};

#[path = "requests/cases.rs"]
mod cases;
#[path = "requests/mended.rs"]
mod mended;

/// A field of one caller's request.
pub(super) struct Case {
    /// The caller.
    pub from: Dialect,
    /// As the caller spells it.
    pub field: &'static str,
    /// Merged into the caller's plainest request.
    pub patch: Value,
    /// The target's default says the same: nothing need be sent.
    pub is_default: bool,
}

/// Fields that belong together.
pub(super) struct Group {
    pub title: &'static str,
    pub note: &'static str,
    /// Models of the OpenAI, Anthropic and Gemini column.
    pub models: [&'static str; 3],
    pub cases: Vec<Case>,
}

const PROVIDERS: [Dialect; 3] = [Chat, Messages, Gemini];

fn plain(from: Dialect) -> Value {
    match from {
        Chat => json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}),
        Messages => json!({"model": "m", "max_tokens": 9000, "messages": [{"role": "user", "content": "x"}]}),
        Gemini => json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}]}),
        Responses => json!({"model": "m", "input": [{"role": "user", "content": "x"}]}),
    }
}

fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (name, value) in patch {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}

fn translate(
    from: Dialect,
    to: Dialect,
    model: &str,
    body: &Value,
    drop: bool,
) -> Result<(Value, Vec<String>), (Code, String)> {
    let target = Target {
        model,
        default_max_tokens: 4096,
        safety: &[],
        stream: false,
        on_unsupported: drop.then_some(OnUnsupported::Drop),
        allowed_tools: true,
    };
    match translate_request(from, to, body.to_string().as_bytes(), &target) {
        Ok(translated) => Ok((serde_json::from_slice(&translated.body).unwrap(), translated.dropped)),
        Err(error) => Err((error.code, error.to_string())),
    }
}

fn cell(case: &Case, to: Dialect, model: &str) -> String {
    if case.from == to {
        return "as it came".to_owned();
    }
    let before = plain(case.from);
    let mut body = before.clone();
    merge(&mut body, &case.patch);
    let place = format!("{} {} -> {to} {model}", case.from, case.field);
    let (usual, _) = translate(case.from, to, model, &before, false).unwrap();
    let (sent, noted) = match translate(case.from, to, model, &body, false) {
        Ok(done) => done,
        Err((Code::ValUnsupported, _)) => {
            let droppable = translate(case.from, to, model, &body, true).is_ok();
            return if droppable { "refused, or dropped" } else { "refused" }.to_owned();
        }
        Err(error) => panic!("{place}: {error:?}"),
    };
    let found = diff::added(&usual, &sent);
    match (found.is_empty(), noted.is_empty()) {
        (false, true) => format!("carried: {}", diff::tell(&found)),
        (false, false) => format!("approximated: {}", diff::tell(&found)),
        (true, false) => "dropped".to_owned(),
        (true, true) => {
            assert!(case.is_default, "{place}: lost without a word");
            "carried: it is the default".to_owned()
        }
    }
}

fn caller(dialect: Dialect) -> &'static str {
    match dialect {
        Chat => "OpenAI",
        Messages => "Anthropic",
        Gemini => "Gemini",
        Responses => "Responses",
    }
}

pub(super) fn write(page: &mut String) {
    for group in cases::all().into_iter().chain([mended::group()]) {
        let [openai, anthropic, gemini] = group.models;
        let _ = write!(page, "\n## {}\n{}\n", group.title, group.note);
        let rows: Vec<Vec<String>> = group
            .cases
            .iter()
            .map(|case| {
                let mut row = vec![caller(case.from).to_owned(), case.field.to_owned()];
                row.extend(
                    PROVIDERS
                        .iter()
                        .zip(group.models)
                        .map(|(to, model)| cell(case, *to, model)),
                );
                row
            })
            .collect();
        let columns = [
            format!("OpenAI, `{openai}`"),
            format!("Anthropic, `{anthropic}`"),
            format!("Gemini, `{gemini}`"),
        ];
        table(page, &["Caller", "Field", &columns[0], &columns[1], &columns[2]], &rows);
    }
}
