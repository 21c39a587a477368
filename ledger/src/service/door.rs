//! Who may send, and who may read.
//!
//! A pod sends with its projected token (audience `bowsprit.dev`, bound to the pod): the API server says whose it is, and namespace,
//! pod and service account are what it says. A user reads with a token that the API server takes, and may `get providerconfigs/ledger`
//! in the namespace that is asked about, or in all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::kubernetes::{AUDIENCE, CannotAsk, Reviewer, User};
use super::metrics::Metrics;
use crate::store::Identity;
use crate::sync::locked;

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// How long an answer of the API server's is remembered, milliseconds. A pod that is gone can send that much longer, which is of use:
/// its last entries.
const KEPT: i64 = 5 * 60 * 1000;
/// How long what a user may read is remembered, milliseconds: a right that is taken away is gone within it.
const RIGHTS_KEPT: i64 = 30 * 1000;
/// How long a refusal is remembered, milliseconds.
const REFUSED: i64 = 5 * 1000;
/// Answers kept. About 500 bytes each.
const MAX_KEPT: usize = 32 << 10;
/// Reviews under way: after a restart every sidecar comes at once, and the API server must not notice.
const AT_ONCE: usize = 16;

/// Why somebody is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 401.
    #[error("send the pod's token for bowsprit.dev (to send), or one that the API server takes (to read), as a bearer")]
    NoToken,
    /// 401.
    #[error("the API server does not know this token, or it is for something else")]
    Unknown,
    /// 403.
    #[error("this token is bound to no pod: only a pod's own projected token sends batches")]
    NoPod,
    /// 403.
    #[error(
        "you may not get providerconfigs/ledger (bowsprit.dev) in this namespace; without a namespace, it is asked in all of them"
    )]
    MayNotRead,
    /// 503.
    #[error("the API server does not answer; try again")]
    CannotAsk,
}

impl From<CannotAsk> for Refusal {
    fn from(_: CannotAsk) -> Self {
        Self::CannotAsk
    }
}

/// Tokens are kept as their digest only.
type Token = [u8; 32];
/// Each with the time until which it holds.
type Kept<K, V> = Mutex<HashMap<K, (V, i64)>>;

/// Judges tokens, and remembers.
pub struct Door {
    reviewer: Arc<dyn Reviewer>,
    turns: Semaphore,
    users: Kept<Token, Option<User>>,
    rights: Kept<(Token, Option<String>), bool>,
    metrics: Metrics,
}

impl Door {
    /// Asks `reviewer` for what is not known.
    pub fn new(reviewer: Arc<dyn Reviewer>, metrics: Metrics) -> Self {
        Self {
            reviewer,
            turns: Semaphore::new(AT_ONCE),
            users: Mutex::default(),
            rights: Mutex::default(),
            metrics,
        }
    }

    /// Who sends with this `Authorization`.
    pub async fn sender(&self, authorization: Option<&str>, now: i64) -> Result<Identity, Refusal> {
        let token = bearer(authorization)?;
        // Whatever is for another audience is not shown to the API server.
        if !is_for_us(token) {
            return Err(Refusal::Unknown);
        }
        let user = self.user(token, now).await?;
        let account = user
            .username
            .strip_prefix(SERVICE_ACCOUNT)
            .and_then(|account| account.split_once(':'));
        let (namespace, service_account) = account.ok_or(Refusal::NoPod)?;
        let pod = user
            .extra
            .get(POD_NAME)
            .and_then(|names| names.first())
            .filter(|name| !name.is_empty());
        Ok(Identity {
            namespace: namespace.to_owned(),
            pod: pod.ok_or(Refusal::NoPod)?.clone(),
            service_account: service_account.to_owned(),
        })
    }

    /// Whether whoever has this `Authorization` may read of `namespace`, or of all.
    pub async fn reader(&self, authorization: Option<&str>, namespace: Option<&str>, now: i64) -> Result<(), Refusal> {
        let token = bearer(authorization)?;
        let user = self.user(token, now).await?;
        let key = (digest(token), namespace.map(str::to_owned));
        if let Some(may) = kept(&self.rights, &key, now) {
            self.metrics.reviewed("cached");
            return may.then_some(()).ok_or(Refusal::MayNotRead);
        }
        let _turn = self.turns.acquire().await;
        let may = self
            .reviewer
            .may_read(&user, namespace)
            .await
            .inspect_err(|_| self.metrics.reviewed("error"))?;
        self.metrics.reviewed(if may { "allowed" } else { "forbidden" });
        keep(
            &self.rights,
            key,
            may,
            now + if may { RIGHTS_KEPT } else { REFUSED },
            now,
        );
        may.then_some(()).ok_or(Refusal::MayNotRead)
    }

