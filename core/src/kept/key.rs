//! What a request is known by: a digest of everything that its answer depends on, and of whose it is.
//!
//! Two requests share a key only if they ask the same in the same API, of the same route and model, and come from the same
//! caller with the same credentials. The body counts whole, as canonical JSON: members in the order of their names, without
//! white space and with one way to write each string (RFC 8785, but that numbers stay as they were written). Of the headers
//! all count but those of [`OF_NO_MATTER`]: one that nobody here knows may change the answer, or say who asks.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::acts::{self, Acts, Allowed};
use crate::call::Call;
use crate::json::{self, Value};

/// The layout of what is digested: a key of another is another key.
const LAYOUT: &str = "bowsprit kept 1";

/// Headers that change no answer and tell nothing of whose it is: those of the connection and of HTTP, of tracing, what SDKs say of
/// themselves, and how urgent it is: a job meets the app's answer.
pub const OF_NO_MATTER: [&str; 42] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "b3",
    "baggage",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "elastic-apm-traceparent",
    "expect",
    "host",
    "http-referer",
    "idempotency-key",
    "keep-alive",
    "newrelic",
    "origin",
    "pragma",
    "priority",
    "proxy-connection",
    "referer",
    "request-id",
    "sec-fetch-mode",
    "sentry-trace",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "uber-trace-id",
    "upgrade",
    "user-agent",
    "via",
    "x-amzn-trace-id",
    "x-bowsprit-priority",
    "x-client-request-id",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-goog-api-client",
    "x-ms-client-request-id",
    "x-request-id",
];

/// The same, by how their names begin.
const OF_NO_MATTER_BEGIN: [&str; 3] = ["x-b3-", "x-datadog-", "x-stainless-"];

/// Headers that are the caller's credentials, and nothing else.
const CREDENTIALS: [&str; 6] = [
    "api-key",
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
    "x-goog-api-key",
];

/// Whether a caller brings credentials, of whatever kind. `headers`: the names of all its headers, in lower case; `keys_in_query`: as in
/// [`Asked`].
pub fn brings_credentials<'h>(mut headers: impl Iterator<Item = &'h str>, keys_in_query: Option<&str>) -> bool {
    keys_in_query.is_some() || headers.any(|name| CREDENTIALS.contains(&name))
}

/// Whether a header, named in lower case, is part of a key.
fn matters(name: &str, whose: Whose) -> bool {
    (whose == Whose::TheCallers || !CREDENTIALS.contains(&name)) && may_matter(name)
}

/// Whether a header, named in lower case, may change an answer, or say whose it is.
pub(crate) fn may_matter(name: &str) -> bool {
    OF_NO_MATTER.binary_search(&name).is_err() && !OF_NO_MATTER_BEGIN.iter().any(|begin| name.starts_with(begin))
}

/// A request's key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

/// Its beginning: enough to tell keys apart in a log, and nothing of what was asked.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Key {
    /// Its first half in hexadecimal: what people name it by.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(32);
        for byte in self.0.iter().take(16) {
            use fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// All of it.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key of these 32 bytes, for what has a digest of its own.
    pub fn of_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

/// Who may get the answers under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The caller: its credentials and its address are part of the key.
    TheCallers,
    /// Whoever asks in the pod: credentials are no part of the key.
    ThePods,
}

/// What a key is made of.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The ModelRoute that it was matched by.
    pub route: &'a str,
    /// What was asked: `chat_completions`, `messages`, ...
    pub operation: &'a str,
    /// Its facts: dialect, model, and whether a stream was asked for, in which framing.
    pub call: &'a Call,
    /// The query, without keys.
    pub query: Option<&'a str>,
    /// Keys that stood in it: credentials as those in headers are.
    pub keys_in_query: Option<&'a str>,
    /// Who asks, beside what its headers say: empty for the sidecar's own pod.
    pub caller: &'a str,
    /// Digests of the guards that look into its answer; empty where there are none.
    pub guards: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

