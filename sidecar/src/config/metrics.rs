//! Families about configuration.

use bowsprit_core::config::Config;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::{Registry, set};
use crate::time::unix_now;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RevisionLabel {
    revision: String,
}

/// Families about configuration.
#[derive(Clone, Debug, Default)]
pub struct ConfigMetrics {
    loaded: Counter,
    pub(super) rejected: Counter,
    pub(super) ignored: Counter,
    sequence: Gauge,
    loaded_at: Gauge,
    providers: Gauge,
    pub(super) synced: Gauge,
    revision: Family<RevisionLabel, Gauge>,
    pub(super) not_saved: Counter,
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
        registry.register(
            "config_save_failures",
            "Times that the configuration in service could not be saved for a restart, or what was saved could not be used",
            &[],
            new.not_saved.clone(),
        );
        new
    }

    /// Counts a configuration that is brought into service, and says which.
    pub(super) fn applied(&self, config: &Config) {
        self.loaded.inc();
        self.sequence.set(i64::try_from(config.sequence).unwrap_or(i64::MAX));
        self.loaded_at
            .set(i64::try_from(unix_now().as_secs()).unwrap_or(i64::MAX));
        self.synced.set(1);
        set(&self.providers, config.providers.len());
        self.revision.clear();
        let revision = config.revision.clone();
        self.revision.get_or_create(&RevisionLabel { revision }).set(1);
    }
}
