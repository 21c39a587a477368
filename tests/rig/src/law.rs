//! The sums law: what a sidecar tells of its requests, attempts and tokens in one place is what it tells in every other.
//!
//! Requests received are those in flight and those that ended, each with one outcome and one access line. Each attempt is
//! counted once and told once. Tokens in the lines of attempts and batches are the tokens in the metrics, and what the limiter was
//! charged for each attempt is what its record says it cost.

use serde_json::Value;

use crate::metrics::sum;

/// The kinds of tokens that lines and metrics both tell, by their names in either.
const REPORTED: [(&str, &str); 3] = [
    ("input_tokens", "input"),
    ("cached_tokens", "cached"),
    ("output_tokens", "output"),
];
const ESTIMATED: [(&str, &str); 2] = [
    ("estimated_input_tokens", "input"),
    ("estimated_output_tokens", "output"),
];

/// What a sidecar has told until one moment.
pub struct Told<'a> {
    /// Its metrics.
    pub metrics: &'a str,
    /// Its log: access lines and attempts' lines; others are passed over.
    pub log: &'a str,
    /// Providers that left the configuration while it ran: their series went with them, and their sums are not compared.
    pub removed: &'a [&'a str],
}

impl Told<'_> {
    /// The lines of a target: `access` or `attempt`.
    pub fn lines(&self, target: &str) -> Vec<Value> {
        lines(self.log, target)
    }

    /// What holds at any moment, requests in flight or not. `Err`: what does not.
    pub fn holds(&self) -> Result<(), String> {
        self.counts()?;
        self.requests()?;
        self.attempts()?;
        self.tokens()
    }

    /// The part of it that needs no log.
    pub fn counts(&self) -> Result<(), String> {
        let received = self.metric("bowsprit_requests_received_total", &[]);
        let in_flight = self.metric("bowsprit_in_flight", &[]);
        let ended = self.metric("bowsprit_requests_total", &[]);
        same("requests received, and in flight or ended", received, in_flight + ended)?;
        let illegal = self.metric("bowsprit_lifecycle_illegal_events_total", &[]);
        same("changes of a request's state that are illegal", illegal, 0.0)
    }

    fn metric(&self, family: &str, labels: &[&str]) -> f64 {
        let removed = self.removed.iter().map(|name| {
            let provider = format!("provider=\"{name}\"");
            sum(self.metrics, family, &[labels, &[&provider]].concat())
        });
        sum(self.metrics, family, labels) - removed.sum::<f64>()
    }

    fn attempt_lines(&self) -> Vec<Value> {
        self.lines_of_those_that_stay("attempt")
    }

    fn lines_of_those_that_stay(&self, target: &str) -> Vec<Value> {
        let mut lines = self.lines(target);
        lines.retain(|line| !self.removed.iter().any(|name| line["provider"] == **name));
        lines
    }

    fn requests(&self) -> Result<(), String> {
        let ended = self.metric("bowsprit_requests_total", &[]);
        let access = self.lines("access");
        same("requests ended, and access lines", ended, access.len() as f64)?;
        for line in &access {
            let outcome = line["outcome"].as_str().unwrap_or_default();
            let lines = access.iter().filter(|line| line["outcome"] == *outcome).count();
            let counted = self.metric("bowsprit_requests_total", &[&format!("outcome=\"{outcome}\"")]);
            same(
                &format!("requests that ended {outcome}, counted and in the log"),
                counted,
                lines as f64,
            )?;
        }
        Ok(())
    }

    fn attempts(&self) -> Result<(), String> {
        let attempts = self.attempt_lines();
        let counted = self.metric("bowsprit_attempts_total", &[]);
        same("attempts counted and in the log", counted, attempts.len() as f64)?;
        if self.metric("bowsprit_in_flight", &[]) > 0.5 {
            return Ok(());
        }
        let of_requests: u64 = self.lines("access").iter().map(|line| count(line, "attempts")).sum();
        let all = self.lines("attempt");
        let made = all.iter().filter(|line| line["kind"] != "probe").count();
        same(
            "attempts in requests' lines and in their own",
            of_requests as f64,
            made as f64,
        )
    }

    fn tokens(&self) -> Result<(), String> {
        let attempts = self.attempt_lines();
        let batches = self.lines_of_those_that_stay("batch");
        for (family, fields) in [
            ("bowsprit_tokens_total", &REPORTED[..]),
            ("bowsprit_estimated_tokens_total", &ESTIMATED[..]),
        ] {
            for (field, kind) in fields {
                let told = attempts.iter().chain(&batches).map(|line| count(line, field));
                let told: u64 = told.sum();
                let counted = self.metric(family, &[&format!("kind=\"{kind}\"")]);
                same(
                    &format!("{field} in the log and {family} of {kind}"),
                    told as f64,
                    counted,
                )?;
            }
        }
        self.of_single_attempts()?;
        for line in &attempts {
            let fields = [
                "input_tokens",
                "output_tokens",
                "estimated_input_tokens",
                "estimated_output_tokens",
            ];
            let spent: u64 = fields.iter().map(|field| count(line, field)).sum();
            let charged = count(line, "charged_tokens");
            // Where nothing is known, what was reserved stands.
            if spent > 0 && spent != charged {
                return Err(format!(
                    "{spent} tokens spent, and {charged} charged to the limit: {line}"
                ));
            }
        }
        Ok(())
    }
}

