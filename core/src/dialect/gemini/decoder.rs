//! A streamed answer, read into common events.

use crate::json::{self, Value};
use serde::Deserialize;

use super::super::AnswerContext;
use super::super::error::ProviderError;
use super::super::error::StreamError;
use super::super::event::Event;
use super::super::ids::call_id;
use super::super::language::Decode;
use super::super::message::Finish;
use super::super::signature::{Origin, wrap};
use super::super::{logprobs, success, usage};
use super::rules::RULES;
use super::said::{self, Said, What};
use crate::fault::ErrorKind;

/// There is no end mark in this dialect, and the finish reason may come in any chunk and in several.
#[derive(Debug)]
pub(in super::super) struct Decoder {
    answer_id: String,
    begun: bool,
    /// Tool calls so far, by choice.
    calls: Vec<(u32, u32)>,
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
    parts: Option<Vec<Value>>,
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
        }
    }

    fn decode(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), StreamError> {
        let chunk: Chunk = match json::from_slice(data) {
            Ok(chunk) => chunk,
            Err(problem) => {
                success::no_error(&RULES, data)?;
                let text = format!("a chunk is not a generateContent answer: {problem}");
                return Err(StreamError::Malformed(text));
            }
        };
        let silent = chunk.candidates.is_none() && chunk.prompt_feedback.is_none();
        if silent || chunk.error.as_ref().is_some_and(success::is_some) {
            success::no_error(&RULES, data)?;
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
        let blocked = chunk.prompt_feedback.and_then(|feedback| feedback.block_reason);
        if blocked.is_some_and(|reason| !reason.is_empty()) {
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
            self.part(choice, &part, events)?;
        }
        let tokens = logprobs::from_gemini(candidate.logprobs_result.as_ref());
        if !tokens.is_empty() {
            events.push(Event::Logprobs { choice, tokens });
        }
        let Some(told) = candidate.finish_reason else {
            return Ok(());
        };
        match super::finish_of(&told) {
            None => {}
            // An empty answer that says "stop" would be a lie; trying again is what helps.
            Some(Finish::BadCall) => return Err(bad_call(&told, candidate.finish_message.as_deref()).into()),
            Some(reason) => events.push(Event::Finish {
                choice,
                reason,
                stop_sequence: None,
            }),
        }
        Ok(())
    }

    fn part(&mut self, choice: u32, part: &Value, events: &mut Vec<Event>) -> Result<(), StreamError> {
        let Said { what, signature } =
            said::read(part).map_err(|what| StreamError::Malformed(format!("the answer holds {what}")))?;
        match what {
            What::Call { id, name, input } => {
                let index = self.count(choice);
                let number = self.calls.iter().map(|calls| calls.1 as usize).sum();
                self.counted(choice);
                events.push(Event::CallStart {
                    choice,
                    index,
                    id: id.unwrap_or_else(|| call_id(&self.answer_id, number)),
                    name: name.into(),
                    signature,
                });
                events.push(Event::CallArguments {
                    choice,
                    index,
                    fragment: input.to_string().into(),
                });
                events.push(Event::CallEnd { choice, index });
                return Ok(());
            }
            What::Thought(text) => events.push(Event::Thought { choice, text }),
            What::Text(text) => events.push(Event::Text { choice, text }),
            What::Nothing => {}
        }
        if let Some(signature) = signature {
            let signature = wrap(Origin::Gemini, &signature);
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

impl Decode for Decoder {
    fn event(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), StreamError> {
        self.decode(data, events)
    }
}
