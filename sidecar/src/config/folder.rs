//! A mounted ConfigMap: documents, their format's version and their sequence.

use std::path::PathBuf;

use bowsprit_core::config::Scope;
use bowsprit_crds::names::{CONFIG_KEY, FORMAT_KEY, FORMAT_VERSION, SEQUENCE_KEY};

use super::{Documents, MAX_CONFIG, Offer, Source};
use crate::caller::Pod;
use crate::files::{self, Stamp};

/// Offers a folder as the kubelet swaps it. Offered anew when the pod's labels change, which decide what concerns it.
pub struct FolderSource {
    dir: PathBuf,
    pod_labels: Option<PathBuf>,
    offered: Option<[Stamp; 3]>,
}

impl FolderSource {
    /// The folder `dir`, not looked at yet. `pod_labels`: the downward API's file.
    pub fn new(dir: PathBuf, pod_labels: Option<PathBuf>) -> Self {
        Self {
            dir,
            pod_labels,
            offered: None,
        }
    }

    fn stamps(&self) -> [Stamp; 3] {
        [
            Stamp::of(&self.dir.join(CONFIG_KEY)),
            Stamp::of(&self.dir.join(SEQUENCE_KEY)),
            self.pod_labels.as_deref().map_or(Stamp::NOTHING, Stamp::of),
        ]
    }

    fn read(&self, name: &str) -> Result<String, String> {
        files::read(&self.dir.join(name), MAX_CONFIG)
    }

    /// 0 where there is no such file.
    fn sequence(&self) -> Result<u64, String> {
        let Ok(text) = self.read(SEQUENCE_KEY) else {
            return Ok(0);
        };
        let number = text.trim().parse();
        number.map_err(|_| format!("{}: sequence {:?} is no number", self.dir.display(), text.trim()))
    }

    fn documents(&self) -> Result<Documents, String> {
        let version = self
            .read(FORMAT_KEY)
            .map_or(1, |text| text.trim().parse().unwrap_or(u32::MAX));
        if version > FORMAT_VERSION {
            return Err(format!(
                "{}: formatVersion {version} is newer than this sidecar understands ({FORMAT_VERSION}): restart the pod to get a newer sidecar",
                self.dir.display()
            ));
        }
        Ok(Documents {
            text: self.read(CONFIG_KEY)?,
            place: self.dir.join(CONFIG_KEY).display().to_string(),
            scope: Scope::Cluster {
                pod_labels: Pod::own(self.pod_labels.as_deref()).labels,
            },
        })
    }
}

impl Source for FolderSource {
    fn poll(&mut self) -> Option<Offer> {
        let now = self.stamps();
        if self.offered.replace(now) == Some(now) {
            return None;
        }
        let sequence = self.sequence();
        Some(Offer {
            source: "folder",
            sequence: *sequence.as_ref().unwrap_or(&0),
            documents: self.documents().and_then(|documents| sequence.map(|_| documents)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_offered_whole_with_its_sequence_and_again_when_either_changes() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        put(CONFIG_KEY, "one");
        put(SEQUENCE_KEY, "7\n");
        let mut source = FolderSource::new(dir.path().to_owned(), None);
        let offer = source.poll().unwrap();
        assert_eq!((offer.sequence, offer.documents.unwrap().text.as_str()), (7, "one"));
        assert!(source.poll().is_none());
        put(SEQUENCE_KEY, "18");
        assert_eq!(source.poll().unwrap().sequence, 18);
    }

    #[test]
    fn what_cannot_be_read_is_an_offer_that_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let offered = || {
            let mut source = FolderSource::new(dir.path().to_owned(), None);
            source.poll().unwrap().documents.unwrap_err()
        };
        assert!(offered().contains(CONFIG_KEY));
        put(CONFIG_KEY, "");
        put(SEQUENCE_KEY, "seven");
        assert!(offered().contains("is no number"));
        put(FORMAT_KEY, "99");
        assert!(offered().contains("formatVersion 99 is newer"));
    }
}
