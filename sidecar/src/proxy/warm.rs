//! Warming the cache from a file: one JSON object a line, of a request and its answer.

use std::path::Path;
use std::sync::Arc;

use bowsprit_core::config::Config;
use bowsprit_core::cost::Picodollars;
use bowsprit_core::json::{self, Value};
use bowsprit_core::kept::finished::is_finished;
use bowsprit_core::kept::key::Asked;
use bowsprit_core::plan;
use bytes::Bytes;
use http::{HeaderValue, Request};

use super::guarded::Guarded;
use super::{admit, guard, path, route};
use crate::files;
use crate::observe::stale::Fate;
use crate::process::Process;
use crate::tenant::kept::Answer;

/// Largest file, bytes: as much as a cache may hold.
const MAX_FILE: u64 = 256 << 20;
/// Lines that are wrong are told up to so many.
const TOLD: usize = 5;
/// What answers that nobody here has asked for are said to be of, where the line does not say it.
const NAME: &str = "warm";

/// Keeps what a file has. A line is `{"path": "/v1/chat/completions", "headers": {…}, "request": {…}, "answer": {…}, "provider":
/// "claude"}`; headers are those that count for whose it is, and like the provider may be left out. A line that is wrong, or
/// whose answer is none to give again, is dropped, counted and told; the others are kept.
pub fn warm(process: &Process, file: &Path) {
    let snapshot = process.tenant.snapshot.load_full();
    let Some(snapshot) = snapshot else {
        tracing::warn!(file = %file.display(), "no configuration is in service yet: no cache is warmed");
        return;
    };
    let text = match files::read(file, MAX_FILE) {
        Ok(text) => text,
        Err(error) => {
            tracing::warn!(error, "the cache is not warmed");
            return;
        }
    };
    let (mut kept, mut wrong) = (0_usize, 0_usize);
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match one(process, &snapshot.config, line) {
            Ok(()) => kept += 1,
            Err(why) => {
                wrong += 1;
                process.sinks.cache.count(Fate::Undecodable, 1);
                if wrong <= TOLD {
                    tracing::warn!(file = %file.display(), line = number + 1, why, "a line of the cache's file is dropped");
                }
            }
        }
    }
    tracing::info!(file = %file.display(), kept, dropped = wrong, "the cache is warmed");
}

fn one(process: &Process, config: &Config, line: &str) -> Result<(), String> {
    let line = json::parse(line.as_bytes()).map_err(|error| format!("is no JSON: {error}"))?;
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    let object = |name: &str| line.get(name).filter(|value| value.is_object());
    let path = text("path").ok_or("path: is missing, such as /v1/chat/completions")?;
    let body = Bytes::from(object("request").ok_or("request: is no object")?.to_string());
    let answer = object("answer").ok_or("answer: is no object")?.to_string();
    let mut request = Request::post(path);
    for (name, value) in object("headers").and_then(Value::as_object).into_iter().flatten() {
        request = request.header(name, value.as_str().unwrap_or_default());
    }
    let (parts, ()) = request
        .body(())
        .map_err(|error| format!("path or headers: {error}"))?
        .into_parts();
    let (_, found) = route::find(&parts);
    let found = found.map_err(|_| format!("path: nothing is asked at {path}"))?;
    let call = admit::facts(&found, &body).map_err(|refusal| format!("request: {}", refusal.message))?;
    let route = plan::route_for(config, &call.model).ok_or("request: no ModelRoute names its model")?;
    let terms = route
        .cache
        .ok_or_else(|| format!("request: ModelRoute {} has no cache", route.name))?;
    if call.stream || !is_finished(call.dialect, call.operation, answer.as_bytes(), terms.good()) {
        return Err(
            "answer: is none to give again: it must be whole, come to its natural end, and be no stream".into(),
        );
    }
    let guarded = Guarded::of(guard::guards(config, Some(route)));
    let answer = match &guarded {
        Some(guarded) => guarded
            .masked(answer.into())
            .map_err(|told| format!("answer: {told}"))?,
        None => answer.into(),
    };
    let print = guarded.map(|guarded| guarded.print()).unwrap_or_default();
    let query = path::query(parts.uri.query(), Some("alt"));
    let keys = path::keys(parts.uri.query());
    let asked = Asked {
        route: &route.name,
        operation: found.label(),
        call: &call,
        query: query.as_deref(),
        keys_in_query: keys.as_deref(),
        caller: "",
        guards: &print,
        body: &body,
    };
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    let key = asked.key(headers, terms.allowed, terms.whose(config, route));
    let key = key.map_err(|why| format!("request: is never cached: {why:?}"))?;
    let answer = Answer {
        request_id: NAME.to_owned(),
        asked: Arc::clone(&call.model),
        spent: (0, Picodollars::ZERO),
        provider: text("provider")
            .and_then(|name| HeaderValue::from_str(name).ok())
            .unwrap_or(HeaderValue::from_static(NAME)),
        model: None,
        warning: None,
        content_type: Some(HeaderValue::from_static("application/json")),
        body: answer,
    };
    let answers = &process.tenant.cache.answers;
    answers.keep(route, key, Arc::new(answer), process.clock.now(), None);
    Ok(())
}
