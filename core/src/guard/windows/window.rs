//! A part of a streamed answer that its services are asked about.

use std::collections::BTreeSet;
use std::sync::Arc;

use bowsprit_crds::guards::Side;
use bytes::Bytes;

use super::super::channel::Key;
use super::super::webhook::{self, About, LARGEST_QUESTION, Verdict, Why};
use super::super::{Guard, Said};
use super::held::{Does, Held};

/// Characters of what has gone out that a text is asked about with: a line or two.
const BEFORE_CHARS: usize = 200;
/// Texts that may be under way at once: more than any API has choices and calls in one answer.
const UNDER_WAY_MOST: usize = 64;

/// A text that goes on.
#[derive(Clone, Debug)]
pub(super) struct Under {
    key: Key,
    /// The end of what of it has gone out.
    before: String,
    /// Which text of the window it is.
    at: Option<usize>,
}

impl Under {
    /// The texts under way end as these steps say.
    pub(super) fn all_end(under_way: &mut Vec<Self>, steps: &[Does]) {
        for step in steps {
            if let Does::End(owner) = step {
                under_way.retain(|under| owner.is_some_and(|owner| owner != under.key.owner));
            }
        }
    }
}

/// Where a part of a text stands: in which event of the window, and where in that, bytes.
pub(super) type Spot = (usize, (usize, usize));

/// A window that is being asked about.
#[derive(Clone, Debug)]
pub struct Window {
    pub(super) number: u64,
    texts: Vec<Text>,
    /// For each text that is whole in its event, in order: the event, and which of the texts.
    wholes: Vec<(usize, usize)>,
    under_way: Vec<Under>,
    is_too_large: bool,
}

#[derive(Clone, Debug)]
struct Text {
    said: Said,
    is_changed: bool,
    /// Its parts; none: it is whole where it stands.
    spots: Vec<Spot>,
}

impl Text {
    fn new(said: Said) -> Self {
        Self {
            said,
            is_changed: false,
            spots: Vec::new(),
        }
    }
}

impl Window {
    /// Of a whole answer's texts; none: they are too large.
    pub(super) fn of_plain(said: Option<&[Said]>) -> Self {
        Self {
            number: 0,
            is_too_large: said.is_none(),
            texts: said.unwrap_or_default().iter().cloned().map(Text::new).collect(),
            wholes: Vec::new(),
            under_way: Vec::new(),
        }
    }

