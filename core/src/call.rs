//! What a caller asks of a model, as far as plan, limits and records need to know it. The body itself is not here.

use std::sync::Arc;

use crate::dialect::embeddings::EmbeddingsApi;
use crate::dialect::{Dialect, Envelope};

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
    /// The caller's own bound of the answer, tokens, where it names one; of each answer, where it asks for several.
    pub max_tokens: Option<u64>,
    /// The provider's priority terms are asked for, which are dearer.
    pub is_priority: bool,
    /// Whether its body may have members in other letters than its API's ([`crate::letters`]).
    pub has_other_letters: bool,
}

/// Output tokens reserved at limits for an answer that names no maximum. Settled by what was really used.
const ASSUMED_OUTPUT: u64 = 1_000;

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
            is_priority: false,
            input_tokens: 0,
            has_other_letters: false,
        }
    }

    /// Takes what a generation's body says of it, but for its model and whether it is a stream: some APIs say these in the URL.
    pub fn asks(&mut self, envelope: &Envelope<'_>) {
        self.include_usage = envelope.include_usage;
        self.input_tokens = envelope.input_tokens_estimate;
        self.max_tokens = envelope.max_output_tokens;
        self.is_priority = envelope.is_priority;
        self.has_other_letters = envelope.has_other_letters;
        // A caller may name any number: too large a one is more than there is room for, not less.
        let output = self.answer_tokens().saturating_mul(envelope.choices);
        self.tokens = self.input_tokens.saturating_add(output);
    }

    /// Output tokens of each answer, as reserved.
    pub fn answer_tokens(&self) -> u64 {
        self.max_tokens.unwrap_or(ASSUMED_OUTPUT)
    }

    /// Whether a model is asked for words, in a stream of them.
    pub fn is_stream(&self) -> bool {
        self.stream && self.operation == Operation::Generate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::peek;

    fn asks(dialect: Dialect, body: &str) -> Call {
        let mut call = Call::new(dialect, Operation::Generate);
        call.asks(&peek(dialect, body.as_bytes()).unwrap());
        call
    }

    #[test]
    fn the_reserve_is_the_input_and_every_answer_that_is_asked_for_however_large() {
        for (body, output) in [
            (r#"{"model":"m"}"#, 1_000),
            (r#"{"model":"m","max_tokens":50}"#, 50),
            (r#"{"model":"m","max_tokens":50,"n":4}"#, 200),
            (r#"{"model":"m","n":3}"#, 3_000),
        ] {
            let call = asks(Dialect::OpenAiChat, body);
            assert_eq!(call.tokens - call.input_tokens, output, "{body}");
        }
        let gemini = r#"{"generationConfig":{"maxOutputTokens":50,"candidateCount":2}}"#;
        let call = asks(Dialect::Gemini, gemini);
        assert_eq!(call.tokens - call.input_tokens, 100);
        for body in [
            r#"{"model":"m","max_tokens":18446744073709551615}"#,
            r#"{"model":"m","max_tokens":9223372036854775808,"n":2}"#,
            r#"{"model":"m","n":18446744073709551615}"#,
        ] {
            assert_eq!(asks(Dialect::OpenAiChat, body).tokens, u64::MAX, "{body}");
        }
    }
}
