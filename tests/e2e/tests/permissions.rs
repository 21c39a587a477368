//! The operator may do what it needs and reads no Secret.

use anyhow::ensure;
use bowsprit_e2e::{Bed, SYSTEM, Test};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::api::{Api, PostParams};
use serde_json::json;

async fn may(bed: &Bed, verb: &str, resource: &str, namespace: &str) -> anyhow::Result<bool> {
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let review: SubjectAccessReview = serde_json::from_value(json!({"spec": {
        "user": format!("system:serviceaccount:{SYSTEM}:bowsprit"),
        "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{SYSTEM}"), "system:authenticated"],
        "resourceAttributes": {"verb": verb, "group": group, "resource": resource, "namespace": namespace},
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
            let ours = &bed.namespace;
            for verb in ["get", "list", "watch"] {
                ensure!(!may(bed, verb, "secrets", ours).await?, "it may {verb} secrets");
            }
            ensure!(
                !may(bed, "list", "secrets", SYSTEM).await?,
                "it may list the secrets of its own namespace"
            );
            for (verb, resource) in [
                ("create", "pods"),
                ("delete", "pods"),
                ("create", "pods/exec"),
                ("update", "providerconfigs.bowsprit.dev"),
                ("create", "clusterroles.rbac.authorization.k8s.io"),
                ("impersonate", "users"),
            ] {
                ensure!(!may(bed, verb, resource, ours).await?, "it may {verb} {resource}");
            }
            ensure!(
                may(bed, "patch", "configmaps", ours).await?,
                "the question itself works"
            );
            Ok(())
        })
        .await;
}
