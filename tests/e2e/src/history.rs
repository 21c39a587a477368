//! What happened while faults were made, and whether it may: the history of a chaos run and its judge. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A failure this long before a kill was under way when it came.
const UNDER_WAY: u64 = 2_000;
/// A killed sidecar answers again within this, also where the kubelet waits its first 10 s before it starts it again.
pub const BACK_WITHIN: u64 = 25_000;
/// After the last fault every pod has the last config within this.
pub const SETTLED_WITHIN: u64 = 30_000;

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since it began.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen. The fields are what their names say; `pod` is `namespace/name` where it has a sidecar.
#[allow(missing_docs, reason = "each variant says what its fields are")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Event {
    /// Somebody changed an object of this namespace.
    Edited { namespace: String, change: String },
    /// The namespace's key is this from now on.
    Swapped { namespace: String, key: String },
    /// An operator was killed.
    OperatorKilled { pod: String },
    /// The apiserver answers nobody.
    ApiserverGone,
    /// It answers again.
    ApiserverBack,
    /// A sidecar was killed.
    SidecarKilled { pod: String },
    /// An app asked, at this time, and heard this.
    Asked { pod: String, ok: bool, error: String },
    /// What a pod's sidecar says that it has loaded.
    Loaded {
        pod: String,
        sequence: u64,
        revision: String,
    },
    /// A provider of this namespace saw this key.
    Seen { namespace: String, key: String },
    /// The app had asked `before` times, then the sidecar had counted so many ends of requests, then the app had asked
    /// `after` times.
    Counted {
        pod: String,
        before: u64,
        ended: u64,
        after: u64,
    },
    /// No fault comes any more; the pods should have this revision.
    LastFault { wanted: BTreeMap<String, String> },
    /// A pod has its last revision.
    Settled { pod: String, revision: String },
}

/// What must not have been: one line each; none is a good history.
pub fn judge(history: &[Entry]) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(config_goes_on(history));
    wrong.extend(only_explained_failures(history));
    wrong.extend(keys_stay_at_home(history));
    wrong.extend(each_request_ends_once(history));
    wrong.extend(all_settle(history));
    wrong
}

/// A pod's config sequence never goes back.
fn config_goes_on(history: &[Entry]) -> Vec<String> {
    let (mut last, mut wrong) = (BTreeMap::<&str, u64>::new(), Vec::new());
    for entry in history {
        let Event::Loaded { pod, sequence, .. } = &entry.event else {
            continue;
        };
        let before = last.insert(pod, *sequence).unwrap_or(0);
        if *sequence < before {
            wrong.push(format!(
                "at {}: {pod} went back from config {before} to {sequence}",
                entry.at
            ));
        }
    }
    wrong
}

/// A request fails only where its own sidecar was killed, by finding nobody there.
fn only_explained_failures(history: &[Entry]) -> Vec<String> {
    let mut kills = BTreeMap::<&str, Vec<u64>>::new();
    for entry in history {
        if let Event::SidecarKilled { pod } = &entry.event {
            kills.entry(pod).or_default().push(entry.at);
        }
    }
    let mut wrong = Vec::new();
    for entry in history {
        let Event::Asked { pod, ok: false, error } = &entry.event else {
            continue;
        };
        let killed = kills.get(pod.as_str()).into_iter().flatten();
        let is_near = killed
            .into_iter()
            .any(|killed| (killed.saturating_sub(UNDER_WAY)..=killed + BACK_WITHIN).contains(&entry.at));
        if !is_near {
            wrong.push(format!(
                "at {}: a request of {pod} failed and nothing explains it: {error}",
                entry.at
            ));
        } else if !error.contains("Connection") {
            wrong.push(format!(
                "at {}: a killed sidecar refuses connections, and {pod} heard: {error}",
                entry.at
            ));
        }
    }
    wrong
}

/// A namespace's providers see its own keys and no other, and in the end the last one.
fn keys_stay_at_home(history: &[Entry]) -> Vec<String> {
    let (mut given, mut last) = (BTreeMap::<&str, BTreeSet<&str>>::new(), BTreeMap::<&str, &str>::new());
    let (mut wrong, mut seen) = (Vec::new(), BTreeMap::<&str, &str>::new());
    for entry in history {
        match &entry.event {
            Event::Swapped { namespace, key } => {
                given.entry(namespace).or_default().insert(key);
                last.insert(namespace, key);
            }
            Event::Seen { namespace, key } => {
                seen.insert(namespace, key);
                if !given
                    .get(namespace.as_str())
                    .is_some_and(|keys| keys.contains(key.as_str()))
                {
                    wrong.push(format!(
                        "at {}: {namespace} sent a key that is none of its own",
                        entry.at
                    ));
                }
            }
            _ => {}
        }
    }
    for (namespace, key) in last {
        if seen.get(namespace) != Some(&key) {
            wrong.push(format!("{namespace}: the last key was never used"));
        }
    }
    wrong
}

/// The sidecar counts one end for each request, no more and no fewer.
fn each_request_ends_once(history: &[Entry]) -> Vec<String> {
    let counted = history.iter().filter_map(|entry| match &entry.event {
        Event::Counted {
            pod,
            before,
            ended,
            after,
        } => Some((pod, *before, *ended, *after)),
        _ => None,
    });
    // The one that is under way may be counted before the app has told of it.
    counted
        .filter(|(_, before, ended, after)| ended < before || *ended > after + 1)
        .map(|(pod, before, ended, after)| format!("{pod} asked {before} to {after} times, and {ended} requests ended"))
        .collect()
}

/// After the last fault every pod has the last config soon.
fn all_settle(history: &[Entry]) -> Vec<String> {
    let last = history.iter().find_map(|entry| match &entry.event {
        Event::LastFault { wanted } => Some((entry.at, wanted)),
        _ => None,
    });
    let Some((last, wanted)) = last else {
        return vec!["the history has no end".to_owned()];
    };
    let mut wrong = Vec::new();
    for (pod, revision) in wanted {
        let settled = history.iter().find(|entry| {
            entry.at >= last
                && matches!(&entry.event, Event::Settled { pod: who, revision: what } if who == pod && what == revision)
        });
        match settled {
            None => wrong.push(format!("{pod} never had the last config, {revision}")),
            Some(entry) if entry.at - last > SETTLED_WITHIN => {
                wrong.push(format!(
                    "{pod} had the last config only {} ms after the last fault",
                    entry.at - last
                ));
            }
            Some(_) => {}
        }
    }
    wrong
}

#[cfg(test)]
mod tests;
