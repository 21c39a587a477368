//! The CRDs as the apiserver gets them: what the derives make, and the touches that a derive cannot make.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use kube::CustomResourceExt;

use crate::{ModelRoute, ProviderConfig, UsagePolicy};

/// Every CRD of Bowsprit, in the order of their names.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut providers = ProviderConfig::crd();
    for schema in root_schemas(&mut providers) {
        // Only the root sees the name beside the spec.
        schema
            .x_kubernetes_validations
            .get_or_insert_default()
            .push(ValidationRule {
                rule: "!has(self.spec.fallbackProviders) || !(self.metadata.name in self.spec.fallbackProviders)"
                    .into(),
                message: Some("fallbackProviders: must not name this ProviderConfig itself: remove it".into()),
                field_path: Some(".spec.fallbackProviders".into()),
                ..ValidationRule::default()
            });
    }
    let mut crds = vec![ModelRoute::crd(), providers, UsagePolicy::crd()];
    for crd in &mut crds {
        root_schemas(crd).for_each(tidy);
    }
    crds
}

fn root_schemas(crd: &mut CustomResourceDefinition) -> impl Iterator<Item = &mut JSONSchemaProps> {
    crd.spec
        .versions
        .iter_mut()
        .filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut())
}

/// Removes Rust's own number formats: the apiserver warns about formats that it does not know, on every apply.
fn tidy(schema: &mut JSONSchemaProps) {
    if schema
        .format
        .as_deref()
        .is_some_and(|format| format.starts_with("uint"))
    {
        schema.format = None;
    }
    if let Some(properties) = &mut schema.properties {
        properties.values_mut().for_each(tidy);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(tidy),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}
