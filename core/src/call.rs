//! What a caller asks of a model, as far as plan, limits and records need to know it. The body itself is not here.

use std::sync::Arc;

use crate::dialect::Dialect;
use crate::dialect::embeddings::EmbeddingsApi;

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A conversation, to any provider.
    Generate,
    /// Embeddings, to a provider that serves the asked model.
    Embed(EmbeddingsApi),
    /// A count of tokens, to any provider whose API counts.
    Count,
    /// Another endpoint of one provider: its bytes pass unread, in both directions.
    PassThrough,
}

/// One request's facts.
#[derive(Clone, Debug)]
pub struct Call {
    /// The caller's dialect; of what passes unread, the provider's.
    pub dialect: Dialect,
    /// What to do.
    pub operation: Operation,
    /// The model asked for; empty where the operation has none.
    pub model: Arc<str>,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// Whether the caller asked for the usage chunk of an OpenAI stream.
    pub include_usage: bool,
    /// A Gemini stream is wanted as a JSON array: the caller did not say `alt=sse`.
    pub array: bool,
    /// Tokens to reserve at a limiter: input and output, estimated.
    pub tokens: u64,
    /// Of these, input: a quarter of the request's bytes.
    pub input_tokens: u64,
    /// The caller's own bound of the answer, tokens, where it names one.
    pub max_tokens: Option<u64>,
}

impl Call {
    /// A call of this operation, of whose model and tokens nothing is known yet.
    pub fn new(dialect: Dialect, operation: Operation) -> Self {
        Self {
            dialect,
            operation,
            model: Arc::default(),
            stream: false,
            include_usage: false,
            array: false,
            tokens: 0,
            max_tokens: None,
            input_tokens: 0,
        }
    }

    /// Whether a model is asked for words, in a stream of them.
    pub fn is_stream(&self) -> bool {
        self.stream && self.operation == Operation::Generate
    }
}
