//! A streamed answer on its way to the caller, with what guards find in it masked.
//!
//! Bytes in, in whatever pieces; events out, in their order. An event in which nothing may be found goes out at once, as it came.
//! One that ends in what may be the beginning of a finding waits, and what comes behind it with it, until that is decided or its
//! text ends: never more than [`HELD_MOST`] bytes of events, which hold never more than [`Detectors::hold`](super::Detectors::hold)
//! bytes of each text for each guard that acts.

use std::collections::VecDeque;
use std::sync::Arc;

use bowsprit_crds::guards::Side;
use bytes::{BufMut as _, Bytes, BytesMut};

use super::body::{Looker, as_it_stands, quoted};
use super::channel::{Channel, Decision, Key, Place, Scratch};
use super::events::{self, Step};
use super::frame::{Frame, Part};
use super::given::Given;
use super::waiting::Waiting;
use super::{Decided, Guard};
use crate::dialect::{Dialect, ErrorView, Pushed};

#[cfg(test)]
mod tests;

/// The most that a stream holds of events that wait, bytes: the longest form of a guard in events of one letter each.
pub const HELD_MOST: usize = 256 << 10;

/// Why a stream goes no further.
#[derive(Clone, Debug)]
pub enum Stop {
    /// This guard has found what must not come.
    Refused(Arc<Guard>),
    /// This guard cannot look into it.
    Unread(Arc<Guard>),
}

/// A stream's way through its guards.
#[derive(Debug)]
pub struct Sieve {
    guards: Arc<[Arc<Guard>]>,
    dialect: Dialect,
    frame: Frame,
    channels: Vec<Channel>,
    /// Events that wait; the first is the one with this number.
    waiting: VecDeque<Waiting>,
    first: u64,
    /// Their bytes.
    held: usize,
    found: Vec<u32>,
    scratch: Scratch,
    decisions: Vec<Decision>,
    given: Given,
    /// An event was given in another form than it came in.
    is_changed: bool,
}

impl Sieve {
    /// For a stream in this dialect, as its caller gets it. `guards`: those that look into answers, in their order.
    pub fn new(dialect: Dialect, guards: Arc<[Arc<Guard>]>) -> Self {
        Self {
            dialect,
            frame: Frame::Unknown,
            channels: Vec::new(),
            waiting: VecDeque::new(),
            first: 0,
            held: 0,
            found: vec![0; guards.len()],
            scratch: Scratch::default(),
            decisions: Vec::new(),
            given: Given::default(),
            is_changed: false,
            guards,
        }
    }

    /// How much each guard has found.
    pub fn found(&self) -> impl Iterator<Item = (&Arc<Guard>, u32)> {
        self.guards.iter().zip(self.found.iter().copied())
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.frame.is_begun()
    }

    /// Takes what comes, and appends what goes out now, unless that is what came.
    ///
    /// # Errors
    /// The stream ends here. What was appended may still go out, and nothing else.
    pub fn push(&mut self, piece: &Bytes, out: &mut BytesMut) -> Result<Pushed, Stop> {
        let (start, was_empty) = (out.len(), self.is_empty());
        self.is_changed = false;
        let taken = self.take(piece, out);
        self.given.went(out.get(start..).unwrap_or_default());
        taken?;
        if was_empty && !self.is_changed && self.is_empty() && out.len() - start == piece.len() {
            out.truncate(start);
            return Ok(Pushed::Same);
        }
        Ok(Pushed::Rewritten)
    }

    fn take(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), Stop> {
        let mut frame = std::mem::replace(&mut self.frame, Frame::Unknown);
        let taken = frame.take(self.dialect, piece, &mut |part| self.part(part, out));
        self.frame = frame;
        taken
    }

    fn part(&mut self, part: Part<'_>, out: &mut BytesMut) -> Result<(), Stop> {
        match part {
            Part::Event(raw, data) => return self.event(raw, data, out),
            Part::Between(raw) => self.between(raw, out),
            Part::Unread(raw) => {
                self.may_pass_unread()?;
                self.between(raw, out);
            }
        }
        Ok(())
    }

    /// Nothing follows: appends what is held.
    ///
    /// # Errors
    /// As of [`Self::push`].
    pub fn finish(&mut self, out: &mut BytesMut) -> Result<(), Stop> {
        let start = out.len();
        let finished = self.end_all(out);
        self.given.went(out.get(start..).unwrap_or_default());
        finished
    }

    fn end_all(&mut self, out: &mut BytesMut) -> Result<(), Stop> {
        let mut frame = std::mem::replace(&mut self.frame, Frame::Unknown);
        let rest = frame.finish(&mut |part| self.part(part, out));
        self.frame = frame;
        if let Some(held) = rest? {
            let guards: Vec<&Guard> = self.guards.iter().map(|guard| &**guard).collect();
            let looked = Guard::look_into_answer(&guards, &held);
            self.count(&looked.found)?;
            out.put_slice(looked.body.as_deref().unwrap_or(&held));
        }
        self.end(None, None);
        self.settle()?;
        self.give(&[], out);
        Ok(())
    }

    /// An error that ends the stream, framed for where its caller stands: after whole events, or inside a JSON array.
    pub fn error_event(&self, error: &ErrorView<'_>) -> Bytes {
        self.given.error_event(&self.frame, self.dialect, error)
    }

    /// What is no event, and goes out behind those that wait.
    fn between(&mut self, raw: &[u8], out: &mut BytesMut) {
        if self.waiting.is_empty() {
            out.put_slice(raw);
        } else if !raw.is_empty() {
            self.held += raw.len();
            self.waiting.push_back(Waiting {
                raw: raw.to_vec(),
                ..Waiting::default()
            });
        }
    }

