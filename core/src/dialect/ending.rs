//! The end of an answer: told once, after all content and calls, and only of an answer that is whole.
//!
//! Providers say why they stopped in any chunk, more than once, and in words that do not fit what they said: `Gemini` says
//! `STOP` beside a call and before one, compatible servers say `stop` where there was a call. Callers act on the reason, so
//! it is held back until the stream has ended, and judged by all that was said.
//!
//! A stream is whole once every choice of it has a finish reason and the transport ended well; the provider's end mark
//! (`[DONE]`, `message_stop`) may be missing. An end mark that no reason came before is a server's that tells none.

use super::error::ProviderError;
use super::error::StreamError;
use super::event::Event;
use super::message::{self, Finish, Part};
use crate::fault::ErrorKind;

/// Choices and calls of one answer that are followed at most: far beyond any real answer, a bound on memory.
const MAX_CHOICES: usize = 128;
const MAX_CALLS: usize = 4096;

/// What a choice ends with, by what was said in it.
fn reason(told: Finish, calls: bool, refused: bool) -> Finish {
    match told {
        // Servers say so beside calls, and callers run calls only if they are told that there are some.
        Finish::Stop | Finish::StopSequence | Finish::Pause if calls => Finish::ToolCalls,
        Finish::Stop | Finish::ToolCalls if refused && !calls => Finish::Refusal,
        // A caller would wait for calls that never come.
        Finish::ToolCalls if !calls => Finish::Stop,
        told => told,
    }
}

/// Of two reasons for the same choice the one that says more about what the answer lacks.
fn graver(one: Finish, other: Finish) -> bool {
    fn rank(finish: Finish) -> u8 {
        match finish {
            Finish::Stop => 0,
            Finish::StopSequence | Finish::Pause => 1,
            Finish::ToolCalls => 2,
            Finish::Length | Finish::ContextWindow => 3,
            Finish::BadCall => 4,
            Finish::ContentFilter | Finish::Refusal => 5,
        }
    }
    rank(one) > rank(other)
}

/// Sets right why a whole choice ended.
///
/// # Errors
/// An empty choice that says it is whole would be a lie: the model tried to call a tool, and failed at it.
pub(super) fn judge(choice: &mut message::Choice) -> Result<(), ErrorKind> {
    let empty = choice.parts.is_empty() && choice.refusal.is_none();
    if empty && matches!(choice.finish, Finish::BadCall | Finish::ToolCalls) {
        return Err(ErrorKind::Internal);
    }
    let calls = choice.parts.iter().any(|part| matches!(part, Part::Call(_)));
    choice.finish = reason(choice.finish, calls, choice.refusal.is_some());
    if choice.finish != Finish::StopSequence {
        choice.stop_sequence = None;
    }
    Ok(())
}

/// The answer that said it called a tool, said nothing else, and called none.
fn no_call() -> ProviderError {
    ProviderError {
        kind: ErrorKind::Internal,
        message: "the answer says that it calls a tool, and holds no call".to_owned(),
        code: None,
        retry_after: None,
    }
}

/// Keeps the ends of the choices of a streamed answer.
#[derive(Debug, Default)]
pub(super) struct Endings {
    choices: Vec<Choice>,
}

#[derive(Debug, Default)]
struct Choice {
    number: u32,
    /// Whether it said anything: content, thoughts, a refusal or a call.
    said: bool,
    refused: bool,
    calls: Vec<Call>,
    finish: Option<(Finish, Option<String>)>,
}

#[derive(Debug)]
struct Call {
    index: u32,
    /// Whether any of its arguments were said.
    said: bool,
}

impl Endings {
    /// Whether the stream may end here: some choice has a finish reason, and so has every other that said anything.
    pub(super) fn whole(&self) -> bool {
        let finished = |choice: &Choice| choice.finish.is_some();
        self.choices.iter().any(finished) && self.choices.iter().all(|choice| finished(choice) || !choice.said)
    }

    /// Whether the provider has told any finish reason.
    pub(super) fn told(&self) -> bool {
        self.choices.iter().any(|choice| choice.finish.is_some())
    }

