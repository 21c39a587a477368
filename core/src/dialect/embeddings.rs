//! Embeddings, said by one API to another: `OpenAI`'s `/embeddings`, `Gemini`'s `embedContent` and `batchEmbedContents`.
//! `Anthropic` has none.
//!
//! Inputs are texts. More than the provider takes at once are asked for in several requests, whose answers are put
//! together in order. What is refused: token arrays (another model's tokens mean nothing), parts that are not text,
//! different dimensions within one batch, more inputs than a request is divided for. `taskType` and `title` are hints
//! that `OpenAI` lacks, `user` one that `Gemini` lacks: they are left out and listed.
//!
//! `OpenAI`'s vectors have length 1, and programs compare them by dot product; `Gemini`'s have it only in full size. So an
//! `OpenAI` caller gets them scaled to length 1. `Gemini` counts no tokens for its older embedding models: `usage` is 0
//! then.

use crate::json::{self, Map, Number, Value, json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bowsprit_crds::model_route::OnUnsupported;
use bytes::Bytes;
use serde::Deserialize;

use super::cursor::{Cursor, parse_body};
use super::dropped::Dropped;
use super::message::to_bytes;
use super::{Dialect, RequestError, Translated, Usage, gemini, registry, success, usage};
use crate::fault::ErrorKind;

/// Inputs that `batchEmbedContents` takes at once ("at most 100 requests can be in one batch").
const MAX_GEMINI: usize = 100;
/// Inputs that `/embeddings` takes at once.
const MAX_OPENAI: usize = 2048;
/// Inputs of a caller in all: 100 requests to `Gemini`, and some minutes of its time.
const MAX_INPUTS: usize = 10_000;
/// Bytes of text that `/embeddings` is asked for at once: it takes 300,000 tokens, and a token has rarely less than two
/// bytes.
const MAX_OPENAI_BYTES: usize = 600_000;

/// How embeddings are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingsApi {
    /// `OpenAI`'s `/embeddings`.
    OpenAi,
    /// `Gemini`'s `embedContent`.
    One,
    /// `Gemini`'s `batchEmbedContents`.
    Batch,
}

impl EmbeddingsApi {
    /// Whose it is.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::OpenAi => Dialect::OpenAiChat,
            Self::One | Self::Batch => Dialect::Gemini,
        }
    }

    /// The form in which a provider of `to` is asked; none: it has no embeddings.
    pub fn at(self, to: Dialect) -> Option<Self> {
        match to {
            _ if to == self.dialect() => Some(self),
            Dialect::OpenAiChat => Some(Self::OpenAi),
            Dialect::Gemini => Some(Self::Batch),
            Dialect::AnthropicMessages | Dialect::OpenAiResponses => None,
        }
    }
}

#[derive(Debug, Default)]
struct Asked {
    texts: Vec<String>,
    dimensions: Option<u64>,
}

/// A request in the provider's form, in as many parts as it takes.
#[derive(Clone, Debug)]
pub struct Divided {
    /// The first part, and what the whole lost.
    pub first: Translated,
    /// The bodies of further parts, in the order of the inputs.
    pub more: Vec<Bytes>,
}

