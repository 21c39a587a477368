//! The three APIs: which one a request is for, and what each answers.

pub(crate) mod anthropic;
pub(crate) mod anthropic_batches;
pub(crate) mod errors;
pub(crate) mod gemini;
mod logprobs;
pub(crate) mod openai;
pub(crate) mod openai_responses;

use serde::{Deserialize, Serialize};

use crate::call::{Call, StreamForm};
use crate::ids::Ids;
use crate::script::{Answer, ToolCall};
use crate::sse::Frame;
use crate::wire::{Head, ResponseHead};

/// An API, or all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// `/v1/chat/completions`, `/v1/responses`, `/v1/embeddings`, `/v1/models`.
    OpenAi,
    /// `/v1/messages`, `/v1/messages/count_tokens`, `/v1/messages/batches`, `/v1/models`.
    Anthropic,
    /// `/v1beta/models/…`.
    Gemini,
    /// All three on one port, told apart by path and by the header `anthropic-version`.
    #[default]
    All,
}

impl Api {
    /// `openai`, `anthropic`, `gemini`, `all`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::All => "all",
        }
    }
}

impl std::str::FromStr for Api {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::OpenAi, Self::Anthropic, Self::Gemini, Self::All]
            .into_iter()
            .find(|api| api.as_str() == name)
            .ok_or_else(|| format!("unknown API {name:?}: use openai, anthropic, gemini or all"))
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Chat completions, messages, `generateContent` and `streamGenerateContent`.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// OpenAI's embeddings, `embedContent`.
    Embed,
    /// `batchEmbedContents`.
    BatchEmbed,
    /// `count_tokens`, `countTokens`.
    CountTokens,
    /// The list of models.
    Models,
    /// One model of the list.
    Model,
    /// Anthropic's `POST /v1/messages/batches`.
    BatchCreate,
    /// One of these batches.
    Batch,
    /// Its results.
    BatchResults,
    /// Nothing this API has.
    #[default]
    Unknown,
}

/// Where a request goes, known from its head alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) api: Api,
    pub(crate) operation: Operation,
    /// The model, where the path names it.
    pub(crate) model: Option<String>,
    /// How a stream is framed, where the path decides it.
    pub(crate) stream: StreamForm,
}

impl Route {
    /// Routes by the path's end, so that a base URL may have any prefix (`/team-a/v1/chat/completions`).
    pub(crate) fn of(head: &Head, served: Api) -> Self {
        let path = head.path();
        let has = |api: Api| served == Api::All || served == api;
        let anthropic = head.header("anthropic-version").is_some();
        let gemini = path.contains("/v1beta/") || (path.contains("/v1/models") && served == Api::Gemini);
        let route = if has(Api::Gemini) && gemini && !path.contains("/openai/") {
            gemini::route(head)
        } else if has(Api::Anthropic) && (path.contains("/v1/messages") || anthropic || !has(Api::OpenAi)) {
            anthropic::route(head)
        } else {
            openai::route(head)
        };
        if has(route.api) {
            route
        } else {
            Self {
                api: served,
                operation: Operation::Unknown,
                ..route
            }
        }
    }

    pub(crate) fn new(api: Api, operation: Operation) -> Self {
        Self {
            api,
            operation,
            model: None,
            stream: StreamForm::None,
        }
    }

    pub(crate) fn with_model(self, model: &str) -> Self {
        Self {
            model: Some(model.to_owned()),
            ..self
        }
    }
}

/// An answer's content, before it is framed for the wire.
pub(crate) enum Rendered {
    /// One JSON body.
    Plain(serde_json::Value),
    /// A JSON value in each line.
    Lines(String),
    /// Events.
    Stream(Vec<Frame>),
}

/// Writes what `call` asks for, as `answer` says.
pub(crate) fn render(call: &Call, answer: &Answer, ids: &mut Ids) -> Rendered {
    match (call.route.api, call.route.operation) {
        (Api::Anthropic, _) => anthropic::render(call, answer, ids),
        (Api::Gemini, _) => gemini::render(call, answer, ids),
        (_, Operation::Responses) => openai_responses::render(call, answer, ids),
        (_, _) => openai::render(call, answer, ids),
    }
}

