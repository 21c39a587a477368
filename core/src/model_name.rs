//! Names of models, as people write them.

/// The collection that Google's API lists models in, and that people copy with the name.
const COLLECTION: &str = "models/";

/// A name without the collection in front of it.
pub fn bare(name: &str) -> &str {
    // By the prefix and not by a search for it, whose preparation would cost more than all else that is done with a name.
    let mut bare = name;
    while let Some(rest) = bare.strip_prefix(COLLECTION) {
        bare = rest;
    }
    if bare.is_empty() { name } else { bare }
}

/// Whether two names mean the same model, with or without the collection in front.
pub fn same(one: &str, other: &str) -> bool {
    bare(one) == bare(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collection_in_front_is_no_part_of_a_name() {
        assert!(same("models/gemini-2.5-flash", "gemini-2.5-flash"));
        assert!(!same("tunedModels/mine", "mine") && !same("models/a", "b"));
        assert_eq!((bare("models/"), bare("org/models/x")), ("models/", "org/models/x"));
    }
}
