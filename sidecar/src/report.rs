//! What the sidecar tells the operator of itself: the parts of `/health` that a fleet is judged by.

use std::sync::{Arc, Mutex};

use bowsprit_core::clock::Moment;
use bowsprit_core::stream::{RefusedConfig, ReportedProvider, SidecarReport};

use crate::process::Process;
use crate::sync::locked;
use crate::tenant::snapshot::Upstream;
use crate::time::unix_millis;
use objectives::Objectives;

mod objectives;

/// Longest text on what is wrong with a configuration, bytes.
const MAX_WHY: usize = 2_000;
/// Most problems with keys that are told of a provider, and the longest text on one: a report has a bound.
const MAX_KEY_PROBLEMS: (usize, usize) = (3, 80);
/// Most providers that are told of.
const MAX_PROVIDERS: usize = 64;

/// Reports on a sidecar.
pub struct Reporter {
    process: Arc<Process>,
    objectives: Mutex<Objectives>,
}

impl Reporter {
    /// Nothing is reported yet.
    pub fn new(process: Arc<Process>) -> Self {
        Self {
            process,
            objectives: Mutex::default(),
        }
    }

    /// The sidecar now. To be asked about once a second.
    pub fn report(&self) -> SidecarReport {
        let process = &*self.process;
        let now = process.clock.now();
        let counted = || process.sinks.slos.counted();
        let objectives = locked(&self.objectives).at(now, unix_millis() / 1000, counted);
        SidecarReport {
            objectives,
            ..of(process, now)
        }
    }
}

fn of(process: &Process, now: Moment) -> SidecarReport {
    let config = &process.tenant.config;
    let applied = config.applied();
    let snapshot = process.tenant.snapshot.load();
    let upstreams = snapshot.as_ref().map_or(&[][..], |snapshot| snapshot.upstreams());
    SidecarReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: applied.as_ref().map(|it| it.revision.clone()).unwrap_or_default(),
        sequence: applied.as_ref().map_or(0, |it| it.sequence),
        policies: Some(applied.as_ref().map_or(0, |it| it.policies)),
        source: applied.map(|it| it.source.to_owned()).unwrap_or_default(),
        refused: config.refused().map(|refused| RefusedConfig {
            sequence: refused.sequence,
            why: shortened(refused.why, MAX_WHY),
        }),
        providers: upstreams
            .iter()
            .take(MAX_PROVIDERS)
            .map(|upstream| provider(upstream, now))
            .collect(),
        objectives: Vec::new(),
        runaways: process.tenant.runaways.told(now),
    }
}

fn provider(upstream: &Upstream, now: Moment) -> ReportedProvider {
    let state = upstream.state.report(now);
    let breakers = |name: &str| {
        let count = state.models.iter().filter(|model| model.breaker == name).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let (closed, open, half_open) = (breakers("closed"), breakers("open"), breakers("half_open"));
    let (most, longest) = MAX_KEY_PROBLEMS;
    ReportedProvider {
        closed,
        open,
        half_open,
        status: shortened(upstream.problem.clone().unwrap_or(state.status), 2 * longest),
        key_problems: state
            .key_problems
            .into_iter()
            .take(most)
            .map(|problem| shortened(problem, longest))
            .collect(),
        name: state.name,
    }
}

fn shortened(mut text: String, longest: usize) -> String {
    text.truncate(text.floor_char_boundary(longest));
    text
}

#[cfg(test)]
mod tests {
    use bowsprit_core::stream::{MAX_TO_OPERATOR, MOST_RUNAWAYS, ReportedRunaway, ToOperator};

    use super::*;

    #[test]
    fn the_longest_report_is_within_the_bound_of_a_line() {
        let long = |bytes: usize| "x".repeat(bytes);
        let (most, longest) = MAX_KEY_PROBLEMS;
        let provider = ReportedProvider {
            // A Kubernetes name has at most 253 bytes.
            name: long(253),
            status: long(2 * longest),
            closed: u32::MAX,
            open: u32::MAX,
            half_open: u32::MAX,
            key_problems: vec![long(longest); most],
        };
        let report = SidecarReport {
            refused: Some(RefusedConfig {
                sequence: u64::MAX,
                why: long(MAX_WHY),
            }),
            providers: vec![provider; MAX_PROVIDERS],
            objectives: objectives::tests::longest(),
            runaways: vec![
                ReportedRunaway {
                    policy: long(253),
                    stops: false,
                    repeats: u64::MAX,
                    since: u64::MAX,
                };
                MOST_RUNAWAYS
            ],
            ..SidecarReport::default()
        };
        let line = serde_json::to_string(&ToOperator::Report(report)).unwrap();
        assert!(line.len() < MAX_TO_OPERATOR, "{} bytes", line.len());
    }

    #[test]
    fn a_text_is_cut_between_letters() {
        assert_eq!(shortened("häuser".into(), 2), "h");
        assert_eq!(shortened("haus".into(), 9), "haus");
    }
}
