//! Asks the ledger: its service, or, where there is none, the sidecars. Which of the two it was is found out once.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bowsprit_ledger::query::read::{self, Cursor, Filter};
use bowsprit_ledger::query::report::{self, Refusals, Sla, Usage};
use bowsprit_ledger::query::{AppliedConfig, By, Listed, Quality, Stat, Why, Window};
use bowsprit_ledger::store::Error;
use bowsprit_ledger::store::sqlite::Sqlite;

use super::outboxes::Outboxes;
use super::service::Service;
use crate::args::{LedgerFrom, LedgerWhere};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::output::units;

/// How far back sidecars are asked, milliseconds: a few requests of the last minutes need not bring a day's. The last: all.
const SPANS: [i64; 3] = [10 * 60_000, 2 * 3_600_000, i64::MAX];

/// The ledger of a cluster.
pub(crate) struct Ledger<'a> {
    cluster: &'a Cluster,
    from: LedgerFrom,
    service: Service<'a>,
    outboxes: Outboxes,
    /// There is no service.
    without: AtomicBool,
    /// That there is none has been said.
    said: AtomicBool,
}

/// Which requests are listed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// One namespace; `None`: all.
    pub(crate) namespace: Option<&'a str>,
    /// One provider.
    pub(crate) provider: Option<&'a str>,
    /// One route.
    pub(crate) route: Option<&'a str>,
    /// Only what did not succeed.
    pub(crate) failed: bool,
    /// At most so many.
    pub(crate) number: u32,
    /// Those after this one, oldest first; `None`: the newest, newest first.
    pub(crate) after: Option<String>,
}

/// Asks the service where there is one, and says so where there is none.
macro_rules! of_service {
    ($self:ident, $ask:expr) => {
        if $self.may_have_service() {
            if let Some(answer) = $ask.await? {
                return Ok(answer);
            }
            $self.has_none()?;
        }
    };
}

impl<'a> Ledger<'a> {
    /// Nothing is asked yet.
    pub(crate) fn new(cluster: &'a Cluster, place: &'a LedgerWhere) -> Self {
        Self {
            cluster,
            from: place.from,
            service: Service::new(cluster, place),
            outboxes: Outboxes::default(),
            without: AtomicBool::new(place.from == LedgerFrom::Sidecars),
            said: AtomicBool::new(false),
        }
    }

    fn may_have_service(&self) -> bool {
        !self.without.load(Ordering::Relaxed)
    }

