//! The common model: what all dialects can say, said once.

use crate::json::{self, Map, Number, Value};
use bytes::Bytes;
use serde::Serialize;

use super::cursor::Cursor;
use super::data_url::data_url;
use super::dropped::Dropped;
use super::{RequestError, Usage};

/// A request as all dialects can say it.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub system: Vec<String>,
    /// After which of `system` there is a cache point.
    pub cached_system: Vec<(usize, CachePoint)>,
    pub turns: Vec<Turn>,
    pub tools: Vec<Tool>,
    /// Tools that the caller's provider would run; none once [`super::hosted::settle`] has decided about them.
    pub hosted: Vec<Hosted>,
    /// The search that the chosen provider is to offer its model.
    pub search: Option<WebSearch>,
    pub tool_choice: Option<ToolChoice>,
    /// `Some(false)`: at most one tool call per answer.
    pub parallel_tools: Option<bool>,
    pub max_tokens: Option<u64>,
    pub temperature: Option<Number>,
    pub top_p: Option<Number>,
    pub top_k: Option<Number>,
    pub frequency_penalty: Option<Number>,
    pub presence_penalty: Option<Number>,
    pub seed: Option<Number>,
    pub stop: Vec<String>,
    /// Log probabilities of the tokens, with those of so many others for each.
    pub logprobs: Option<u64>,
    pub choices: u64,
    pub format: Option<Format>,
    pub thinking: Option<Thinking>,
    /// Whether the caller wants to read the thoughts.
    pub show_thoughts: bool,
    pub user: Option<String>,
    /// How the caller spells each field that a target may have to leave out, for `dropped` and for errors.
    pub fields: FieldNames,
}

impl Request {
    /// A choice of tools that were left out is none.
    pub(super) fn forget_missing_tools(&mut self) {
        if let Some(ToolChoice::Only { names, .. }) = &mut self.tool_choice {
            names.retain(|name| name.is_hosted() || self.tools.iter().any(|tool| tool.name == *name));
            if names.is_empty() {
                self.tool_choice = None;
            }
        }
    }
}

/// The caller's names of fields that some target lacks.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct FieldNames {
    /// The conversation.
    pub turns: &'static str,
    pub max_tokens: &'static str,
    pub temperature: &'static str,
    pub top_p: &'static str,
    pub top_k: &'static str,
    pub frequency_penalty: &'static str,
    pub presence_penalty: &'static str,
    pub seed: &'static str,
    pub stop: &'static str,
    pub logprobs: &'static str,
    pub choices: &'static str,
    pub format: &'static str,
    pub thinking: &'static str,
    pub user: &'static str,
    pub parallel_tools: &'static str,
    pub tool_choice: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    User,
    Assistant,
}

#[derive(Debug)]
pub(super) struct Turn {
    pub role: Role,
    pub parts: Vec<Part>,
}

/// A piece of content, of a request's turn or of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    Text(String),
    /// Image or document.
    Media(Media),
    Call(ToolCall),
    Result(ToolResult),
    Thought(Thought),
    /// The prompt up to here is worth caching.
    CachePoint(CachePoint),
}

