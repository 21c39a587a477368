//! Which tool call a streamed fragment belongs to.
//!
//! The API numbers the calls of a message, gives each an id in its first fragment and repeats the number in the later ones.
//! Compatible servers number all of them 0, or not at all, give no ids, repeat the name or send a call whole in one
//! fragment. A fragment begins a new call if its number or id is new, or, without an id, if it brings a name and begins
//! arguments anew.

use crate::json::{Text, Value};

use super::super::error::StreamError;
use super::super::event::Event;
use super::super::ids::call_id;
use super::super::message::arguments;
use super::said::{Arguments, Call as Fragment};

/// Tool calls of one answer that are followed at most: far beyond any real answer, a bound on memory.
const MAX_CALLS: usize = 1024;

/// Bytes that are held of calls whose name has not come yet, or that came whole.
const HELD_LIMIT: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Calls {
    answer_id: String,
    /// In order; their place among those of their choice is the index that callers see.
    begun: Vec<Call>,
    held: usize,
}

#[derive(Debug)]
struct Call {
    choice: u32,
    /// What the provider calls it.
    index: Option<u64>,
    id: Option<String>,
    /// Its place among the choice's calls that have a name.
    number: u32,
    name: Option<String>,
    /// What came before the name, or, of arguments that came whole, all of them.
    held: Text,
    arguments: Scan,
}

impl Calls {
    pub(super) fn new(answer_id: &str) -> Self {
        Self {
            answer_id: answer_id.to_owned(),
            begun: Vec::new(),
            held: 0,
        }
    }

    /// Takes a fragment of a call of this choice.
    pub(super) fn take(
        &mut self,
        choice: u32,
        fragment: &Fragment<'_>,
        events: &mut Vec<Event>,
    ) -> Result<(), StreamError> {
        let place = match self.known(choice, fragment) {
            Some(place) => place,
            None => self.begin(choice, fragment)?,
        };
        let named = self
            .begun
            .iter()
            .filter(|call| call.choice == choice && call.name.is_some());
        let number = u32::try_from(named.count()).unwrap_or(u32::MAX);
        let Some(call) = self.begun.get_mut(place) else {
            return Ok(());
        };
        if call.name.is_none()
            && let Some(name) = fragment.name
        {
            call.name = Some(name.to_owned());
            call.number = number;
            let id = call.id.get_or_insert_with(|| call_id(&self.answer_id, place));
            events.push(Event::CallStart {
                choice,
                index: call.number,
                id: id.clone(),
                name: name.into(),
                signature: None,
            });
            let held = std::mem::take(&mut call.held);
            call.say(&held, events);
        }
        match fragment.arguments {
            Arguments::None => Ok(()),
            Arguments::Text(text) => self.text(place, text, events),
            Arguments::Whole(value) => self.whole(place, &whole_text(value), events),
        }
    }

    fn text(&mut self, place: usize, text: &Text, events: &mut Vec<Event>) -> Result<(), StreamError> {
        let Some(call) = self.begun.get_mut(place) else {
            return Ok(());
        };
        call.arguments.take(text);
        if call.name.is_some() {
            call.say(text, events);
            return Ok(());
        }
        self.held += text.len();
        call.held.append(text.clone());
        self.within_limit()
    }

    /// The arguments as an object. A server that repeats it with each chunk means it once.
    fn whole(&mut self, place: usize, text: &Text, events: &mut Vec<Event>) -> Result<(), StreamError> {
        let Some(call) = self.begun.get_mut(place) else {
            return Ok(());
        };
        if call.arguments == Scan::default() {
            self.held += text.len();
            call.arguments.take(text);
            call.held = text.clone();
            if call.name.is_some() {
                call.say(text, events);
            }
            return self.within_limit();
        }
        if call.held == *text {
            Ok(())
        } else {
            Err(StreamError::Malformed(
                "the arguments of a tool call came as text and as an object".to_owned(),
            ))
        }
    }

    fn within_limit(&self) -> Result<(), StreamError> {
        if self.held > HELD_LIMIT {
            return Err(StreamError::Malformed(
                "tool arguments are larger than 1 MiB".to_owned(),
            ));
        }
        Ok(())
    }

    /// Whether there is a call that never had a name.
    pub(super) fn nameless(&self) -> bool {
        let begun = |call: &Call| call.id.is_some() || !call.held.is_empty();
        self.begun.iter().any(|call| call.name.is_none() && begun(call))
    }

    fn known(&self, choice: u32, fragment: &Fragment<'_>) -> Option<usize> {
        let of_choice = |call: &Call| call.choice == choice;
        let same_index = |call: &Call| fragment.index.is_none() || call.index.is_none() || fragment.index == call.index;
        let place = self
            .begun
            .iter()
            .rposition(|call| {
                of_choice(call)
                    && same_index(call)
                    && fragment.id.as_deref().is_none_or(|id| call.id.as_deref() == Some(id))
            })
            // An id that changes with each fragment: what has no name of its own goes on with the call of its number.
            .or_else(|| {
                self.begun.iter().rposition(|call| {
                    of_choice(call) && same_index(call) && (fragment.name.is_none() || call.id.is_none())
                })
            })?;
        let call = self.begun.get(place)?;
        let (None, Some(name), Some(before)) = (&fragment.id, fragment.name, &call.name) else {
            return Some(place);
        };
        let begins = match fragment.arguments {
            Arguments::None => false,
            Arguments::Text(text) => text.trim_start().starts_with('{'),
            Arguments::Whole(value) => call.held != whole_text(value),
        };
        let anew = name != before || (call.arguments.closed() && begins);
        (!anew).then_some(place)
    }

    fn begin(&mut self, choice: u32, fragment: &Fragment<'_>) -> Result<usize, StreamError> {
        if self.begun.len() >= MAX_CALLS {
            return Err(StreamError::Malformed(format!("more than {MAX_CALLS} tool calls")));
        }
        self.begun.push(Call {
            choice,
            index: fragment.index,
            id: fragment.id.as_deref().map(str::to_owned),
            number: 0,
            name: None,
            held: Text::default(),
            arguments: Scan::default(),
        });
        Ok(self.begun.len() - 1)
    }
}

/// What is no object is said in one, so that the caller can read it.
fn whole_text(value: &Value) -> Text {
    let text = value.to_string();
    if value.is_object() {
        text.into()
    } else {
        arguments(&text).to_string().into()
    }
}

impl Call {
    fn say(&self, fragment: &Text, events: &mut Vec<Event>) {
        if !fragment.is_empty() {
            events.push(Event::CallArguments {
                choice: self.choice,
                index: self.number,
                fragment: fragment.clone(),
            });
        }
    }
}

/// How far the arguments of a call have come.
#[derive(Debug, Default, PartialEq)]
struct Scan {
    depth: u32,
    in_string: bool,
    escaped: bool,
    any: bool,
}

impl Scan {
    fn take(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => {
                    self.any = true;
                    self.depth = self.depth.saturating_add(1);
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Whether the object that began has ended.
    fn closed(&self) -> bool {
        self.any && self.depth == 0 && !self.in_string
    }
}
