//! A partition for each day of the two large tables: made days before its first row, dropped whole. Pure.

use crate::store::{Row, Value};

/// The tables that are kept by day.
const TABLES: [&str; 2] = ["provider_requests", "provider_logs"];
const DAY: i64 = 24 * 3600 * 1000;

/// The partitions that there are.
pub(super) const FIND: &str = "SELECT CAST(c.relname AS TEXT) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    JOIN pg_class p ON p.oid = i.inhparent WHERE p.relname IN ('provider_requests', 'provider_logs')";

/// Days since 1970 of rows that begin with when they ended.
pub(super) fn days<'a>(requests: &'a [Row], attempts: &'a [Row]) -> impl Iterator<Item = i64> + 'a {
    let day = |row: &'a Row| row.first().map(Value::int).map(|at| at.div_euclid(DAY));
    requests.iter().chain(attempts).filter_map(day)
}

/// Today and the days that partitions are made for beforehand: a clean-up may be missed for as long.
pub(super) fn ahead(now: i64) -> impl Iterator<Item = i64> {
    let today = now.div_euclid(DAY);
    today..today.saturating_add(4)
}

/// Makes those of these days, of both tables.
pub(super) fn make(days: &[i64]) -> String {
    let one = |table: &str, day: i64| {
        let (from, to) = (day.saturating_mul(DAY), day.saturating_add(1).saturating_mul(DAY));
        format!("CREATE TABLE IF NOT EXISTS {table}_d{day} PARTITION OF {table} FOR VALUES FROM ({from}) TO ({to});\n")
    };
    let of_day = |day: &i64| TABLES.map(|table| one(table, *day)).concat();
    days.iter().map(of_day).collect()
}

/// Whether all that a partition can hold ended before `limit`, milliseconds since 1970.
pub(super) fn ends_before(name: &str, limit: i64) -> bool {
    let day = TABLES
        .iter()
        .find_map(|table| name.strip_prefix(table)?.strip_prefix("_d")?.parse::<i64>().ok());
    day.is_some_and(|day| day.saturating_add(1).saturating_mul(DAY) <= limit)
}

/// Drops one that [`ends_before`] knows, whose name is therefore made of letters and digits.
pub(super) fn drop(name: &str) -> String {
    format!("DROP TABLE IF EXISTS {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_dropped_once_its_last_moment_is_old() {
        let name = "provider_logs_d20000";
        assert!(make(&[20_000]).contains(&format!("{name} PARTITION OF provider_logs ")));
        assert!(!ends_before(name, 20_001 * DAY - 1));
        assert!(ends_before(name, 20_001 * DAY));
        for other in [
            "provider_logs_default",
            "provider_logs",
            "x; DROP TABLE y",
            "provider_logs_d1; --",
        ] {
            assert!(!ends_before(other, i64::MAX), "{other}");
        }
    }
}
