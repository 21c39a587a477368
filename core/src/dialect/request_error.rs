//! Why a request is refused before any provider sees it.

use std::fmt;

use crate::fault::Code;

/// Why a request is refused before any provider sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// `VAL_NOT_JSON`, `VAL_FIELD` or `VAL_UNSUPPORTED`.
    pub code: Code,
    /// Where, as in `messages[2].content`; empty for the body as a whole.
    pub path: String,
    /// What is wrong there, worded to follow the path: `must be a string`.
    pub problem: String,
}

impl RequestError {
    pub(crate) fn field(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            code: Code::ValField,
            path: path.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn unsupported(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            code: Code::ValUnsupported,
            path: path.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn not_json(problem: impl Into<String>) -> Self {
        Self {
            code: Code::ValNotJson,
            path: String::new(),
            problem: problem.into(),
        }
    }
}

impl RequestError {
    /// The code by which `OpenAI`'s API tells such an error apart, where our code says less.
    #[must_use]
    pub fn openai_code(&self) -> Option<&'static str> {
        match self.problem.as_str() {
            _ if self.code != Code::ValField => None,
            "is required" => Some("missing_required_parameter"),
            problem if problem.starts_with("must be a") => Some("invalid_type"),
            _ => None,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "the body {}", self.problem)
        } else {
            write!(f, "{}: {}", self.path, self.problem)
        }
    }
}

impl std::error::Error for RequestError {}
