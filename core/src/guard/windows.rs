//! A streamed answer under guards that are services: it is held in windows, and each is asked about before any of it goes on.
//!
//! Bytes in, in whatever pieces; events out, in their order. An event that brings text waits, and what comes behind it with it, until
//! there is a window to ask about: [`WINDOW_CHARS`] characters have come, or [`WINDOW_TIME`] has passed since the first of them, or the
//! texts have ended. While one window is asked about the next is filled, and no more than [`HELD_MOST`] bytes of events wait: then
//! nothing is to be read on ([`Windows::is_full`]). An event without text goes out at once where none waits before it.
//!
//! A window ends where it cuts no word of any of its texts, if it can ([`Cuts`]), and each text in it is asked about with the end of what its
//! caller has of it (`before`), so that what stands across is seen. What has gone out cannot be taken back: what a service masks
//! changes what is held, and nothing else.
//!
//! Guards that do not act hold nothing: for these the same windows are filled beside the stream ([`Windows::beside`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_crds::guards::Side;
use bytes::{BufMut as _, Bytes, BytesMut};

use super::body::{Looker, quoted};
use super::events::{self, Step};
use super::frame::{Frame, Part};
use super::given::Given;
use super::sieve::{HELD_MOST, Stop};
use super::take::Take;
use super::texts::{put_back, said};
use super::waiting::Waiting;
use super::webhook::LARGEST_QUESTION;
use super::{Guard, Said};
use crate::clock::Moment;
use crate::dialect::{Dialect, ErrorView};

mod cuts;
mod held;
mod repeats;
mod window;

#[cfg(test)]
mod tests;

use cuts::{Cuts, take_ahead};
use held::{Does, Held};
use repeats::Repeats;
use window::Under;
pub use window::Window;

/// Characters of text that fill a window: some sentences, which a service can judge, and few enough that the first word of most
/// answers waits less than a second for them.
pub const WINDOW_CHARS: usize = 600;
/// The same where no event ends behind a word.
const WINDOW_CHARS_MOST: usize = 4 * WINDOW_CHARS;
/// So many more have to come until an end behind a word is looked for again.
const UNCUT_STEP: usize = WINDOW_CHARS / 10;
/// How long the first text of a window waits for it to be filled: no longer than a person takes for a pause.
pub const WINDOW_TIME: Duration = Duration::from_millis(500);

/// A stream's way through the services that guard it.
#[derive(Debug)]
pub struct Windows {
    guards: Arc<[Arc<Guard>]>,
    dialect: Dialect,
    holds: bool,
    frame: Frame,
    /// Events that wait, in order.
    waiting: VecDeque<Held>,
    /// How many of them are being asked about, from the first.
    asked: usize,
    /// Their bytes.
    held: usize,
    /// Characters of text in those that are not.
    chars: usize,
    /// Up to so many of them there was no end behind a word.
    uncut: usize,
    /// When the first of these came.
    since: Option<Moment>,
    /// The texts that those which wait have ended.
    has_ended: bool,
    /// The body, where it is no stream and has come whole, and its texts; none: they are too large.
    plain: Option<(Vec<u8>, Option<Vec<Said>>)>,
    is_over: bool,
    /// The texts that go on, with the end of what of each has gone out.
    under_way: Vec<Under>,
    repeats: Repeats,
    number: u64,
    given: Given,
}

impl Windows {
    /// For a stream in this dialect, as its caller gets it, that waits for these guards.
    pub fn new(dialect: Dialect, guards: Arc<[Arc<Guard>]>) -> Self {
        Self {
            guards,
            dialect,
            holds: true,
            frame: Frame::Unknown,
            waiting: VecDeque::new(),
            asked: 0,
            held: 0,
            chars: 0,
            uncut: 0,
            since: None,
            has_ended: false,
            plain: None,
            is_over: false,
            under_way: Vec::new(),
            repeats: Repeats::new(dialect),
            number: 0,
            given: Given::default(),
        }
    }

    /// For a stream that waits for none of these guards: nothing comes out, and of what comes only the texts are kept.
    pub fn beside(dialect: Dialect, guards: Arc<[Arc<Guard>]>) -> Self {
        Self {
            holds: false,
            ..Self::new(dialect, guards)
        }
    }

    /// The guards, in their order.
    pub fn guards(&self) -> &Arc<[Arc<Guard>]> {
        &self.guards
    }

    /// Takes what comes, and appends what goes out now.
    ///
    /// # Errors
    /// The stream ends here: it has what nobody can be asked about.
    pub fn push(&mut self, piece: &[u8], now: Moment, out: &mut BytesMut) -> Result<(), Stop> {
        let mut frame = std::mem::replace(&mut self.frame, Frame::Unknown);
        let taken = frame.take(self.dialect, piece, &mut |part| self.part(part, now, out));
        self.frame = frame;
        taken
    }

