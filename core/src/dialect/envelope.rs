//! The few facts the proxy needs of a request, and the few values it changes: both without touching the rest.

use std::borrow::Cow;
use std::fmt;

use crate::json::{self, Raw};
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;
use serde::de::{self, IgnoredAny, MapAccess, Visitor};

use super::usage::tokens_of;
use super::{Dialect, RequestError, letters};

/// What one pass over the body finds out. For `Gemini` the model and the wish for a stream are in the URL, so `model` is
/// empty and `stream` false there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The model asked for.
    pub model: Cow<'a, str>,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// `stream_options.include_usage`.
    pub include_usage: bool,
    /// Tokens; the caller's own limit on the answer.
    pub max_output_tokens: Option<u64>,
    /// Answers asked for at once, each up to that limit: `n`, `candidateCount`; 1 where the body does not say.
    pub choices: u64,
    /// The provider's priority terms are asked for: `service_tier`.
    pub is_priority: bool,
    /// A quarter of the body's bytes: what the limiter reserves before the provider counts.
    pub input_tokens_estimate: u64,
    /// Whether a member that is not looked at here may be one in other letters ([`crate::letters`]).
    pub has_other_letters: bool,
}

/// Tells a null from an absent field: `Option` alone would take both for none, and a second key would be spliced in.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Raw<'de>>, D::Error> {
    Raw::deserialize(deserializer).map(Some)
}

/// Values stay raw so that a wrong type is reported with its path. Unknown fields are skipped unparsed, a repeated known
/// one is an error: two proxies that pick different ones of two `model`s would disagree on what was allowed.
#[derive(Default)]
struct Top<'a> {
    model: Option<Raw<'a>>,
    stream: Option<Raw<'a>>,
    stream_options: Option<Raw<'a>>,
    max_tokens: Option<Raw<'a>>,
    max_completion_tokens: Option<Raw<'a>>,
    max_output_tokens: Option<Raw<'a>>,
    n: Option<Raw<'a>>,
    service_tier: Option<Raw<'a>>,
    generation_config: Option<Raw<'a>>,
    /// Whether an unknown one has letters that the known ones have not.
    has_other_letters: bool,
}

impl<'a> Top<'a> {
    /// Where the member of this name goes, and what it is called.
    fn slot(&mut self, name: &str) -> Option<(&'static str, &mut Option<Raw<'a>>)> {
        Some(match name {
            "model" => ("model", &mut self.model),
            "stream" => ("stream", &mut self.stream),
            "stream_options" => ("stream_options", &mut self.stream_options),
            "max_tokens" => ("max_tokens", &mut self.max_tokens),
            "max_completion_tokens" => ("max_completion_tokens", &mut self.max_completion_tokens),
            "max_output_tokens" => ("max_output_tokens", &mut self.max_output_tokens),
            "n" => ("n", &mut self.n),
            "service_tier" => ("service_tier", &mut self.service_tier),
            "generationConfig" | "generation_config" => ("generationConfig", &mut self.generation_config),
            _ => return None,
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Top<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TopVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Top<'de>, A::Error> {
        let mut top = Top::default();
        while let Some(Text(name)) = members.next_key()? {
            let Some((known, slot)) = top.slot(&name) else {
                members.next_value::<IgnoredAny>()?;
                top.has_other_letters |= letters::has_others(&name);
                continue;
            };
            if slot.replace(members.next_value()?).is_some() {
                return Err(de::Error::duplicate_field(known));
            }
        }
        Ok(top)
    }
}

#[derive(Deserialize)]
struct StreamOptions<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    include_usage: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct GenerationConfig<'a> {
    #[serde(
        borrow,
        default,
        deserialize_with = "present",
        rename = "maxOutputTokens",
        alias = "max_output_tokens"
    )]
    max_output_tokens: Option<Raw<'a>>,
    #[serde(
        borrow,
        default,
        deserialize_with = "present",
        rename = "candidateCount",
        alias = "candidate_count"
    )]
    candidate_count: Option<Raw<'a>>,
}

fn top(body: &[u8]) -> Result<Top<'_>, RequestError> {
    let text = std::str::from_utf8(body).map_err(|_| RequestError::not_json("is not UTF-8"))?;
    if !text.trim_start().starts_with('{') {
        return Err(RequestError::not_json("must be a JSON object"));
    }
    json::from_str(text).map_err(|error| {
        // A repeated key is the one data error a struct of raw values can have.
        if error.is_data() {
            let problem = error.to_string();
            let key = problem.split('`').nth(1).unwrap_or_default().to_owned();
            RequestError::field(key, "must be given once")
        } else {
            RequestError::not_json(format!("is not JSON: {error}"))
        }
    })
}

fn read<'a, T: Deserialize<'a>>(raw: Option<Raw<'a>>, path: &str, problem: &str) -> Result<Option<T>, RequestError> {
    match raw.map(Raw::get) {
        None | Some("null") => Ok(None),
        Some(text) => json::from_str(text)
            .map(Some)
            .map_err(|_| RequestError::field(path, problem)),
    }
}

/// As [`read`], for structs: serde would also take an array for one, by the order of its fields.
fn read_object<'a, T: Deserialize<'a>>(raw: Option<Raw<'a>>, path: &str) -> Result<Option<T>, RequestError> {
    match raw.map(Raw::get) {
        Some(text) if !text.starts_with('{') && text != "null" => Err(RequestError::field(path, "must be an object")),
        _ => read(raw, path, "must be an object whose fields are given once"),
    }
}

/// How many answers are asked for. What is no number is the provider's to refuse.
fn choices(raw: Option<Raw<'_>>) -> u64 {
    let count = raw.and_then(|raw| json::from_str::<u64>(raw.get()).ok());
    count.unwrap_or(1).max(1)
}

