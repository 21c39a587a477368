//! What the operator and a sidecar say to each other over the config stream.
//!
//! The stream begins as an HTTP/1.1 request, `GET /v1/stream` with `Upgrade: bowsprit-stream/1` and the pod's projected
//! service-account token as bearer; after the 101 each side writes messages, one JSON object per line. A message of a type
//! that a release does not know is passed over, and so is a field: a release understands the one before it and the one
//! after. The token, and nothing in a message, says which namespace and pod speak.

use serde::{Deserialize, Serialize};

use loans::{WireBorrow, WireLoan};
use pauses::WirePause;
use shares::{WireAsk, WireGrant};

pub mod lines;
pub mod loans;
pub mod pauses;
pub mod shares;

/// The path of the stream for sidecars.
pub const STREAM_PATH: &str = "/v1/stream";
/// The protocol's name and version, as `Upgrade` has it.
pub const PROTOCOL: &str = "bowsprit-stream/1";
/// The longest line that an operator sends, bytes: a ConfigMap's 1 MiB as a JSON string, where each byte may take two.
pub const MAX_TO_SIDECAR: usize = 4 << 20;
/// The longest line that a sidecar sends, bytes: a report on a hundred providers takes a fifth of it.
pub const MAX_TO_OPERATOR: usize = 64 << 10;

/// From the operator to a sidecar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ToSidecar {
    /// The documents of the pod's namespace, as the mounted ConfigMap has them or will have them.
    Config(StreamedConfig),
    /// What is paused in the pod's namespace: all of it, each time anything of it has changed, and at the beginning of a stream. It
    /// comes before the documents that say it too ([`crate::pauses`]).
    Paused {
        /// The policies that pause anything, by name.
        by: Vec<WirePause>,
    },
    /// Shares of limits of the fleet, in answer to [`ToOperator::Ask`].
    Grant {
        /// One for each limit that was asked about and that the leader knows.
        grants: Vec<WireGrant>,
    },
    /// Parts of budgets that pods spend together, in answer to [`ToOperator::Borrow`].
    Lend {
        /// One for each budget that was asked about and that the leader knows.
        loans: Vec<WireLoan>,
    },
    /// Asks for a [`ToOperator::Pong`]: tells a peer that is silent from one that is gone.
    Ping,
    /// This operator is about to end. The sidecar connects anew, to any operator, at a random moment within `within_ms`.
    GoAway {
        /// Milliseconds in which to have left.
        within_ms: u64,
    },
    /// From a later release.
    #[serde(other)]
    Unknown,
}

/// The documents of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamedConfig {
    /// Grows with each change; what is older than what is in service is never applied.
    pub sequence: u64,
    /// Their content hash.
    pub revision: String,
    /// The layout of the ConfigMap that they stand in (`formatVersion`).
    pub format_version: u32,
    /// The ProviderConfigs, ModelRoutes and UsagePolicies, YAML.
    pub text: String,
}

/// From a sidecar to the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ToOperator {
    /// The first message, and the next ones whenever something in it has changed, at most one a second.
    Report(SidecarReport),
    /// What is wanted of limits of the fleet, where any are configured.
    Ask {
        /// One for each limit about which there is something to say.
        asks: Vec<WireAsk>,
    },
    /// What is held and wanted of budgets that pods spend together, where any are configured.
    Borrow {
        /// One for each budget about which there is something to say.
        asks: Vec<WireBorrow>,
    },
    /// The answer to a [`ToSidecar::Ping`].
    Pong,
    /// From a later release.
    #[serde(other)]
    Unknown,
}

/// What a sidecar says of itself: always all of it, so that a lost or late report is mended by the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarReport {
    /// Its release.
    pub version: String,
    /// The content hash of the config in service; empty where there is none.
    pub revision: String,
    /// The sequence of the config in service; 0 where there is none.
    pub sequence: u64,
    /// Where that came from: `folder`, `stream` or `saved`.
    pub source: String,
    /// The newest offer, where it is not in service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedConfig>,
    /// How many UsagePolicies of it hold for this pod. None: a release that knows no such kind, and passes them over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<u32>,
    /// Each provider of the config in service that this pod is selected by.
    pub providers: Vec<ReportedProvider>,
    /// What was counted of each objective that has seen anything. Renewed twice a minute at the most, so that traffic alone makes
    /// no more reports than that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objectives: Vec<ReportedObjective>,
    /// The policies by which something comes too often now: at most [`MOST_RUNAWAYS`]. One more or less is told at once, how often it came
    /// twice a minute at the most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runaways: Vec<ReportedRunaway>,
}

/// A config that a sidecar did not take into service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RefusedConfig {
    /// Its sequence.
    pub sequence: u64,
    /// What is wrong with it, for people; at most 2,000 bytes.
    pub why: String,
}

/// How [`ReportedProvider::status`] begins where the provider's CA bundle cannot be read.
pub const CA_BUNDLE: &str = "CA bundle";
/// And how where the sidecar goes on with what it read last.
pub const CA_BUNDLE_KEPT: &str = "CA bundle as it was last";

/// A provider as one sidecar sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportedProvider {
    /// The ProviderConfig's name.
    pub name: String,
    /// `ok`, or why it is not, as at `/health`.
    pub status: String,
    /// Breakers that let requests pass.
    pub closed: u32,
    /// Breakers that refuse requests.
    pub open: u32,
    /// Breakers that let single probes pass.
    pub half_open: u32,
    /// Problems with its credentials, such as `main: the file is empty`; never a key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_problems: Vec<String>,
}