/// Says the request in the form of a provider of another dialect ([`EmbeddingsApi::at`]).
///
/// # Errors
/// `VAL_UNSUPPORTED` where it cannot be carried, `VAL_FIELD` and `VAL_NOT_JSON` where it is wrong.
pub fn translate_request(
    from: EmbeddingsApi,
    to: EmbeddingsApi,
    body: &[u8],
    model: &str,
    on_unsupported: Option<OnUnsupported>,
) -> Result<Divided, RequestError> {
    let value = parse_body(body)?;
    let root = Cursor::root(&value);
    let mut dropped = Dropped::new(on_unsupported);
    let asked = match from {
        EmbeddingsApi::OpenAi => from_openai(&root, &mut dropped)?,
        EmbeddingsApi::One => {
            let mut asked = Asked::default();
            from_content(&root, &mut asked, &mut dropped)?;
            asked
        }
        EmbeddingsApi::Batch => from_batch(&root, &mut dropped)?,
    };
    if asked.texts.len() > MAX_INPUTS {
        let inputs = if from == EmbeddingsApi::OpenAi {
            "input"
        } else {
            "requests"
        };
        let problem = format!("{MAX_INPUTS} inputs at most are taken at once: send fewer");
        return Err(RequestError::unsupported(inputs, problem));
    }
    let mut bodies = parts(asked.texts, to).into_iter().map(|texts| {
        let part = Asked {
            texts,
            dimensions: asked.dimensions,
        };
        to_bytes(&match to {
            EmbeddingsApi::OpenAi => to_openai(part, model),
            EmbeddingsApi::One | EmbeddingsApi::Batch => to_gemini(part, model),
        })
    });
    Ok(Divided {
        first: Translated {
            body: bodies.next().unwrap_or_default(),
            dropped: dropped.into_vec(),
            ..Translated::default()
        },
        more: bodies.collect(),
    })
}

/// The texts, as many together as the provider takes at once.
fn parts(texts: Vec<String>, to: EmbeddingsApi) -> Vec<Vec<String>> {
    let (most, most_bytes) = match to {
        EmbeddingsApi::OpenAi => (MAX_OPENAI, MAX_OPENAI_BYTES),
        EmbeddingsApi::One => (1, usize::MAX),
        EmbeddingsApi::Batch => (MAX_GEMINI, usize::MAX),
    };
    let mut parts: Vec<Vec<String>> = Vec::new();
    let mut bytes = 0;
    for text in texts {
        bytes += text.len();
        match parts.last_mut() {
            Some(part) if part.len() < most && bytes <= most_bytes => part.push(text),
            _ => {
                bytes = text.len();
                parts.push(vec![text]);
            }
        }
    }
    parts
}

fn from_openai(root: &Cursor<'_>, dropped: &mut Dropped) -> Result<Asked, RequestError> {
    const TOKENS: &str = "token arrays mean nothing to the chosen provider's model: send text";
    root.note_unknown(&["model", "input", "dimensions", "encoding_format"], dropped);
    encoding(root)?;
    let input = root.need("input")?;
    let mut asked = Asked {
        texts: Vec::new(),
        dimensions: root.get("dimensions").map(|at| at.u64()).transpose()?,
    };
    if input.value.is_string() {
        asked.texts.push(input.string()?);
        return Ok(asked);
    }
    for item in input
        .items()
        .map_err(|_| input.wrong("must be a string or an array of strings"))?
    {
        if item.value.is_array() || item.value.is_number() {
            return Err(input.unsupported(TOKENS));
        }
        asked.texts.push(item.string()?);
    }
    if asked.texts.is_empty() {
        return Err(input.wrong("must not be empty"));
    }
    Ok(asked)
}

/// Whether base64 is wanted, as `OpenAI`'s own SDKs do.
fn encoding(root: &Cursor<'_>) -> Result<bool, RequestError> {
    let Some(at) = root.get("encoding_format") else {
        return Ok(false);
    };
    match at.str()? {
        "float" => Ok(false),
        "base64" => Ok(true),
        _ => Err(at.wrong("must be float or base64")),
    }
}

fn from_batch(root: &Cursor<'_>, dropped: &mut Dropped) -> Result<Asked, RequestError> {
    root.note_unknown(&["requests", "model"], dropped);
    let requests = root.need("requests")?;
    let mut asked = Asked::default();
    for request in requests.items()? {
        from_content(&request, &mut asked, dropped)?;
    }
    if asked.texts.is_empty() {
        return Err(requests.wrong("must not be empty"));
    }
    Ok(asked)
}