    /// Moves `events` to `kept`, but for the finish reasons, which are told at the end, and gives a call that ends without
    /// arguments an empty object of them.
    ///
    /// # Errors
    /// What the end mark came too soon for, or that there are more choices or calls than any answer has. The events
    /// before it are sound.
    pub(super) fn take(&mut self, events: &mut Vec<Event>, kept: &mut Vec<Event>) -> Result<(), StreamError> {
        events.drain(..).try_for_each(|event| self.event(event, kept))
    }

    fn event(&mut self, event: Event, kept: &mut Vec<Event>) -> Result<(), StreamError> {
        match &event {
            Event::Text { choice, .. }
            | Event::Thought { choice, .. }
            | Event::Redacted { choice, .. }
            | Event::Signature { choice, .. } => self.choice(*choice)?.said = true,
            Event::Refusal { choice, .. } => {
                let choice = self.choice(*choice)?;
                choice.said = true;
                choice.refused = true;
            }
            Event::CallStart { choice, index, .. } => {
                let choice = self.choice(*choice)?;
                choice.said = true;
                if choice.calls.len() >= MAX_CALLS {
                    return Err(StreamError::Malformed(format!("more than {MAX_CALLS} tool calls")));
                }
                choice.calls.push(Call {
                    index: *index,
                    said: false,
                });
            }
            Event::CallArguments {
                choice,
                index,
                fragment,
            } => {
                let call = self.choice(*choice)?.call(*index);
                let Some(call) = call else { return Ok(()) };
                // Servers say null for none; white space before the object changes nothing.
                let nothing = fragment.trim();
                if !call.said && (nothing.is_empty() || nothing == "null") {
                    return Ok(());
                }
                call.said = true;
            }
            Event::CallEnd { choice, index } => {
                let number = *choice;
                if let Some(call) = self.choice(number)?.call(*index) {
                    call.complete(number, kept);
                }
            }
            Event::Finish {
                choice,
                reason,
                stop_sequence,
            } => {
                let choice = self.choice(*choice)?;
                if choice.finish.as_ref().is_none_or(|before| graver(*reason, before.0)) {
                    choice.finish = Some((*reason, stop_sequence.clone()));
                }
                return Ok(());
            }
            Event::End => return self.end(kept),
            Event::Start { .. } | Event::Logprobs { .. } | Event::Usage(_) | Event::Ping => {}
        }
        kept.push(event);
        Ok(())
    }

    fn end(&mut self, kept: &mut Vec<Event>) -> Result<(), StreamError> {
        let said = self.choices.iter().any(|choice| choice.said);
        if !self.whole() && (self.told() || !said) {
            return Err(StreamError::Truncated);
        }
        self.choices.sort_by_key(|choice| choice.number);
        for choice in self
            .choices
            .iter_mut()
            .filter(|choice| choice.said || choice.finish.is_some())
        {
            let (told, stop_sequence) = choice.finish.take().unwrap_or((Finish::Stop, None));
            let calls = !choice.calls.is_empty();
            if matches!(told, Finish::ToolCalls | Finish::BadCall) && !choice.said {
                return Err(StreamError::Provider(no_call()));
            }
            for call in &mut choice.calls {
                call.complete(choice.number, kept);
            }
            let reason = reason(told, calls, choice.refused);
            kept.push(Event::Finish {
                choice: choice.number,
                reason,
                stop_sequence: stop_sequence.filter(|_| reason == Finish::StopSequence),
            });
        }
        kept.push(Event::End);
        Ok(())
    }

    fn choice(&mut self, number: u32) -> Result<&mut Choice, StreamError> {
        let place = match self.choices.iter().position(|choice| choice.number == number) {
            Some(place) => place,
            None if self.choices.len() >= MAX_CHOICES => {
                return Err(StreamError::Malformed(format!("more than {MAX_CHOICES} choices")));
            }
            None => {
                self.choices.push(Choice {
                    number,
                    ..Choice::default()
                });
                self.choices.len() - 1
            }
        };
        self.choices.get_mut(place).ok_or(StreamError::Truncated)
    }
}

impl Choice {
    fn call(&mut self, index: u32) -> Option<&mut Call> {
        self.calls.iter_mut().rev().find(|call| call.index == index)
    }
}

impl Call {
    /// The arguments of a call are an object in every dialect, those of a call without any an empty one.
    fn complete(&mut self, choice: u32, kept: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.said, true) {
            kept.push(Event::CallArguments {
                choice,
                index: self.index,
                fragment: "{}".into(),
            });
        }
    }
}
