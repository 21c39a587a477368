//! An event of a streamed answer that waits for services.

use bowsprit_crds::guards::Side;

use super::super::body::Looker;
use super::super::channel::Key;
use super::super::events;
use super::super::take::{Said, Take};
use super::super::waiting::Waiting;
use crate::dialect::Dialect;

/// An event that waits, with what it says.
#[derive(Debug)]
pub(super) struct Held {
    pub event: Waiting,
    /// Where its data ends in it.
    pub data_end: usize,
    pub steps: Vec<Does>,
    /// Texts that are whole in it.
    pub whole: Vec<Said>,
}

/// What an event does to the texts of its answer.
#[derive(Debug)]
pub(super) enum Does {
    Text(Key, (usize, usize), String),
    End(Option<u64>),
}

/// Whether a text has ended where this one goes on: of one choice or item they come one after the other, but for calls, which may be made
/// at once.
pub(super) fn ends_before(text: &Key, next: &Key) -> bool {
    text.owner == next.owner && text.name != next.name && !next.goes_with(text)
}

impl Held {
    /// Characters of its texts.
    pub(super) fn chars(&self) -> usize {
        let parts = self.steps.iter().map(|step| match step {
            Does::Text(_, _, text) => text.chars().count(),
            Does::End(_) => 0,
        });
        let whole = self.whole.iter().map(|said| said.text.chars().count());
        parts.chain(whole).sum()
    }

    /// What it takes.
    pub(super) fn bytes(&self) -> usize {
        let texts = self.steps.iter().map(|step| match step {
            Does::Text(_, _, text) => text.len(),
            Does::End(_) => 0,
        });
        let whole = self.whole.iter().map(|said| said.text.len());
        let each = size_of_val(self.steps.as_slice()) + size_of_val(self.whole.as_slice());
        let joined = self.event.joined.as_ref().map_or(0, Vec::len);
        size_of::<Self>() + each + self.event.raw.len() + joined + texts.chain(whole).sum::<usize>()
    }

    /// Puts others in place of its whole texts; none: one stays.
    pub(super) fn put(&mut self, dialect: Dialect, texts: Vec<Option<String>>) {
        let data = match &self.event.joined {
            Some(joined) => joined.as_slice(),
            None => self
                .event
                .raw
                .get(self.event.data_at..self.data_end)
                .unwrap_or_default(),
        };
        let mut looker = Looker::new(&[], Side::Answer, data);
        looker.take = Some(Take::put(texts));
        // It was read before.
        let _ = events::read(dialect, data, &mut looker, &mut Vec::new());
        let (mut edits, spelled, _) = looker.parts();
        self.event.edits.append(&mut edits);
        self.event.spelled = spelled;
    }
}
