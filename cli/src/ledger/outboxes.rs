//! The ledger without a service: what each sidecar's outbox holds, read through a forwarded port as from inside its pod, put into
//! the ledger's own tables in memory. There the same questions are asked as of a service, by the same code.
//!
//! Whoever is asked again is asked for what is new alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use bowsprit_ledger::store::sqlite::Sqlite;
use bowsprit_ledger::store::{Arrival, Error, Identity, Store};
use bowsprit_ledger::wire::{OUTBOX_PATH, Page};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::sync::Mutex;

use super::coverage::{Coverage, Reach};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::fleet::Sidecar;
use crate::health;
use crate::output::units;

/// What a page may be: the half MiB that a sidecar puts on one, and its head.
const MAX_PAGE: usize = 2 << 20;
/// Bytes of entries that are put into memory at most, over all pods.
const MAX_TOTAL: u64 = 256 << 20;

/// What the sidecars of a namespace, or of all, have told so far.
#[derive(Default)]
pub(super) struct Outboxes {
    told: Mutex<Option<Told>>,
    coverage: std::sync::Mutex<Coverage>,
}

struct Told {
    store: Arc<Sqlite>,
    /// What ended before is not in it.
    since: i64,
    /// How far each pod was read: its outbox and the last sequence.
    through: BTreeMap<(String, String), (String, u64)>,
}

/// What one pod said.
struct Read {
    reach: Reach,
    through: Option<(String, u64)>,
}

impl Outboxes {
    /// The tables with what ended since, as far as the sidecars have it; `None`: with what has come since the last time.
    ///
    /// # Errors
    /// No sidecar is there, none answers, or this user may ask none.
    pub(super) async fn gathered(
        &self,
        cluster: &Cluster,
        scope: Option<&str>,
        since: Option<i64>,
    ) -> Result<Arc<Sqlite>, Failure> {
        let mut told = self.told.lock().await;
        let known = told.take().filter(|told| since.is_none_or(|since| since >= told.since));
        let mut now = match known {
            Some(known) => known,
            None => Told::empty(since.unwrap_or(0)).await?,
        };
        let sidecars = health::sidecars(cluster, scope, None).await?;
        let budget = Budget::default();
        let asked = Cluster::each(&sidecars, |sidecar| now.read(cluster, sidecar, &budget)).await;
        let mut coverage = Coverage::default();
        for (sidecar, read) in sidecars.iter().zip(asked) {
            let read = read?;
            let pod = (sidecar.namespace.clone(), sidecar.pod.clone());
            coverage.add(&sidecar.namespace, &sidecar.pod, read.reach);
            if let Some(through) = read.through {
                now.through.insert(pod, through);
            }
        }
        let nobody = coverage.nobody();
        *self.coverage.lock().unwrap_or_else(PoisonError::into_inner) = coverage;
        if let Some(why) = nobody {
            return Err(Failure::Unreachable(why));
        }
        let store = Arc::clone(&now.store);
        *told = Some(now);
        Ok(store)
    }

