//! `ProviderConfig`: one provider account as a team uses it.

#![allow(
    clippy::duplicated_attributes,
    reason = "clippy takes the repeated keys of several printer columns for one list"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{DurationText, LabelSelector, Slo};

/// One provider account as a team uses it: where it is, which key opens it, which models it serves, and how a sidecar
/// protects the app from its failures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(kube::CustomResource, schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    kube(
        group = "bowsprit.dev",
        version = "v1alpha1",
        kind = "ProviderConfig",
        plural = "providerconfigs",
        shortname = "pcfg",
        category = "bowsprit",
        namespaced,
        status = "crate::ProviderConfigStatus",
        derive = "PartialEq",
        selectable = ".spec.provider",
        doc = "One provider account as a team uses it: endpoint, keys, models, and how sidecars protect apps from its failures.",
        printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider"),
        printcolumn(name = "Model", type_ = "string", json_path = ".spec.defaultModel"),
        printcolumn(
            name = "Priority",
            type_ = "integer",
            json_path = ".spec.priority",
            description = "Lower is tried first"
        ),
        printcolumn(
            name = "Circuits",
            type_ = "string",
            json_path = ".status.circuits.summary",
            description = "Circuit breakers over all sidecars"
        ),
        printcolumn(
            name = "Sidecars",
            type_ = "integer",
            json_path = ".status.sidecars.current",
            description = "Sidecars that have this generation in service",
            priority = 1
        ),
        printcolumn(
            name = "Ready",
            type_ = "string",
            json_path = ".status.conditions[?(@.type==\"Ready\")].status",
            description = "Whether it is valid, all that it names is there, and every selected sidecar has this generation"
        ),
        printcolumn(
            name = "Behind",
            type_ = "integer",
            json_path = ".status.sidecars.behind",
            description = "Sidecars that have not said that they have this generation",
            priority = 1
        ),
        printcolumn(
            name = "Propagation",
            type_ = "string",
            json_path = ".status.propagation.p99",
            description = "How long the last change took to 99 of 100 sidecars",
            priority = 1
        ),
        printcolumn(
            name = "Budget",
            type_ = "integer",
            json_path = ".status.slo.availability.budgetRemainingPercent",
            description = "Percent of the error budget of spec.slo.availability that is left, by the sidecars that run now",
            priority = 1
        ),
        printcolumn(
            name = "Reason",
            type_ = "string",
            json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
            priority = 1
        ),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    )
)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = with_base_url_rules(&serde_json::json!([
    {
        "rule": ProviderKind::is_one(|kind| kind.keyless) + " || (has(self.forwardCallerKey) && self.forwardCallerKey) || (has(self.credentials) && size(self.credentials) > 0)",
        "message": "credentials: this provider needs a key: add one with secretKeyRef {name, key}",
        "fieldPath": ".credentials",
    },
    {
        "rule": "!has(self.forwardCallerKey) || !self.forwardCallerKey || !has(self.credentials) || size(self.credentials) == 0",
        "message": "forwardCallerKey: goes without credentials: remove one of the two",
        "fieldPath": ".forwardCallerKey",
    },
    {
        "rule": ProviderKind::is_none(|kind| kind.base_url.is_none()) + " || (has(self.endpoint) && has(self.endpoint.baseUrl))",
        "message": format!("endpoint.baseUrl: required for {}, such as http://vllm.models.svc:8000/v1", ProviderKind::names_of(|kind| kind.base_url.is_none())),
        "fieldPath": ".endpoint",
    },
    {
        "rule": ProviderKind::is_one(|kind| kind.safety_settings) + " || !has(self.safetySettings) || size(self.safetySettings) == 0",
        "message": "safetySettings: only Gemini has them: remove them or set provider to Gemini",
        "fieldPath": ".safetySettings",
    },
    {
        "rule": ProviderKind::is_one(|kind| kind.stream_usage) + " || !has(self.streamUsage) || self.streamUsage == 'Ask'",
        "message": format!("streamUsage: only {} have it: remove it", ProviderKind::names_of(|kind| kind.stream_usage)),
        "fieldPath": ".streamUsage",
    },
    {
        "rule": ProviderKind::is_one(|kind| kind.organizations) + " || !has(self.endpoint) || (!has(self.endpoint.organization) && !has(self.endpoint.project))",
        "message": "endpoint.organization and endpoint.project: only OpenAI has them: remove them",
        "fieldPath": ".endpoint",
    },
    {
        "rule": "!has(self.defaultModel) || !has(self.models) || size(self.models) == 0 || self.models.exists(m, m.name == self.defaultModel || m.name == 'models/' + self.defaultModel || 'models/' + m.name == self.defaultModel || (has(m.aliases) && self.defaultModel in m.aliases))",
        "message": "defaultModel: must be the name or an alias of an entry in models, or models must be empty",
        "fieldPath": ".defaultModel",
    },
    {
        "rule": "self.provider == oldSelf.provider",
        "message": "provider: cannot change, since breakers, limits and records belong to it: create a new ProviderConfig",
        "fieldPath": ".provider",
    },
])))))]
pub struct ProviderConfigSpec {
    /// Which API stands behind the endpoint. Cannot change later.
    pub provider: ProviderKind,

