//! What a caller says of a job: the request as it would be sent now, and how long it is worth trying.

use std::collections::BTreeMap;
use std::time::Duration;

use bowsprit_crds::duration::DurationText;
use bowsprit_crds::headers::{KEYS, NEVER_PASSED};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::RequestError;

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
    /// Reads the body of `POST /jobs`.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn read(body: &[u8]) -> Result<Self, RequestError> {
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
        let key = body.idempotency_key;
        if key
            .as_ref()
            .is_some_and(|key| key.is_empty() || key.len() > KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            let problem = format!("must be 1 to {KEY} visible ASCII characters");
            return Err(RequestError::field("idempotencyKey", problem));
        }
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
        Ask::read(text.as_bytes()).map_err(|error| error.to_string())
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
        assert!(Ask::read(b"[").unwrap_err().to_string().contains("no JSON"));
        assert!(
            Ask::read(br#"{"path": "/", "request": 1}"#)
                .unwrap_err()
                .to_string()
                .starts_with("request")
        );
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
