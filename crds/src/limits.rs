//! How much may be asked: named limits on requests, tokens, money and requests in flight.

use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::DurationText;
use crate::budgets::Currency;
use crate::provider_config::{LimitScope, LimitStore, OnLimit, RateLimits};

/// The name of a limit that was written without one.
pub const UNNAMED: &str = "limits";

/// One limit by name. Of a request to which several apply, each must have room: they are taken all or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.requestsPerMinute) || has(self.tokensPerMinute) || has(self.inputTokensPerMinute) || has(self.outputTokensPerMinute) || has(self.costPerMinute) || has(self.concurrentRequests)",
        "message": "limits nothing: set requestsPerMinute, tokensPerMinute, inputTokensPerMinute, outputTokensPerMinute, costPerMinute or concurrentRequests",
    },
    {
        "rule": "(has(self.per) && self.per == 'Caller') == has(self.caller)",
        "message": "caller: says how callers are told apart with per: Caller, and belongs to no other",
        "fieldPath": ".caller",
    },
    {
        "rule": "!has(self.maxWait) || (has(self.onLimit) && self.onLimit == 'Wait')",
        "message": "maxWait: nothing waits with this onLimit: remove it, or set onLimit to Wait",
        "fieldPath": ".maxWait",
    },
    {
        "rule": "!has(self.scope) || self.scope != 'Fleet' || !has(self.per) || self.per in ['Pod', 'Namespace'] || (has(self.store) && self.per != 'Provider')",
        "message": "per: with scope: Fleet and without a store, all sidecars have one count: set per: Namespace, a store that counts each apart, or scope: Pod",
        "fieldPath": ".per",
    },
    {
        "rule": "!has(self.store) || (has(self.scope) && self.scope == 'Fleet')",
        "message": "store: counts limits that sidecars share, and this is each sidecar's own: remove it, or set scope to Fleet",
        "fieldPath": ".store",
    },
])))]
pub struct NamedLimit {
    /// Its name, in errors, metrics and the ledger.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    pub name: String,
    /// The models that it is for, as callers write them; `*` stands for any run of characters. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 50), inner(length(min = 1, max = 200)), extend("x-kubernetes-list-type" = "set")))]
    pub models: Vec<String>,
    /// Requests per minute, spread evenly with a small burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000_000)))]
    pub requests_per_minute: Option<u32>,
    /// Input and output tokens per minute: reserved by estimate before a request, settled by real usage after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 2_000_000_000)))]
    pub tokens_per_minute: Option<u32>,
    /// Input tokens per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 2_000_000_000)))]
    pub input_tokens_per_minute: Option<u32>,
    /// Output tokens per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 2_000_000_000)))]
    pub output_tokens_per_minute: Option<u32>,
    /// Money per minute: reserved at the price of the dearest target, settled by what was really spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_per_minute: Option<CostPerMinute>,
    /// Requests in flight at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub concurrent_requests: Option<u32>,
    /// For whom it is counted apart.
    #[serde(default)]
    pub per: LimitPer,
    /// How callers are told apart, with `per: Caller`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<CallerKey>,
    /// Whether each sidecar has it for itself or all sidecars that it is for share it. They share one count, or with `per: Workload` and
    /// `per: ServiceAccount` those of each one do. What is counted apart by what requests say (`Caller`, `Model`, `Route`) they share where a
    /// `store` counts it, and what is counted per `Provider` is each sidecar's own.
    #[serde(default)]
    pub scope: LimitScope,
    /// Where it is counted, with `scope: Fleet`. Unset: by the operator, which lends each sidecar a share. With a store each request
    /// asks it, so the limit holds to the request and whoever is told apart (`per`) has a count there; while it does not answer,
    /// the shares stand in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<LimitStore>,
    /// What happens to a request beyond it. A ModelRoute's `fallback` is where `Fallback` leads; without one it is refused. Who
    /// has waited in vain is refused.
    #[serde(default = "NamedLimit::default_on_limit")]
    pub on_limit: OnLimit,
    /// How long a request may wait for its turn, with `onLimit: Wait`: 10s where unset, 10m at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<DurationText>,
}

impl NamedLimit {
    fn default_on_limit() -> OnLimit {
        OnLimit::Reject
    }
}

