//! What a replica tells the leader: a JSON object per line after the 101, as in [`bowsprit_core::stream`]. The leader says
//! [`FromLeader`]. Unknown types and fields are passed over.

use std::collections::BTreeMap;
use std::time::Instant;

use bowsprit_core::stream::loans::{WireBorrow, WireLoan};
use bowsprit_core::stream::shares::{WireAsk, WireGrant};
use bowsprit_core::stream::{MAX_TO_OPERATOR, SidecarReport};
use serde::{Deserialize, Serialize};

use crate::fleet::{PodId, Reported};

/// The path for other replicas.
pub(crate) const PEER_PATH: &str = "/v1/peer";
/// What `Upgrade` names.
pub(crate) const PEER_PROTOCOL: &str = "bowsprit-peer/1";
/// The longest line, bytes: a sidecar's, which may grow where its JSON is written anew, and whose it is.
pub(crate) const MAX_TO_LEADER: usize = 2 * MAX_TO_OPERATOR;

/// From a replica to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum ToLeader {
    /// A sidecar's last report.
    Report {
        namespace: String,
        pod: String,
        uid: String,
        /// How long ago it was heard.
        age_ms: u64,
        report: SidecarReport,
    },
    /// A sidecar's stream has ended.
    Lost {
        namespace: String,
        pod: String,
        uid: String,
    },
    /// A sidecar asks for shares, just now: never said again.
    Ask {
        namespace: String,
        pod: String,
        uid: String,
        asks: Vec<WireAsk>,
    },
    /// A sidecar asks for parts of budgets, as `Ask`.
    Borrow {
        namespace: String,
        pod: String,
        uid: String,
        asks: Vec<WireBorrow>,
    },
    /// Whether this replica would take streams of others; every few seconds.
    Takes { takes: bool },
    /// The answer to a ping.
    Pong,
    /// From a later release.
    #[serde(other)]
    Unknown,
}

/// From the leader to a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum FromLeader {
    /// As on a sidecar's stream.
    Ping,
    /// Shares for the sidecar that has this uid.
    PodGrant { uid: String, grants: Vec<WireGrant> },
    /// Parts of budgets for it.
    PodLoan { uid: String, loans: Vec<WireLoan> },
    /// Whether any replica but the one that hears it would take streams: the answer to `Takes`.
    OthersTake { takes: bool },
    /// From a later release, or nothing for who follows.
    #[serde(other)]
    Unknown,
}

/// What the leader was told of one namespace.
pub(crate) type Told = BTreeMap<PodId, Instant>;

/// What has to be said so that the leader, who was `told` this, knows what is so `now`; and `told` becomes that.
pub(crate) fn news(
    namespace: &str,
    told: &mut Told,
    now_so: &BTreeMap<PodId, Reported>,
    now: Instant,
) -> Vec<ToLeader> {
    let mut news = Vec::new();
    told.retain(|pod, _| {
        let stays = now_so.contains_key(pod);
        if !stays {
            news.push(ToLeader::Lost {
                namespace: namespace.to_owned(),
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
            });
        }
        stays
    });
    for (pod, reported) in now_so {
        let at = &reported.at;
        if told.get(pod) == Some(at) {
            continue;
        }
        told.insert(pod.clone(), *at);
        let age = now.saturating_duration_since(*at).as_millis();
        news.push(ToLeader::Report {
            namespace: namespace.to_owned(),
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            age_ms: u64::try_from(age).unwrap_or(u64::MAX),
            report: reported.whole(),
        });
    }
    news
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::fleet::{Objectives, Runaways};

    #[test]
    fn only_what_is_new_is_said_and_what_is_gone_once() {
        let start = Instant::now();
        let pod = |name: &str| PodId {
            name: name.into(),
            uid: format!("u-{name}"),
        };
        let reported = |seconds: u64| Reported {
            report: Arc::default(),
            objectives: Objectives::default(),
            runaways: Runaways::default(),
            at: start + Duration::from_secs(seconds),
        };
        let mut told = Told::new();
        let mut said = |now_so: &[(&str, u64)]| {
            let now_so = now_so.iter().map(|(name, at)| (pod(name), reported(*at))).collect();
            let news = news("team", &mut told, &now_so, start + Duration::from_secs(10));
            let short = |news: ToLeader| match news {
                ToLeader::Report { pod, age_ms, .. } => format!("{pod} {age_ms}"),
                ToLeader::Lost { pod, .. } => format!("{pod} lost"),
                other => panic!("{other:?}"),
            };
            news.into_iter().map(short).collect::<Vec<_>>()
        };
        assert_eq!(said(&[("a", 1), ("b", 2)]), ["a 9000", "b 8000"]);
        assert!(said(&[("a", 1), ("b", 2)]).is_empty());
        assert_eq!(said(&[("a", 9), ("c", 9)]), ["b lost", "a 1000", "c 1000"]);
        assert_eq!(said(&[]), ["a lost", "c lost"]);
        assert!(said(&[]).is_empty());
    }
}
