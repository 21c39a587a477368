//! Who waits for room, in the order in which they came, those whose callers wait before those in no hurry.
//!
//! Only the first in the queue is ever called; it calls the next when it leaves, admitted or not. So one call per place that
//! is given back is enough however many wait, and none is lost on somebody who cannot use it.
//!
//! Within a class nobody is overtaken. An interactive request goes before background ones, but past none more often than
//! [`MOST_PASSED`] times: who has been passed so often keeps its place, and whoever comes later stands behind it, whatever its class.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;

/// A background request is passed by so many interactive ones at most, those that were let in without waiting included.
pub const MOST_PASSED: u32 = 32;

/// How urgent a request is to whoever sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Class {
    /// Somebody waits for its answer.
    #[default]
    Interactive,
    /// Nobody does.
    Background,
}

impl Class {
    /// The word in headers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Background => "background",
        }
    }

    /// The less urgent of both.
    #[must_use]
    pub fn at_most(self, other: Self) -> Self {
        if other == Self::Background { other } else { self }
    }

    /// What OpenAI's `service_tier` in a request says of its class: `flex` costs half and may take minutes.
    pub fn of_tier(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Said<'a> {
            #[serde(borrow)]
            service_tier: Option<Cow<'a, str>>,
        }
        // Most requests say nothing of it, and a look is less than a parse.
        memchr::memmem::find(body, b"\"service_tier\"")?;
        let said = serde_json::from_slice::<Said<'_>>(body).ok()?.service_tier?;
        (said == "flex").then_some(Self::Background)
    }

    /// The class of this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Interactive, Self::Background]
            .into_iter()
            .find(|class| word.eq_ignore_ascii_case(class.as_str()))
    }
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl Ticket {
    /// The ticket of this number: each queue gives out its own.
    pub(crate) fn new(number: u64) -> Self {
        Self(number)
    }
}

/// How somebody who waits may be passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    class: Class,
    passed: u32,
}

impl Standing {
    /// Nobody has passed it yet.
    pub(crate) fn new(class: Class) -> Self {
        Self { class, passed: 0 }
    }

    /// Somebody goes before it who came after it.
    pub(crate) fn pass(&mut self) {
        self.passed = self.passed.saturating_add(1);
    }

    fn gives_way(self) -> bool {
        self.class == Class::Background && self.passed < MOST_PASSED
    }
}

/// Behind how many of a queue somebody of this class stands who comes now.
pub(crate) fn place_of(class: Class, queue: impl DoubleEndedIterator<Item = Standing> + ExactSizeIterator) -> usize {
    let waiting = queue.len();
    match class {
        Class::Background => waiting,
        Class::Interactive => waiting - queue.rev().take_while(|standing| standing.gives_way()).count(),
    }
}

#[derive(Clone, Debug)]
struct Waiting<T> {
    ticket: Ticket,
    standing: Standing,
    caller: T,
}

/// The queue. `T` is how somebody is called.
#[derive(Clone, Debug)]
pub struct WaitQueue<T> {
    waiting: VecDeque<Waiting<T>>,
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
    /// Joins it behind those of its class.
    pub fn join(&mut self, class: Class, caller: T) -> Ticket {
        self.given_out += 1;
        let ticket = Ticket(self.given_out);
        let at = self.pass(class);
        let standing = Standing::new(class);
        self.waiting.insert(
            at,
            Waiting {
                ticket,
                standing,
                caller,
            },
        );
        ticket
    }

    /// How many are before this ticket; all of them for one that is not in the queue.
    pub fn ahead(&self, ticket: Ticket) -> usize {
        let at = self.waiting.iter().position(|other| other.ticket == ticket);
        at.unwrap_or(self.waiting.len())
    }

    /// Behind how many somebody of this class stands who comes now: where it is 0, it may be let in.
    pub fn ahead_of(&self, class: Class) -> usize {
        place_of(class, self.waiting.iter().map(|other| other.standing))
    }

    /// Somebody of this class who has just come goes before those that give way to it. Returns how many do not.
    pub fn pass(&mut self, class: Class) -> usize {
        let at = self.ahead_of(class);
        for passed in self.waiting.iter_mut().skip(at) {
            passed.standing.pass();
        }
        at
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
        self.waiting.front().map(|first| &first.caller)
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
        let [a, b, c] = ["a", "b", "c"].map(|name| line.join(Class::Interactive, name));
        assert_eq!((line.ahead(a), line.ahead(b), line.ahead(c)), (0, 1, 2));
        assert_eq!(line.leave(b), None, "the first is still the same");
        assert_eq!(line.leave(a), Some(&"c"));
        assert_eq!(line.leave(a), None, "once");
        assert_eq!(line.first(), Some(&"c"));
        assert_eq!(line.leave(c), None);
        assert!(line.is_empty());
    }

