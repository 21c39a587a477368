//! `ModelRoute.spec.cache`: answering the same question from memory.

use serde::{Deserialize, Serialize};

use crate::DurationText;
use crate::provider_config::ObjectKeyRef;

/// Answers to the very same request, kept in the sidecar's memory and given again without asking anybody. Marked as what it is
/// (`cache-status`, `age`, `x-bowsprit-cache`), never billed. Left alone are requests that act: with tools unless `allowTools`,
/// stored responses, conversations kept by the provider, several answers at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.maxBytes)",
        "message": "maxBytes: is not set, so the cache would have no bound: set it to 65536 (64 KiB) to 268435456 (256 MiB)",
    },
    {
        "rule": "duration(self.ttl) >= duration('1s') && duration(self.ttl) <= duration('168h')",
        "message": "ttl: must be 1s to 168h (a week)",
        "fieldPath": ".ttl",
    },
    {
        "rule": "!has(self.maxWait) || duration(self.maxWait) <= duration('10m')",
        "message": "maxWait: must be 10m at most",
        "fieldPath": ".maxWait",
    },
])))]
pub struct Cache {
    /// How long an answer is good. 1s to 168h (a week).
    pub ttl: DurationText,
    /// Memory that the route's answers may take in each sidecar, bytes: those that were not asked for the longest go first. All
    /// routes together have a quarter of the sidecar's memory for bodies. 65536 (64 KiB) to 268435456 (256 MiB). A cache
    /// without this bound is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 65_536, max = 268_435_456)))]
    pub max_bytes: Option<u64>,
    /// Who may get an answer: the caller that it was given to, or whoever asks in this pod.
    #[serde(default)]
    pub scope: CacheScope,
    /// Which conversations are answered from memory, by the `temperature` that they ask for.
    #[serde(default)]
    pub temperature: CacheTemperature,
    /// Whether requests with tools that the app runs itself are answered from memory, calls of these tools included: allow it
    /// where calling twice what was called before does no harm. Tools that the provider runs are never.
    #[serde(default)]
    pub allow_tools: bool,
    /// How long a request waits for the answer to the same request that is under way already; then it asks for itself. Up to
    /// 10m.
    #[serde(default = "Cache::default_max_wait")]
    pub max_wait: DurationText,
    /// Embeddings input by input: of a batch only the inputs that are not kept are asked for. Unset: a request for embeddings is kept
    /// whole, as any other. All targets of the route must ask for one model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<EmbeddingsCache>,
    /// Answers to questions that are alike and not the same, found by vectors. Unset: only the same question is answered from memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic: Option<SemanticCache>,
    /// Where answers are kept too, for the other pods of the same workload (those of one Deployment, say) and for after a restart. Unset: in
    /// the sidecar's memory alone. Asked after memory, and not for callers outside of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<CacheStore>,
    /// Not in force: what is given when every provider is down is said by `staleIfError` of the route.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stale_on_error: bool,
}

impl Cache {
    fn default_max_wait() -> DurationText {
        DurationText::secs(60)
    }
}

/// A store that keeps answers: Redis (6.2 or later), Valkey, or a cluster of either. It holds them as they are: who may read there may read
/// them, and who may write there may give others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [{
    "rule": "duration(self.timeout) >= duration('1ms') && duration(self.timeout) <= duration('1s')",
    "message": "timeout: must be 1ms to 1s",
    "fieldPath": ".timeout",
}])))]
pub struct CacheStore {
    /// The key of a Secret that says where it is and who asks: `redis://user:password@host:6379/0`, or `rediss://…` with TLS. All
    /// but scheme and host may be left out. Of a cluster, any node.
    pub redis_ref: ObjectKeyRef,
    /// A ConfigMap key with PEM certificates that are trusted beside the public ones, with `rediss://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<ObjectKeyRef>,
    /// How long a request waits for the store before its provider is asked. 1ms to 1s.
    #[serde(default = "CacheStore::default_timeout")]
    pub timeout: DurationText,
}

impl CacheStore {
    /// As for limits: fifty round trips within a zone.
    fn default_timeout() -> DurationText {
        DurationText::millis(50)
    }
}

/// Vectors that are kept, one for each input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.ttl) || (duration(self.ttl) >= duration('1s') && duration(self.ttl) <= duration('168h'))",
    "message": "ttl: must be 1s to 168h (a week)",
    "fieldPath": ".ttl",
}])))]
pub struct EmbeddingsCache {
    /// How long a vector is good. 1s to 168h (a week).
    #[serde(default = "EmbeddingsCache::default_ttl")]
    pub ttl: DurationText,
    /// Memory that the route's vectors may take in each sidecar, bytes; those that were not asked for the longest go first. 65536
    /// (64 KiB) to 268435456 (256 MiB).
    #[cfg_attr(feature = "schema", schemars(range(min = 65_536, max = 268_435_456)))]
    pub max_bytes: u64,
    /// Memory that the texts of the inputs may take in each sidecar, bytes, so that a next model can be asked for their vectors: those
    /// that were not asked for the longest go first. In memory and nowhere else. 65536 (64 KiB) to 268435456 (256 MiB). Unset: no text
    /// is kept, but while there is a `next`, in up to 16777216 (16 MiB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 65_536, max = 268_435_456)))]
    pub keep_inputs: Option<u64>,
    /// Another model, whose vectors are asked for in the background while the old one serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextEmbeddings>,
}

