//! The steps of a streamed answer, as all dialects can say them.

use super::Usage;
use super::message::{Finish, TokenLogprob, ToolName};
use crate::json::Text;

/// One step of a streamed answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    Start {
        id: Option<String>,
        usage: Option<Usage>,
    },
    Text {
        choice: u32,
        text: Text,
    },
    Thought {
        choice: u32,
        text: Text,
    },
    Signature {
        choice: u32,
        signature: String,
    },
    Redacted {
        choice: u32,
        data: String,
    },
    Refusal {
        choice: u32,
        text: Text,
    },
    /// Of text that was said before.
    Logprobs {
        choice: u32,
        tokens: Vec<TokenLogprob>,
    },
    CallStart {
        choice: u32,
        index: u32,
        id: String,
        name: ToolName,
        signature: Option<String>,
    },
    /// Of a function; of a custom tool, its text.
    CallArguments {
        choice: u32,
        index: u32,
        fragment: Text,
    },
    CallEnd {
        choice: u32,
        index: u32,
    },
    Finish {
        choice: u32,
        reason: Finish,
        stop_sequence: Option<String>,
    },
    /// Cumulative.
    Usage(Usage),
    Ping,
    /// The provider's own end mark.
    End,
}
