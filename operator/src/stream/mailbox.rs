//! Lines for one stream, from elsewhere than its namespace's documents: grants. Written by whoever has one, sent by the stream's task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::sync::locked;

/// What may wait for one sidecar, and for another replica with all of its sidecars, bytes: beyond it lines are lost, and their
/// sidecars ask again.
pub(super) const MOST_FOR_SIDECAR: usize = 16 << 10;
pub(super) const MOST_FOR_PEER: usize = 4 << 20;

/// One stream's lines.
#[derive(Debug)]
pub(super) struct Mailbox {
    most: usize,
    waiting: Mutex<Vec<u8>>,
    news: Notify,
}

impl Mailbox {
    /// Empty, for so many bytes.
    fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            waiting: Mutex::default(),
            news: Notify::new(),
        })
    }

    /// Leaves a line, with its end.
    pub(super) fn put(&self, line: &[u8]) {
        let mut waiting = locked(&self.waiting);
        if waiting.len() + line.len() <= self.most {
            waiting.extend_from_slice(line);
            drop(waiting);
            self.news.notify_one();
        }
    }

    /// All that waits; empty where nothing does.
    pub(super) fn take(&self) -> Bytes {
        std::mem::take(&mut *locked(&self.waiting)).into()
    }

    /// Returns once something was left since the last return.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

/// The mailboxes of the streams that are open here, by the pods' uids.
#[derive(Debug, Default)]
pub(super) struct Mailboxes(Mutex<HashMap<String, Arc<Mailbox>>>);

/// A mailbox that is found for as long as this lives.
pub(super) struct Posted<'a> {
    boxes: &'a Mailboxes,
    uid: String,
    pub(super) mailbox: Arc<Mailbox>,
}

impl Mailboxes {
    /// A stream begins, for which so many bytes may wait; the mailbox of the pod's stream before it, if there is one, is found no more.
    pub(super) fn open(&self, uid: &str, most: usize) -> Posted<'_> {
        let mailbox = Mailbox::new(most);
        self.lock().insert(uid.to_owned(), Arc::clone(&mailbox));
        Posted {
            boxes: self,
            uid: uid.to_owned(),
            mailbox,
        }
    }

    /// Leaves a line for a pod, if its stream is here. Says whether it is.
    pub(super) fn put(&self, uid: &str, line: &[u8]) -> bool {
        let mailbox = self.lock().get(uid).cloned();
        if let Some(mailbox) = &mailbox {
            mailbox.put(line);
        }
        mailbox.is_some()
    }

    /// Leaves a line for each.
    pub(super) fn put_all(&self, line: &[u8]) {
        let all: Vec<_> = self.lock().values().cloned().collect();
        for mailbox in &all {
            mailbox.put(line);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Mailbox>>> {
        locked(&self.0)
    }
}

impl Drop for Posted<'_> {
    fn drop(&mut self) {
        let mut boxes = self.boxes.lock();
        if boxes
            .get(&self.uid)
            .is_some_and(|there| Arc::ptr_eq(there, &self.mailbox))
        {
            boxes.remove(&self.uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_to_the_newest_stream_of_its_pod_and_is_lost_where_nobody_takes_lines() {
        let boxes = Mailboxes::default();
        let first = boxes.open("a", MOST_FOR_SIDECAR);
        let second = boxes.open("a", MOST_FOR_SIDECAR);
        assert!(boxes.put("a", b"one\n"));
        assert!(!boxes.put("b", b"two\n"));
        assert!(first.mailbox.take().is_empty());
        drop(first);
        boxes.put_all(b"three\n");
        assert_eq!(second.mailbox.take(), "one\nthree\n");
        boxes.put("a", &vec![b'x'; MOST_FOR_SIDECAR + 1]);
        assert!(second.mailbox.take().is_empty());
        drop(second);
        assert!(boxes.lock().is_empty());
    }
}
