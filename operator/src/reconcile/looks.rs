//! When a namespace is looked at: what people change soon, what sidecars and pods do at most twice a second, so that a burst
//! of ten thousand reports is a handful of looks. No change waits for another to end. All wait a moment while pauses are told, which
//! are in force without a look: a hundred of them want the cores that documents and statuses would take.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::objects::Change;

/// What comes together is looked at together: objects that are applied in one go.
const TOGETHER: Duration = Duration::from_millis(50);
/// Between two looks for the sake of sidecars and pods.
const APART: Duration = Duration::from_millis(500);
/// So long nothing is looked at after a pause was told: the next of many comes sooner.
const QUIET: Duration = Duration::from_millis(200);
/// And so long in a row at the most; then nothing waits for as long again. Pods without a stream hear of a pause by a look only.
const QUIET_MOST: Duration = Duration::from_secs(1);
/// Namespaces whose last look is remembered, before those are dropped whose look is long over.
const REMEMBERED: usize = 1000;

/// Which looks are due when.
#[derive(Debug, Default)]
struct Looks {
    due: BTreeMap<String, Instant>,
    last: HashMap<String, Instant>,
    quiet: Option<Quiet>,
}

/// Pauses are told.
#[derive(Clone, Copy, Debug)]
struct Quiet {
    since: Instant,
    until: Instant,
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

    /// A pause was told.
    fn pauses(&mut self, now: Instant) {
        let goes_on = self.quiet.filter(|quiet| now < quiet.since + 2 * QUIET_MOST);
        let since = goes_on.map_or(now, |quiet| quiet.since);
        let until = (now + QUIET).min(since + QUIET_MOST);
        self.quiet = Some(Quiet { since, until });
    }

    fn next(&self) -> Option<Instant> {
        let due = self.due.values().min().copied()?;
        Some(self.quiet.map_or(due, |quiet| due.max(quiet.until)))
    }

    /// A namespace whose look is due at `now`.
    fn take(&mut self, now: Instant) -> Option<String> {
        if self.quiet.is_some_and(|quiet| now < quiet.until) {
            return None;
        }
        let namespace = self.due.iter().find(|(_, due)| **due <= now)?.0.clone();
        self.due.remove(&namespace);
        if self.last.len() >= REMEMBERED {
            self.last.retain(|_, last| now < *last + APART);
        }
        self.last.insert(namespace.clone(), now);
        Some(namespace)
    }
}

/// The namespaces to look at, from what changed and from where sidecars were heard. `pauses` changes with each that is told.
pub(super) fn looks(
    changes: impl Stream<Item = Change> + Send + 'static,
    heard: impl Stream<Item = String> + Send + 'static,
    pauses: watch::Receiver<u64>,
) -> impl Stream<Item = ObjectRef<Namespace>> + Send + 'static {
    let changes = changes.map(|change| (change.namespace, change.soon));
    let told = stream::select(changes, heard.map(|namespace| (namespace, false)));
    let begun = (Box::pin(told), pauses, Looks::default());
    stream::unfold(begun, async |(mut told, mut pauses, mut looks)| {
        loop {
            if pauses.has_changed().unwrap_or(false) {
                pauses.mark_unchanged();
                looks.pauses(Instant::now());
            }
            if let Some(namespace) = looks.take(Instant::now()) {
                return Some((ObjectRef::new(&namespace), (told, pauses, looks)));
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
                // Whoever told of them is gone only when the process is about to stop.
                Ok(()) = pauses.changed() => looks.pauses(Instant::now()),
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
        let (_pauses, none) = watch::channel(0);
        let looks = looks(changes, heard, none);
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

    #[tokio::test(start_paused = true)]
    async fn looks_wait_while_pauses_are_told_and_no_longer_than_a_second_in_two() {
        let (change, changes) = mpsc::unbounded();
        let (pause, pauses) = watch::channel(0);
        let mut looks = Box::pin(looks(changes, stream::pending(), pauses));
        let start = Instant::now();
        let told = |namespace: &str| {
            let change_of = Change {
                namespace: namespace.to_owned(),
                soon: true,
            };
            change.unbounded_send(change_of).unwrap();
        };
        told("one");
        pause.send_replace(1);
        looks.next().await.unwrap();
        assert!((QUIET..QUIET * 2).contains(&start.elapsed()), "{:?}", start.elapsed());
        // One pause after another, without an end.
        let pausing = tokio::spawn(async move {
            loop {
                pause.send_modify(|count| *count += 1);
                tokio::time::sleep(QUIET / 4).await;
            }
        });
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (begun, mut seen) = (Instant::now(), Vec::new());
        while begun.elapsed() < Duration::from_secs(10) {
            told("two");
            looks.next().await.unwrap();
            seen.push(begun.elapsed());
            // As a reconcile takes its time.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        pausing.abort();
        let longest = seen
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]))
            .max()
            .unwrap();
        assert!(longest > QUIET_MOST / 2 && longest <= QUIET_MOST + QUIET, "{longest:?}");
    }
}