    async fn user(&self, token: &str, now: i64) -> Result<User, Refusal> {
        let key = digest(token);
        if let Some(user) = kept(&self.users, &key, now) {
            self.metrics.reviewed("cached");
            return user.ok_or(Refusal::Unknown);
        }
        let _turn = self.turns.acquire().await;
        let audience = is_for_us(token).then_some(AUDIENCE);
        let user = self
            .reviewer
            .whose(token, audience)
            .await
            .inspect_err(|_| self.metrics.reviewed("error"))?;
        self.metrics
            .reviewed(if user.is_some() { "authentic" } else { "denied" });
        let until = match &user {
            Some(_) => (now + KEPT).min(expires_at(token).unwrap_or(now + KEPT)),
            None => now + REFUSED,
        };
        keep(&self.users, key, user.clone(), until, now);
        user.ok_or(Refusal::Unknown)
    }
}

fn kept<K: std::hash::Hash + Eq, V: Clone>(map: &Kept<K, V>, key: &K, now: i64) -> Option<V> {
    let map = locked(map);
    map.get(key)
        .filter(|(_, until)| now < *until)
        .map(|(value, _)| value.clone())
}

fn keep<K: std::hash::Hash + Eq, V>(map: &Kept<K, V>, key: K, value: V, until: i64, now: i64) {
    let mut map = locked(map);
    if map.len() >= MAX_KEPT {
        map.retain(|_, (_, until)| now < *until);
    }
    // Full of what still holds: whoever comes next is asked about each time, and nobody is refused.
    if map.len() < MAX_KEPT {
        map.insert(key, (value, until));
    }
}

fn bearer(authorization: Option<&str>) -> Result<&str, Refusal> {
    let token = authorization.and_then(|text| text.strip_prefix("Bearer ").or_else(|| text.strip_prefix("bearer ")));
    token
        .map(str::trim)
        .filter(|token| !token.is_empty())
        .ok_or(Refusal::NoToken)
}

fn digest(token: &str) -> Token {
    Sha256::digest(token.as_bytes()).into()
}

/// What a token says of itself, which is believed only to refuse it sooner and to ask about it in the right way.
fn claims(token: &str) -> Option<serde_json::Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn is_for_us(token: &str) -> bool {
    let Some(audience) = claims(token).and_then(|claims| claims.get("aud").cloned()) else {
        return false;
    };
    audience == AUDIENCE
        || audience
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == AUDIENCE))
}

