//! Wires the parts and runs them until told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::admin::Admin;
use super::api::{Api, Timed};
use super::args::{Migrate, Place, Serve};
use super::door::Door;
use super::drift::Watch;
use super::ingest::ingest;
use super::kubernetes::Apiserver;
use super::metrics::Metrics;
use super::tls::{Served, server_config};
use super::{listen, now};
use crate::query::report::days;
use crate::schema::{CannotMigrate, LATEST};
use crate::store::postgres::{Postgres, Target};
use crate::store::sqlite::Sqlite;
use crate::store::{Error, Filling, Keep, Store};

/// Between two clean-ups.
const CLEAN_UP: Duration = Duration::from_hours(1);
/// How long a clean-up fills at most. Where that is not all, the next follows at once: what is too old is kept no longer for it than this.
const FILL: Duration = Duration::from_mins(10);
/// How long a clean-up judges days at most; the next goes on.
const JUDGE: Duration = Duration::from_mins(10);
/// Between two tries to bring a store in order that does not answer.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Opens the store that is asked for.
pub fn open(place: &Place) -> anyhow::Result<Arc<dyn Store>> {
    if let Some(file) = &place.postgres {
        let url = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let target = Target::new(&url, place.postgres_ca.as_deref()).with_context(|| file.display().to_string())?;
        return Ok(Arc::new(Postgres::new(target)));
    }
    let file = place.sqlite.as_ref().context("give --sqlite or --postgres")?;
    Ok(Arc::new(
        Sqlite::open(file).with_context(|| file.display().to_string())?,
    ))
}

/// `migrate`.
pub async fn migrate(migrate: &Migrate) -> anyhow::Result<u32> {
    migrated(&*open(&migrate.place)?, migrate.to, now()).await
}

/// Brings the schema to version `to` and says the one it was at. What must not stay half filled for it is filled first, however long that takes.
pub async fn migrated(store: &dyn Store, to: u32, now: i64) -> anyhow::Result<u32> {
    match store.migrate(to, now).await {
        Err(Error::Schema(unfilled @ CannotMigrate::NotFilled)) => {
            tracing::info!("filling first what a step of the schema left; it may be ended and begun again");
            store.fill(Duration::MAX).await.context(unfilled)?;
            Ok(store.migrate(to, now).await?)
        }
        done => Ok(done?),
    }
}

/// `serve`.
pub async fn serve(serve: Serve) -> anyhow::Result<()> {
    // Nothing else in the process installs one, so the only error is that it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut terminated = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let watch = (!serve.prometheus.is_empty()).then(|| Watch {
        prometheus: serve.prometheus.clone(),
        every: Duration::from_secs(serve.reconcile_seconds),
    });
    let metrics = Metrics::new(watch.is_some());
    let store: Arc<dyn Store> = Arc::new(Timed {
        store: open(&serve.place)?,
        metrics: metrics.clone(),
        slow: Duration::from_millis(serve.slow_query_ms),
    });
    let apiserver = Apiserver::new(serve.apiserver.clone(), &serve.apiserver_credentials)?;
    let served = Arc::new(Served::default());
    let tls = server_config(Arc::clone(&served)).context("no TLS")?;
    let listener = listen::bind(serve.port)
        .await
        .context("cannot bind the port for batches")?;
    let admin_listener = listen::bind(serve.admin_port)
        .await
        .context("cannot bind the admin port")?;
    let (ingest, writer) = ingest(Arc::clone(&store), metrics.clone());
    let admin = Arc::new(Admin {
        is_up: ingest.up(),
        served: Arc::clone(&served),
        is_stopping: AtomicBool::new(false),
        metrics: metrics.clone(),
    });
    let api = Arc::new(Api::new(
        Door::new(Arc::new(apiserver), metrics.clone()),
        ingest,
        Arc::clone(&store),
        metrics.clone(),
        serve.operator.clone(),
    ));
    let keep = Keep {
        detail: Duration::from_hours(24 * serve.keep_detail_days),
        hours: Duration::from_hours(24 * serve.keep_sums_days),
        ..Keep::default()
    };
    let background = {
        let (admin, served, folder) = (Arc::clone(&admin), Arc::clone(&served), serve.tls.clone());
        async move {
            tokio::select! {
                () = admin.serve(admin_listener) => {}
                () = served.follow(&folder) => {}
            }
        }
    };
    let background = tokio::spawn(background);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), engine = ?store.engine(), "started");
    let told = async {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    };
    let mut told = std::pin::pin!(told);
    tokio::select! {
        ordered = in_order(&*store) => ordered?,
        () = &mut told => return Ok(()),
    }
    let cleaning = tokio::spawn(clean_up(Arc::clone(&store), keep, metrics.clone()));
    let watching = watch.map(|watch| tokio::spawn(watch.run(Arc::clone(&store), metrics)));
    let (stop, stopped) = watch::channel(false);
    let writing = tokio::spawn(writer.run());
    let serving = tokio::spawn(listen::serve(listener, tls, Arc::clone(&api), stopped));
    told.await;
    tracing::info!("stopping: no longer ready, finishing what is under way");
    admin.is_stopping.store(true, Ordering::Relaxed);
    cleaning.abort();
    if let Some(watching) = watching {
        watching.abort();
    }
    let _ = stop.send(true);
    let _ = serving.await;
    // The queue ends with the last that could send: what waits is written first.
    drop(api);
    let _ = writing.await;
    background.abort();
    Ok(())
}

