//! A second, independent injector works on the same pods, before ours and after it.

use anyhow::{Context, Result, ensure};
use bowsprit_crds::names;
use bowsprit_e2e::{Bed, LONG, eventually, image, pod_manifest, test};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

const PROGRAM: &str = include_str!("injection_beside/other_webhook.py");

/// Puts the other injector into the namespace and waits until it listens; gives its certificate, PEM.
async fn start(bed: &Bed) -> Result<String> {
    let name = format!("other.{}.svc", bed.namespace);
    let made = rcgen::generate_simple_self_signed([name])?;
    let certificate = made.cert.pem();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other-tls"},
        "stringData": {"tls.crt": certificate, "tls.key": made.signing_key.serialize_pem()}});
    let program = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}, "data": {"webhook.py": PROGRAM}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"},
        "spec": {"selector": {"app": "other-webhook"}, "ports": [{"port": 443, "targetPort": 8443}]}});
    let app = image("bowsprit-app");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other-webhook", "labels": {"app": "other-webhook"}},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "webhook", "image": app, "command": ["/usr/bin/python3", "/program/webhook.py", app],
            "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
            "volumeMounts": [{"name": "program", "mountPath": "/program"}, {"name": "tls", "mountPath": "/tls"}],
        }],
        "volumes": [
            {"name": "program", "configMap": {"name": "other"}},
            {"name": "tls", "secret": {"secretName": "other-tls"}},
        ],
    }});
    for object in [secret, program, service, pod] {
        bed.apply_one(&object).await?;
    }
    bed.ready("other-webhook").await?;
    Ok(certificate)
}

/// Has the apiserver ask the other injector about this namespace's pods. Configurations are asked in the order of their names.
async fn register(bed: &Bed, configuration: &str, certificate: &str) -> Result<()> {
    let wanted = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": configuration},
        "webhooks": [{
            "name": "other.example.com",
            "clientConfig": {
                "service": {"name": "other", "namespace": bed.namespace, "path": "/"},
                "caBundle": base64(certificate),
            },
            "admissionReviewVersions": ["v1"],
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": bed.namespace}},
            "objectSelector": {"matchLabels": {"other": "true"}},
            "failurePolicy": "Fail", "timeoutSeconds": 5, "sideEffects": "None", "reinvocationPolicy": "IfNeeded",
        }],
    });
    Api::<MutatingWebhookConfiguration>::all(bed.client.clone())
        .patch(configuration, &PatchParams::apply("e2e"), &Patch::Apply(&wanted))
        .await?;
    Ok(())
}

fn base64(text: &str) -> Value {
    json!(k8s_openapi::ByteString(text.as_bytes().to_vec()))
}

fn named(list: &Value) -> Vec<String> {
    let names = list.as_array().into_iter().flatten();
    names.filter_map(|it| it["name"].as_str().map(str::to_owned)).collect()
}

/// What must hold of the pod, whoever came first.
fn check(pod: &Value) -> Result<()> {
    let init = named(&pod["spec"]["initContainers"]);
    ensure!(
        init.first().is_some_and(|first| first == names::SIDECAR_CONTAINER),
        "{init:?}"
    );
    let containers = named(&pod["spec"]["containers"]);
    ensure!(
        containers.contains(&"other".to_owned()) && containers.contains(&"app".to_owned()),
        "{containers:?}"
    );
    let count = |all: &[String], name: &str| all.iter().filter(|it| *it == name).count();
    ensure!(
        count(&init, names::SIDECAR_CONTAINER) == 1 && count(&init, "other-init") == 1,
        "{init:?}"
    );
    let volumes = named(&pod["spec"]["volumes"]);
    for volume in &volumes {
        ensure!(count(&volumes, volume) == 1, "{volume} is there twice: {volumes:?}");
    }
    let lists = [&pod["spec"]["initContainers"], &pod["spec"]["containers"]];
    for container in lists.into_iter().filter_map(Value::as_array).flatten() {
        let env = named(&container["env"]);
        let wanted = usize::from(container["name"] != names::SIDECAR_CONTAINER);
        ensure!(
            count(&env, "OPENAI_BASE_URL") == wanted,
            "{}: {env:?}",
            container["name"]
        );
    }
    Ok(())
}

#[tokio::test]
async fn beside_another_injector_the_pod_is_whole_whoever_comes_first() {
    test("beside", async |bed| {
        let certificate = start(bed).await?;
        let configurations = Api::<MutatingWebhookConfiguration>::all(bed.client.clone());
        for before in [true, false] {
            // Ours is called bowsprit.
            let order = if before { "before" } else { "later" };
            let configuration = format!("{}-{}", if before { "a" } else { "z" }, bed.namespace);
            register(bed, &configuration, &certificate).await?;
            let outcome = one_order(bed, order).await;
            configurations.delete(&configuration, &DeleteParams::default()).await?;
            outcome.with_context(|| format!("the other comes {order}"))?;
        }
        Ok(())
    })
    .await;
}

async fn one_order(bed: &Bed, order: &str) -> Result<()> {
    let mut manifest = pod_manifest(order);
    manifest["metadata"]["labels"]["other"] = json!("true");
    manifest["spec"]["initContainers"] = json!([{
        "name": "asks", "image": image("bowsprit-app"), "args": ["--sdk-retries", "0", "Is anybody there?"],
    }]);
    // The apiserver hears of a new configuration within a second or so: until then it asks nobody.
    eventually(LONG, "the apiserver asks the other injector", async || {
        let mut trial = manifest.clone();
        trial["metadata"]["name"] = json!(format!("{order}-trial"));
        let (status, answer) = bed.try_create(&trial).await?;
        ensure!(status == 201 && answer.contains("other-init"), "{status} {answer}");
        Ok(())
    })
    .await?;
    let pod = json!(bed.apply_one(&manifest).await?);
    check(&pod)?;
    // It also works: an init container asks a model through the sidecar, then the app does.
    bed.ready(order).await?;
    let app = bed.app_of(order);
    ensure!(app.ask("ahoy").await?.starts_with("Hello from anthropic"));
    Ok(())
}