    /// Whether sidecars use this provider at all.
    #[serde(default = "yes")]
    pub enabled: bool,

    /// Order among the providers of the namespace: lower is tried first. 0 to 1000.
    #[serde(default = "ProviderConfigSpec::default_priority")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1000)))]
    pub priority: u32,

    /// Where the provider is and how it is reached.
    #[serde(default, skip_serializing_if = "Endpoint::is_default")]
    pub endpoint: Endpoint,

    /// The keys. Several are balanced by weight; one that is refused or throttled is set aside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"], "x-kubernetes-validations" = [{
        "rule": "self.all(one, !has(one.secretKeyRef) || self.exists_one(other, has(other.secretKeyRef) && other.secretKeyRef.name == one.secretKeyRef.name && other.secretKeyRef.key == one.secretKeyRef.key))",
        "message": "names the same key of a Secret twice: a key that is refused or throttled would be tried again under its other name: remove one",
    }])))]
    pub credentials: Vec<Credential>,

    /// The models that this provider serves. Empty: it serves whatever its own dialect's callers ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub models: Vec<Model>,

    /// The model used when this provider answers for another one that failed, or when a caller names none. Never for
    /// embeddings: vectors of different models do not compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 200)))]
    pub default_model: Option<String>,

    /// How long each part of an attempt may take.
    #[serde(default)]
    pub timeouts: Timeouts,

    /// Trying the same provider again.
    #[serde(default)]
    pub retry: Retry,

    /// When to stop asking a provider that fails, per model.
    #[serde(default)]
    pub circuit_breaker: CircuitBreaker,

    /// How much one sidecar may ask of this provider. Unset: as much as it likes.
    #[serde(default, skip_serializing_if = "RateLimits::is_default")]
    pub rate_limits: RateLimits,

    /// Whether apps may use all of the provider's API under `/providers/{name}/` with its key: files, batches, fine-tuning,
    /// deletion. Switch it off where apps that share the key must not see or change what belongs to others.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub pass_through: bool,

    /// Whether streamed answers are asked for their usage (`stream_options.include_usage`), which OpenAI's API tells only
    /// then. OpenAI, OpenAICompatible and AzureOpenAI only.
    #[serde(default, skip_serializing_if = "StreamUsage::is_default")]
    pub stream_usage: StreamUsage,

    /// Send the key that the app sent, where the app speaks this provider's own API; there are no `credentials` then. Off, a
    /// key that an app sends ends at the sidecar.
    #[serde(default, skip_serializing_if = "is_false")]
    pub forward_caller_key: bool,

    /// Asking the provider whether it is well, without spending tokens.
    #[serde(default)]
    pub health_check: HealthCheck,

    /// Names of the `ProviderConfig`s to try when this one fails, in this order. Unset: all others by priority.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 20), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set")))]
    pub fallback_providers: Vec<String>,

    /// Gemini's safety settings for translated requests; a Gemini caller's own settings are left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 10), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["category"])))]
    pub safety_settings: Vec<SafetySetting>,

    /// What is expected of this provider: availability, time to the first content, and over which time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Slo>,

    /// The pods whose sidecars use this provider. Unset: every pod of the namespace with a sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
}

pub use crate::provider_kind::ProviderKind;

