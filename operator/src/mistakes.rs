//! What somebody wrote for us where we do not read it, or as we do not read it: on a pod, on a workload and the template in
//! it, on a namespace. Nothing of it is wrong to Kubernetes, so nobody else says a word. Pure.

use bowsprit_crds::names;
use serde_json::{Map, Value};

use crate::injector::ANNOTATION_INJECTED_VERSION;
use crate::injector::overrides::SETTINGS;
use crate::spelling::nearest;

/// Prefix of our labels and annotations.
const PREFIX: &str = "bowsprit.dev/";

/// Something that is not read as it was meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}: {remedy}")]
pub struct Mistake {
    /// The field.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// What is read of an object's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A pod, or a template of pods.
    Pod,
    /// A namespace.
    Namespace,
    /// A workload itself, whose pods are made from its template.
    Workload,
}

/// The mistakes in an object of this kind: a Pod, a Namespace, or a workload with a template.
pub fn of(kind: &str, object: &Value) -> Vec<Mistake> {
    let place = match kind {
        "Pod" => Place::Pod,
        "Namespace" => Place::Namespace,
        _ => Place::Workload,
    };
    let mut found = Vec::new();
    if place != Place::Workload {
        in_metadata(object, "metadata", place, kind, &mut found);
        return found;
    }
    let template = if kind == "CronJob" {
        "spec.jobTemplate.spec.template"
    } else {
        "spec.template"
    };
    let at = |path: &str| object.pointer(&format!("/{}", path.replace('.', "/")));
    let mut outside = vec!["metadata"];
    if kind == "CronJob" {
        outside.push("spec.jobTemplate.metadata");
    }
    let read = at(template).unwrap_or(&Value::Null);
    for path in outside {
        let holder = path.strip_suffix("metadata").unwrap_or_default().trim_end_matches('.');
        let holder = if holder.is_empty() { Some(object) } else { at(holder) };
        if let Some(holder) = holder {
            misplaced(holder, read, path, template, kind, &mut found);
            in_metadata(holder, path, Place::Workload, kind, &mut found);
        }
    }
    in_metadata(read, &format!("{template}.metadata"), Place::Pod, kind, &mut found);
    found
}

/// What is ours in an object's labels or annotations: name after the prefix, and value.
fn ours<'a>(object: &'a Value, list: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let map: Option<&Map<String, Value>> = object.pointer(&format!("/metadata/{list}")).and_then(Value::as_object);
    let pairs = map.into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value.as_str()?)))
}

fn known(list: &str) -> Vec<&'static str> {
    let short = |name: &'static str| name.strip_prefix(PREFIX).unwrap_or(name);
    if list == "labels" {
        return vec![short(names::LABEL_INJECT), short(names::LABEL_INJECTED)];
    }
    let written = [names::ANNOTATION_CONFIG_REVISION, ANNOTATION_INJECTED_VERSION].map(short);
    SETTINGS.iter().map(|setting| setting.name).chain(written).collect()
}

/// What stands on the workload and is read on its pods.
fn misplaced(holder: &Value, template: &Value, path: &str, to: &str, kind: &str, found: &mut Vec<Mistake>) {
    for list in ["labels", "annotations"] {
        for (name, _) in ours(holder, list) {
            let is_there_too = ours(template, list).any(|(other, _)| other == name);
            if !known(list).contains(&name) || is_there_too {
                continue;
            }
            found.push(Mistake {
                path: format!("{path}.{list}[{PREFIX}{name}]"),
                problem: format!("stands on the {kind} and is read on its pods only"),
                remedy: format!("move it to {to}.metadata.{list}"),
            });
        }
    }
}

fn in_metadata(object: &Value, path: &str, place: Place, kind: &str, found: &mut Vec<Mistake>) {
    for (list, other, one) in [
        ("labels", "annotations", "label"),
        ("annotations", "labels", "annotation"),
    ] {
        for (name, value) in ours(object, list) {
            let path = |list: &str| format!("{path}.{list}[{PREFIX}{name}]");
            let mut say = |problem: String, remedy: String| {
                found.push(Mistake {
                    path: path(list),
                    problem,
                    remedy,
                });
            };
            if known(list).contains(&name) {
                if list == "labels" && place != Place::Workload && format!("{PREFIX}{name}") == names::LABEL_INJECT {
                    if let Some(meant) = not_a_wish(value) {
                        say(
                            format!("{value:?} is neither \"true\" nor \"false\", and so says nothing"),
                            meant,
                        );
                    }
                } else if place == Place::Namespace {
                    say(
                        format!("is read on pods only, not on a {kind}"),
                        "move it to the pods".into(),
                    );
                }
                continue;
            }
            if known(other).contains(&name) {
                say(
                    format!("is a {one} and would be read among the {other}"),
                    format!("move it to {}", path(other)),
                );
                continue;
            }
            let meant = nearest(name, known(list))
                .map(|meant| (list, meant))
                .or_else(|| nearest(name, known(other)).map(|meant| (other, meant)));
            let remedy = match meant {
                Some((list, meant)) => format!("write {PREFIX}{meant}, among the {list}"),
                None => "remove it; docs/operating.md lists what there is".into(),
            };
            say(format!("there is no such {one}"), remedy);
        }
    }
}

