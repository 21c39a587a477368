//! What a caller says of a job: the request as it would be sent now, and how long it is worth trying.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bowsprit_crds::duration::DurationText;
use bowsprit_crds::headers::{KEYS, NEVER_PASSED};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::dialect::RequestError;
use crate::kept::key::may_matter;

/// How long a job is kept unless it says otherwise, and the longest.
pub const TTL: Duration = Duration::from_hours(24);
/// A week.
pub const LONGEST_TTL: Duration = Duration::from_hours(168);
/// Attempts of a job that says nothing of them: some hour of an outage.
pub const ATTEMPTS: u32 = 25;
/// The most that one may ask for.
pub const MOST_ATTEMPTS: u32 = 100;
/// Most header fields that are kept for a request.
pub const HEADERS: usize = 16;
/// Most bytes of their names and values.
pub const HEADER_BYTES: usize = 4 << 10;
/// Longest name that a caller gives a job.
pub const KEY: usize = 128;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body<'a> {
    path: String,
    #[serde(borrow)]
    request: &'a RawValue,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    ttl: Option<String>,
    deadline: Option<String>,
    max_attempts: Option<u32>,
    idempotency_key: Option<String>,
}

/// A job as it was asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Path and query, as the request would have gone to now.
    pub path: String,
    /// Headers that go with it. Never a key.
    pub headers: HeaderMap,
    /// Its body, byte for byte.
    pub request: String,
    /// How long it is kept.
    pub ttl: Duration,
    /// How long it is tried.
    pub deadline: Duration,
    /// Most attempts.
    pub max_attempts: u32,
    /// The caller's own name for it.
    pub key: Option<String>,
}

impl Ask {
    /// Reads the body of `POST /jobs`. `named`: its header `Idempotency-Key`, for a body that names no job.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn read(body: &[u8], named: Option<&HeaderValue>) -> Result<Self, RequestError> {
        let body: Body<'_> = serde_json::from_slice(body).map_err(|error| {
            // A serde_json message quotes names of fields, never values of the request, which is not looked into.
            if error.is_data() {
                RequestError::field("", format!("is no job: {error}; a job has path and request, and may have headers, ttl, deadline, maxAttempts and idempotencyKey"))
            } else {
                RequestError::not_json(format!("is no JSON object: {error}"))
            }
        })?;
        if !body.request.get().starts_with('{') {
            return Err(RequestError::field(
                "request",
                "must be an object: the body of the request",
            ));
        }
        let ttl = duration("ttl", body.ttl.as_deref(), TTL)?;
        let max_attempts = body.max_attempts.unwrap_or(ATTEMPTS);
        if !(1..=MOST_ATTEMPTS).contains(&max_attempts) {
            return Err(RequestError::field(
                "maxAttempts",
                format!("must be 1 to {MOST_ATTEMPTS}"),
            ));
        }
        // Of a body that names it nobody reads the header, whatever some proxy or SDK has put there.
        let key = match (&body.idempotency_key, named) {
            (Some(told), _) => Some(key("idempotencyKey", told.as_bytes())?),
            (None, Some(told)) => Some(key("Idempotency-Key", told.as_bytes())?),
            (None, None) => None,
        };
        Ok(Self {
            headers: headers(&body.headers)?,
            path: body.path,
            request: body.request.get().to_owned(),
            ttl,
            deadline: duration("deadline", body.deadline.as_deref(), ttl)?.min(ttl),
            max_attempts,
            key,
        })
    }

    /// What is asked, in hexadecimal: of one key there is one. How long it is tried, and the headers of one attempt to send it, such
    /// as those of tracing, are no part of it.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        let mut part = |part: &[u8]| {
            // With its length, so that no two lists of parts are the same bytes.
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        };
        part(self.path.as_bytes());
        part(self.request.as_bytes());
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| may_matter(name.as_str()))
            .collect();
        headers.sort_by_key(|(name, _)| name.as_str());
        for (name, value) in headers {
            part(name.as_str().as_bytes());
            part(value.as_bytes());
        }
        digest.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// The caller's own name for a job. One that says nothing would make one job of all that say nothing.
