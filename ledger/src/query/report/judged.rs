//! Which minutes (or hours) of a period were good and which were bad, and its worst hours: as a store tells it of one period, and of several
//! together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::By;
use super::super::sums::{MOST_NAMES, Scope, whole};
use super::{Hour, MOST_HOURS, Windows, asked};
use crate::store::{Error, Query, Row, Store, Value};

/// What tells rows apart: namespace, provider, name.
pub(super) type Key = (String, String, String);

pub(super) fn key(row: &Row) -> Key {
    let text = |index: usize| row.get(index).map(Value::told).unwrap_or_default();
    (text(0), text(1), text(2))
}

pub(super) fn count(row: &Row, index: usize) -> u64 {
    u64::try_from(row.get(index).map_or(0, Value::int)).unwrap_or(0)
}

pub(super) async fn by_key<T, C: FromIterator<(Key, T)>>(
    store: &dyn Store,
    query: Query,
    of: impl Fn(&Row) -> T,
) -> Result<C, Error> {
    let rows = store.query(query).await?;
    Ok(rows.iter().map(|row| (key(row), of(row))).collect())
}

/// What a period was like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Judged {
    /// Its minutes (or hours) by name.
    pub(super) windows: Vec<(Key, Windows)>,
    /// Its worst hours, [`MOST_HOURS`] at most.
    pub(super) worst: Vec<Hour>,
}

impl Judged {
    /// Whether it has all names, so that others can be added to them.
    pub(super) fn is_whole(&self) -> bool {
        self.windows.len() < MOST_NAMES
    }
}

/// As sums of this grain have it.
pub(super) async fn judged(store: &dyn Store, scope: &Scope<'_>, by: By, grain: i64) -> Result<Judged, Error> {
    let windows = by_key(store, asked::windows(scope, by, grain), |row| Windows {
        used: count(row, 3),
        clean: count(row, 4),
        down: count(row, 5),
    });
    let (windows, worst) = futures::try_join!(windows, store.query(asked::worst(scope, by)))?;
    let worst = worst.iter().map(hour).collect();
    Ok(Judged { windows, worst })
}

fn hour(row: &Row) -> Hour {
    let (namespace, provider, name) = key(row);
    let number = |index: usize| u64::try_from(whole(row, 4, index)).unwrap_or(u64::MAX);
    Hour {
        at: row.get(3).map_or(0, Value::int).saturating_mul(1000),
        namespace,
        provider,
        name,
        good: number(0),
        bad: number(1),
    }
}

/// Of periods that have no hour in common: the minutes of all, and the worst hours of all.
pub(super) fn together(parts: impl IntoIterator<Item = Judged>) -> (BTreeMap<Key, Windows>, Vec<Hour>) {
    let (mut windows, mut worst) = (BTreeMap::<Key, Windows>::new(), Vec::new());
    for part in parts {
        for (key, more) in part.windows {
            let sum = windows.entry(key).or_default();
            sum.used += more.used;
            sum.clean += more.clean;
            sum.down += more.down;
        }
        worst.extend(part.worst);
    }
    // As one question orders them; of equal ones a database may take its own order of letters.
    let place = |hour: &Hour| (hour.namespace.clone(), hour.provider.clone(), hour.name.clone());
    worst.sort_by(|a: &Hour, b| (b.bad, a.at).cmp(&(a.bad, b.at)).then_with(|| place(a).cmp(&place(b))));
    worst.truncate(MOST_HOURS);
    (windows, worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_as_many_names_as_an_answer_may_have_more() {
        let of = |names: usize| {
            let key = |index: usize| (String::new(), String::new(), format!("m{index}"));
            Judged {
                windows: (0..names).map(|index| (key(index), Windows::default())).collect(),
                ..Judged::default()
            }
        };
        assert!(of(MOST_NAMES - 1).is_whole() && !of(MOST_NAMES).is_whole());
    }
}
