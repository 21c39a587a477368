//! What somebody may have meant.

/// The one of these names that is closest to what was written, if any is close.
pub(super) fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bare = bare(written);
    let scored = names.map(|name| (distance(&bare, &self::bare(name)), name));
    // By the last part: what is before it is mostly right.
    let last = bare.rsplit('.').next().unwrap_or_default();
    let most = ((last.chars().count() + 1) / 3).clamp(1, 3);
    scored
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// As it sounds: `max_tokens` is `maxTokens`.
fn bare(name: &str) -> String {
    name.chars()
        .filter(|char| *char != '_' && *char != '-')
        .flat_map(char::to_lowercase)
        .collect()
}

/// Letters to insert, remove or change. Of names, which are short.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, wanted) in row.iter_mut().skip(1).zip(&other) {
            let here = (diagonal + usize::from(letter != *wanted)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, here);
            left = here;
        }
    }
    row.last().copied().unwrap_or_default()
}
