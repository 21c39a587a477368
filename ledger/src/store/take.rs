//! What is new in a batch, and what is to be written for a group of them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{Rows, Sender, digest_of};
use super::{Answer, Arrival, Identity};
use crate::entry::{BATCH, Entry, Numbered};
use crate::wire::{Batch, MAX_ENTRIES, Refused, RefusedBecause, Taken, VERSION};

/// Longest id of an outbox, bytes.
const MAX_OUTBOX: usize = 64;
/// How far ahead of ours a node's clock may be; what ended later than that has ended now.
const AHEAD: i64 = 10 * 60 * 1000;
/// How far back an entry may lie: what ended earlier is kept as of then. A pod does not keep what it could not send for longer.
pub(super) const BACK: i64 = 29 * 24 * 3600 * 1000;

/// Which outbox a batch is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The outbox, by its own word.
    pub outbox: String,
}

impl Key {
    /// Of a batch.
    pub fn of(arrival: &Arrival) -> Self {
        Self {
            namespace: arrival.identity.namespace.clone(),
            pod: arrival.identity.pod.clone(),
            outbox: arrival.batch.outbox.clone(),
        }
    }
}

/// Where an outbox stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number in this store.
    pub id: i64,
    /// How far it was taken.
    pub through: u64,
}

/// What counts once in a namespace, whichever pods tell of it: what a model used in a batch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Once {
    /// The namespace of those who tell of it.
    pub namespace: String,
    /// A digest of provider, batch and model, which are too long to be a key.
    pub digest: String,
}

impl Once {
    fn of(namespace: &str, entry: &Entry) -> Option<Self> {
        let Entry::Attempt(attempt) = entry else { return None };
        (attempt.operation == BATCH).then(|| Self {
            namespace: namespace.to_owned(),
            digest: digest_of([&attempt.provider, &attempt.request_id, &attempt.model]),
        })
    }
}

/// What is to be written, and what to answer once it is.
#[derive(Debug, Default)]
pub struct Plan {
    /// One for each batch.
    pub answers: Vec<Answer>,
    /// The rows and sums.
    pub rows: Rows,
    /// How far each outbox is taken now, of those that have moved.
    pub through: Vec<Place>,
}

/// Whether a batch is one at all, before any store is asked.
pub fn check(identity: &Identity, batch: &Batch) -> Result<(), Refused> {
    let refuse = |reason, message: String| {
        Err(Refused {
            reason,
            message,
            expected: None,
        })
    };
    if batch.version != VERSION {
        let message = format!("version: {} is not known; send version {VERSION}", batch.version);
        return refuse(RefusedBecause::Version, message);
    }
    if let Some(said) = batch.namespace.as_ref().filter(|said| **said != identity.namespace) {
        let message = format!(
            "namespace: it says {:?} and its token {:?}; send with the token of the pod that it is of",
            super::text::clipped(said),
            identity.namespace
        );
        return refuse(RefusedBecause::ForeignNamespace, message);
    }
    if batch.entries.len() > MAX_ENTRIES {
        let message = format!(
            "entries: {} are more than {MAX_ENTRIES}; send fewer",
            batch.entries.len()
        );
        return refuse(RefusedBecause::TooLarge, message);
    }
    let malformed = |message: String| refuse(RefusedBecause::Malformed, message);
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '-';
    if batch.outbox.is_empty() || batch.outbox.len() > MAX_OUTBOX || !batch.outbox.chars().all(is_word) {
        return malformed(format!("outbox: 1 to {MAX_OUTBOX} letters, digits and dashes"));
    }
    if batch.from == 0 || batch.from > batch.to || batch.to > i64::MAX as u64 {
        return malformed(format!(
            "from, to: {}..={} is no run of sequences, which begin at 1",
            batch.from, batch.to
        ));
    }
    let mut last = batch.from - 1;
    for (index, entry) in batch.entries.iter().enumerate() {
        if entry.sequence <= last || entry.sequence > batch.to {
            return malformed(format!(
                "entries[{index}].sequence: {} is not after {last} and within {}..={}",
                entry.sequence, batch.from, batch.to
            ));
        }
        last = entry.sequence;
    }
    Ok(())
}

