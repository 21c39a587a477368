//! What a batch asks for: its requests, read one by one while the body that brings them passes, for the rules about requests.
//!
//! Anthropic's and Gemini's are inlined in the document that makes the batch ([`super::elements`]). `OpenAI`'s are lines of a file, which
//! is uploaded in a form ([`super::form`]) whose one `purpose` says so, before the file or behind it. Nothing is held but the request
//! that is being read, up to [`REQUEST`] bytes. What makes a batch of a file that was read nowhere is told as unread.

use std::borrow::Cow;

use super::elements::{Elements, Name, Part as Element};
use super::form::{self, Form, Part as Field};
use super::segments;
use crate::call::Operation;
use crate::dialect::embeddings::EmbeddingsApi;
use crate::dialect::{Dialect, Features, RequestError, features, peek, tokens_of};
use crate::json::Pull;
use crate::model_name;

#[cfg(test)]
mod tests;

/// The longest request of a batch that is read, bytes: pictures are some MiB.
pub const REQUEST: usize = 16 << 20;
/// The longest `purpose`, bytes.
const PURPOSE: usize = 64;

/// Where the requests of a batch are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Anthropic's: in the document that makes it.
    Inlined,
    /// Gemini's: in the document that makes it, for the model of its path.
    ForModel {
        /// The model.
        model: String,
        /// What is to be done.
        operation: Operation,
    },
    /// `OpenAI`'s: in a file that is uploaded, if it is one of a batch.
    File,
    /// In a file that may have been uploaded where nobody reads it, or in a document that nobody here knows.
    Elsewhere,
}

/// Whether what is posted to this path brings the requests of a batch. `path`: as rules know it.
///
/// Letters of either case are one, as they are to some servers.
pub fn sent(dialect: Dialect, path: &str) -> Option<Sent> {
    let path = path.trim_matches('/');
    let parts = segments(path).into_iter().map(str::to_ascii_lowercase);
    let parts: Vec<String> = parts.collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let is_openai = matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses);
    match (dialect, parts.as_slice()) {
        // Files that are there already are put somewhere.
        (_, [.., "vector_stores" | "containers" | "assistants", id, "files"]) if is_id(id) => None,
        (_, [.., "files"]) if is_openai => Some(Sent::File),
        (Dialect::Gemini, [.., "openai", "files"]) => Some(Sent::File),
        (Dialect::AnthropicMessages, [.., "messages", "batches"]) => Some(Sent::Inlined),
        // Its file is read when it is uploaded.
        (_, [.., "batches"]) if is_openai => None,
        (_, [.., "batches"] | [.., "batch", "jobs"]) => Some(Sent::Elsewhere),
        (Dialect::Gemini, [.., kind, last]) => {
            let (_, verb) = last.split_once(':')?;
            let operation = match verb {
                "batchgeneratecontent" => Operation::Generate,
                "asyncbatchembedcontent" => Operation::Embed(EmbeddingsApi::One),
                _ => return None,
            };
            // Names of models keep their letters.
            let mut written = path.rsplit('/');
            let (model, _) = written.next()?.split_once(':')?;
            let model = if *kind == "models" {
                model.to_owned()
            } else {
                format!("{}/{model}", written.next()?)
            };
            Some(Sent::ForModel { model, operation })
        }
        _ => None,
    }
}

fn is_id(part: &str) -> bool {
    !matches!(part, "" | "." | "..")
}

/// Whether a body can be no form, by its `content-type`: whoever uploads sends one.
fn is_json(content_type: &str) -> bool {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let is_charset = |it: &str| it.trim().to_ascii_lowercase().starts_with("charset=");
    kind.trim().eq_ignore_ascii_case("application/json")
        && (parameters.trim().is_empty() || parameters.split(';').all(is_charset))
}

/// One request of a batch, as rules know it.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Which it is, from 1: of a file its line. 0: all of them, which are elsewhere.
    pub number: u64,
    /// The caller's name for it.
    pub id: Option<Cow<'a, str>>,
    /// What it speaks.
    pub dialect: Dialect,
    /// What is to be done.
    pub operation: Operation,
    /// The model asked for.
    pub model: Cow<'a, str>,
    /// Whether a stream is asked for, which batches are not.
    pub stream: bool,
    /// The caller's own bound of the answer, tokens.
    pub max_tokens: Option<u64>,
    /// The input, estimated, tokens.
    pub input_tokens: u64,
    /// What it asks for beyond words, where that is wanted.
    pub features: Features,
    /// Nothing but its model is known, if that: it is in a file that is kept at the provider.
    pub is_unread: bool,
}