impl Asked<'_> {
    /// The key. `headers`: all of the caller's, named in lower case.
    ///
    /// # Errors
    /// The answer may not stand for that of another request.
    pub fn key<'h>(
        &self,
        headers: impl Iterator<Item = (&'h str, &'h [u8])>,
        allowed: Allowed,
        whose: Whose,
    ) -> Result<Key, Acts> {
        if self.body.len() > super::LARGEST_REQUEST {
            return Err(Acts::TooLarge);
        }
        let body = json::parse(self.body).map_err(|_| Acts::Unreadable)?;
        acts::check(self.call.dialect, self.call.operation, &body, allowed)?;
        let Prefix(mut digest) = self.prefix(headers, whose);
        digest.value(&body).map_err(|_| Acts::Unreadable)?;
        Ok(Key(digest.0.finalize().into()))
    }

    /// All that goes into a key but the body: for what is kept of a body in parts. `headers`: as in [`Asked::key`].
    pub fn prefix<'h>(&self, headers: impl Iterator<Item = (&'h str, &'h [u8])>, whose: Whose) -> Prefix {
        let mut digest = Digesting(Sha256::new());
        let flags = [self.call.stream, self.call.array, self.query.is_some()].map(u8::from);
        for part in [
            LAYOUT.as_bytes(),
            self.call.dialect.as_str().as_bytes(),
            self.operation.as_bytes(),
            self.route.as_bytes(),
            self.call.model.as_bytes(),
            self.query.unwrap_or_default().as_bytes(),
            self.caller.as_bytes(),
            &flags,
        ] {
            digest.part(part);
        }
        if !self.guards.is_empty() {
            digest.part(b"guarded");
            digest.part(self.guards);
        }
        if let (Some(keys), Whose::TheCallers) = (self.keys_in_query, whose) {
            digest.part(b"keys in query");
            digest.part(keys.as_bytes());
        }
        let mut headers: Vec<_> = headers.filter(|(name, _)| matters(name, whose)).collect();
        // Stable: values of one name keep their order, which has a meaning.
        headers.sort_by_key(|(name, _)| *name);
        digest.0.update((headers.len() as u64).to_le_bytes());
        for (name, value) in headers {
            digest.part(name.as_bytes());
            digest.part(value);
        }
        Prefix(digest)
    }
}

/// What keys of parts of one request have in common.
#[derive(Clone)]
pub struct Prefix(Digesting);

impl Prefix {
    /// The same with more that they share. `None`: it cannot be written.
    pub fn with(&self, shared: &Value) -> Option<Self> {
        let mut digest = self.0.clone();
        digest.part(b"in parts");
        digest.value(shared).ok()?;
        Some(Self(digest))
    }

    /// The key of one part. `None`: it cannot be written.
    pub fn key(&self, part: &Value) -> Option<Key> {
        let mut digest = self.0.clone();
        digest.part(b"part");
        digest.value(part).ok()?;
        Some(Key(digest.0.finalize().into()))
    }
}

/// Digests what is written to it.
#[derive(Clone)]
struct Digesting(Sha256);

impl Digesting {
    /// With its length, so that no two lists of parts are the same bytes.
    fn part(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    fn value(&mut self, value: &Value) -> fmt::Result {
        value.write_sorted(self)
    }
}

impl fmt::Write for Digesting {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Operation;
    use crate::dialect::Dialect;

    const BODY: &str = r#"{"model":"smart","messages":[{"role":"user","content":"hi"}],"temperature":0.5}"#;

    fn call() -> Call {
        let mut call = Call::new(Dialect::OpenAiChat, Operation::Generate);
        call.model = "smart".into();
        call
    }

    fn asked<'a>(call: &'a Call, body: &'a str) -> Asked<'a> {
        Asked {
            route: "smart",
            operation: "chat_completions",
            call,
            query: None,
            keys_in_query: None,
            caller: "",
            guards: &[],
            body: body.as_bytes(),
        }
    }

    fn key(body: &str, headers: &[(&str, &str)]) -> Key {
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        asked(&call(), body)
            .key(headers, Allowed::IN_AN_OUTAGE, Whose::TheCallers)
            .unwrap()
    }

    #[test]
    fn the_list_of_headers_is_sorted_for_its_search() {
        assert!(OF_NO_MATTER.is_sorted());
        assert!(OF_NO_MATTER.iter().all(|name| !matters(name, Whose::TheCallers)));
        for name in [
            "authorization",
            "x-api-key",
            "cookie",
            "openai-organization",
            "anthropic-beta",
            "x-user",
        ] {
            assert!(matters(name, Whose::TheCallers), "{name}");
        }
    }

