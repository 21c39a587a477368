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
    serde_yaml::to_string(document).map_err(|error| YamlError {
        document: 1,
        problem: error.to_string(),
    })
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
    fn what_is_written_is_read_back() {
        let docs = [json!({"a": "on", "b": "1"}), json!({"c": [1, 2.5, null, true]})];
        assert_eq!(documents(&stream(&docs).unwrap()).unwrap(), docs);
    }
}