fn key(path: &str, told: &[u8]) -> Result<String, RequestError> {
    let key = std::str::from_utf8(told).ok();
    let key = key.filter(|key| (1..=KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
    let wrong = || RequestError::field(path, format!("must be 1 to {KEY} visible ASCII characters"));
    key.map(str::to_owned).ok_or_else(wrong)
}

fn duration(field: &str, text: Option<&str>, default: Duration) -> Result<Duration, RequestError> {
    let Some(text) = text else { return Ok(default) };
    let duration: DurationText = text
        .parse()
        .map_err(|error| RequestError::field(field, format!("{error}")))?;
    let is_fine = (Duration::from_secs(1)..=LONGEST_TTL).contains(&duration.get());
    if is_fine {
        Ok(duration.get())
    } else {
        Err(RequestError::field(field, "must be 1s to 168h"))
    }
}

/// Whether a header carries what is never written down: a key, or what belongs to one connection.
fn is_never_kept(name: &str) -> bool {
    NEVER_PASSED.contains(&name)
        || KEYS.contains(&name)
        || [
            "authorization",
            "cookie",
            "secret",
            "password",
            "token",
            "api-key",
            "apikey",
        ]
        .iter()
        .any(|word| name.contains(word))
}

fn headers(told: &BTreeMap<String, String>) -> Result<HeaderMap, RequestError> {
    let mut headers = HeaderMap::new();
    let mut bytes = 0;
    for (name, value) in told {
        let path = || format!("headers.{}", name.chars().take(64).collect::<String>());
        let lower = name.to_ascii_lowercase();
        if is_never_kept(&lower) {
            let problem = "is not kept with a job: keys are never written to disk, and the connection's own headers are the sidecar's. \
                           The provider's key is the one of its ProviderConfig";
            return Err(RequestError::field(path(), problem));
        }
        let parsed = HeaderName::try_from(lower).ok().zip(HeaderValue::try_from(value).ok());
        let Some((name, value)) = parsed else {
            return Err(RequestError::field(path(), "is no header"));
        };
        bytes += name.as_str().len() + value.len();
        headers.insert(name, value);
    }
    if headers.len() > HEADERS || bytes > HEADER_BYTES {
        let problem = format!("are more than {HEADERS}, or longer than {HEADER_BYTES} bytes");
        return Err(RequestError::field("headers", problem));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &str) -> Result<Ask, String> {
        let text = format!(r#"{{"path": "/v1/chat/completions", "request": {{"model":  "m"}}{more}}}"#);
        Ask::read(text.as_bytes(), None).map_err(|error| error.to_string())
    }

    #[test]
    fn a_job_is_kept_for_a_day_and_its_request_is_what_came_byte_for_byte() {
        let ask = read("").unwrap();
        assert_eq!((ask.ttl, ask.deadline, ask.max_attempts), (TTL, TTL, ATTEMPTS));
        assert_eq!(ask.request, r#"{"model":  "m"}"#);
        let ask = read(r#", "ttl": "2h", "deadline": "3h", "maxAttempts": 3, "idempotencyKey": "a-1""#).unwrap();
        assert_eq!(
            (ask.ttl, ask.deadline),
            (Duration::from_hours(2), Duration::from_hours(2)),
            "no answer is waited for after its end"
        );
        assert_eq!((ask.max_attempts, ask.key.as_deref()), (3, Some("a-1")));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_path() {
        for (more, path) in [
            (r#", "ttl": "400h""#, "ttl"),
            (r#", "ttl": "soon""#, "ttl"),
            (r#", "deadline": "10ms""#, "deadline"),
            (r#", "maxAttempts": 0"#, "maxAttempts"),
            (r#", "idempotencyKey": """#, "idempotencyKey"),
            (r#", "idempotencyKey": "with space""#, "idempotencyKey"),
            (r#", "headers": {"x-a": "\n"}"#, "headers.x-a"),
            (r#", "urgent": true"#, "the body"),
        ] {
            let error = read(more).unwrap_err();
            assert!(error.starts_with(path), "{error}");
        }
        assert!(Ask::read(b"[", None).unwrap_err().to_string().contains("no JSON"));
        assert!(
            Ask::read(br#"{"path": "/", "request": 1}"#, None)
                .unwrap_err()
                .to_string()
                .starts_with("request")
        );
    }

    #[test]
    fn a_name_in_the_header_is_held_to_the_same_rule_as_one_in_the_body() {
        let named = |key: &str, more: &str| {
            let text = format!(r#"{{"path": "/v1/messages", "request": {{}}{more}}}"#);
            let header = HeaderValue::from_bytes(key.as_bytes()).unwrap();
            Ask::read(text.as_bytes(), Some(&header)).map(|ask| ask.key)
        };
        assert_eq!(named("a-1", "").unwrap().as_deref(), Some("a-1"));
        assert_eq!(named(&"k".repeat(KEY), "").unwrap().unwrap().len(), KEY);
        for wrong in ["", "with space", "é", &"k".repeat(KEY + 1)] {
            let error = named(wrong, "").unwrap_err().to_string();
            assert!(
                error.starts_with("Idempotency-Key: must be 1 to 128 visible"),
                "{error}"
            );
        }
        for header in ["header", "with space", "", &"k".repeat(KEY + 1)] {
            let both = named(header, r#", "idempotencyKey": "body""#).unwrap();
            assert_eq!(both.as_deref(), Some("body"), "a header that is not read is not wrong");
        }
    }

    #[test]
    fn what_is_asked_makes_the_digest_and_not_how_it_is_sent() {
        let digest = |more: &str| read(more).unwrap().digest();
        let known = digest("");
        assert_eq!(known.len(), 64);
        for same in [
            r#", "ttl": "2h", "maxAttempts": 3, "idempotencyKey": "a""#,
            r#", "headers": {"traceparent": "00-1", "sentry-trace": "2"}"#,
        ] {
            assert_eq!(digest(same), known, "{same}");
        }
        let team = digest(r#", "headers": {"x-team": "shop", "x-user": "eve"}"#);
        assert_eq!(team, digest(r#", "headers": {"X-User": "eve", "x-team": "shop"}"#));
        let other = |text: &str| Ask::read(text.as_bytes(), None).unwrap().digest();
        let all = [
            known,
            team,
            digest(r#", "headers": {"x-team": "eve", "x-user": "shop"}"#),
            other(r#"{"path": "/v1/chat/completions", "request": {"model":  "n"}}"#),
            other(r#"{"path": "/v1/messages", "request": {"model":  "m"}}"#),
        ];
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn no_header_that_may_hold_a_key_is_kept() {
        for name in [
            "Authorization",
            "x-api-key",
            "X-Goog-Api-Key",
            "api-key",
            "Cookie",
            "x-my-token",
            "x-auth-secret",
            "host",
        ] {
            let error = read(&format!(r#", "headers": {{"{name}": "sk-canary"}}"#)).unwrap_err();
            assert!(
                error.contains("never written to disk") && !error.contains("canary"),
                "{error}"
            );
        }
        let ask = read(r#", "headers": {"Anthropic-Version": "2023-06-01", "x-team": "shop"}"#).unwrap();
        assert_eq!(
            (ask.headers.len(), &ask.headers["x-team"]),
            (2, &HeaderValue::from_static("shop"))
        );
        let many: Vec<String> = (0..17).map(|n| format!(r#""x-{n}": "v""#)).collect();
        assert!(
            read(&format!(r#", "headers": {{{}}}"#, many.join(",")))
                .unwrap_err()
                .starts_with("headers")
        );
    }
}
