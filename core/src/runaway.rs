//! The same request again and again: what an agent does that goes round in a loop, which costs in a night what its team spends in a month.
//!
//! Two things are told apart by digests. The *request*: its model and its body, byte for byte. The *step*: where the last message is what a
//! tool gave, that call and what came of it, however much the conversation before it has grown; ids, which are new each time, are left
//! out. An app that asks one question about many documents repeats neither.
//!
//! Memory is bounded: of a full book one goes whose time has passed, or else the one that was not seen for longest. What came too often
//! stays before the others, up to half of the book, so that what is stopped stays stopped. A loop among many other requests is noticed as
//! long as fewer than half of [`SLOTS`] other digests come between two of its turns. What is forgotten is counted anew, so nobody is stopped
//! for what another did.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::clock::Moment;

pub mod going;

/// Digests that are remembered. One of a loop comes back within its window, while others pass by.
pub const SLOTS: usize = 64;
/// Bytes of a body up to which its last step is looked for: it is read whole for that. Of a larger one the request alone counts.
const MOST_READ: usize = 4 << 20;
/// Members that are new each time, or say nothing of what is asked.
const NEW_EACH_TIME: [&str; 8] = [
    "id",
    "call_id",
    "tool_call_id",
    "tool_use_id",
    "cache_control",
    "thoughtSignature",
    "thought_signature",
    "status",
];

/// When it is too often, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The UsagePolicy that says so.
    pub policy: Arc<str>,
    /// How it is counted: `policy/NAME/runaway`.
    pub full_name: Arc<str>,
    /// So often is still well.
    pub times: u32,
    /// Within so long of the first.
    pub within: Duration,
    /// Whether it is refused from then on, until that time has passed; else it is told.
    pub stops: bool,
}

/// What came again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The whole request.
    Request,
    /// A tool's call with what came of it.
    Step,
}

impl What {
    /// For people.
    pub fn told(self) -> &'static str {
        match self {
            Self::Request => "this very request",
            Self::Step => "this step (a tool's call and its result)",
        }
    }
}

/// Something that came more often than the terms allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// What it was.
    pub what: What,
    /// How often it was let through, this time included where it is.
    pub times: u32,
    /// Whether it is the first beyond the terms: told once.
    pub is_first: bool,
    /// Until it is counted anew.
    pub left: Duration,
}

/// What is remembered of one digest under one policy's terms.
#[derive(Clone, Copy, Debug)]
struct Slot {
    digest: u64,
    began: Moment,
    /// By the terms that it was seen under last; each policy has its own.
    ends: Moment,
    /// The turn of the book in which it came last.
    seen: u64,
    times: u32,
    /// It came more often than these allow.
    is_over: bool,
}

/// What a pod has asked lately.
#[derive(Clone, Debug, Default)]
pub struct Runaways {
    slots: Vec<Slot>,
    /// Counts what came.
    turn: u64,
}

/// What a request is compared by: its own digest, and that of its last step where it has one.
pub fn digests(model: &str, body: &[u8], hasher: &impl BuildHasher) -> [Option<(What, u64)>; 2] {
    let whole = hasher.hash_one((model, body));
    let step = step(model, body, hasher);
    [Some((What::Request, whole)), step.map(|digest| (What::Step, digest))]
}

impl Runaways {
    /// Counts a request under these terms; the worst of what came too often.
    pub fn seen(
        &mut self,
        digests: &[Option<(What, u64)>; 2],
        terms: &Terms,
        hasher: &impl BuildHasher,
        now: Moment,
    ) -> Option<Again> {
        let mut worst: Option<Again> = None;
        for (what, digest) in digests.iter().flatten() {
            // Each policy counts for itself, by its own window.
            let digest = hasher.hash_one((&*terms.policy, digest));
            let Some(again) = self.count(*what, digest, terms, now) else {
                continue;
            };
            if worst.is_none_or(|worst| again.times > worst.times) {
                worst = Some(again);
            }
        }
        worst
    }

    fn count(&mut self, what: What, digest: u64, terms: &Terms, now: Moment) -> Option<Again> {
        self.turn += 1;
        let known = self.slots.iter_mut().find(|slot| slot.digest == digest);
        let Some(slot) = known.filter(|slot| now - slot.began < terms.within) else {
            self.begin(digest, terms, now);
            return None;
        };
        let is_over = slot.times >= terms.times;
        (slot.seen, slot.ends, slot.is_over) = (self.turn, slot.began + terms.within, is_over);
        let is_first = slot.times == terms.times;
        // What is refused is not counted further; that it was told is.
        if !is_over || is_first || !terms.stops {
            slot.times = slot.times.saturating_add(1);
        }
        is_over.then(|| Again {
            what,
            times: if terms.stops { terms.times } else { slot.times },
            is_first,
            left: terms.within.saturating_sub(now - slot.began),
        })
    }

