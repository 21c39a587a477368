//! Numbers with their units, as people read them. Pure.

use std::fmt::Display;
use std::time::Duration;

use bowsprit_ledger::query::Money;
use k8s_openapi::jiff::Timestamp;

const MICROS_A_MILLI: u64 = 1_000;
const MICROS_A_SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400;
/// Picodollars of a ten-thousandth of a dollar, the least amount that a table tells from nothing.
const LEAST: u128 = 100_000_000;
/// Picodollars of a dollar.
const DOLLAR: u128 = 1_000_000_000_000;

/// A length of time from microseconds: `0.4 ms`, `812 ms`, `3.21 s`, `2 min 5 s`, `1 h 4 min`.
pub(crate) fn took(micros: u64) -> String {
    let millis = (micros + MICROS_A_MILLI / 2) / MICROS_A_MILLI;
    let seconds = micros / MICROS_A_SECOND;
    match micros {
        0 => "0 ms".to_owned(),
        1..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ if millis < 1_000 => format!("{millis} ms"),
        _ if seconds < 60 => format!("{:.2} s", micros as f64 / 1e6),
        _ if seconds < 3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// A length of time that somebody chose: `24h`, `7d`, `90s`, with the largest unit that divides it; a day is told in hours.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs().max(1);
    if seconds == DAY {
        return "24h".to_owned();
    }
    let units = [("d", DAY), ("h", 3_600), ("m", 60)];
    let unit = units.into_iter().find(|(_, size)| seconds.is_multiple_of(*size));
    unit.map_or_else(
        || format!("{seconds}s"),
        |(unit, size)| format!("{}{unit}", seconds / size),
    )
}

/// Memory: `812 B`, `64.0 KiB`, `1.2 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{:.1} KiB", bytes as f64 / KIB as f64),
        _ => format!("{:.1} MiB", bytes as f64 / MIB as f64),
    }
}

/// A count with a gap at the thousands: `1 204`, `12 000 000`; up to four digits as they are.
pub(crate) fn number(count: impl Display) -> String {
    let digits = count.to_string();
    if digits.len() <= 4 {
        return digits;
    }
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 attempt`, `12 000 attempts`.
pub(crate) fn many(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", number(count))
}

/// An amount for a table: cents from a dollar on, four places below; `<$0.0001` is not nothing.
pub(crate) fn dollars(money: Money) -> String {
    let amount = money.0;
    let places: u32 = match amount.unsigned_abs() {
        0 => return "$0".to_owned(),
        amount if amount < LEAST => return "<$0.0001".to_owned(),
        amount if amount < DOLLAR => 4,
        _ => 2,
    };
    // Rounded as whole numbers: money is never a float here.
    let step = 10_u128.pow(12 - places);
    let rounded = (amount.unsigned_abs() + step / 2) / step;
    let whole = 10_u128.pow(places);
    let sign = if amount < 0 { "-" } else { "" };
    let width = places as usize;
    format!("{sign}${}.{:0width$}", rounded / whole, rounded % whole)
}

/// A part of a whole: `99.5%`; a part that is not whole never shows as `100%`, and one that is not nothing never as `0%`.
pub(crate) fn percent(part: f64) -> String {
    let percent = part * 100.0;
    if part >= 1.0 || part <= 0.0 {
        return format!("{percent:.0}%");
    }
    if percent > 99.99 {
        return ">99.9%".to_owned();
    }
    if percent < 0.01 {
        return "<0.1%".to_owned();
    }
    let places = if (1.0..99.0).contains(&percent) { 1 } else { 2 };
    format!("{percent:.places$}%")
}

/// A moment from milliseconds since 1970, in UTC: `2026-11-28 18:19:07.120Z`.
pub(crate) fn moment(millis: i64) -> String {
    let moment = Timestamp::from_millisecond(millis).map(|at| at.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string());
    moment.unwrap_or_else(|_| millis.to_string())
}

/// The same for programs, as RFC 3339.
pub(crate) fn rfc3339(millis: i64) -> String {
    let moment = Timestamp::from_millisecond(millis).map(|at| at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
    moment.unwrap_or_else(|_| millis.to_string())
}

/// Milliseconds since 1970, by this machine's clock.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_the_unit_that_keeps_it_short() {
        for (count, text) in [
            (812, "812 B"),
            (65_536, "64.0 KiB"),
            (1_258_291, "1.2 MiB"),
            (268_435_456, "256.0 MiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn lengths_of_time_are_short_and_have_their_unit() {
        for (micros, text) in [
            (0, "0 ms"),
            (400, "0.4 ms"),
            (812_400, "812 ms"),
            (999_700, "1.00 s"),
            (3_210_000, "3.21 s"),
            (125_000_000, "2 min 5 s"),
            (3_900_000_000, "1 h 5 min"),
        ] {
            assert_eq!(took(micros), text);
        }
        assert_eq!(
            [86_400, 604_800, 3_600, 90].map(|seconds| span(Duration::from_secs(seconds))),
            ["24h", "7d", "1h", "90s"]
        );
    }

    #[test]
    fn money_is_rounded_without_becoming_nothing() {
        for (amount, text) in [
            (0, "$0"),
            (1, "<$0.0001"),
            (1_250_000_000, "$0.0013"),
            (999_999_999_999, "$1.0000"),
            (12_345_000_000_000, "$12.35"),
            (-12_345_000_000_000, "-$12.35"),
        ] {
            assert_eq!(dollars(Money(amount)), text);
        }
    }

    #[test]
    fn what_is_not_all_is_not_shown_as_all() {
        assert_eq!(
            [0.0, 0.000_01, 0.005, 0.5, 0.995, 0.999_99, 1.0].map(percent),
            ["0%", "<0.1%", "0.50%", "50.0%", "99.50%", ">99.9%", "100%"]
        );
    }

    #[test]
    fn counts_and_moments_are_read_at_a_glance() {
        assert_eq!(
            [204_u64, 1_204, 12_000, 12_345_678].map(number),
            ["204", "1204", "12 000", "12 345 678"]
        );
        assert_eq!(moment(1_700_000_000_120), "2023-11-14 22:13:20.120Z");
        assert_eq!(rfc3339(1_700_000_000_120), "2023-11-14T22:13:20.120Z");
    }
}