/// What counts once of that which is new in `arrivals`, in one order everywhere, so that two services never wait for each other. A
/// store says which of it is there already; [`plan`] is given the rest.
pub fn once(arrivals: &[Arrival], places: &BTreeMap<Key, Place>) -> BTreeSet<Once> {
    let mut all = BTreeSet::new();
    let mut moved = BTreeMap::new();
    for arrival in arrivals {
        let key = Key::of(arrival);
        let Some(place) = places.get(&key) else { continue };
        let Ok(new) = advance(arrival, moved.entry(key).or_insert(*place)) else {
            continue;
        };
        all.extend(new.filter_map(|numbered| Once::of(&arrival.identity.namespace, &numbered.entry)));
    }
    all
}

/// What is to be written for `arrivals`, where `places` says how far each of their outboxes is, and `uncounted` what of [`once`] is not
/// there yet. What ended before `detail_from` is in the sums alone: its rows would be dropped at once.
pub fn plan(
    arrivals: &[Arrival],
    mut places: BTreeMap<Key, Place>,
    mut uncounted: BTreeSet<Once>,
    now: i64,
    detail_from: i64,
) -> Plan {
    let mut plan = Plan::default();
    let mut moved = BTreeMap::new();
    for arrival in arrivals {
        let answer = match places.get_mut(&Key::of(arrival)) {
            Some(place) => {
                let answer = one(arrival, place, &mut uncounted, [now, detail_from], &mut plan.rows);
                if answer.is_ok() {
                    moved.insert(place.id, place.through);
                }
                answer
            }
            // A store asks for the places of all of them.
            None => Err(gap(arrival, 0)),
        };
        plan.answers.push(answer);
    }
    // In one order everywhere, so that two services never wait for each other.
    plan.through = moved.into_iter().map(|(id, through)| Place { id, through }).collect();
    plan
}

fn one(
    arrival: &Arrival,
    place: &mut Place,
    uncounted: &mut BTreeSet<Once>,
    [now, detail_from]: [i64; 2],
    rows: &mut Rows,
) -> Answer {
    let sender = Sender {
        outbox: place.id,
        namespace: &arrival.identity.namespace,
        workload: &arrival.batch.workload,
    };
    for numbered in advance(arrival, place)? {
        if Once::of(sender.namespace, &numbered.entry).is_some_and(|once| !uncounted.remove(&once)) {
            continue;
        }
        let at = numbered.at.clamp(now.saturating_sub(BACK), now.saturating_add(AHEAD));
        if at < detail_from {
            rows.add_sums(&sender, at, now, &numbered.entry);
        } else {
            rows.add(&sender, numbered.sequence, at, now, &numbered.entry);
        }
    }
    Ok(Taken { through: place.through })
}

/// Takes the outbox to the end of this batch; what is new in it.
fn advance<'a>(
    arrival: &'a Arrival,
    place: &mut Place,
) -> Result<impl Iterator<Item = &'a Numbered> + use<'a>, Refused> {
    let (batch, through) = (&arrival.batch, place.through);
    if batch.from > through.saturating_add(1) {
        return Err(gap(arrival, through));
    }
    place.through = through.max(batch.to);
    Ok(batch.entries.iter().filter(move |entry| entry.sequence > through))
}

