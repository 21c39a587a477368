//! What the apiserver says when it does not do as asked, played by a service in its place.

use std::convert::Infallible;

use http::{Request, Response};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;
use serde_json::{Value, json};

use super::*;

/// A cluster whose apiserver answers so.
pub(crate) fn answering(
    answer: impl Fn(&Request<Body>) -> (u16, Value) + Clone + Send + Sync + 'static,
    timeout: Duration,
) -> Cluster {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (status, body) = answer(&request);
        async move {
            if status == 0 {
                std::future::pending::<()>().await;
            }
            let response = Response::builder()
                .status(status)
                .body(Body::from(body.to_string().into_bytes()));
            Ok::<_, Infallible>(response.unwrap())
        }
    });
    let args = ClusterArgs {
        timeout,
        operator_namespace: "bowsprit-system".into(),
        ..ClusterArgs::default()
    };
    Cluster::new(Client::new(service, "shop"), "shop".into(), &args)
}

/// An error as apiservers say it.
pub(crate) fn status(code: u16, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": if code == 404 { "NotFound" } else { "" }, "code": code});
    (code, status)
}

#[tokio::test]
async fn what_is_forbidden_names_the_permission_and_is_no_usage_error() {
    let cluster = answering(|_| status(403, "pods is forbidden"), Duration::from_secs(5));
    let failure = cluster
        .list::<Pod>(Some("shop"), ListParams::default())
        .await
        .unwrap_err();
    assert!(failure.is_forbidden());
    assert!(
        failure.to_string().contains("resources: [pods], verbs: [list]"),
        "{failure}"
    );
    let failure = cluster.pod_get("shop", "app", 4001, "/health").await.unwrap_err();
    assert!(
        failure.to_string().contains("resources: [pods/proxy], verbs: [get]"),
        "{failure}"
    );
}

#[tokio::test]
async fn an_apiserver_that_says_nothing_is_given_up_in_time() {
    let cluster = answering(|_| (0, json!(null)), Duration::from_millis(20));
    let failure = cluster.get::<Pod>("shop", "app").await.unwrap_err();
    assert_eq!(failure.exit_code(), 3);
    assert!(failure.to_string().contains("--timeout"), "{failure}");
}

#[tokio::test]
async fn what_is_not_there_is_no_failure() {
    let cluster = answering(|_| status(404, "pods \"app\" not found"), Duration::from_secs(5));
    assert!(cluster.get::<Pod>("shop", "app").await.unwrap().is_none());
}

#[tokio::test]
async fn a_secret_is_looked_for_without_its_content() {
    let heads_only = |request: &Request<Body>| {
        let accept = request.headers()["accept"].to_str().unwrap();
        assert!(accept.contains("PartialObjectMetadata"), "{accept}");
        (
            200,
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "keys"}}),
        )
    };
    let cluster = answering(heads_only, Duration::from_secs(5));
    assert!(cluster.exists::<Secret>("shop", "keys").await.unwrap());
}

#[tokio::test]
async fn a_long_list_is_read_page_by_page() {
    let pages = |request: &Request<Body>| {
        let more = request.uri().query().unwrap_or_default().contains("continue=next");
        let (name, token) = if more { ("b", "") } else { ("a", "next") };
        let page = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": token}, "items": [
            {"metadata": {"name": name}, "spec": {"containers": []}}]});
        (200, page)
    };
    let cluster = answering(pages, Duration::from_secs(5));
    let pods = cluster.list::<Pod>(None, ListParams::default()).await.unwrap();
    assert_eq!(pods.len(), 2);
}
