//! What was measured, beside what is promised.

use std::fmt::Write as _;
use std::time::Duration;

use crate::fleet::Size;

/// Rows in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<[String; 4]>,
    missed: bool,
}

impl Table {
    /// Something without a promise.
    pub(crate) fn note(&mut self, what: &str, measured: String) {
        self.rows.push([what.into(), measured, String::new(), String::new()]);
    }

    /// Something that may be at most so much.
    pub(crate) fn at_most(&mut self, what: &str, measured: f64, most: f64, unit: &str) {
        let told = |number: f64| {
            let digits = if number >= 10.0 || number == 0.0 { 0 } else { 2 };
            format!("{number:.digits$} {unit}").trim_end().to_owned()
        };
        let kept = measured <= most;
        self.missed |= !kept;
        let verdict = if kept { "kept" } else { "MISSED" };
        self.rows.push([
            what.into(),
            told(measured),
            format!("<= {}", told(most)),
            verdict.into(),
        ]);
    }

    /// Times of many, of which 99 of 100 are below a bound.
    pub(crate) fn times(&mut self, what: &str, mut took: Vec<Duration>, most: Duration) {
        took.sort();
        self.note(&format!("{what}: p50 of {}", took.len()), told(at(&took, 50)));
        self.at_most(
            &format!("{what}: p99"),
            at(&took, 99).as_secs_f64(),
            most.as_secs_f64(),
            "s",
        );
        self.note(&format!("{what}: the slowest"), told(at(&took, 100)));
    }

    /// Times of many that nothing is promised of.
    pub(crate) fn times_untold(&mut self, what: &str, mut took: Vec<Duration>) {
        took.sort();
        let (half, most, slowest) = (at(&took, 50), at(&took, 99), at(&took, 100));
        self.note(
            &format!("{what}: p50, p99, slowest of {}", took.len()),
            format!("{}, {}, {}", told(half), told(most), told(slowest)),
        );
    }

    /// Whether every promise was kept.
    pub(crate) fn all_kept(&self) -> bool {
        !self.missed
    }

    /// The table, as Markdown.
    pub(crate) fn text(&self, size: &Size) -> String {
        let mut text = format!(
            "{} pods in {} namespaces, {} ProviderConfigs\n\n| what | measured | promised | |\n|---|---|---|---|\n",
            size.pods, size.namespaces, size.configs
        );
        for [what, measured, promised, verdict] in &self.rows {
            let _ = writeln!(text, "| {what} | {measured} | {promised} | {verdict} |");
        }
        text
    }
}

fn told(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// Of sorted times, the one that so many of 100 do not exceed.
fn at(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_kept_at_its_bound_and_missed_beyond_it() {
        let mut table = Table::default();
        let times = |slow: u64| {
            (1..=100)
                .map(|n| Duration::from_millis(if n > 98 { slow } else { n }))
                .collect()
        };
        table.times("fast", times(1_000), Duration::from_secs(1));
        assert!(table.all_kept());
        table.times("slow", times(1_001), Duration::from_secs(1));
        assert!(!table.all_kept());
    }
}
