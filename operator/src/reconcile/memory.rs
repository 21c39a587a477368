//! What a leader remembers of a namespace from look to look. A new one begins with nothing, and needs nothing.

use std::time::Duration;

use bowsprit_crds::names;
use tokio::time::Instant;

use super::ahead::Ahead;
use super::alone::Alone;
use crate::desired::{Current, Desired};
use crate::status::rollout::Rollout;

/// How long the watch may take to bring what was just written. Meanwhile the store's older ConfigMap is not taken for a change.
const LAG: Duration = Duration::from_secs(2);

/// The memory of one namespace.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) rollout: Rollout,
    pub(super) alone: Alone,
    pub(super) ahead: Ahead,
    written: Option<(Current, Instant)>,
}

impl Memory {
    /// The ConfigMap as it is: as the store has it, unless that is behind what was just written here.
    pub(super) fn current(&mut self, stored: Option<Current>, now: Instant) -> Option<Current> {
        if let Some((written, at)) = &self.written
            && now < *at + LAG
            && stored.as_ref().is_none_or(|stored| stored.sequence < written.sequence)
        {
            return Some(written.clone());
        }
        self.written = None;
        stored
    }

    /// This was written.
    pub(super) fn wrote(&mut self, wanted: &Desired, sequence: u64, now: Instant) {
        let current = Current {
            text: wanted.rendered.text.clone(),
            revision: wanted.rendered.revision.clone(),
            sequence,
            format: names::FORMAT_VERSION,
        };
        self.written = Some((current, now));
    }

    /// When what the store has is believed again.
    pub(super) fn believes(&self) -> Option<Instant> {
        self.written.as_ref().map(|(_, at)| *at + LAG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Clocks;
    use crate::validate::hosts::AllowedHosts;

    #[test]
    fn what_was_just_written_counts_until_the_watch_brings_it_and_not_for_ever() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let stored = |sequence| {
            Some(Current {
                sequence,
                ..Current::default()
            })
        };
        let wanted = crate::desired::desired(
            &AllowedHosts::default(),
            crate::desired::Objects::default(),
            stored(3).as_ref(),
            Clocks::both(1),
        )
        .unwrap();
        memory.wrote(&wanted, 4, now);
        assert_eq!(memory.current(stored(3), now).unwrap().sequence, 4);
        assert_eq!(memory.current(None, now).unwrap().sequence, 4);
        assert_eq!(memory.believes(), Some(now + LAG));
        assert_eq!(memory.current(None, now + LAG), None, "it was deleted");
        memory.wrote(&wanted, 5, now);
        assert_eq!(memory.current(stored(5), now), stored(5));
        assert_eq!(memory.believes(), None);
    }
}
