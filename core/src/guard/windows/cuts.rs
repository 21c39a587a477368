//! Where events that wait may be cut into those of one window and those of the next.
//!
//! Texts may come by turns: choices, calls that are made at once, thoughts under two names. Each has its own words, and a cut that is behind a
//! word of the one may be in the middle of another's. What of that word stands in the events behind the cut is asked about with its beginning
//! ([`Ahead`]), as these are held too. So a cut is good where of each text the word around it has ended in what waits.

use std::collections::VecDeque;

use super::super::channel::Key;
use super::held::{Does, Held, ends_before};

/// Where the words begin whose end has not come: the events, in order.
pub(super) struct Cuts {
    begun: Vec<usize>,
    events: usize,
}

impl Cuts {
    /// Of these events.
    pub(super) fn of(events: &VecDeque<Held>) -> Self {
        let mut words = Words::default();
        for (event, held) in events.iter().enumerate() {
            words.event(event, held);
        }
        let mut begun: Vec<usize> = words.under_way.iter().map(|(_, since)| *since).collect();
        begun.sort_unstable();
        let events = events.len();
        Self { begun, events }
    }

    /// How many events are in front of the last cut that cuts no word; none: there is no such cut.
    pub(super) fn behind_words(&self) -> Option<usize> {
        let first = self.begun.first().copied().unwrap_or(self.events);
        (first > 0).then_some(first)
    }

    /// The same, or else in front of the last of those that cut the fewest, among the later half: a window of a few letters would soon be
    /// followed by another.
    pub(super) fn best(&self) -> usize {
        let half = self.events / 2 + 1;
        let later = self.begun.iter().copied().find(|begun| *begun >= half);
        self.behind_words().unwrap_or(later.unwrap_or(self.events))
    }
}

/// The words under way.
#[derive(Default)]
struct Words {
    /// Of which text, and in which event each began.
    under_way: Vec<(Key, usize)>,
}

impl Words {
    fn event(&mut self, event: usize, held: &Held) {
        for step in &held.steps {
            match step {
                Does::Text(key, _, text) => self.text(event, *key, text),
                Does::End(owner) => self.all_end(*owner),
            }
        }
    }

    fn text(&mut self, event: usize, key: Key, text: &str) {
        let since = self.goes_on(key, text);
        if !text.ends_with(char::is_whitespace) {
            self.under_way.push((key, since.unwrap_or(event)));
        }
    }

    /// A text goes on. Returns where its word began, if one does; it is no longer under way.
    fn goes_on(&mut self, key: Key, text: &str) -> Option<usize> {
        self.under_way.retain(|(of, _)| !ends_before(of, &key));
        let at = self.under_way.iter().position(|(of, _)| *of == key)?;
        let (_, since) = self.under_way.swap_remove(at);
        (!text.starts_with(char::is_whitespace)).then_some(since)
    }

    fn all_end(&mut self, owner: Option<u64>) {
        self.under_way
            .retain(|(key, _)| owner.is_some_and(|owner| owner != key.owner));
    }
}

/// A part of a text that stands behind a cut: in which event, where in it, and what it says.
pub(super) type Ahead = (Key, (usize, (usize, usize)), String);

/// Takes what ends the words that a cut behind so many events is in out of the events behind it.
pub(super) fn take_ahead(events: &mut VecDeque<Held>, cut: usize) -> Vec<Ahead> {
    let mut words = Words::default();
    let mut ahead = Vec::new();
    for (event, held) in events.iter_mut().enumerate() {
        if event < cut {
            words.event(event, held);
            continue;
        }
        if words.under_way.is_empty() {
            break;
        }
        let mut steps = Vec::with_capacity(held.steps.len());
        for step in std::mem::take(&mut held.steps) {
            match step {
                Does::Text(key, at, text) if words.goes_on(key, &text).is_some() => {
                    if !text.ends_with(char::is_whitespace) {
                        words.under_way.push((key, event));
                    }
                    ahead.push((key, (event, at), text));
                }
                Does::Text(..) => steps.push(step),
                Does::End(owner) => {
                    words.all_end(owner);
                    steps.push(step);
                }
            }
        }
        held.steps = steps;
    }
    ahead
}
