//! Which ConfigMap has the marks of which namespace. One holds 1 MiB: those of some five namespaces that are full
//! ([`bowsprit_core::spend::shared::treasury::MOST`]).

use std::collections::{BTreeMap, BTreeSet};

use super::NAME;

/// ConfigMaps at the most: their names stand in the operator's Role.
pub(super) const MOST: usize = 16;
/// Bytes of marks in one; the apiserver takes 1 MiB.
const ROOM: usize = 960 << 10;

/// What the ConfigMaps have that there are, by number, as they were read or written last.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf(BTreeMap<usize, Board>);

/// One ConfigMap.
#[derive(Clone, Debug, Default)]
struct Board {
    version: Option<String>,
    /// Bytes of each namespace's marks.
    sizes: BTreeMap<String, usize>,
}

/// The name of the ConfigMap of this number.
pub(super) fn name(at: usize) -> String {
    if at == 0 {
        NAME.to_owned()
    } else {
        format!("{NAME}-{at}")
    }
}

/// Its number, by its name.
pub(super) fn number(of: &str) -> Option<usize> {
    (0..MOST).find(|at| name(*at) == of)
}

impl Shelf {
    /// It was read.
    pub(super) fn found(&mut self, at: usize, version: Option<String>, sizes: BTreeMap<String, usize>) {
        self.0.insert(at, Board { version, sizes });
    }

    /// This was written into it; no `bytes`: it has nothing of the namespace any more.
    pub(super) fn wrote(&mut self, at: usize, version: Option<String>, namespace: &str, bytes: Option<usize>) {
        let board = self.0.entry(at).or_default();
        board.version = version;
        match bytes {
            Some(bytes) => board.sizes.insert(namespace.to_owned(), bytes),
            None => board.sizes.remove(namespace),
        };
    }

    /// The version that a write has to name; none where it has to be made.
    pub(super) fn version(&self, at: usize) -> Option<&str> {
        self.0.get(&at)?.version.as_deref()
    }

    /// Where so many bytes of a namespace are to be written: where it is, if they fit, and else the first that has room.
    pub(super) fn place(&self, namespace: &str, bytes: usize) -> Option<usize> {
        let fits = |at: &usize| {
            let sizes = self.0.get(at).into_iter().flat_map(|board| &board.sizes);
            let others = sizes.filter(|(other, _)| *other != namespace);
            others.map(|(_, size)| size).sum::<usize>() + bytes <= ROOM
        };
        let here = self.places(namespace).into_iter();
        here.chain(0..MOST).find(fits)
    }

    /// All namespaces of which there is something.
    pub(super) fn namespaces(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.0.values().flat_map(|board| board.sizes.keys()).collect();
        all.into_iter().cloned().collect()
    }

    /// Where there is something of a namespace.
    pub(super) fn places(&self, namespace: &str) -> Vec<usize> {
        let has = self.0.iter().filter(|(_, board)| board.sizes.contains_key(namespace));
        has.map(|(at, _)| *at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_stays_where_it_fits_moves_where_there_is_room_and_is_told_where_there_is_none() {
        let mut shelf = Shelf::default();
        let full = 200 << 10;
        let mut placed = Vec::new();
        for number in 0..100 {
            let namespace = format!("team-{number}");
            let Some(at) = shelf.place(&namespace, full) else { break };
            shelf.wrote(at, Some("1".into()), &namespace, Some(full));
            placed.push(at);
        }
        assert_eq!(placed.len(), 4 * MOST);
        assert!(placed.is_sorted(), "the first are filled first");
        assert_eq!(shelf.place("team-5", full), Some(1), "where it is");
        assert_eq!(shelf.place("team-5", ROOM), None);
        shelf.wrote(3, Some("2".into()), "team-12", None);
        assert_eq!(shelf.place("team-5", full + (160 << 10)), Some(1));
        for gone in ["team-13", "team-14"] {
            shelf.wrote(3, Some("2".into()), gone, None);
        }
        assert_eq!(shelf.place("team-5", 3 * full), Some(3), "it has moved");
        shelf.wrote(3, Some("3".into()), "team-5", Some(3 * full));
        assert_eq!(shelf.places("team-5"), [1, 3]);
        shelf.wrote(1, Some("3".into()), "team-5", None);
        assert_eq!(shelf.places("team-5"), [3]);
    }

    #[test]
    fn the_first_is_the_one_that_a_release_before_knows() {
        assert_eq!(
            (name(0), name(15)),
            ("bowsprit-budgets".into(), "bowsprit-budgets-15".into())
        );
        for at in 0..MOST {
            assert_eq!(number(&name(at)), Some(at));
        }
        for other in [
            "bowsprit-budgets-0",
            "bowsprit-budgets-16",
            "bowsprit-budgets-x",
            "bowsprit-config",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
