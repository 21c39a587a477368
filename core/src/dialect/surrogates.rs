//! Surrogate pairs that a stream cut in two.
//!
//! A provider that counts in UTF-16, or cuts where its tokens end, sends `"\ud83d"` in one fragment and `"\ude00"` in the
//! next. Each alone is no character; together they are one. So half a pair at the end of a fragment is held back until
//! the next fragment of the same text, and said as U+FFFD where none follows.

use super::event::Event;
use crate::json::Text;

/// The half pairs that are held, one of each text at most.
#[derive(Debug, Default)]
pub(super) struct Surrogates(Vec<(Place, u16)>);

/// Which text of the answer a fragment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Text(u32),
    Thought(u32),
    Refusal(u32),
    Arguments(u32, u32),
}

impl Place {
    fn choice(self) -> u32 {
        match self {
            Self::Text(choice) | Self::Thought(choice) | Self::Refusal(choice) | Self::Arguments(choice, _) => choice,
        }
    }

    /// The fragment that says what was left of its text.
    fn event(self, text: Text) -> Event {
        match self {
            Self::Text(choice) => Event::Text { choice, text },
            Self::Thought(choice) => Event::Thought { choice, text },
            Self::Refusal(choice) => Event::Refusal { choice, text },
            Self::Arguments(choice, index) => Event::CallArguments {
                choice,
                index,
                fragment: text,
            },
        }
    }

    /// Whether this text is over once `event` comes.
    fn is_over(self, event: &Event) -> bool {
        let arguments = matches!(self, Self::Arguments(..));
        match event {
            Event::End => true,
            Event::Finish { choice, .. } => *choice == self.choice(),
            Event::CallEnd { choice, index } => self == Self::Arguments(*choice, *index),
            // Calls may be told side by side; what the model says to a reader is told one after the other.
            Event::CallStart { choice, .. } | Event::Signature { choice, .. } | Event::Redacted { choice, .. } => {
                !arguments && *choice == self.choice()
            }
            Event::Text { choice, .. } => self != Self::Text(*choice) && !arguments && *choice == self.choice(),
            Event::Thought { choice, .. } => self != Self::Thought(*choice) && !arguments && *choice == self.choice(),
            Event::Refusal { choice, .. } => self != Self::Refusal(*choice) && !arguments && *choice == self.choice(),
            Event::Start { .. }
            | Event::Logprobs { .. }
            | Event::CallArguments { .. }
            | Event::Usage(_)
            | Event::Ping => false,
        }
    }
}

/// The fragment that an event brings, and of what.
fn fragment(event: &mut Event) -> Option<(Place, &mut Text)> {
    Some(match event {
        Event::Text { choice, text } => (Place::Text(*choice), text),
        Event::Thought { choice, text } => (Place::Thought(*choice), text),
        Event::Refusal { choice, text } => (Place::Refusal(*choice), text),
        Event::CallArguments {
            choice,
            index,
            fragment,
        } => (Place::Arguments(*choice, *index), fragment),
        _ => return None,
    })
}

impl Surrogates {
    /// Leaves in `events` what can be said now.
    pub(super) fn join(&mut self, events: &mut Vec<Event>) {
        let ends_in_half = |event: &mut Event| fragment(event).is_some_and(|(_, text)| text.high().is_some());
        if self.0.is_empty() && !events.iter_mut().any(ends_in_half) {
            return;
        }
        let mut joined = Vec::with_capacity(events.len() + self.0.len());
        for mut event in events.drain(..) {
            self.0.retain(|(place, _)| {
                let over = place.is_over(&event);
                if over {
                    joined.push(place.event(char::REPLACEMENT_CHARACTER.to_string().into()));
                }
                !over
            });
            if let Some((place, text)) = fragment(&mut event) {
                if text.is_empty() {
                    continue;
                }
                if let Some(held) = self.0.iter().position(|(of, _)| *of == place) {
                    text.put_high(self.0.remove(held).1);
                }
                if let Some(high) = text.take_high() {
                    self.0.push((place, high));
                }
                if text.is_empty() {
                    continue;
                }
            }
            joined.push(event);
        }
        *events = joined;
    }
}
