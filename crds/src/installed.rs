//! What a CRD that is installed does not know of the fields that this release has: Helm does not upgrade CRDs, so they may well be
//! those of the release before. The apiserver drops such a field from what people apply, and refuses a status that is written with
//! it by server-side apply, as a whole ("field not declared in schema").

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use crate::VERSION;

/// The step of a path into each item of a list, and into each value of a map.
const EACH: &str = "*";

/// Fields that `ours` has and `installed` has not, as `status.slo` or `spec.endpoint.headers.*.value`, in the order of their names;
/// of a field with all that is in it, the field alone. Nothing where one of them has no schema of [`VERSION`].
pub fn unknown_to(installed: &CustomResourceDefinition, ours: &CustomResourceDefinition) -> Vec<String> {
    let mut found = Vec::new();
    if let (Some(ours), Some(installed)) = (root(ours), root(installed)) {
        look(ours, installed, "", &mut found);
    }
    found
}

fn root(crd: &CustomResourceDefinition) -> Option<&JSONSchemaProps> {
    let version = crd.spec.versions.iter().find(|version| version.name == VERSION)?;
    version.schema.as_ref()?.open_api_v3_schema.as_ref()
}

fn look(ours: &JSONSchemaProps, installed: &JSONSchemaProps, path: &str, found: &mut Vec<String>) {
    // There anything may stand.
    if installed.x_kubernetes_preserve_unknown_fields == Some(true) {
        return;
    }
    let below = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    for (name, field) in ours.properties.iter().flatten() {
        match installed.properties.as_ref().and_then(|known| known.get(name)) {
            Some(known) => look(field, known, &below(name), found),
            None => found.push(below(name)),
        }
    }
    if let (Some(ours), Some(installed)) = (each(ours), each(installed)) {
        look(ours, installed, &below(EACH), found);
    }
}

/// What each item of a list, or each value of a map, looks like.
fn each(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match (&schema.items, &schema.additional_properties) {
        (Some(JSONSchemaPropsOrArray::Schema(items)), _) => Some(items),
        (_, Some(JSONSchemaPropsOrBool::Schema(values))) => Some(values),
        _ => None,
    }
}

/// Takes what [`unknown_to`] names out of an object. Says whether anything was there.
pub fn take_out(object: &mut Value, path: &str) -> bool {
    let (step, rest) = path
        .split_once('.')
        .map_or((path, None), |(step, rest)| (step, Some(rest)));
    match (object, rest) {
        (Value::Object(fields), Some(rest)) if step == EACH => {
            let each = fields.values_mut().map(|value| take_out(value, rest));
            each.fold(false, |any, was| any | was)
        }
        (Value::Array(items), Some(rest)) if step == EACH => {
            let each = items.iter_mut().map(|item| take_out(item, rest));
            each.fold(false, |any, was| any | was)
        }
        (Value::Object(fields), None) => fields.remove(step).is_some(),
        (Value::Object(fields), Some(rest)) => fields.get_mut(step).is_some_and(|field| take_out(field, rest)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn crd(schema: &Value) -> CustomResourceDefinition {
        let version = json!({"name": VERSION, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
        let names = json!({"plural": "things", "kind": "Thing"});
        serde_json::from_value(json!({
            "metadata": {"name": "things.bowsprit.dev"},
            "spec": {"group": "bowsprit.dev", "scope": "Namespaced", "names": names, "versions": [version]},
        }))
        .unwrap()
    }

    #[test]
    fn what_the_older_schema_lacks_is_found_and_taken_out_and_nothing_else() {
        let text = json!({"type": "string"});
        let ours = json!({"type": "object", "properties": {
            "status": {"type": "object", "properties": {
                "slo": {"type": "object", "properties": {"good": text}},
                "sequence": text,
                "conditions": {"type": "array", "items": {"type": "object", "properties": {"type": text, "since": text}}},
                "by": {"type": "object", "additionalProperties": {"type": "object", "properties": {"n": text, "new": text}}},
                "any": {"type": "object", "properties": {"new": text}},
            }},
        }});
        let mut older = ours.clone();
        let of = &mut older["properties"]["status"]["properties"];
        of.as_object_mut().unwrap().remove("slo");
        of["conditions"]["items"]["properties"] = json!({"type": text});
        of["by"]["additionalProperties"]["properties"] = json!({"n": text});
        of["any"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let unknown = unknown_to(&crd(&older), &crd(&ours));
        assert_eq!(unknown, ["status.by.*.new", "status.conditions.*.since", "status.slo"]);
        assert!(unknown_to(&crd(&ours), &crd(&ours)).is_empty());
        assert!(
            unknown_to(&crd(&ours), &crd(&older)).is_empty(),
            "an older release on newer CRDs"
        );

        let mut object = json!({"status": {
            "slo": {"good": "1"}, "sequence": "7", "any": {"new": "x"},
            "conditions": [{"type": "Ready", "since": "1"}, {"type": "Accepted"}], "by": {"a": {"n": "1", "new": "2"}},
        }});
        let taken: Vec<bool> = unknown.iter().map(|path| take_out(&mut object, path)).collect();
        assert_eq!(taken, [true; 3]);
        assert_eq!(
            object,
            json!({"status": {"sequence": "7", "any": {"new": "x"}, "conditions": [{"type": "Ready"}, {"type": "Accepted"}], "by": {"a": {"n": "1"}}}})
        );
        assert!(!unknown.iter().any(|path| take_out(&mut object, path)));
    }

    #[test]
    fn the_crds_of_this_release_know_all_that_it_writes() {
        for crd in crate::schema::all() {
            assert!(unknown_to(&crd, &crd).is_empty());
            assert!(root(&crd).is_some(), "a schema without root finds nothing");
        }
    }
}