/// The headers a provider puts on every response, its request id first.
pub(crate) fn usual_headers(api: Api, head: &mut ResponseHead, request_id: &str) {
    match api {
        Api::Anthropic => anthropic::headers(head, request_id),
        Api::Gemini => gemini::headers(head),
        Api::OpenAi | Api::All => openai::headers(head, request_id),
    }
}

/// The request id in the API's own look.
pub(crate) fn request_id(api: Api, ids: &mut Ids) -> String {
    match api {
        Api::Anthropic => ids.base58("req_011C", 20),
        Api::Gemini | Api::OpenAi | Api::All => ids.hex("req_", 32),
    }
}

/// What an answer says, with everything a script left out filled in.
pub(crate) struct Content {
    pub(crate) text: String,
    pub(crate) pieces: Vec<String>,
    pub(crate) calls: Vec<Tool>,
    pub(crate) input: u64,
    pub(crate) output: u64,
}

/// A tool call, ready to be written.
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) arguments: serde_json::Value,
    pub(crate) namespace: Option<String>,
    pub(crate) input: Option<String>,
    pub(crate) search: bool,
}

impl Content {
    pub(crate) fn of(call: &Call, answer: &Answer) -> Self {
        let greeting = || {
            let (api, model) = (call.route.api.as_str(), &call.model);
            if answer.tool_calls.is_empty() {
                format!("Hello from {api} ({model}): {}", call.last_user)
            } else {
                String::new()
            }
        };
        let text = answer.text.clone().unwrap_or_else(greeting);
        let mut pieces = if text.is_empty() && answer.chunks.is_none() {
            Vec::new()
        } else {
            crate::sse::pieces(&text, answer.chunks)
        };
        pieces.extend(answer.huge_event_bytes.map(|size| "x".repeat(size)));
        let text = pieces.concat();
        let tool = |tool: &ToolCall| Tool {
            name: tool
                .name
                .clone()
                .or_else(|| call.first_tool.clone())
                .unwrap_or_else(|| "tool".to_owned()),
            arguments: match &tool.input {
                Some(text) => serde_json::json!({ "input": text }),
                None if tool.arguments.is_null() => serde_json::json!({}),
                None => tool.arguments.clone(),
            },
            namespace: tool.namespace.clone(),
            input: tool.input.clone(),
            search: tool.search,
        };
        let calls: Vec<Tool> = answer.tool_calls.iter().map(tool).collect();
        let written = text.len() + calls.iter().map(|call| call.arguments.to_string().len()).sum::<usize>();
        let output = answer
            .usage
            .output
            .unwrap_or_else(|| tokens(written) + answer.usage.reasoning);
        Self {
            text,
            pieces,
            calls,
            input: answer.usage.input.unwrap_or(call.input_tokens),
            output,
        }
    }

    /// The finish reason in a provider's words: `[stop, length, tool_calls, content_filter]`.
    pub(crate) fn finish<'a>(&self, answer: &'a Answer, words: [&'static str; 4]) -> &'a str {
        let [stop, length, tool_calls, content_filter] = words;
        match answer.finish.as_deref() {
            None if self.calls.is_empty() => stop,
            None | Some("tool_calls") => tool_calls,
            Some("stop") => stop,
            Some("length") => length,
            Some("content_filter") => content_filter,
            Some(other) => other,
        }
    }
}

/// Four bytes to a token: the rule of thumb that every number here follows.
pub(crate) fn tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

/// The arguments' JSON in two pieces, as a streamed tool call comes.
pub(crate) fn argument_pieces(arguments: &serde_json::Value) -> Vec<String> {
    halves(&arguments.to_string())
}

/// A text in two pieces, none of them empty.
pub(crate) fn halves(text: &str) -> Vec<String> {
    let middle = (text.len() / 2..text.len())
        .find(|place| text.is_char_boundary(*place))
        .unwrap_or(text.len());
    let (first, second) = text.split_at(middle);
    [first, second]
        .into_iter()
        .filter(|piece| !piece.is_empty())
        .map(str::to_owned)
        .collect()
}
