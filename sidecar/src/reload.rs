//! Loading configuration and keys, and loading them again when they change.
//!
//! The watcher polls: four times a second it looks at a handful of inodes, which costs microseconds. inotify would be
//! quicker by a fraction of a second and would need a file descriptor per folder, break on the symlink swap that the
//! kubelet makes, miss changes on some network file systems and need this poll as a fallback anyway.
//!
//! A document is taken whole or not at all: what does not parse is counted, told once with every problem, and changes
//! nothing. A folder's sequence only grows: an older one is ignored.

mod files;
mod status;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::config::{self, Config, KeySource, Provider, Scope};
use bowsprit_crds::names::{CONFIG_KEY, FORMAT_KEY, FORMAT_VERSION, SEQUENCE_KEY};

use crate::app::App;
use crate::credentials::{ApiKey, Wanted};
use crate::tenant::snapshot::Snapshot;
use files::Stamp;

pub use status::{ConfigMetrics, ConfigReport, ConfigState};

/// From one look to the next.
pub const POLL_EVERY: Duration = Duration::from_millis(200);
/// Largest configuration: a ConfigMap holds at most 1 MiB.
const MAX_CONFIG: u64 = 4 << 20;
/// Largest key file.
const MAX_KEY: u64 = 64 << 10;

/// Where configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A person's file.
    File(PathBuf),
    /// A mounted ConfigMap.
    Folder(PathBuf),
    /// Made from the environment; never changes.
    Text(String),
}

/// Looks for changes and brings them into service.
pub struct Loader {
    source: Source,
    secrets_dir: Option<PathBuf>,
    pod_labels: Option<PathBuf>,
    seen: Vec<Stamp>,
    /// A change seen once: a file that is being written is left alone until two looks agree.
    pending: Option<Vec<Stamp>>,
    keys_seen: Vec<Stamp>,
    trust_seen: Vec<Stamp>,
    first: bool,
}

/// Polls until the process ends.
pub async fn watch(app: Arc<App>, mut loader: Loader) {
    loop {
        tokio::time::sleep(POLL_EVERY).await;
        loader.poll(&app);
    }
}

impl Loader {
    /// A loader that has seen nothing yet.
    pub fn new(source: Source, secrets_dir: Option<PathBuf>, pod_labels: Option<PathBuf>) -> Self {
        Self {
            source,
            secrets_dir,
            pod_labels,
            seen: Vec::new(),
            pending: None,
            keys_seen: Vec::new(),
            trust_seen: Vec::new(),
            first: true,
        }
    }

    /// Looks once.
    pub fn poll(&mut self, app: &App) {
        let changed = self.config_changed();
        if changed {
            self.load(app);
        } else if Self::trust_stamps(app) != self.trust_seen {
            renew_trust(app);
        }
        self.trust_seen = Self::trust_stamps(app);
        let keys = self.key_stamps(app);
        if changed || keys != self.keys_seen {
            self.load_keys(app);
            self.keys_seen = keys;
        }
    }

    fn config_changed(&mut self) -> bool {
        let first = std::mem::replace(&mut self.first, false);
        let now = self.stamps();
        if first {
            self.seen = now;
            return true;
        }
        if now == self.seen {
            self.pending = None;
            return false;
        }
        // A swapped folder is whole at once. A plain file may be half written: it must have stood still for one turn.
        let settled = matches!(self.source, Source::Folder(_)) || self.pending.as_ref() == Some(&now);
        if settled {
            self.pending = None;
            self.seen = now;
        } else {
            self.pending = Some(now);
        }
        settled
    }

    fn stamps(&self) -> Vec<Stamp> {
        let mut stamps = match &self.source {
            Source::Text(_) => Vec::new(),
            Source::File(path) => vec![Stamp::of(path)],
            Source::Folder(dir) => [CONFIG_KEY, SEQUENCE_KEY]
                .map(|name| Stamp::of(&dir.join(name)))
                .to_vec(),
        };
        stamps.extend(self.pod_labels.as_deref().map(Stamp::of));
        stamps
    }

    fn load(&self, app: &App) {
        match self.read() {
            Ok(config) => accept(app, config),
            Err(problems) => app.config.rejected(app, problems),
        }
    }

    fn read(&self) -> Result<Config, String> {
        match &self.source {
            Source::Text(text) => parse(text, &Scope::Standalone, "the environment"),
            Source::File(path) => {
                let text = files::read(path, MAX_CONFIG)?;
                parse(&text, &Scope::Standalone, &path.display().to_string())
            }
            Source::Folder(dir) => self.read_folder(dir),
        }
    }

    fn read_folder(&self, dir: &Path) -> Result<Config, String> {
        let read = |name: &str| files::read(&dir.join(name), MAX_CONFIG);
        let version = read(FORMAT_KEY).map_or(1, |text| text.trim().parse().unwrap_or(u32::MAX));
        if version > FORMAT_VERSION {
            return Err(format!(
                "{}: formatVersion {version} is newer than this sidecar understands ({FORMAT_VERSION}): restart the pod to get a newer sidecar",
                dir.display()
            ));
        }
        let sequence = match read(SEQUENCE_KEY) {
            Ok(text) => text
                .trim()
                .parse()
                .map_err(|_| format!("{}: sequence {:?} is no number", dir.display(), text.trim()))?,
            Err(_) => 0,
        };
        let scope = Scope::Cluster {
            pod_labels: self.pod_labels.as_deref().map(files::labels).unwrap_or_default(),
        };
        let mut config = parse(&read(CONFIG_KEY)?, &scope, &dir.join(CONFIG_KEY).display().to_string())?;
        config.sequence = sequence;
        Ok(config)
    }