    fn event(&mut self, raw: &[u8], data: &[u8], out: &mut BytesMut) -> Result<(), Stop> {
        let number = self.first + self.waiting.len() as u64;
        self.waiting.push_back(Waiting::of(raw, data));
        if data == b"[DONE]" {
            self.end(None, None);
        } else {
            self.look(number, data)?;
        }
        self.settle()?;
        self.give(raw, out);
        if self.held > HELD_MOST {
            self.may_pass_unread()?;
            self.end(None, None);
            self.settle()?;
            self.give(&[], out);
        }
        Ok(())
    }

    /// Looks into an event's data.
    fn look(&mut self, number: u64, data: &[u8]) -> Result<(), Stop> {
        let owned = Arc::clone(&self.guards);
        let guards: Vec<&Guard> = owned.iter().map(|guard| &**guard).collect();
        let mut looker = Looker::new(&guards, Side::Answer, data);
        let mut steps = Vec::new();
        let read = events::read(self.dialect, data, &mut looker, &mut steps);
        let (edits, spelled, found) = if read.is_ok() {
            looker.parts()
        } else {
            steps.clear();
            let looked = as_it_stands(&guards, data);
            let masked = looked.body.and_then(|body| String::from_utf8(body.into()).ok());
            let edits = masked.map(|masked| (0, data.len(), masked)).into_iter().collect();
            (edits, Vec::new(), looked.found)
        };
        if let Some(event) = self.waiting.back_mut() {
            (event.edits, event.spelled) = (edits, spelled);
        }
        for step in steps {
            match step {
                Step::Text { key, is_json, at, text } => self.text(Place { event: number, at }, (key, is_json), &text),
                Step::End(owner) => self.end(Some(owner), None),
                Step::EndAll => self.end(None, None),
            }
        }
        self.count(&found)
    }

    /// A text goes on. That of the same choice, block or item which was under way has ended.
    fn text(&mut self, place: Place, (key, is_json): (Key, bool), text: &str) {
        if text.is_empty() {
            return;
        }
        self.end(Some(key.owner), Some(key));
        if let Some(event) = self.waiting.back_mut() {
            event.open += 1;
        }
        let at = self.channels.iter().position(|channel| channel.key == key);
        let at = at.unwrap_or_else(|| {
            self.channels.push(Channel::new(key, is_json, &self.guards));
            self.channels.len() - 1
        });
        if let Some(channel) = self.channels.get_mut(at) {
            let counting = (&mut self.scratch, &mut *self.found);
            channel.take(&self.guards, (place, text), counting, &mut self.decisions);
        }
    }

    /// The texts of one owner have ended, or all; but this one.
    fn end(&mut self, owner: Option<u64>, but: Option<Key>) {
        let mut at = 0;
        while let Some(channel) = self.channels.get(at) {
            let stays = but.is_some_and(|but| but.goes_with(&channel.key));
            if owner.is_some_and(|owner| owner != channel.key.owner) || stays {
                at += 1;
                continue;
            }
            let channel = self.channels.remove(at);
            let counting = (&mut self.scratch, &mut *self.found);
            channel.end(&self.guards, counting, &mut self.decisions);
        }
    }

    /// Puts what is decided into its events.
    ///
    /// # Errors
    /// A guard that refuses has found something.
    fn settle(&mut self) -> Result<(), Stop> {
        for (place, text) in self.decisions.drain(..) {
            let at = usize::try_from(place.event.wrapping_sub(self.first)).unwrap_or(usize::MAX);
            let Some(event) = self.waiting.get_mut(at) else {
                continue;
            };
            event.open = event.open.saturating_sub(1);
            if let Some(text) = text {
                let (at, length) = place.at;
                event.edits.push((at, length, quoted(&text)));
            }
        }
        let none = [];
        self.count(&none)
    }

    /// Adds what was found in whole texts.
    ///
    /// # Errors
    /// A guard that refuses has found something, there or before.
    fn count(&mut self, found: &[u32]) -> Result<(), Stop> {
        for (sum, found) in self.found.iter_mut().zip(found) {
            *sum = sum.saturating_add(*found);
        }
        let mut refused = self.guards.iter().zip(&self.found);
        match refused.find(|(guard, found)| **found > 0 && guard.decided == Decided::Refused) {
            Some((guard, _)) => Err(Stop::Refused(Arc::clone(guard))),
            None => Ok(()),
        }
    }

    /// Gives the events that wait for nothing. `last`: the bytes of the last one, where it has come only now.
    fn give(&mut self, last: &[u8], out: &mut BytesMut) {
        while let Some(event) = self.waiting.pop_front_if(|event| event.open == 0) {
            self.first += 1;
            self.held -= event.raw.len();
            self.given.events(u64::from(event.has_data));
            let is_last = self.waiting.is_empty() && event.raw.is_empty();
            self.is_changed |= event.write(if is_last { Some(last) } else { None }, out);
        }
        if let Some(event) = self.waiting.back_mut()
            && event.raw.is_empty()
        {
            event.raw = last.to_vec();
            self.held += last.len();
        }
    }

    /// Whether what no guard can look into may pass.
    fn may_pass_unread(&self) -> Result<(), Stop> {
        let mut guards = self.guards.iter();
        match guards.find(|guard| guard.forbids_unread(Side::Answer)) {
            Some(guard) => Err(Stop::Unread(Arc::clone(guard))),
            None => Ok(()),
        }
    }
}
