//! The sidecar's clocks: the one place that asks the machine what time it is.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bowsprit_core::clock::Moment;
use bowsprit_core::json::line;
use tokio::time::Instant;

/// The monotonic clock that the pure machines of `core` are fed from. Tokio's, so that tests can hold it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Now, as the machines count.
    pub fn now(&self) -> Moment {
        Moment::from_start(self.start.elapsed())
    }

    /// A moment as timers count.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.start + moment.since_start()
    }
}

/// A timer that rings so much later than it was set for rings late because the whole process stood still: it was paused,
/// frozen with its node or starved of CPU. As long, what arrived meanwhile may take to be read before the timer is believed.
const STOOD_STILL: Duration = Duration::from_millis(50);

/// When a limit that ran out at `deadline` and is looked at `now` is to be looked at again: what arrived while the process
/// stood still is not read yet, and it is not the peer that was silent. `None`: it has truly run out.
pub fn grace(deadline: Instant, now: Instant) -> Option<Instant> {
    (now.saturating_duration_since(deadline) > STOOD_STILL).then(|| now + STOOD_STILL)
}

/// `timeout_at` with that grace, which is `given` once. The work comes pinned: taken by value it would be held twice.
pub async fn until<F: Future>(deadline: Instant, given: &mut bool, mut work: Pin<&mut F>) -> Result<F::Output, Late> {
    let mut alarm = pin!(tokio::time::sleep_until(deadline));
    loop {
        tokio::select! {
            biased;
            done = work.as_mut() => return Ok(done),
            () = alarm.as_mut() => match grace(alarm.deadline(), Instant::now()) {
                Some(again) if !std::mem::replace(given, true) => alarm.as_mut().reset(again),
                _ => return Err(Late),
            },
        }
    }
}

/// A limit has run out.
#[derive(Clone, Copy, Debug)]
pub struct Late;

/// The wall clock, for HTTP dates, log lines and what the calendar decides: the windows of budgets. Nothing else hangs on it.
pub fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The wall clock in milliseconds, as rate-limit headers need it.
pub fn unix_millis() -> u64 {
    u64::try_from(unix_now().as_millis()).unwrap_or(u64::MAX)
}

/// The wall clock in seconds.
pub fn unix_seconds() -> i64 {
    i64::try_from(unix_now().as_secs()).unwrap_or(i64::MAX)
}

/// `2026-11-21T04:13:42Z`, of seconds since 1970.
pub fn rfc3339(seconds: i64) -> String {
    let mut out = Vec::new();
    write_rfc3339(&mut out, Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    let text = String::from_utf8_lossy(&out);
    text.replace(".000Z", "Z")
}

/// Appends `2026-11-21T04:13:42.123Z`.
pub fn write_rfc3339(out: &mut Vec<u8>, since_epoch: Duration) {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_from_days(i64::try_from(seconds / 86_400).unwrap_or(0));
    let in_day = seconds % 86_400;
    let millis = u64::from(since_epoch.subsec_millis());
    let two = |number: i64| line::two_digits(u64::try_from(number).unwrap_or(0));
    let [[y1, y2], [y3, y4], [mo1, mo2], [d1, d2]] = [two(year / 100), two(year), two(month), two(day)];
    let [[h1, h2], [m1, m2], [s1, s2], [f1, f2]] =
        [in_day / 3600, in_day / 60 % 60, in_day % 60, millis / 10].map(line::two_digits);
    let f3 = b'0' + (millis % 10) as u8;
    out.extend_from_slice(&[
        y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T', h1, h2, b':', m1, m2, b':', s1, s2, b'.', f1, f2, f3, b'Z',
    ]);
}

/// Days since 1970 to year, month, day (Howard Hinnant's `civil_from_days`, for days >= 0).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days_and_year_ends() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            let mut out = Vec::new();
            write_rfc3339(&mut out, Duration::from_secs(seconds));
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
