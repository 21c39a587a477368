//! A streamed chat completion, read into common events.

use serde::Deserialize;

use super::super::common::{Event, Finish, call_id};
use super::super::error;
use super::super::stream::StreamError;
use super::super::{AnswerContext, Dialect};
use super::super::{logprobs, usage};

/// Tool calls of one answer that are followed at most: far beyond any real answer, a bound on memory.
const MAX_CALLS: usize = 1024;

#[derive(Debug)]
pub(in super::super) struct Decoder {
    answer_id: String,
    begun: bool,
    /// The tool calls in order; their place is the index that callers see.
    calls: Vec<Call>,
    refused: Vec<u32>,
}

#[derive(Debug)]
struct Call {
    choice: u32,
    /// What the provider calls it.
    index: u32,
    id: String,
    /// Its place among the choice's calls.
    number: u32,
}

#[derive(Deserialize)]
struct Chunk {
    id: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<usage::OpenAi>,
    error: Option<serde_json::Value>,
    /// `error` in the errors of older vLLM servers, whose fields stand beside it.
    object: Option<String>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    delta: Option<Delta>,
    logprobs: Option<serde_json::Value>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    /// vLLM's and `OpenRouter`'s name for it.
    reasoning: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    #[serde(default)]
    index: Option<u32>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<String>,
}

impl Decoder {
    pub(in super::super) fn new(ctx: &AnswerContext) -> Self {
        Self {
            answer_id: ctx.id.clone(),
            begun: false,
            calls: Vec::new(),
            refused: Vec::new(),
        }
    }

    pub(in super::super) fn event(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), StreamError> {
        if data == b"[DONE]" {
            events.push(Event::End);
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_slice(data)
            .map_err(|error| StreamError::Malformed(format!("a chunk is not a chat completion chunk: {error}")))?;
        let is_error = chunk.object.is_some_and(|object| object == "error");
        if is_error || chunk.error.is_some_and(|error| !error.is_null()) {
            return Err(error::parse_error(Dialect::OpenAiChat, 200, data).into());
        }
        if !self.begun {
            self.begun = true;
            events.push(Event::Start {
                id: chunk.id.filter(|id| !id.is_empty()),
                usage: None,
            });
        }
        for choice in chunk.choices.unwrap_or_default() {
            self.choice(choice, events)?;
        }
        if let Some(usage) = chunk.usage {
            events.push(Event::Usage(usage.into()));
        }
        Ok(())
    }

    fn choice(&mut self, raw: Choice, events: &mut Vec<Event>) -> Result<(), StreamError> {
        let choice = raw.index;
        if let Some(delta) = raw.delta {
            let thought = delta.reasoning_content.or(delta.reasoning);
            if let Some(text) = thought.filter(|text| !text.is_empty()) {
                events.push(Event::Thought { choice, text });
            }
            if let Some(text) = delta.content.filter(|text| !text.is_empty()) {
                events.push(Event::Text { choice, text });
            }
            if let Some(text) = delta.refusal.filter(|text| !text.is_empty()) {
                if !self.refused.contains(&choice) && self.refused.len() < MAX_CALLS {
                    self.refused.push(choice);
                }
                events.push(Event::Refusal { choice, text });
            }
            for call in delta.tool_calls.unwrap_or_default() {
                self.call(choice, call, events)?;
            }
        }
        let tokens = logprobs::from_openai(raw.logprobs.as_ref());
        if !tokens.is_empty() {
            events.push(Event::Logprobs { choice, tokens });
        }
        if let Some(reason) = raw.finish_reason {
            let mut reason = super::finish_of(&reason);
            if reason == Finish::Stop && self.calls.iter().any(|call| call.choice == choice) {
                reason = Finish::ToolCalls;
            }
            if reason == Finish::Stop && self.refused.contains(&choice) {
                reason = Finish::Refusal;
            }
            events.push(Event::Finish {
                choice,
                reason,
                stop_sequence: None,
            });
        }
        Ok(())
    }

    fn call(&mut self, choice: u32, raw: CallDelta, events: &mut Vec<Event>) -> Result<(), StreamError> {
        let function = raw.function.unwrap_or(FunctionDelta {
            name: None,
            arguments: None,
        });
        let given = raw.id.filter(|id| !id.is_empty());
        // Some servers say index 0, or none, for every call: a new id is a new call whatever its index.
        let known = self.calls.iter().rev().find(|call| {
            call.choice == choice
                && raw.index.is_none_or(|index| index == call.index)
                && given.as_ref().is_none_or(|id| *id == call.id)
        });
        let number = if let Some(call) = known {
            call.number
        } else {
            let name = function.name.clone().filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| StreamError::Malformed("a tool call begins without a name".to_owned()))?;
            if self.calls.len() >= MAX_CALLS {
                return Err(StreamError::Malformed("more than 1024 tool calls".to_owned()));
            }
            let count = self.calls.iter().filter(|call| call.choice == choice).count();
            let number = u32::try_from(count).unwrap_or(u32::MAX);
            let id = given.unwrap_or_else(|| call_id(&self.answer_id, self.calls.len()));
            events.push(Event::CallStart {
                choice,
                index: number,
                id: id.clone(),
                name,
                signature: None,
            });
            self.calls.push(Call {
                choice,
                index: raw.index.unwrap_or(number),
                id,
                number,
            });
            number
        };
        if let Some(fragment) = function.arguments.filter(|fragment| !fragment.is_empty()) {
            events.push(Event::CallArguments {
                choice,
                index: number,
                fragment,
            });
        }
        Ok(())
    }
}
