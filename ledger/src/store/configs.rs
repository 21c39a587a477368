//! What becomes of a change that is told a second time, as SQL that both engines read alike. Pure.
//!
//! Two operators may tell the same change: each was asked about it, and only one of those who asked had it stored. Who asked later
//! had: an earlier one was refused elsewhere. What names a user is better than what names a field manager, which is told where no
//! webhook was asked.

use super::{Row, Value};
use crate::store::tables::CONFIGS;

/// Where the row that is there is of the same change, and the one that is told is the better one.
const IS_BETTER: &str = "change_id = $8 AND (who <> $6 OR revision <> $7) AND (at < $1 OR substr(who, 1, 1) = '(')
  AND NOT EXISTS (SELECT 1 FROM provider_configs AS other WHERE other.namespace = $2 AND other.kind = $3 AND other.name = $4
    AND other.revision = $7 AND other.at = $1 AND other.change_id <> $8)";

/// What is run, in this order, behind the row's insertion that found it there already; none where it cannot be the better one. The
/// parameters are the row's.
pub(super) fn told_again(row: &Row) -> Vec<String> {
    let who = CONFIGS.columns.iter().position(|(name, _)| *name == "who");
    match who.and_then(|index| row.get(index)) {
        Some(Value::Text(who)) if !who.is_empty() && !who.starts_with('(') => vec![
            format!(
                "UPDATE provider_configs SET replaced_at = $1 WHERE namespace = $2 AND kind = $3 AND name = $4 AND change_id <> $8
                 AND replaced_at = (SELECT at FROM provider_configs WHERE {IS_BETTER})"
            ),
            format!("UPDATE provider_configs SET at = $1, what = $5, who = $6, revision = $7 WHERE {IS_BETTER}"),
        ],
        _ => Vec::new(),
    }
}