fn expires_at(token: &str) -> Option<i64> {
    claims(token)?.get("exp")?.as_i64()?.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::BoxFuture;
    use serde_json::json;

    use super::*;

    /// Knows pods by the subject of their token; a user of group `readers` may read of `team`.
    #[derive(Default)]
    struct Scripted {
        asked: AtomicUsize,
        is_down: std::sync::atomic::AtomicBool,
    }

    fn token(claims: &serde_json::Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    impl Reviewer for Scripted {
        fn whose<'a>(
            &'a self,
            token: &'a str,
            audience: Option<&'a str>,
        ) -> BoxFuture<'a, Result<Option<User>, CannotAsk>> {
            Box::pin(async move {
                self.asked.fetch_add(1, Ordering::SeqCst);
                if self.is_down.load(Ordering::SeqCst) {
                    return Err(CannotAsk);
                }
                let claims = claims(token).unwrap_or_default();
                let Some(subject) = claims["sub"].as_str() else {
                    return Ok(None);
                };
                let mut user = User {
                    username: subject.into(),
                    ..User::default()
                };
                if let Some(pod) = claims["pod"].as_str().filter(|_| audience.is_some()) {
                    user.extra.insert(POD_NAME.into(), vec![pod.into()]);
                }
                Ok(Some(user))
            })
        }

        fn may_read<'a>(
            &'a self,
            user: &'a User,
            namespace: Option<&'a str>,
        ) -> BoxFuture<'a, Result<bool, CannotAsk>> {
            Box::pin(async move {
                self.asked.fetch_add(1, Ordering::SeqCst);
                Ok(user.username == "ann" && namespace == Some("team"))
            })
        }
    }

    fn door() -> (Arc<Scripted>, Door) {
        let scripted = Arc::new(Scripted::default());
        (Arc::clone(&scripted), Door::new(scripted, Metrics::default()))
    }

    fn header(claims: &serde_json::Value) -> String {
        format!("Bearer {}", token(claims))
    }

    #[tokio::test]
    async fn a_pod_is_who_its_token_says_and_is_asked_about_once_in_a_while() {
        let (scripted, door) = door();
        let pod = header(
            &json!({"aud": ["bowsprit.dev"], "sub": "system:serviceaccount:team:app", "pod": "app-1", "exp": 1000}),
        );
        for now in [0, 1, KEPT - 1] {
            let identity = door.sender(Some(&pod), now).await.unwrap();
            let wanted = Identity {
                namespace: "team".into(),
                pod: "app-1".into(),
                service_account: "app".into(),
            };
            assert_eq!(identity, wanted);
        }
        assert_eq!(scripted.asked.load(Ordering::SeqCst), 1);
        assert!(door.sender(Some(&pod), KEPT).await.is_ok());
        assert_eq!(scripted.asked.load(Ordering::SeqCst), 2);
        // Not beyond the token's own end.
        scripted.is_down.store(true, Ordering::SeqCst);
        assert_eq!(door.sender(Some(&pod), 1_000_000).await, Err(Refusal::CannotAsk));
    }

    #[tokio::test]
    async fn who_has_no_pods_token_for_us_sends_nothing() {
        let (scripted, door) = door();
        for (authorization, refusal) in [
            (None, Refusal::NoToken),
            (Some("Basic x".to_owned()), Refusal::NoToken),
            (Some("Bearer ".to_owned()), Refusal::NoToken),
            (Some("Bearer x.y.z".to_owned()), Refusal::Unknown),
            (
                Some(header(
                    &json!({"aud": "vault", "sub": "system:serviceaccount:team:app"}),
                )),
                Refusal::Unknown,
            ),
        ] {
            assert_eq!(door.sender(authorization.as_deref(), 0).await, Err(refusal));
        }
        assert_eq!(
            scripted.asked.load(Ordering::SeqCst),
            0,
            "a token for somebody else was shown to the API server"
        );
        for (claims, refusal) in [
            (json!({"aud": "bowsprit.dev"}), Refusal::Unknown),
            (
                json!({"aud": "bowsprit.dev", "sub": "system:serviceaccount:team:app"}),
                Refusal::NoPod,
            ),
            (json!({"aud": "bowsprit.dev", "sub": "ann", "pod": "p"}), Refusal::NoPod),
        ] {
            assert_eq!(door.sender(Some(&header(&claims)), 0).await, Err(refusal), "{claims}");
        }
    }

    #[tokio::test]
    async fn who_reads_must_have_the_right_in_that_namespace() {
        let (scripted, door) = door();
        let (ann, bob) = (header(&json!({"sub": "ann"})), header(&json!({"sub": "bob"})));
        assert_eq!(door.reader(Some(&ann), Some("team"), 0).await, Ok(()));
        assert_eq!(
            door.reader(Some(&ann), Some("other"), 0).await,
            Err(Refusal::MayNotRead)
        );
        assert_eq!(door.reader(Some(&ann), None, 0).await, Err(Refusal::MayNotRead));
        assert_eq!(door.reader(Some(&bob), Some("team"), 0).await, Err(Refusal::MayNotRead));
        let asked = scripted.asked.load(Ordering::SeqCst);
        assert_eq!(door.reader(Some(&ann), Some("team"), RIGHTS_KEPT - 1).await, Ok(()));
        assert_eq!(scripted.asked.load(Ordering::SeqCst), asked);
        assert_eq!(door.reader(Some(&ann), Some("team"), RIGHTS_KEPT).await, Ok(()));
        assert!(scripted.asked.load(Ordering::SeqCst) > asked);
    }
}
