//! Whether a watch works, as far as anybody can tell from what it says. Pure: time is passed in.

use std::time::{Duration, Instant};

use kube::runtime::watcher::{self, Event};

use super::fresh::begins_with_a_list;

/// A watch that failed and has said nothing for so long since goes on again: the next try, which would have failed too, is a minute
/// after the last at the latest (kube's backoff of 30 s, and up to as much again by chance).
const QUIET: Duration = Duration::from_secs(90);

/// What a watch has said of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Doubt {
    /// It works.
    None,
    /// It has to list, and has not yet.
    Unlisted {
        /// When it began to.
        since: Instant,
    },
    /// It was interrupted, and goes on from where it was.
    Interrupted {
        /// The first failure in a row.
        first: Instant,
        /// The last one.
        last: Instant,
    },
}

impl Doubt {
    /// A watch that begins.
    pub(crate) fn new(now: Instant) -> Self {
        Self::Unlisted { since: now }
    }

    /// What the watch tells.
    pub(crate) fn note<K>(&mut self, told: &watcher::Result<Event<K>>, now: Instant) {
        *self = match (told, *self) {
            (Ok(Event::InitDone), _) | (Ok(Event::Apply(_) | Event::Delete(_)), Self::Interrupted { .. }) => Self::None,
            (Err(error), Self::None) if begins_with_a_list(error) => Self::Unlisted { since: now },
            (Err(error), Self::Interrupted { first, .. }) if begins_with_a_list(error) => {
                Self::Unlisted { since: first }
            }
            (Err(_), Self::Interrupted { first, last }) if now < last + QUIET => Self::Interrupted { first, last: now },
            (Err(_), Self::None | Self::Interrupted { .. }) => Self::Interrupted { first: now, last: now },
            // A part of a list is no list, and nobody has one who fails again.
            (_, before) => before,
        };
    }

    /// Since when it fails; none: it does not, or it is too early to say. One failure alone is a connection that broke.
    pub(crate) fn since(&self, now: Instant) -> Option<Instant> {
        match *self {
            Self::Unlisted { since } => Some(since),
            Self::Interrupted { first, last } => (last > first && now < last + QUIET).then_some(first),
            Self::None => None,
        }
    }

    /// Whether it works.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        match *self {
            Self::None => true,
            Self::Interrupted { last, .. } => now >= last + QUIET,
            Self::Unlisted { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use kube::runtime::watcher::Error;

    use super::*;

    /// What a watch may tell: `s`tarts to list, has listed a `p`art, or all (`l`); an object `c`ame or `g`oes; it must list again (`m`), is
    /// gone (`e`, 410), is refused (`r`), cut (`x`), or nobody answers (`a`).
    fn told(what: char) -> watcher::Result<Event<()>> {
        let status = |code| {
            let status = Status {
                code,
                ..Status::default()
            };
            Box::new(status)
        };
        let refused = |code| Err(Error::WatchStartFailed(kube::Error::Api(status(code))));
        match what {
            's' => Ok(Event::Init),
            'p' => Ok(Event::InitApply(())),
            'l' => Ok(Event::InitDone),
            'c' => Ok(Event::Apply(())),
            'g' => Ok(Event::Delete(())),
            'm' => Err(Error::InitialListFailed(kube::Error::Api(status(500)))),
            'e' => Err(Error::WatchError(status(410))),
            'x' => Err(Error::WatchError(status(500))),
            'r' => refused(403),
            'a' => refused(503),
            _ => panic!("{what}"),
        }
    }

    #[test]
    fn a_watch_is_in_doubt_while_it_owes_a_list_or_fails_again_and_again_and_one_failure_is_nothing() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        // What it tells in each tenth second, then at which second somebody looks: in doubt since when, and whether it works.
        for (says, look, since, works) in [
            ("", 100, Some(0), false),
            ("mmsp", 100, Some(0), false),
            ("mspl", 100, None, true),
            ("lcg", 100, None, true),
            // The list after them is what counts, whatever was told of it.
            ("lasp", 100, Some(10), false),
            ("laaaaa", 3_000, Some(10), false),
            ("lxa", 100, Some(10), false),
            ("lesp", 100, Some(10), false),
            ("laspl", 100, None, true),
            ("lx", 11, None, false),
            ("lx", 99, None, false),
            ("lx", 100, None, true),
            ("lxr", 100, Some(10), false),
            ("lxrr", 119, Some(10), false),
            ("lxrr", 120, None, true),
            ("lxrrc", 50, None, true),
            ("lxrrg", 50, None, true),
            // A failure long after the one before is the first.
            ("lx..........r", 130, None, false),
            ("lx..........rr", 140, Some(120), false),
        ] {
            let mut doubt = Doubt::new(start);
            for (tenth, what) in says.chars().enumerate().filter(|(_, what)| *what != '.') {
                doubt.note(&told(what), at(10 * u64::try_from(tenth).unwrap()));
            }
            let found = (doubt.since(at(look)), doubt.is_over(at(look)));
            assert_eq!(found, (since.map(at), works), "{says} at {look}");
        }
    }
}
