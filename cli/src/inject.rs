//! `inject`: what the injector would do. The apiserver is asked twice for a pod that it shall not make, once as it is and once
//! with the label that refuses a sidecar; what differs is the injector's work, whatever else the cluster does to pods.

mod compare;
mod template;
#[cfg(test)]
mod tests;

use bowsprit_core::yaml;
use bowsprit_crds::names;
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::{ClusterArgs, Format, InjectArgs};
use crate::check;
use crate::cluster::{Answer, Cluster};
use crate::failure::{Failure, Intent};
use crate::output::{Report, Screen};
use crate::progress::Progress;

use compare::Added;
use template::Template;

/// What would become of one document.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Injected {
    object: String,
    namespace: String,
    /// None: the apiserver refuses the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Value>,
    #[serde(skip)]
    added: Added,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// Asks and shows.
pub(crate) async fn run(cluster: &ClusterArgs, args: &InjectArgs, screen: Screen) -> Result<Report, Failure> {
    let text = check::read(std::slice::from_ref(&args.file))?;
    let documents = yaml::documents(&text).map_err(|error| {
        Failure::Usage(format!(
            "{}: document {}: {}",
            args.file.display(),
            error.document,
            error.problem
        ))
    })?;
    let templates: Vec<Template> = documents.iter().filter_map(Template::of).collect();
    if templates.is_empty() {
        return Err(Failure::Usage(format!(
            "{} holds neither a pod nor a workload",
            args.file.display()
        )));
    }
    let cluster = Cluster::connect(cluster).await?;
    let progress = Progress::start(screen, "asking for a dry run");
    let mut injected = Vec::new();
    for template in &templates {
        injected.push(one(&cluster, template).await?);
    }
    drop(progress);
    let well = injected.iter().all(|it| it.refused.is_none() && it.added.has_sidecar);
    if matches!(args.out.output, Format::Json | Format::Yaml) {
        let pods: Vec<&Value> = injected.iter().filter_map(|it| it.pod.as_ref()).collect();
        return match pods.as_slice() {
            [] => Err(Failure::Wrong(refusals(&injected))),
            [pod] => Report::new(args.out.output, pod, well, String::new),
            pods => {
                let list = json!({"apiVersion": "v1", "kind": "List", "items": pods});
                Report::new(args.out.output, &list, well, String::new)
            }
        };
    }
    let text = injected
        .iter()
        .map(|it| compare::screen(it, screen.paint))
        .collect::<Vec<_>>()
        .join("\n");
    Ok(Report { text, well })
}

fn refusals(injected: &[Injected]) -> String {
    let refused = injected
        .iter()
        .filter_map(|it| Some(format!("{}: {}", it.object, it.refused.as_ref()?)));
    refused.collect::<Vec<_>>().join("\n")
}

async fn one(cluster: &Cluster, template: &Template) -> Result<Injected, Failure> {
    let namespace = template.namespace.as_deref().unwrap_or(cluster.namespace());
    let mut injected = Injected {
        object: template.object.clone(),
        namespace: namespace.to_owned(),
        pod: None,
        added: Added::default(),
        warnings: Vec::new(),
        refused: None,
    };
    let as_it_is = dry_run(cluster, namespace, &template.pod).await?;
    injected.warnings = warnings(&as_it_is);
    if as_it_is.status != 201 {
        injected.refused = Some(as_it_is.said());
        return Ok(injected);
    }
    let pod: Value = serde_json::from_slice(&as_it_is.body).unwrap_or_default();
    let mut without = template.pod.clone();
    if let Some(labels) = without.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.insert(names::LABEL_INJECT.to_owned(), json!("false"));
    }
    let without = dry_run(cluster, namespace, &without).await?;
    let without: Value = serde_json::from_slice(&without.body).unwrap_or_default();
    injected.added = compare::added(&without, &pod);
    injected.pod = Some(pod);
    Ok(injected)
}

async fn dry_run(cluster: &Cluster, namespace: &str, pod: &Value) -> Result<Answer, Failure> {
    let intent = Intent {
        verb: "create",
        group: "",
        resource: "pods",
        name: None,
        namespace: Some(namespace),
    };
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldManager=kubectl-bowsprit");
    let answer = cluster
        .send(&intent, "POST", &path, pod.to_string().into_bytes())
        .await?;
    // A webhook's refusal may come with any of these codes, too; the apiserver's own says `forbidden: User`.
    match answer.status {
        401 => Err(intent.refused(401, &answer.said())),
        403 if answer.said().contains("forbidden: User") => Err(intent.refused(403, &answer.said())),
        _ => Ok(answer),
    }
}

/// The `Warning` headers (RFC 7234, section 5.5): `299 - "text"`.
fn warnings(answer: &Answer) -> Vec<String> {
    let all = answer.headers.get_all("warning").iter();
    let text = |value: &http::HeaderValue| {
        let value = value.to_str().ok()?;
        let (_, quoted) = value.split_once('"')?;
        Some(quoted.strip_suffix('"')?.replace("\\\"", "\""))
    };
    all.filter_map(text).collect()
}
