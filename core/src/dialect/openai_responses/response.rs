//! The response object and its items.

use crate::json::{Value, json};
use serde::Serialize;

use super::super::ids::token_of;
use super::super::logprobs::openai_list;
use super::super::message::ToolName;
use super::super::message::{Finish, TokenLogprob, arguments};
use super::super::{AnswerContext, Usage};
use super::OURS;
use super::carried::Carried;
use super::echo::Echo;

/// An id of ours: which kind of thing, of which answer, and its number in it.
pub(super) fn id(kind: &str, ctx: &AnswerContext, number: Option<usize>) -> String {
    let answer = token_of(&ctx.id);
    match number {
        Some(number) => format!("{kind}_{OURS}_{answer}_{number}"),
        None => format!("{kind}_{OURS}_{answer}"),
    }
}

/// How far an item or a response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
    Failed,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
        }
    }
}

/// A piece of a message.
#[derive(Debug)]
pub(super) struct Piece {
    pub kind: TextKind,
    pub text: String,
    pub logprobs: Vec<TokenLogprob>,
}

/// What the model said, or that it would not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextKind {
    Text,
    Refusal,
}

impl Piece {
    pub(super) fn value(&self) -> Value {
        part(self.kind, &self.text, &self.logprobs)
    }
}

/// A content part.
pub(super) fn part(kind: TextKind, text: &str, logprobs: &[TokenLogprob]) -> Value {
    match kind {
        TextKind::Text => json!({
            "type": "output_text", "annotations": [], "logprobs": openai_list(logprobs), "text": text,
        }),
        TextKind::Refusal => json!({ "type": "refusal", "refusal": text }),
    }
}

/// One item of the output.
#[derive(Debug)]
pub(super) struct Item {
    pub id: String,
    pub status: Status,
    pub body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    Message(Vec<Piece>),
    Reasoning {
        summary: String,
        carried: Carried,
    },
    Call {
        call_id: String,
        name: ToolName,
        /// Of a function; of a custom tool, its text.
        arguments: String,
    },
}

impl Body {
    /// The prefix that `OpenAI` gives the ids of such items, and insists on.
    pub(super) fn prefix(&self) -> &'static str {
        match self {
            Self::Message(_) => "msg",
            Self::Reasoning { .. } => "rs",
            Self::Call { name, .. } if name.is_custom() => "ctc",
            Self::Call { name, .. } if name.is_search() => "tsc",
            Self::Call { .. } => "fc",
        }
    }
}

impl Item {
    pub(super) fn value(&self) -> Value {
        match &self.body {
            Body::Message(pieces) => json!({
                "id": self.id,
                "type": "message",
                "status": self.status.as_str(),
                "role": "assistant",
                "content": pieces.iter().map(Piece::value).collect::<Vec<_>>(),
            }),
            Body::Reasoning { summary, carried } => {
                let mut value = json!({ "id": self.id, "type": "reasoning", "summary": summary_value(summary) });
                // Sealed even if there is nothing in it: the mark keeps the item away from OpenAI, which refuses
                // thoughts that it does not know. While it is still being written there is nothing to come back with.
                if let (true, Some(object)) = (self.status != Status::InProgress, value.as_object_mut()) {
                    object.insert("encrypted_content".to_owned(), carried.seal().into());
                }
                value
            }
            Body::Call {
                call_id,
                name,
                arguments: said,
            } if name.is_search() => json!({
                "id": self.id,
                "type": "tool_search_call",
                "status": self.status.as_str(),
                "call_id": call_id,
                "execution": "client",
                // The one call whose arguments are no text; while they are written there is nothing to show.
                "arguments": if self.status == Status::InProgress { json!({}) } else { arguments(said) },
            }),
            Body::Call {
                call_id,
                name,
                arguments: said,
            } => {
                let (kind, input) = if name.is_custom() {
                    ("custom_tool_call", "input")
                } else {
                    ("function_call", "arguments")
                };
                let mut value = json!({
                    "id": self.id,
                    "type": kind,
                    "status": self.status.as_str(),
                    "call_id": call_id,
                    "name": name.name,
                    input: said,
                });
                if let (Some(namespace), Some(object)) = (&name.namespace, value.as_object_mut()) {
                    object.insert("namespace".to_owned(), namespace.as_str().into());
                }
                value
            }
        }
    }
}

fn summary_value(summary: &str) -> Value {
    if summary.is_empty() {
        json!([])
    } else {
        json!([{ "type": "summary_text", "text": summary }])
    }
}

/// How a whole response ended, and the reason if it is incomplete.
pub(super) fn ending(finish: Finish, refused: bool) -> (Status, Option<&'static str>) {
    match finish {
        Finish::Length | Finish::ContextWindow => (Status::Incomplete, Some("max_output_tokens")),
        // The refusal itself is the answer where there is one.
        Finish::Refusal if refused => (Status::Completed, None),
        Finish::ContentFilter | Finish::Refusal => (Status::Incomplete, Some("content_filter")),
        Finish::Stop | Finish::StopSequence | Finish::ToolCalls | Finish::Pause | Finish::BadCall => {
            (Status::Completed, None)
        }
    }
}

/// The response object, complete as the API's schema wants it.
#[derive(Serialize)]
pub(super) struct Response<'a> {
    id: &'a str,
    object: &'static str,
    created_at: u64,
    status: &'static str,
    background: bool,
    error: Option<Failure<'a>>,
    incomplete_details: Option<Incomplete>,
    model: &'a str,
    output: Vec<Value>,
    previous_response_id: Option<()>,
    /// Nothing is kept anywhere, whatever was asked.
    store: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
    #[serde(flatten)]
    echo: &'a Echo,
}

/// Why a response failed.
#[derive(Serialize)]
pub(super) struct Failure<'a> {
    pub code: &'static str,
    pub message: &'a str,
    /// Ours, beside the API's.
    pub bowsprit_code: &'static str,
}

#[derive(Serialize)]
struct Incomplete {
    reason: &'static str,
}

impl<'a> Response<'a> {
    /// One in progress, to which the rest is added.
    pub(super) fn begun(id: &'a str, ctx: &'a AnswerContext) -> Self {
        Self {
            id,
            object: "response",
            created_at: ctx.created,
            status: Status::InProgress.as_str(),
            background: false,
            error: None,
            incomplete_details: None,
            model: &ctx.model,
            output: Vec::new(),
            previous_response_id: None,
            store: false,
            usage: None,
            echo: &ctx.echo,
        }
    }

    pub(super) fn ended(mut self, ending: (Status, Option<&'static str>), items: &[Item], usage: Usage) -> Self {
        self.status = ending.0.as_str();
        self.incomplete_details = ending.1.map(|reason| Incomplete { reason });
        self.output = items.iter().map(Item::value).collect();
        self.usage = Some(usage.to_responses());
        self
    }

    pub(super) fn failed(mut self, failure: Failure<'a>, items: &[Item]) -> Self {
        self.status = Status::Failed.as_str();
        self.error = Some(failure);
        self.output = items.iter().map(Item::value).collect();
        self
    }
}
