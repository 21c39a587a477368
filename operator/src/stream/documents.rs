//! Each namespace's newest config as the line that its streams send: written out once, shared by all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use bowsprit_core::config::is_given;
use bowsprit_core::stream::{MAX_TO_SIDECAR, StreamedConfig, ToSidecar};
use bowsprit_crds::names;
use bytes::Bytes;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher;
use tokio::sync::watch;

use crate::heard::{Ears, Heard};
use crate::sync::locked;
use crate::time::latest_unix_seconds;

/// A namespace's config, ready to be sent.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its sequence.
    pub sequence: u64,
    /// The message with its line's end.
    pub line: Bytes,
    /// When it was heard of.
    pub since: Instant,
}

/// What a stream of a namespace looks at: only ever the newest, so who reads slowly misses what lies between and holds
/// nothing of it.
pub type Newest = watch::Receiver<Option<Frame>>;

/// The namespaces' configs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Documents(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    namespaces: Mutex<HashMap<String, watch::Sender<Option<Frame>>>>,
    written: Ears,
}

impl Documents {
    /// The namespace's config is this, as of `now`. What is not newer than what is known is passed over: a stream never goes
    /// back, and a ConfigMap in which something else has changed is no news. False where it cannot be sent.
    pub fn publish(&self, namespace: &str, config: StreamedConfig, now: Instant) -> bool {
        let mut all = self.lock();
        let sender = all
            .entry(namespace.to_owned())
            .or_insert_with(|| watch::Sender::new(None));
        let sequence = config.sequence;
        if sender.borrow().as_ref().is_some_and(|known| known.sequence >= sequence) {
            return true;
        }
        let Some(line) = line(&ToSidecar::Config(config)).filter(|line| line.len() <= MAX_TO_SIDECAR) else {
            return false;
        };
        sender.send_replace(Some(Frame {
            sequence,
            line,
            since: now,
        }));
        true
    }

    /// The namespace has no config any more. Streams that are open keep what they were sent: a config that is gone is not one
    /// that is empty.
    pub fn withdraw(&self, namespace: &str) {
        let mut all = self.lock();
        let Some(sender) = all.get(namespace) else {
            return;
        };
        if sender.receiver_count() == 0 {
            all.remove(namespace);
        } else {
            sender.send_replace(None);
        }
    }

    /// For one stream of the namespace.
    pub fn follow(&self, namespace: &str) -> Newest {
        let mut all = self.lock();
        let sender = all
            .entry(namespace.to_owned())
            .or_insert_with(|| watch::Sender::new(None));
        sender.subscribe()
    }

    /// For who looks at a namespace's ConfigMap whenever it was written.
    pub fn listen(&self) -> Heard {
        self.0.written.listen()
    }

    /// Every namespace that has a config.
    pub fn namespaces(&self) -> Vec<String> {
        let all = self.lock();
        let with_config = all.iter().filter(|(_, newest)| newest.borrow().is_some());
        with_config.map(|(namespace, _)| namespace.clone()).collect()
    }