const WHOLE: &str = "must be a whole number, 0 or more";

/// `Cow<str>` deserialises owned by default; this borrows where the JSON string has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads what routing needs in one pass. The body itself stays untouched.
pub fn peek(dialect: Dialect, body: &[u8]) -> Result<Envelope<'_>, RequestError> {
    let top = top(body)?;
    let mut envelope = Envelope {
        model: Cow::Borrowed(""),
        stream: false,
        include_usage: false,
        max_output_tokens: None,
        choices: 1,
        is_priority: false,
        input_tokens_estimate: tokens_of(body.len()),
        // Its own names have capitals.
        has_other_letters: top.has_other_letters || dialect == Dialect::Gemini,
    };
    if dialect == Dialect::Gemini {
        let config: Option<GenerationConfig<'_>> = read_object(top.generation_config, "generationConfig")?;
        let (limit, count) = config.map_or((None, None), |config| {
            (config.max_output_tokens, config.candidate_count)
        });
        envelope.choices = choices(count);
        envelope.max_output_tokens = read(limit, "generationConfig.maxOutputTokens", WHOLE)?;
        return Ok(envelope);
    }
    envelope.model = read::<Text<'_>>(top.model, "model", "must be a string")?
        .ok_or_else(|| RequestError::field("model", "is required"))?
        .0;
    if envelope.model.is_empty() {
        return Err(RequestError::field("model", "must not be empty"));
    }
    envelope.stream = read(top.stream, "stream", "must be true or false")?.unwrap_or(false);
    if dialect != Dialect::AnthropicMessages {
        envelope.choices = choices(top.n);
        envelope.is_priority = top.service_tier.is_some_and(|tier| tier.get() == r#""priority""#);
    }
    if dialect == Dialect::OpenAiResponses {
        envelope.max_output_tokens = read(top.max_output_tokens, "max_output_tokens", WHOLE)?;
        return Ok(envelope);
    }
    envelope.max_output_tokens = read(top.max_tokens, "max_tokens", WHOLE)?;
    if dialect == Dialect::OpenAiChat {
        let options: Option<StreamOptions<'_>> = read_object(top.stream_options, "stream_options")?;
        let asked = options.and_then(|options| options.include_usage);
        envelope.include_usage = read(asked, "stream_options.include_usage", "must be true or false")?.unwrap_or(false);
        // Providers look at one of the two and ignore the other: the larger bounds what any of them writes. None is the smallest.
        let newer = read(top.max_completion_tokens, "max_completion_tokens", WHOLE)?;
        envelope.max_output_tokens = envelope.max_output_tokens.max(newer);
    }
    Ok(envelope)
}

/// Replaces the value of the top-level `model`, and nothing else, byte for byte. A body whose model is equal already, or
/// that [`peek`] would refuse, comes back as it is.
pub fn with_model(body: &Bytes, model: &str) -> Bytes {
    let Ok(top) = top(body) else { return body.clone() };
    let Some(raw) = top.model else { return body.clone() };
    if json::from_str::<Text<'_>>(raw.get()).is_ok_and(|old| old.0 == model) {
        return body.clone();
    }
    let Ok(quoted) = serde_json::to_string(model) else {
        return body.clone();
    };
    splice(body, raw.get(), quoted.as_bytes())
}

/// Asks for the usage chunk of an `OpenAI` stream by splicing `stream_options.include_usage: true` into the body. The
/// chunk is hidden from the caller again by [`super::Stream`].
pub fn with_usage_option(body: &Bytes) -> Bytes {
    let Ok(top) = top(body) else { return body.clone() };
    let Some(options) = top.stream_options else {
        return after_brace(body, body, br#""stream_options":{"include_usage":true}"#);
    };
    if options.get() == "null" {
        return splice(body, options.get(), br#"{"include_usage":true}"#);
    }
    if !options.get().starts_with('{') {
        return body.clone();
    }
    match json::from_str::<StreamOptions<'_>>(options.get()).map(|options| options.include_usage) {
        Ok(Some(raw)) if raw.get() == "true" => body.clone(),
        Ok(Some(raw)) => splice(body, raw.get(), b"true"),
        Ok(None) => after_brace(body, options.get().as_bytes(), br#""include_usage":true"#),
        Err(_) => body.clone(),
    }
}

/// Where `part`, a slice of `body`, begins in it.
fn offset(body: &[u8], part: &[u8]) -> Option<usize> {
    (part.as_ptr() as usize)
        .checked_sub(body.as_ptr() as usize)
        .filter(|at| at + part.len() <= body.len())
}

pub(super) fn splice(body: &Bytes, old: &str, new: &[u8]) -> Bytes {
    let Some(at) = offset(body, old.as_bytes()) else {
        return body.clone();
    };
    replace(body, at, old.len(), &[new])
}

/// Puts a member first into the object that `object` (a slice of `body`) holds.
fn after_brace(body: &Bytes, object: &[u8], member: &[u8]) -> Bytes {
    let Some((start, brace)) = offset(body, object).zip(memchr::memchr(b'{', object)) else {
        return body.clone();
    };
    let rest = object.get(brace + 1..).unwrap_or_default();
    let empty = rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
    replace(body, start + brace + 1, 0, &[member, if empty { b"" } else { b"," }])
}

fn replace(body: &Bytes, at: usize, len: usize, with: &[&[u8]]) -> Bytes {
    let (Some(before), Some(after)) = (body.get(..at), body.get(at + len..)) else {
        return body.clone();
    };
    let added: usize = with.iter().map(|piece| piece.len()).sum();
    let mut out = BytesMut::with_capacity(before.len() + added + after.len());
    out.put_slice(before);
    for piece in with {
        out.put_slice(piece);
    }
    out.put_slice(after);
    out.freeze()
}
