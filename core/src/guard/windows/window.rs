//! A part of a streamed answer that its services are asked about.

use std::collections::BTreeSet;
use std::sync::Arc;

use bowsprit_crds::guards::Side;
use bytes::Bytes;

use super::super::channel::Key;
use super::super::sieve::HELD_MOST;
use super::super::webhook::{self, About, Follows, LARGEST_QUESTION, Verdict, Why};
use super::super::{Guard, Said};
use super::cuts::Ahead;
use super::held::{Does, Held, ends_before};
use super::repeats::Repeats;

/// Characters of what has gone out that a text is asked about with: a line or two.
const BEFORE_CHARS: usize = 200;
/// Texts that may be under way at once: twice the choices that any API makes in one answer.
const UNDER_WAY_MOST: usize = 256;

/// A text that goes on.
#[derive(Clone, Debug)]
pub(super) struct Under {
    key: Key,
    /// The end of what of it has gone out.
    before: String,
    /// Which text of the window it is.
    at: Option<usize>,
    /// Which of those that may be said once more.
    kept: Option<usize>,
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
    /// For each text that is whole in its event, in order: the event, and what it is.
    wholes: Vec<(usize, Whole)>,
    under_way: Vec<Under>,
    is_too_large: bool,
    /// A whole text of it may be what was masked before.
    may_tell: bool,
}

/// A text that is whole in its event.
#[derive(Clone, Copy, Debug)]
enum Whole {
    /// Asked about: which of the texts.
    Asked(usize),
    /// It came in parts, of which each was or is asked about: which of those that are kept.
    Kept(usize),
}

#[derive(Clone, Debug)]
struct Text {
    said: Said,
    is_changed: bool,
    /// Its parts; none: it is whole where it stands.
    spots: Vec<Spot>,
    /// How much of it came, bytes, and which text it is of those that may be said once more.
    came: usize,
    kept: Option<usize>,
}

impl Text {
    fn new(said: Said) -> Self {
        Self {
            said,
            is_changed: false,
            spots: Vec::new(),
            came: 0,
            kept: None,
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
            may_tell: false,
        }
    }

