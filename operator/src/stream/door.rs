//! Who is let in. Whoever is not hears a status and a line that says nothing of namespaces, pods or other tokens.

use std::time::Duration;

use bowsprit_core::stream::{PROTOCOL, STREAM_PATH};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request};
use http_body_util::Full;

use super::peer::wire::{PEER_PATH, PEER_PROTOCOL};
use super::reviews::Reviews;
use super::token::{Account, Bearer, Claims, Verdict};
use crate::fleet::PodId;

/// Longest waits that a 503 asks for, seconds; each answer picks a moment of its own up to it. Where the apiserver has to
/// come back it is long, where another replica may have room it is short.
const RETRY_WITHIN: u32 = 10;
const RETRY_ELSEWHERE_WITHIN: u32 = 3;

/// For a review and the wait for a turn; then the caller is told to come later.
const REVIEWED_WITHIN: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// A sidecar's stream.
    Sidecar,
    /// Another replica's link.
    Peer,
}

impl Door {
    fn at(path: &str) -> Option<Self> {
        match path {
            STREAM_PATH => Some(Self::Sidecar),
            PEER_PATH => Some(Self::Peer),
            _ => None,
        }
    }

    /// What `Upgrade` must name.
    pub(super) fn protocol(self) -> &'static str {
        match self {
            Self::Sidecar => PROTOCOL,
            Self::Peer => PEER_PROTOCOL,
        }
    }
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Another path or method.
    NotHere,
    /// No upgrade, or to something that this release does not speak.
    Protocol,
    /// No bearer token.
    NoToken,
    /// A token that is none, has ended by its own word, or is meant for somebody else.
    WrongToken,
    /// The apiserver does not confirm it.
    Denied,
    /// It names no pod.
    NoPod,
    /// It is no operator's.
    NoPeer,
    /// As many streams as may be.
    Full,
    /// The apiserver does not say whose the token is.
    Unreviewed,
    /// This replica is about to end.
    Leaving,
    /// Others know better than this replica what is paused.
    InDoubt,
}

impl Refusal {
    /// For the metric.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::NotHere => "not_found",
            Self::Protocol => "protocol",
            Self::NoToken => "no_token",
            Self::WrongToken => "wrong_token",
            Self::Denied => "denied",
            Self::NoPod => "no_pod",
            Self::NoPeer => "no_peer",
            Self::Full => "full",
            Self::Unreviewed => "unreviewed",
            Self::Leaving => "leaving",
            Self::InDoubt => "in_doubt",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::NotHere => StatusCode::NOT_FOUND,
            Self::Protocol => StatusCode::UPGRADE_REQUIRED,
            Self::NoToken | Self::WrongToken | Self::Denied => StatusCode::UNAUTHORIZED,
            Self::NoPod | Self::NoPeer => StatusCode::FORBIDDEN,
            Self::Full | Self::Unreviewed | Self::Leaving | Self::InDoubt => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The answer; the connection ends with it.
    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let status = self.status();
        let text = match status {
            StatusCode::NOT_FOUND => "GET /v1/stream\n",
            StatusCode::UPGRADE_REQUIRED => "upgrade to bowsprit-stream/1\n",
            StatusCode::UNAUTHORIZED => "a pod's service-account token with the audience bowsprit.dev is needed\n",
            StatusCode::FORBIDDEN => "the token is not one that this is for\n",
            _ => "try again later\n",
        };
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        match status {
            StatusCode::UPGRADE_REQUIRED => {
                headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                let within = if self == Self::Unreviewed {
                    RETRY_WITHIN
                } else {
                    RETRY_ELSEWHERE_WITHIN
                };
                headers.insert(header::RETRY_AFTER, HeaderValue::from(fastrand::u32(1..=within)));
            }
            _ => {}
        }
        response
    }
}

/// The answer to who is let in.
pub(super) fn welcome(door: Door) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(door.protocol()));
    response
}

/// What a request's head asks for, and with which token.
pub(super) fn asked(head: &request::Parts) -> Result<(Door, &str), Refusal> {
    let door = Door::at(head.uri.path()).filter(|_| head.method == Method::GET);
    let door = door.ok_or(Refusal::NotHere)?;
    if !names(&head.headers, &header::CONNECTION, "upgrade") || !names(&head.headers, &header::UPGRADE, door.protocol())
    {
        return Err(Refusal::Protocol);
    }
    let authorization = head
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let (scheme, token) = authorization
        .and_then(|value| value.split_once(' '))
        .ok_or(Refusal::NoToken)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Refusal::NoToken);
    }
    Ok((door, token))
}