    /// Who answered, and how far back it goes.
    pub(super) fn coverage(&self) -> Coverage {
        self.coverage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Told {
    async fn empty(since: i64) -> Result<Self, Failure> {
        let store = Sqlite::in_memory().map_err(|error| broken(&error))?;
        let latest = bowsprit_ledger::schema::LATEST;
        store
            .migrate(latest, units::now())
            .await
            .map_err(|error| broken(&error))?;
        Ok(Self {
            store: Arc::new(store),
            since,
            through: BTreeMap::new(),
        })
    }

    /// Reads a pod's pages into the tables, from where it was left.
    async fn read(&self, cluster: &Cluster, sidecar: &Sidecar, budget: &Budget) -> Result<Read, Failure> {
        let pod = (sidecar.namespace.clone(), sidecar.pod.clone());
        let mut at = self.through.get(&pod).cloned();
        let silent = |why: String, at| {
            Ok(Read {
                reach: Reach::Silent(why),
                through: at,
            })
        };
        if let Some(why) = &sidecar.not_running {
            return silent(why.clone(), at);
        }
        loop {
            if budget.is_spent() {
                let why = format!(
                    "read in part: there are more than {} MiB in all; ask one namespace, or a shorter --time",
                    MAX_TOTAL >> 20
                );
                return silent(why, at);
            }
            let after = at.as_ref().map_or(0, |(_, through)| *through);
            let (page, bytes) = match ask(cluster, sidecar, after, self.since).await? {
                Ok(answer) => answer,
                Err(why) => return silent(why, at),
            };
            // Another outbox than before: its sequences begin anew.
            if after > 0 && at.as_ref().is_some_and(|(outbox, _)| *outbox != page.batch.outbox) {
                at = None;
                continue;
            }
            let reach = Reach::Answered {
                detail_since: page.detail_since,
                has_sums: page.has_sums,
                has_shipped: page.taken > 0,
            };
            let more = page.more && page.batch.to > after;
            at = Some((page.batch.outbox.clone(), page.batch.to.max(after)));
            self.take(&pod, page).await?;
            budget.spend(bytes);
            if !more {
                return Ok(Read { reach, through: at });
            }
        }
    }

    async fn take(&self, pod: &(String, String), page: Page) -> Result<(), Failure> {
        let mut batch = page.batch;
        if batch.entries.is_empty() {
            return Ok(());
        }
        // A page goes on where the one before it ended; to the tables, what is before is nothing that they lack.
        batch.from = 1;
        let arrival = Arrival {
            identity: Identity {
                namespace: pod.0.clone(),
                pod: pod.1.clone(),
                service_account: String::new(),
            },
            batch,
        };
        let taken = self.store.take(Arc::new(vec![arrival]), units::now()).await;
        taken.map(|_| ()).map_err(|error| broken(&error))
    }
}

/// What all pods' pages have taken together, bytes.
#[derive(Debug, Default)]
struct Budget(AtomicU64);

impl Budget {
    /// Counts what was read.
    fn spend(&self, bytes: usize) {
        self.0
            .fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether no more is to be read, of any pod.
    fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) > MAX_TOTAL
    }
}

/// A page of a sidecar and its size in bytes, or why there is none.
async fn ask(
    cluster: &Cluster,
    sidecar: &Sidecar,
    after: u64,
    since: i64,
) -> Result<Result<(Page, usize), String>, Failure> {
    let request = Request::get(format!("{OUTBOX_PATH}?after={after}&since={since}"))
        .header("host", format!("127.0.0.1:{}", sidecar.admin_port))
        .body(Full::<Bytes>::default())
        .map_err(|error| Failure::Wrong(format!("no request: {error}")))?;
    let inside = cluster.inside(sidecar, sidecar.admin_port, request, MAX_PAGE).await;
    let (status, body) = match inside {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => return Ok(Err(why)),
        Err(failure) if failure.is_forbidden() => return Err(failure),
        Err(failure) => return Ok(Err(failure.to_string())),
    };
    if status == 200 {
        let page = serde_json::from_slice(&body).map(|page| (page, body.len()));
        return Ok(page.map_err(|error| format!("its answer is not read: {error}")));
    }
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let said = said.get("error").and_then(|it| it.as_str()).unwrap_or("no reason");
    Ok(Err(format!("HTTP {status}: {said}")))
}

fn broken(error: &Error) -> Failure {
    Failure::Wrong(format!("the tables in memory: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_pods_tell_is_counted_together_and_has_an_end() {
        let budget = Budget::default();
        let page = 32 << 20;
        let pages = usize::try_from(MAX_TOTAL).unwrap() / page;
        for _ in 0..pages {
            budget.spend(page);
            assert!(!budget.is_spent());
        }
        budget.spend(1);
        assert!(budget.is_spent());
    }
}
