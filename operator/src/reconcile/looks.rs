//! When a namespace is looked at: what people change soon, what sidecars and pods do at most twice a second, so that a burst
//! of ten thousand reports is a handful of looks. No change waits for another to end.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::reflector::ObjectRef;
use tokio::time::{Instant, sleep_until};

use crate::objects::Change;

/// What comes together is looked at together: objects that are applied in one go.
const TOGETHER: Duration = Duration::from_millis(50);
/// Between two looks for the sake of sidecars and pods.
const APART: Duration = Duration::from_millis(500);
/// Namespaces whose last look is remembered, before those are dropped whose look is long over.
const REMEMBERED: usize = 1000;

/// Which looks are due when.
#[derive(Debug, Default)]
struct Looks {
    due: BTreeMap<String, Instant>,
    last: HashMap<String, Instant>,
}

impl Looks {
    /// Something changed; `soon` where somebody may be waiting for it.
    fn note(&mut self, namespace: String, soon: bool, now: Instant) {
        let earliest = now + TOGETHER;
        let last = self.last.get(&namespace).filter(|_| !soon);
        let due = last.map_or(earliest, |last| earliest.max(*last + APART));
        let known = self.due.entry(namespace).or_insert(due);
        *known = due.min(*known);
    }

    fn next(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// A namespace whose look is due at `now`.
    fn take(&mut self, now: Instant) -> Option<String> {
        let namespace = self.due.iter().find(|(_, due)| **due <= now)?.0.clone();
        self.due.remove(&namespace);
        if self.last.len() >= REMEMBERED {
            self.last.retain(|_, last| now < *last + APART);
        }
        self.last.insert(namespace.clone(), now);
        Some(namespace)
    }
}

/// The namespaces to look at, from what changed and from where sidecars were heard.
pub(super) fn looks(
    changes: impl Stream<Item = Change> + Send + 'static,
    heard: impl Stream<Item = String> + Send + 'static,
) -> impl Stream<Item = ObjectRef<Namespace>> + Send + 'static {
    let changes = changes.map(|change| (change.namespace, change.soon));
    let told = stream::select(changes, heard.map(|namespace| (namespace, false)));
    stream::unfold((Box::pin(told), Looks::default()), async |(mut told, mut looks)| {
        loop {
            if let Some(namespace) = looks.take(Instant::now()) {
                return Some((ObjectRef::new(&namespace), (told, looks)));
            }
            let due = async {
                match looks.next() {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                next = told.next() => {
                    let (namespace, soon) = next?;
                    looks.note(namespace, soon, Instant::now());
                }
                () = due => {}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ten_thousand_reports_are_two_looks_a_second_and_a_change_does_not_wait_for_them() {
        let (change, changes) = mpsc::unbounded();
        let (hear, heard) = mpsc::unbounded();
        let looks = looks(changes, heard);
        let start = Instant::now();
        let burst = tokio::spawn(async move {
            for _ in 0..10_000 {
                hear.unbounded_send("team".to_owned()).unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            std::future::pending::<()>().await;
        });
        let mut looks = Box::pin(looks);
        let mut seen = Vec::new();
        let mut changed = None;
        while let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(5), looks.next()).await {
            seen.push(start.elapsed());
            if seen.len() == 10 {
                changed = Some(start.elapsed());
                let soon = Change {
                    namespace: "team".into(),
                    soon: true,
                };
                change.unbounded_send(soon).unwrap();
            }
        }
        burst.abort();
        assert!((18..=24).contains(&seen.len()), "{} looks in ten seconds", seen.len());
        let answered = seen[10].saturating_sub(changed.unwrap());
        assert!(answered <= Duration::from_millis(60), "{answered:?}");
        assert!(
            *seen.last().unwrap() >= Duration::from_millis(9_990),
            "the last report is looked at"
        );
    }
}