/// Whose the token is, at `now` in seconds since 1970. What is wrong by the token's own word costs no review.
pub(super) async fn bearer(token: &str, reviews: &Reviews, now: i64) -> Result<Bearer, Refusal> {
    let claims = Claims::read(token).filter(|claims| claims.is_for_us && now < claims.expires_at);
    let claims = claims.ok_or(Refusal::WrongToken)?;
    let verdict = reviews.verdict(token, claims.expires_at, now);
    match tokio::time::timeout(REVIEWED_WITHIN, verdict).await {
        Ok(Ok(Verdict::Authentic(bearer))) => Ok(bearer),
        Ok(Ok(Verdict::Denied)) => Err(Refusal::Denied),
        Ok(Err(_)) | Err(_) => Err(Refusal::Unreviewed),
    }
}

/// The namespace and the pod that a sidecar's stream is for.
pub(super) fn sidecar(bearer: Bearer) -> Result<(String, PodId), Refusal> {
    let pod = bearer.pod.ok_or(Refusal::NoPod)?;
    Ok((bearer.namespace, pod))
}

/// The pod of another replica: one that runs as the operators do, which nobody else may.
pub(super) fn peer(bearer: Bearer, operators: Option<&Account>) -> Result<PodId, Refusal> {
    let is_ours = |account: &Account| bearer.namespace == account.namespace && bearer.service_account == account.name;
    if !operators.is_some_and(is_ours) {
        return Err(Refusal::NoPeer);
    }
    bearer.pod.ok_or(Refusal::NoPod)
}

/// Whether a header, which is a list, names this.
fn names(headers: &HeaderMap, name: &header::HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|one| one.trim().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(path: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_stream_is_asked_for_with_a_path_an_upgrade_and_a_token() {
        let upgrade = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "h2c, bowsprit-stream/1"),
        ];
        let [connection, protocol] = upgrade;
        let token = ("authorization", "bearer abc");
        let good = head("/v1/stream", &[connection, protocol, token]);
        assert_eq!(asked(&good), Ok((Door::Sidecar, "abc")));
        for (path, headers, refusal) in [
            ("/", vec![connection, protocol, token], Refusal::NotHere),
            ("/v1/stream", vec![token], Refusal::Protocol),
            (
                "/v1/stream",
                vec![connection, ("upgrade", "bowsprit-stream/2"), token],
                Refusal::Protocol,
            ),
            ("/v1/stream", vec![protocol, token], Refusal::Protocol),
            ("/v1/stream", vec![connection, protocol], Refusal::NoToken),
            (
                "/v1/stream",
                vec![connection, protocol, ("authorization", "Basic abc")],
                Refusal::NoToken,
            ),
            (
                "/v1/stream",
                vec![connection, protocol, ("authorization", "Bearer ")],
                Refusal::NoToken,
            ),
        ] {
            assert_eq!(asked(&head(path, &headers)), Err(refusal), "{path} {headers:?}");
        }
        let mut post = good;
        post.method = Method::POST;
        assert_eq!(asked(&post), Err(Refusal::NotHere));
    }

    #[test]
    fn only_an_operator_is_a_peer() {
        let operators = Account {
            namespace: "bowsprit-system".into(),
            name: "bowsprit".into(),
        };
        let bearer = |namespace: &str, account: &str, pod: Option<&str>| Bearer {
            namespace: namespace.into(),
            service_account: account.into(),
            pod: pod.map(|name| PodId {
                name: name.into(),
                uid: "u".into(),
            }),
        };
        let ours = bearer("bowsprit-system", "bowsprit", Some("operator-0"));
        assert_eq!(peer(ours.clone(), Some(&operators)).unwrap().name, "operator-0");
        assert_eq!(peer(ours, None), Err(Refusal::NoPeer));
        for (namespace, account) in [("team", "bowsprit"), ("bowsprit-system", "default"), ("team", "app")] {
            let stranger = bearer(namespace, account, Some("a"));
            assert_eq!(peer(stranger, Some(&operators)), Err(Refusal::NoPeer));
        }
        let by_hand = bearer("bowsprit-system", "bowsprit", None);
        assert_eq!(peer(by_hand, Some(&operators)), Err(Refusal::NoPod));
    }

    #[test]
    fn a_refusal_says_what_to_do_and_nothing_else() {
        for (refusal, status, name) in [
            (Refusal::Protocol, 426, "upgrade"),
            (Refusal::NoToken, 401, "www-authenticate"),
            (Refusal::WrongToken, 401, "www-authenticate"),
            (Refusal::Denied, 401, "www-authenticate"),
            (Refusal::NoPod, 403, "connection"),
            (Refusal::Full, 503, "retry-after"),
            (Refusal::Unreviewed, 503, "retry-after"),
            (Refusal::InDoubt, 503, "retry-after"),
        ] {
            let response = refusal.response();
            assert_eq!(response.status().as_u16(), status, "{refusal:?}");
            assert!(response.headers().contains_key(name), "{refusal:?}");
        }
    }
}