    /// Of these events, where these texts are under way.
    pub(super) fn of<'a>(under_way: &[Under], events: impl Iterator<Item = &'a Held> + Clone) -> Self {
        let mut window = Self {
            number: 0,
            texts: Vec::new(),
            wholes: Vec::new(),
            under_way: under_way.to_vec(),
            is_too_large: false,
        };
        for (event, held) in events.clone().enumerate() {
            for step in &held.steps {
                match step {
                    Does::Text(key, at, text) => window.part(*key, (event, *at), text),
                    Does::End(_) => Under::all_end(&mut window.under_way, std::slice::from_ref(step)),
                }
            }
        }
        for (event, held) in events.enumerate() {
            for said in &held.whole {
                window.whole(event, said);
            }
        }
        let sizes = window.texts.iter().map(|text| text.said.size());
        window.is_too_large = sizes.sum::<usize>() > LARGEST_QUESTION;
        window
    }

    fn part(&mut self, key: Key, spot: Spot, text: &str) {
        self.under_way
            .retain(|under| under.key.owner != key.owner || key.goes_with(&under.key));
        let at = self.under_way.iter().position(|under| under.key == key);
        let at = at.unwrap_or_else(|| {
            if self.under_way.len() >= UNDER_WAY_MOST {
                self.under_way.remove(0);
            }
            self.under_way.push(Under {
                key,
                before: String::new(),
                at: None,
            });
            self.under_way.len() - 1
        });
        let Some(under) = self.under_way.get_mut(at) else {
            return;
        };
        let index = *under.at.get_or_insert(self.texts.len());
        if index == self.texts.len() {
            let mut said = Said::of_an_answer(String::new());
            said.before.clone_from(&under.before);
            self.texts.push(Text::new(said));
        }
        if let Some(asked) = self.texts.get_mut(index) {
            asked.said.text.push_str(text);
            asked.spots.push(spot);
        }
    }

    /// A whole text: what says the same as another is not asked about twice, and becomes the same.
    fn whole(&mut self, event: usize, said: &Said) {
        let same = |text: &Text| text.said.before.is_empty() && text.said.text == said.text;
        let index = self.texts.iter().position(same).unwrap_or_else(|| {
            self.texts.push(Text::new(said.clone()));
            self.texts.len() - 1
        });
        self.wholes.push((event, index));
    }

    /// What this guard's service is asked; none: it says nothing.
    ///
    /// # Errors
    /// It cannot be asked about.
    pub fn question(&self, guard: &Arc<Guard>, about: About<'_>) -> Result<Option<Bytes>, Why> {
        if self.is_too_large {
            return Err(Why::TooLarge);
        }
        let texts = self.texts.iter().map(|text| &text.said);
        let texts: Vec<&Said> = texts.collect();
        if texts.is_empty() {
            return Ok(None);
        }
        Ok(Some(webhook::written(
            guard,
            Side::Answer,
            about,
            (&texts, Some(self.number)),
        )))
    }

    /// What an answer says of it.
    ///
    /// # Errors
    /// It is none; says nothing of what was asked.
    pub fn verdict(&self, answer: &[u8]) -> Result<Verdict<Vec<Option<String>>>, Why> {
        let verdict = webhook::decision(answer)?;
        if let Verdict::Mask(others) = &verdict {
            if others.len() != self.texts.len() {
                return Err(Why::Answer);
            }
            let mut both = others.iter().zip(&self.texts);
            let is_same = both.all(|(other, text)| other.as_ref().is_none_or(|other| *other == text.said.text));
            if is_same {
                return Ok(Verdict::Pass);
            }
        }
        Ok(verdict)
    }

    /// Puts others in place of its texts; none: one stays.
    pub fn mask(&mut self, others: Vec<Option<String>>) {
        for (text, other) in self.texts.iter_mut().zip(others) {
            if let Some(other) = other.filter(|other| *other != text.said.text) {
                text.said.text = other;
                text.is_changed = true;
            }
        }
    }

    /// The texts that were changed, and where they stand.
    pub(super) fn changed(&self) -> impl Iterator<Item = (&str, &[Spot])> {
        let changed = self.texts.iter().filter(|text| text.is_changed);
        changed.map(|text| (text.said.text.as_str(), text.spots.as_slice()))
    }

    /// All of them, one by one; none: one stays.
    pub(super) fn others(self) -> Vec<Option<String>> {
        let texts = self.texts.into_iter();
        texts.map(|text| text.is_changed.then_some(text.said.text)).collect()
    }

    /// The events in which anything was changed.
    pub(super) fn changed_events(&self) -> Vec<usize> {
        let is_changed = |index: usize| self.texts.get(index).is_some_and(|text| text.is_changed);
        let wholes = self.wholes.iter().filter(|(_, index)| is_changed(*index));
        let parts = self.changed().flat_map(|(_, spots)| spots);
        let events = wholes.map(|(event, _)| event).chain(parts.map(|(event, _)| event));
        let events: BTreeSet<usize> = events.copied().collect();
        events.into_iter().collect()
    }

    /// What becomes of the whole texts of an event; none: one stays.
    pub(super) fn wholes_of(&self, event: usize) -> Vec<Option<String>> {
        let of = self.wholes.iter().filter(|(of, _)| *of == event);
        let text = |index: usize| self.texts.get(index).filter(|text| text.is_changed);
        of.map(|(_, index)| text(*index).map(|text| text.said.text.clone()))
            .collect()
    }

    /// The texts that are under way behind it.
    pub(super) fn under_way(self) -> Vec<Under> {
        let Self { texts, under_way, .. } = self;
        let behind = |mut under: Under| {
            if let Some(text) = under.at.take().and_then(|at| texts.get(at)) {
                under.before.push_str(&text.said.text);
                let from = under.before.char_indices().rev().nth(BEFORE_CHARS - 1);
                under.before.drain(..from.map_or(0, |(at, _)| at));
            }
            under
        };
        under_way.into_iter().map(behind).collect()
    }
}
