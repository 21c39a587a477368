//! Which period a report is of. Pure.

use bowsprit_ledger::query::{Window, report};

use crate::args::{By, Period};
use crate::failure::Failure;
use crate::ledger::window;
use crate::output::units;

/// A period and the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The period.
    pub(super) window: Window,
    /// The one that ends where it begins.
    pub(super) previous: Window,
}

/// What a report is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// `None`: all.
    pub(super) namespace: Option<&'a str>,
    /// What rows are told apart by.
    pub(super) by: By,
    /// When.
    pub(super) window: Window,
}

impl About<'_> {
    /// Such as `namespace shop, 2026-11-01 00:00 to 2026-12-01 00:00 UTC`.
    pub(super) fn place(&self) -> String {
        let place = self
            .namespace
            .map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"));
        format!("{place}, {}", written(self.window))
    }

    /// What is said where there is nothing.
    pub(super) fn nothing(&self) -> String {
        format!("No request ended: {}.", self.place())
    }
}

/// A window to the minute, of which an answer of sums is.
pub(super) fn written(window: Window) -> String {
    format!("{} to {} UTC", minute(window.from), minute(window.to))
}

/// A moment to its minute.
pub(super) fn minute(at: i64) -> String {
    let moment = units::moment(at);
    moment.get(..16).unwrap_or(&moment).to_owned()
}

/// Which one is asked about at the time `now`.
///
/// # Errors
/// It has not begun.
pub(super) fn asked(period: &Period, now: i64) -> Result<Asked, Failure> {
    let Some(month) = period.month else {
        let window = window::before(now, period.since);
        return Ok(Asked {
            window,
            previous: report::before(window),
        });
    };
    if month.begin() >= now {
        return Err(Failure::Usage("--month: that month has not begun".to_owned()));
    }
    Ok(Asked {
        window: Window {
            from: month.begin(),
            to: month.next().begin().min(now),
        },
        previous: Window {
            from: month.previous().begin(),
            to: month.begin(),
        },
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    fn of(line: &[&str], now: i64) -> Result<Asked, Failure> {
        let words = ["kubectl-bowsprit", "report", "--usage"].iter().chain(line);
        match Args::try_parse_from(words).unwrap().command {
            Command::Report(args) => asked(&args.period, now),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_month_is_of_the_calendar_and_ends_now_where_it_has_not_passed() {
        const NOVEMBER: i64 = 1_793_491_200_000;
        const DAY: i64 = 86_400_000;
        let passed = of(&["--month", "2026-11"], NOVEMBER + 40 * DAY).unwrap();
        assert_eq!((passed.window.from, passed.window.to), (NOVEMBER, NOVEMBER + 30 * DAY));
        assert_eq!(
            (passed.previous.from, passed.previous.to),
            (NOVEMBER - 31 * DAY, NOVEMBER)
        );
        assert_eq!(written(passed.window), "2026-11-01 00:00 to 2026-12-01 00:00 UTC");
        let half = of(&["--month", "2026-11"], NOVEMBER + 14 * DAY).unwrap();
        assert_eq!(half.window.to, NOVEMBER + 14 * DAY);
        let failure = of(&["--month", "2026-11"], NOVEMBER - 1).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        let week = of(&["--since", "7d"], NOVEMBER).unwrap();
        assert_eq!(
            (week.window.from, week.previous.from),
            (NOVEMBER - 7 * DAY, NOVEMBER - 14 * DAY)
        );
        assert_eq!(of(&["--time", "7d"], NOVEMBER).unwrap(), week);
        assert_eq!(of(&[], NOVEMBER).unwrap().window.from, NOVEMBER - 30 * DAY);
    }
}