    fn has_none(&self) -> Result<(), Failure> {
        if self.from == LedgerFrom::Service {
            return Err(Failure::Wrong(format!(
                "there is no such ledger in namespace {}: helm upgrade ... --set ledger.enabled=true installs it; \
                 --operator-namespace and --ledger name another; --from sidecars asks the sidecars themselves",
                self.cluster.operator_namespace()
            )));
        }
        self.without.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// What the sidecars tell of a window.
    async fn told(&self, namespace: Option<&str>, window: Window) -> Result<Arc<Sqlite>, Failure> {
        let store = self
            .outboxes
            .gathered(self.cluster, namespace, Some(window.from))
            .await?;
        self.say();
        Ok(store)
    }

    /// Sums over a window.
    pub(crate) async fn stats(
        &self,
        namespace: Option<&str>,
        provider: Option<&str>,
        by: By,
        window: Window,
    ) -> Result<Vec<Stat>, Failure> {
        of_service!(self, self.service.stats(namespace, provider, by, window));
        let store = self.told(namespace, window).await?;
        let scope = read::scope(namespace, provider, window);
        read::stats(&*store, &scope, by).await.map_err(|error| unread(&error))
    }

    /// What it cost, dearest first.
    pub(crate) async fn spend(&self, namespace: Option<&str>, by: By, window: Window) -> Result<Vec<Stat>, Failure> {
        of_service!(self, self.service.spend(namespace, by, window));
        let store = self.told(namespace, window).await?;
        let scope = read::scope(namespace, None, window);
        read::spend(&*store, &scope, by).await.map_err(|error| unread(&error))
    }

    /// How good each provider was.
    pub(crate) async fn quality(&self, namespace: Option<&str>, window: Window) -> Result<Vec<Quality>, Failure> {
        of_service!(self, self.service.quality(namespace, window));
        let store = self.told(namespace, window).await?;
        read::quality(&*store, namespace, window)
            .await
            .map_err(|error| unread(&error))
    }

    /// How available it was.
    pub(crate) async fn sla(&self, namespace: Option<&str>, by: By, window: Window) -> Result<Sla, Failure> {
        of_service!(self, self.service.sla(namespace, by, window));
        let store = self.told(namespace, window).await?;
        let scope = read::scope(namespace, None, window);
        let sla = report::read::sla(&*store, &scope, by, units::now()).await;
        sla.map_err(|error| unread(&error))
    }

    /// What was used, beside the period that ends where this one begins.
    pub(crate) async fn usage(
        &self,
        namespace: Option<&str>,
        by: By,
        window: Window,
        previous: Window,
    ) -> Result<Usage, Failure> {
        of_service!(self, self.service.usage(namespace, by, window, previous));
        let both = Window {
            from: previous.from,
            to: window.to,
        };
        let store = self.told(namespace, both).await?;
        let scope = read::scope(namespace, None, window);
        let usage = report::read::usage(&*store, &scope, by, previous).await;
        usage.map_err(|error| unread(&error))
    }

    /// Who was turned away.
    pub(crate) async fn refusals(&self, namespace: Option<&str>, window: Window) -> Result<Refusals, Failure> {
        of_service!(self, self.service.refusals(namespace, window));
        let store = self.told(namespace, window).await?;
        let scope = read::scope(namespace, None, window);
        let refusals = report::read::access(&*store, &scope).await;
        refusals.map_err(|error| unread(&error))
    }

    /// Requests.
    pub(crate) async fn logs(&self, wanted: &Wanted<'_>) -> Result<Vec<Listed>, Failure> {
        of_service!(self, self.service.logs(wanted));
        let owned = |value: Option<&str>| value.map(ToOwned::to_owned);
        let filter = Filter {
            namespace: owned(wanted.namespace),
            provider: owned(wanted.provider),
            route: owned(wanted.route),
            is_failed: wanted.failed,
            number: wanted.number,
            before: None,
            after: wanted.after.as_deref().and_then(Cursor::parse),
        };
        // Who goes on from somewhere has what is older.
        let spans = if filter.after.is_some() { &[0][..] } else { &SPANS };
        let mut listed = Vec::new();
        for span in spans {
            let since = (*span > 0).then(|| units::now().saturating_sub(*span).max(0));
            let store = self.outboxes.gathered(self.cluster, wanted.namespace, since).await?;
            listed = read::list(&*store, &filter).await.map_err(|error| unread(&error))?;
            if listed.len() >= wanted.number as usize {
                break;
            }
        }
        self.say();
        Ok(listed)
    }

    /// The requests that have this id, each with its attempts; none where there is none.
    pub(crate) async fn why(&self, namespace: Option<&str>, id: &str) -> Result<Vec<Why>, Failure> {
        of_service!(self, self.service.why(namespace, id));
        let mut found = Vec::new();
        for span in SPANS {
            let since = units::now().saturating_sub(span).max(0);
            let store = self.outboxes.gathered(self.cluster, namespace, Some(since)).await?;
            found = read::why(&*store, id, namespace)
                .await
                .map_err(|error| unread(&error))?;
            if !found.is_empty() {
                break;
            }
        }
        self.say();
        Ok(found)
    }

    /// What was applied, newest first. Sidecars do not know it.
    pub(crate) async fn changes(
        &self,
        namespace: Option<&str>,
        object: Option<(&str, &str)>,
        number: u32,
    ) -> Result<Vec<AppliedConfig>, Failure> {
        let changes = self.service.changes(namespace, object, number).await?;
        changes.ok_or_else(|| {
            Failure::Wrong(format!(
                "there is no ledger in namespace {}, which alone keeps what was applied: helm upgrade ... --set ledger.enabled=true \
                 installs it. Until then the operators' logs have it: kubectl -n {0} logs deployment/bowsprit --all-pods | grep audit",
                self.cluster.operator_namespace()
            ))
        })
    }

    /// Who answered, once: on standard error, as it is no part of the answer.
    fn say(&self) {
        if !self.said.swap(true, Ordering::Relaxed) {
            let _ = std::io::stderr()
                .lock()
                .write_all(self.outboxes.coverage().words().as_bytes());
        }
    }
}

fn unread(error: &Error) -> Failure {
    Failure::Wrong(format!("what the sidecars told is not read: {error}"))
}
