//! A guard that is a service: what it is asked, what it may answer, and what follows from it.
//!
//! It is asked with the texts of a request or an answer and nothing else of it, and answers with a decision and, where it masks, with
//! the texts that shall stand in their place, one for each. Everything about it is bounded: the question, the answer, the time. What
//! does not keep to that has not decided, and the guard says what follows then.

use std::fmt;

use bowsprit_crds::guards::Side;
use bytes::Bytes;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

pub use super::service::{UNANSWERED, Webhook};
use super::take::LEAST_SIZE;
pub use super::take::Said;
use super::texts::{put_back, said};
use super::{Decided, Guard};
use crate::breaker::{Trip, Verdict as Learned};

/// The texts of the largest question, bytes.
pub const LARGEST_QUESTION: usize = 1 << 20;
/// The largest answer, bytes: the texts again, each of which may have grown.
pub const LARGEST_ANSWER: usize = 2 << 20;
/// Texts of an answer: more than any question has.
pub const MOST_TEXTS: usize = LARGEST_QUESTION / LEAST_SIZE;
/// The form of the question.
const VERSION: u32 = 1;
/// Characters of its reason that callers are told.
const MOST_TOLD: usize = 200;

/// What a request is about, as the service is told.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The namespace of the pod; empty where there is none.
    pub namespace: &'a str,
    /// The ModelRoute; empty where there is none.
    pub route: &'a str,
    /// The model that is asked for.
    pub model: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    version: u32,
    guard: &'a str,
    of: &'a str,
    side: Side,
    namespace: &'a str,
    route: &'a str,
    model: &'a str,
    /// Which window of a streamed answer it is, from 1 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u64>,
    texts: &'a [&'a Said],
}

/// The question about a body; none: it says nothing, and nobody need be asked.
///
/// # Errors
/// It cannot be asked about.
pub fn question(guard: &Guard, side: Side, body: &[u8], about: About<'_>) -> Result<Option<Bytes>, Why> {
    let texts = said(side, body, LARGEST_QUESTION).map_err(|_| Why::Unread)?;
    let texts = texts.ok_or(Why::TooLarge)?;
    if texts.is_empty() {
        return Ok(None);
    }
    let texts: Vec<&Said> = texts.iter().collect();
    Ok(Some(written(guard, side, about, (&texts, None))))
}

/// The question about these texts. `window`: which of a streamed answer they are.
pub(super) fn written(guard: &Guard, side: Side, about: About<'_>, (texts, window): (&[&Said], Option<u64>)) -> Bytes {
    let About {
        namespace,
        route,
        model,
    } = about;
    let question = Question {
        version: VERSION,
        guard: &guard.name,
        of: &guard.of,
        side,
        namespace,
        route,
        model,
        window,
        texts,
    };
    // Writing to memory does not fail.
    serde_json::to_vec(&question).unwrap_or_default().into()
}

/// What the service decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<T = Bytes> {
    /// It may go on.
    Pass,
    /// It must not; with what the caller is told.
    Refuse(Option<String>),
    /// It goes on as this: a body, or texts, of which one that stays is none.
    Mask(T),
}

#[derive(Deserialize)]
struct Answer {
    decision: String,
    reason: Option<String>,
    texts: Option<Texts>,
}

/// The texts of an answer, no more than any question has: a list of nothing takes five times what it is written with.
struct Texts(Vec<Option<String>>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(TextsVisitor).map(Self)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Vec<Option<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST_TEXTS} texts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = all.next_element()? {
            if texts.len() == MOST_TEXTS {
                return Err(de::Error::invalid_length(MOST_TEXTS + 1, &self));
            }
            texts.push(text);
        }
        Ok(texts)
    }
}