    /// What the watch of the ConfigMaps tells.
    pub fn note(&self, event: &watcher::Event<ConfigMap>) {
        let (map, is_there) = match event {
            watcher::Event::Apply(map) | watcher::Event::InitApply(map) => (map, true),
            watcher::Event::Delete(map) => (map, false),
            watcher::Event::Init | watcher::Event::InitDone => return,
        };
        let Some(namespace) = map.metadata.namespace.as_deref() else {
            return;
        };
        if !is_there {
            self.withdraw(namespace);
            return;
        }
        // One without a sequence is not (yet) the operator's.
        let Some(config) = streamed(map) else {
            return;
        };
        let sequence = config.sequence;
        let clock = u64::try_from(latest_unix_seconds()).unwrap_or(0);
        if !is_given(sequence, clock) {
            // Streams never go back: what an operator writes in its place could not be sent any more.
            tracing::warn!(
                namespace,
                sequence,
                "config with a sequence that no operator has given: not sent"
            );
            return;
        }
        if !self.publish(namespace, config, Instant::now()) {
            tracing::warn!(
                namespace,
                sequence,
                limit = MAX_TO_SIDECAR,
                "config is too large for a stream: sidecars get it by their mounts"
            );
        }
        self.0.written.tell(namespace);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<Option<Frame>>>> {
        locked(&self.0.namespaces)
    }
}

/// A message as a line.
pub(super) fn line<M: serde::Serialize>(message: &M) -> Option<Bytes> {
    let mut line = serde_json::to_vec(message).ok()?;
    line.push(b'\n');
    Some(line.into())
}

fn streamed(map: &ConfigMap) -> Option<StreamedConfig> {
    let data = map.data.as_ref()?;
    let field = |key: &str| data.get(key).cloned().unwrap_or_default();
    Some(StreamedConfig {
        sequence: data.get(names::SEQUENCE_KEY)?.parse().ok()?,
        revision: field(names::REVISION_KEY),
        format_version: data.get(names::FORMAT_KEY)?.parse().ok()?,
        text: field(names::CONFIG_KEY),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(sequence: &str, text: &str) -> ConfigMap {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "bowsprit-config", "namespace": "team"},
            "data": {"sequence": sequence, "revision": "r", "formatVersion": "1", "bowsprit.yaml": text, "ca.crt": "pem"},
        }))
        .unwrap()
    }

    fn seen(newest: &mut Newest) -> Option<(u64, String)> {
        let frame = newest.borrow_and_update().clone()?;
        let message: ToSidecar = serde_json::from_slice(&frame.line).unwrap();
        let ToSidecar::Config(config) = message else {
            panic!("{message:?}")
        };
        assert_eq!((frame.sequence, frame.line.last()), (config.sequence, Some(&b'\n')));
        Some((config.sequence, config.text))
    }

    #[test]
    fn a_stream_sees_the_newest_and_nothing_ever_goes_back() {
        let documents = Documents::default();
        let mut before = documents.follow("team");
        documents.note(&watcher::Event::InitApply(map("7", "old")));
        documents.note(&watcher::Event::Apply(map("9", "new")));
        documents.note(&watcher::Event::Apply(map("8", "late")));
        assert_eq!(seen(&mut before), Some((9, "new".into())));
        // The CA was written into it: the same sequence is no news.
        documents.note(&watcher::Event::Apply(map("9", "new")));
        assert!(!before.has_changed().unwrap());
        assert_eq!(seen(&mut documents.follow("team")), Some((9, "new".into())));
        assert_eq!(seen(&mut documents.follow("web")), None);
    }

    #[test]
    fn a_config_that_is_deleted_is_offered_to_nobody_new_and_one_that_is_not_ours_never() {
        let documents = Documents::default();
        documents.note(&watcher::Event::Apply(map("", "by hand")));
        assert_eq!(seen(&mut documents.follow("team")), None);
        documents.note(&watcher::Event::Apply(map("7", "ours")));
        documents.note(&watcher::Event::Delete(map("7", "ours")));
        assert_eq!(seen(&mut documents.follow("team")), None);
    }

    #[test]
    fn a_number_of_the_far_future_does_not_end_what_comes_after_it() {
        let documents = Documents::default();
        documents.note(&watcher::Event::Apply(map("7", "ours")));
        documents.note(&watcher::Event::Apply(map(&u64::MAX.to_string(), "foreign")));
        assert_eq!(seen(&mut documents.follow("team")), Some((7, "ours".into())));
        documents.note(&watcher::Event::Apply(map("8", "put back")));
        assert_eq!(seen(&mut documents.follow("team")), Some((8, "put back".into())));
    }

    #[test]
    fn what_is_longer_than_a_line_may_be_is_not_offered() {
        let documents = Documents::default();
        let config = StreamedConfig {
            sequence: 1,
            revision: String::new(),
            format_version: 1,
            text: "\u{1}".repeat(MAX_TO_SIDECAR / 6 + 1),
        };
        assert!(!documents.publish("team", config, Instant::now()));
        assert_eq!(seen(&mut documents.follow("team")), None);
    }
}