/// The model that is to serve next. Vectors of the two are never mixed in one answer: a sidecar goes over to it at once, when it has the
/// vectors of all inputs that it had those of the old model of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NextEmbeddings {
    /// The ProviderConfig that is asked. One with `forwardCallerKey` cannot be: what is asked for in the background has no caller.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub provider: String,
    /// The model, by the provider's own name.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub model: String,
    /// When it serves.
    #[serde(default)]
    pub switch: NextSwitch,
    /// Requests at once at most with which each sidecar asks for its vectors. 1 to 8.
    #[serde(default = "NextEmbeddings::default_workers")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 8)))]
    pub workers: u32,
}

impl NextEmbeddings {
    fn default_workers() -> u32 {
        2
    }
}

/// When the next model serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum NextSwitch {
    /// In each sidecar as soon as it has all vectors that it needs.
    #[default]
    WhenFilled,
    /// When `targets` of the route name it: in all sidecars at once. What was filled by then is taken over.
    Manual,
}

impl EmbeddingsCache {
    fn default_ttl() -> DurationText {
        DurationText::secs(24 * 3600)
    }
}

/// Answers to conversations that are alike in what the caller says, turn by turn, and equal in all else: instructions, earlier answers,
/// parameters, numbers, names and negations. An answer that is given so says so, and how alike the two are. Never for requests with
/// tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.ttl) || (duration(self.ttl) >= duration('1s') && duration(self.ttl) <= duration('168h'))",
        "message": "ttl: must be 1s to the ttl of the cache",
        "fieldPath": ".ttl",
    },
    {
        "rule": "!has(self.maxWait) || (duration(self.maxWait) >= duration('1ms') && duration(self.maxWait) <= duration('5s'))",
        "message": "maxWait: must be 1ms to 5s",
        "fieldPath": ".maxWait",
    },
])))]
pub struct SemanticCache {
    /// The model that is asked for vectors, by the name that an app would ask for: of another ModelRoute or of a ProviderConfig of this
    /// namespace. What it costs is booked as requests of their own. A provider with `forwardCallerKey` cannot be asked: these requests
    /// have no caller's key.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub embedding_model: String,
    /// How alike each of the caller's turns must be: the cosine of the two vectors, "0.8" to "1". What is right depends on the model;
    /// the default is strict for most.
    #[serde(default = "SemanticCache::default_threshold")]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^(0\.[89][0-9]{0,2}|1(\.0{1,3})?)$")))]
    pub threshold: String,
    /// Memory that the route's vectors may take in each sidecar, bytes: the oldest go first. 65536 (64 KiB) to 268435456 (256 MiB);
    /// a vector of 1536 numbers takes some 8 KiB.
    #[cfg_attr(feature = "schema", schemars(range(min = 65_536, max = 268_435_456)))]
    pub max_bytes: u64,
    /// For how long an answer is given to who asks alike. 1s to the `ttl` of the cache, which it is unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<DurationText>,
    /// How long a request waits for its vectors at most; then it goes on without. It waits only where there is something to compare it
    /// with. 1ms to 5s.
    #[serde(default = "SemanticCache::default_max_wait")]
    pub max_wait: DurationText,
    /// Of a hundred answers that would be given, so many are asked for all the same: the provider's goes to the caller, and the kept one is
    /// compared with it, which tells how often such answers are the right ones. Each costs what any request costs. 0 to 100.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 100)))]
    pub verify_percent: u8,
}

impl SemanticCache {
    fn default_threshold() -> String {
        "0.95".to_owned()
    }

    fn default_max_wait() -> DurationText {
        DurationText::millis(500)
    }
}

/// Who may get a cached answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CacheScope {
    /// Who sends the same credentials and the same headers of its own, from the same place.
    #[default]
    Caller,
    /// Whoever asks in the pod, whatever key it sends; other headers still count. Where a provider of the route is given the
    /// caller's own key (`forwardCallerKey`), answers are the caller's all the same.
    Pod,
}

/// Which conversations are cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CacheTemperature {
    /// Those that ask for temperature 0: who does wants the same answer again.
    #[default]
    Zero,
    /// All: who asks the same within `ttl` gets the same, however warm it was asked for.
    Any,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(flag: &bool) -> bool {
    !*flag
}
