//! A mounted ConfigMap: documents, their format's version and their sequence.

use std::path::PathBuf;

use bowsprit_crds::names::{CONFIG_KEY, FORMAT_KEY, SEQUENCE_KEY};

use super::{Documents, MAX_CONFIG, Offer, Source, of_pod, readable};
use crate::caller::Pod;
use crate::files::{self, Stamp};

/// Offers a folder as the kubelet swaps it.
pub struct FolderSource {
    dir: PathBuf,
    offered: Option<[Stamp; 2]>,
}

impl FolderSource {
    /// The folder `dir`, not looked at yet.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, offered: None }
    }

    fn stamps(&self) -> [Stamp; 2] {
        [CONFIG_KEY, SEQUENCE_KEY].map(|name| Stamp::of(&self.dir.join(name)))
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

    fn documents(&self, pod: &Pod) -> Result<Documents, String> {
        let version = self
            .read(FORMAT_KEY)
            .map_or(1, |text| text.trim().parse().unwrap_or(u32::MAX));
        readable(&self.dir.display().to_string(), version)?;
        Ok(Documents {
            text: self.read(CONFIG_KEY)?.into(),
            place: self.dir.join(CONFIG_KEY).display().to_string(),
            scope: of_pod(pod),
        })
    }
}

impl Source for FolderSource {
    fn poll(&mut self, pod: &Pod) -> Option<Offer> {
        let now = self.stamps();
        if self.offered.replace(now) == Some(now) {
            return None;
        }
        let sequence = self.sequence();
        Some(Offer {
            source: "folder",
            sequence: *sequence.as_ref().unwrap_or(&0),
            documents: self.documents(pod).and_then(|documents| sequence.map(|_| documents)),
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
        let mut source = FolderSource::new(dir.path().to_owned());
        let offer = source.poll(&Pod::default()).unwrap();
        assert_eq!((offer.sequence, &*offer.documents.unwrap().text), (7, "one"));
        assert!(source.poll(&Pod::default()).is_none());
        put(SEQUENCE_KEY, "18");
        assert_eq!(source.poll(&Pod::default()).unwrap().sequence, 18);
    }

    #[test]
    fn what_cannot_be_read_is_an_offer_that_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let offered = || {
            let mut source = FolderSource::new(dir.path().to_owned());
            source.poll(&Pod::default()).unwrap().documents.unwrap_err()
        };
        assert!(offered().contains(CONFIG_KEY));
        put(CONFIG_KEY, "");
        put(SEQUENCE_KEY, "seven");
        assert!(offered().contains("is no number"));
        put(FORMAT_KEY, "99");
        assert!(offered().contains("formatVersion 99 is newer"));
    }
}