impl Told<'_> {
    /// Where each request was one attempt at most, and all have ended, requests cost what their attempts cost.
    fn of_single_attempts(&self) -> Result<(), String> {
        let (requests, attempts) = (self.lines("access"), self.lines("attempt"));
        let is_single = requests.iter().all(|line| count(line, "attempts") <= 1);
        if !is_single || self.metric("bowsprit_in_flight", &[]) > 0.5 {
            return Ok(());
        }
        for (field, _) in REPORTED.iter().chain(&ESTIMATED) {
            let sum_of = |lines: &[Value]| lines.iter().map(|line| count(line, field)).sum::<u64>() as f64;
            same(
                &format!("{field} of requests and of their attempts"),
                sum_of(&requests),
                sum_of(&attempts),
            )?;
        }
        Ok(())
    }
}

/// The lines of a target in a log of JSON lines.
pub fn lines(log: &str, target: &str) -> Vec<Value> {
    let mark = format!("\"target\":\"{target}\"");
    let lines = log.lines().filter(|line| line.contains(&mark));
    lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn count(line: &Value, field: &str) -> u64 {
    line[field].as_u64().unwrap_or(0)
}

/// Both are counts, however they are written.
fn same(what: &str, one: f64, other: f64) -> Result<(), String> {
    if (one - other).abs() < 0.5 {
        Ok(())
    } else {
        Err(format!("{what}: {one} and {other}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "\
bowsprit_requests_received_total{dialect=\"openai\"} 2
bowsprit_requests_total{outcome=\"ok\",code=\"\"} 1
bowsprit_requests_total{outcome=\"cut\",code=\"\"} 1
bowsprit_in_flight 0
bowsprit_attempts_total{provider=\"a\",model=\"m\",code=\"ok\"} 1
bowsprit_attempts_total{provider=\"a\",model=\"m\",code=\"cancelled\"} 1
bowsprit_tokens_total{provider=\"a\",model=\"m\",kind=\"input\"} 18
bowsprit_tokens_total{provider=\"a\",model=\"m\",kind=\"output\"} 3
bowsprit_estimated_tokens_total{provider=\"a\",kind=\"input\"} 5
";
    const LOG: &str = r#"{"target":"attempt","input_tokens":7,"output_tokens":3,"charged_tokens":10}
{"target":"access","outcome":"ok","attempts":1,"input_tokens":7,"output_tokens":3}
{"target":"attempt","estimated_input_tokens":5,"charged_tokens":5}
{"target":"batch","input_tokens":11}
{"target":"access","outcome":"cut","attempts":1,"estimated_input_tokens":5}
"#;

    fn told(metrics: &str, log: &str) -> Result<(), String> {
        let removed = &[];
        Told { metrics, log, removed }.holds()
    }

    #[test]
    fn sums_that_agree_hold() {
        told(METRICS, LOG).unwrap();
    }

    #[test]
    fn every_sum_that_is_off_by_one_is_found() {
        for (from, to) in [
            (
                "received_total{dialect=\"openai\"} 2",
                "received_total{dialect=\"openai\"} 3",
            ),
            ("in_flight 0", "in_flight 1"),
            ("code=\"ok\"} 1", "code=\"ok\"} 2"),
            ("kind=\"output\"} 3", "kind=\"output\"} 4"),
            ("{provider=\"a\",kind=\"input\"} 5", "{provider=\"a\",kind=\"input\"} 6"),
            ("outcome=\"cut\"", "outcome=\"shed\""),
        ] {
            assert!(METRICS.contains(from), "{from}");
            assert!(told(&METRICS.replace(from, to), LOG).is_err(), "{to}");
        }
        for (from, to) in [
            ("\"charged_tokens\":10", "\"charged_tokens\":11"),
            ("ok\",\"attempts\":1", "ok\",\"attempts\":2"),
            ("\"outcome\":\"ok\"", "\"outcome\":\"shed\""),
            ("\"input_tokens\":7", "\"input_tokens\":8"),
            ("\"input_tokens\":11", "\"input_tokens\":12"),
            ("1,\"estimated_input_tokens\":5", "1,\"estimated_input_tokens\":6"),
        ] {
            assert!(LOG.contains(from), "{from}");
            assert!(told(METRICS, &LOG.replace(from, to)).is_err(), "{to}");
        }
    }
}
