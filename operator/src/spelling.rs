//! Which known word somebody meant. Pure.

/// The known word that is nearest to what was written, if one is near: at most a third of its letters away, and three.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_ascii_lowercase();
    let far = |word: &str| (word.len() / 3).clamp(1, 3);
    let near = known.into_iter().map(|word| (distance(&written, word), word));
    near.filter(|(distance, word)| *distance <= far(word))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Letters to add, drop, change or swap with their neighbour to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().take(MOST).collect();
    let other: Vec<char> = other.chars().take(MOST).collect();
    // The rows of the table of distances between the beginnings of the two: the last, and the one before it.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut best = at(&last, j) + usize::from(a != b);
            best = best.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && one.get(i - 1) == Some(b) && other.get(j - 1) == Some(a);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

/// Letters that are compared: the name part of a label has no more.
const MOST: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_strange_one_has_none() {
        let known = [
            "inject",
            "inject-env",
            "sidecar-image",
            "sidecar-memory-limit",
            "sidecar-cpu-limit",
        ];
        for (written, meant) in [
            ("injekt", Some("inject")),
            ("INJECT", Some("inject")),
            ("inject_env", Some("inject-env")),
            ("sidecar-imgae", Some("sidecar-image")),
            ("sidecar-mem-limit", Some("sidecar-memory-limit")),
            ("team", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }
}
