//! Asks and grants on the wire ([`crate::share`]): a sidecar's asks of one moment go in one message, and so do their answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limiter::Which;
use crate::share::{Ask, Grant};

/// Most asks in one message; each takes some 200 bytes beside its name.
pub const MOST_ASKS: usize = 64;

/// Which limit of the namespace is spoken of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitKey {
    /// Whose limit it is: `provider`, or `limit` where it has a name of its own.
    pub object: String,
    /// The ProviderConfig's name, or the limit's own with that of the object which sets it: `fast/all`, `policy/everybody/all`.
    pub name: String,
    /// What it counts ([`Which::as_str`]): `requests`, `tokens`, `input_tokens`, `output_tokens`, `cost` or `concurrency`.
    pub limit: String,
    /// Whose count it is, where it is lent to groups of sidecars apart: the workload or the service account, as the sidecar was told. Empty
    /// where all have it together.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub apart: String,
}

impl LimitKey {
    /// A limit of a ProviderConfig.
    pub fn of_provider(name: &str, which: Which) -> Self {
        Self {
            object: "provider".into(),
            name: name.into(),
            limit: which.as_str().into(),
            apart: String::new(),
        }
    }

    /// A named limit, by its name among all of a namespace.
    pub fn of_limit(full_name: &str, which: Which) -> Self {
        Self {
            object: "limit".into(),
            name: full_name.into(),
            limit: which.as_str().into(),
            apart: String::new(),
        }
    }
}

impl LimitKey {
    /// The count of this group of sidecars.
    #[must_use]
    pub fn apart(self, group: &str) -> Self {
        Self {
            apart: group.into(),
            ..self
        }
    }

    /// Whether both are of one limit, whoever has it together.
    pub fn is_of_the_same_limit(&self, other: &Self) -> bool {
        (&self.object, &self.name, &self.limit) == (&other.object, &other.name, &other.limit)
    }
}

/// One ask, as [`Ask`] says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "each is the field of `Ask` of the same name")]
pub struct WireAsk {
    pub of: LimitKey,
    pub number: u64,
    pub held: u64,
    pub uses: u64,
    pub is_lent: bool,
    pub floor: u64,
    pub epoch: u64,
    pub want: u64,
}

/// One grant, as [`Grant`] says it; times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "each is the field of `Grant` of the same name")]
pub struct WireGrant {
    pub of: LimitKey,
    pub number: u64,
    pub epoch: u64,
    pub whole: u64,
    pub share: u64,
    pub floor: u64,
    pub lease_ms: u64,
    pub again_ms: u64,
    pub pace_ms: u64,
}

impl WireAsk {
    /// The ask about a limit.
    pub fn new(of: LimitKey, ask: &Ask) -> Self {
        let Ask {
            number,
            held,
            uses,
            is_lent,
            floor,
            epoch,
            want,
        } = *ask;
        Self {
            of,
            number,
            held,
            uses,
            is_lent,
            floor,
            epoch,
            want,
        }
    }

    /// What it asks.
    pub fn ask(&self) -> Ask {
        Ask {
            number: self.number,
            held: self.held,
            uses: self.uses,
            is_lent: self.is_lent,
            floor: self.floor,
            epoch: self.epoch,
            want: self.want,
        }
    }
}

impl WireGrant {
    /// The grant of a limit.
    pub fn new(of: LimitKey, grant: &Grant) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            of,
            number: grant.number,
            epoch: grant.epoch,
            whole: grant.whole,
            share: grant.share,
            floor: grant.floor,
            lease_ms: millis(grant.lease),
            again_ms: millis(grant.again),
            pace_ms: millis(grant.pace),
        }
    }

    /// What it grants.
    pub fn grant(&self) -> Grant {
        Grant {
            number: self.number,
            epoch: self.epoch,
            whole: self.whole,
            share: self.share,
            floor: self.floor,
            lease: Duration::from_millis(self.lease_ms),
            again: Duration::from_millis(self.again_ms),
            pace: Duration::from_millis(self.pace_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{ToOperator, ToSidecar};

    #[test]
    fn the_words_on_the_wire_are_these_and_fields_of_a_later_release_are_passed_over() {
        let of = LimitKey::of_provider("claude", Which::Requests);
        let ask = Ask {
            number: 7,
            held: 40,
            uses: 30,
            is_lent: true,
            floor: 20,
            epoch: 3,
            want: 90,
        };
        let message = ToOperator::Ask {
            asks: vec![WireAsk::new(of.clone(), &ask)],
        };
        let line = serde_json::to_string(&message).unwrap();
        assert_eq!(
            line,
            r#"{"type":"ask","asks":[{"of":{"object":"provider","name":"claude","limit":"requests"},"number":7,"held":40,"uses":30,"isLent":true,"floor":20,"epoch":3,"want":90}]}"#
        );
        let ToOperator::Ask { asks } = serde_json::from_str(&line).unwrap() else {
            panic!("{line}")
        };
        assert_eq!(asks[0].ask(), ask);
        let line = r#"{"type":"grant","new":1,"grants":[{"of":{"object":"provider","name":"claude","limit":"requests","new":2},"number":7,"epoch":3,"whole":600,"share":50,"floor":20,"leaseMs":60000,"againMs":1000,"paceMs":1000,"new":3}]}"#;
        let ToSidecar::Grant { grants } = serde_json::from_str(line).unwrap() else {
            panic!("{line}")
        };
        let grant = grants[0].grant();
        assert_eq!((grant.share, grant.lease), (50, Duration::from_mins(1)));
        assert_eq!(WireGrant::new(of, &grant), grants[0]);
    }

    #[test]
    fn of_which_group_a_sidecar_is_goes_with_the_limit_only_where_it_is_lent_apart() {
        let of = LimitKey::of_limit("policy/all/a", Which::Tokens).apart("Deployment/shop");
        let line = serde_json::to_string(&of).unwrap();
        assert_eq!(
            line,
            r#"{"object":"limit","name":"policy/all/a","limit":"tokens","apart":"Deployment/shop"}"#
        );
        let read: LimitKey = serde_json::from_str(&line).unwrap();
        assert_eq!(read, of);
        let all = LimitKey::of_limit("policy/all/a", Which::Tokens);
        assert!(all.is_of_the_same_limit(&of) && all != of && !serde_json::to_string(&all).unwrap().contains("apart"));
        assert!(!LimitKey::of_limit("policy/all/a", Which::Requests).is_of_the_same_limit(&of));
    }
}
