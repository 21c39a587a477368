//! The one place that reads and writes YAML, so that the library behind it can be replaced here and nowhere else.
//!
//! Documents become [`serde_json::Value`]s: YAML's own extras (tags, non-string keys) have no place in Kubernetes
//! objects and are refused.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why a text is no YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// The document in the stream, counted from 1.
    pub document: usize,
    /// What is wrong and, where known, in which line and column.
    pub problem: String,
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "document {}: {}", self.document, self.problem)
    }
}

impl std::error::Error for YamlError {}

/// Every document of a YAML (or JSON) stream that is not empty.
pub fn documents(text: &str) -> Result<Vec<Value>, YamlError> {
    let mut found = Vec::new();
    for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let value = Value::deserialize(document).map_err(|error| YamlError {
            document: index + 1,
            problem: error.to_string(),
        })?;
        if !value.is_null() {
            found.push(value);
        }
    }
    Ok(found)
}

/// One document as YAML, without the `---` before it.
pub fn to_string(document: &impl Serialize) -> Result<String, YamlError> {
    let text = serde_yaml::to_string(document).map_err(|error| YamlError {
        document: 1,
        problem: error.to_string(),
    })?;
    Ok(quote_old_booleans(&text))
}

/// Words that YAML 1.1, and so kubectl, reads as booleans, where the library (YAML 1.2) writes them bare.
const OLD_BOOLEANS: &[&str] = &[
    "y", "Y", "yes", "Yes", "YES", "n", "N", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF",
];

/// Puts quotes around bare old booleans, as values and list entries; text inside block scalars stays as it is.
fn quote_old_booleans(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    let mut block: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end_matches('\n');
        let indent = body.len() - body.trim_start_matches(' ').len();
        if block.is_some_and(|base| body.trim().is_empty() || indent > base) {
            quoted.push_str(line);
            continue;
        }
        block = None;
        let entry = body.trim_start_matches([' ', '-']);
        let start = body.len() - entry.len();
        let value = entry.rsplit_once(": ").map_or(entry, |(_, value)| value);
        if matches!(value, "|" | "|-" | "|+" | ">" | ">-" | ">+") {
            // The content is indented deeper than the key it belongs to, or than the dash of a list entry.
            block = Some(if value.len() == entry.len() {
                start.saturating_sub(2)
            } else {
                start
            });
        }
        if OLD_BOOLEANS.contains(&value) {
            quoted.push_str(body.get(..body.len() - value.len()).unwrap_or_default());
            quoted.push('"');
            quoted.push_str(value);
            quoted.push_str("\"\n");
        } else {
            quoted.push_str(line);
        }
    }
    quoted
}

/// A stream of documents as YAML, each after a `---`.
pub fn stream<'a, T: Serialize + 'a>(documents: impl IntoIterator<Item = &'a T>) -> Result<String, YamlError> {
    let mut text = String::new();
    for (index, document) in documents.into_iter().enumerate() {
        text.push_str("---\n");
        text.push_str(&to_string(document).map_err(|error| YamlError {
            document: index + 1,
            ..error
        })?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stream_is_read_as_its_documents() {
        let text = "---\na: 1\n---\n---\nb: [x, 'yes']\n";
        assert_eq!(documents(text).unwrap(), [json!({"a": 1}), json!({"b": ["x", "yes"]})]);
        assert_eq!(documents("").unwrap(), Vec::<Value>::new());
        assert_eq!(documents("{\"a\": 1}").unwrap(), [json!({"a": 1})]);
    }

    #[test]
    fn an_error_says_in_which_document_and_line_it_is() {
        let error = documents("a: 1\n---\nb: [1\n").unwrap_err();
        assert_eq!(error.document, 2);
        assert!(error.problem.contains("line"), "{error}");
    }

    #[test]
    fn what_kubectl_would_take_for_a_boolean_is_quoted() {
        let document = json!({"enum": ["OFF", "x", ["no"]], "a": {"b": "on"}, "text": "k: off\n- no\n", "list": ["x\n- on\n", "y"]});
        let text = to_string(&document).unwrap();
        assert!(
            text.contains("- \"OFF\"") && text.contains("b: \"on\"") && text.contains("- \"y\""),
            "{text}"
        );
        assert_eq!(documents(&text).unwrap(), [document], "{text}");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let docs = [json!({"a": "on", "b": "1"}), json!({"c": [1, 2.5, null, true]})];
        assert_eq!(documents(&stream(&docs).unwrap()).unwrap(), docs);
    }
}