/// Where a provider is and how it is reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.baseUrl) || !self.baseUrl.startsWith('http://') || (has(self.allowHttp) && self.allowHttp)",
        "message": "baseUrl: http sends the key and the prompts in clear text: use https, or set allowHttp: true for a server inside the cluster",
        "fieldPath": ".baseUrl",
    },
])))]
pub struct Endpoint {
    /// Where the API begins. OpenAI and OpenAICompatible: with the version, such as `https://api.openai.com/v1`; a host alone
    /// means its `/v1`. Anthropic and Gemini: without the version, such as `https://api.anthropic.com`; one that is there is
    /// the one that is spoken. AzureOpenAI: the resource, such as `https://NAME.openai.azure.com`. A whole endpoint, such as `…/v1/chat/completions`, is refused. Unset: the provider's public
    /// address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024), extend("x-kubernetes-validations" = crate::base_url::rules())))]
    pub base_url: Option<String>,

    /// Whether `baseUrl` may be plain http, so that keys and prompts travel in clear text. For servers inside the cluster.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_http: bool,

    /// The kinds of network addresses that `baseUrl` (or `httpProxy`) may resolve to, checked at each connection. Unset: `Public`, and
    /// `Private` where `baseUrl` or `httpProxy` is set. Metadata services of clouds are never connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 4), extend("x-kubernetes-list-type" = "set")))]
    pub allowed_addresses: Option<Vec<AddressClass>>,

    /// Headers added to every request. Not for keys: those belong into `credentials`; nor for what the sidecar says itself:
    /// the connection's own headers, `accept-encoding`, `content-type`, `content-encoding`, `x-request-id`, `x-bowsprit-*`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 1024, "pattern": "^[ -~]*$"}, "x-kubernetes-validations" = crate::headers::rules())))]
    pub headers: BTreeMap<String, String>,

    /// OpenAI's organization id, sent as `OpenAI-Organization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9_-]+$"))
    )]
    pub organization: Option<String>,

    /// OpenAI's project id, sent as `OpenAI-Project`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9_-]+$"))
    )]
    pub project: Option<String>,

    /// A ConfigMap key with PEM certificates that are trusted beside the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<ObjectKeyRef>,

    /// An HTTP proxy on the way to the provider, such as `http://proxy.corp:3128`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024), extend("x-kubernetes-validations" = [{
        "rule": "isURL(self) && url(self).getScheme() == 'http' && url(self).getHostname() != ''",
        "message": "must be an http URL with a host, such as http://proxy.corp:3128",
    }])))]
    pub http_proxy: Option<String>,
}

/// A kind of network address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum AddressClass {
    /// Reachable from anywhere.
    Public,
    /// Of a private network: RFC 1918, carrier-grade NAT, unique local IPv6. Services and pods have these.
    Private,
    /// The pod itself: 127.0.0.0/8 and `::1`.
    Loopback,
    /// The node's own link: 169.254.0.0/16 and `fe80::/10`, but never a metadata service.
    LinkLocal,
}

/// A key, by reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.secretKeyRef)",
    "message": "secretKeyRef: required: name the Secret and its key",
}])))]
pub struct Credential {
    /// A name for the key in metrics and health reports.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    pub name: String,

    /// The Secret of this namespace that holds the key. The kubelet hands it to the sidecar; the operator never reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<ObjectKeyRef>,

    /// The environment variable that holds the key. Standalone only: the CRD does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub env: Option<String>,

    /// The file that holds the key. Standalone only: the CRD does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub file: Option<String>,

    /// How often this key is taken relative to the others. 1 to 1000.
    #[serde(default = "Credential::default_weight")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1000)))]
    pub weight: u32,
}

/// A key of a Secret or ConfigMap of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ObjectKeyRef {
    /// The object's name.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))
    )]
    pub name: String,
    /// The key inside it.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"), extend("x-kubernetes-validations" = file_name_rules()))
    )]
    pub key: String,
}

/// A key becomes a file of a mount, and of those some names are the kubelet's.
#[cfg(feature = "schema")]
fn file_name_rules() -> serde_json::Value {
    serde_json::json!([{
        "rule": "self != '.' && !self.startsWith('..')",
        "message": "no Secret or ConfigMap can have a key that is . or begins with ..: correct it",
    }])
}

/// A model that a provider serves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// The name that the provider knows.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 200)))]
    pub name: String,

    /// Other names under which callers may ask for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 20), inner(length(min = 1, max = 200)), extend("x-kubernetes-list-type" = "set")))]
    pub aliases: Vec<String>,

    /// What it costs. Unset: the list price of the table that comes with the release, where that has the model; else what it
    /// costs is not known, and counted as unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,

    /// What it can take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ModelLimits>,

    /// What it can do. Not in force in this release, which the object's status says: nothing is ruled out by it yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 10), extend("x-kubernetes-list-type" = "set")))]
    pub capabilities: Vec<Capability>,
}

