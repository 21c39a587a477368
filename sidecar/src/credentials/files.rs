//! Where keys are read from: mounted Secrets, files, the environment.

use std::path::{Path, PathBuf};

use bowsprit_core::config::{KeySource, Provider};
use zeroize::Zeroizing;

use super::pool::Wanted;
use super::secret::ApiKey;
use crate::files::{self, Stamp};

/// Largest key file, bytes.
const MAX_KEY: u64 = 64 << 10;

/// Reads keys. Secrets are mounted as `DIR/<secret>/<key>`.
pub struct KeyFiles {
    secrets_dir: Option<PathBuf>,
}

impl KeyFiles {
    /// Keys whose Secrets are mounted in `secrets_dir`.
    pub fn new(secrets_dir: Option<PathBuf>) -> Self {
        Self { secrets_dir }
    }

    /// What tells one content of a source from the next; `None` for a variable, which never changes.
    pub fn stamp(&self, source: &KeySource) -> Option<Stamp> {
        Some(Stamp::of(&self.path(source)?))
    }

    /// The credentials that a provider's configuration wants, each with its key or why it has none.
    pub fn read_all(&self, provider: &Provider) -> Vec<Wanted> {
        let credentials = provider.credentials.iter();
        credentials
            .map(|credential| Wanted {
                name: credential.name.clone(),
                source: credential.source.clone(),
                weight: credential.weight.get(),
                read: self.read(&credential.source),
            })
            .collect()
    }

    fn path(&self, source: &KeySource) -> Option<PathBuf> {
        match source {
            KeySource::Secret { name, key } => Some(self.secrets_dir.as_ref()?.join(name).join(key)),
            KeySource::File(path) => Some(PathBuf::from(path)),
            KeySource::Env(_) => None,
        }
    }

    /// The key that a source holds.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(&self, source: &KeySource) -> Result<ApiKey, String> {
        let (text, place) = self.text(source)?;
        ApiKey::parse(&text).map_err(|bad| format!("{place} {bad}"))
    }

    /// What a source holds, for what is no key of a provider and yet holds a password.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_text(&self, source: &KeySource) -> Result<Zeroizing<String>, String> {
        self.text(source).map(|(text, _)| text)
    }

    fn text(&self, source: &KeySource) -> Result<(Zeroizing<String>, String), String> {
        Ok(match source {
            KeySource::Env(name) => {
                let place = format!("environment variable {name}");
                let text = std::env::var(name).map_err(|_| format!("{place} is not set"))?;
                (Zeroizing::new(text), place)
            }
            KeySource::Secret { name, key } => {
                let place = format!("key {key} of Secret {name}");
                let Some(path) = self.path(source) else {
                    return Err(format!(
                        "{place} cannot be read: the sidecar was given no --secrets-dir"
                    ));
                };
                let text = files::read(&path, MAX_KEY).map_err(|error| {
                    format!("{place} is not there ({error}); a pod sees a newly referenced Secret after its restart")
                })?;
                (Zeroizing::new(text), place)
            }
            KeySource::File(path) => {
                let place = format!("file {path}");
                (Zeroizing::new(files::read(Path::new(path), MAX_KEY)?), place)
            }
        })
    }
}
