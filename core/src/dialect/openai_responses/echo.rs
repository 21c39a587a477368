//! What an answer repeats of its request.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use super::super::Dialect;

/// The fields that a Responses answer repeats of its request, as the caller wrote them. Empty for other dialects.
#[derive(Clone, Default)]
pub struct Echo(Vec<(&'static str, Box<RawValue>)>);

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
    pub fn of(caller: Dialect, body: &[u8]) -> Self {
        if caller != Dialect::OpenAiResponses {
            return Self::default();
        }
        let asked: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(body).unwrap_or_default();
        let said = |name: &str| asked.get(name).copied().filter(|raw| raw.get() != "null");
        let mut fields = Vec::with_capacity(FIELDS.len() + 1);
        for &(name, default) in FIELDS {
            let value = match said(name) {
                Some(tools) if name == "tools" => whole_tools(tools),
                Some(value) => Some(value.to_owned()),
                None => RawValue::from_string(default.to_owned()).ok(),
            };
            fields.extend(value.map(|value| (name, value)));
        }
        fields.extend(said(USER).map(|user| (USER, user.to_owned())));
        Self(fields)
    }
}

/// A tool must say `parameters` and `strict` in an answer, and need not in a request.
fn whole_tools(raw: &RawValue) -> Option<Box<RawValue>> {
    let mut tools: Vec<Map<String, Value>> = serde_json::from_str(raw.get()).ok()?;
    for tool in &mut tools {
        tool.entry("parameters").or_insert(Value::Null);
        // No provider but OpenAI is strict unasked.
        tool.entry("strict").or_insert(Value::Bool(false));
    }
    to_raw_value(&tools).ok()
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