fn gap(arrival: &Arrival, through: u64) -> Refused {
    let expected = through.saturating_add(1);
    Refused {
        reason: RefusedBecause::Gap,
        message: format!(
            "from: {} leaves out what follows {through}; send from {expected} on",
            arrival.batch.from
        ),
        expected: Some(expected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Numbered};

    fn numbered(sequence: u64) -> Numbered {
        Numbered {
            sequence,
            at: 1_000,
            entry: Entry::Request(Box::default()),
        }
    }

    fn arrival(from: u64, to: u64) -> Arrival {
        Arrival {
            identity: Identity {
                namespace: "team".into(),
                pod: "app-1".into(),
                service_account: "app".into(),
            },
            batch: Batch {
                version: VERSION,
                outbox: "0f".into(),
                from,
                to,
                entries: (from..=to).map(numbered).collect(),
                ..Batch::default()
            },
        }
    }

    fn taken(arrivals: &[Arrival], through: u64) -> Plan {
        let place = Place { id: 7, through };
        plan(
            arrivals,
            BTreeMap::from([(Key::of(&arrivals[0]), place)]),
            BTreeSet::new(),
            2_000,
            i64::MIN,
        )
    }

    #[test]
    fn what_was_taken_is_passed_over_and_what_is_new_is_taken_once() {
        let plan = taken(&[arrival(1, 3), arrival(1, 3), arrival(2, 5)], 0);
        assert!(plan.answers.iter().all(Result::is_ok));
        assert_eq!(plan.rows.requests.len(), 5);
        assert_eq!(plan.through, [Place { id: 7, through: 5 }]);
        let again = taken(&[arrival(1, 3)], 5);
        assert_eq!(again.answers, [Ok(Taken { through: 5 })]);
        assert!(again.rows.requests.is_empty());
    }

    #[test]
    fn a_skipped_sequence_is_refused_with_the_one_that_is_expected() {
        let plan = taken(&[arrival(1, 3), arrival(5, 6), arrival(4, 4)], 0);
        let refused = plan.answers[1].as_ref().unwrap_err();
        assert_eq!((refused.reason, refused.expected), (RefusedBecause::Gap, Some(4)));
        assert_eq!(plan.through, [Place { id: 7, through: 4 }]);
        assert_eq!(plan.rows.requests.len(), 4);
    }

    #[test]
    fn a_batch_may_speak_for_sequences_that_have_no_entry() {
        let mut folded = arrival(1, 9);
        folded.batch.entries.retain(|entry| entry.sequence == 4);
        assert_eq!(check(&folded.identity, &folded.batch), Ok(()));
        let plan = taken(&[folded], 0);
        assert_eq!(plan.rows.requests.len(), 1);
        assert_eq!(plan.through, [Place { id: 7, through: 9 }]);
    }

    #[test]
    fn what_is_no_batch_is_refused_with_its_place() {
        type Spoil = fn(&mut Batch);
        let cases: [(Spoil, RefusedBecause, &str); 9] = [
            (|b| b.version = 9, RefusedBecause::Version, "version"),
            (
                |b| b.namespace = Some("other".into()),
                RefusedBecause::ForeignNamespace,
                "namespace",
            ),
            (
                |b| b.entries = vec![numbered(1); MAX_ENTRIES + 1],
                RefusedBecause::TooLarge,
                "entries",
            ),
            (|b| b.outbox = String::new(), RefusedBecause::Malformed, "outbox"),
            (|b| b.outbox = "a'b".into(), RefusedBecause::Malformed, "outbox"),
            (|b| b.from = 0, RefusedBecause::Malformed, "from"),
            (|b| b.to = u64::MAX, RefusedBecause::Malformed, "from, to"),
            (
                |b| b.entries.swap(0, 1),
                RefusedBecause::Malformed,
                "entries[1].sequence",
            ),
            (|b| b.to = 2, RefusedBecause::Malformed, "entries[2].sequence"),
        ];
        for (spoil, reason, place) in cases {
            let Arrival { identity, mut batch } = arrival(1, 3);
            assert_eq!(check(&identity, &batch), Ok(()));
            spoil(&mut batch);
            let refused = check(&identity, &batch).unwrap_err();
            assert_eq!(refused.reason, reason, "{place}");
            assert!(refused.message.starts_with(place), "{}", refused.message);
        }
    }

    #[test]
    fn a_clock_that_is_wrong_moves_an_entry_to_the_edge_and_not_out_of_order() {
        let mut wrong = arrival(1, 3);
        for (entry, at) in wrong.batch.entries.iter_mut().zip([i64::MIN, 5_000, i64::MAX]) {
            entry.at = at;
            entry.entry = Entry::Request(Box::default());
        }
        let now = 100 * 24 * 3600 * 1000;
        let place = Place { id: 7, through: 0 };
        let plan = plan(
            std::slice::from_ref(&wrong),
            BTreeMap::from([(Key::of(&wrong), place)]),
            BTreeSet::new(),
            now,
            i64::MIN,
        );
        let at: Vec<_> = plan.rows.requests.iter().map(|row| row[0].int()).collect();
        assert_eq!(at, [now - BACK, now - BACK, now + AHEAD]);
    }
}