/// What to write instead of a value of the label that is none.
fn not_a_wish(value: &str) -> Option<String> {
    match value.to_ascii_lowercase().as_str() {
        _ if value == "true" || value == "false" => None,
        "true" | "yes" | "y" | "on" | "1" | "enabled" | "enable" | "t" => Some("write \"true\"".into()),
        "false" | "no" | "n" | "off" | "0" | "disabled" | "disable" | "f" => Some("write \"false\"".into()),
        _ => Some("write \"true\" or \"false\"".into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(kind: &str, object: &Value) -> Vec<String> {
        of(kind, object).iter().map(ToString::to_string).collect()
    }

    fn pod(labels: &Value, annotations: &Value) -> Value {
        json!({"metadata": {"labels": labels, "annotations": annotations}})
    }

    #[test]
    fn a_pod_that_says_what_we_read_has_no_mistake() {
        let labels = json!({"bowsprit.dev/inject": "true", "bowsprit.dev/injected": "true", "app": "x", "other.dev/inject": "yes"});
        let mut annotations = json!({"bowsprit.dev/config-revision": "a", "bowsprit.dev/injected-version": "1"});
        for setting in SETTINGS {
            annotations[format!("bowsprit.dev/{}", setting.name)] = json!("x");
        }
        assert_eq!(said("Pod", &pod(&labels, &annotations)), [""; 0]);
        assert_eq!(
            said(
                "Namespace",
                &json!({"metadata": {"labels": {"bowsprit.dev/inject": "true"}}})
            ),
            [""; 0]
        );
        assert_eq!(said("Pod", &json!({})), [""; 0]);
    }

    #[test]
    fn a_wish_in_other_words_is_told_how_it_is_written() {
        for (value, meant) in [
            ("True", "write \"true\""),
            ("yes", "write \"true\""),
            ("1", "write \"true\""),
            ("TRUE", "write \"true\""),
            ("False", "write \"false\""),
            ("off", "write \"false\""),
            ("please", "write \"true\" or \"false\""),
        ] {
            let object = pod(&json!({"bowsprit.dev/inject": value}), &json!({}));
            for kind in ["Pod", "Namespace"] {
                let said = said(kind, &object);
                let wanted = format!(
                    "metadata.labels[bowsprit.dev/inject]: {value:?} is neither \"true\" nor \"false\", and so says nothing: {meant}"
                );
                assert_eq!(said, [wanted]);
            }
        }
    }

    #[test]
    fn the_right_spelling_and_the_right_list_are_named() {
        let object = pod(
            &json!({"bowsprit.dev/injekt": "true", "bowsprit.dev/sidecar-image": "x"}),
            &json!({"bowsprit.dev/inject": "true", "bowsprit.dev/inject_env": "false", "bowsprit.dev/colour": "red"}),
        );
        insta::assert_yaml_snapshot!(said("Pod", &object));
    }

    #[test]
    fn what_stands_on_a_workload_is_told_where_it_is_read() {
        let labels = json!({"bowsprit.dev/inject": "true"});
        let template = json!({"metadata": {"labels": {"app": "x"}}});
        let deployment = json!({"metadata": {"labels": labels}, "spec": {"template": template}});
        let cron = json!({"metadata": {}, "spec": {"jobTemplate": {"metadata": {"labels": labels}, "spec": {"template": template}}}});
        insta::assert_yaml_snapshot!([said("Deployment", &deployment), said("CronJob", &cron)]);

        let both = json!({"metadata": {"labels": labels}, "spec": {"template": {"metadata": {"labels": labels}}}});
        assert_eq!(said("StatefulSet", &both), [""; 0], "labels that a tool puts on both");
    }

    #[test]
    fn a_template_is_read_as_the_pods_that_it_makes() {
        let template = json!({"metadata": {"labels": {"bowsprit.dev/inject": "yes"}}});
        let job = json!({"spec": {"template": template}});
        let cron = json!({"spec": {"jobTemplate": {"spec": {"template": template}}}});
        assert!(said("Job", &job)[0].starts_with("spec.template.metadata.labels[bowsprit.dev/inject]: "));
        assert!(
            said("CronJob", &cron)[0]
                .starts_with("spec.jobTemplate.spec.template.metadata.labels[bowsprit.dev/inject]: ")
        );
    }
}