/// What a model costs, in US dollars per million tokens, as decimal text of at most six decimals so that nothing is rounded.
/// It holds for answers by the provider's standard terms; what one of another service tier costs is not known then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Price {
    /// USD per million input tokens, such as `3.00`.
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 20), regex(pattern = r"^[0-9]+(\.[0-9]+)?$"))
    )]
    pub input: String,
    /// USD per million output tokens.
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 20), regex(pattern = r"^[0-9]+(\.[0-9]+)?$"))
    )]
    pub output: String,
    /// USD per million input tokens read from the provider's cache. Unset: as `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 20), regex(pattern = r"^[0-9]+(\.[0-9]+)?$"))
    )]
    pub cache_read: Option<String>,
    /// USD per million input tokens written to the provider's cache. Unset: as `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 20), regex(pattern = r"^[0-9]+(\.[0-9]+)?$"))
    )]
    pub cache_write: Option<String>,
    /// USD per million input tokens written to the provider's cache for an hour. Unset: what an answer with such tokens costs
    /// is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 20), regex(pattern = r"^[0-9]+(\.[0-9]+)?$"))
    )]
    pub cache_write_hour: Option<String>,
    /// USD per million output tokens spent on reasoning. Unset: as `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 20), regex(pattern = r"^[0-9]+(\.[0-9]+)?$"))
    )]
    pub reasoning: Option<String>,
}

/// What a model can take, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ModelLimits {
    /// Tokens that fit into its context window. Not in force in this release, which the object's status says: a request that
    /// is too long is sent, and the provider refuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000_000)))]
    pub context_tokens: Option<u32>,
    /// Tokens that it can answer with; also what a translated request asks for where the caller names no maximum and the
    /// provider needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000_000)))]
    pub max_output_tokens: Option<u32>,
}

/// What a model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Capability {
    /// Answers conversations.
    Chat,
    /// Calls tools.
    Tools,
    /// Sees images.
    Vision,
    /// Answers by a JSON schema.
    StructuredOutput,
    /// Thinks before it answers.
    Reasoning,
    /// Makes vectors.
    Embeddings,
}

/// How long each part of an attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Timeouts {
    /// Until the connection stands, TLS included.
    pub connect: DurationText,
    /// Until the first token of a streamed answer. A plain answer comes in one piece: `total` bounds it.
    pub first_token: DurationText,
    /// Silence between two chunks of an answer.
    pub idle: DurationText,
    /// The whole attempt.
    pub total: DurationText,
}

impl Default for Timeouts {
    /// 2 s is many round trips to any continent; a minute is longer than healthy providers let a first token wait; ten
    /// minutes is what the official SDKs wait for a whole answer.
    fn default() -> Self {
        Self {
            connect: DurationText::secs(2),
            first_token: DurationText::secs(60),
            idle: DurationText::secs(60),
            total: DurationText::secs(600),
        }
    }
}

/// Trying the same provider again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Retry {
    /// Attempts at this provider for one request, the first included. 1 to 10; 1 never tries again.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 10)))]
    pub max_attempts: u32,
    /// How long to wait before trying again.
    pub backoff: Backoff,
    /// What is worth another attempt. `Reset` and `Timeout` are left out unless named: the provider may have done the work,
    /// and done twice it is paid for twice.
    #[cfg_attr(feature = "schema", schemars(length(max = 6), extend("x-kubernetes-list-type" = "set")))]
    pub retry_on: Vec<RetryOn>,
    /// How many retries the sidecar may spend over all providers before it makes none here, so that an outage is not made
    /// worse. A switch to a provider that answers is free; one to a provider that does not counts like a retry.
    pub budget: RetryBudget,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 2,
            backoff: Backoff::default(),
            // Neither Reset nor Timeout: the provider may have done the work, and done twice it is paid for twice.
            retry_on: vec![
                RetryOn::Connect,
                RetryOn::ServerError,
                RetryOn::Overloaded,
                RetryOn::RateLimited,
            ],
            budget: RetryBudget::default(),
        }
    }
}

/// A class of failures that may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RetryOn {
    /// No connection: refused, timed out, no DNS, TLS failed.
    Connect,
    /// The connection broke after the request was sent. (An idle connection that the provider had closed is none of this:
    /// such a request is sent anew, and counts for nothing.)
    Reset,
    /// 408, 504, 522 and 524 from the provider. Our own time-outs are never waited for twice: the next provider is asked.
    Timeout,
    /// 500, 502 and other server errors.
    ServerError,
    /// 503 and 529.
    Overloaded,
    /// 429.
    RateLimited,
}

