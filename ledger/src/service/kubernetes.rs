//! What is asked of the API server: whose a token is (TokenReview), and what a user may do (SubjectAccessReview). Two requests, with
//! the service account's token that the kubelet keeps fresh.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What the tokens of sidecars are for.
pub const AUDIENCE: &str = "bowsprit.dev";
/// For one review: many times what it takes.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A user, as the API server knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// Such as `system:serviceaccount:team:app`.
    pub username: String,
    /// Its uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Its groups.
    pub groups: Vec<String>,
    /// What else is known of it.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The API server could not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the API server does not answer")]
pub struct CannotAsk;

/// Who says whose a token is and what a user may do.
pub trait Reviewer: Send + Sync + 'static {
    /// Whose a token is; `None`: nobody's. With an audience, it must be for that one.
    fn whose<'a>(&'a self, token: &'a str, audience: Option<&'a str>)
    -> BoxFuture<'a, Result<Option<User>, CannotAsk>>;

    /// Whether a user may read the ledger of a namespace; `None`: of all.
    fn may_read<'a>(&'a self, user: &'a User, namespace: Option<&'a str>) -> BoxFuture<'a, Result<bool, CannotAsk>>;
}

/// Asks the API server.
pub struct Apiserver {
    client: reqwest::Client,
    url: String,
    token: PathBuf,
}

/// There is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// Not in a cluster.
    #[error("KUBERNETES_SERVICE_HOST is not set: this does not run in a cluster; give --apiserver")]
    Host,
    /// No CA.
    #[error("{0} cannot be read or holds no certificate")]
    Ca(PathBuf),
    /// No client.
    #[error("no HTTPS client")]
    Client(#[source] reqwest::Error),
}

impl Apiserver {
    /// The API server at `url`, or the one of the cluster that this runs in, with `ca.crt` and `token` of a folder.
    pub fn new(url: Option<String>, credentials: &Path) -> Result<Self, NoWay> {
        let url = match url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => in_cluster().ok_or(NoWay::Host)?,
        };
        let ca = credentials.join("ca.crt");
        let pem = std::fs::read(&ca).map_err(|_| NoWay::Ca(ca.clone()))?;
        let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| NoWay::Ca(ca.clone()))?;
        if roots.is_empty() {
            return Err(NoWay::Ca(ca));
        }
        let client = reqwest::Client::builder()
            .tls_certs_only(roots)
            .no_proxy()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(NoWay::Client)?;
        Ok(Self {
            client,
            url,
            token: credentials.join("token"),
        })
    }

    async fn ask<T: for<'de> Deserialize<'de>>(&self, path: &str, body: &serde_json::Value) -> Result<T, CannotAsk> {
        let failed = |what: &str| {
            tracing::warn!(path, what, "the API server does not answer to a review");
            CannotAsk
        };
        let token = tokio::fs::read_to_string(&self.token)
            .await
            .map_err(|_| failed("no token of our own"))?;
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .bearer_auth(token.trim())
            .json(body);
        // An error of reqwest's names the URL, and never a header.
        let answer = request.send().await.map_err(|error| failed(&error.to_string()))?;
        if !answer.status().is_success() {
            return Err(failed(answer.status().as_str()));
        }
        answer.json().await.map_err(|_| failed("an answer that cannot be read"))
    }
}

/// IPv6 addresses stand in brackets.
fn in_cluster() -> Option<String> {
    let host = std::env::var("KUBERNETES_SERVICE_HOST")
        .ok()
        .filter(|host| !host.is_empty())?;
    let port = std::env::var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|_| "443".to_owned());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some(format!("https://{host}:{port}"))
}

#[derive(Deserialize)]
struct Reviewed<T> {
    status: Option<T>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct TokenStatus {
    authenticated: bool,
    audiences: Vec<String>,
    user: User,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct AccessStatus {
    allowed: bool,
    denied: bool,
}

impl Reviewer for Apiserver {
    fn whose<'a>(
        &'a self,
        token: &'a str,
        audience: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<User>, CannotAsk>> {
        Box::pin(async move {
            let mut body =
                json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
            if let (Some(audience), Some(spec)) = (audience, body.get_mut("spec").and_then(|spec| spec.as_object_mut()))
            {
                spec.insert("audiences".to_owned(), json!([audience]));
            }
            let review: Reviewed<TokenStatus> = self.ask("/apis/authentication.k8s.io/v1/tokenreviews", &body).await?;
            Ok(review.status.and_then(|status| user(status, audience)))
        })
    }

    fn may_read<'a>(&'a self, user: &'a User, namespace: Option<&'a str>) -> BoxFuture<'a, Result<bool, CannotAsk>> {
        Box::pin(async move {
            let body = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                "spec": {
                    "user": user.username, "uid": user.uid, "groups": user.groups, "extra": user.extra,
                    "resourceAttributes": {
                        "group": "bowsprit.dev", "resource": "providerconfigs", "subresource": "ledger", "verb": "get",
                        "namespace": namespace.unwrap_or(""),
                    },
                },
            });
            let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
            let review: Reviewed<AccessStatus> = self.ask(path, &body).await?;
            Ok(review.status.is_some_and(|status| status.allowed && !status.denied))
        })
    }
}

/// Read strictly: an audience that the API server does not confirm is not ours.
fn user(status: TokenStatus, audience: Option<&str>) -> Option<User> {
    let is_for_us = audience.is_none_or(|audience| status.audiences.iter().any(|one| one == audience));
    (status.authenticated && is_for_us && !status.user.username.is_empty()).then_some(status.user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_authentic_or_not_for_us_is_nobody() {
        let status = |text: &str| serde_json::from_str::<TokenStatus>(text).unwrap();
        let good = r#"{"authenticated":true,"audiences":["bowsprit.dev"],"user":{"username":"u"}}"#;
        assert!(user(status(good), Some(AUDIENCE)).is_some());
        assert!(user(status(good), None).is_some());
        for bad in [
            "{}",
            r#"{"authenticated":false,"audiences":["bowsprit.dev"],"user":{"username":"u"}}"#,
            r#"{"authenticated":true,"audiences":["other"],"user":{"username":"u"}}"#,
            r#"{"authenticated":true,"user":{"username":"u"}}"#,
            r#"{"authenticated":true,"audiences":["bowsprit.dev"]}"#,
        ] {
            assert_eq!(user(status(bad), Some(AUDIENCE)), None, "{bad}");
        }
    }
}