    #[test]
    fn a_flex_request_is_in_no_hurry_and_what_only_speaks_of_it_says_nothing() {
        let of = |body: &str| Class::of_tier(body.as_bytes());
        assert_eq!(of(r#"{"model":"m","service_tier":"flex"}"#), Some(Class::Background));
        assert_eq!(of(r#"{"service_tier" : "fl\u0065x"}"#), Some(Class::Background));
        for other in [
            r#"{"service_tier":"auto"}"#,
            r#"{"service_tier":null}"#,
            r#"{"service_tier":1}"#,
            r#"{"messages":[{"content":"\"service_tier\":\"flex\""}]}"#,
            r#"{"metadata":{"service_tier":"flex"}}"#,
            "{\"service_tier\":\"flex\"",
            "",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        let [urgent, patient] = [Class::Interactive, Class::Background];
        assert_eq!((urgent.at_most(patient), patient.at_most(urgent)), (patient, patient));
        assert_eq!(urgent.at_most(urgent), urgent);
    }

    #[test]
    fn somebody_who_waits_goes_before_who_is_in_no_hurry_but_not_for_ever() {
        let mut line = WaitQueue::default();
        let patient = line.join(Class::Background, 0);
        for round in 1..=MOST_PASSED {
            assert_eq!(line.ahead_of(Class::Interactive), 0);
            let ticket = line.join(Class::Interactive, round);
            assert_eq!((line.first(), line.ahead(patient)), (Some(&round), 1));
            line.leave(ticket);
        }
        assert_eq!(
            (line.ahead_of(Class::Interactive), line.ahead_of(Class::Background)),
            (1, 1)
        );
        line.join(Class::Interactive, 99);
        assert_eq!(line.first(), Some(&0), "it was passed often enough");
    }

    #[test]
    fn a_class_is_told_by_its_word() {
        assert_eq!(Class::parse("Background"), Some(Class::Background));
        assert_eq!(Class::parse("interactive"), Some(Class::Interactive));
        assert_eq!(Class::parse("urgent"), None);
    }

    proptest! {
        #[test]
        fn within_a_class_nobody_is_overtaken_and_nobody_is_passed_more_often_than_is_stated(
            steps in prop::collection::vec((0_u8..8, 0_usize..64), 1..200)
        ) {
            let mut line = WaitQueue::default();
            // Everybody inside: ticket, name by arrival, class, and how many that came later were let in before it.
            let mut inside: Vec<(Ticket, u32, Class, u32)> = Vec::new();
            let mut next = 0;
            for (step, pick) in steps {
                let class = if step % 3 == 0 { Class::Background } else { Class::Interactive };
                match step {
                    0..=4 => {
                        inside.push((line.join(class, next), next, class, 0));
                        next += 1;
                    }
                    // Comes and is let in at once, past those that give way.
                    5 if line.ahead_of(class) == 0 => {
                        line.pass(class);
                        for other in &mut inside {
                            other.3 += 1;
                        }
                        next += 1;
                    }
                    // The first is let in.
                    6 if !inside.is_empty() => {
                        let first = *line.first().unwrap();
                        let at = inside.iter().position(|(_, name, ..)| *name == first).unwrap();
                        let (ticket, name, class, _) = inside.remove(at);
                        for other in &mut inside {
                            if other.1 < name {
                                prop_assert!(other.2 == Class::Background && class == Class::Interactive);
                                other.3 += 1;
                            }
                        }
                        let called = line.leave(ticket).copied();
                        prop_assert_eq!(called, line.first().copied(), "the next is called");
                    }
                    // Somebody loses patience.
                    7 if !inside.is_empty() => {
                        let (ticket, ..) = inside.remove(pick % inside.len());
                        let before = line.first().copied();
                        let called = line.leave(ticket).copied();
                        prop_assert_eq!(called, line.first().copied().filter(|first| Some(*first) != before));
                    }
                    _ => {}
                }
                prop_assert_eq!(line.len(), inside.len());
                // In the order of arrival: within a class, places only grow.
                let mut last = [None, None];
                for (ticket, _, class, passed) in &inside {
                    let is_background = *class == Class::Background;
                    prop_assert!(*passed <= if is_background { MOST_PASSED } else { 0 }, "passed {} times", passed);
                    let place = Some(line.ahead(*ticket));
                    prop_assert!(place > last[usize::from(is_background)]);
                    last[usize::from(is_background)] = place;
                }
            }
        }
    }
}