/// What an answer says of this body.
///
/// # Errors
/// It is none; says nothing of what was asked.
pub fn verdict(answer: &[u8], side: Side, body: &[u8]) -> Result<Verdict, Why> {
    Ok(match decision(answer)? {
        Verdict::Pass => Verdict::Pass,
        Verdict::Refuse(reason) => Verdict::Refuse(reason),
        Verdict::Mask(texts) => {
            let masked = put_back(side, body, texts);
            masked.ok_or(Why::Answer)?.map_or(Verdict::Pass, Verdict::Mask)
        }
    })
}

/// What an answer says of the texts that were asked about, which it may have more or less of.
///
/// # Errors
/// It is none.
pub(super) fn decision(answer: &[u8]) -> Result<Verdict<Vec<Option<String>>>, Why> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| Why::Answer)?;
    match answer.decision.as_str() {
        "pass" => Ok(Verdict::Pass),
        "refuse" => Ok(Verdict::Refuse(answer.reason.as_deref().and_then(told))),
        "mask" => Ok(Verdict::Mask(answer.texts.ok_or(Why::Answer)?.0)),
        _ => Err(Why::Answer),
    }
}

/// A reason as a caller is told it: one short line.
fn told(reason: &str) -> Option<String> {
    let clean: String = reason
        .chars()
        .filter(|char| !char.is_control())
        .take(MOST_TOLD)
        .collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// What is done about a body, and how it is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follows<T = Bytes> {
    /// Nothing, and nothing was found.
    Nothing,
    /// It goes on as it is, and this is counted.
    Counted(&'static str),
    /// The same, and the guard would have refused it, were it not in shadow.
    Spared(&'static str),
    /// It goes on as this: a body, or texts.
    Masked(T, &'static str),
    /// It goes no further, and this is what its caller is told.
    Refused(String, &'static str),
}

impl Guard {
    /// What follows from what its service has decided, or not. One whose action is `Refuse` lets no text be changed: what would be
    /// masked is refused.
    pub fn follows<T>(&self, decided: Result<Verdict<T>, Why>) -> Follows<T> {
        let count = |decided: Decided| Follows::Counted(decided.as_str());
        match (decided, self.decided) {
            (Ok(Verdict::Pass), _) => Follows::Nothing,
            (Ok(_), Decided::Observed) => count(Decided::Observed),
            (Ok(Verdict::Mask(masked)), Decided::Masked) => Follows::Masked(masked, Decided::Masked.as_str()),
            (Ok(Verdict::Mask(_)), Decided::WouldMask) => count(Decided::WouldMask),
            (Ok(Verdict::Mask(_)), Decided::Refused) => Follows::Refused(self.told(), Decided::Refused.as_str()),
            (Ok(Verdict::Refuse(reason)), Decided::Masked | Decided::Refused) => {
                let told = match reason {
                    Some(reason) => format!("{}: {reason}", self.told()),
                    None => self.told(),
                };
                Follows::Refused(told, Decided::Refused.as_str())
            }
            (Ok(_), Decided::WouldMask | Decided::WouldRefuse) => Follows::Spared(Decided::WouldRefuse.as_str()),
            (Err(why), _) => self.undecided(why),
        }
    }

    fn undecided<T>(&self, why: Why) -> Follows<T> {
        let is_open = self.webhook.as_ref().is_some_and(|hook| hook.is_open);
        if is_open || self.decided == Decided::Observed {
            return Follows::Counted(why.passed());
        }
        if !self.decided.acts() {
            return Follows::Spared(why.would_refuse());
        }
        self.lets_nothing_pass(why)
    }

    /// What follows where nothing may pass that is not decided about.
    pub(super) fn lets_nothing_pass<T>(&self, why: Why) -> Follows<T> {
        let Self { name, of, .. } = self;
        let told = format!(
            "the guard {name} of {of} has not decided ({}), and so does not let this pass",
            why.told()
        );
        Follows::Refused(told, why.refused())
    }
}

/// What a service's breaker learns of how it was asked.
pub fn learned<T>(decided: &Result<T, Why>) -> Learned {
    decided.as_ref().map_or_else(|why| why.learned(), |_| Learned::Success)
}

/// Why a service has not decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has not answered within its deadline.
    Timeout,
    /// It cannot be reached, or its answer broke off.
    Unreachable,
    /// It has answered with this status, which is none of 2xx.
    Status(u16),
    /// Its answer has another form than is asked for.
    Answer,
    /// There is more text than it is asked about, or its answer is too large, or there is no memory for them.
    TooLarge,
    /// The key that it is to be asked with is not there.
    Key,
    /// What it was to look into is no JSON.
    Unread,
    /// It was not asked: it has not answered others, and its [breaker](super::service::Webhook::breaker) is open.
    NotAsked,
}

impl Why {
    /// All eight, with one status of many.
    pub const ALL: [Self; 8] = [
        Self::Timeout,
        Self::Unreachable,
        Self::Status(500),
        Self::Answer,
        Self::TooLarge,
        Self::Key,
        Self::Unread,
        Self::NotAsked,
    ];

    /// What the service's breaker learns of this end. Only what says that nobody is there, or nobody who can answer in time, counts: a wrong
    /// answer is about what was asked, comes at once, and must not take the guard from what others ask.
    fn learned(self) -> Learned {
        match self {
            Self::Timeout => Learned::Failure(Trip::Timeout),
            Self::Unreachable => Learned::Failure(Trip::Connect),
            // A gateway in front of nobody says these, or the service itself that it can do no more.
            Self::Status(502..=504 | 529) => Learned::Failure(Trip::Overloaded),
            Self::Status(429) => Learned::Throttled,
            Self::Status(_) | Self::Answer => Learned::Success,
            // As for our own memory, nothing was asked.
            Self::TooLarge | Self::Key | Self::Unread | Self::NotAsked => Learned::Ignored,
        }
    }

    /// For people.
    pub fn told(self) -> &'static str {
        match self {
            Self::Timeout => "its service has not answered in time",
            Self::Unreachable => "its service cannot be reached",
            Self::Status(_) => "its service has answered with an error",
            Self::Answer => "its service has answered in a form that it was not asked for",
            Self::TooLarge => "this is more than its service is asked about",
            Self::Key => "the key of its service is not there",
            Self::Unread => "this is no JSON",
            Self::NotAsked => "its service has not answered others, and is not asked for a while",
        }
    }

    /// The decision's metric label where what was asked about passes.
    pub fn passed(self) -> &'static str {
        match self {
            Self::Timeout => "passed_timeout",
            Self::Unreachable => "passed_unreachable",
            Self::Status(_) => "passed_status",
            Self::Answer => "passed_answer",
            Self::TooLarge => "passed_too_large",
            Self::Key => "passed_key",
            Self::Unread => "passed_unread",
            Self::NotAsked => "passed_not_asked",
        }
    }

    /// The same where it is refused.
    pub fn refused(self) -> &'static str {
        match self {
            Self::Timeout => "refused_timeout",
            Self::Unreachable => "refused_unreachable",
            Self::Status(_) => "refused_status",
            Self::Answer => "refused_answer",
            Self::TooLarge => "refused_too_large",
            Self::Key => "refused_key",
            Self::Unread => "refused_unread",
            Self::NotAsked => "refused_not_asked",
        }
    }

    /// The same where it would be, but the guard is in shadow.
    pub fn would_refuse(self) -> &'static str {
        match self {
            Self::Timeout => "would_refuse_timeout",
            Self::Unreachable => "would_refuse_unreachable",
            Self::Status(_) => "would_refuse_status",
            Self::Answer => "would_refuse_answer",
            Self::TooLarge => "would_refuse_too_large",
            Self::Key => "would_refuse_key",
            Self::Unread => "would_refuse_unread",
            Self::NotAsked => "would_refuse_not_asked",
        }
    }
}

#[cfg(test)]
mod tests;
