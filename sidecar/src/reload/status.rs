//! Where loading stands: for `/health`, metrics and the log.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bowsprit_core::clock::Moment;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;

use crate::app::App;
use crate::metrics::{Registry, set};
use crate::tenant::snapshot::Snapshot;
use crate::time::unix_now;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RevisionLabel {
    revision: String,
}

/// Families about configuration.
#[derive(Debug, Default)]
pub struct ConfigMetrics {
    loaded: Counter,
    rejected: Counter,
    ignored: Counter,
    sequence: Gauge,
    loaded_at: Gauge,
    providers: Gauge,
    synced: Gauge,
    revision: Family<RevisionLabel, Gauge>,
}

impl ConfigMetrics {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register(
            "config_loaded",
            "Configurations brought into service",
            &[],
            new.loaded.clone(),
        );
        registry.register(
            "config_rejected",
            "Configurations that were wrong; the last good one stays, /health says what is wrong",
            &[],
            new.rejected.clone(),
        );
        registry.register(
            "config_ignored",
            "Configurations older than the one in service",
            &[],
            new.ignored.clone(),
        );
        registry.register("config_sequence", "Sequence of the configuration in service; the same in all pods of a namespace once a change has arrived everywhere", &[], new.sequence.clone());
        registry.register(
            "config_loaded_at_seconds",
            "When the configuration in service was loaded, Unix time",
            &[],
            new.loaded_at.clone(),
        );
        registry.register(
            "config_providers",
            "Providers in the configuration in service",
            &[],
            new.providers.clone(),
        );
        registry.register(
            "config_synced",
            "1 while the newest configuration seen is in service; 0 when it was rejected or ignored",
            &[],
            new.synced.clone(),
        );
        registry.register(
            "config_revision",
            "1 for the revision in service, a hash of its content",
            &["revision"],
            new.revision.clone(),
        );
        new
    }
}

/// What is known of loading.
#[derive(Debug, Default)]
pub struct ConfigState(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    loaded_at: Option<Moment>,
    revision: String,
    sequence: u64,
    last_error: Option<String>,
    notices: Vec<String>,
    rejected: u64,
}

/// Configuration at `/health`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigReport {
    /// Whether a valid configuration is in service.
    pub loaded: bool,
    /// Its content hash.
    pub revision: String,
    /// Its sequence; 0 where there is none.
    pub sequence: u64,
    /// Seconds since it was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Configurations rejected since the start.
    pub rejected: u64,
    /// What is wrong with the newest one, if it is not in service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What works, but perhaps not as meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

impl ConfigState {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn accepted(&self, app: &App, snapshot: &Snapshot) {
        let config = &snapshot.config;
        let metrics = &app.metrics.config;
        metrics.loaded.inc();
        metrics.sequence.set(i64::try_from(config.sequence).unwrap_or(i64::MAX));
        metrics
            .loaded_at
            .set(i64::try_from(unix_now().as_secs()).unwrap_or(i64::MAX));
        metrics.synced.set(1);
        set(&metrics.providers, config.providers.len());
        metrics.revision.clear();
        metrics
            .revision
            .get_or_create(&RevisionLabel {
                revision: config.revision.clone(),
            })
            .set(1);
        tracing::info!(
            revision = config.revision,
            sequence = config.sequence,
            providers = config.providers.len(),
            routes = config.routes.len(),
            "configuration in service"
        );
        let mut inner = self.lock();
        inner.loaded_at = Some(app.clock.now());
        inner.revision.clone_from(&config.revision);
        inner.sequence = config.sequence;
        inner.last_error = None;
        inner.notices = config.notices.iter().map(ToString::to_string).collect();
    }

    pub(super) fn rejected(&self, app: &App, problems: String) {
        app.metrics.config.rejected.inc();
        app.metrics.config.synced.set(0);
        let mut inner = self.lock();
        if inner.loaded_at.is_some() {
            tracing::error!(
                problems,
                revision = inner.revision,
                "configuration rejected; the last good one stays"
            );
        } else {
            tracing::error!(problems, "configuration rejected; there is none in service");
        }
        inner.rejected += 1;
        inner.last_error = Some(problems);
    }

    pub(super) fn ignored(&self, app: &App, why: String) {
        app.metrics.config.ignored.inc();
        app.metrics.config.synced.set(0);
        tracing::warn!(why, "configuration ignored");
        self.lock().last_error = Some(why);
    }

    /// What is wrong with the newest configuration.
    pub fn last_error(&self) -> Option<String> {
        self.lock().last_error.clone()
    }

    /// For `/health`.
    pub fn report(&self, now: Moment) -> ConfigReport {
        let inner = self.lock();
        ConfigReport {
            loaded: inner.loaded_at.is_some(),
            revision: inner.revision.clone(),
            sequence: inner.sequence,
            age_seconds: inner.loaded_at.map(|at| (now - at).as_secs()),
            rejected: inner.rejected,
            last_error: inner.last_error.clone(),
            notices: inner.notices.clone(),
        }
    }
}
