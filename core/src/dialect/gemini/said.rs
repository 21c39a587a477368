//! What a part of an answer says, whole or streamed.

use crate::json::{Map, Text, Value};

use super::super::message::arguments;

/// One part.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    pub what: What,
    /// The part's thought signature, which its provider wants back.
    pub signature: Option<String>,
}

#[derive(Debug, PartialEq)]
pub(super) enum What {
    /// Only a signature, or a part that says nothing at all.
    Nothing,
    Text(Text),
    Thought(Text),
    Call {
        id: Option<String>,
        name: String,
        input: Value,
    },
}

/// Fields of a part that say something about it, and nothing by themselves.
const ABOUT: [&str; 6] = [
    "thought",
    "thoughtSignature",
    "partMetadata",
    "videoMetadata",
    "mediaResolution",
    "role",
];

/// Reads a part. The error says what it holds that no caller could be told: a picture, a file, or what nobody here has
/// seen, and must not vanish.
pub(super) fn read(part: &Value) -> Result<Said, String> {
    let fields = part.as_object().ok_or("a part that is no object")?;
    let signature = fields.get("thoughtSignature").and_then(Value::as_str);
    let what = what(fields)?;
    Ok(Said {
        what,
        signature: signature.filter(|signature| !signature.is_empty()).map(str::to_owned),
    })
}

fn what(fields: &Map) -> Result<What, String> {
    for (name, value) in fields {
        if value.is_null() || ABOUT.contains(&name.as_str()) {
            continue;
        }
        return match name.as_str() {
            "text" => {
                let text = value.as_text().ok_or("a `text` that is none")?.clone();
                let thought = fields.get("thought").and_then(Value::as_bool).unwrap_or(false);
                Ok(match (text.is_empty(), thought) {
                    (true, _) => What::Nothing,
                    (false, true) => What::Thought(text),
                    (false, false) => What::Text(text),
                })
            }
            "functionCall" => call(value),
            // What a tool at the provider ran is part of what the model shows.
            "executableCode" => Ok(What::Text(fenced(
                &text_of(value, "language").to_ascii_lowercase(),
                text_of(value, "code"),
            ))),
            "codeExecutionResult" => Ok(What::Text(fenced("", text_of(value, "output")))),
            other => Err(format!("`{other}` in a part")),
        };
    }
    Ok(What::Nothing)
}

fn call(value: &Value) -> Result<What, String> {
    let text = |name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let input = match value.get("args") {
        None | Some(Value::Null) => arguments(""),
        Some(args) if args.is_object() => args.clone(),
        Some(Value::String(args)) => arguments(args),
        Some(args) => arguments(&args.to_string()),
    };
    Ok(What::Call {
        id: text("id"),
        name: text("name").ok_or("a `functionCall` without a name")?,
        input,
    })
}

fn text_of<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn fenced(language: &str, text: &str) -> Text {
    format!("\n```{language}\n{}\n```\n", text.trim_end_matches('\n')).into()
}
