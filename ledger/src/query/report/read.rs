//! Asks a store for reports, and makes them of its rows.

use std::collections::BTreeMap;

use super::super::sums::{self, First, Scope, whole};
use super::super::{By, MINUTES_KEPT, Money, Stat, Window, read};
use super::judged::{self, Judged, Key, by_key, count};
use super::refused::{self, TurnedAway};
use super::{CacheHits, LEAST_SAMPLED, Latency, MOST_RANKED, Refusals, Sla, SlaRow, Usage, UsageRow, asked, days};
use crate::store::tables::{HOUR, MINUTE};
use crate::store::{Error, Store};

fn key_of(stat: &Stat) -> Key {
    (stat.namespace.clone(), stat.provider.clone(), stat.name.clone())
}

/// The finest grain that is kept of all of a window at the time `now`, seconds.
fn grain(window: Window, now: i64) -> i64 {
    const DAY: i64 = 24 * 3_600_000;
    let oldest = now.saturating_sub(MINUTES_KEPT * DAY).div_euclid(DAY).saturating_add(1);
    if window.from < oldest.saturating_mul(DAY) {
        HOUR
    } else {
        MINUTE
    }
}

/// How available it was.
pub async fn sla(store: &dyn Store, scope: &Scope<'_>, by: By, now: i64) -> Result<Sla, Error> {
    let grain = grain(scope.window, now);
    // Side by side: each reads other rows, and a store has several that read.
    let told = async {
        let stats = read::stats(store, scope, by).await?;
        let succeeded = stats
            .iter()
            .fold(0, |sum: u64, stat| sum.saturating_add(stat.succeeded));
        let is_sampled = succeeded > MOST_RANKED;
        let mut latency: BTreeMap<_, _> = by_key(store, asked::ranks(scope, by, is_sampled), |row| Latency {
            p50: count(row, 3),
            p95: count(row, 4),
            p99: count(row, 5),
            of: count(row, 6),
        })
        .await?;
        latency.retain(|_, latency| !is_sampled || latency.of >= LEAST_SAMPLED);
        Ok::<_, Error>((stats, latency, is_sampled))
    };
    let judged = async {
        let is_kept = scope.namespace.is_none() && scope.provider.is_none() && grain == MINUTE;
        let told_by = is_kept.then(|| by.as_str());
        let ask = |window| async move { judged::judged(store, &Scope { window, ..*scope }, by, grain).await };
        let parts = days::parts(store, scope, told_by, Judged::is_whole, ask).await?;
        Ok(judged::together(parts))
    };
    let ((stats, mut latency, is_sampled), (mut windows, worst)) = futures::try_join!(told, judged)?;
    let rows = stats.into_iter().map(|stat| {
        let key = key_of(&stat);
        // A name that somebody made up is not taken for the row of all others.
        let is_own = stat.more == 0;
        SlaRow {
            windows: is_own.then(|| windows.remove(&key).unwrap_or_default()),
            latency: latency.remove(&key).filter(|_| is_own),
            stat,
        }
    });
    Ok(Sla {
        from: scope.window.from,
        to: scope.window.to,
        grain,
        rows: rows.collect(),
        worst,
        is_ranked: true,
        is_sampled,
    })
}

/// What was used, and what was used in the period before.
pub async fn usage(store: &dyn Store, scope: &Scope<'_>, by: By, previous: Window) -> Result<Usage, Error> {
    let of = |window: Window| Scope { window, ..*scope };
    let of_before = of(previous);
    let (stats, before, mut cache): (_, _, BTreeMap<_, _>) = futures::try_join!(
        read::named(store, scope, by, First::Dearest, sums::MOST_NAMES),
        read::named(store, &of_before, by, First::Dearest, sums::MOST_NAMES),
        by_key(store, asked::hits(scope, by), |row| CacheHits {
            hits: count(row, 3),
            saved_tokens: count(row, 4),
            saved_cost: Money(whole(row, 5, 0)),
        })
    )?;
    let mut before: BTreeMap<(bool, Key), Stat> = before
        .into_iter()
        .map(|stat| ((stat.more > 0, key_of(&stat)), stat))
        .collect();
    let mut rows: Vec<UsageRow> = stats
        .into_iter()
        .map(|now| UsageRow {
            previous: before.remove(&(now.more > 0, key_of(&now))).unwrap_or_default(),
            cache: cache
                .remove(&key_of(&now))
                .filter(|_| now.more == 0)
                .unwrap_or_default(),
            now,
        })
        .collect();
    let gone = before.into_values().map(|previous| UsageRow {
        now: Stat {
            namespace: previous.namespace.clone(),
            provider: previous.provider.clone(),
            name: previous.name.clone(),
            more: previous.more,
            ..Stat::default()
        },
        previous,
        cache: CacheHits::default(),
    });
    rows.extend(gone);
    Ok(Usage {
        from: scope.window.from,
        to: scope.window.to,
        previous_from: previous.from,
        previous_to: previous.to,
        rows,
    })
}

/// Who was turned away by which rule.
pub async fn access(store: &dyn Store, scope: &Scope<'_>) -> Result<Refusals, Error> {
    let (found, all) = futures::try_join!(found(store, scope), store.query(sums::all(scope, By::Namespace)))?;
    let all = all.first().map(sums::stat).unwrap_or_default();
    let unsuccessful = all.requests.saturating_sub(all.succeeded).saturating_sub(all.cancelled);
    Ok(Refusals {
        from: scope.window.from,
        to: scope.window.to,
        refused: found.refused.requests,
        more: found.refused.of.saturating_sub(found.refused.rows.len() as u64),
        rows: found.refused.rows,
        would_be_refused: found.shadow.requests,
        shadow: found.shadow.rows,
        unsuccessful,
        without_detail: unsuccessful.saturating_sub(found.in_detail),
    })
}

/// Of judged days as it was judged, of what is left as the rows have it.
async fn found(store: &dyn Store, scope: &Scope<'_>) -> Result<TurnedAway, Error> {
    let told_by = scope.namespace.is_none().then_some(days::RULES);
    let ask = |window| async move { refused::turned_away(store, &Scope { window, ..*scope }).await };
    let parts = days::parts(store, scope, told_by, TurnedAway::is_whole, ask).await?;
    Ok(refused::together(parts))
}