/// What one sidecar counted of an objective (`spec.slo`), within the objective's own window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportedObjective {
    /// `provider` or `route`: whose objective it is.
    pub object: String,
    /// The object's name.
    pub name: String,
    /// Which of its objectives: `availability` or `first_token`.
    pub objective: String,
    /// Events that were as it wants them.
    pub good: u64,
    /// Events that were not.
    pub bad: u64,
    /// Since when these were counted, Unix seconds.
    pub since: u64,
}

/// Runaways that a report tells of.
pub const MOST_RUNAWAYS: usize = 8;

/// That requests of one pod come too often by a UsagePolicy (`spec.runaway`). Nothing in it says what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportedRunaway {
    /// The UsagePolicy's name.
    pub policy: String,
    /// Whether they are refused; else they are told, and pass.
    pub stops: bool,
    /// Requests beyond what the policy allows, since then.
    pub repeats: u64,
    /// Since when, Unix seconds.
    pub since: u64,
}

#[cfg(test)]
mod tests {
    use bowsprit_crds::usage_policy::PausedObject;

    use super::*;

    #[test]
    fn what_a_later_release_says_is_passed_over_and_never_an_error() {
        let unknown: ToSidecar = serde_json::from_str(r#"{"type":"shares","of":[1,2]}"#).unwrap();
        assert_eq!(unknown, ToSidecar::Unknown);
        let unknown: ToOperator = serde_json::from_str(r#"{"type":"spend","usd":"1.5"}"#).unwrap();
        assert_eq!(unknown, ToOperator::Unknown);
        let paused: ToSidecar =
            serde_json::from_str(r#"{"type":"paused","by":[{"policy":"a","paused":true,"until":7}],"of":"team"}"#)
                .unwrap();
        let ToSidecar::Paused { by } = paused else {
            panic!("{paused:?}")
        };
        assert!(by[0].paused && by[0].policy == "a");
        let report: ToOperator = serde_json::from_str(
            r#"{"type":"report","revision":"abc","sequence":7,"new":true,"providers":[{"name":"a","new":1}]}"#,
        )
        .unwrap();
        let ToOperator::Report(report) = report else {
            panic!("{report:?}")
        };
        assert_eq!((report.sequence, report.providers[0].name.as_str()), (7, "a"));
    }

    #[test]
    fn runaways_are_said_in_these_words_and_a_release_without_them_says_nothing_of_them() {
        let report = SidecarReport {
            runaways: vec![ReportedRunaway {
                policy: "house".into(),
                stops: true,
                repeats: 12,
                since: 1_796_000_000,
            }],
            ..SidecarReport::default()
        };
        let line = serde_json::to_string(&report).unwrap();
        let words = r#""runaways":[{"policy":"house","stops":true,"repeats":12,"since":1796000000}]"#;
        assert!(line.contains(words), "{line}");
        assert_eq!(serde_json::from_str::<SidecarReport>(&line).unwrap(), report);
        let quiet = serde_json::to_string(&SidecarReport::default()).unwrap();
        assert!(!quiet.contains("runaways"), "{quiet}");
        // What the release before says, and what the one after may.
        let before: SidecarReport = serde_json::from_str(r#"{"sequence":7}"#).unwrap();
        assert!(before.runaways.is_empty());
        let after: SidecarReport = serde_json::from_str(r#"{"runaways":[{"policy":"a","of":"step"}]}"#).unwrap();
        assert_eq!((after.runaways[0].policy.as_str(), after.runaways[0].repeats), ("a", 0));
    }

    #[test]
    fn the_words_on_the_wire_are_these() {
        let config = ToSidecar::Config(StreamedConfig {
            sequence: 7,
            revision: "abc".into(),
            format_version: 1,
            text: "a: b\n".into(),
        });
        let line = serde_json::to_string(&config).unwrap();
        assert_eq!(
            line,
            r#"{"type":"config","sequence":7,"revision":"abc","formatVersion":1,"text":"a: b\n"}"#
        );
        let away = serde_json::to_string(&ToSidecar::GoAway { within_ms: 5000 }).unwrap();
        assert_eq!(away, r#"{"type":"goAway","withinMs":5000}"#);
        let mut paused = WirePause {
            policy: "freeze".into(),
            paused: true,
            paused_reason: Some("an incident".into()),
            ..WirePause::default()
        };
        let line = |by: &[WirePause]| serde_json::to_string(&ToSidecar::Paused { by: by.to_vec() }).unwrap();
        assert_eq!(
            line(&[paused.clone()]),
            r#"{"type":"paused","by":[{"policy":"freeze","paused":true,"pausedReason":"an incident"}]}"#
        );
        (paused.paused, paused.paused_reason) = (false, None);
        paused.paused_providers.push(PausedObject {
            name: "claude".into(),
            reason: None,
        });
        assert_eq!(
            line(&[paused]),
            r#"{"type":"paused","by":[{"policy":"freeze","pausedProviders":[{"name":"claude"}]}]}"#
        );
        assert_eq!(line(&[]), r#"{"type":"paused","by":[]}"#);
        assert_eq!(serde_json::to_string(&ToOperator::Pong).unwrap(), r#"{"type":"pong"}"#);
    }
}