fn from_content(at: &Cursor<'_>, asked: &mut Asked, dropped: &mut Dropped) -> Result<(), RequestError> {
    at.object()?;
    // The Python SDK writes snake case in places, and the API reads both.
    at.note_unknown(
        &["model", "content", "outputDimensionality", "output_dimensionality"],
        dropped,
    );
    let dimensions = at
        .get("outputDimensionality")
        .or_else(|| at.get("output_dimensionality"))
        .map(|at| at.u64())
        .transpose()?;
    if !asked.texts.is_empty() && dimensions != asked.dimensions {
        return Err(RequestError::unsupported(
            at.child("outputDimensionality"),
            "must be the same for all inputs with the chosen provider",
        ));
    }
    asked.dimensions = dimensions;
    let content = at.need("content")?;
    let parts = content.need("parts")?;
    let mut text = String::new();
    for (index, part) in parts.items()?.enumerate() {
        part.object()?;
        let Some(piece) = part.get("text") else {
            return Err(part.unsupported("only text can be embedded by the chosen provider"));
        };
        if index > 0 {
            text.push('\n');
            dropped.note(parts.path());
        }
        text.push_str(piece.str()?);
    }
    asked.texts.push(text);
    Ok(())
}

fn to_openai(asked: Asked, model: &str) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), model.into());
    body.insert("input".into(), asked.texts.into());
    if let Some(dimensions) = asked.dimensions {
        body.insert("dimensions".into(), dimensions.into());
    }
    body.insert("encoding_format".into(), "float".into());
    Value::Object(body)
}

fn to_gemini(asked: Asked, model: &str) -> Value {
    let name = gemini::full_name(model);
    let dimensions = asked.dimensions;
    let requests: Vec<Value> = asked
        .texts
        .into_iter()
        .map(|text| {
            let mut request = json!({ "model": name, "content": { "parts": [{ "text": text }] } });
            if let (Some(dimensions), Some(object)) = (dimensions, request.as_object_mut()) {
                object.insert("outputDimensionality".to_owned(), dimensions.into());
            }
            request
        })
        .collect();
    json!({ "requests": requests })
}

#[derive(Deserialize)]
struct OpenAiAnswer {
    data: Vec<OpenAiVector>,
    usage: Option<usage::OpenAi>,
}

#[derive(Deserialize)]
struct OpenAiVector {
    #[serde(default)]
    index: usize,
    embedding: Vec<Number>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiAnswer {
    embeddings: Option<Vec<GeminiVector>>,
    embedding: Option<GeminiVector>,
    usage_metadata: Option<usage::Gemini>,
}

#[derive(Deserialize)]
struct GeminiVector {
    values: Vec<Number>,
}

/// A part of a request as it was sent, and what was answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The body that was sent.
    pub sent: &'a [u8],
    /// The body that came back.
    pub answer: &'a [u8],
}

