//! What a caller says of caches in its request: the directives of `cache-control` (RFC 9111, 5.2.1), and `pragma: no-cache`
//! where there is none (5.4). Directives that speak of stale answers are no matter here: none is given.

use std::time::Duration;

/// What a caller wants of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// Nothing is to be kept of it, and nothing given.
    pub no_store: bool,
    /// A new answer is wanted; it may be kept.
    pub no_cache: bool,
    /// An answer may be so old.
    pub max_age: Option<Duration>,
    /// An answer must stay good for so long.
    pub min_fresh: Option<Duration>,
    /// Nobody is to be asked: a kept answer or none.
    pub only_if_cached: bool,
}

impl Directives {
    /// From the values of `cache-control`, and whether `pragma: no-cache` came. What is no directive is passed over; a number that
    /// cannot be read is taken for 0, which asks for the freshest.
    pub fn of<'a>(cache_control: impl Iterator<Item = &'a str>, pragma: bool) -> Self {
        let mut found = Self::default();
        let mut is_said = false;
        for directive in cache_control.flat_map(|value| value.split(',')) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let name = name.trim();
            is_said = is_said || !name.is_empty();
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            let seconds = || Duration::from_secs(value.trim().trim_matches('"').parse::<u32>().unwrap_or(0).into());
            if is("no-store") {
                found.no_store = true;
            } else if is("no-cache") {
                found.no_cache = true;
            } else if is("max-age") {
                found.max_age = Some(found.max_age.map_or(seconds(), |known| known.min(seconds())));
            } else if is("min-fresh") {
                found.min_fresh = Some(found.min_fresh.map_or(seconds(), |known| known.max(seconds())));
            } else if is("only-if-cached") {
                found.only_if_cached = true;
            }
        }
        found.no_cache = found.no_cache || (pragma && !is_said);
        found
    }

    /// Whether an answer of this age, which is good for `ttl` in all, is what the caller wants. One that is older than that is nobody's: a
    /// store keeps for as long as its route said then, and it may say less by now.
    pub fn take(&self, age: Duration, ttl: Duration) -> bool {
        let is_young = age <= ttl && self.max_age.is_none_or(|most| age <= most);
        let left = ttl.saturating_sub(age);
        !self.no_store && !self.no_cache && is_young && self.min_fresh.is_none_or(|least| left >= least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Directives {
        Directives::of(values.iter().copied(), false)
    }

    #[test]
    fn directives_are_read_in_any_case_from_any_number_of_headers() {
        assert_eq!(of(&[]), Directives::default());
        let all = of(&[
            "No-Cache, max-age=30",
            " only-if-cached ,, max-age=\"20\"",
            "min-fresh=5,unknown=1",
        ]);
        assert_eq!(
            all,
            Directives {
                no_store: false,
                no_cache: true,
                max_age: Some(Duration::from_secs(20)),
                min_fresh: Some(Duration::from_secs(5)),
                only_if_cached: true,
            }
        );
        assert!(of(&["no-store"]).no_store);
        assert_eq!(of(&["max-age=later"]).max_age, Some(Duration::ZERO), "the freshest");
    }

    #[test]
    fn pragma_counts_where_there_is_no_cache_control() {
        let pragma = |values: &[&str]| Directives::of(values.iter().copied(), true).no_cache;
        assert!(pragma(&[]) && pragma(&[""]) && !pragma(&["max-age=5"]));
    }

    #[test]
    fn an_answer_is_taken_while_it_is_as_young_and_as_good_as_is_wanted() {
        let seconds = Duration::from_secs;
        let taken = |value: &str, age| of(&[value]).take(seconds(age), seconds(60));
        assert!(taken("", 60) && taken("max-age=10", 10) && taken("min-fresh=50", 10));
        assert!(
            !taken("", 61) && !taken("max-age=90", 61),
            "no longer than its route says"
        );
        assert!(!taken("max-age=10", 11) && !taken("min-fresh=51", 10));
        assert!(!taken("no-cache", 0) && !taken("no-store", 0));
        assert!(taken("only-if-cached", 5));
    }
}
