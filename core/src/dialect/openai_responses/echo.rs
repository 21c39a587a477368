//! What an answer repeats of its request.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use crate::json::{self, Raw, Value};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// The fields that a Responses answer repeats of its request, as the caller wrote them. Empty for other dialects.
#[derive(Clone, Default)]
pub struct Echo(Vec<(&'static str, Value)>);

/// The fields and what they are where the caller did not say.
const FIELDS: &[(&str, &str)] = &[
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("prompt_cache_key", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    ("temperature", "1.0"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "1.0"),
    ("truncation", r#""disabled""#),
];

/// Repeated only where the caller says it: by the API's schema it is no null.
const USER: &str = "user";

impl Echo {
    /// Reads them off a request that [`super::super::translate_request`] took.
    pub(super) fn read(body: &[u8]) -> Self {
        let asked: HashMap<Cow<'_, str>, Raw<'_>> = json::from_slice(body).unwrap_or_default();
        let said = |name: &str| asked.get(name).copied().filter(|raw| raw.get() != "null");
        let mut fields = Vec::with_capacity(FIELDS.len() + 1);
        for &(name, default) in FIELDS {
            let value = match said(name) {
                Some(tools) if name == "tools" => whole_tools(tools.get()),
                Some(value) => json::parse(value.get().as_bytes()).ok(),
                None => json::parse(default.as_bytes()).ok(),
            };
            fields.extend(value.map(|value| (name, value)));
        }
        let user = said(USER).and_then(|user| json::parse(user.get().as_bytes()).ok());
        fields.extend(user.map(|user| (USER, user)));
        Self(fields)
    }
}

/// A tool must say `parameters` and `strict` in an answer, and need not in a request.
fn whole_tools(text: &str) -> Option<Value> {
    let mut tools = json::parse(text.as_bytes()).ok()?;
    for tool in tools.as_array_mut()? {
        let function = tool.get("type").is_some_and(|kind| kind == "function");
        let Some(tool) = tool.as_object_mut().filter(|_| function) else {
            continue;
        };
        tool.entry("parameters").or_insert(Value::Null);
        // No provider but OpenAI is strict unasked.
        tool.entry("strict").or_insert(false.into());
    }
    Some(tools)
}

impl Serialize for Echo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Never the caller's words: this ends up in logs.
impl fmt::Debug for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Echo(..)")
    }
}
