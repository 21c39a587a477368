//! What the load tool counts, and the JSON it prints.

use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest time recorded, in microseconds (2 minutes); four times the longest a request may take.
const LONGEST_MICROS: u64 = 120_000_000;
/// Characters of an error kept in the output.
const LONGEST_ERROR: usize = 300;

/// Counts of one run.
#[derive(Debug)]
pub struct Tally {
    latency: Histogram<u64>,
    first_byte: Histogram<u64>,
    ok: u64,
    bad: u64,
    io: u64,
    events: u64,
    reads: u64,
    bytes: u64,
    last_error: String,
}

/// One answer that was as expected.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer {
    /// From the request's start to the last byte.
    pub latency: Duration,
    /// From the request's start to the first byte of content.
    pub first_byte: Duration,
    /// Server-sent events in it.
    pub events: u64,
    /// Reads it took.
    pub reads: u64,
    /// Bytes of content.
    pub bytes: u64,
}

/// Quantiles of a time, in microseconds.
#[derive(Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half are faster.
    pub p50: u64,
    /// 90 % are faster.
    pub p90: u64,
    /// 99 % are faster.
    pub p99: u64,
    /// 99.9 % are faster.
    pub p999: u64,
    /// The slowest.
    pub max: u64,
    /// The arithmetic mean.
    pub mean: f64,
}

/// The JSON line of one run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `closed`, `rate` or `stream`.
    pub mode: &'static str,
    /// How long it really ran, in seconds.
    pub seconds: f64,
    /// Answers as expected.
    pub ok: u64,
    /// Answers with another status than 200, or another number of events than `--events`.
    pub bad: u64,
    /// Requests without a whole answer: refused, reset, cut short, timed out, or never sent by the end of an open loop.
    pub io: u64,
    /// `ok` per second.
    pub requests_per_second: f64,
    /// Server-sent events in all `ok` answers.
    pub events: u64,
    /// Reads on all connections that `ok` answers took.
    pub reads: u64,
    /// Bytes of content in all `ok` answers.
    pub bytes: u64,
    /// Times to the last byte of `ok` answers.
    pub latency_us: Quantiles,
    /// Times to the first byte of content of `ok` answers.
    pub first_byte_us: Quantiles,
    /// The last error's text; empty if there was none.
    pub last_error: String,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new() -> Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_MICROS, 3).context("make a histogram");
        Ok(Self {
            latency: histogram()?,
            first_byte: histogram()?,
            ok: 0,
            bad: 0,
            io: 0,
            events: 0,
            reads: 0,
            bytes: 0,
            last_error: String::new(),
        })
    }

    /// Counts an answer as expected.
    pub fn ok(&mut self, answer: Answer) {
        self.ok += 1;
        self.events += answer.events;
        self.reads += answer.reads;
        self.bytes += answer.bytes;
        self.latency.saturating_record(micros(answer.latency));
        self.first_byte.saturating_record(micros(answer.first_byte));
    }

    /// Counts a whole answer that is not the one expected.
    pub fn bad(&mut self, why: &str) {
        self.bad += 1;
        self.note(why);
    }

    /// Counts requests that got no whole answer.
    pub fn io(&mut self, requests: u64, why: &str) {
        self.io += requests;
        self.note(why);
    }

    fn note(&mut self, why: &str) {
        self.last_error = why.chars().take(LONGEST_ERROR).collect();
    }

    /// The run as JSON has it.
    pub fn report(&self, mode: &'static str, took: Duration) -> Report {
        let seconds = took.as_secs_f64();
        Report {
            mode,
            seconds,
            ok: self.ok,
            bad: self.bad,
            io: self.io,
            requests_per_second: if seconds > 0.0 { self.ok as f64 / seconds } else { 0.0 },
            events: self.events,
            reads: self.reads,
            bytes: self.bytes,
            latency_us: Quantiles::of(&self.latency),
            first_byte_us: Quantiles::of(&self.first_byte),
            last_error: self.last_error.clone(),
        }
    }
}

impl Quantiles {
    fn of(times: &Histogram<u64>) -> Self {
        Self {
            p50: times.value_at_quantile(0.5),
            p90: times.value_at_quantile(0.9),
            p99: times.value_at_quantile(0.99),
            p999: times.value_at_quantile(0.999),
            max: times.max(),
            mean: times.mean(),
        }
    }
}

/// Whole microseconds, at least one: the histogram starts there.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_as_expected_enter_the_times() {
        let mut tally = Tally::new().unwrap();
        tally.ok(Answer {
            latency: Duration::from_millis(3),
            events: 65,
            bytes: 10,
            ..Answer::default()
        });
        tally.bad("status 503");
        tally.io(2, "refused");
        let report = tally.report("stream", Duration::from_secs(2));
        assert_eq!((report.ok, report.bad, report.io, report.events), (1, 1, 2, 65));
        assert!((report.requests_per_second - 0.5).abs() < 1e-9);
        assert!((2_990..=3_010).contains(&report.latency_us.p99));
        assert_eq!(report.last_error, "refused");
    }

    #[test]
    fn a_time_beyond_the_scale_is_kept_as_the_longest() {
        let mut tally = Tally::new().unwrap();
        tally.ok(Answer {
            latency: Duration::from_hours(1),
            ..Answer::default()
        });
        assert!(tally.report("closed", Duration::ZERO).latency_us.max >= LONGEST_MICROS);
    }
}
