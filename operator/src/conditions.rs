//! Conditions: their types, reasons and the rule for `lastTransitionTime`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// The types of conditions.
pub mod kind {
    /// The object is valid on its own.
    pub const ACCEPTED: &str = "Accepted";
    /// Everything that it names is there.
    pub const RESOLVED_REFS: &str = "ResolvedRefs";
    /// Every sidecar that it is for has loaded this generation.
    pub const PROGRAMMED: &str = "Programmed";
    /// All of the others hold: what `kubectl get` shows.
    pub const READY: &str = "Ready";
}

/// The reasons of conditions, stable since people and alerts match on them.
pub mod reason {
    /// Valid.
    pub const ACCEPTED: &str = "Accepted";
    /// Wrong; the message says where and what to do.
    pub const INVALID: &str = "Invalid";
    /// This release cannot read it: another one wrote it in a form of its own.
    pub const NOT_UNDERSTOOD: &str = "NotUnderstood";
    /// Every reference leads somewhere.
    pub const RESOLVED: &str = "ResolvedRefs";
    /// A named ProviderConfig is not there.
    pub const REF_NOT_FOUND: &str = "RefNotFound";
    /// Every named ProviderConfig is there, and none of them may be asked.
    pub const NO_CANDIDATE: &str = "NoCandidate";
    /// A sidecar reports a key that is missing or unusable.
    pub const KEY_UNUSABLE: &str = "KeyUnusable";
    /// Every selected sidecar has it.
    pub const PROGRAMMED: &str = "Programmed";
    /// No sidecar is selected, so there is nobody to wait for.
    pub const NO_SIDECARS: &str = "NoSidecars";
    /// Some sidecars do not have it yet.
    pub const PENDING: &str = "Pending";
    /// And still not after a minute.
    pub const SIDECARS_BEHIND: &str = "SidecarsBehind";
    /// A sidecar was offered it and did not take it.
    pub const SIDECAR_REFUSED: &str = "SidecarRefused";
    /// It names a Secret or CA bundle that pods which run have not mounted, and cannot any more.
    pub const SECRET_NOT_MOUNTED: &str = "SecretNotMounted";
    /// The namespace's documents are more than a ConfigMap can hold: what has changed is not live.
    pub const TOO_LARGE: &str = "TooLarge";
    /// The object was refused; its last accepted version, if any, is still served.
    pub const NOT_ACCEPTED: &str = "NotAccepted";
    /// It is served, but for fields that are not in force in this release.
    pub const PARTIALLY_PROGRAMMED: &str = "PartiallyProgrammed";
    /// Of an Event only: a circuit breaker of this provider has opened in some sidecar.
    pub const CIRCUIT_OPEN: &str = "CircuitOpen";
    /// Of an Event only: all of them are closed again.
    pub const CIRCUIT_CLOSED: &str = "CircuitClosed";
    /// Of an Event only: a pod sends the same request again and again.
    pub const RUNAWAY: &str = "Runaway";
    /// It is a policy in force that lets nothing pass.
    pub const PAUSED: &str = "Paused";
    /// `enabled` is false.
    pub const DISABLED: &str = "Disabled";
}

/// The longest message that the apiserver takes is 32 KiB; nobody reads more than this.
const MAX_MESSAGE: usize = 2000;

/// What a condition says, before it has a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// One of [`kind`].
    pub kind: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// One of [`reason`].
    pub reason: &'static str,
    /// For people: path, problem, remedy.
    pub message: String,
}

impl Verdict {
    /// A verdict.
    pub fn new(kind: &'static str, holds: bool, reason: &'static str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE {
            let end = (0..=MAX_MESSAGE)
                .rev()
                .find(|end| message.is_char_boundary(*end))
                .unwrap_or(0);
            message.truncate(end);
            message.push('…');
        }
        Self {
            kind,
            holds,
            reason,
            message,
        }
    }

    /// What all of these come to: the first that does not hold, with its reason; where all hold, the last one's.
    pub fn ready(verdicts: &[Self]) -> Self {
        let told = verdicts.iter().find(|verdict| !verdict.holds).or(verdicts.last());
        let (reason, message) = told.map_or((reason::PENDING, ""), |told| (told.reason, told.message.as_str()));
        let message = match told.filter(|told| !told.holds) {
            Some(told) => format!("{}: {message}", told.kind),
            None => message.to_owned(),
        };
        Self::new(
            kind::READY,
            verdicts.iter().all(|verdict| verdict.holds),
            reason,
            message,
        )
    }

    /// The condition, which keeps the time of `before` where its status is the same.
    pub fn condition(&self, before: &[Condition], generation: Option<i64>, now: Timestamp) -> Condition {
        let status = if self.holds { "True" } else { "False" };
        let unchanged = before.iter().find(|old| old.type_ == self.kind && old.status == status);
        Condition {
            type_: self.kind.to_owned(),
            status: status.to_owned(),
            reason: self.reason.to_owned(),
            message: self.message.clone(),
            observed_generation: generation,
            last_transition_time: unchanged.map_or(Time(now), |old| old.last_transition_time.clone()),
        }
    }

    /// Whether it says something else than `before` did; what a time or generation alone changes is no news.
    pub fn is_news(&self, before: &[Condition]) -> bool {
        let status = if self.holds { "True" } else { "False" };
        !before
            .iter()
            .any(|old| old.type_ == self.kind && old.status == status && old.reason == self.reason)
    }
}
