//! What was applied goes to the ledger service, where there is one: which ProviderConfig or ModelRoute, when, by whom, at which
//! revision. No field of an object is in it, and so no key.
//!
//! Two see a change, as in the audit log. The replica that the apiserver asked about it knows who; whether it was stored, the watch
//! says a moment later. The leader sees each generation that is stored, and knows of whoever wrote it the field manager. A change
//! has one id, its object's uid and generation, and the service takes the first that is told: the leader waits a moment, so that
//! who knows more comes first.
//!
//! That a change was let through here does not mean that it was stored: another webhook, a quota or a conflict may have refused it, and
//! somebody else may make the same generation a moment later. So of those that would make one generation, what was stored decides by
//! its revision, and among the same the last that was asked: had an earlier been stored, the same again would make no generation. This
//! file decides; [`ship`] sends.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use bowsprit_core::changes::Change;
use bowsprit_core::config;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::audit::Noted;
use crate::sync::locked;

pub mod ship;

/// Changes that wait to be stored or sent at most; beyond it the oldest go, and are counted.
const MOST: usize = 1_000;
/// Changes of one message.
const TOGETHER: usize = 100;
/// How long it may take until a change that was asked for is seen in the watch. One that is not was refused by somebody else.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the leader waits for who knows more.
const LEADER_WAITS: Duration = Duration::from_secs(5);

/// Whether changes of this kind are in the history. The ledger's tables take ProviderConfigs and ModelRoutes alone; those of
/// UsagePolicies are in the audit log.
pub fn has(kind: &str) -> bool {
    matches!(kind, "ProviderConfig" | "ModelRoute")
}

/// The id of the change that made a generation of an object, or, where there is none, of its end.
pub fn id(uid: &str, generation: Option<i64>) -> String {
    generation.map_or_else(|| format!("{uid}/gone"), |generation| format!("{uid}/{generation}"))
}

/// Whose change it is.
fn uid_of(id: &str) -> &str {
    id.split('/').next().unwrap_or_default()
}

/// A change of `kind` that was found stored.
pub fn of_stored(kind: &str, metadata: &ObjectMeta, noted: &Noted, spec: &impl Serialize) -> Change {
    let what = if noted.generation == 1 { "created" } else { "updated" };
    Change {
        id: id(metadata.uid.as_deref().unwrap_or_default(), Some(noted.generation)),
        at: noted.at.unwrap_or_else(|| Timestamp::now().as_millisecond()),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        kind: kind.to_owned(),
        name: metadata.name.clone().unwrap_or_default(),
        what: what.to_owned(),
        who: format!("({})", noted.manager),
        revision: revision_of(spec),
    }
}

/// A digest of a spec, the same for whoever reads it.
pub fn revision_of(spec: &impl Serialize) -> String {
    config::revision(&serde_json::to_string(spec).unwrap_or_default())
}

/// What a stored object says of itself, where it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// At this generation, with this revision.
    At(i64, String),
    /// It is gone.
    Gone,
}

/// A change that waits.
#[derive(Clone, Debug)]
struct Waiting {
    change: Change,
    /// The generation that must be stored; none: it must be gone.
    generation: Option<i64>,
    /// Since it was noted.
    since: Instant,
    /// Seen stored already, by the leader.
    is_seen: bool,
}

/// What waits. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    due: VecDeque<Change>,
    dropped: u64,
}

impl History {
    /// A change that the apiserver asks about and that was let through. `generation`: the one that it makes; none where the object
    /// goes.
    pub fn asked(&self, change: Change, generation: Option<i64>, now: Instant) {
        let is_same = |it: &Waiting| !it.is_seen && it.change.id == change.id && it.change.revision == change.revision;
        locked(&self.0).waiting.retain(|it| !is_same(it));
        self.wait(Waiting {
            change,
            generation,
            since: now,
            is_seen: false,
        });
    }

    /// A generation that the leader has found stored.
    pub fn seen(&self, change: Change, now: Instant) {
        self.wait(Waiting {
            change,
            generation: None,
            since: now,
            is_seen: true,
        });
    }

    fn wait(&self, waiting: Waiting) {
        let mut state = locked(&self.0);
        if state.waiting.len() >= MOST {
            state.waiting.pop_front();
            state.dropped += 1;
        }
        state.waiting.push_back(waiting);
    }

    /// What is to be sent now, oldest first; it stays until [`History::taken`]. `stored` looks an object up: kind, namespace, name and
    /// uid.
    pub fn due(&self, now: Instant, stored: impl Fn(&Change) -> Stored) -> Vec<Change> {
        let mut state = locked(&self.0);
        let mut stays = VecDeque::new();
        for waiting in std::mem::take(&mut state.waiting) {
            let waited = now.saturating_duration_since(waiting.since);
            let is_due = if waiting.is_seen {
                waited >= LEADER_WAITS
            } else {
                match (stored(&waiting.change), waiting.generation) {
                    // Another made this generation.
                    (Stored::At(at, revision), Some(wanted)) if at == wanted && revision != waiting.change.revision => {
                        continue;
                    }
                    // Of one that is past already, nothing tells any more whose it was.
                    (Stored::At(at, _), Some(wanted)) => at >= wanted,
                    (Stored::Gone, None) => true,
                    _ => false,
                }
            };
            if is_due {
                state.due.push_back(waiting.change);
            } else if waited < PATIENCE {
                stays.push_back(waiting);
            }
        }
        state.waiting = stays;
        while state.due.len() > MOST {
            state.due.pop_front();
            state.dropped += 1;
        }
        state.due.iter().take(TOGETHER).cloned().collect()
    }

