//! Whether a fleet is coming back: many streams open within a short time, as after a restart of every operator. Pure: time
//! is passed in.

use std::time::{Duration, Instant};

/// Streams are counted in stretches of this.
const STRETCH: Duration = Duration::from_secs(5);
/// So many in a stretch are a return: ten a second, where a busy cluster of ten thousand pods starts two or three.
const MANY: u32 = 50;

/// The streams of the last two stretches.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Returning {
    begun: Option<Instant>,
    now: u32,
    before: u32,
}

impl Returning {
    /// A stream has opened, at `at`.
    pub(super) fn note(&mut self, at: Instant) {
        *self = self.by(at);
        self.now = self.now.saturating_add(1);
    }

    /// Whether many come back, or did until a moment ago.
    pub(super) fn is_so(&self, at: Instant) -> bool {
        let Self { now, before, .. } = self.by(at);
        now.max(before) >= MANY
    }

    /// The same, seen at a later moment.
    fn by(self, at: Instant) -> Self {
        let since = self.begun.map(|begun| at.saturating_duration_since(begun));
        match since {
            Some(since) if since < STRETCH => self,
            Some(since) if since < 2 * STRETCH => Self {
                begun: self.begun.map(|begun| begun + STRETCH),
                now: 0,
                before: self.now,
            },
            _ => Self {
                begun: Some(at),
                ..Self::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_are_a_return_for_as_long_as_they_come_and_a_few_never() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut returning = Returning::default();
        assert!(!returning.is_so(start));
        for moment in 0..u64::from(MANY) {
            assert!(!returning.is_so(at(moment)));
            returning.note(at(moment));
        }
        assert!(returning.is_so(at(100)) && returning.is_so(at(9_900)));
        assert!(!returning.is_so(at(10_000)));
        let mut returning = Returning::default();
        for second in 0..600 {
            for _ in 0..9 {
                returning.note(start + Duration::from_secs(second));
            }
            assert!(!returning.is_so(start + Duration::from_secs(second)), "nine a second");
        }
    }
}
