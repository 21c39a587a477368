//! A streamed chat completion, read into common events.

use crate::json::{self, Text, Value};
use serde::Deserialize;

use super::super::AnswerContext;
use super::super::error;
use super::super::error::StreamError;
use super::super::event::Event;
use super::super::language::Decode;
use super::super::terms::Tier;
use super::super::{Usage, logprobs, success, usage};
use super::calls::Calls;
use super::rules::RULES;
use super::said::{self, Said, Thoughts};

#[derive(Debug)]
pub(in super::super) struct Decoder {
    begun: bool,
    calls: Calls,
    choices: Vec<ChoiceState>,
}

/// What is remembered of a choice.
#[derive(Debug)]
struct ChoiceState {
    number: u32,
    thoughts: Thoughts,
    /// Whether a delta was seen: a server that sends both repeats in `message` all that the deltas said.
    deltas: bool,
}

/// Choices of one answer that are followed at most: `n` goes up to 128.
const MAX_CHOICES: usize = 128;

#[derive(Deserialize)]
struct Chunk {
    id: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<usage::OpenAi>,
    #[serde(default)]
    service_tier: Tier,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<Value>,
    delta: Option<Value>,
    /// Some servers say the whole message in a chunk.
    message: Option<Value>,
    /// The completions API's older form.
    text: Option<Text>,
    logprobs: Option<Value>,
    finish_reason: Option<String>,
    error: Option<Value>,
}

impl Decoder {
    pub(in super::super) fn new(ctx: &AnswerContext) -> Self {
        Self {
            begun: false,
            calls: Calls::new(&ctx.id),
            choices: Vec::new(),
        }
    }

    fn decode(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), StreamError> {
        if data == b"[DONE]" {
            self.named()?;
            events.push(Event::End);
            return Ok(());
        }
        let chunk: Chunk = match json::from_slice(data) {
            Ok(chunk) => chunk,
            Err(problem) => {
                success::no_error(&RULES, data)?;
                let text = format!("a chunk is not a chat completion chunk: {problem}");
                return Err(StreamError::Malformed(text));
            }
        };
        let used = |usage| Event::Usage(Usage::from(usage).under(chunk.service_tier));
        let Some(choices) = chunk.choices else {
            // A chunk of usage alone, an error, or something that some server lets its clients know.
            success::no_error(&RULES, data)?;
            events.extend(chunk.usage.map(used));
            return Ok(());
        };
        if chunk.error.as_ref().is_some_and(success::is_some) {
            success::no_error(&RULES, data)?;
        }
        if !self.begun {
            self.begun = true;
            events.push(Event::Start {
                id: chunk.id.filter(|id| !id.is_empty()),
                usage: None,
            });
        }
        for choice in choices {
            self.choice(choice, events)?;
        }
        events.extend(chunk.usage.map(used));
        Ok(())
    }

    fn choice(&mut self, raw: Choice, events: &mut Vec<Event>) -> Result<(), StreamError> {
        if let Some(error) = raw.error.filter(success::is_some) {
            return Err(error::from_value(&RULES, 200, &error).into());
        }
        let number = raw.index.as_ref().and_then(said::number).unwrap_or_default();
        let choice = u32::try_from(number).map_err(|_| StreamError::Malformed(format!("choice {number}")))?;
        let state = self.state(choice)?;
        let message = match (raw.delta, raw.message) {
            (Some(delta), _) if delta.is_object() => {
                state.deltas = true;
                Some(delta)
            }
            (_, Some(message)) if !state.deltas => Some(message),
            (delta, _) => delta,
        };
        if let Some(message) = message {
            let mut thoughts = std::mem::take(&mut state.thoughts);
            let said = said::read(&message, &mut thoughts);
            state.thoughts = thoughts;
            let said = said.map_err(|what| StreamError::Malformed(format!("a chunk holds {what}")))?;
            for piece in said {
                self.piece(choice, piece, events)?;
            }
        }
        if let Some(text) = raw.text.filter(|text| !text.is_empty()) {
            events.push(Event::Text { choice, text });
        }
        let tokens = logprobs::from_openai(raw.logprobs.as_ref());
        if !tokens.is_empty() {
            events.push(Event::Logprobs { choice, tokens });
        }
        let Some(reason) = raw.finish_reason.filter(|reason| !reason.is_empty()) else {
            return Ok(());
        };
        self.named()?;
        events.push(Event::Finish {
            choice,
            reason: super::finish_of(&reason)?,
            stop_sequence: None,
        });
        Ok(())
    }

    fn piece(&mut self, choice: u32, piece: Said<'_>, events: &mut Vec<Event>) -> Result<(), StreamError> {
        match piece {
            Said::Thought(text) => events.push(Event::Thought { choice, text }),
            Said::Text(text) => events.push(Event::Text {
                choice,
                text: text.clone(),
            }),
            Said::Refusal(text) => events.push(Event::Refusal {
                choice,
                text: text.clone(),
            }),
            Said::Call(fragment) => self.calls.take(choice, &fragment, events)?,
        }
        Ok(())
    }

    fn named(&self) -> Result<(), StreamError> {
        if self.calls.nameless() {
            return Err(StreamError::Malformed("a tool call has no name".to_owned()));
        }
        Ok(())
    }

    fn state(&mut self, number: u32) -> Result<&mut ChoiceState, StreamError> {
        let place = match self.choices.iter().position(|choice| choice.number == number) {
            Some(place) => place,
            None if self.choices.len() >= MAX_CHOICES => {
                return Err(StreamError::Malformed(format!("more than {MAX_CHOICES} choices")));
            }
            None => {
                self.choices.push(ChoiceState {
                    number,
                    thoughts: Thoughts::default(),
                    deltas: false,
                });
                self.choices.len() - 1
            }
        };
        self.choices.get_mut(place).ok_or(StreamError::Truncated)
    }
}

impl Decode for Decoder {
    fn event(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), StreamError> {
        self.decode(data, events)
    }
}
