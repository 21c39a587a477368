//! The configuration in service, saved for the sidecar's next start.
//!
//! The folder may be behind what the stream brought, by a minute where the kubelet is slow. A container that restarts while
//! operator and apiserver are gone would go back to it; so what is applied is written to a folder of the sidecar's own that
//! outlives the container. The file is what the operator sends: documents, sequence, layout and content hash, which tells a
//! damaged file. No failure here is in anybody's way: it is counted, and said once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::config::revision;
use bowsprit_core::stream::StreamedConfig;
use bowsprit_crds::names::FORMAT_VERSION;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use super::metrics::ConfigMetrics;
use super::{MAX_CONFIG, Offer, Source};
use crate::caller::Pod;
use crate::files;

/// The source's kind.
pub const SAVED: &str = "saved";
/// The file in the folder of the sidecar's own.
const FILE: &str = "config.json";
/// Beside it while it is written.
const UNFINISHED: &str = "config.json.new";
/// What could not be written is tried again so much later, unless something newer comes first.
const TRY_AGAIN: Duration = Duration::from_mins(1);

/// Offers, once, what an earlier run of this sidecar saved.
pub struct SavedSource {
    file: Option<PathBuf>,
    metrics: ConfigMetrics,
}

impl SavedSource {
    /// What is in the folder `dir`, not looked at yet.
    pub fn new(dir: &Path, metrics: ConfigMetrics) -> Self {
        Self {
            file: Some(dir.join(FILE)),
            metrics,
        }
    }
}

impl Source for SavedSource {
    fn poll(&mut self, pod: &Pod) -> Option<Offer> {
        let file = self.file.take()?;
        match read(&file) {
            Ok(config) => config.map(|config| Offer::of(SAVED, config, file.display().to_string(), pod)),
            Err(problem) => {
                self.metrics.not_saved.inc();
                tracing::warn!(problem, "the saved configuration cannot be used");
                None
            }
        }
    }
}

/// `None` where nothing has been saved yet.
fn read(file: &Path) -> Result<Option<StreamedConfig>, String> {
    if !file.exists() {
        return Ok(None);
    }
    // In JSON each byte of the documents may take two.
    let text = files::read(file, 2 * MAX_CONFIG)?;
    let damaged = |what: &dyn std::fmt::Display| format!("{}: is damaged: {what}", file.display());
    let config: StreamedConfig = serde_json::from_str(&text).map_err(|error| damaged(&error))?;
    if revision(&config.text) != config.revision {
        return Err(damaged(&"its content is not what its hash says"));
    }
    Ok(Some(config))
}

/// What is to be saved.
#[derive(Clone, Debug)]
pub struct ToSave {
    /// Its sequence.
    pub sequence: u64,
    /// Its documents.
    pub text: Arc<str>,
}

/// Saves what comes, always the newest, into the folder `dir`. Ends never.
pub async fn keep(dir: PathBuf, mut newest: watch::Receiver<Option<ToSave>>, metrics: ConfigMetrics) {
    let mut failed = false;
    loop {
        let news = newest.changed();
        let is_closed = if failed {
            tokio::time::timeout(TRY_AGAIN, news)
                .await
                .is_ok_and(|news| news.is_err())
        } else {
            news.await.is_err()
        };
        if is_closed {
            return std::future::pending().await;
        }
        let to_save = newest.borrow_and_update().clone();
        let Some(to_save) = to_save else { continue };
        match write(&dir, &to_save).await {
            Ok(()) => failed = false,
            Err(error) => {
                metrics.not_saved.inc();
                if !std::mem::replace(&mut failed, true) {
                    tracing::warn!(
                        dir = %dir.display(), %error,
                        "the configuration in service cannot be saved: until that works, a restart begins with the mounted one"
                    );
                }
            }
        }
    }
}

/// All of it under its name, or what was there stays.
async fn write(dir: &Path, to_save: &ToSave) -> io::Result<()> {
    let config = StreamedConfig {
        sequence: to_save.sequence,
        revision: revision(&to_save.text),
        format_version: FORMAT_VERSION,
        text: to_save.text.to_string(),
    };
    let text = serde_json::to_vec(&config)?;
    let unfinished = dir.join(UNFINISHED);
    let mut file = tokio::fs::File::create(&unfinished).await?;
    file.write_all(&text).await?;
    // What went wrong with the write is told here and nowhere later.
    file.flush().await?;
    file.sync_all().await?;
    tokio::fs::rename(&unfinished, dir.join(FILE)).await?;
    tokio::fs::File::open(dir).await?.sync_all().await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::metrics::Registry;

    fn metrics() -> ConfigMetrics {
        ConfigMetrics::register(&mut Registry::default())
    }

    fn to_save(sequence: u64) -> ToSave {
        ToSave {
            sequence,
            text: format!("a: \"{sequence}\"\n").into(),
        }
    }

    fn found(dir: &Path) -> (Option<Offer>, u64) {
        let metrics = metrics();
        let offer = SavedSource::new(dir, metrics.clone()).poll(&Pod::default());
        (offer, metrics.not_saved.get())
    }

    #[tokio::test]
    async fn what_was_saved_is_offered_once_with_its_sequence() {
        let dir = tempfile::tempdir().unwrap();
        assert!(found(dir.path()).0.is_none(), "nothing yet");
        write(dir.path(), &to_save(7)).await.unwrap();
        write(dir.path(), &to_save(8)).await.unwrap();
        let mut source = SavedSource::new(dir.path(), metrics());
        let offer = source.poll(&Pod::default()).unwrap();
        assert_eq!((offer.source, offer.sequence), (SAVED, 8));
        assert_eq!(&*offer.documents.unwrap().text, "a: \"8\"\n");
        assert!(source.poll(&Pod::default()).is_none());
    }

    #[tokio::test]
    async fn a_file_that_is_cut_or_changed_anywhere_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &to_save(7)).await.unwrap();
        let file = dir.path().join(FILE);
        let whole = std::fs::read(&file).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&file, &whole[..length]).unwrap();
            let (offer, failures) = found(dir.path());
            assert!(offer.is_none() && failures == 1, "{length} bytes of it");
        }
        let text = String::from_utf8(whole).unwrap().replace("a: ", "b: ");
        std::fs::write(&file, text).unwrap();
        assert_eq!(found(dir.path()).1, 1, "its hash tells");
    }

    #[tokio::test]
    async fn a_layout_of_a_later_release_is_refused_with_the_folders_words() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &to_save(7)).await.unwrap();
        let file = dir.path().join(FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("\"formatVersion\":1", "\"formatVersion\":99")).unwrap();
        let why = found(dir.path()).0.unwrap().documents.unwrap_err();
        assert!(why.contains("formatVersion 99 is newer"), "{why}");
    }

    #[tokio::test]
    async fn a_full_disk_leaves_what_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &to_save(7)).await.unwrap();
        // The kernel's own full disk.
        symlink("/dev/full", dir.path().join(UNFINISHED)).unwrap();
        let error = write(dir.path(), &to_save(8)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(found(dir.path()).0.unwrap().sequence, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_saved_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::write(&state, "a file where the folder should be").unwrap();
        let (sender, newest) = watch::channel(Some(to_save(7)));
        let metrics = metrics();
        let keeping = tokio::spawn(keep(state.clone(), newest, metrics.clone()));
        sender.send(Some(to_save(9))).unwrap();
        while metrics.not_saved.get() < 2 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        std::fs::remove_file(&state).unwrap();
        std::fs::create_dir(&state).unwrap();
        while found(&state).0.is_none() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(found(&state).0.unwrap().sequence, 9);
        keeping.abort();
    }
}
