//! What differs, as metrics. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Kind, Line};

/// Providers that are told apart; what pods call the others is not to fill anybody's Prometheus.
const MOST_PROVIDERS: usize = 100;
/// What stands for the others.
const OTHER: &str = "other";

/// By how much what is compared is off: by comparison, provider and kind; 0 where all lines close.
pub type Drifts = BTreeMap<(&'static str, String, Kind), u128>;

/// What does not close, where each comparison has a name.
pub fn drifts(compared: &[(&'static str, Vec<Line>)]) -> Drifts {
    let mut drifts = Drifts::new();
    for (beside, lines) in compared {
        let mut providers: BTreeMap<&str, u128> = BTreeMap::new();
        for line in lines {
            *providers.entry(&line.key.0).or_default() += open(line);
        }
        let mut largest: Vec<_> = providers.into_iter().collect();
        largest.sort_by_key(|(name, drift)| (std::cmp::Reverse(*drift), *name));
        largest.truncate(MOST_PROVIDERS);
        for line in lines {
            let (provider, _, kind) = &line.key;
            let is_told_apart = largest.iter().any(|(name, _)| name == provider);
            let provider = if is_told_apart { provider } else { OTHER };
            *drifts.entry((beside, provider.to_owned(), *kind)).or_default() += open(line);
        }
    }
    drifts
}

/// The text for a scrape, where it is `now`, seconds since 1970. `None`: nothing could be compared. Then it has neither what differed
/// before nor when that was, as both would be taken for this time's.
pub fn text(drifts: Option<&Drifts>, now: i64) -> String {
    let Some(drifts) = drifts else {
        return success(now, false);
    };
    let mut out = String::from(
        "# HELP bowsprit_ledger_drift_tokens Tokens by which those lines of the last reconcile differ that do not close\n\
         # TYPE bowsprit_ledger_drift_tokens gauge\n",
    );
    for ((beside, provider, kind), drift) in drifts {
        let (provider, kind) = (escaped(provider), kind.as_str());
        let _ = writeln!(
            out,
            "bowsprit_ledger_drift_tokens{{beside=\"{beside}\",provider=\"{provider}\",kind=\"{kind}\"}} {drift}"
        );
    }
    let _ = write!(
        out,
        "# HELP bowsprit_ledger_reconciled_timestamp_seconds When that was\n\
         # TYPE bowsprit_ledger_reconciled_timestamp_seconds gauge\n\
         bowsprit_ledger_reconciled_timestamp_seconds {now}\n"
    );
    out + &success(now, true)
}

/// Whether the last try came to a comparison, and when it was.
fn success(now: i64, has_compared: bool) -> String {
    format!(
        "# HELP bowsprit_ledger_reconcile_success Whether the last try could compare: 1, or 0 where it could not\n\
         # TYPE bowsprit_ledger_reconcile_success gauge\n\
         bowsprit_ledger_reconcile_success {}\n\
         # HELP bowsprit_ledger_reconcile_tried_timestamp_seconds When that try was\n\
         # TYPE bowsprit_ledger_reconcile_tried_timestamp_seconds gauge\n\
         bowsprit_ledger_reconcile_tried_timestamp_seconds {now}\n",
        u8::from(has_compared)
    )
}

/// By how much a line is off, either way.
fn open(line: &Line) -> u128 {
    if line.closes() { 0 } else { line.drift().unsigned_abs() }
}

fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_close_is_told_by_provider_and_kind_and_what_does_is_0() {
        let line = |provider: &str, kind: Kind, ledger: u64, other: u64| Line {
            key: (provider.to_owned(), "m".to_owned(), kind),
            ledger,
            other,
            estimate: 5,
            early: 0,
            unseen: 0,
        };
        let lines = vec![
            line("claude", Kind::Input, 10, 7),
            line("claude", Kind::Input, 10, 17),
            line("claude", Kind::Output, 10, 15),
            line("a\"b\n", Kind::Output, 1, 0),
        ];
        let text = text(Some(&drifts(&[("billed", lines)])), 1_790_000_000);
        for told in [
            r#"{beside="billed",provider="claude",kind="input"} 10"#,
            r#"{beside="billed",provider="claude",kind="output"} 0"#,
            r#"{beside="billed",provider="a\"b\n",kind="output"} 1"#,
            "bowsprit_ledger_reconciled_timestamp_seconds 1790000000",
        ] {
            assert!(text.contains(&format!("{told}\n")), "{told} in {text}");
        }
    }

    #[test]
    fn providers_that_pods_make_up_are_no_more_than_a_hundred_series() {
        let line = |index: u64| Line {
            key: (format!("p{index}"), "m".to_owned(), Kind::Input),
            ledger: index,
            other: 0,
            estimate: 0,
            early: 0,
            unseen: 0,
        };
        let text = text(Some(&drifts(&[("prometheus", (0..1_000).map(line).collect())])), 0);
        let told = text
            .lines()
            .filter(|line| line.starts_with("bowsprit_ledger_drift_tokens"));
        assert_eq!(told.count(), 101);
        assert!(text.contains("provider=\"p999\""), "the largest is told apart");
    }
}