    /// Counts this digest from now on, in place of itself or of one whose time has passed; else of the one that was not seen for longest.
    fn begin(&mut self, digest: u64, terms: &Terms, now: Moment) {
        let slot = Slot {
            digest,
            began: now,
            ends: now + terms.within,
            seen: self.turn,
            times: 1,
            is_over: false,
        };
        if let Some(known) = self.slots.iter_mut().find(|known| known.digest == digest) {
            *known = slot;
            return;
        }
        if self.slots.len() < SLOTS {
            self.slots.push(slot);
            return;
        }
        let over = self.slots.iter().filter(|slot| slot.is_over && now < slot.ends).count();
        // What came too often stays, but leaves the others room to be found in.
        let stays = |slot: &Slot| slot.is_over && over <= SLOTS / 2;
        if let Some(goes) = self
            .slots
            .iter_mut()
            .min_by_key(|slot| (now < slot.ends, stays(slot), slot.seen))
        {
            *goes = slot;
        }
    }
}

/// The digest of the last call of a tool and what came of it; `None`: the last message is something else, or cannot be read.
fn step(model: &str, body: &[u8], hasher: &impl BuildHasher) -> Option<u64> {
    if body.len() > MOST_READ {
        return None;
    }
    let body: Value = serde_json::from_slice(body).ok()?;
    let messages = ["messages", "contents", "input"]
        .into_iter()
        .find_map(|name| body.get(name)?.as_array())?;
    let results = messages.iter().rev().take_while(|message| is_result(message)).count();
    let (before, results) = messages.split_at(messages.len().checked_sub(results)?);
    if results.is_empty() {
        return None;
    }
    let mut state = hasher.build_hasher();
    model.hash(&mut state);
    for result in results {
        digest(result, &mut state);
    }
    // Responses have each call for itself, the others all of a turn in one message.
    let calls = before.iter().rev().take_while(|item| is_call(item)).count();
    let (_, calls) = before.split_at(before.len() - calls);
    for call in calls {
        digest(call, &mut state);
    }
    if calls.is_empty()
        && let Some(message) = before.last()
    {
        let parts = ["tool_calls", "content", "parts"]
            .into_iter()
            .filter_map(|name| message.get(name)?.as_array());
        for part in parts.flatten().filter(|part| is_call_within(part)) {
            digest(part, &mut state);
        }
    }
    Some(state.finish())
}

fn is_of(value: &Value, types: &[&str]) -> bool {
    value
        .get("type")
        .and_then(Value::as_str)
        .is_some_and(|of| types.contains(&of))
}

fn is_call(item: &Value) -> bool {
    is_of(item, &["function_call", "custom_tool_call"])
}

fn is_call_within(part: &Value) -> bool {
    is_of(part, &["function", "custom", "tool_use"]) || part.get("functionCall").is_some()
}

/// Whether a message is what a tool gave and nothing else.
fn is_result(message: &Value) -> bool {
    let role = message.get("role").and_then(Value::as_str);
    if matches!(role, Some("tool" | "function")) || is_of(message, &["function_call_output", "custom_tool_call_output"])
    {
        return true;
    }
    let parts = message
        .get("content")
        .or_else(|| message.get("parts"))
        .and_then(Value::as_array);
    parts.is_some_and(|parts| {
        let given = |part: &Value| is_of(part, &["tool_result"]) || part.get("functionResponse").is_some();
        !parts.is_empty() && parts.iter().all(given)
    })
}

/// What a value says, but for what is new each time. The reader bounds how deep it is.
fn digest(value: &Value, state: &mut impl Hasher) {
    match value {
        Value::Object(members) => {
            state.write_u8(1);
            for (name, value) in members {
                if !NEW_EACH_TIME.contains(&name.as_str()) {
                    name.hash(state);
                    digest(value, state);
                }
            }
        }
        Value::Array(items) => {
            state.write_u8(2);
            items.len().hash(state);
            for item in items {
                digest(item, state);
            }
        }
        other => {
            state.write_u8(3);
            other.to_string().hash(state);
        }
    }
}

#[cfg(test)]
mod tests;