/// A request that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Which it is, from 1; 0: the whole body.
    pub number: u64,
    /// Why.
    pub why: Why,
}

/// Why a request cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It is longer than [`REQUEST`].
    #[error("is longer than {REQUEST} bytes")]
    TooLong,
    /// It is none.
    #[error("{0}")]
    Wrong(#[from] RequestError),
    /// Servers may read it in several ways.
    #[error("{0}")]
    Unclear(&'static str),
}

/// What is made of each request.
pub type Each<'e> = &'e mut dyn FnMut(Result<Request<'_>, Unread>);

/// Reads the requests of a batch as they come.
#[derive(Debug)]
pub struct Requests {
    of: Of,
    form: Box<Body>,
    text: Vec<u8>,
    is_too_long: bool,
    number: u64,
    is_batch: Option<bool>,
    is_unclear: bool,
}

/// What is known of each.
#[derive(Debug)]
struct Of {
    dialect: Dialect,
    /// Gemini's: by the path.
    model: Option<(String, Operation)>,
    /// All of them are where nobody reads them.
    is_elsewhere: bool,
    reads_features: bool,
}

#[derive(Debug)]
enum Body {
    Document { elements: Elements, is_elsewhere: bool },
    Form { form: Form, part: Part, purpose: Vec<u8> },
    Elsewhere,
}

/// Which part of a form is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Purpose,
    File,
    Other,
}

const INLINED: [Name; 1] = [&["requests"]];
const GEMINI: [Name; 4] = [
    &["batch"],
    &["inputConfig", "input_config"],
    &["requests"],
    &["requests"],
];

impl Requests {
    /// Those that a body brings; `None`: it can bring none. `content_type`: of a form the boundary is told there. `reads_features`: what [`features`] reads is
    /// wanted.
    ///
    /// # Errors
    /// The body of a file is no form whose parts can be told apart, or a document is in another charset.
    pub fn new(dialect: Dialect, sent: Sent, content_type: &str, reads_features: bool) -> Result<Option<Self>, Why> {
        let (form, is_batch) = match &sent {
            Sent::File if is_json(content_type) => return Ok(None),
            Sent::File => {
                let boundary = form::boundary(content_type);
                let boundary = boundary.ok_or(Why::Unclear("is no multipart/form-data with one plain boundary"))?;
                let form = Form::new(boundary);
                let (part, purpose) = (Part::Other, Vec::new());
                (Body::Form { form, part, purpose }, None)
            }
            Sent::Elsewhere => (Body::Elsewhere, Some(true)),
            Sent::Inlined | Sent::ForModel { .. } if !form::is_in_utf8(content_type) => {
                return Err(Why::Unclear("is in another charset than UTF-8"));
            }
            Sent::Inlined => (document(&INLINED, &[]), Some(true)),
            Sent::ForModel { .. } => (document(&GEMINI, &["fileName", "file_name"]), Some(true)),
        };
        let is_elsewhere = sent == Sent::Elsewhere;
        let model = match sent {
            Sent::ForModel { model, operation } => Some((model, operation)),
            Sent::Inlined | Sent::File | Sent::Elsewhere => None,
        };
        Ok(Some(Self {
            of: Of {
                dialect,
                model,
                is_elsewhere,
                reads_features,
            },
            form: Box::new(form),
            text: Vec::new(),
            is_too_long: false,
            number: 0,
            is_batch,
            is_unclear: false,
        }))
    }

    /// Whether these are requests of a batch; `None`: that has not been said yet.
    pub fn is_batch(&self) -> Option<bool> {
        self.is_batch
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.text.capacity()
    }

    /// The next piece. Each request that ends in it is made something of, those of a file whose purpose is not told yet too.
    /// `is_last`: a body that has not ended as it must then may be read otherwise elsewhere.
    pub fn push(&mut self, piece: &[u8], is_last: bool, each: Each<'_>) {
        if self.is_unclear {
            return;
        }
        let mut body = std::mem::replace(&mut *self.form, Body::Elsewhere);
        let is_whole = match &mut body {
            Body::Document { elements, is_elsewhere } => {
                elements.push(piece, &mut |part| match part {
                    _ if self.is_unclear => {}
                    Element::Of(bytes) => self.take(bytes),
                    Element::End => self.end(&mut *each),
                    Element::Elsewhere => *is_elsewhere = true,
                    Element::Unclear(why) => self.unclear(why, &mut *each),
                    Element::Whole if *is_elsewhere || self.number == 0 => self.elsewhere(&mut *each),
                    Element::Whole => {}
                });
                elements.is_closed()
            }
            Body::Form { form, part, purpose } => {
                let read = form.push(piece, &mut |field| {
                    self.field(field, (&mut *part, &mut *purpose), &mut *each);
                });
                if let Err(unclear) = read {
                    self.unclear(unclear.0, &mut *each);
                }
                form.is_closed()
            }
            Body::Elsewhere => {
                if std::mem::replace(&mut self.number, 1) == 0 {
                    self.elsewhere(&mut *each);
                }
                true
            }
        };
        *self.form = body;
        if is_last && !is_whole && !self.is_unclear {
            self.unclear("does not end as it must", each);
        }
    }

    /// Part of a form.
    fn field(&mut self, field: Field<'_>, (part, purpose): (&mut Part, &mut Vec<u8>), each: Each<'_>) {
        if self.is_unclear {
            return;
        }
        match (field, *part) {
            (Field::Begin(name), _) => {
                *part = match name {
                    form::PURPOSE => Part::Purpose,
                    form::FILE => Part::File,
                    _ => Part::Other,
                };
                // Some servers take the first, others the last.
                purpose.clear();
                if *part == Part::Purpose && self.is_batch.is_some() {
                    self.unclear("gives its purpose twice", each);
                }
            }
            (Field::Of(bytes), Part::Purpose) => {
                let room = (PURPOSE + 1).saturating_sub(purpose.len());
                purpose.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            }
            (Field::End, Part::Purpose) => {
                let plain = purpose.trim_ascii().to_ascii_lowercase();
                let is_in = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
                if purpose.len() > PURPOSE || plain.is_empty() || !plain.iter().all(is_in) {
                    return self.unclear("writes its purpose in no plain way", each);
                }
                // Whatever some servers call it beside `batch`; what they give out is called `batch_output`.
                self.is_batch = Some(plain.starts_with(b"batch"));
            }
            // Of a file for another purpose nothing is read but where it ends.
            (_, Part::File) if self.is_batch == Some(false) => self.text = Vec::new(),
            (Field::Of(bytes), Part::File) => self.lines(bytes, each),
            (Field::End, Part::File) => self.end(each),
            (_, Part::Other) => {}
        }
    }

    fn lines(&mut self, bytes: &[u8], each: Each<'_>) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            self.take(line);
            self.end(&mut *each);
            rest = after.get(1..).unwrap_or_default();
        }
        self.take(rest);
    }

    fn take(&mut self, part: &[u8]) {
        if self.text.len() + part.len() > REQUEST {
            self.is_too_long = true;
            self.text = Vec::new();
        }
        if !self.is_too_long {
            self.text.extend_from_slice(part);
        }
    }

    /// A line, or an element, is whole.
    fn end(&mut self, each: Each<'_>) {
        self.number += 1;
        let number = self.number;
        if std::mem::take(&mut self.is_too_long) {
            let why = Why::TooLong;
            return each(Err(Unread { number, why }));
        }
        let text = std::mem::take(&mut self.text);
        if !text.trim_ascii().is_empty() {
            each(self.of.read(&text, number).map_err(|why| Unread { number, why }));
        }
        // The next goes where this one was.
        self.text = text;
        self.text.clear();
    }

    fn unclear(&mut self, why: &'static str, each: Each<'_>) {
        if self.is_unclear {
            return;
        }
        // Of a file this may be about its purpose.
        (self.is_unclear, self.is_batch) = (true, Some(true));
        let (number, why) = (0, Why::Unclear(why));
        each(Err(Unread { number, why }));
    }

    /// The requests are in a file that nobody sees here, or there are none.
    fn elsewhere(&mut self, each: Each<'_>) {
        let (model, operation) = match &self.of.model {
            Some((model, operation)) => (model.as_str(), *operation),
            None if self.of.is_elsewhere => ("", Operation::Generate),
            None => return self.unclear("holds no requests", each),
        };
        each(Ok(Request {
            number: 0,
            id: None,
            dialect: self.of.dialect,
            operation,
            model: Cow::Borrowed(model),
            stream: false,
            max_tokens: None,
            input_tokens: 0,
            features: Features::default(),
            is_unread: true,
        }));
    }
}

