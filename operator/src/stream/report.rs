//! What a sidecar says, cut to what a sidecar of ours could say: a report is kept as long as its pod lives.

use bowsprit_core::stream::loans::{MOST_BORROWS, WireBorrow};
use bowsprit_core::stream::shares::{MOST_ASKS, WireAsk};
use bowsprit_core::stream::{
    MOST_RUNAWAYS, RefusedConfig, ReportedObjective, ReportedProvider, SidecarReport, ToOperator,
};

use super::session::Malformed;

/// Bytes of a version, a revision, a source, a status.
const WORD: usize = 64;
/// Bytes of a name in Kubernetes.
const NAME: usize = 253;
/// Bytes of a budget's name with its policy's, and of whose it is: a kind, or a uid, and a name.
const OF: usize = 320;
/// Bytes of [`RefusedConfig::why`].
const WHY: usize = 2000;
/// Bytes of one problem of a key, and how many of them a provider may have.
const PROBLEM: usize = 300;
const PROBLEMS: usize = 16;
/// Providers of one namespace.
const PROVIDERS: usize = 256;
/// Objectives of one report.
const OBJECTIVES: usize = 256;

/// What a sidecar says that somebody has to do with.
#[derive(Debug)]
pub(super) enum Said {
    /// Of itself.
    Report(SidecarReport),
    /// What it wants of limits of the fleet.
    Ask(Vec<WireAsk>),
    /// What it wants of budgets that pods spend together.
    Borrow(Vec<WireBorrow>),
}

/// What a line says, where it says anything.
pub(super) fn read(line: &[u8]) -> Result<Option<Said>, Malformed> {
    // An empty line is allowed, as a sign of life.
    if line.is_empty() {
        return Ok(None);
    }
    match serde_json::from_slice(line).map_err(|_| Malformed)? {
        ToOperator::Report(report) => Ok(Some(Said::Report(bounded(report)))),
        ToOperator::Ask { mut asks } => {
            asks.truncate(MOST_ASKS);
            for ask in &mut asks {
                cut(&mut ask.of.apart, OF);
            }
            Ok(Some(Said::Ask(asks)))
        }
        ToOperator::Borrow { mut asks } => {
            asks.truncate(MOST_BORROWS);
            for key in asks.iter_mut().map(|ask| &mut ask.key) {
                cut(&mut key.budget, OF);
                cut(&mut key.of, OF);
            }
            Ok(Some(Said::Borrow(asks)))
        }
        ToOperator::Pong | ToOperator::Unknown => Ok(None),
    }
}

fn bounded(mut report: SidecarReport) -> SidecarReport {
    for word in [&mut report.version, &mut report.revision, &mut report.source] {
        cut(word, WORD);
    }
    if let Some(RefusedConfig { why, .. }) = &mut report.refused {
        cut(why, WHY);
    }
    report.providers.truncate(PROVIDERS);
    for ReportedProvider {
        name,
        status,
        key_problems,
        ..
    } in &mut report.providers
    {
        cut(name, NAME);
        cut(status, WORD);
        key_problems.truncate(PROBLEMS);
        for problem in key_problems {
            cut(problem, PROBLEM);
        }
    }
    report.objectives.truncate(OBJECTIVES);
    for ReportedObjective {
        object,
        name,
        objective,
        ..
    } in &mut report.objectives
    {
        cut(name, NAME);
        for word in [object, objective] {
            cut(word, WORD);
        }
    }
    report.runaways.truncate(MOST_RUNAWAYS);
    for runaway in &mut report.runaways {
        cut(&mut runaway.policy, NAME);
    }
    report
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_and_what_no_sidecar_of_ours_says_is_cut() {
        let long = "ä".repeat(5000);
        let report = serde_json::json!({"type": "report", "revision": long, "sequence": 7,
            "refused": {"sequence": 8, "why": long},
            "objectives": [{"object": long, "name": long, "objective": "availability", "good": 3, "bad": 1}],
            "runaways": vec![serde_json::json!({"policy": long, "repeats": 3}); 40],
            "providers": vec![serde_json::json!({"name": long, "status": "ok", "keyProblems": vec![&long; 40]}); 2]});
        let Some(Said::Report(report)) = read(report.to_string().as_bytes()).unwrap() else {
            panic!("no report")
        };
        assert_eq!((report.sequence, report.revision.len()), (7, WORD));
        assert_eq!(report.refused.unwrap().why.len(), WHY);
        let objective = &report.objectives[0];
        assert_eq!((objective.object.len(), objective.name.len()), (WORD, NAME - 1));
        assert_eq!((objective.good, objective.bad, objective.since), (3, 1, 0));
        let runaway = &report.runaways[0];
        assert_eq!(
            (report.runaways.len(), runaway.policy.len(), runaway.repeats),
            (MOST_RUNAWAYS, NAME - 1, 3)
        );
        let provider = &report.providers[0];
        assert_eq!((provider.name.len(), provider.status.as_str()), (NAME - 1, "ok"));
        assert_eq!(
            (provider.key_problems.len(), provider.key_problems[0].len()),
            (PROBLEMS, PROBLEM)
        );
    }

    #[test]
    fn what_is_no_message_is_malformed_and_what_is_a_later_releases_is_not() {
        assert!(read(b"hello").is_err());
        assert!(read(b"{}").is_err());
        for line in [&b""[..], b"{\"type\":\"pong\"}", b"{\"type\":\"spend\",\"usd\":1}"] {
            assert!(matches!(read(line), Ok(None)));
        }
    }
}
