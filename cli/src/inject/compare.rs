//! What an injected pod has that the same pod without a sidecar has not. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bowsprit_crds::names;
use serde_json::Value;

use super::Injected;
use crate::output::{Paint, Tone};

/// What was added.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Added {
    /// Whether the sidecar is there.
    pub(super) has_sidecar: bool,
    /// `initContainers[0] bowsprit`, with its image.
    pub(super) containers: Vec<String>,
    /// Variables by container.
    pub(super) env: BTreeMap<String, Vec<String>>,
    /// Volumes.
    pub(super) volumes: Vec<String>,
    /// Labels and annotations, `name=value`.
    pub(super) marks: Vec<String>,
}

const LISTS: [&str; 2] = ["initContainers", "containers"];

/// Compares the same pod without and with.
pub(super) fn added(without: &Value, with: &Value) -> Added {
    let mut added = Added::default();
    for list in LISTS {
        for (index, container) in items(with, &format!("/spec/{list}")).enumerate() {
            let name = text(container, "/name");
            let Some(before) = items(without, &format!("/spec/{list}")).find(|it| text(it, "/name") == name) else {
                added.has_sidecar |= name == names::SIDECAR_CONTAINER;
                added
                    .containers
                    .push(format!("{list}[{index}] {name} ({})", text(container, "/image")));
                continue;
            };
            let is_new =
                |variable: &&Value| !items(before, "/env").any(|it| text(it, "/name") == text(variable, "/name"));
            let env: Vec<String> = items(container, "/env")
                .filter(is_new)
                .map(|variable| format!("{}={}", text(variable, "/name"), text(variable, "/value")))
                .collect();
            if !env.is_empty() {
                added.env.insert(name.to_owned(), env);
            }
        }
    }
    let is_new =
        |volume: &&Value| !items(without, "/spec/volumes").any(|it| text(it, "/name") == text(volume, "/name"));
    // The apiserver names the volume with the service account's token anew each time.
    let ours = |volume: &&Value| !text(volume, "/name").starts_with("kube-api-access-");
    added.volumes = items(with, "/spec/volumes")
        .filter(is_new)
        .filter(ours)
        .map(volume)
        .collect();
    for marks in ["/metadata/labels", "/metadata/annotations"] {
        let of = |pod: &Value| {
            pod.pointer(marks)
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default()
        };
        let before = of(without);
        for (name, value) in of(with) {
            if before.get(&name) != Some(&value) && name != names::LABEL_INJECT {
                added
                    .marks
                    .push(format!("{name}={}", value.as_str().unwrap_or_default()));
            }
        }
    }
    added
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A volume with what it brings.
fn volume(volume: &Value) -> String {
    let secrets: Vec<String> = items(volume, "/projected/sources")
        .filter_map(|source| source.get("secret"))
        .flat_map(|secret| {
            items(secret, "/items").map(|item| format!("{}/{}", text(secret, "/name"), text(item, "/key")))
        })
        .collect();
    let name = text(volume, "/name");
    if secrets.is_empty() {
        name.to_owned()
    } else {
        format!("{name} (Secrets {})", secrets.join(", "))
    }
}

/// For people.
pub(super) fn screen(injected: &Injected, paint: Paint) -> String {
    let (object, namespace) = (&injected.object, &injected.namespace);
    let mut text = match &injected.refused {
        Some(why) => {
            let verdict = paint.paint(
                Tone::Bad,
                &format!("{object}: its pod is refused in namespace {namespace}"),
            );
            format!("{verdict}\n  {}\n", paint.paint(Tone::Plain, why))
        }
        None if injected.added.has_sidecar => {
            paint.paint(
                Tone::Good,
                &format!("{object}: its pod gets a sidecar in namespace {namespace}"),
            ) + "\n"
        }
        None => {
            let verdict = paint.paint(
                Tone::Warn,
                &format!("{object}: its pod gets no sidecar in namespace {namespace}"),
            );
            format!("{verdict}\n  {}\n", paint.paint(Tone::Plain, &why_not(injected)))
        }
    };
    let mut list = |title: &str, lines: &[String]| {
        for line in lines {
            let _ = writeln!(
                text,
                "  {} {title:<10} {}",
                paint.paint(Tone::Good, "+"),
                paint.paint(Tone::Plain, line)
            );
        }
    };
    let added = &injected.added;
    list("container", &added.containers);
    for (container, variables) in &added.env {
        let lines: Vec<String> = variables
            .iter()
            .map(|variable| format!("{container}: {variable}"))
            .collect();
        list("env", &lines);
    }
    list("volume", &added.volumes);
    list("mark", &added.marks);
    for warning in &injected.warnings {
        let _ = writeln!(
            text,
            "  {} {}",
            paint.paint(Tone::Warn, "warning:"),
            paint.paint(Tone::Plain, warning)
        );
    }
    text
}

/// Why there is no sidecar, as far as the pod itself tells.
fn why_not(injected: &Injected) -> String {
    let label = injected
        .pod
        .as_ref()
        .and_then(|pod| pod.pointer("/metadata/labels")?.get(names::LABEL_INJECT)?.as_str());
    match label {
        Some("true") => {
            "it asks for one: the webhook is not there, or leaves this namespace alone (kubectl bowsprit doctor)".into()
        }
        Some("false") => format!("its label {} is \"false\"", names::LABEL_INJECT),
        Some(other) => format!(
            "its label {} is {other:?}: only \"true\" and \"false\" are read",
            names::LABEL_INJECT
        ),
        None => format!(
            "neither it nor the namespace has the label {}: \"true\"; on a workload it belongs into spec.template.metadata.labels",
            names::LABEL_INJECT
        ),
    }
}