/// For whom a limit is counted apart. In one sidecar, all callers are of one pod: `Pod`, `Workload`, `ServiceAccount` and
/// `Namespace` mean the same there, as does `Route` in a ModelRoute. How much one provider is asked by everybody is said in its
/// ProviderConfig (`rateLimits`), which holds for every route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum LimitPer {
    /// Each pod.
    #[default]
    Pod,
    /// Each caller, as `caller` tells them apart. Who says nothing of itself is one caller with all others that do not.
    Caller,
    /// Each service account.
    ServiceAccount,
    /// Each workload, such as a Deployment.
    Workload,
    /// The namespace as a whole.
    Namespace,
    /// Each model, as callers write it.
    Model,
    /// Each ModelRoute.
    Route,
    /// Each provider that a request goes to: one that fails over is counted at each, and once there, however often it is tried.
    /// `Fallback` and waiting in vain lead to the next provider here.
    Provider,
}

/// How callers are told apart. What a caller says of itself is a key to count under and no proof: nothing is let through by it.
/// The value is kept as a hash only, and at most 1,000 callers are counted apart at once; those beyond share one count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.header) != has(self.claim)",
    "message": "set header or claim, one of the two",
}])))]
pub struct CallerKey {
    /// The request header whose value it is, such as `x-team`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 100), regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))
    )]
    pub header: Option<String>,
    /// The claim of the JSON web token in `authorization` whose value it is, such as `sub`. The token is not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 200)))]
    pub claim: Option<String>,
}

/// An amount of money a minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CostPerMinute {
    /// As decimal text with at most six decimals, such as `0.50`.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 14), regex(pattern = r"^[0-9]{1,7}(\.[0-9]{1,6})?$"))
    )]
    pub amount: String,
    /// Its currency.
    pub currency: Currency,
}

/// Reads the limits of a ModelRoute: a list, or the single limit without a name that documents had before.
///
/// # Errors
/// What is wrong with either.
pub fn list_or_single<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<NamedLimit>, D::Error> {
    struct Either;

    impl<'de> Visitor<'de> for Either {
        type Value = Vec<NamedLimit>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of limits")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(de::value::SeqAccessDeserializer::new(list))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            let single = RateLimits::deserialize(de::value::MapAccessDeserializer::new(map))?;
            Ok(vec![single.into()])
        }
    }

    input.deserialize_any(Either)
}

/// A limit as it was written before limits had names.
impl From<RateLimits> for NamedLimit {
    fn from(single: RateLimits) -> Self {
        Self {
            name: UNNAMED.into(),
            models: Vec::new(),
            requests_per_minute: single.requests_per_minute,
            tokens_per_minute: single.tokens_per_minute,
            input_tokens_per_minute: None,
            output_tokens_per_minute: None,
            cost_per_minute: None,
            concurrent_requests: single.concurrent_requests,
            per: LimitPer::Pod,
            caller: None,
            scope: single.scope,
            store: single.store,
            on_limit: single.on_limit,
            max_wait: single.max_wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Route {
        #[serde(default, deserialize_with = "list_or_single")]
        limits: Vec<NamedLimit>,
    }

    fn read(text: &str) -> Result<Vec<NamedLimit>, String> {
        let read: Result<Route, _> = serde_json::from_str(text);
        read.map(|route| route.limits).map_err(|error| error.to_string())
    }

    #[test]
    fn a_single_limit_without_a_name_is_still_read() {
        let old = read(r#"{"limits": {"requestsPerMinute": 5, "onLimit": "Wait", "maxWait": "3s"}}"#).unwrap();
        let new = r#"{"limits": [{"name": "limits", "requestsPerMinute": 5, "onLimit": "Wait", "maxWait": "3s"}]}"#;
        assert_eq!(old, read(new).unwrap());
        assert_eq!(read("{}").unwrap(), []);
        assert_eq!(read(r#"{"limits": null}"#).unwrap(), []);
        assert!(read(r#"{"limits": 5}"#).unwrap_err().contains("a list of limits"));
    }

    #[test]
    fn who_does_not_say_what_follows_refuses() {
        let limits = read(r#"{"limits": [{"name": "all", "concurrentRequests": 1}]}"#).unwrap();
        assert_eq!((limits[0].on_limit, limits[0].per), (OnLimit::Reject, LimitPer::Pod));
    }
}
