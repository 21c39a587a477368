//! What the release before this one wrote and took, this one reads and takes: the CRDs of tests/upgrade/previous-release against today's, and
//! documents that it took. The whole of it, running, is tests/e2e/tests/upgrade.rs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;

use bowsprit_core::config::{Scope, objects};
use bowsprit_core::yaml;
use serde_json::Value;

/// Each kind's CRD as it was and as it is.
const CRDS: [(&str, &str, &str); 2] = [
    (
        "providerconfigs",
        include_str!("../../tests/upgrade/previous-release/providerconfigs.yaml"),
        include_str!("../../crds/providerconfigs.yaml"),
    ),
    (
        "modelroutes",
        include_str!("../../tests/upgrade/previous-release/modelroutes.yaml"),
        include_str!("../../crds/modelroutes.yaml"),
    ),
];
/// What may take something else than before: no object with it was ever accepted, as it was in force in no release
/// (docs/adr/0005-fields-that-are-not-in-force.md). docs/upgrading.md names them.
const NEVER_IN_FORCE: [&str; 2] = ["modelroutes.spec.limits", "modelroutes.spec.access.rules"];
const DOCUMENTS: &str = include_str!("../../tests/upgrade/previous-release/bowsprit.yaml");

/// What an object that the old schema took may be refused for by the new one, or lose in it.
fn narrowed(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    if old["type"] != new["type"] && !new["x-kubernetes-int-or-string"].as_bool().unwrap_or(false) {
        found.push(format!("{path}: the type was {} and is {}", old["type"], new["type"]));
    }
    for word in [
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
        "format",
    ] {
        if old[word] != new[word] {
            found.push(format!("{path}: {word} was {} and is {}", old[word], new[word]));
        }
    }
    let list = |schema: &Value, word: &str| schema[word].as_array().cloned().unwrap_or_default();
    if !list(new, "enum").is_empty() {
        let lost = list(old, "enum")
            .into_iter()
            .filter(|value| !list(new, "enum").contains(value));
        found.extend(lost.map(|value| format!("{path}: {value} was allowed")));
        if list(old, "enum").is_empty() {
            found.push(format!("{path}: anything was allowed"));
        }
    }
    let now = list(new, "required")
        .into_iter()
        .filter(|name| !list(old, "required").contains(name));
    found.extend(now.map(|name| format!("{path}.{name}: was optional")));
    for (word, grows) in [
        ("maximum", true),
        ("maxLength", true),
        ("maxItems", true),
        ("maxProperties", true),
        ("minimum", false),
        ("minLength", false),
        ("minItems", false),
        ("minProperties", false),
    ] {
        let (Some(limit), before) = (new[word].as_f64(), old[word].as_f64()) else {
            continue;
        };
        if before.is_none_or(|before| if grows { limit < before } else { limit > before }) {
            found.push(format!("{path}: {word} was {before:?} and is {limit}"));
        }
    }
    if new["pattern"].is_string() && new["pattern"] != old["pattern"] {
        found.push(format!(
            "{path}: the pattern was {} and is {}",
            old["pattern"], new["pattern"]
        ));
    }
    for (name, schema) in old["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match new["properties"].get(name) {
            Some(now) => narrowed(&path, schema, now, found),
            None => found.push(format!("{path}: is gone")),
        }
    }
    for word in ["items", "additionalProperties"] {
        if old[word].is_object() {
            narrowed(&format!("{path}[]"), &old[word], &new[word], found);
        }
    }
}

fn version<'a>(crd: &'a Value, name: &Value) -> Option<&'a Value> {
    let versions = crd["spec"]["versions"].as_array().unwrap();
    versions.iter().find(|version| version["name"] == *name)
}

#[test]
fn what_the_old_crds_took_the_new_ones_take() {
    for (kind, old, new) in CRDS {
        let crd = |text: &str| yaml::documents(text).unwrap().remove(0);
        let (old, new) = (crd(old), crd(new));
        for before in old["spec"]["versions"].as_array().unwrap() {
            let name = &before["name"];
            let now =
                version(&new, name).unwrap_or_else(|| panic!("{kind} {name} is gone: docs/upgrading.md has the way"));
            assert_eq!(now["served"], true, "{kind} {name}");
            let mut found = Vec::new();
            let schema = |version: &Value| version["schema"]["openAPIV3Schema"].clone();
            narrowed(kind, &schema(before), &schema(now), &mut found);
            found.retain(|it| !NEVER_IN_FORCE.iter().any(|path| it.starts_with(path)));
            assert!(found.is_empty(), "{kind} {name}:\n{}", found.join("\n"));
        }
        // What is stored now must be something that the old release serves, or there is no way back.
        let stored = new["spec"]["versions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|version| version["storage"] == true);
        let stored = version(&old, &stored.unwrap()["name"]).expect("the old release knows the version that is stored");
        assert_eq!(stored["served"], true);
    }
}

#[test]
fn a_schema_that_takes_less_is_noticed() {
    let old = serde_json::json!({"type": "object", "properties": {
        "a": {"type": "string", "enum": ["x", "y"]}, "b": {"type": "integer", "maximum": 5}, "c": {"type": "string"}, "d": {"type": "string"},
    }});
    let new = serde_json::json!({"type": "object", "required": ["d"], "properties": {
        "a": {"type": "string", "enum": ["x"]}, "b": {"type": "integer", "maximum": 4}, "d": {"type": "string", "maxLength": 9},
    }});
    let mut found = Vec::new();
    narrowed("spec", &old, &new, &mut found);
    assert_eq!(found.len(), 5, "{found:#?}");
    found.clear();
    narrowed("spec", &new, &old, &mut found);
    assert_eq!(found, Vec::<String>::new(), "more may be taken");
}

#[test]
fn documents_that_the_old_release_took_are_read_and_fields_of_a_later_one_are_passed_over() {
    let scope = Scope::Cluster {
        pod_labels: BTreeMap::new(),
    };
    let text = DOCUMENTS;
    let found = objects(text, &scope).unwrap();
    assert_eq!(found.len(), yaml::documents(text).unwrap().len());
    // A field that only a later release knows is passed over, so that its operator and this sidecar fit.
    let later = text.replacen("spec:\n", "spec:\n  fieldOfALaterRelease: {a: 1}\n", 1);
    assert_ne!(later, text);
    assert_eq!(objects(&later, &scope).unwrap().len(), found.len());
}