    /// Of these events, with what stands behind them of their words, where these texts are under way and these were said.
    pub(super) fn of<'a>(
        under_way: &[Under],
        repeats: &mut Repeats,
        events: impl Iterator<Item = &'a Held> + Clone,
        ahead: Vec<Ahead>,
    ) -> Self {
        let mut window = Self {
            number: 0,
            texts: Vec::new(),
            wholes: Vec::new(),
            under_way: under_way.to_vec(),
            is_too_large: false,
            may_tell: false,
        };
        for (event, held) in events.clone().enumerate() {
            for step in &held.steps {
                match step {
                    Does::Text(key, at, text) => window.part(repeats, *key, (event, *at), text),
                    Does::End(_) => Under::all_end(&mut window.under_way, std::slice::from_ref(step)),
                }
            }
        }
        for (key, spot, text) in ahead {
            window.part(repeats, key, spot, &text);
        }
        for (event, held) in events.enumerate() {
            for said in &held.whole {
                window.whole(repeats, event, said);
            }
        }
        let sizes = window.texts.iter().map(|text| text.said.size());
        window.is_too_large = sizes.sum::<usize>() > LARGEST_QUESTION;
        let mut asked = window
            .wholes
            .iter()
            .filter(|(_, whole)| matches!(whole, Whole::Asked(_)));
        window.may_tell = repeats.may_tell() && asked.next().is_some();
        window
    }

    fn part(&mut self, repeats: &mut Repeats, key: Key, spot: Spot, text: &str) {
        self.under_way.retain(|under| !ends_before(&under.key, &key));
        let at = self.under_way.iter().position(|under| under.key == key);
        let at = at.unwrap_or_else(|| {
            if self.under_way.len() >= UNDER_WAY_MOST {
                // One of which nothing is in this window, if there is any.
                let spare = self.under_way.iter().position(|under| under.at.is_none());
                self.under_way.remove(spare.unwrap_or_default());
            }
            self.under_way.push(Under {
                key,
                before: String::new(),
                at: None,
                kept: repeats.begin(),
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
            self.texts.push(Text {
                kept: under.kept,
                ..Text::new(said)
            });
        }
        if let Some(kept) = under.kept {
            repeats.came(kept, text);
        }
        if let Some(asked) = self.texts.get_mut(index) {
            asked.said.text.push_str(text);
            asked.came += text.len();
            asked.spots.push(spot);
        }
    }

    /// A whole text: what says the same as another is not asked about twice, and becomes the same.
    fn whole(&mut self, repeats: &Repeats, event: usize, said: &Said) {
        if let Some(kept) = repeats.find(&said.text) {
            self.wholes.push((event, Whole::Kept(kept)));
            return;
        }
        let same = |text: &Text| text.said.before.is_empty() && text.said.text == said.text;
        let index = self.texts.iter().position(same).unwrap_or_else(|| {
            self.texts.push(Text::new(said.clone()));
            self.texts.len() - 1
        });
        self.wholes.push((event, Whole::Asked(index)));
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

    /// What an answer says of it. What it masks with is held as the stream is: so much longer than what was asked about it may be.
    ///
    /// # Errors
    /// It is none; says nothing of what was asked; or too much.
    pub fn verdict(&self, answer: &[u8]) -> Result<Verdict<Vec<Option<String>>>, Why> {
        let verdict = webhook::decision(answer)?;
        if let Verdict::Mask(others) = &verdict {
            if others.len() != self.texts.len() {
                return Err(Why::Answer);
            }
            let asked: usize = self.texts.iter().map(|text| text.said.text.len()).sum();
            let masked: usize = others.iter().flatten().map(String::len).sum();
            if masked > asked + HELD_MOST {
                return Err(Why::TooLarge);
            }
            let mut both = others.iter().zip(&self.texts);
            let is_same = both.all(|(other, text)| other.as_ref().is_none_or(|other| *other == text.said.text));
            if is_same {
                return Ok(Verdict::Pass);
            }
        }
        Ok(verdict)
    }

    /// What follows from what the service of this guard has decided, or not. What was masked before does not pass for want of a decision
    /// where it may be said once more.
    pub fn follows(
        &self,
        guard: &Guard,
        decided: Result<Verdict<Vec<Option<String>>>, Why>,
    ) -> Follows<Vec<Option<String>>> {
        match decided {
            Err(why) if self.may_tell && guard.decided.acts() => guard.lets_nothing_pass(why),
            decided => guard.follows(decided),
        }
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        let texts = self.texts.iter().map(|text| text.said.size());
        let parts = self.texts.iter().map(|text| size_of_val(text.spots.as_slice()));
        size_of::<Self>() + texts.chain(parts).sum::<usize>()
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

    /// Keeps what goes out of its texts, for where they are said once more.
    pub(super) fn keep(&self, repeats: &mut Repeats) {
        for text in &self.texts {
            let other = text.is_changed.then_some(text.said.text.as_str());
            repeats.went(text.kept, text.came, other);
        }
    }

    /// The events in which anything is changed, when what goes out is kept.
    pub(super) fn changed_events(&self, repeats: &Repeats) -> Vec<usize> {
        let wholes = self.wholes.iter();
        let wholes = wholes.filter(|(_, whole)| self.other(*whole, repeats).is_some());
        let parts = self.changed().flat_map(|(_, spots)| spots);
        let events = wholes.map(|(event, _)| event).chain(parts.map(|(event, _)| event));
        let events: BTreeSet<usize> = events.copied().collect();
        events.into_iter().collect()
    }

    /// What becomes of the whole texts of an event; none: one stays.
    pub(super) fn wholes_of(&self, event: usize, repeats: &Repeats) -> Vec<Option<String>> {
        let of = self.wholes.iter().filter(|(of, _)| *of == event);
        of.map(|(_, whole)| self.other(*whole, repeats).map(str::to_owned))
            .collect()
    }

    /// What stands in place of a whole text; none: it stays.
    fn other<'a>(&'a self, whole: Whole, repeats: &'a Repeats) -> Option<&'a str> {
        match whole {
            Whole::Kept(kept) => repeats.given(kept),
            Whole::Asked(index) => {
                let text = self.texts.get(index).filter(|text| text.is_changed)?;
                Some(&text.said.text)
            }
        }
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
