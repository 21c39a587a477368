//! Which batches are booked: each once, however often its results are fetched. And which files are results of batches, as their
//! provider has said here: what is in a file does not tell, since anyone can upload one that looks so.
//!
//! What is booked is written into the sidecar's own folder, where there is one, so that a restart books none again. It names
//! providers and batches and nothing else. A sidecar that is killed within a moment of booking may tell of that one again; so may one
//! that has forgotten it among [`MOST`] later ones, and another pod: the ledger service counts it once all the same.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::files;
use crate::sync::locked;

/// So many of each are remembered: months of results, fetched again within days.
const MOST: usize = 1_000;
/// The file, and what is beside it while it is written.
const FILE: &str = "batches.json";
const UNFINISHED: &str = "batches.json.new";
/// The most that it may hold, bytes.
const BYTES: u64 = 1 << 20;

/// Batches that are booked.
#[derive(Debug)]
pub struct Batches {
    booked: Mutex<VecDeque<String>>,
    /// Files of results.
    outputs: Mutex<VecDeque<String>>,
    changed: Notify,
    dir: Option<PathBuf>,
}

#[derive(Default, Serialize, Deserialize)]
struct File {
    booked: VecDeque<String>,
    #[serde(default)]
    outputs: VecDeque<String>,
}

impl Batches {
    /// Goes on with what an earlier run has booked, where there is a folder.
    pub fn open(dir: Option<&Path>) -> Self {
        let File { booked, outputs } = dir.map(read).unwrap_or_default();
        Self {
            booked: Mutex::new(booked),
            outputs: Mutex::new(outputs),
            changed: Notify::new(),
            dir: dir.map(Path::to_owned),
        }
    }

    /// Whether this provider's batch is booked for the first time; from now on it is booked.
    pub fn is_new(&self, provider: &str, id: &str) -> bool {
        let key = format!("{provider}/{id}");
        let mut booked = locked(&self.booked);
        if booked.contains(&key) {
            return false;
        }
        if booked.len() >= MOST {
            booked.pop_front();
        }
        booked.push_back(key);
        self.changed.notify_one();
        true
    }

    /// This provider has said that this file is results of a batch.
    pub fn told(&self, provider: &str, file: &str) {
        let key = format!("{provider}/{file}");
        let mut outputs = locked(&self.outputs);
        if let Some(at) = outputs.iter().position(|known| *known == key) {
            // What is told of again is forgotten last.
            outputs.remove(at);
        } else {
            self.changed.notify_one();
        }
        if outputs.len() >= MOST {
            outputs.pop_front();
        }
        outputs.push_back(key);
    }

    /// Whether it has.
    pub fn is_output(&self, provider: &str, file: &str) -> bool {
        locked(&self.outputs).contains(&format!("{provider}/{file}"))
    }

    /// Writes what is booked, when that changes.
    pub async fn run(&self) {
        loop {
            self.changed.notified().await;
            if let Err(error) = self.write().await {
                tracing::warn!(%error, "which batches are booked cannot be saved: a restart may book one again");
            }
        }
    }

    /// Writes what is booked now.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub async fn write(&self) -> io::Result<()> {
        let (booked, outputs) = (locked(&self.booked).clone(), locked(&self.outputs).clone());
        // Who has no batches needs no file.
        let is_empty = booked.is_empty() && outputs.is_empty();
        let Some(dir) = self.dir.as_ref().filter(|_| !is_empty) else {
            return Ok(());
        };
        let unfinished = dir.join(UNFINISHED);
        tokio::fs::write(&unfinished, serde_json::to_vec(&File { booked, outputs })?).await?;
        tokio::fs::rename(&unfinished, dir.join(FILE)).await
    }
}

fn read(dir: &Path) -> File {
    let file = dir.join(FILE);
    if !file.exists() {
        return File::default();
    }
    let text = files::read(&file, BYTES);
    match text.and_then(|text| serde_json::from_str::<File>(&text).map_err(|error| error.to_string())) {
        Ok(file) => file,
        Err(problem) => {
            tracing::warn!(file = %file.display(), problem, "which batches are booked cannot be read: one may be booked again");
            File::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_batch_is_new_once_and_after_a_restart_too() {
        let dir = tempfile::tempdir().unwrap();
        let batches = Batches::open(Some(dir.path()));
        assert!(batches.is_new("claude", "b1") && batches.is_new("openai", "b1"));
        assert!(!batches.is_new("claude", "b1"));
        batches.told("openai", "file-1");
        batches.write().await.unwrap();
        let again = Batches::open(Some(dir.path()));
        assert!(!again.is_new("claude", "b1") && again.is_new("claude", "b2"));
        assert!(again.is_output("openai", "file-1") && !again.is_output("other", "file-1"));
        std::fs::write(dir.path().join(FILE), r#"{"booked": ["claude/b1"]}"#).unwrap();
        assert!(
            !Batches::open(Some(dir.path())).is_new("claude", "b1"),
            "an earlier release wrote no more"
        );
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(
            Batches::open(Some(dir.path())).is_new("claude", "b1"),
            "what cannot be read is begun anew"
        );
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let batches = Batches::open(None);
        for number in 0..=MOST {
            assert!(batches.is_new("p", &number.to_string()));
        }
        assert!(!batches.is_new("p", "1") && batches.is_new("p", "0"));
        assert_eq!(batches.booked.lock().unwrap().len(), MOST);
        batches.told("p", "first");
        for number in 1..MOST {
            batches.told("p", &number.to_string());
        }
        batches.told("p", "first");
        batches.told("p", "last");
        assert!(batches.is_output("p", "first") && batches.is_output("p", "last") && !batches.is_output("p", "1"));
        assert_eq!(batches.outputs.lock().unwrap().len(), MOST);
    }
}