/// Exponential backoff: before retry `n` a time of up to `base * 2^n`, at most `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [{
    "rule": "duration(self.base) <= duration(self.max)",
    "message": "base: must not be longer than max",
}])))]
pub struct Backoff {
    /// The longest wait before the first retry.
    pub base: DurationText,
    /// The longest wait before any retry.
    pub max: DurationText,
    /// How the wait is drawn.
    pub jitter: Jitter,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: DurationText::millis(500),
            max: DurationText::secs(5),
            jitter: Jitter::Full,
        }
    }
}

/// How a wait is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Jitter {
    /// Evenly between nothing and the longest wait, so that clients spread out.
    #[default]
    Full,
    /// Always the longest wait.
    None,
}

/// A share of the requests that may be spent on retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RetryBudget {
    /// Retries per hundred requests of the last ten seconds. 0 to 100.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 100)))]
    pub percent: u32,
    /// Retries per second that are always allowed, so that a quiet app can retry at all. 0 to 100.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 100)))]
    pub min_per_second: u32,
}

impl Default for RetryBudget {
    /// 20 % is the usual bound on amplification (tower, Finagle and Envoy all default to it). The floor is 1 a second where
    /// they take 10, since every pod of a fleet has a budget of its own.
    fn default() -> Self {
        Self {
            percent: 20,
            min_per_second: 1,
        }
    }
}

/// When to stop asking a provider that fails. One breaker stands for each provider and model, in each sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct CircuitBreaker {
    /// Failures in a row that open it. 1 to 1000.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1000)))]
    pub failure_threshold: u32,
    /// How long it stays open before single requests probe the provider.
    pub open_for: DurationText,
    /// Probing requests at a time, and successes in a row that close it. 1 to 100.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100)))]
    pub half_open_requests: u32,
    /// Also open on a share of failures, for providers that fail now and then but often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<ErrorRate>,
    /// Lower the threshold while the provider keeps tripping, and raise it again as it recovers.
    pub adaptive: bool,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            open_for: DurationText::secs(60),
            half_open_requests: 1,
            error_rate: None,
            adaptive: false,
        }
    }
}

/// A share of failures in a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorRate {
    /// Failures per hundred requests that open the breaker. 1 to 100.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100)))]
    pub percent: u32,
    /// Requests that the window must hold before the share means anything. 1 to 10000.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 10000)))]
    pub min_requests: u32,
    /// The length of the window.
    pub window: DurationText,
}

impl Default for ErrorRate {
    fn default() -> Self {
        Self {
            percent: 50,
            min_requests: 20,
            window: DurationText::secs(30),
        }
    }
}

/// How much may be asked of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.maxWait) || self.onLimit == 'Wait'",
    "message": "maxWait: nothing waits with this onLimit: remove it, or set onLimit to Wait",
    "fieldPath": ".maxWait",
}, {
    "rule": "!has(self.store) || self.scope == 'Fleet'",
    "message": "store: only limits that sidecars share are counted in a store: remove it, or set scope to Fleet",
    "fieldPath": ".store",
}])))]
pub struct RateLimits {
    /// Requests per minute, spread evenly with a small burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000_000)))]
    pub requests_per_minute: Option<u32>,
    /// Input and output tokens per minute: reserved by estimate before a request, settled by real usage after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 2_000_000_000)))]
    pub tokens_per_minute: Option<u32>,
    /// Requests in flight at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub concurrent_requests: Option<u32>,
    /// Whether each sidecar has these limits for itself or all sidecars of the namespace share them.
    #[serde(default)]
    pub scope: LimitScope,
    /// Where these limits are counted, with `scope: Fleet`. Unset: by the operator, which lends each sidecar a share. With a
    /// store each request asks it, so the limit holds to the request; while it does not answer, the shares stand in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<LimitStore>,
    /// What happens to a request beyond a limit.
    #[serde(default)]
    pub on_limit: OnLimit,
    /// How long a request may wait for its turn, with `onLimit: Wait`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<DurationText>,
}

