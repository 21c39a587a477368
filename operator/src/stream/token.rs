//! Whose token it is. The apiserver says it (TokenReview); what a token says of itself is only used to refuse it sooner,
//! and to know how long an answer holds.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bowsprit_crds::names;
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Deserialize;

use crate::fleet::PodId;

/// Extra of a token that is bound to a pod: the pod's name.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
/// And its uid.
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
/// What a service account's user name begins with; its namespace and its name follow.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// For one review: many times what it takes, and short enough that one that hangs keeps nobody long from theirs.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Whose a token is, as the apiserver says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The namespace of its service account, and so of its pod.
    pub namespace: String,
    /// The service account.
    pub service_account: String,
    /// The pod that the token is bound to; tokens made by hand have none.
    pub pod: Option<PodId>,
}

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Account {
    /// From a user name such as `system:serviceaccount:team:app`.
    pub fn of_user(name: &str) -> Option<Self> {
        let (namespace, name) = name.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
        Some(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Whose a token is by its own word, which is good enough for one's own.
    pub fn of_own_token(token: &str) -> Option<Self> {
        Self::of_user(&Claims::read(token.trim())?.subject)
    }
}

/// What the apiserver says of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is this bearer's.
    Authentic(Bearer),
    /// It is nobody's, no service account's, or not meant for us.
    Denied,
}

/// The apiserver could not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the apiserver does not answer to a TokenReview")]
pub struct CannotReview;

/// Who says whose a token is.
pub trait Reviewer: Send + Sync + 'static {
    /// Asks. Only an answer is a verdict: where there is none, nobody is refused for good.
    fn review<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Verdict, CannotReview>>;
}

/// Asks the apiserver.
pub struct Apiserver(Api<TokenReview>);

impl Apiserver {
    /// Through this client.
    pub fn new(client: Client) -> Self {
        Self(Api::all(client))
    }
}

impl Reviewer for Apiserver {
    fn review<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Verdict, CannotReview>> {
        Box::pin(async move {
            let review = TokenReview {
                spec: TokenReviewSpec {
                    token: token.to_owned(),
                    audiences: Some(vec![names::TOKEN_AUDIENCE.to_owned()]),
                },
                ..TokenReview::default()
            };
            match tokio::time::timeout(TIMEOUT, self.0.create(&PostParams::default(), &review)).await {
                Ok(Ok(review)) => Ok(verdict(review.status.as_ref())),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the apiserver does not answer to a TokenReview");
                    Err(CannotReview)
                }
                Err(_) => Err(CannotReview),
            }
        })
    }
}

/// The apiserver's answer, read strictly: an audience that it does not confirm is not ours.
fn verdict(status: Option<&TokenReviewStatus>) -> Verdict {
    let Some(status) = status.filter(|status| status.authenticated == Some(true)) else {
        return Verdict::Denied;
    };
    let is_ours = |audiences: &Vec<String>| audiences.iter().any(|audience| audience == names::TOKEN_AUDIENCE);
    if !status.audiences.as_ref().is_some_and(is_ours) {
        return Verdict::Denied;
    }
    let Some(user) = &status.user else {
        return Verdict::Denied;
    };
    let Some(account) = user.username.as_deref().and_then(Account::of_user) else {
        return Verdict::Denied;
    };
    let extra = |key: &str| {
        user.extra
            .as_ref()?
            .get(key)?
            .first()
            .filter(|value| !value.is_empty())
            .cloned()
    };
    let pod = extra(POD_NAME)
        .zip(extra(POD_UID))
        .map(|(name, uid)| PodId { name, uid });
    Verdict::Authentic(Bearer {
        namespace: account.namespace,
        service_account: account.name,
        pod,
    })
}

/// What a token says of itself. Nothing is believed of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    /// When it ends, seconds since 1970.
    pub(super) expires_at: i64,
    /// Whether our audience is among those it names.
    pub(super) is_for_us: bool,
    /// Whose it is, such as `system:serviceaccount:team:app`.
    pub(super) subject: String,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    exp: i64,
    #[serde(default)]
    aud: Audience,
    #[serde(default)]
    sub: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Default for Audience {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Claims {
    /// `None` where it is no JWT.
    pub(super) fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        let payload: Payload = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let is_for_us = match &payload.aud {
            Audience::One(one) => one == names::TOKEN_AUDIENCE,
            Audience::Many(many) => many.iter().any(|one| one == names::TOKEN_AUDIENCE),
        };
        Some(Self {
            expires_at: payload.exp,
            is_for_us,
            subject: payload.sub,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judged(status: Value) -> Verdict {
        let status: TokenReviewStatus = serde_json::from_value(status).unwrap();
        verdict(Some(&status))
    }

    fn good() -> Value {
        json!({"authenticated": true, "audiences": ["bowsprit.dev"], "user": {
            "username": "system:serviceaccount:team:app", "groups": ["system:serviceaccounts"],
            "extra": {POD_NAME: ["app-1"], POD_UID: ["u-1"]},
        }})
    }

    #[test]
    fn namespace_and_pod_are_what_the_apiserver_says() {
        let Verdict::Authentic(bearer) = judged(good()) else {
            panic!("denied")
        };
        assert_eq!(
            (bearer.namespace.as_str(), bearer.service_account.as_str()),
            ("team", "app")
        );
        let pod = bearer.pod.unwrap();
        assert_eq!((pod.name.as_str(), pod.uid.as_str()), ("app-1", "u-1"));

        let mut by_hand = good();
        by_hand["user"]["extra"] = json!({});
        assert!(matches!(judged(by_hand), Verdict::Authentic(Bearer { pod: None, .. })));
    }

    #[test]
    fn who_is_not_authentic_not_for_us_or_no_service_account_is_denied() {
        assert_eq!(verdict(None), Verdict::Denied);
        for (field, value) in [
            ("authenticated", json!(false)),
            ("audiences", json!(["https://kubernetes.default.svc"])),
            // An authenticator that knows no audiences confirms none.
            ("audiences", json!([])),
            ("user", json!({"username": "admin"})),
            ("user", json!({"username": "system:node:a"})),
        ] {
            let mut status = good();
            status[field] = value.clone();
            assert_eq!(judged(status), Verdict::Denied, "{field}: {value}");
        }
    }

    #[test]
    fn what_a_token_says_of_itself_is_read_without_trust() {
        let token = |payload: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload));
        let claims = Claims::read(&token(r#"{"exp":7,"aud":["a","bowsprit.dev"],"sub":"s"}"#)).unwrap();
        let wanted = Claims {
            expires_at: 7,
            is_for_us: true,
            subject: "s".into(),
        };
        assert_eq!(claims, wanted);
        assert!(Claims::read(&token(r#"{"aud":"bowsprit.dev"}"#)).unwrap().is_for_us);
        assert!(!Claims::read(&token(r#"{"aud":"vault"}"#)).unwrap().is_for_us);
        for no_token in ["", "a", "a.b.c", "..", &token("7"), &token("{")] {
            assert_eq!(Claims::read(no_token), None, "{no_token}");
        }
    }
}
