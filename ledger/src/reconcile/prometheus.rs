//! What Prometheus counted: raw samples, added up without the extrapolation of `increase()`. Pure.
//!
//! A counter begins at 0 with its process, so the first sample of a series that began in the window counts in full, and a sample that is
//! less than the one before begins anew. A window's edges lie between two scrapes: what a counter grew by over an edge is of either side, and
//! is told beside the sum. So is what a process may have counted after its last scrape: at most what it ever counted between two.
//!
//! Where a target was not scraped before a series' first sample, its process' start says whether that began in the window; where it did not, or
//! nobody knows, all of that sample may be of before it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Kind, Tokens};

/// What is asked: reported tokens by model, estimated ones by provider.
pub const REPORTED: &str = "bowsprit_tokens_total";
/// Of answers that broke off, and of servers that tell none.
pub const ESTIMATED: &str = "bowsprit_estimated_tokens_total";

/// When the processes began that counted them.
pub const STARTED: &str = "process_start_time_seconds";

/// The answer of `/api/v1/query` to a selector with a range.
#[derive(Debug, Deserialize)]
pub struct Answer {
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Debug, Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// Longest time between two scrapes, seconds: who was not scraped for longer has ended.
pub const SCRAPE: f64 = 120.0;

/// Seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// The window's begin.
    pub from: f64,
    /// Its end.
    pub to: f64,
    /// Until when samples were asked for, or could be there.
    pub until: f64,
}

impl Answer {
    /// The scrape jobs that these series are of.
    pub fn jobs(&self) -> impl Iterator<Item = &str> {
        let all = self.data.result.iter();
        all.filter_map(|series| series.metric.get("job")).map(String::as_str)
    }
}

/// What was scraped, and its scrapes: when, and when its process had begun, seconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct Targets(BTreeMap<Target, Vec<(f64, f64)>>);

type Target = [Option<String>; 2];

fn target(series: &Series) -> Target {
    ["job", "instance"].map(|name| series.metric.get(name).cloned())
}

impl Targets {
    /// Of an answer about [`STARTED`].
    pub fn of(answer: &Answer) -> Self {
        let mut all = Self::default();
        for series in &answer.data.result {
            let started = |(at, value): &(f64, String)| Some((*at, value.parse().ok()?));
            let scrapes = all.0.entry(target(series)).or_default();
            scrapes.extend(series.values.iter().filter_map(started));
        }
        for scrapes in all.0.values_mut() {
            scrapes.sort_by(|one, other| one.0.total_cmp(&other.0));
        }
        all
    }

    /// Since when a series may have counted whose first sample is of `at`: since the scrape before it, which did not see it, or the begin of its
    /// process.
    fn since(&self, series: &Series, at: f64) -> f64 {
        let scrapes = self.0.get(&target(series)).map_or(&[][..], Vec::as_slice);
        let before = scrapes.iter().rev().find(|(scraped, _)| *scraped < at);
        let first = scrapes.iter().find(|(scraped, _)| *scraped >= at);
        match (before, first) {
            (Some((scraped, _)), _) => *scraped,
            (None, Some((_, started))) => *started,
            (None, None) => f64::NEG_INFINITY,
        }
    }
}

/// What was counted in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// What scrapes of the window saw.
    pub tokens: Tokens,
    /// Of these: what may be of before it, as the scrape before its begin was earlier.
    pub early: Tokens,
    /// Beside these: what may be of it, and was scraped later or not at all.
    pub unseen: Tokens,
}

impl Counted {
    /// Adds the tokens of an answer whose samples reach back to before the window.
    pub fn add(&mut self, answer: &Answer, targets: &Targets, is_estimate: bool, span: Span) {
        for series in &answer.data.result {
            let label = |name: &str| series.metric.get(name).cloned().unwrap_or_default();
            let kind = match (label("kind").as_str(), is_estimate) {
                ("input", false) => Kind::Input,
                ("output", false) => Kind::Output,
                ("cached", false) => Kind::Cached,
                ("cache_write", false) => Kind::CacheWrite,
                ("reasoning", false) => Kind::Reasoning,
                ("input", true) => Kind::EstimatedInput,
                ("output", true) => Kind::EstimatedOutput,
                _ => continue,
            };
            let key = (label("provider"), label("model"), kind);
            let sums = [&mut self.tokens, &mut self.early, &mut self.unseen];
            let since = series
                .values
                .first()
                .map_or(f64::NEG_INFINITY, |(at, _)| targets.since(series, *at));
            for (tokens, more) in sums.into_iter().zip(grown(&series.values, since, span)) {
                let sum = tokens.entry(key.clone()).or_default();
                *sum = sum.saturating_add(more);
            }
        }
    }
}

