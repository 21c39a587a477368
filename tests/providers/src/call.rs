//! A request understood: what each API must know of its body to answer, and what it refuses as the real one does.

use serde_json::Value;

use crate::api::{Api, Operation, Route, tokens};
use crate::wire::Head;

/// How a stream is framed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum StreamForm {
    #[default]
    None,
    /// `text/event-stream`.
    Sse,
    /// Gemini without `alt=sse`: one JSON array, written piece by piece.
    JsonArray,
}

/// A request that can be answered.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) route: Route,
    pub(crate) model: String,
    pub(crate) stream: StreamForm,
    pub(crate) body: Value,
    /// The text of the last user message.
    pub(crate) last_user: String,
    /// The first tool the request offers.
    pub(crate) first_tool: Option<String>,
    /// A quarter of the body's bytes.
    pub(crate) input_tokens: u64,
}

/// A request that the real provider would refuse: status, kind and message of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
        }
    }
}

impl Call {
    /// What can be said of any request, right or wrong.
    pub(crate) fn read(route: Route, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let model = route
            .model
            .clone()
            .or_else(|| json.get("model").and_then(Value::as_str).map(str::to_owned));
        let streams = json.get("stream").and_then(Value::as_bool) == Some(true);
        let stream = match route.stream {
            StreamForm::None if streams && matches!(route.operation, Operation::Chat | Operation::Responses) => {
                StreamForm::Sse
            }
            form => form,
        };
        Self {
            model: model.unwrap_or_default(),
            stream,
            last_user: last_user(&json),
            first_tool: first_tool(&json),
            input_tokens: tokens(body.len()),
            body: json,
            route,
        }
    }

    /// What the real provider would refuse, in the order in which it looks.
    pub(crate) fn refusal(&self, head: &Head, keys: Option<&[String]>) -> Option<Refusal> {
        let key = key(self.route.api, head);
        let rules = match self.route.api {
            Api::Anthropic => crate::api::anthropic::refusal,
            Api::Gemini => crate::api::gemini::refusal,
            Api::OpenAi | Api::All => crate::api::openai::refusal,
        };
        rules(self, head, &KeyCheck::of(key.as_deref(), keys))
    }
}

/// What is wrong with a request's key, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyCheck<'a> {
    Fine,
    Missing,
    Unknown(&'a str),
}

impl<'a> KeyCheck<'a> {
    /// `keys`: the accepted ones; an empty list accepts any key, `None` also accepts none.
    fn of(key: Option<&'a str>, keys: Option<&[String]>) -> Self {
        let Some(keys) = keys else { return Self::Fine };
        match key {
            None | Some("") => Self::Missing,
            Some(key) if keys.is_empty() || keys.iter().any(|known| known == key) => Self::Fine,
            Some(key) => Self::Unknown(key),
        }
    }
}

/// The key a request came with, from the place where its API looks.
pub(crate) fn key(api: Api, head: &Head) -> Option<String> {
    let bearer = || {
        let value = head.header("authorization")?;
        value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer "))
    };
    let found = match api {
        Api::Anthropic => head.header("x-api-key").or_else(bearer),
        Api::Gemini => head
            .header("x-goog-api-key")
            .or_else(|| head.query("key"))
            .or_else(bearer),
        // Azure's platform of the same API.
        Api::OpenAi | Api::All => bearer().or_else(|| head.header("api-key")),
    };
    found.map(str::to_owned)
}

/// The text of the last user message, in any of the three shapes (and the plain `input` of responses and embeddings).
fn last_user(body: &Value) -> String {
    let lists = ["messages", "contents", "input"];
    let Some(list) = lists.iter().find_map(|name| body.get(name)) else {
        return String::new();
    };
    let Some(items) = list.as_array() else {
        return text_of(list);
    };
    let is_user = |item: &&Value| item.get("role").is_none_or(|role| role == "user") && !text_of(item).is_empty();
    items.iter().rev().find(is_user).map(text_of).unwrap_or_default()
}

/// The text in a message, a list of parts, a part or a string.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .map(text_of)
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join("\n"),
        Value::Object(fields) => {
            let inner = ["text", "content", "parts"].iter().find_map(|name| fields.get(*name));
            inner.map(text_of).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// `tools[0]`'s name: nested in `function` (chat), flat (responses, Anthropic) or in `functionDeclarations` (Gemini).
fn first_tool(body: &Value) -> Option<String> {
    let tool = body.get("tools")?.get(0)?;
    let places = [
        "/function/name",
        "/name",
        "/functionDeclarations/0/name",
        "/function_declarations/0/name",
    ];
    places
        .iter()
        .find_map(|place| tool.pointer(place))
        .and_then(Value::as_str)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_user_text_is_found_in_every_shape() {
        for body in [
            json!({"messages": [{"role": "user", "content": "no"}, {"role": "user", "content": "yes"}]}),
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "yes"}]},
                {"role": "assistant", "content": "no"}]}),
            json!({"contents": [{"parts": [{"text": "yes"}]}]}),
            json!({"input": "yes"}),
            json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": "yes"}]}]}),
        ] {
            assert_eq!(last_user(&body), "yes", "{body}");
        }
    }

    #[test]
    fn the_first_tool_is_found_in_every_shape() {
        for tool in [
            json!({"type": "function", "function": {"name": "t"}}),
            json!({"name": "t", "input_schema": {}}),
            json!({"functionDeclarations": [{"name": "t"}]}),
        ] {
            assert_eq!(first_tool(&json!({"tools": [tool]})).as_deref(), Some("t"));
        }
    }
}
