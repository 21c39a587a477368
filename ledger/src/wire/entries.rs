//! Reads a batch's entries so that they take little more memory than their bytes, whatever a sender makes up: one after another, none of
//! them large, no more than a batch may have, and of a path only the turns that are kept.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::MAX_ENTRIES;
use crate::entry::{Entry, MOST_TURNS, Numbered};

/// The longest entry, bytes of its JSON: more than one of which every name is as long as it may be, and escaped throughout.
const LONGEST: usize = 128 << 10;

/// One more than [`MAX_ENTRIES`] at most, which says that they are too many.
pub(super) fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Numbered>, D::Error> {
    deserializer.deserialize_seq(Entries)
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<Numbered>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while entries.len() <= MAX_ENTRIES {
            // As text first: which kind an entry is of may stand behind all else, so that serde keeps all of it until then.
            let Some(text) = seq.next_element::<Box<RawValue>>()? else {
                return Ok(entries);
            };
            let entry = one(text.get())
                .map_err(|problem| A::Error::custom(format!("entries[{}]: {problem}", entries.len())))?;
            entries.push(entry);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(entries)
    }
}

fn one(text: &str) -> Result<Numbered, String> {
    if text.len() > LONGEST {
        return Err(format!("{} bytes are more than the {LONGEST} of an entry", text.len()));
    }
    let mut numbered: Numbered = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if let Entry::Request(request) = &mut numbered.entry {
        let beyond = request.path.len().saturating_sub(MOST_TURNS);
        request.path.truncate(MOST_TURNS);
        request.path.shrink_to_fit();
        request.turns_left_out = request
            .turns_left_out
            .saturating_add(u32::try_from(beyond).unwrap_or(u32::MAX));
    }
    Ok(numbered)
}

#[cfg(test)]
mod tests {
    use super::super::Batch;
    use super::*;

    fn read(entries: &[String]) -> Result<Batch, String> {
        let text = format!(r#"{{"version":1,"entries":[{}],"to":7}}"#, entries.join(","));
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// A request with so many turns.
    fn request(turns: usize) -> String {
        let path = vec!["{}"; turns].join(",");
        format!(r#"{{"sequence":1,"at":0,"entry":{{"path":[{path}],"kind":"request"}}}}"#)
    }

    #[test]
    fn a_path_is_kept_up_to_its_bound_and_what_is_beyond_is_counted() {
        let batch = read(&[request(16), request(20_000)]).unwrap();
        let turns = batch.entries.iter().map(|entry| match &entry.entry {
            Entry::Request(request) => (request.path.len(), request.path.capacity(), request.turns_left_out),
            _ => unreachable!(),
        });
        assert_eq!(turns.collect::<Vec<_>>(), [(16, 16, 0), (16, 16, 19_984)]);
        assert_eq!(batch.to, 7);
    }

    #[test]
    fn an_entry_that_is_too_large_and_one_that_is_none_are_refused_with_their_place() {
        for (bad, why) in [(request(50_000), "more than"), ("7".to_owned(), "invalid type")] {
            let refused = read(&[request(1), bad]).unwrap_err();
            assert!(refused.contains("entries[1]") && refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn of_too_many_entries_one_too_many_is_kept() {
        let batch = read(&vec![request(0); MAX_ENTRIES + 500]).unwrap();
        assert_eq!((batch.entries.len(), batch.to), (MAX_ENTRIES + 1, 7));
    }
}
