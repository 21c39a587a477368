//! What a provider wants back with the history, in the `encrypted_content` of a reasoning item.

use serde::{Deserialize, Serialize};

use crate::json;

use super::OURS;

/// Between the mark and what it marks: the version of this form.
const VERSION: &str = ".1 ";

/// The content of a reasoning item of ours. All empty: a thought that nobody signed.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Carried {
    /// Of the thought in the item's summary (`Anthropic`), or of the tool call (`Gemini`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// `Anthropic`'s `redacted_thinking`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redacted: Option<String>,
    /// The id of the tool call that `signature` belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
}

impl Carried {
    pub(super) fn seal(&self) -> String {
        // A struct of strings always serialises.
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{OURS}{VERSION}{json}")
    }

    /// `None`: somebody else's.
    pub(super) fn open(sealed: &str) -> Option<Self> {
        let json = sealed.strip_prefix(OURS)?.strip_prefix(VERSION)?;
        json::from_str(json).ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.signature.is_none() && self.redacted.is_none()
    }

    /// Bytes that it holds.
    pub(super) fn size(&self) -> usize {
        let parts = [&self.signature, &self.redacted, &self.call];
        parts.into_iter().flatten().map(String::len).sum()
    }
}
