//! The calls of a streamed answer, under the caller's own names.
//!
//! A call of a custom tool comes as the arguments of a function, a JSON object around the text. Whether it really is that
//! object is known only at its end, and what was sent cannot be taken back: so the arguments are held until the call ends
//! (at most [`HELD_LIMIT`] bytes of one answer), and pings tell the caller meanwhile that the model is at work.

use super::error::StreamError;
use super::event::Event;
use super::message::arguments;
use super::tool_names::{ToolNames, custom_text};

/// Bytes of custom tools' arguments that are held of one answer. More than twice the longest answer of any model (128,000
/// tokens of some 6 bytes).
const HELD_LIMIT: usize = 2 << 20;

#[derive(Debug)]
pub(super) struct ToolCalls {
    names: ToolNames,
    open: Vec<Open>,
    held: usize,
}

/// A call of a custom tool that has not ended.
#[derive(Debug)]
struct Open {
    choice: u32,
    index: u32,
    arguments: String,
}

impl Open {
    fn text(self) -> Option<Event> {
        let fragment = custom_text(&arguments(&self.arguments)).unwrap_or(self.arguments);
        (!fragment.is_empty()).then_some(Event::CallArguments {
            choice: self.choice,
            index: self.index,
            fragment: fragment.into(),
        })
    }
}

impl ToolCalls {
    pub(super) fn new(names: ToolNames) -> Self {
        Self {
            names,
            open: Vec::new(),
            held: 0,
        }
    }

    /// Puts the caller's own words into the events. What was sound before an error stays in `events`.
    pub(super) fn give_back(&mut self, events: &mut Vec<Event>) -> Result<(), StreamError> {
        if self.names.is_empty() {
            return Ok(());
        }
        let mut out = Vec::with_capacity(events.len());
        let mut result = Ok(());
        for event in events.drain(..) {
            result = self.event(event, &mut out);
            if result.is_err() {
                break;
            }
        }
        *events = out;
        result
    }

    fn event(&mut self, event: Event, out: &mut Vec<Event>) -> Result<(), StreamError> {
        match event {
            Event::CallStart {
                choice,
                index,
                id,
                name,
                signature,
            } => {
                let name = self.names.caller(&name).cloned().unwrap_or(name);
                if name.is_custom() {
                    let arguments = String::new();
                    self.open.push(Open {
                        choice,
                        index,
                        arguments,
                    });
                }
                out.push(Event::CallStart {
                    choice,
                    index,
                    id,
                    name,
                    signature,
                });
            }
            Event::CallArguments {
                choice,
                index,
                fragment,
            } => {
                let mut open = self.open.iter_mut();
                let Some(open) = open.find(|open| (open.choice, open.index) == (choice, index)) else {
                    out.push(Event::CallArguments {
                        choice,
                        index,
                        fragment,
                    });
                    return Ok(());
                };
                self.held += fragment.len();
                if self.held > HELD_LIMIT {
                    let problem = "the input of custom tools is larger than 2 MiB";
                    return Err(StreamError::Malformed(problem.to_owned()));
                }
                open.arguments.push_str(&fragment);
                out.push(Event::Ping);
            }
            Event::CallEnd { choice, index } => {
                self.end(|open| (open.choice, open.index) == (choice, index), out);
                out.push(Event::CallEnd { choice, index });
            }
            Event::Finish { choice, .. } => {
                self.end(|open| open.choice == choice, out);
                out.push(event);
            }
            Event::End => {
                self.end(|_| true, out);
                out.push(Event::End);
            }
            _ => out.push(event),
        }
        Ok(())
    }

    fn end(&mut self, which: impl Fn(&Open) -> bool, out: &mut Vec<Event>) {
        let (ended, open): (Vec<Open>, Vec<Open>) = std::mem::take(&mut self.open).into_iter().partition(which);
        self.open = open;
        out.extend(ended.into_iter().filter_map(Open::text));
    }
}