    /// Nothing follows. What is held must still be asked about.
    ///
    /// # Errors
    /// As of [`Self::push`].
    pub fn finish(&mut self, now: Moment, out: &mut BytesMut) -> Result<(), Stop> {
        let mut frame = std::mem::replace(&mut self.frame, Frame::Unknown);
        let rest = frame.finish(&mut |part| self.part(part, now, out));
        self.frame = frame;
        self.is_over = true;
        if let Some(body) = rest? {
            match said(Side::Answer, &body, LARGEST_QUESTION) {
                Ok(Some(said)) if said.is_empty() => self.put(&body, out),
                Ok(said) => self.plain = Some((body, said)),
                Err(_) => {
                    self.may_pass_unread()?;
                    self.put(&body, out);
                }
            }
        }
        self.flow(out);
        Ok(())
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.plain.is_none() && !self.frame.is_begun()
    }

    /// Whether so much is held that nothing more is to be read until a window is decided about.
    pub fn is_full(&self) -> bool {
        self.held > HELD_MOST
    }

    /// When there is a window to ask about, if nothing fills it before.
    pub fn due(&self) -> Option<Moment> {
        let since = self.since.filter(|_| self.asked == 0)?;
        Some(since + WINDOW_TIME)
    }

    /// The window that is to be asked about now, if there is one and none is being asked about. It stays until it is decided.
    pub fn ask(&mut self, now: Moment) -> Option<Window> {
        if self.asked > 0 {
            return None;
        }
        if let Some((_, said)) = &self.plain {
            let window = Window::of_plain(said.as_deref());
            self.asked = 1;
            return Some(self.numbered(window));
        }
        let since = self.since?;
        let ends = self.is_over || self.has_ended;
        let must = ends || self.chars >= WINDOW_CHARS_MOST || self.is_full() || now >= since + WINDOW_TIME;
        if !must && self.chars < WINDOW_CHARS {
            return None;
        }
        self.asked = if ends {
            self.waiting.len()
        } else if must {
            Cuts::of(&self.waiting).best()
        } else if self.chars >= self.uncut + UNCUT_STEP
            && let Some(end) = Cuts::of(&self.waiting).behind_words()
        {
            end
        } else {
            self.uncut = self.uncut.max(self.chars - self.chars % UNCUT_STEP);
            return None;
        };
        self.uncut = 0;
        let held: usize = self.waiting.iter().skip(self.asked).map(Held::bytes).sum();
        let ahead = take_ahead(&mut self.waiting, self.asked);
        let left: usize = self.waiting.iter().skip(self.asked).map(Held::bytes).sum();
        self.held -= held - left;
        let rest = self.waiting.iter().skip(self.asked);
        self.chars = rest.map(Held::chars).sum();
        self.since = (self.chars > 0).then_some(now);
        self.has_ended = false;
        let asked = self.waiting.iter().take(self.asked);
        let window = Window::of(&self.under_way, &mut self.repeats, asked, ahead);
        Some(self.numbered(window))
    }

    fn numbered(&mut self, mut window: Window) -> Window {
        self.number += 1;
        window.number = self.number;
        window
    }

    /// The window may go on as its guards have left it: appends it, and what waits behind it for nobody.
    pub fn decided(&mut self, window: Window, out: &mut BytesMut) {
        if let Some((body, _)) = self.plain.take() {
            self.asked = 0;
            let masked = put_back(Side::Answer, &body, window.others()).flatten();
            self.put(masked.as_deref().unwrap_or(&body), out);
            return;
        }
        window.keep(&mut self.repeats);
        for event in window.changed_events(&self.repeats) {
            let texts = window.wholes_of(event, &self.repeats);
            if let Some(held) = self.waiting.get_mut(event) {
                held.put(self.dialect, texts);
            }
        }
        for (text, spots) in window.changed() {
            // The first gets all of it.
            let mut text = Some(text);
            for (event, (at, length)) in spots {
                let text = quoted(text.take().unwrap_or_default());
                if let Some(held) = self.waiting.get_mut(*event) {
                    held.event.edits.push((*at, *length, text));
                }
            }
        }
        for _ in 0..std::mem::take(&mut self.asked) {
            if let Some(held) = self.waiting.pop_front() {
                self.give(held, out);
            }
        }
        self.under_way = window.under_way();
        self.flow(out);
    }

    /// The window goes on whatever will be decided about it: where nothing is held for it. Returns it.
    pub fn passed(&mut self, window: Window) -> Window {
        self.decided(window.clone(), &mut BytesMut::new());
        window
    }

    /// An error that ends the stream, framed for where its caller stands: after whole events, or inside a JSON array.
    pub fn error_event(&self, error: &ErrorView<'_>) -> Bytes {
        self.given.error_event(&self.frame, self.dialect, error)
    }

    fn part(&mut self, part: Part<'_>, now: Moment, out: &mut BytesMut) -> Result<(), Stop> {
        match part {
            Part::Event(raw, data) => return self.event(raw, data, now, out),
            Part::Between(raw) => self.between(raw, out),
            Part::Unread(raw) => {
                self.may_pass_unread()?;
                self.between(raw, out);
            }
        }
        Ok(())
    }