/// `Anthropic`'s `cache_control`, which callers of other dialects send too.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CachePoint {
    pub control: Value,
    pub path: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Media {
    pub mime: Option<String>,
    pub source: MediaSource,
    pub name: Option<String>,
    /// Where the caller put it.
    pub path: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum MediaSource {
    /// Base64.
    Inline(String),
    Url(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ToolCall {
    pub id: String,
    pub name: ToolName,
    /// An object; of a custom tool's call in an answer, the text.
    pub input: Value,
    /// `Gemini`'s thought signature.
    pub signature: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ToolResult {
    pub id: String,
    pub name: ToolName,
    /// Text and media only.
    pub parts: Vec<Part>,
    pub is_error: bool,
    pub path: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Thought {
    pub text: String,
    pub signature: Option<String>,
    /// `Anthropic`'s `redacted_thinking`: `text` is its opaque data.
    pub redacted: bool,
    pub path: String,
}

#[derive(Debug)]
pub(super) struct Tool {
    pub name: ToolName,
    pub description: Option<String>,
    /// JSON Schema of the arguments.
    pub schema: Option<Value>,
    /// Where the caller put the schema.
    pub path: String,
}

/// A tool as the caller knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ToolName {
    pub name: String,
    /// The group that a caller of Responses put it in.
    pub namespace: Option<String>,
    pub kind: ToolKind,
}

/// What a tool takes, or who runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ToolKind {
    /// Arguments, as a JSON object.
    Function,
    /// One text (`OpenAI`'s custom tools).
    Custom,
    /// Arguments, like a function, to find more tools (`OpenAI`'s tool search that the caller runs). It has no name there.
    Search,
    /// The provider runs it: its name is the API's, and stands in a choice of tools only.
    Hosted,
}

impl ToolName {
    pub(super) fn new(kind: ToolKind, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            namespace: None,
            kind,
        }
    }

    pub(super) fn within(mut self, namespace: Option<String>) -> Self {
        self.namespace = namespace;
        self
    }

    pub(super) fn is_custom(&self) -> bool {
        self.kind == ToolKind::Custom
    }

    pub(super) fn is_search(&self) -> bool {
        self.kind == ToolKind::Search
    }

    pub(super) fn is_hosted(&self) -> bool {
        self.kind == ToolKind::Hosted
    }

    /// A provider needs no other word for it.
    pub(super) fn is_plain(&self) -> bool {
        self.kind == ToolKind::Function && self.namespace.is_none()
    }

    /// What a name made for a provider is made of.
    pub(super) fn spelled(&self) -> String {
        match &self.namespace {
            // Agents put the separator into the namespace: `mcp__files__` and `read`.
            Some(namespace) if namespace.ends_with("__") => format!("{namespace}{}", self.name),
            Some(namespace) => format!("{namespace}__{}", self.name),
            None => self.name.clone(),
        }
    }
}

impl From<String> for ToolName {
    fn from(name: String) -> Self {
        Self::new(ToolKind::Function, name)
    }
}

impl From<&str> for ToolName {
    fn from(name: &str) -> Self {
        Self::new(ToolKind::Function, name)
    }
}

/// What `Anthropic`'s tool and a choice of it are called.
pub(super) const WEB_SEARCH: &str = "web_search";

/// A tool of the caller's provider.
#[derive(Debug)]
pub(super) struct Hosted {
    /// What a choice of tools calls it; [`WEB_SEARCH`] if it is one.
    pub name: String,
    pub search: Option<WebSearch>,
    pub path: String,
}

/// How to search the web.
#[derive(Debug, Default)]
pub(super) struct WebSearch {
    /// Only what is found there; `None`: everywhere.
    pub allowed_domains: Option<Vec<String>>,
    /// Nothing that is found there.
    pub blocked_domains: Option<Vec<String>>,
    /// Searches in one answer.
    pub max_uses: Option<u64>,
    /// City, region, country and time zone, in the words that `OpenAI` and `Anthropic` share.
    pub place: Option<Value>,
    /// `low`, `medium` or `high`: how much of what is found the model reads.
    pub context_size: Option<String>,
    /// Only what the provider has on file, not the web as it is now.
    pub offline: bool,
    pub path: String,
}

impl WebSearch {
    /// Whether it keeps within some domains, or out of some.
    pub(super) fn is_bounded(&self) -> bool {
        self.allowed_domains.is_some() || self.blocked_domains.is_some()
    }
}

#[derive(Debug)]
pub(super) enum ToolChoice {
    Auto,
    None,
    Required,
    /// Only these; `required`: one of them must be called.
    Only {
        names: Vec<ToolName>,
        required: bool,
    },
}

#[derive(Debug)]
pub(super) enum Format {
    JsonObject,
    JsonSchema {
        name: Option<String>,
        schema: Value,
        strict: Option<bool>,
        /// Where the caller put the schema.
        path: String,
    },
}

#[derive(Debug)]
pub(super) enum Thinking {
    Off,
    /// The model decides how long.
    Adaptive,
    /// Tokens.
    Budget(u64),
    /// `low`, `medium`, `high` and the like.
    Effort(String),
}

/// A whole answer as all dialects can say it.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub id: Option<String>,
    pub choices: Vec<Choice>,
    pub usage: Option<Usage>,
}

#[derive(Debug)]
pub(super) struct Choice {
    pub parts: Vec<Part>,
    pub refusal: Option<String>,
    pub finish: Finish,
    pub stop_sequence: Option<String>,
    pub logprobs: Vec<TokenLogprob>,
}

/// How likely a token of the answer was.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TokenLogprob {
    pub token: String,
    pub logprob: f64,
    /// What else might have stood there, and how likely.
    pub others: Vec<(String, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    StopSequence,
    Length,
    /// The window of the model was full before `max_tokens`.
    ContextWindow,
    ToolCalls,
    ContentFilter,
    /// The model itself declined.
    Refusal,
    /// `Anthropic`'s `pause_turn`.
    Pause,
    /// The model tried to call a tool and failed at it.
    BadCall,
}

/// A body, as it is sent.
pub(super) fn to_bytes(body: &Value) -> Bytes {
    Bytes::from(body.to_vec())
}

/// The same of a struct. What is written here always serialises: keys are strings and numbers finite.
pub(super) fn struct_to_bytes(body: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(body).unwrap_or_default())
}

