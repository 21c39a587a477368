//! What is written for us where we do not read it: whoever applies it is told the right spelling and the right place.

use anyhow::{Result, ensure};
use bowsprit_crds::names;
use bowsprit_e2e::{Bed, LONG, SHORT, Test, eventually, image, pod_manifest};
use serde_json::{Value, json};

/// A workload of this kind whose own labels, or whose template's, are these.
fn workload(kind: &str, own: &Value, template: &Value) -> Value {
    let mut labels = template.clone();
    labels["app"] = json!("x");
    let restarts = if matches!(kind, "Job" | "CronJob") {
        "Never"
    } else {
        "Always"
    };
    let pod = json!({
        "metadata": {"labels": labels},
        "spec": {"restartPolicy": restarts, "containers": [{"name": "app", "image": image("bowsprit-app")}]},
    });
    let selector = json!({"matchLabels": {"app": "x"}});
    let (version, spec) = match kind {
        "Job" => ("batch/v1", json!({"template": pod})),
        "CronJob" => (
            "batch/v1",
            json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": pod}}}),
        ),
        "StatefulSet" => (
            "apps/v1",
            json!({"selector": selector, "serviceName": "x", "template": pod}),
        ),
        _ => ("apps/v1", json!({"selector": selector, "template": pod})),
    };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "labels": own}, "spec": spec})
}

/// The warnings that come with creating it.
async fn warned(bed: &Bed, object: &Value) -> Result<Vec<String>> {
    let (status, answer, warnings) = bed.dry_run(object).await?;
    ensure!(status == 201, "a mistake is no reason to refuse: {status} {answer}");
    Ok(warnings)
}

#[tokio::test]
async fn mistakes_are_told_with_the_right_spelling_and_the_right_place() {
    Test::new("mistakes")
        .bare()
        .run(async |bed| {
            let asks = json!({names::LABEL_INJECT: "true"});
            let mut cases = Vec::new();
            for (value, meant) in [
                ("True", "write \"true\""),
                ("yes", "write \"true\""),
                ("off", "write \"false\""),
            ] {
                let mut pod = pod_manifest("x");
                pod["metadata"]["labels"] = json!({names::LABEL_INJECT: value});
                cases.push((
                    pod,
                    format!("metadata.labels[bowsprit.dev/inject]: {value:?} is neither"),
                    meant,
                ));
            }
            let mut pod = pod_manifest("x");
            pod["metadata"]["annotations"] = json!({"bowsprit.dev/inject_env": "false"});
            cases.push((
                pod,
                "metadata.annotations[bowsprit.dev/inject_env]".into(),
                "write bowsprit.dev/inject-env",
            ));
            let mut pod = pod_manifest("x");
            pod["metadata"]["labels"] = json!({"bowsprit.dev/injekt": "true"});
            cases.push((
                pod,
                "metadata.labels[bowsprit.dev/injekt]".into(),
                "write bowsprit.dev/inject",
            ));
            for kind in ["Deployment", "StatefulSet", "DaemonSet", "Job"] {
                let path = format!("metadata.labels[bowsprit.dev/inject]: stands on the {kind}");
                cases.push((
                    workload(kind, &asks, &json!({})),
                    path,
                    "move it to spec.template.metadata.labels",
                ));
            }
            let path = "metadata.labels[bowsprit.dev/inject]: stands on the CronJob".to_owned();
            let place = "move it to spec.jobTemplate.spec.template.metadata.labels";
            cases.push((workload("CronJob", &asks, &json!({})), path, place));
            let on_template = workload("Deployment", &json!({}), &json!({names::LABEL_INJECT: "yes"}));
            cases.push((
                on_template,
                "spec.template.metadata.labels[bowsprit.dev/inject]".into(),
                "write \"true\"",
            ));
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": format!("{}-x", bed.namespace), "labels": {names::LABEL_INJECT: "enabled"}}});
            cases.push((
                namespace,
                "metadata.labels[bowsprit.dev/inject]: \"enabled\"".into(),
                "write \"true\"",
            ));

            // The apiserver may have heard of the operators' Service only now, and this webhook fails open, also where an operator is late.
            eventually(LONG, "advice is given", async || {
                let warnings = warned(bed, &workload("Deployment", &asks, &json!({}))).await?;
                ensure!(!warnings.is_empty(), "no warning");
                Ok(())
            })
            .await?;
            for (object, path, remedy) in &cases {
                let warnings = eventually(SHORT, &format!("{path:?} is told"), async || {
                    let warnings = warned(bed, object).await?;
                    ensure!(!warnings.is_empty(), "no warning");
                    Ok(warnings)
                })
                .await?;
                let said = warnings.iter().any(|it| it.contains(path) && it.contains(remedy));
                ensure!(said, "{path:?} with {remedy:?} is not in {warnings:#?}");
                let copies = warnings.iter().filter(|it| it.contains(path)).count();
                ensure!(copies == 1, "said {copies} times: {warnings:#?}");
            }
            for kind in ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"] {
                for own in [&asks, &json!({})] {
                    let warnings = warned(bed, &workload(kind, own, &asks)).await?;
                    ensure!(warnings.is_empty(), "{kind}: {warnings:#?}");
                }
            }
            Ok(())
        })
        .await;
}
