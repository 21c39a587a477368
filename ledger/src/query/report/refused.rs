//! Who was turned away by which rule, and whom rules in shadow would have turned away: as a store tells it of one period, and of several
//! together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::sums::Scope;
use super::judged::count;
use super::{MOST_REFUSALS, Refused, asked};
use crate::store::{Error, Row, Store, Value};

/// The first rows, and what all come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rules {
    /// Most often first; [`MOST_REFUSALS`] at most.
    pub(super) rows: Vec<Refused>,
    /// Requests of all rows.
    pub(super) requests: u64,
    /// How many rows there are.
    pub(super) of: u64,
}

/// What rules did in a period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TurnedAway {
    /// By rules.
    pub(super) refused: Rules,
    /// By rules in shadow, which would have.
    pub(super) shadow: Rules,
    /// Requests that ended otherwise than well and are kept one by one.
    pub(super) in_detail: u64,
}

impl TurnedAway {
    /// Whether it has all rows, so that others can be added to them.
    pub(super) fn is_whole(&self) -> bool {
        [&self.refused, &self.shadow]
            .iter()
            .all(|rules| rules.rows.len() as u64 >= rules.of)
    }
}

/// As the rows of requests have it.
pub(super) async fn turned_away(store: &dyn Store, scope: &Scope<'_>) -> Result<TurnedAway, Error> {
    let (refused, shadow, in_detail) = futures::try_join!(
        store.query(asked::refusals(scope)),
        store.query(asked::shadows(scope)),
        store.query(asked::unsuccessful(scope))
    )?;
    Ok(TurnedAway {
        refused: rules(&refused),
        shadow: rules(&shadow),
        in_detail: in_detail.first().map_or(0, |row| count(row, 0)),
    })
}

fn rules(rows: &[Row]) -> Rules {
    let (requests, of) = rows.first().map_or((0, 0), |row| (count(row, 8), count(row, 9)));
    let rows = rows.iter().map(one).collect();
    Rules { rows, requests, of }
}

fn one(row: &Row) -> Refused {
    let text = |index: usize| row.get(index).map(Value::told).unwrap_or_default();
    let int = |index: usize| row.get(index).map_or(0, Value::int);
    Refused {
        namespace: text(0),
        workload: text(1),
        service_account: text(2),
        refused_by: text(3),
        code: text(4),
        count: count(row, 5),
        first: int(6),
        last: int(7),
    }
}

/// Of periods that are whole each and have no moment in common: what rules did in all of them. One alone is told as it is, whole or not.
pub(super) fn together(mut parts: Vec<TurnedAway>) -> TurnedAway {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let (mut refused, mut shadow, mut in_detail) = (Vec::new(), Vec::new(), 0);
    for part in parts {
        refused.extend(part.refused.rows);
        shadow.extend(part.shadow.rows);
        in_detail += part.in_detail;
    }
    TurnedAway {
        refused: added_up(refused),
        shadow: added_up(shadow),
        in_detail,
    }
}

fn added_up(rows: Vec<Refused>) -> Rules {
    let mut sums: BTreeMap<[String; 5], Refused> = BTreeMap::new();
    for row in rows {
        let [namespace, workload, account] = [&row.namespace, &row.workload, &row.service_account].map(Clone::clone);
        let names = [namespace, workload, account, row.refused_by.clone(), row.code.clone()];
        match sums.entry(names) {
            std::collections::btree_map::Entry::Vacant(none) => {
                none.insert(row);
            }
            std::collections::btree_map::Entry::Occupied(mut sum) => {
                let sum = sum.get_mut();
                sum.count += row.count;
                (sum.first, sum.last) = (sum.first.min(row.first), sum.last.max(row.last));
            }
        }
    }
    let mut rows: Vec<Refused> = sums.into_values().collect();
    let (requests, of) = (rows.iter().map(|row| row.count).sum(), rows.len() as u64);
    // As one question orders them: those that are as many stay in the order of their names.
    rows.sort_by_key(|row| u64::MAX - row.count);
    rows.truncate(MOST_REFUSALS);
    Rules { rows, requests, of }
}