/// Appends `parts` to the turn before if it has the same role: providers that want alternation get it.
pub(super) fn push_turn(turns: &mut Vec<Turn>, role: Role, parts: Vec<Part>) {
    if parts.is_empty() {
        return;
    }
    match turns.last_mut() {
        Some(last) if last.role == role => last.parts.extend(parts),
        _ => turns.push(Turn { role, parts }),
    }
}

/// The key under which arguments stand that are no JSON object.
pub(super) const RAW_ARGUMENTS: &str = "_raw_arguments";

/// A tool call's arguments as the object that two of three dialects want; nothing and null are an empty one. Models do
/// write broken JSON: what does not parse is kept as text under one key, so that the provider and the reader still see it.
pub(super) fn arguments(text: &str) -> Value {
    if matches!(text.trim(), "" | "null") {
        return Value::Object(Map::new());
    }
    match json::parse(text.as_bytes()) {
        Ok(Value::Object(map)) => Value::Object(map),
        _ => json::json!({ RAW_ARGUMENTS: text }),
    }
}

/// The text of a part list, joined; media and the rest are not text.
pub(super) fn text_of(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        if let Part::Text(piece) = part {
            text.push_str(piece);
        }
    }
    text
}

/// What an `OpenAI` caller's URL of an image or a file holds or names.
pub(super) fn media(url: &str, name: Option<String>, path: String) -> Media {
    match data_url(url) {
        Some((mime, data)) => Media {
            mime: Some(mime),
            source: MediaSource::Inline(data),
            name,
            path,
        },
        None => Media {
            mime: None,
            source: MediaSource::Url(url.to_owned()),
            name,
            path,
        },
    }
}

/// The media type that a URL's ending tells.
pub(super) fn mime_of_url(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let ending = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    Some(match ending.as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "avif" => "image/avif",
        "bmp" => "image/bmp",
        "tif" | "tiff" => "image/tiff",
        "svg" => "image/svg+xml",
        "pdf" => "application/pdf",
        _ => return None,
    })
}

/// Keeps the tools that a restricting choice allows; for targets that cannot restrict by name.
pub(super) fn keep_only(tools: &mut Vec<Tool>, names: &[ToolName]) {
    tools.retain(|tool| names.contains(&tool.name));
}

/// A part of a kind that this proxy does not know. In what the assistant said, one without text of its own informs of how
/// it came about (a thought, a reference), and is left out; anything else is part of the conversation.
pub(super) fn assistant_hint(
    part: &Cursor<'_>,
    kind: &str,
    role: Role,
    refusal: RequestError,
    dropped: &mut Dropped,
) -> Result<Option<Part>, RequestError> {
    let thought = matches!(kind, "reasoning_text" | "summary_text" | "reasoning" | "thinking");
    if role == Role::Assistant && (thought || part.get("text").is_none()) {
        return dropped.leave_out_hint(refusal).map(|()| None);
    }
    Err(refusal)
}

/// A compact JSON text of a value.
pub(super) fn json_text(value: &Value) -> String {
    value.to_string()
}

/// Where two spellings of a number must be compared.
pub(super) fn as_f64(number: &Number) -> f64 {
    number.as_f64().unwrap_or_default()
}

/// Whether a number is this one, however it is written.
pub(super) fn is(number: &Number, value: f64) -> bool {
    (as_f64(number) - value).abs() < f64::EPSILON
}

/// The stop sequences, if the target takes so many; else the first of them, where the route says so.
pub(super) fn at_most(
    most: usize,
    mut stop: Vec<String>,
    spelled: &str,
    dropped: &mut Dropped,
) -> Result<Vec<String>, RequestError> {
    if stop.len() > most {
        let problem = format!("the chosen provider takes {most} at most");
        dropped.leave_out(RequestError::unsupported(spelled, problem))?;
        stop.truncate(most);
    }
    Ok(stop)
}
