//! How entries lie in memory and in the file: each as one line of JSON, numbered, so that a batch is its lines with commas
//! between. Pure.

use crate::entry::{Entry, Numbered};

/// Bytes before each entry of a queue: its time and its length.
const FRAME: usize = 12;

/// Appends an entry to a queue's bytes, with its time. `write` appends its text.
pub(super) fn frame(queued: &mut Vec<u8>, at: i64, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = queued.len();
    queued.extend_from_slice(&at.to_le_bytes());
    queued.extend_from_slice(&[0; 4]);
    write(queued);
    let length = u32::try_from(queued.len() - begin - FRAME).unwrap_or(u32::MAX);
    if let Some(place) = queued.get_mut(begin + FRAME - 4..begin + FRAME) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

/// The entries of a queue's bytes: time and text.
pub(super) fn framed(mut queued: &[u8]) -> impl Iterator<Item = (i64, &[u8])> {
    std::iter::from_fn(move || {
        let (at, rest) = queued.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (text, rest) = rest.split_at_checked(length)?;
        queued = rest;
        Some((i64::from_le_bytes(*at), text))
    })
}

/// A clock that goes back by no more, milliseconds, is waited for; one that goes back further was wrong before.
const SMALL_STEP: i64 = 60_000;

/// Gives places: sequences that grow by one, and times that go back only where the clock was far ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbering {
    /// The next sequence.
    pub next: u64,
    /// The last time.
    pub at: i64,
}

impl Numbering {
    fn place(&mut self, at: i64) -> (u64, i64) {
        let sequence = self.next;
        self.next = self.next.saturating_add(1);
        let is_small = self.at.saturating_sub(at) <= SMALL_STEP;
        self.at = if is_small { self.at.max(at) } else { at };
        (sequence, self.at)
    }

    /// Appends an entry's text as a line, in its place.
    pub(super) fn line(&mut self, lines: &mut Vec<u8>, at: i64, text: &[u8]) {
        let (sequence, at) = self.place(at);
        write_line(lines, sequence, at, text);
    }

    /// Appends an entry as a line, in its place.
    pub(super) fn entry(&mut self, lines: &mut Vec<u8>, at: i64, entry: &Entry) {
        // Plain data has no key that is no text, nothing else fails.
        let text = serde_json::to_vec(entry).unwrap_or_default();
        self.line(lines, at, &text);
    }
}

fn write_line(lines: &mut Vec<u8>, sequence: u64, at: i64, text: &[u8]) {
    use bowsprit_core::json::line::number;
    lines.extend_from_slice(b"{\"sequence\":");
    number(lines, sequence);
    lines.extend_from_slice(b",\"at\":");
    // A clock before 1970 is none.
    number(lines, u64::try_from(at).unwrap_or(0));
    lines.extend_from_slice(b",\"entry\":");
    lines.extend_from_slice(text);
    lines.extend_from_slice(b"}\n");
}

/// Numbered entries as lines.
pub(super) fn write(entries: &[Numbered]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(entries.len() * 256);
    for entry in entries {
        let text = serde_json::to_vec(&entry.entry).unwrap_or_default();
        write_line(&mut lines, entry.sequence, entry.at, &text);
    }
    lines
}

/// Lines as numbered entries.
///
/// # Errors
/// What is wrong with them: the file was changed by somebody else, or is damaged.
pub(super) fn read(lines: &[u8]) -> Result<Vec<Numbered>, String> {
    let parse = |line| serde_json::from_slice(line).map_err(|error| format!("an entry cannot be read: {error}"));
    split(lines).map(parse).collect()
}

/// The lines, each without its end.
pub(super) fn split(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The sequence that a line begins with.
fn sequence_of(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(b"{\"sequence\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

/// How much a batch may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Entries.
    pub entries: usize,
    /// Bytes of them.
    pub bytes: usize,
}

/// Lines for a batch, as they are collected.
#[derive(Debug, Default)]
pub(super) struct Cut {
    /// The lines with commas between.
    pub joined: Vec<u8>,
    /// How many.
    pub entries: usize,
    /// The last of their sequences.
    pub last: u64,
}

impl Cut {
    /// Takes the lines whose sequences come after `after`, as many as may be; one always. Returns whether all were taken.
    pub(super) fn take(&mut self, lines: &[u8], after: u64, most: Most) -> bool {
        for line in split(lines) {
            let Some(sequence) = sequence_of(line).filter(|sequence| *sequence > after) else {
                continue;
            };
            let is_full = self.entries >= most.entries || self.joined.len() + line.len() >= most.bytes;
            if self.entries > 0 && is_full {
                return false;
            }
            if self.entries > 0 {
                self.joined.push(b',');
            }
            self.joined.extend_from_slice(line);
            self.entries += 1;
            self.last = sequence;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_waits_for_a_clock_that_is_a_little_behind_and_follows_one_that_was_far_ahead() {
        const YEAR: i64 = 365 * 24 * 3600 * 1000;
        let mut numbering = Numbering { next: 1, at: 0 };
        let times = [YEAR, YEAR - 59_000, 2 * YEAR, YEAR + 5, YEAR + 4].map(|at| numbering.place(at));
        let wanted = [YEAR, YEAR, 2 * YEAR, YEAR + 5, YEAR + 5];
        assert_eq!(times.map(|(_, at)| at), wanted);
        assert_eq!(times.map(|(sequence, _)| sequence), [1, 2, 3, 4, 5]);
    }
}