fn document(way: &'static [Name], elsewhere: Name) -> Body {
    Body::Document {
        elements: Elements::new(way, elsewhere),
        is_elsewhere: false,
    }
}

impl Of {
    fn read<'t>(&'t self, text: &'t [u8], number: u64) -> Result<Request<'t>, Why> {
        match (self.dialect, &self.model) {
            (Dialect::Gemini, Some((model, operation))) => {
                let [body, meta] = members(text, ["request", "metadata"])?;
                let body = required(body, "request")?;
                let [own] = members(body, ["model"])?;
                let own = own.and_then(|own| serde_json::from_slice::<Cow<'_, str>>(own).ok());
                if own.is_some_and(|own| model_name::bare(&own) != model_name::bare(model)) {
                    return Err(Why::Unclear("names another model than the path"));
                }
                let [key] = match meta {
                    Some(meta) => members(meta, ["key"])?,
                    None => [None],
                };
                let asks = (self.dialect, *operation);
                self.request(number, key, asks, Some(model.as_str()), body)
            }
            (Dialect::AnthropicMessages, _) => {
                let [id, body] = members(text, ["custom_id", "params"])?;
                let asks = (self.dialect, Operation::Generate);
                self.request(number, id, asks, None, required(body, "params")?)
            }
            _ => {
                let [id, url, body] = members(text, ["custom_id", "url", "body"])?;
                let url = url.and_then(|url| serde_json::from_slice::<Cow<'_, str>>(url).ok());
                let asks = match url.as_deref() {
                    Some("/v1/embeddings" | "/embeddings") => {
                        (Dialect::OpenAiChat, Operation::Embed(EmbeddingsApi::OpenAi))
                    }
                    Some("/v1/responses" | "/responses") => (Dialect::OpenAiResponses, Operation::Generate),
                    // What else there is has its parameters by the same names.
                    _ => (Dialect::OpenAiChat, Operation::Generate),
                };
                self.request(number, id, asks, None, required(body, "body")?)
            }
        }
    }

    fn request<'t>(
        &self,
        number: u64,
        id: Option<&'t [u8]>,
        (dialect, operation): (Dialect, Operation),
        model: Option<&'t str>,
        body: &'t [u8],
    ) -> Result<Request<'t>, Why> {
        let envelope = peek(dialect, body)?;
        // For other spellings of these.
        members(
            body,
            [
                "model",
                "max_tokens",
                "max_completion_tokens",
                "max_output_tokens",
                "generationConfig",
            ],
        )?;
        let is_read = self.reads_features && operation == Operation::Generate;
        Ok(Request {
            number,
            id: id.and_then(|id| serde_json::from_slice(id).ok()),
            dialect,
            operation,
            model: model.map_or(envelope.model, Cow::Borrowed),
            stream: envelope.stream,
            max_tokens: envelope.max_output_tokens,
            input_tokens: tokens_of(body.len()),
            features: if is_read {
                features(dialect, body)?
            } else {
                Features::default()
            },
            is_unread: false,
        })
    }
}

