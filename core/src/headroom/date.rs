//! The four ways in which a date arrives in a header, to Unix milliseconds. Small and exact: no zone names but GMT and
//! UTC, and a leap second (`:60`) is the next minute's first second, as everywhere in Unix time.

/// RFC 3339, or any of the three forms of an HTTP date (RFC 9110, 5.6.7). `wall_unix_ms` settles the century of the one
/// form that has two-digit years.
pub(super) fn parse(text: &str, wall_unix_ms: u64) -> Option<i64> {
    let mut words = [""; 6];
    let mut count = 0;
    for word in text.split_ascii_whitespace() {
        *words.get_mut(count)? = word; // a seventh word is no date
        count += 1;
    }
    match (count, words) {
        (1, [one, ..]) => rfc3339(one),
        // Sun, 06 Nov 1994 08:49:37 GMT
        (6, [name, day, month, year, clock, zone]) if gmt(zone) && name.ends_with(',') => {
            unix_ms(number(year, 4)?, month_of(month)?, number(day, 2)?, time_of_day(clock)?)
        }
        // Sun Nov  6 08:49:37 1994
        (5, [_, month, day, clock, year, _]) => unix_ms(
            number(year, 4)?,
            month_of(month)?,
            number(day, day.len().min(2))?,
            time_of_day(clock)?,
        ),
        // Sunday, 06-Nov-94 08:49:37 GMT
        (4, [name, date, clock, zone, ..]) if gmt(zone) && name.ends_with(',') => {
            let (day, rest) = date.split_once('-')?;
            let (month, year) = rest.split_once('-')?;
            let (month, day, time) = (month_of(month)?, number(day, 2)?, time_of_day(clock)?);
            unix_ms(nearest_century(number(year, 2)?, wall_unix_ms), month, day, time)
        }
        _ => None,
    }
}

/// `2026-11-06T08:49:37Z`, with any fraction and any offset.
fn rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't'])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let (fraction, zone) = rest.split_at(rest.find(['Z', 'z', '+', '-'])?);

    let (year, rest) = date.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let whole = unix_ms(
        number(year, 4)?,
        number(month, 2)?,
        number(day, 2)?,
        time_of_day(clock)?,
    )?;
    Some(whole + millis_of(fraction)? - offset_ms(zone)?)
}

/// `.5` is 500; an empty fraction is none.
fn millis_of(fraction: &str) -> Option<i64> {
    let Some(digits) = fraction.strip_prefix('.') else {
        return fraction.is_empty().then_some(0);
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let three = digits.bytes().chain(*b"00").take(3);
    Some(three.fold(0, |millis, digit| millis * 10 + i64::from(digit - b'0')))
}

fn offset_ms(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    (hours < 24 && minutes < 60).then(|| sign * (hours * 60 + minutes) * 60_000)
}

fn gmt(zone: &str) -> bool {
    matches!(zone, "GMT" | "UTC")
}

/// Exactly `digits` digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn month_of(name: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    (1..)
        .zip(MONTHS)
        .find(|(_, month)| month.eq_ignore_ascii_case(name))
        .map(|(number, _)| number)
}

/// `08:49:37` to milliseconds since midnight.
fn time_of_day(text: &str) -> Option<i64> {
    let (hours, rest) = text.split_once(':')?;
    let (minutes, seconds) = rest.split_once(':')?;
    let (hours, minutes, seconds) = (number(hours, 2)?, number(minutes, 2)?, number(seconds, 2)?);
    (hours < 24 && minutes < 60 && seconds <= 60).then_some(((hours * 60 + minutes) * 60 + seconds) * 1_000)
}

/// A two-digit year is the one that is not more than fifty years ahead (RFC 9110).
fn nearest_century(two_digits: i64, wall_unix_ms: u64) -> i64 {
    const YEAR_MS: u64 = 31_556_952_000; // a mean Gregorian year
    let this_year = 1970 + i64::try_from(wall_unix_ms / YEAR_MS).unwrap_or(0);
    let guess = this_year - this_year % 100 + two_digits;
    if guess > this_year + 50 { guess - 100 } else { guess }
}

/// Days from 0000-03-01 to 1970-01-01.
const TO_1970: i64 = 719_468;

/// Midnight of the day plus the time of day; `None` for days that do not exist.
fn unix_ms(year: i64, month: i64, day: i64, time_of_day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) || !(1..=9999).contains(&year) {
        return None;
    }
    // Years from March, so that the leap day is the last: 365.25 - 0.01 + 0.0025 days a year, 153 days in five months.
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - TO_1970) * 86_400_000 + time_of_day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-06T08:49:37Z
    const NOW: u64 = 1_793_954_977_000;

    #[test]
    fn all_four_forms_of_one_moment_agree() {
        for text in [
            "2026-11-06T08:49:37Z",
            "2026-11-06t08:49:37.000z",
            "2026-11-06T08:49:37+00:00",
            "2026-11-06T10:19:37+01:30",
            "2026-11-05T22:49:37-10:00",
            "Fri, 06 Nov 2026 08:49:37 GMT",
            "Friday, 06-Nov-26 08:49:37 GMT",
            "Fri Nov  6 08:49:37 2026",
        ] {
            assert_eq!(parse(text, NOW), Some(1_793_954_977_000), "{text}");
        }
    }

    #[test]
    fn known_moments() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("1994-11-06T08:49:37Z", 784_111_777_000),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
            ("2026-01-01T00:00:00.5Z", 1_767_225_600_500),
            ("2026-01-01T00:00:00.123456789Z", 1_767_225_600_123),
        ] {
            assert_eq!(parse(text, NOW), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_two_digit_year_is_never_more_than_fifty_years_ahead() {
        assert_eq!(parse("Sunday, 06-Nov-94 08:49:37 GMT", NOW), Some(784_111_777_000));
        assert_eq!(
            parse("Friday, 06-Nov-76 08:49:37 GMT", NOW),
            parse("2076-11-06T08:49:37Z", NOW)
        );
        assert_eq!(
            parse("Saturday, 06-Nov-77 08:49:37 GMT", NOW),
            parse("1977-11-06T08:49:37Z", NOW)
        );
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "soon",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01 00:00:00Z",
            "2026-1-1T00:00:00Z",
            "+026-01-01T00:00:00Z",
            "Fri, 06 Nov 2026 08:49:37 CET",
            "Fri, 06 Foo 2026 08:49:37 GMT",
            "Fri, 06 Nov 2026 08:49:37 GMT and more",
            "ünïcödé-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text, NOW), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_day_before() {
        let mut expected = parse("1900-01-01T00:00:00Z", NOW).unwrap();
        for year in 1900..2300 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if let Some(found) = unix_ms(year, month, day, 0) {
                        assert_eq!(found, expected, "{year}-{month}-{day}");
                        expected += 86_400_000;
                    }
                }
            }
        }
        assert_eq!(parse("2300-01-01T00:00:00Z", NOW), Some(expected));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", wall: u64) {
            let _ = parse(&text, wall);
        }

        #[test]
        fn nothing_that_looks_like_a_date_makes_it_panic(text in "[0-9TZ:+. ,-]{0,40}", wall: u64) {
            let _ = parse(&text, wall);
        }
    }
}
