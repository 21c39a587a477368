//! A person's file of documents.

use std::path::PathBuf;

use bowsprit_core::config::Scope;

use super::{Documents, MAX_CONFIG, Offer, Source};
use crate::caller::Pod;
use crate::files::{self, Stamp};

/// Offers a file as it changes.
pub struct FileSource {
    path: PathBuf,
    offered: Option<Stamp>,
    /// A change seen once: a file that is being written is left alone until two looks agree.
    pending: Option<Stamp>,
}

impl FileSource {
    /// The file at `path`, not looked at yet.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            offered: None,
            pending: None,
        }
    }

    fn read(&self) -> Result<Documents, String> {
        Ok(Documents {
            text: files::read(&self.path, MAX_CONFIG)?.into(),
            place: self.path.display().to_string(),
            scope: Scope::Standalone,
        })
    }
}

impl Source for FileSource {
    fn poll(&mut self, _pod: &Pod) -> Option<Offer> {
        let now = Stamp::of(&self.path);
        let is_first = self.offered.is_none();
        if self.offered == Some(now) {
            self.pending = None;
            return None;
        }
        if !is_first && self.pending != Some(now) {
            self.pending = Some(now);
            return None;
        }
        self.pending = None;
        self.offered = Some(now);
        Some(Offer {
            source: "file",
            sequence: 0,
            documents: self.read(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(offer: Option<Offer>) -> Option<String> {
        offer.map(|offer| {
            offer
                .documents
                .map_or_else(|why| why, |documents| documents.text.to_string())
        })
    }

    #[test]
    fn a_file_is_offered_once_and_again_when_two_looks_agree_on_a_change() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one").unwrap();
        let mut source = FileSource::new(file.path().to_owned());
        assert_eq!(text(source.poll(&Pod::default())).as_deref(), Some("one"));
        assert_eq!(text(source.poll(&Pod::default())), None, "nothing is new");
        std::fs::write(file.path(), "half of tw").unwrap();
        assert_eq!(text(source.poll(&Pod::default())), None, "it may be half written");
        std::fs::write(file.path(), "half of two").unwrap();
        assert_eq!(text(source.poll(&Pod::default())), None, "it was");
        assert_eq!(text(source.poll(&Pod::default())).as_deref(), Some("half of two"));
    }

    #[test]
    fn a_file_that_is_missing_is_an_offer_that_says_so() {
        let mut source = FileSource::new("/nowhere/at/all.yaml".into());
        let offer = source.poll(&Pod::default()).unwrap();
        assert!(offer.documents.unwrap_err().contains("/nowhere/at/all.yaml"));
        assert!(source.poll(&Pod::default()).is_none());
    }
}
