//! What a message of a chat completion says, or a delta of one: the same fields in both, and the names that compatible
//! servers have for them.
//!
//! - Content is a text, or a list of parts: texts, thoughts (`Mistral`), refusals, and references to sources, which only
//!   inform and have no place in the other dialects. A part of another kind that has a text is read as that; any other is
//!   an error, never nothing.
//! - Thoughts are `reasoning_content` (`DeepSeek`, `SGLang`, `LiteLLM`, `xAI`), `reasoning` (vLLM, `Groq`, `OpenRouter`,
//!   `Ollama`), `reasoning_text` (`GitHub`), `thinking`, `reasoning_details` (`OpenRouter`) or `thinking_blocks`
//!   (`LiteLLM`). Many servers say the same text under two of them: it is read once.
//! - A call is in `tool_calls`, or in `function_call`, the API's older name. Its arguments are a text, an object or nothing.

use std::borrow::Cow;

use crate::json::{Text, Value};

/// A piece of it, in the order in which a caller reads it.
#[derive(Debug, PartialEq)]
pub(super) enum Said<'v> {
    Thought(Text),
    Text(&'v Text),
    Refusal(&'v Text),
    Call(Call<'v>),
}

/// A tool call, or a fragment of one.
#[derive(Debug, PartialEq)]
pub(super) struct Call<'v> {
    /// Which of the message's calls; many servers leave it out.
    pub index: Option<u64>,
    pub id: Option<Cow<'v, str>>,
    pub name: Option<&'v str>,
    pub arguments: Arguments<'v>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Arguments<'v> {
    None,
    Text(&'v Text),
    /// All of them at once: the API says text, some servers say the object.
    Whole(&'v Value),
}

/// The names of thoughts, the most used first.
const THOUGHTS: [&str; 6] = [
    "reasoning_content",
    "reasoning",
    "reasoning_text",
    "thinking",
    "reasoning_details",
    "thinking_blocks",
];

/// Bytes of thoughts that are kept to tell a repetition.
const THOUGHT_LIMIT: usize = 1 << 20;

/// The thoughts of a choice so far, to read once what is said under two names.
#[derive(Debug, Default)]
pub(super) struct Thoughts {
    /// The name that they were first said under.
    name: Option<&'static str>,
    text: String,
}

impl Thoughts {
    /// Whether this text, said under this name, is new.
    fn is_new(&mut self, name: &'static str, text: &str) -> bool {
        let first = *self.name.get_or_insert(name);
        if first != name && self.text.ends_with(text) {
            return false;
        }
        if self.text.len() + text.len() <= THOUGHT_LIMIT {
            self.text.push_str(text);
        }
        true
    }
}

/// Reads a message or a delta. The error says what it holds that no caller could be told.
pub(super) fn read<'v>(message: &'v Value, thoughts: &mut Thoughts) -> Result<Vec<Said<'v>>, String> {
    let mut said = Vec::new();
    let Some(fields) = message.as_object() else {
        return if message.is_null() {
            Ok(said)
        } else {
            Err("a message that is no object".to_owned())
        };
    };
    for name in THOUGHTS {
        if let Some(value) = fields.get(name) {
            thought(name, value, thoughts, &mut said);
        }
    }
    if let Some(content) = fields.get("content") {
        parts(content, thoughts, &mut said)?;
    }
    if let Some(refusal) = fields.get("refusal").and_then(Value::as_text) {
        push_text(refusal, Said::Refusal, &mut said);
    }
    if let Some(calls) = fields.get("tool_calls") {
        for value in list(calls) {
            said.push(Said::Call(call(value)?));
        }
    }
    if let Some(value) = fields.get("function_call").filter(|value| value.is_object()) {
        said.push(Said::Call(call(value)?));
    }
    // A model that paints or speaks: no other dialect has a place for it, and it must not vanish.
    for name in ["images", "audio"] {
        let some = |value: &Value| match value {
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            _ => false,
        };
        if fields.get(name).is_some_and(some) {
            return Err(format!("`{name}` in a message"));
        }
    }
    Ok(said)
}

/// A list, or the one thing that should have been in a list of one.
fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        Value::Null => &[],
        one => std::slice::from_ref(one),
    }
}

