//! The operator may do what it needs and no more, as the apiserver itself says; docs/permissions.md has every rule with its reason.

use anyhow::{Result, ensure};
use bowsprit_e2e::{Bed, SYSTEM, Test, kubectl};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::api::{Api, PostParams};
use serde_json::json;

/// The operator's account.
const ACCOUNT: &str = "system:serviceaccount:bowsprit-system:bowsprit";

/// Asks the apiserver. `resource`: `RESOURCE[/SUBRESOURCE][.GROUP][=NAME]`.
async fn may(bed: &Bed, verb: &str, resource: &str, namespace: &str) -> Result<bool> {
    let (resource, name) = resource.split_once('=').unwrap_or((resource, ""));
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review: SubjectAccessReview = serde_json::from_value(json!({"spec": {
        "user": ACCOUNT,
        "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{SYSTEM}"), "system:authenticated"],
        "resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace, "name": name,
        },
    }}))?;
    let reviewed = Api::<SubjectAccessReview>::all(bed.client.clone())
        .create(&PostParams::default(), &review)
        .await?;
    Ok(reviewed.status.is_some_and(|status| status.allowed))
}

#[tokio::test]
async fn the_operator_can_read_no_secret_and_make_no_pod() {
    Test::new("permissions")
        .bare()
        .run(async |bed| {
            let ours = &*bed.namespace;
            let reads = ["get", "list", "watch"];
            let writes = ["create", "update", "patch", "delete", "deletecollection"];
            let mut denied: Vec<(&str, &str, &str)> = Vec::new();
            for verb in reads {
                denied.extend([
                    (verb, "secrets", ours),
                    (verb, "secrets", ""),
                    (verb, "secrets=keys", ours),
                ]);
                // The name alone is not enough: in its own namespace it is, and there is no other.
                denied.push((verb, "secrets=bowsprit-webhook-tls", ours));
                denied.push((verb, "secrets=another", SYSTEM));
            }
            denied.extend([("list", "secrets", SYSTEM), ("watch", "secrets", SYSTEM)]);
            denied.extend([
                ("delete", "secrets=bowsprit-webhook-tls", SYSTEM),
                ("create", "secrets", ours),
            ]);
            for namespace in [ours, SYSTEM, "kube-system"] {
                for verb in ["create", "update", "delete", "deletecollection"] {
                    denied.push((verb, "pods", namespace));
                }
                for what in [
                    "pods/exec",
                    "pods/attach",
                    "pods/portforward",
                    "pods/proxy",
                    "pods/ephemeralcontainers",
                    "pods/eviction",
                    "serviceaccounts/token",
                    "pods/binding",
                ] {
                    denied.extend([
                        ("create", what, namespace),
                        ("get", what, namespace),
                        ("patch", what, namespace),
                    ]);
                }
                denied.extend([
                    ("get", "pods/log", namespace),
                    ("update", "configmaps=bowsprit-config", namespace),
                ]);
                denied.extend([
                    ("patch", "configmaps=kube-root-ca.crt", namespace),
                    ("delete", "configmaps", namespace),
                ]);
                for verb in writes {
                    for what in [
                        "deployments.apps",
                        "replicasets.apps",
                        "daemonsets.apps",
                        "jobs.batch",
                        "serviceaccounts",
                        "roles.rbac.authorization.k8s.io",
                        "rolebindings.rbac.authorization.k8s.io",
                        "networkpolicies.networking.k8s.io",
                        "services",
                        "endpoints",
                        "providerconfigs.bowsprit.dev",
                        "modelroutes.bowsprit.dev",
                        "usagepolicies.bowsprit.dev",
                    ] {
                        denied.push((verb, what, namespace));
                    }
                }
            }
            for verb in writes {
                for what in [
                    "namespaces",
                    "nodes",
                    "persistentvolumes",
                    "clusterroles.rbac.authorization.k8s.io",
                    "clusterrolebindings.rbac.authorization.k8s.io",
                    "customresourcedefinitions.apiextensions.k8s.io",
                    "mutatingwebhookconfigurations.admissionregistration.k8s.io=another",
                    "validatingwebhookconfigurations.admissionregistration.k8s.io=another",
                    "certificatesigningrequests.certificates.k8s.io",
                ] {
                    denied.push((verb, what, ""));
                }
            }
            denied.extend([
                ("get", "nodes/proxy", ""),
                ("create", "nodes/proxy", ""),
                ("impersonate", "users", ""),
                ("impersonate", "groups", ""),
                ("impersonate", "serviceaccounts", ours),
                ("escalate", "clusterroles.rbac.authorization.k8s.io", ""),
                ("bind", "clusterroles.rbac.authorization.k8s.io", ""),
                ("escalate", "roles.rbac.authorization.k8s.io", SYSTEM),
                ("bind", "roles.rbac.authorization.k8s.io", SYSTEM),
                ("approve", "certificatesigningrequests.certificates.k8s.io", ""),
                ("sign", "signers.certificates.k8s.io", ""),
                ("*", "*.*", ""),
                ("get", "leases.coordination.k8s.io", ours),
                ("create", "leases.coordination.k8s.io", "kube-system"),
            ]);
            let mut wrong = Vec::new();
            for (verb, resource, namespace) in &denied {
                if may(bed, verb, resource, namespace).await? {
                    wrong.push(format!("{verb} {resource} in {namespace:?}"));
                }
            }
            ensure!(wrong.is_empty(), "it may: {wrong:#?}");
            ensure!(denied.len() > 200, "only {} denials", denied.len());
            bowsprit_e2e::note(&format!(
                "permissions: {} questions to the apiserver denied",
                denied.len()
            ));
            for (verb, resource, namespace) in [
                ("patch", "configmaps=bowsprit-config", ours),
                ("get", "secrets=bowsprit-webhook-tls", SYSTEM),
                ("create", "subjectaccessreviews.authorization.k8s.io", ""),
            ] {
                ensure!(
                    may(bed, verb, resource, namespace).await?,
                    "it may not {verb} {resource}: the questions are wrong"
                );
            }
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn kubectl_auth_can_i_says_the_same() {
    Test::new("cani")
        .bare()
        .run(async |bed| {
            let list = kubectl(&["auth", "can-i", "--list", "--as", ACCOUNT, "-n", &bed.namespace]).await?;
            // Of what everybody may: to ask about himself, and discovery.
            let own = |line: &&str| !line.contains("selfsubject") && !line.trim_start().starts_with('[');
            let lines: Vec<&str> = list.lines().skip(1).filter(own).collect();
            ensure!(
                lines
                    .iter()
                    .any(|line| line.starts_with("providerconfigs.bowsprit.dev")),
                "{list}"
            );
            for line in lines {
                ensure!(!line.contains('*') && !line.starts_with("secrets"), "{line}");
            }
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn the_network_policy_for_apps_is_taken_by_the_apiserver() {
    Test::new("netpol")
        .bare()
        .run(async |bed| {
            let text = include_str!("../../../examples/networkpolicy.yaml");
            let mut policy = bowsprit_core::yaml::documents(text)?.remove(0);
            policy["metadata"]["namespace"] = json!(bed.namespace);
            let (status, answer) = bed.try_create(&policy).await?;
            ensure!(status == 201, "{status} {answer}");
            Ok(())
        })
        .await;
}
