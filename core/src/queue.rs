//! Who waits for room, in the order in which they came.
//!
//! Only the first in the queue is ever called; it calls the next when it leaves, admitted or not. So one call per place that
//! is given back is enough however many wait, none is lost on somebody who cannot use it, and nobody is overtaken.

use std::collections::VecDeque;

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl Ticket {
    /// The ticket of this number: each queue gives out its own.
    pub(crate) fn new(number: u64) -> Self {
        Self(number)
    }
}

/// The queue. `T` is how somebody is called.
#[derive(Clone, Debug)]
pub struct WaitQueue<T> {
    waiting: VecDeque<(Ticket, T)>,
    given_out: u64,
}

impl<T> Default for WaitQueue<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            given_out: 0,
        }
    }
}

impl<T> WaitQueue<T> {
    /// Joins it at its end.
    pub fn join(&mut self, caller: T) -> Ticket {
        self.given_out += 1;
        let ticket = Ticket(self.given_out);
        self.waiting.push_back((ticket, caller));
        ticket
    }

    /// How many are before this ticket; all of them for one that is not in the queue.
    pub fn ahead(&self, ticket: Ticket) -> usize {
        let at = self.waiting.iter().position(|(other, _)| *other == ticket);
        at.unwrap_or(self.waiting.len())
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Who is to be called when there may be room.
    pub fn first(&self) -> Option<&T> {
        self.waiting.front().map(|(_, caller)| caller)
    }

    /// Leaves it. Returns who is first now, if that is somebody else than before: they are to be called.
    pub fn leave(&mut self, ticket: Ticket) -> Option<&T> {
        let at = self.ahead(ticket);
        self.waiting.remove(at)?;
        if at == 0 { self.first() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_came_first_is_called_first_and_calls_the_next() {
        let mut line = WaitQueue::default();
        let [a, b, c] = ["a", "b", "c"].map(|name| line.join(name));
        assert_eq!((line.ahead(a), line.ahead(b), line.ahead(c)), (0, 1, 2));
        assert_eq!(line.leave(b), None, "the first is still the same");
        assert_eq!(line.leave(a), Some(&"c"));
        assert_eq!(line.leave(a), None, "once");
        assert_eq!(line.first(), Some(&"c"));
        assert_eq!(line.leave(c), None);
        assert!(line.is_empty());
    }

    proptest! {
        #[test]
        fn nobody_is_overtaken_and_nobody_forgotten(steps in prop::collection::vec(0_usize..4, 1..200)) {
            let mut line = WaitQueue::default();
            let (mut inside, mut next) = (Vec::new(), 0);
            for step in steps {
                if step < 2 || inside.is_empty() {
                    inside.push((line.join(next), next));
                    next += 1;
                } else {
                    let (ticket, _) = inside.remove(step % inside.len());
                    let before = line.first().copied();
                    let called = line.leave(ticket).copied();
                    prop_assert_eq!(called, line.first().copied().filter(|first| Some(*first) != before));
                }
                prop_assert_eq!(line.len(), inside.len());
                prop_assert_eq!(line.first().copied(), inside.iter().map(|(_, name)| *name).min());
                for (place, (ticket, _)) in inside.iter().enumerate() {
                    prop_assert_eq!(line.ahead(*ticket), place);
                }
            }
        }
    }
}
