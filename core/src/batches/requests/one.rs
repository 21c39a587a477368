//! One request of a batch, read so that no server can take it for another: of each member that matters there is one, in its own letters.

use std::borrow::Cow;

use crate::call::Operation;
use crate::dialect::embeddings::EmbeddingsApi;
use crate::dialect::{self, Dialect, Features, RequestError, features, peek, tokens_of};
use crate::json::Pull;
use crate::{letters, model_name};

/// The longest request of a batch that is read, bytes: pictures are some MiB.
pub const REQUEST: usize = 16 << 20;
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

/// What is known of each.
#[derive(Debug)]
pub(super) struct Of {
    /// What its provider speaks.
    pub dialect: Dialect,
    /// Gemini's: by the path.
    pub model: Option<(String, Operation)>,
    /// All of them are where nobody reads them.
    pub is_elsewhere: bool,
    /// What [`features`] reads is wanted.
    pub reads_features: bool,
}

impl Of {
    /// A line of a file, or an element of a document.
    ///
    /// # Errors
    /// Servers may read it otherwise, or it is none.
    pub(super) fn read<'t>(&'t self, text: &'t [u8], number: u64) -> Result<Request<'t>, Why> {
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
        if envelope.has_other_letters {
            letters::check(body)?;
        }
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
            } else if let Some(meant) = dialect::meant(name, &names) {
                other = Some(dialect::wrong(name, meant));
            }
            Ok(())
        })?;
        pull.end()
    };
    read().map_err(|error| RequestError::not_json(format!("is not JSON: {error}")))?;
    match (twice, other) {
        (Some(name), _) => Err(RequestError::field(&name, "must be given once").into()),
        (None, Some(wrong)) => Err(wrong.into()),
        (None, None) => Ok(found),
    }
}
