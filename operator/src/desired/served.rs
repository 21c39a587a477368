//! The ProviderConfigs that a namespace's sidecars have, before anything else of it is decided: for who makes pods. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use bowsprit_core::config::{Provider, Scope};
use bowsprit_crds::{ProviderConfig, ProviderConfigSpec};
use kube::ResourceExt as _;

use super::{Current, LastAccepted, checked, is_where, kept};
use crate::validate::hosts::AllowedHosts;

/// The last accepted versions of ProviderConfigs that cannot be read, by name. `current`: what the ConfigMap holds.
pub fn kept_specs(names: &[String], current: Option<&Current>) -> Vec<ProviderConfigSpec> {
    let scope = Scope::Cluster {
        pod_labels: BTreeMap::new(),
    };
    let last = LastAccepted::read(current, &scope);
    let of = |name: &String| {
        kept(last.specs.providers.get(name), |spec| {
            Provider::from_spec(name, spec, &scope)
        })
        .1
        .cloned()
    };
    names.iter().filter_map(of).collect()
}

/// Of each its own spec, or where that is refused the last accepted one, if there was one. `current`: what the ConfigMap holds; read
/// only where something is refused.
pub fn served_specs(
    hosts: &AllowedHosts,
    providers: &[Arc<ProviderConfig>],
    current: impl FnOnce() -> Option<Current>,
) -> Vec<ProviderConfigSpec> {
    let scope = Scope::Cluster {
        pod_labels: BTreeMap::new(),
    };
    let look = |last: &LastAccepted| {
        let of = |object: &Arc<ProviderConfig>| {
            let name = object.name_any();
            let check = |spec: &ProviderConfigSpec| Provider::from_spec(&name, spec, &scope);
            checked(
                &object.spec,
                last.specs.providers.get(&name),
                check,
                |it| hosts.refuse(it),
                is_where,
            )
            .1
        };
        providers.iter().map(of).collect::<Vec<_>>()
    };
    let mut specs = look(&LastAccepted::default());
    if specs.iter().any(Option::is_none) {
        specs = look(&LastAccepted::read(current().as_ref(), &scope));
    }
    specs.into_iter().flatten().collect()
}
