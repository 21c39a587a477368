//! One text of a streamed answer, such as a message or the arguments of a call: what of it came in which event, and what of that
//! is decided.
//!
//! An event waits while the text that it brought is not decided, so that what came unchanged goes out as it came. Once something is
//! masked, the first of the events that wait gets all that is decided, those between nothing, and the last what is still held: then
//! the texts of those that wait are again, together, what has been decided and what is held.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Guard, Window};

/// Which text of an answer: the choice, block or item that it belongs to, the part of it, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The choice, block or item.
    pub owner: u64,
    /// The call or part within.
    pub part: u64,
    /// What it is, such as `content`.
    pub name: &'static str,
}

impl Key {
    /// Whether both may be under way at once: it is the same text, which some servers send under two names.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        let are_thoughts = self.name.starts_with("reasoning") && other.name.starts_with("reasoning");
        self == other || (are_thoughts && self.owner == other.owner)
    }
}

/// A place for a text in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The event's number.
    pub event: u64,
    /// Where in it the text stands, bytes, and how long it is there.
    pub at: (usize, usize),
}

#[derive(Debug)]
struct Piece {
    place: Place,
    text: String,
    is_changed: bool,
}

/// A place whose text is decided; none: it stays as it came.
pub(super) type Decision = (Place, Option<String>);

/// One text.
#[derive(Debug)]
pub(super) struct Channel {
    pub key: Key,
    /// One for each guard.
    windows: Vec<Window>,
    /// The pieces that are not decided, in order.
    waiting: VecDeque<Piece>,
    /// What of these is.
    decided: String,
}

/// Two texts to write to, kept between events.
#[derive(Debug, Default)]
pub(super) struct Scratch(String, String);

impl Channel {
    pub(super) fn new(key: Key, is_json: bool, guards: &[Arc<Guard>]) -> Self {
        Self {
            key,
            windows: guards.iter().map(|_| Window::new(is_json)).collect(),
            waiting: VecDeque::new(),
            decided: String::new(),
        }
    }

    /// The next piece. Appends what it decides.
    pub(super) fn take(
        &mut self,
        guards: &[Arc<Guard>],
        (place, text): (Place, &str),
        (scratch, found): (&mut Scratch, &mut [u32]),
        decisions: &mut Vec<Decision>,
    ) {
        let was_masked = self.pass(guards, text, false, (scratch, found));
        if self.waiting.is_empty() && !was_masked && self.held(guards) == 0 && self.decided == text {
            self.decided.clear();
            decisions.push((place, None));
            return;
        }
        self.waiting.push_back(Piece {
            place,
            text: text.to_owned(),
            is_changed: false,
        });
        self.decide(guards, was_masked, decisions);
    }

    /// Nothing follows.
    pub(super) fn end(
        mut self,
        guards: &[Arc<Guard>],
        (scratch, found): (&mut Scratch, &mut [u32]),
        decisions: &mut Vec<Decision>,
    ) {
        let was_masked = self.pass(guards, "", true, (scratch, found));
        self.decide(guards, was_masked, decisions);
        // Of empty texts and of what was dropped nothing is owed.
        for piece in self.waiting {
            decisions.push((piece.place, Some(String::new())));
        }
    }

    /// The windows of guards that act: for one that only counts nothing waits.
    fn acting(&self, guards: &[Arc<Guard>]) -> impl DoubleEndedIterator<Item = &Window> {
        let both = guards.iter().zip(&self.windows);
        both.filter(|(guard, _)| guard.decided.acts()).map(|(_, window)| window)
    }

    /// Bytes that are not decided.
    fn held(&self, guards: &[Arc<Guard>]) -> usize {
        self.acting(guards).map(Window::held).sum()
    }

    /// Passes a text through all guards. Returns whether one that acts has found something.
    fn pass(
        &mut self,
        guards: &[Arc<Guard>],
        text: &str,
        is_end: bool,
        (Scratch(now, next), found): (&mut Scratch, &mut [u32]),
    ) -> bool {
        now.clear();
        now.push_str(text);
        let mut was_masked = false;
        for ((guard, window), sum) in guards.iter().zip(&mut self.windows).zip(found) {
            next.clear();
            let mut here = window.push(&guard.detectors, now, next);
            if is_end {
                here += window.finish(&guard.detectors, next);
            }
            *sum = sum.saturating_add(here);
            if guard.decided.acts() {
                was_masked |= here > 0;
                std::mem::swap(now, next);
            }
        }
        self.decided.push_str(now);
        was_masked
    }

    fn decide(&mut self, guards: &[Arc<Guard>], was_masked: bool, decisions: &mut Vec<Decision>) {
        let came: usize = self.waiting.iter().map(|piece| piece.text.len()).sum();
        // Of a long secret the rest is dropped, which finds nothing anew.
        if (was_masked || came != self.decided.len() + self.held(guards))
            && let Some(mut last) = self.waiting.pop_back()
        {
            let mut left = String::new();
            if let Some(first) = self.waiting.pop_front() {
                decisions.push((first.place, Some(std::mem::take(&mut self.decided))));
                decisions.extend(self.waiting.drain(..).map(|piece| (piece.place, Some(String::new()))));
            } else {
                left.push_str(&self.decided);
            }
            // What the last guard holds came first.
            for window in self.acting(guards).rev() {
                left.push_str(window.rest());
            }
            (last.text, last.is_changed) = (left, true);
            self.waiting.push_back(last);
        }
        while let Some(piece) = self
            .waiting
            .pop_front_if(|piece| piece.text.len() <= self.decided.len())
        {
            self.decided.drain(..piece.text.len());
            decisions.push((piece.place, piece.is_changed.then_some(piece.text)));
        }
    }
}
