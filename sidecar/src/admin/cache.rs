//! Clearing the cache: `POST /cache/clear`, with `route=`, `model=` or `key=` for a part of it. Taken from the pod itself alone.

use std::net::IpAddr;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::json;

use super::answer::{answer, from_outside};
use crate::process::Process;
use crate::tenant::kept::Which;
use crate::tenant::shared::ClearedStores;

/// Digits of a key that name it.
const SHORTEST_KEY: usize = 8;

/// Clears it.
pub(super) async fn clear(process: &Process, peer: IpAddr, query: Option<&str>) -> Response<Full<Bytes>> {
    if let Some(refusal) = from_outside(process, peer) {
        return refusal;
    }
    let which = match which(query.unwrap_or_default()) {
        Ok(which) => which,
        Err(error) => return answer(StatusCode::BAD_REQUEST, &json!({ "error": error })),
    };
    let cache = &process.tenant.cache;
    let cleared = cache.clear(&which);
    // Memory first: what is asked for from now on is not kept under the generation before.
    let ClearedStores { done, undone } = process.tenant.shared.clear(&which).await;
    match cleared {
        Some(cleared) => {
            tracing::info!(
                route = which.route.as_deref().unwrap_or("all"),
                model = which.model.as_deref().unwrap_or("all"),
                cleared,
                stores = done.len(),
                stores_undone = undone.len(),
                "cache cleared by hand"
            );
            answer(
                StatusCode::OK,
                &Done {
                    cleared,
                    stores: done,
                    undone,
                },
            )
        }
        None if which.route.is_none() => answer(StatusCode::OK, &json!({"cleared": 0})),
        None => {
            let error = json!({"error": "no such route with a cache", "routes": cache.answers.routes()});
            answer(StatusCode::NOT_FOUND, &error)
        }
    }
}

/// What was done.
#[derive(Serialize)]
struct Done {
    /// Answers that were in memory.
    cleared: usize,
    /// Routes whose answers are gone in their store as well, for all pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stores: Vec<String>,
    /// Routes whose store was not reached, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    undone: Vec<String>,
}

/// A parameter that is not known is refused: a slip must not clear all.
fn which(query: &str) -> Result<Which, String> {
    let mut which = Which::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| format!("{name} has no value that can be read"))?;
        match name {
            "route" => which.route = Some(value),
            "model" => which.model = Some(value),
            "key" if value.len() >= SHORTEST_KEY => which.key = Some(value.to_ascii_lowercase()),
            "key" => {
                return Err(format!(
                    "key is shorter than {SHORTEST_KEY} digits: copy it from cache-status"
                ));
            }
            other => return Err(format!("{other:?} is not known: there are route, model and key")),
        }
    }
    Ok(which)
}

/// A value with its escapes read; `None`: they are none.
fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = rest.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_their_escapes_and_what_is_not_known_is_refused() {
        let read = which("route=smart&model=models%2Fgpt-5&key=0123ABCD").unwrap();
        assert_eq!(read.route.as_deref(), Some("smart"));
        assert_eq!(read.model.as_deref(), Some("models/gpt-5"));
        assert_eq!(read.key.as_deref(), Some("0123abcd"));
        assert_eq!(which(""), Ok(Which::default()));
        for wrong in [
            "rote=smart",
            "route=",
            "route",
            "key=0123",
            "model=%zz",
            "model=%4",
            "model=%ff",
        ] {
            assert!(which(wrong).is_err(), "{wrong}");
        }
    }
}