/// By how much a counter grew in the window, how much of that may be of before it, and how much more may be of it. `begun`: since when
/// it may have been counted that the first sample tells.
fn grown(values: &[(f64, String)], begun: f64, span: Span) -> [u64; 3] {
    let (mut seen, mut early, mut unseen) = (0.0, 0.0, 0.0);
    let (mut last, mut most, mut ends): (Option<(f64, f64)>, f64, Vec<f64>) = (None, 0.0, Vec::new());
    let mut samples = 0;
    for (at, value) in values {
        let Ok(value) = value.parse::<f64>() else { continue };
        let (since, more) = match last {
            None => (begun, value),
            Some((before, was)) if value < was => {
                ends.push(before);
                (before, value)
            }
            Some((before, was)) => {
                most = f64::max(most, value - was);
                (before, value - was)
            }
        };
        if *at > span.from && *at <= span.to {
            seen += more;
            early += if since < span.from { more } else { 0.0 };
        } else if *at > span.to && since < span.to {
            unseen += more;
        }
        (last, samples) = (Some((*at, value)), samples + 1);
    }
    // Of one sample alone nobody can say how much a scrape may miss.
    if let Some((at, _)) = last.filter(|(at, _)| samples > 1 && at + SCRAPE < span.until) {
        ends.push(at);
    }
    let ended = ends.iter().filter(|at| (span.from..span.to).contains(at)).count();
    unseen += most * ended as f64;
    // Whole numbers below 2^53, as counters of tokens are.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = |tokens: f64| tokens.round().max(0.0) as u64;
    [seen, early, unseen].map(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(all: &[(f64, f64)]) -> Vec<(f64, String)> {
        all.iter().map(|(at, value)| (*at, value.to_string())).collect()
    }

    fn span(from: f64, to: f64, until: f64) -> Span {
        Span { from, to, until }
    }

    #[test]
    fn a_counter_counts_from_its_begin_and_again_from_0_after_a_restart() {
        let seen = |all: &[(f64, f64)], from: f64| grown(&values(all), 0.0, span(from, 10.0, 10.0))[0];
        assert_eq!(seen(&[(1.0, 5.0), (2.0, 8.0)], 0.0), 8);
        assert_eq!(seen(&[(1.0, 5.0), (2.0, 8.0)], 1.0), 3);
        assert_eq!(seen(&[(1.0, 5.0), (2.0, 2.0), (3.0, 4.0)], 1.5), 4);
        assert_eq!(seen(&[(1.0, 5.0)], 1.0), 0);
    }

    #[test]
    fn what_grew_over_an_edge_is_told_beside_the_sum() {
        // Scraped every 30 seconds; the window is from 1000 to 2000.
        let scraped = values(&[
            (990.0, 10.0),
            (1020.0, 14.0),
            (1980.0, 100.0),
            (2010.0, 103.0),
            (2040.0, 200.0),
        ]);
        let edges = span(1000.0, 2000.0, 2040.0);
        assert_eq!(grown(&scraped, 1000.0, edges), [90, 4, 3]);
        // Nothing happens at the edges: nothing is unsure.
        let quiet = values(&[
            (990.0, 10.0),
            (1020.0, 10.0),
            (1500.0, 60.0),
            (1980.0, 60.0),
            (2010.0, 60.0),
        ]);
        assert_eq!(grown(&quiet, 1000.0, edges), [50, 0, 0]);
    }

    #[test]
    fn who_has_ended_may_have_counted_as_much_as_between_two_scrapes_and_no_more() {
        let edges = span(1000.0, 2000.0, 2120.0);
        let ended = values(&[(1200.0, 10.0), (1230.0, 35.0), (1260.0, 40.0)]);
        assert_eq!(grown(&ended, 1000.0, edges), [40, 0, 25]);
        let restarted = values(&[(1200.0, 10.0), (1230.0, 35.0), (1260.0, 4.0), (2090.0, 4.0)]);
        assert_eq!(grown(&restarted, 1000.0, edges), [39, 0, 25]);
        // Of one that goes on, nothing is unseen.
        let alive = values(&[(1200.0, 10.0), (1230.0, 35.0), (2090.0, 35.0)]);
        assert_eq!(grown(&alive, 1000.0, edges), [35, 0, 0]);
    }

    #[test]
    fn an_answer_is_added_up_over_pods() {
        let answer = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"pod":"a","provider":"claude","model":"m","kind":"input"},"values":[[1,"10"],[2,"15"]]},
            {"metric":{"pod":"b","provider":"claude","model":"m","kind":"input"},"values":[[2,"1"]]},
            {"metric":{"pod":"b","provider":"claude","model":"m","kind":"strange"},"values":[[2,"1"]]}]}}"#;
        let mut counted = Counted::default();
        counted.add(
            &serde_json::from_str(answer).unwrap(),
            &Targets::default(),
            false,
            span(0.0, 10.0, 10.0),
        );
        let key = ("claude".into(), "m".into(), Kind::Input);
        assert_eq!(counted.tokens, Tokens::from([(key, 16)]));
    }

    /// Samples every 30 seconds, 13 seconds after the full half minute, of 10 tokens a second, where `is_scraped` says so.
    fn steady(from: u32, to: u32, begun: u32, is_scraped: impl Fn(f64) -> bool) -> Vec<(f64, String)> {
        let at = (from..=to).step_by(30).map(|at| f64::from(at) + 13.0);
        at.filter(|at| is_scraped(*at))
            .map(|at| (at, ((at - f64::from(begun)) * 10.0).to_string()))
            .collect()
    }

    #[test]
    fn a_fleet_that_never_rests_closes_within_what_two_scrapes_grew_by_and_with_nothing_to_spare() {
        let edges = span(1200.0, 4800.0, 5700.0);
        let [seen, early, unseen] = grown(&steady(300, 5670, 0, |_| true), 0.0, edges);
        // The ledger is exact: 3600 seconds.
        assert!(
            (seen - early..=seen + unseen).contains(&36_000),
            "{seen} -{early} +{unseen}"
        );
        assert_eq!((early, unseen), (300, 300), "one scrape at each edge");
    }

    #[test]
    fn a_pause_of_scrapes_over_an_edge_is_told_as_a_bound_and_counts_nothing_twice() {
        let edges = span(1200.0, 4800.0, 5700.0);
        let within = |scraped: &[(f64, String)], begun: f64| {
            let [seen, early, unseen] = grown(scraped, begun, edges);
            assert!(
                (seen - early..=seen + unseen).contains(&36_000),
                "{seen} -{early} +{unseen}"
            );
            [seen, early, unseen]
        };
        // Twenty minutes without a scrape before and into the window, of a process that had counted for days.
        let [.., unseen] = within(&steady(300, 5670, 0, |at| at > 1380.0), f64::NEG_INFINITY);
        assert_eq!(unseen, 300);
        // Ten minutes over its end.
        within(&steady(300, 5670, 0, |at| !(4500.0..5100.0).contains(&at)), 0.0);
    }

    #[test]
    fn a_first_sample_counts_since_the_scrape_before_it_or_the_begin_of_its_process() {
        let answer =
            |text: &str| -> Answer { serde_json::from_str(&format!(r#"{{"data":{{"result":[{text}]}}}}"#)).unwrap() };
        let of = |instance: &str, values: &str| {
            format!(
                r#"{{"metric":{{"job":"j","instance":"{instance}","provider":"p","model":"m","kind":"input"}},"values":[{values}]}}"#
            )
        };
        let counted = |started: &str| {
            let tokens = of("a", r#"[1500,"70"],[1530,"71"]"#);
            let mut counted = Counted::default();
            let targets = Targets::of(&answer(started));
            counted.add(&answer(&tokens), &targets, false, span(1000.0, 2000.0, 1600.0));
            let of = |tokens: Tokens| tokens.into_values().sum::<u64>();
            (of(counted.tokens), of(counted.early))
        };
        // A model that nobody had asked for before; its process is old.
        assert_eq!(counted(&of("a", r#"[1470,"5"],[1500,"5"]"#)), (71, 0));
        // A process of the window.
        assert_eq!(counted(&of("a", r#"[1500,"1490"]"#)), (71, 0));
        // An old process that nobody had scraped, and one of which nothing is known.
        assert_eq!(counted(&of("a", r#"[1500,"5"]"#)), (71, 70));
        assert_eq!(counted(&of("b", r#"[1470,"1400"]"#)), (71, 70));
    }
}