    /// What is no event, and goes out behind those that wait; but for comments, which keep a connection alive.
    fn between(&mut self, raw: &[u8], out: &mut BytesMut) {
        if self.waiting.is_empty() || is_comment(raw) {
            self.put(raw, out);
        } else if !raw.is_empty() && self.holds {
            if let Some(last) = self.waiting.back_mut().filter(|last| !last.event.has_data) {
                self.held += raw.len();
                last.event.raw.extend_from_slice(raw);
                return;
            }
            let held = Held {
                event: Waiting {
                    raw: raw.to_vec(),
                    ..Waiting::default()
                },
                data_end: 0,
                steps: Vec::new(),
                whole: Vec::new(),
            };
            self.held += held.bytes();
            self.waiting.push_back(held);
        }
    }

    fn event(&mut self, raw: &[u8], data: &[u8], now: Moment, out: &mut BytesMut) -> Result<(), Stop> {
        let Some((steps, whole)) = self.read(data) else {
            self.may_pass_unread()?;
            self.is_behind(raw, data, (Vec::new(), Vec::new()), out);
            return Ok(());
        };
        self.has_ended |= steps.iter().any(|step| matches!(step, Does::End(None)));
        let chars = self.is_behind(raw, data, (steps, whole), out);
        if chars > 0 {
            self.since.get_or_insert(now);
            self.chars += chars;
        }
        if self.waiting.len() == self.asked {
            // Nothing has ended that anybody is asked about.
            self.has_ended = false;
        }
        Ok(())
    }

    /// Puts an event behind those that wait, or gives it if none does and it says nothing. Returns its characters.
    fn is_behind(
        &mut self,
        raw: &[u8],
        data: &[u8],
        (steps, whole): (Vec<Does>, Vec<Said>),
        out: &mut BytesMut,
    ) -> usize {
        let mut event = Waiting::of(raw, data);
        if self.waiting.is_empty() && whole.is_empty() && !steps.iter().any(|step| matches!(step, Does::Text(..))) {
            Under::all_end(&mut self.under_way, &steps);
            self.given.events(1);
            self.put(raw, out);
            return 0;
        }
        let data_end = event.data_at + data.len();
        if self.holds {
            event.raw = raw.to_vec();
        } else {
            event.joined = None;
        }
        let held = Held {
            event,
            data_end,
            steps,
            whole,
        };
        let chars = held.chars();
        self.held += held.bytes();
        self.waiting.push_back(held);
        chars
    }

    /// What an event says; none: it cannot be read.
    fn read(&self, data: &[u8]) -> Option<(Vec<Does>, Vec<Said>)> {
        if data == b"[DONE]" {
            return Some((vec![Does::End(None)], Vec::new()));
        }
        let mut looker = Looker::new(&[], Side::Answer, data);
        looker.take = Some(Take::all_of_an_answer(LARGEST_QUESTION));
        let mut steps = Vec::new();
        events::read(self.dialect, data, &mut looker, &mut steps).ok()?;
        // More than anybody is asked about: a window that has it is not asked about either.
        let whole = looker.take.and_then(Take::said)?;
        let steps = steps.into_iter().filter_map(|step| match step {
            Step::Text { text, .. } if text.is_empty() => None,
            Step::Text { key, at, text, .. } => Some(Does::Text(key, at, text.into_owned())),
            Step::End(owner) => Some(Does::End(Some(owner))),
            Step::EndAll => Some(Does::End(None)),
        });
        Some((steps.collect(), whole))
    }

    /// Gives the events from the first on that say nothing: nobody is asked about them.
    fn flow(&mut self, out: &mut BytesMut) {
        while self.asked == 0
            && let Some(held) = self.waiting.pop_front_if(|held| held.chars() == 0)
        {
            Under::all_end(&mut self.under_way, &held.steps);
            self.give(held, out);
        }
        if self.waiting.is_empty() {
            self.has_ended = false;
        }
    }

    fn give(&mut self, held: Held, out: &mut BytesMut) {
        self.held -= held.bytes();
        self.given.events(u64::from(held.event.has_data));
        if self.holds {
            let start = out.len();
            held.event.write(None, out);
            self.given.went(out.get(start..).unwrap_or_default());
        }
    }

    fn put(&mut self, raw: &[u8], out: &mut BytesMut) {
        if self.holds {
            out.put_slice(raw);
            self.given.went(raw);
        }
    }

    /// Whether what nobody can be asked about may pass: not where it may be what was masked before.
    fn may_pass_unread(&self) -> Result<(), Stop> {
        let may_tell = self.repeats.may_tell();
        let mut guards = self.guards.iter();
        match guards.find(|guard| may_tell || guard.forbids_unread(Side::Answer)) {
            Some(guard) => Err(Stop::Unread(Arc::clone(guard))),
            None => Ok(()),
        }
    }
}

/// Whether this is a whole block of comments.
fn is_comment(raw: &[u8]) -> bool {
    let is_whole = [&b"\n\n"[..], b"\r\n\r\n", b"\r\r"]
        .iter()
        .any(|end| raw.ends_with(end));
    raw.starts_with(b":") && is_whole
}