/// Says the provider's answers (in the form `from`), one for each part, to a caller who asked with `request` in the form
/// `to`. The usage is their sum, and none where the provider counts no tokens.
///
/// # Errors
/// What the answer really was, as [`super::translate_response`].
pub fn translate_response(
    from: EmbeddingsApi,
    to: EmbeddingsApi,
    parts: &[Answered<'_>],
    request: &[u8],
    model: &str,
) -> Result<(Bytes, Option<Usage>), ErrorKind> {
    let (mut vectors, mut used) = (Vec::new(), None::<Usage>);
    for part in parts {
        let (more, tokens) = read_answer(from, part)?;
        vectors.extend(more);
        if let Some(tokens) = tokens {
            used.get_or_insert_default().input += tokens.input;
        }
    }
    if vectors.len() != inputs(to, request) {
        return Err(ErrorKind::Malformed);
    }
    let body = match to {
        EmbeddingsApi::OpenAi => openai_answer(vectors, wants_base64(request), used, model),
        EmbeddingsApi::One => json!({ "embedding": { "values": vectors.into_iter().next() } }),
        EmbeddingsApi::Batch => {
            let vectors: Vec<Value> = vectors.into_iter().map(|values| json!({ "values": values })).collect();
            json!({ "embeddings": vectors })
        }
    };
    Ok((to_bytes(&body), used))
}

fn read_answer(from: EmbeddingsApi, part: &Answered<'_>) -> Result<(Vec<Vec<Number>>, Option<Usage>), ErrorKind> {
    let malformed = |_| ErrorKind::Malformed;
    success::object(registry::of(from.dialect()).rules, part.answer)?;
    let (vectors, used): (Vec<Vec<Number>>, _) = match from {
        EmbeddingsApi::OpenAi => {
            let mut answer = json::from_slice::<OpenAiAnswer>(part.answer).map_err(malformed)?;
            answer.data.sort_by_key(|vector| vector.index);
            let vectors = answer.data.into_iter().map(|vector| vector.embedding).collect();
            (vectors, answer.usage.map(Usage::from))
        }
        EmbeddingsApi::One | EmbeddingsApi::Batch => {
            let answer = json::from_slice::<GeminiAnswer>(part.answer).map_err(malformed)?;
            let all = answer
                .embeddings
                .unwrap_or_default()
                .into_iter()
                .chain(answer.embedding);
            (
                all.map(|vector| vector.values).collect(),
                answer.usage_metadata.map(Usage::from),
            )
        }
    };
    // Vectors are matched to inputs by their place: one too few would shift all that follow.
    if vectors.is_empty() || vectors.len() != inputs(from, part.sent) {
        return Err(ErrorKind::Malformed);
    }
    Ok((vectors, used))
}

/// What is wrong with an answer in the caller's own form that came with a status of success; `None` if it holds vectors.
pub fn answer_problem(form: EmbeddingsApi, body: &[u8]) -> Option<ErrorKind> {
    let holds = ["embedding", "embeddings", "data"];
    success::other_problem(
        registry::of(form.dialect()).rules,
        body,
        &["embedding", "values"],
        &holds,
    )
}

/// How many inputs a request has; 0: it is none of this form.
pub fn inputs(form: EmbeddingsApi, request: &[u8]) -> usize {
    #[derive(Deserialize)]
    struct Request {
        input: Option<Many>,
        requests: Option<Many>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Many {
        All(Vec<serde::de::IgnoredAny>),
        One(serde::de::IgnoredAny),
    }
    let count = |many: Option<Many>| match many {
        Some(Many::All(list)) => list.len(),
        Some(Many::One(_)) => 1,
        None => 0,
    };
    let Ok(request) = json::from_slice::<Request>(request) else {
        return 0;
    };
    match form {
        EmbeddingsApi::OpenAi => count(request.input),
        EmbeddingsApi::One => 1,
        EmbeddingsApi::Batch => count(request.requests),
    }
}

fn wants_base64(request: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Request {
        encoding_format: Option<String>,
    }
    json::from_slice::<Request>(request).is_ok_and(|request| request.encoding_format.as_deref() == Some("base64"))
}

fn openai_answer(vectors: Vec<Vec<Number>>, base64: bool, used: Option<Usage>, model: &str) -> Value {
    let data: Vec<Value> = vectors
        .into_iter()
        .enumerate()
        .map(|(index, vector)| {
            let scaled = unit_length(&vector);
            let embedding = if base64 {
                encode(&scaled.unwrap_or_else(|| floats(&vector))).into()
            } else {
                scaled.map_or_else(|| json!(vector), |scaled| json!(scaled))
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    let tokens = used.unwrap_or_default().input;
    json!({
        "object": "list",
        "data": data,
        "model": model,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })
}

fn floats(vector: &[Number]) -> Vec<f64> {
    vector.iter().map(|value| value.as_f64().unwrap_or_default()).collect()
}

/// None for what is as long as 32-bit numbers allow to tell, and so stays as it was written, and for what has no
/// direction.
fn unit_length(vector: &[Number]) -> Option<Vec<f64>> {
    let values = floats(vector);
    let length = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let scaled = length > 0.0 && length.is_finite() && (length - 1.0).abs() > 1e-4;
    scaled.then(|| values.iter().map(|value| value / length).collect())
}

/// Little-endian 32-bit floats.
fn encode(vector: &[f64]) -> String {
    #[allow(clippy::cast_possible_truncation)] // what this form holds
    let bytes: Vec<u8> = vector.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect();
    STANDARD.encode(bytes)
}