/// A store that counts limits: Redis (6.2 or later), Valkey, or a cluster of either.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [{
    "rule": "duration(self.timeout) >= duration('1ms') && duration(self.timeout) <= duration('1s')",
    "message": "timeout: must be 1ms to 1s",
    "fieldPath": ".timeout",
}])))]
pub struct LimitStore {
    /// The key of a Secret that says where it is and who asks: `redis://user:password@host:6379/0`, or `rediss://…` with TLS. All
    /// but scheme and host may be left out. Of a cluster, any node.
    pub redis_ref: ObjectKeyRef,
    /// A ConfigMap key with PEM certificates that are trusted beside the public ones, with `rediss://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<ObjectKeyRef>,
    /// How long a request waits for the store before it goes on by its sidecar's share. 1ms to 1s.
    #[serde(default = "LimitStore::default_timeout")]
    pub timeout: DurationText,
}

impl LimitStore {
    /// Fifty round trips within a zone, and a fiftieth of the shortest answer of a model.
    fn default_timeout() -> DurationText {
        DurationText::millis(50)
    }
}

/// Who shares a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum LimitScope {
    /// Each sidecar for itself.
    #[default]
    Pod,
    /// All sidecars of the namespace together: the operator lends each a share, by demand, or a store counts.
    Fleet,
}

/// What happens to a request beyond a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnLimit {
    /// It waits up to `maxWait` (10s where unset), then the next provider is tried.
    Wait,
    /// The next provider is tried.
    #[default]
    Fallback,
    /// The caller gets a 429 with `retry-after`.
    Reject,
}

/// Whether streams of OpenAI's chat completions are asked for their usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum StreamUsage {
    /// Always; what the app did not ask for is taken out of its answer again. Tokens are counted and limits settled by it.
    #[default]
    Ask,
    /// Only where the app asks, for servers that refuse the field. A stream without usage counts no tokens, and
    /// `tokensPerMinute` is settled by the estimate.
    AsIs,
}

/// Asking the provider whether it is well, by listing its models: that costs no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct HealthCheck {
    /// Whether sidecars probe at all. Off by default: every sidecar would probe, and traffic tells as much.
    pub enabled: bool,
    /// From one probe to the next.
    pub interval: DurationText,
    /// How long a probe may take.
    pub timeout: DurationText,
    /// Good probes in a row after which an unhealthy provider is used again. 1 to 100.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100)))]
    pub healthy_threshold: u32,
    /// Bad probes in a row after which a provider is skipped. 1 to 100.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100)))]
    pub unhealthy_threshold: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            enabled: false,
            interval: DurationText::secs(30),
            timeout: DurationText::secs(5),
            healthy_threshold: 1,
            unhealthy_threshold: 3,
        }
    }
}

/// One of Gemini's safety settings, in Google's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SafetySetting {
    /// Such as `HARM_CATEGORY_HARASSMENT`.
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 100), regex(pattern = "^HARM_CATEGORY_[A-Z_]+$"))
    )]
    pub category: String,
    /// From which likelihood on an answer is withheld.
    pub threshold: SafetyThreshold,
}

/// From which likelihood of harm Gemini withholds an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SafetyThreshold {
    /// Low and above.
    BlockLowAndAbove,
    /// Medium and above.
    BlockMediumAndAbove,
    /// High only.
    BlockOnlyHigh,
    /// Never, but verdicts are reported.
    BlockNone,
    /// The filter is off.
    Off,
}

/// The rules of the spec, with those of the base URL that depend on the provider.
#[cfg(feature = "schema")]
fn with_base_url_rules(own: &serde_json::Value) -> Vec<serde_json::Value> {
    let own = own.as_array().cloned().unwrap_or_default();
    own.into_iter().chain(crate::base_url::rules_by_kind()).collect()
}

fn yes() -> bool {
    true
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference to skip_serializing_if"
)]
fn is_true(value: &bool) -> bool {
    *value
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference to skip_serializing_if"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

impl ProviderConfigSpec {
    fn default_priority() -> u32 {
        100
    }
}

impl Credential {
    fn default_weight() -> u32 {
        1
    }
}

impl Endpoint {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl StreamUsage {
    #[allow(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands a reference to skip_serializing_if"
    )]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl RateLimits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl SafetyThreshold {
    /// Google's own word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BlockLowAndAbove => "BLOCK_LOW_AND_ABOVE",
            Self::BlockMediumAndAbove => "BLOCK_MEDIUM_AND_ABOVE",
            Self::BlockOnlyHigh => "BLOCK_ONLY_HIGH",
            Self::BlockNone => "BLOCK_NONE",
            Self::Off => "OFF",
        }
    }
}
