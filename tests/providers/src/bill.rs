//! What a provider would bill: counted where an answer is made, from the script and the call alone, so that whoever reckons from the
//! answers' bytes can be held against it.
//!
//! Only conversations are billed here: embeddings tell their tokens in one API and none in another.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::{Content, Operation};
use crate::call::Call;
use crate::script::Answer;

/// By model as it was asked for.
pub type Bill = BTreeMap<String, Billed>;

/// The bill for one model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Billed {
    /// Answers that were sent to their end, usage and all.
    pub whole: Tokens,
    /// Answers that were begun and broke off, by the script's will or by the peer's: what was generated until then.
    pub cut: Tokens,
}

/// Answers and their tokens, normalised: input includes what is cached, output includes reasoning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Answers.
    pub answers: u64,
    /// All input.
    pub input: u64,
    /// All output.
    pub output: u64,
    /// Of the input: read from the cache.
    pub cached: u64,
    /// Of the input: written to the cache.
    pub cache_write: u64,
    /// Of the output: reasoning.
    pub reasoning: u64,
}

impl Tokens {
    fn add(&mut self, other: Self) {
        self.answers += other.answers;
        self.input += other.input;
        self.output += other.output;
        self.cached += other.cached;
        self.cache_write += other.cache_write;
        self.reasoning += other.reasoning;
    }
}

/// Puts an answer on the bill. `sent_whole`: it came to its end; else so many pieces of its content were sent, each a token at least.
pub(crate) fn bill(all: &mut Bill, call: &Call, answer: &Answer, sent_whole: bool, pieces: u32) {
    if !matches!(call.route.operation, Operation::Chat | Operation::Responses) {
        return;
    }
    let content = Content::of(call, answer);
    let is_whole = sent_whole && answer.fault.is_none();
    let billed = all.entry(call.model.clone()).or_default();
    let choices = call
        .body
        .get("n")
        .and_then(serde_json::Value::as_u64)
        .unwrap_or(1)
        .max(1);
    let tokens = Tokens {
        answers: 1,
        input: content.input,
        output: if is_whole {
            content.output * choices
        } else {
            u64::from(pieces)
        },
        cached: answer.usage.cached,
        cache_write: answer.usage.cache_write,
        reasoning: if is_whole { answer.usage.reasoning } else { 0 },
    };
    if is_whole {
        billed.whole.add(tokens);
    } else {
        billed.cut.add(tokens);
    }
}
