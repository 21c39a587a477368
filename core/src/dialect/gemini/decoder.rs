//! A streamed answer, read into common events.

use serde::Deserialize;
use serde_json::Value;

use super::super::common::{Event, Finish, call_id};
use super::super::error::{self, ProviderError};
use super::super::foreign::{Origin, mark};
use super::super::stream::StreamError;
use super::super::{AnswerContext, Dialect};
use super::super::{logprobs, usage};
use crate::fault::ErrorKind;

/// There is no end mark in this dialect: a stream is whole once a finish reason, or the reason why the prompt was
/// blocked, was seen and the connection closed well.
#[derive(Debug)]
pub(in super::super) struct Decoder {
    answer_id: String,
    begun: bool,
    /// Tool calls so far, by choice.
    calls: Vec<(u32, u32)>,
    finished: Vec<u32>,
}

/// Candidates that are followed at most.
const MAX_CHOICES: u32 = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    response_id: Option<String>,
    candidates: Option<Vec<Candidate>>,
    usage_metadata: Option<usage::Gemini>,
    prompt_feedback: Option<Feedback>,
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    #[serde(default)]
    index: u32,
    content: Option<Content>,
    logprobs_result: Option<Value>,
    finish_reason: Option<String>,
    finish_message: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    parts: Option<Vec<Part>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    text: Option<String>,
    #[serde(default)]
    thought: Option<bool>,
    thought_signature: Option<String>,
    function_call: Option<FunctionCall>,
    inline_data: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct FunctionCall {
    id: Option<String>,
    name: String,
    args: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
}

impl Decoder {
    pub(in super::super) fn new(ctx: &AnswerContext) -> Self {
        Self {
            answer_id: ctx.id.clone(),
            begun: false,
            calls: Vec::new(),
            finished: Vec::new(),
        }
    }

    /// Whether the stream may end here.
    pub(in super::super) fn whole(&self) -> bool {
        !self.finished.is_empty()
    }

    pub(in super::super) fn event(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), StreamError> {
        let chunk: Chunk = serde_json::from_slice(data)
            .map_err(|error| StreamError::Malformed(format!("a chunk is not a generateContent answer: {error}")))?;
        if chunk.error.is_some_and(|error| !error.is_null()) {
            return Err(error::parse_error(Dialect::Gemini, 200, data).into());
        }
        if !self.begun {
            self.begun = true;
            events.push(Event::Start {
                id: chunk.response_id.filter(|id| !id.is_empty()),
                usage: None,
            });
        }
        if let Some(usage) = chunk.usage_metadata {
            events.push(Event::Usage(usage.into()));
        }
        for candidate in chunk.candidates.unwrap_or_default() {
            self.candidate(candidate, events)?;
        }
        if chunk
            .prompt_feedback
            .is_some_and(|feedback| feedback.block_reason.is_some())
            && self.finished.is_empty()
        {
            self.finished.push(0);
            events.push(Event::Finish {
                choice: 0,
                reason: Finish::ContentFilter,
                stop_sequence: None,
            });
        }
        Ok(())
    }

    fn candidate(&mut self, candidate: Candidate, events: &mut Vec<Event>) -> Result<(), StreamError> {
        let choice = candidate.index;
        if choice >= MAX_CHOICES {
            return Err(StreamError::Malformed(format!("candidate index {choice}")));
        }
        for part in candidate.content.and_then(|content| content.parts).unwrap_or_default() {
            self.part(choice, part, events)?;
        }
        let tokens = logprobs::from_gemini(candidate.logprobs_result.as_ref());
        if !tokens.is_empty() {
            events.push(Event::Logprobs { choice, tokens });
        }
        let Some(reason) = candidate.finish_reason else {
            return Ok(());
        };
        let finish = super::finish_of(&reason, self.count(choice) > 0);
        if finish == Finish::BadCall {
            // An empty answer that says "stop" would be a lie; trying again is what helps.
            return Err(StreamError::Provider(bad_call(
                &reason,
                candidate.finish_message.as_deref(),
            )));
        }
        if !self.finished.contains(&choice) {
            self.finished.push(choice);
            events.push(Event::Finish {
                choice,
                reason: finish,
                stop_sequence: None,
            });
        }
        Ok(())
    }

    fn part(&mut self, choice: u32, part: Part, events: &mut Vec<Event>) -> Result<(), StreamError> {
        if part.inline_data.is_some() {
            let problem = "the answer holds media, which the caller's dialect cannot carry";
            return Err(StreamError::Malformed(problem.to_owned()));
        }
        if let Some(call) = part.function_call {
            let index = self.count(choice);
            let number = self.calls.iter().map(|calls| calls.1 as usize).sum();
            self.counted(choice);
            let id = call
                .id
                .filter(|id| !id.is_empty())
                .unwrap_or_else(|| call_id(&self.answer_id, number));
            let signature = part.thought_signature;
            events.push(Event::CallStart {
                choice,
                index,
                id,
                name: call.name,
                signature,
            });
            let fragment = call
                .args
                .filter(Value::is_object)
                .map_or_else(|| "{}".to_owned(), |args| args.to_string());
            events.push(Event::CallArguments {
                choice,
                index,
                fragment,
            });
            events.push(Event::CallEnd { choice, index });
            return Ok(());
        }
        if let Some(text) = part.text.filter(|text| !text.is_empty()) {
            events.push(if part.thought.unwrap_or(false) {
                Event::Thought { choice, text }
            } else {
                Event::Text { choice, text }
            });
        }
        if let Some(signature) = part.thought_signature {
            let signature = mark(Origin::Gemini, &signature);
            events.push(Event::Signature { choice, signature });
        }
        Ok(())
    }

    fn count(&self, choice: u32) -> u32 {
        self.calls
            .iter()
            .find(|calls| calls.0 == choice)
            .map_or(0, |calls| calls.1)
    }

    fn counted(&mut self, choice: u32) {
        match self.calls.iter_mut().find(|calls| calls.0 == choice) {
            Some(calls) => calls.1 = calls.1.saturating_add(1),
            None => self.calls.push((choice, 1)),
        }
    }
}

fn bad_call(reason: &str, message: Option<&str>) -> ProviderError {
    ProviderError {
        kind: ErrorKind::Internal,
        message: format!(
            "the model failed to call a tool ({reason}): {}",
            message.unwrap_or("no further word")
        ),
        code: Some(reason.to_owned()),
        retry_after: None,
    }
}