/// Brings the schema to this release's version; a store that does not answer is waited for.
async fn in_order(store: &dyn Store) -> anyhow::Result<()> {
    loop {
        match store.migrate(LATEST, now()).await {
            Ok(was) => {
                if was != LATEST {
                    tracing::info!(was, now = LATEST, "schema migrated");
                }
                return Ok(());
            }
            Err(error) if error.may_pass() => {
                tracing::warn!(%error, "the store is away, will try again");
                tokio::time::sleep(TRY_AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn clean_up(store: Arc<dyn Store>, keep: Keep, metrics: Metrics) {
    loop {
        let next = one_clean_up(&*store, keep, now(), &metrics).await;
        tokio::time::sleep(next).await;
    }
}

/// Drops what is too old, judges days that are over, then fills for a while. Says after how long the next is due.
async fn one_clean_up(store: &dyn Store, keep: Keep, now: i64, metrics: &Metrics) -> Duration {
    if let Err(error) = days::forget(store, keep, now).await {
        tracing::warn!(%error, "judged days that are too old could not be forgotten, will try again");
    }
    let retired = store.retain(keep, now).await;
    metrics.retained(&retired);
    if let Some(smallest) = retired.smallest {
        tracing::warn!(smallest, "the store is slow: what is too old goes in smaller pieces");
    }
    if let Some(error) = retired.failed {
        let rows = retired.rows;
        tracing::warn!(%error, rows, "not all that is too old could be dropped, will try again");
    }
    let began = Instant::now();
    match days::judge(store, keep, now, JUDGE, || began.elapsed()).await {
        Ok(0) => {}
        Ok(days) => tracing::info!(days, "judged days that are over, for reports"),
        Err(error) => {
            tracing::warn!(%error, "not all days that are over could be judged, will try again: reports read their minutes and requests");
        }
    }
    match store.fill(FILL).await {
        Ok(Filling::Nothing) => CLEAN_UP,
        Ok(Filling::Part(rows)) => {
            tracing::info!(
                rows,
                "filling what a step of the schema left, goes on after the next clean-up"
            );
            Duration::ZERO
        }
        Ok(Filling::All(rows)) => {
            tracing::info!(rows, "what a step of the schema left to be filled is filled");
            CLEAN_UP
        }
        Err(error) => {
            tracing::warn!(%error, "not all is filled that a step of the schema left, will go on");
            CLEAN_UP
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::future::BoxFuture;

    use super::*;
    use crate::schema::Engine;
    use crate::store::{Answer, Arrival, Query, Retired, Row};

    /// A store that is told what becomes of the next fill, and tells what it was asked to do and when.
    #[derive(Default)]
    struct Told {
        fill: Mutex<Option<Result<Filling, Error>>>,
        asked: Mutex<Vec<String>>,
    }

    fn away<T: Send + 'static>() -> BoxFuture<'static, Result<T, Error>> {
        Box::pin(async { Err(Error::Unavailable(Engine::Sqlite, "not in this test".into())) })
    }

    impl Store for Told {
        fn engine(&self) -> Engine {
            Engine::Sqlite
        }

        fn take(&self, _: Arc<Vec<Arrival>>, _: i64) -> BoxFuture<'_, Result<Vec<Answer>, Error>> {
            away()
        }

        fn query(&self, _: Query) -> BoxFuture<'_, Result<Vec<Row>, Error>> {
            self.asked.lock().unwrap().push("judge".into());
            away()
        }

        fn note(&self, _: Vec<Query>) -> BoxFuture<'_, Result<(), Error>> {
            self.asked.lock().unwrap().push("forget".into());
            away()
        }

        fn note_config(&self, _: Row) -> BoxFuture<'_, Result<(), Error>> {
            away()
        }

        fn migrate(&self, _: u32, _: i64) -> BoxFuture<'_, Result<u32, Error>> {
            away()
        }

        fn fill(&self, most: Duration) -> BoxFuture<'_, Result<Filling, Error>> {
            self.asked.lock().unwrap().push(format!("fill for {most:?}"));
            let filling = self.fill.lock().unwrap().take();
            Box::pin(async { filling.unwrap() })
        }

        fn retain(&self, _: Keep, now: i64) -> BoxFuture<'_, Retired> {
            self.asked.lock().unwrap().push(format!("retain at {now}"));
            Box::pin(async { Retired::default() })
        }
    }

    /// What one clean-up asked for, and after how long the next is due.
    async fn cleaned(store: &Told, now: i64, fill: Result<Filling, Error>) -> (Vec<String>, Duration) {
        *store.fill.lock().unwrap() = Some(fill);
        let next = one_clean_up(store, Keep::default(), now, &Metrics::new(false)).await;
        (std::mem::take(&mut *store.asked.lock().unwrap()), next)
    }

    #[tokio::test]
    async fn what_is_too_old_is_dropped_and_days_judged_before_each_part_of_a_fill_and_the_next_part_follows_at_once() {
        let store = Told::default();
        for now in 0..3 {
            let (asked, next) = cleaned(&store, now, Ok(Filling::Part(7))).await;
            assert_eq!(
                asked,
                ["forget", &*format!("retain at {now}"), "judge", "fill for 600s"]
            );
            assert_eq!(next, Duration::ZERO);
        }
    }

    #[tokio::test]
    async fn a_clean_up_that_has_nothing_left_to_fill_or_could_not_is_followed_an_hour_later() {
        let store = Told::default();
        let failed = || Err(Error::Unavailable(Engine::Sqlite, "full".into()));
        for fill in [Ok(Filling::Nothing), Ok(Filling::All(7)), failed()] {
            assert_eq!(cleaned(&store, 0, fill).await.1, Duration::from_hours(1));
        }
    }
}