fn required<'t>(found: Option<&'t [u8]>, name: &str) -> Result<&'t [u8], RequestError> {
    found.ok_or_else(|| RequestError::field(name, "is required"))
}

/// The values of these members of an object.
fn members<'t, const N: usize>(text: &'t [u8], names: [&'static str; N]) -> Result<[Option<&'t [u8]>; N], Why> {
    let mut found: [Option<&'t [u8]>; N] = [None; N];
    let (mut twice, mut other) = (None, None);
    let mut read = || {
        let mut pull = Pull::new(text)?;
        pull.members(&mut |name, pull| {
            let at = names.iter().position(|known| *known == name);
            if let Some(slot) = at.and_then(|at| found.get_mut(at)) {
                if slot.replace(pull.skip()?.as_bytes()).is_some() {
                    twice = Some(name.to_owned());
                }
            } else if let Some(known) = names.iter().find(|known| is_like(known, name)) {
                other = Some(*known);
            }
            Ok(())
        })?;
        pull.end()
    };
    read().map_err(|error| RequestError::not_json(format!("is not JSON: {error}")))?;
    match (twice, other) {
        (Some(name), _) => Err(RequestError::field(&name, "must be given once").into()),
        (None, Some(known)) => Err(RequestError::field(known, "must be written in these letters").into()),
        (None, None) => Ok(found),
    }
}

/// Whether some servers take one name for the other: those of Go do, letters of either case, a long s and the sign of Kelvin too.
fn is_like(known: &str, name: &str) -> bool {
    name.len() >= known.len()
        && name
            .replace('\u{17f}', "s")
            .replace('\u{212a}', "k")
            .eq_ignore_ascii_case(known)
}