    #[test]
    fn how_a_request_is_written_is_no_part_of_it() {
        let other = "{ \"temperature\": 0.5,\n \"messages\": [ {\"content\": \"\\u0068i\", \"role\": \"user\"} ],\n \"model\": \"smart\" }";
        assert_eq!(
            key(BODY, &[]),
            key(other, &[("traceparent", "00-1"), ("x-stainless-retry-count", "1")])
        );
        // A job says so, and every tracer has a header of its own.
        for name in [
            "x-bowsprit-priority",
            "sentry-trace",
            "uber-trace-id",
            "newrelic",
            "elastic-apm-traceparent",
            "x-ms-client-request-id",
        ] {
            assert_eq!(key(BODY, &[]), key(BODY, &[(name, "1")]), "{name}");
        }
    }

    #[test]
    fn whatever_may_change_an_answer_or_says_whose_it_is_makes_another_key() {
        let known = key(BODY, &[("authorization", "Bearer a")]);
        for (body, headers) in [
            (BODY, &[("authorization", "Bearer b")][..]),
            (BODY, &[]),
            (BODY, &[("authorization", "Bearer a"), ("x-user", "eve")]),
            (&BODY.replace("hi", "ho"), &[("authorization", "Bearer a")]),
            (&BODY.replace("0.5", "0.7"), &[("authorization", "Bearer a")]),
            (
                &BODY.replace("\"user\"", "\"system\""),
                &[("authorization", "Bearer a")],
            ),
        ] {
            assert_ne!(known, key(body, headers), "{body} {headers:?}");
        }
        let headers = || std::iter::once(("authorization", &b"Bearer a"[..]));
        let mut stream = call();
        stream.stream = true;
        let mut array = stream.clone();
        array.array = true;
        let mut model = call();
        model.model = "smarter".into();
        let mut dialect = call();
        dialect.dialect = Dialect::AnthropicMessages;
        let own = call();
        let others = [
            asked(&stream, BODY),
            asked(&array, BODY),
            asked(&model, BODY),
            asked(&dialect, BODY),
            Asked {
                route: "other",
                ..asked(&own, BODY)
            },
            Asked {
                operation: "other",
                ..asked(&own, BODY)
            },
            Asked {
                query: Some(""),
                ..asked(&own, BODY)
            },
            Asked {
                keys_in_query: Some("key=a"),
                ..asked(&own, BODY)
            },
            Asked {
                keys_in_query: Some("key=b"),
                ..asked(&own, BODY)
            },
            Asked {
                caller: "10.0.0.7",
                guards: &[],
                ..asked(&own, BODY)
            },
        ];
        let key = |asked: &Asked<'_>| asked.key(headers(), Allowed::IN_AN_OUTAGE, Whose::TheCallers).unwrap();
        let mut keys: Vec<_> = others.iter().map(key).collect();
        keys.push(known);
        let count = keys.len();
        keys.sort_by_key(|key| key.0);
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn who_brings_a_key_wherever_it_stands_brings_credentials() {
        for name in CREDENTIALS {
            assert!(brings_credentials(["accept", name].into_iter(), None), "{name}");
        }
        assert!(brings_credentials(std::iter::empty(), Some("key=a")));
        assert!(!brings_credentials(
            ["accept", "x-user", "traceparent"].into_iter(),
            None
        ));
    }

    #[test]
    fn in_the_pods_scope_credentials_are_no_part_of_it_and_all_else_is() {
        let shared = |headers: &[(&str, &str)]| {
            let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
            asked(&call(), BODY)
                .key(headers, Allowed::IN_AN_OUTAGE, Whose::ThePods)
                .unwrap()
        };
        let known = shared(&[]);
        for name in CREDENTIALS {
            assert_eq!(shared(&[(name, "a")]), known, "{name}");
            assert_ne!(key(BODY, &[(name, "a")]), key(BODY, &[(name, "b")]), "{name}");
        }
        let in_query = call();
        let in_query = Asked {
            keys_in_query: Some("key=a"),
            ..asked(&in_query, BODY)
        };
        let in_query = in_query.key(std::iter::empty(), Allowed::IN_AN_OUTAGE, Whose::ThePods);
        assert_eq!(in_query, Ok(known), "a key in the query is one of them");
        assert_ne!(shared(&[("x-user", "eve")]), known);
        assert_eq!(known.text().len(), 32);
        assert!(known.text().starts_with(&format!("{known:?}")));
    }

    #[test]
    fn the_end_of_one_part_is_not_the_beginning_of_the_next() {
        let one = key(BODY, &[("x-a", "b"), ("x-c", "")]);
        assert_ne!(one, key(BODY, &[("x-a", ""), ("x-c", "b")]));
        assert_ne!(one, key(BODY, &[("x-a", "bx-c")]));
    }
}