fn push_text<'v>(text: &'v Text, kind: impl Fn(&'v Text) -> Said<'v>, said: &mut Vec<Said<'v>>) {
    if !text.is_empty() {
        said.push(kind(text));
    }
}

fn thought(name: &'static str, value: &Value, thoughts: &mut Thoughts, said: &mut Vec<Said<'_>>) {
    let text = thought_text(value);
    if !text.is_empty() && thoughts.is_new(name, &text) {
        said.push(Said::Thought(text));
    }
}

/// The text of a thought: a text, or a list of parts that have one. What is encrypted has none.
fn thought_text(value: &Value) -> Text {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => match items.as_slice() {
            [one] => thought_text(one),
            many => many.iter().map(thought_text).fold(Text::default(), |mut all, text| {
                all.append(text);
                all
            }),
        },
        Value::Object(fields) => [
            "text",
            "thinking",
            "summary",
            "reasoning",
            "reasoning_content",
            "content",
        ]
        .into_iter()
        .filter_map(|name| fields.get(name))
        .map(thought_text)
        .find(|text| !text.is_empty())
        .unwrap_or_default(),
        _ => Text::default(),
    }
}

fn parts<'v>(content: &'v Value, thoughts: &mut Thoughts, said: &mut Vec<Said<'v>>) -> Result<(), String> {
    match content {
        Value::Null => Ok(()),
        Value::String(text) => {
            push_text(text, Said::Text, said);
            Ok(())
        }
        Value::Array(_) | Value::Object(_) => list(content).iter().try_for_each(|item| part(item, thoughts, said)),
        _ => Err("content that is neither text nor parts".to_owned()),
    }
}

fn part<'v>(part: &'v Value, thoughts: &mut Thoughts, said: &mut Vec<Said<'v>>) -> Result<(), String> {
    if let Some(text) = part.as_text() {
        push_text(text, Said::Text, said);
        return Ok(());
    }
    let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
    match kind {
        "thinking" | "reasoning" | "reasoning_text" | "reasoning_content" | "summary_text" => {
            thought("content", part, thoughts, said);
        }
        "refusal" => {
            let text = part.get("refusal").and_then(Value::as_text);
            push_text(text.ok_or("a `refusal` part without its text")?, Said::Refusal, said);
        }
        // Where the text comes from: it informs, and the other dialects have no word for it.
        "reference" | "tool_reference" => {}
        "tool_use" | "tool_call" | "function_call" | "function" => said.push(Said::Call(call(part)?)),
        _ => match part_text(part) {
            Some(text) => push_text(text, Said::Text, said),
            None => return Err(format!("a content part of the kind `{kind}`")),
        },
    }
    Ok(())
}

fn part_text(part: &Value) -> Option<&Text> {
    let text = part.get("text")?;
    text.as_text().or_else(|| text.get("value")?.as_text())
}

fn call(value: &Value) -> Result<Call<'_>, String> {
    if !value.is_object() {
        return Err("a tool call that is no object".to_owned());
    }
    // The older `function_call`, and servers that do not nest, have the function's fields in the call.
    let function = value
        .get("function")
        .filter(|function| function.is_object())
        .unwrap_or(value);
    let arguments = ["arguments", "input", "parameters"]
        .into_iter()
        .find_map(|name| function.get(name));
    Ok(Call {
        index: value.get("index").and_then(number),
        id: value.get("id").and_then(text_or_number),
        name: function
            .get("name")
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty()),
        arguments: match arguments {
            None | Some(Value::Null) => Arguments::None,
            Some(Value::String(text)) => Arguments::Text(text),
            Some(whole) => Arguments::Whole(whole),
        },
    })
}

/// A whole number, however a server writes it: `1`, `1.0` or `"1"`.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked in the line before
        value => value.as_u64().or_else(|| {
            let whole = value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..1e9).contains(n));
            whole.map(|n| n as u64)
        }),
    }
}

fn text_or_number(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text.as_str())).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}