    fn key_stamps(&self, app: &App) -> Vec<Stamp> {
        let snapshot = app.snapshot.load();
        let Some(snapshot) = snapshot.as_ref() else {
            return Vec::new();
        };
        let credentials = snapshot
            .config
            .providers
            .iter()
            .flat_map(|provider| &provider.credentials);
        credentials
            .filter_map(|credential| Some(Stamp::of(&self.key_path(&credential.source)?)))
            .collect()
    }

    /// Of the CA bundles: one that came late, or was rotated, must not wait for the next change of the configuration.
    fn trust_stamps(app: &App) -> Vec<Stamp> {
        let snapshot = app.snapshot.load();
        let Some(snapshot) = snapshot.as_ref() else {
            return Vec::new();
        };
        let bundles = snapshot.config.providers.iter().filter_map(|it| it.ca_bundle.as_ref());
        bundles
            .filter_map(|bundle| Some(Stamp::of(&app.shared.bundle_path(bundle)?)))
            .collect()
    }

    fn key_path(&self, source: &KeySource) -> Option<PathBuf> {
        match source {
            KeySource::Secret { name, key } => Some(self.secrets_dir.as_ref()?.join(name).join(key)),
            KeySource::File(path) => Some(PathBuf::from(path)),
            KeySource::Env(_) => None,
        }
    }

    fn load_keys(&self, app: &App) {
        let snapshot = app.snapshot.load();
        let Some(snapshot) = snapshot.as_ref() else { return };
        for upstream in snapshot.upstreams() {
            let provider = &upstream.provider;
            let problems = upstream
                .state
                .update_keys(&provider.base_url, self.keys_of(provider), app.clock.now());
            for (credential, problem) in problems {
                tracing::warn!(provider = %upstream.provider.name, credential, problem, "key");
            }
        }
    }

    fn keys_of(&self, provider: &Provider) -> Vec<Wanted> {
        provider
            .credentials
            .iter()
            .map(|credential| Wanted {
                name: credential.name.clone(),
                source: credential.source.clone(),
                weight: credential.weight.get(),
                read: self.read_key(&credential.source),
            })
            .collect()
    }

    fn read_key(&self, source: &KeySource) -> Result<ApiKey, String> {
        let (text, place) = match source {
            KeySource::Env(name) => {
                let place = format!("environment variable {name}");
                (
                    zeroize::Zeroizing::new(std::env::var(name).map_err(|_| format!("{place} is not set"))?),
                    place,
                )
            }
            KeySource::Secret { name, key } => {
                let place = format!("key {key} of Secret {name}");
                let Some(path) = self.key_path(source) else {
                    return Err(format!(
                        "{place} cannot be read: the sidecar was given no --secrets-dir"
                    ));
                };
                let text = files::read(&path, MAX_KEY).map_err(|error| {
                    format!("{place} is not there ({error}); a pod sees a newly referenced Secret after its restart")
                })?;
                (zeroize::Zeroizing::new(text), place)
            }
            KeySource::File(path) => {
                let place = format!("file {path}");
                (zeroize::Zeroizing::new(files::read(Path::new(path), MAX_KEY)?), place)
            }
        };
        ApiKey::parse(&text).map_err(|bad| format!("{place} {bad}"))
    }
}

fn parse(text: &str, scope: &Scope, place: &str) -> Result<Config, String> {
    config::load(text, scope).map_err(|problems| format!("{place}:\n{problems}"))
}

/// The same configuration with connections that trust what the CA bundles hold now.
fn renew_trust(app: &App) {
    let Some(snapshot) = app.snapshot.load_full() else {
        return;
    };
    tracing::info!("a CA bundle changed");
    let snapshot = Snapshot::build(
        snapshot.config.clone(),
        &app.shared,
        &app.sinks,
        &app.metrics.providers,
        app.clock.now(),
    );
    app.snapshot.store(Some(Arc::new(snapshot)));
}

/// Brings a configuration into service, unless it is older than what is.
fn accept(app: &App, config: Config) {
    if let Some(snapshot) = app.snapshot.load().as_ref()
        && config.sequence < snapshot.config.sequence
    {
        let text = format!(
            "sequence {} is older than {}, which is in service",
            config.sequence, snapshot.config.sequence
        );
        app.config.ignored(app, text);
        return;
    }
    for notice in &config.notices {
        tracing::warn!(notice = %notice, "configuration");
    }
    let snapshot = Snapshot::build(config, &app.shared, &app.sinks, &app.metrics.providers, app.clock.now());
    app.config.accepted(app, &snapshot);
    app.snapshot.store(Some(Arc::new(snapshot)));
}