    /// The service has these.
    pub fn taken(&self, changes: &[Change]) {
        let mut state = locked(&self.0);
        state.due.retain(|due| !changes.iter().any(|taken| taken.id == due.id));
    }

    /// How many went for want of room, since it was asked last.
    pub fn dropped(&self) -> u64 {
        std::mem::take(&mut locked(&self.0).dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(id: &str) -> Change {
        Change {
            id: id.into(),
            ..Change::default()
        }
    }

    fn stored(generation: i64) -> Stored {
        Stored::At(generation, String::new())
    }

    fn by(id: &str, who: &str, revision: &str) -> Change {
        Change {
            who: who.into(),
            revision: revision.into(),
            ..change(id)
        }
    }

    fn ids(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|change| change.id.as_str()).collect()
    }

    #[test]
    fn what_was_asked_for_is_sent_once_it_is_stored_and_what_was_refused_elsewhere_never() {
        let (changes, start) = (History::default(), Instant::now());
        changes.asked(change("a/2"), Some(2), start);
        changes.asked(change("b/gone"), None, start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(changes.due(at(1), |_| stored(1)).is_empty());
        assert_eq!(ids(&changes.due(at(2), |_| stored(2))), ["a/2"]);
        // Until it is taken it is sent again.
        assert_eq!(ids(&changes.due(at(3), |_| Stored::Gone)), ["a/2", "b/gone"]);
        changes.taken(&[change("a/2"), change("b/gone")]);
        assert!(changes.due(at(4), |_| Stored::Gone).is_empty());
        changes.asked(change("c/1"), Some(1), at(4));
        changes.due(at(65), |_| Stored::Gone);
        assert!(
            changes.due(at(66), |_| stored(1)).is_empty(),
            "nobody stored it in time"
        );
    }

    #[test]
    fn who_was_refused_elsewhere_is_not_named_for_what_another_stored() {
        let who = |changes: &History, generation: i64, revision: &str| {
            let due = changes.due(Instant::now(), |_| Stored::At(generation, revision.into()));
            due.iter().map(|change| change.who.clone()).collect::<Vec<_>>()
        };
        let now = Instant::now();
        // Let through here and refused by another webhook; then somebody applies the same who may.
        let changes = History::default();
        changes.asked(by("a/5", "alice", "x"), Some(5), now);
        assert!(who(&changes, 4, "w").is_empty());
        changes.asked(by("a/5", "bob", "x"), Some(5), now);
        assert_eq!(who(&changes, 5, "x"), ["bob"]);
        // Two at the same moment, of which the first to be asked wins and the other meets a conflict and comes again.
        let changes = History::default();
        changes.asked(by("a/5", "alice", "x"), Some(5), now);
        changes.asked(by("a/5", "bob", "y"), Some(5), now);
        assert_eq!(who(&changes, 5, "x"), ["alice"]);
        assert_eq!(who(&changes, 6, "y"), ["alice"], "the other is out for good");
        changes.taken(&[change("a/5")]);
        changes.asked(by("a/6", "bob", "y"), Some(6), now);
        assert_eq!(who(&changes, 6, "y"), ["bob"]);
        // The same for who takes an object away.
        let changes = History::default();
        changes.asked(by("a/gone", "alice", ""), None, now);
        changes.asked(by("a/gone", "bob", ""), None, now);
        let gone = changes.due(now, |_| Stored::Gone);
        assert_eq!((gone.len(), gone[0].who.as_str()), (1, "bob"));
    }

    #[test]
    fn the_leader_waits_for_who_knows_more() {
        let (changes, start) = (History::default(), Instant::now());
        changes.seen(change("a/1"), start);
        assert!(changes.due(start + LEADER_WAITS / 2, |_| stored(1)).is_empty());
        assert_eq!(ids(&changes.due(start + LEADER_WAITS, |_| stored(1))), ["a/1"]);
    }

    #[test]
    fn a_service_that_is_away_costs_the_oldest_and_they_are_counted() {
        let (changes, start) = (History::default(), Instant::now());
        for round in 0..3 {
            for number in 0..MOST {
                changes.seen(change(&format!("{round}-{number}/1")), start);
            }
            changes.due(start + LEADER_WAITS, |_| Stored::Gone);
        }
        assert_eq!(changes.dropped(), 2 * MOST as u64);
        let due = changes.due(start + LEADER_WAITS, |_| Stored::Gone);
        assert_eq!((due.len(), due[0].id.as_str()), (TOGETHER, "2-0/1"));
    }
}
