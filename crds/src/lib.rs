//! The language of Bowsprit: what people apply to a cluster, what the operator writes into a ConfigMap and what a
//! standalone sidecar reads from a file are the same documents, and these are their types.
//!
//! The structs are plain serde data, without behaviour and without defaults hidden elsewhere: a default stands in the
//! type, and so in the CRD. The feature `schema` adds the `kube` and `schemars` derives that make the CRDs; the sidecar
//! is built without it.

pub mod access;
pub mod base_url;
pub mod budgets;
pub mod cache;
pub mod duration;
#[cfg(feature = "schema")]
pub mod found;
pub mod guards;
pub mod headers;
#[cfg(feature = "schema")]
pub mod installed;
pub mod limits;
pub mod model_route;
pub mod names;
pub mod provider_config;
pub mod provider_kind;
#[cfg(feature = "schema")]
pub mod schema;
pub mod selector;
pub mod slo;
#[cfg(feature = "schema")]
pub mod status;
pub mod usage_policy;
pub mod yaml;

pub use duration::DurationText;
#[cfg(feature = "schema")]
pub use model_route::ModelRoute;
pub use model_route::ModelRouteSpec;
#[cfg(feature = "schema")]
pub use provider_config::ProviderConfig;
pub use provider_config::ProviderConfigSpec;
pub use provider_kind::{KindFacts, ProviderKind};
pub use selector::LabelSelector;
pub use slo::Slo;
#[cfg(feature = "schema")]
pub use status::{
    BudgetStatus, Circuits, ModelRouteStatus, ObjectiveStatus, Propagation, ProviderConfigStatus, RunawayPod,
    RunawayStatus, Sidecars, SloStatus, UsagePolicyStatus,
};
#[cfg(feature = "schema")]
pub use usage_policy::UsagePolicy;
pub use usage_policy::UsagePolicySpec;

/// The API group of every kind.
pub const GROUP: &str = "bowsprit.dev";
/// The version of every kind.
pub const VERSION: &str = "v1alpha1";
/// `group/version`, as it stands in a document's `apiVersion`.
pub const API_VERSION: &str = "bowsprit.dev/v1alpha1";
