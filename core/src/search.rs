//! Searches for fixed bytes, prepared once: preparing one costs more than searching a kilobyte.

use memchr::memmem::Finder;

/// A search for these bytes, prepared when it is first used.
macro_rules! finder {
    ($name:ident, $needle:expr) => {
        static $name: std::sync::LazyLock<memchr::memmem::Finder<'static>> =
            std::sync::LazyLock::new(|| memchr::memmem::Finder::new($needle));
    };
}
pub(crate) use finder;

/// Bytes at the end in which [`last`] looks before it looks through all: the few fields that follow an answer's content.
const END: usize = 2 << 10;

/// Where the bytes stand for the last time. From the front, which is several times faster than from the back, but in the end first.
pub(crate) fn last(finder: &Finder<'_>, text: &[u8]) -> Option<usize> {
    let start = text.len().saturating_sub(END);
    let near = finder.find_iter(text.get(start..).unwrap_or_default()).last();
    // One that began before the end's start would end in it, and be behind all others before it.
    near.map(|at| start + at)
        .or_else(|| memchr::memmem::rfind(text, finder.needle()))
}

#[cfg(test)]
mod tests {
    use super::*;

    finder!(KEY, "\"usage\"");

    #[test]
    fn the_last_place_is_found_wherever_it_is() {
        let filler = "x".repeat(END - 3);
        for text in [
            String::new(),
            "\"usage\"".to_owned(),
            "\"usage\" \"usage\" usage".to_owned(),
            format!("\"usage\"{filler}"),
            format!("\"usage\" \"usage\"{filler}{filler}"),
            format!("\"usage\"{filler}\"usage\"{filler}\"usage\"xxxx"),
        ] {
            assert_eq!(last(&KEY, text.as_bytes()), text.rfind("\"usage\""), "{text:.80}");
        }
    }
}
