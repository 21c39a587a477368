//! Of `report`.

use std::time::Duration;

use clap::{ArgGroup, ValueEnum};
use k8s_openapi::jiff::civil::Date;
use k8s_openapi::jiff::tz::TimeZone;

use super::{By, LedgerWhere, span};

/// Of `report`.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("what").required(true).args(["sla", "usage", "access"]))]
pub struct ReportArgs {
    /// How available it was by minutes, how long answers took, the worst hours; by route also how much of its error budget is used up.
    #[arg(long)]
    pub sla: bool,
    /// Requests, tokens, cost and cache hits, with the period before beside them.
    #[arg(long)]
    pub usage: bool,
    /// Who was turned away by which limit, rule, budget, guard or pause: how often, first and last.
    #[arg(long)]
    pub access: bool,
    /// What `--sla` and `--usage` tell apart.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT", conflicts_with = "access")]
    pub by: By,
    /// When.
    #[command(flatten)]
    pub period: Period,
    /// Where.
    #[command(flatten)]
    pub place: LedgerWhere,
    /// How it is printed.
    #[command(flatten)]
    pub out: ReportOut,
}

/// Which period.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Period {
    /// How far back from now, such as 24h or 7d; also written `--time`.
    #[arg(short = 't', long, alias = "time", value_name = "DURATION", default_value = "30d", value_parser = span)]
    pub since: Duration,
    /// A month of UTC, such as 2026-11, as far as it has passed; the period before is the month before.
    #[arg(long, value_name = "YEAR-MONTH", conflicts_with = "since", value_parser = month)]
    pub month: Option<Month>,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct ReportOut {
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    pub output: ReportFormat,
}

/// In which form, for what is shown to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people.
    #[default]
    Table,
    /// With more columns.
    Wide,
    /// For programs.
    Json,
    /// The same.
    Yaml,
    /// For spreadsheets; a name that a spreadsheet would compute begins with an apostrophe.
    Csv,
    /// For a page, with all columns.
    Markdown,
    /// One file that can be mailed, with all columns and bars: nothing in it is loaded from elsewhere.
    Html,
}

/// A month of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Month {
    year: i16,
    month: i8,
}

impl Month {
    /// When it begins, milliseconds since 1970.
    pub fn begin(self) -> i64 {
        // Both are checked where they are read, and by those that follow.
        let first = Date::new(self.year, self.month, 1).and_then(|day| day.to_zoned(TimeZone::UTC));
        first.map_or(0, |first| first.timestamp().as_millisecond())
    }

    /// The month after it.
    #[must_use]
    pub fn next(self) -> Self {
        match self.month {
            12 => Self {
                year: self.year + 1,
                month: 1,
            },
            month => Self {
                month: month + 1,
                ..self
            },
        }
    }

    /// The month before it.
    #[must_use]
    pub fn previous(self) -> Self {
        match self.month {
            1 => Self {
                year: self.year - 1,
                month: 12,
            },
            month => Self {
                month: month - 1,
                ..self
            },
        }
    }
}

fn month(text: &str) -> Result<Month, String> {
    let read = text.split_once('-').and_then(|(year, month)| {
        let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        (digits(year, 4) && digits(month, 2)).then_some(())?;
        Some((year.parse::<i16>().ok()?, month.parse::<i8>().ok()?))
    });
    match read {
        Some((year @ 1971..=2999, month @ 1..=12)) => Ok(Month { year, month }),
        _ => Err("a year and a month, such as 2026-11".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_with_its_first_day_and_has_neighbours() {
        let of = |text| month(text).unwrap();
        assert_eq!(of("2026-11").begin(), 1_793_491_200_000);
        assert_eq!(of("2026-12").next(), of("2027-01"));
        assert_eq!(of("2026-01").previous(), of("2025-12"));
        assert_eq!(of("2024-03").begin() - of("2024-02").begin(), 29 * 86_400_000);
        for none in [
            "2026",
            "2026-13",
            "2026-00",
            "26-11",
            "2026-1",
            "+026-11",
            "2026-11-01",
            "1970-01",
        ] {
            assert!(month(none).is_err(), "{none}");
        }
    }
}
