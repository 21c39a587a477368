//! As whom the ledger is read: a ServiceAccount that may, through a token that is good for the ledger alone and for ten minutes.
//!
//! The apiserver takes away what a user showed it before it passes a question on, and nobody's own token should be shown to anyone
//! else. So who may make a token of the reader may read what it may: of one namespace, or, with the operators' reader, of all.

use bowsprit_crds::names::TOKEN_AUDIENCE;
use serde::Deserialize;

use serde_json::json;

use crate::cluster::Cluster;
use crate::failure::{Failure, Intent};
use crate::uri;

/// The least that the apiserver gives, seconds.
const LASTS: u64 = 600;

/// A token of the reader that may read this namespace, or all.
///
/// `None`: there is no such reader, which comes with the ledger service.
///
/// # Errors
/// With the rule that is missing.
pub(super) async fn token(cluster: &Cluster, ledger: &str, namespace: Option<&str>) -> Result<Option<String>, Failure> {
    let (operators, reader) = (cluster.operator_namespace(), format!("{ledger}-reader"));
    // The nearer right is the smaller one, and what its absence says is of more use.
    let mut missing = None;
    let near = namespace.filter(|namespace| *namespace != operators);
    for place in near.into_iter().chain([operators]) {
        match request(cluster, place, &reader).await {
            Ok(Some(token)) => return Ok(Some(token)),
            Ok(None) => {}
            Err(failure @ Failure::Forbidden { .. }) => missing = missing.or(Some(failure)),
            Err(failure) => return Err(failure),
        }
    }
    missing.map_or(Ok(None), Err)
}

#[derive(Deserialize)]
struct Made {
    status: Token,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

/// None: there is no such ServiceAccount.
async fn request(cluster: &Cluster, namespace: &str, reader: &str) -> Result<Option<String>, Failure> {
    let intent = Intent {
        verb: "create",
        group: "",
        resource: "serviceaccounts/token",
        name: Some(reader),
        namespace: Some(namespace),
    };
    let wanted = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": [TOKEN_AUDIENCE], "expirationSeconds": LASTS},
    });
    let path = format!(
        "/api/v1/namespaces/{namespace}/serviceaccounts/{}/token",
        uri::encoded(reader)
    );
    let answer = cluster
        .send(&intent, "POST", &path, wanted.to_string().into_bytes())
        .await?;
    match answer.status {
        200 | 201 => serde_json::from_slice::<Made>(&answer.body)
            .map(|made| Some(made.status.token))
            .map_err(|_| Failure::Wrong("the apiserver's answer is no token".to_owned())),
        404 => Ok(None),
        status => Err(intent.refused(status, &answer.said())),
    }
}
