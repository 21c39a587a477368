//! Taking a request in: its body, within a limit and a time, and the few facts that decide where it goes.

use std::future::poll_fn;
use std::sync::Arc;

use bowsprit_core::call::Call;
use bowsprit_core::dialect::{peek, tokens_of};
use bowsprit_core::fault::Code;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use hyper::body::{Body as _, Incoming};

use super::context::RequestContext;
use super::inbound::Inbound;
use super::path;
use super::refuse::Refusal;
use super::route::Route;
use crate::failpoint;
use crate::limits::{BODY_DEADLINE, ROOM_WAIT, SMALL_BODY};
use crate::memory::{Memory, Room};
use crate::net::poll_frame;
use crate::process::Process;

/// Reads the body and the facts. `keeps_answers`: whether it may matter whose the request is.
pub(super) async fn admit(
    process: &Arc<Process>,
    context: &mut RequestContext,
    route: &Route,
    (parts, body): (Parts, Incoming),
    keeps_answers: bool,
) -> Result<Inbound, Refusal> {
    let body = take_body(process, body, process.limits.max_body).await?;
    context.waited();
    failpoint::hit(&parts.headers, failpoint::ADMIT);
    process.sinks.traffic.taken(body.len());
    let retries = retries_before(&parts.headers);
    context.retried_before(retries);
    let call = facts(route, &body)?;
    context.asked = Arc::clone(&call.model);
    context.stream = call.stream;
    let pinned = context.pinned.as_mut();
    Ok(Inbound {
        call,
        method: parts.method,
        path_below: pinned.map_or_else(String::new, |pinned| std::mem::take(&mut pinned.rest)),
        // `alt` is said by the path.
        query: path::query(parts.uri.query(), Some("alt")),
        keys_in_query: keeps_answers.then(|| path::keys(parts.uri.query())).flatten(),
        headers: parts.headers,
        body,
        parts: None,
    })
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn take_body(process: &Process, body: Incoming, limit: usize) -> Result<Bytes, Refusal> {
    tokio::time::timeout(BODY_DEADLINE, read(body, limit, &process.memory))
        .await
        .unwrap_or_else(|_| {
            let text = format!("the body was not complete within {} s", BODY_DEADLINE.as_secs());
            Err(Refusal::new(Code::ValHttp, text))
        })
}

async fn read(mut body: Incoming, limit: usize, memory: &Arc<Memory>) -> Result<Bytes, Refusal> {
    let too_large = || {
        Refusal::new(
            Code::ValTooLarge,
            format!("the body is larger than the limit of {limit} bytes"),
        )
    };
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(too_large());
    }
    let mut room = memory.room();
    // The announced size is reserved at once: several bodies that each hold a part and wait for more would all fail.
    make_room(&mut room, usize::try_from(announced).unwrap_or(usize::MAX), memory).await?;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| poll_frame(&mut body, cx)).await {
        // The caller broke off; nobody will read this answer, but the request must end as something.
        let frame = frame.map_err(|error| Refusal::new(Code::ValHttp, format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = first.len() + rest.len() + data.len();
        if length > limit {
            return Err(too_large());
        }
        make_room(&mut room, length, memory).await?;
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.reserve(
                    usize::try_from(announced)
                        .unwrap_or(0)
                        .min(limit)
                        .saturating_sub(first.len()),
                );
            }
            rest.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    if rest.is_empty() {
        return Ok(room.hold(first));
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(room.hold(whole.freeze()))
}

async fn make_room(room: &mut Room, bytes: usize, memory: &Memory) -> Result<(), Refusal> {
    if bytes <= SMALL_BODY || room.grow_to(bytes, ROOM_WAIT).await {
        return Ok(());
    }
    if bytes > memory.limit() {
        let text = format!(
            "the body is larger than all memory for bodies, {} bytes (--memory-budget)",
            memory.limit()
        );
        return Err(Refusal::new(Code::ValTooLarge, text));
    }
    let text = format!("{} of {} bytes for bodies are in use", memory.used(), memory.limit());
    Err(Refusal::new(Code::SysOverloaded, text).retry_after_seconds(1))
}

/// What is asked, by the path and the body.
pub(super) fn facts(route: &Route, body: &Bytes) -> Result<Call, Refusal> {
    let mut call = Call::new(route.dialect(), route.operation());
    call.tokens = tokens_of(body.len());
    call.input_tokens = call.tokens;
    match route {
        Route::Generate { dialect, in_url, .. } => {
            let envelope = peek(*dialect, body)?;
            call.asks(&envelope);
            if let Some(in_url) = in_url {
                call.model = in_url.model.as_str().into();
                call.stream = in_url.stream;
                call.array = in_url.stream && !in_url.sse;
            } else {
                call.model = envelope.model.into();
                call.stream = envelope.stream;
            }
        }
        Route::Embed { model, .. } | Route::Count { model, .. } => {
            other_facts(&mut call, model.as_ref(), body)?;
        }
        Route::Models { .. } | Route::PassThrough { .. } => {}
    }
    Ok(call)
}

/// The header in which the generated SDKs count. As a constant: a name as text is looked up letter by letter.
const RETRY_COUNT: HeaderName = HeaderName::from_static("x-stainless-retry-count");

/// How often the caller's SDK says that it made this request before. What is no number counts as once: it said something.
fn retries_before(headers: &HeaderMap) -> u32 {
    headers.get(RETRY_COUNT).map_or(0, |count| {
        count
            .to_str()
            .ok()
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(1)
    })
}

/// Of these bodies only what names the model is looked at.
fn other_facts(call: &mut Call, in_path: Option<&String>, body: &Bytes) -> Result<(), Refusal> {
    if let Some(model) = in_path {
        call.model = model.as_str().into();
        // Nothing of this one is known.
        call.has_other_letters = true;
    } else {
        let envelope = peek(call.dialect, body)?;
        call.has_other_letters = envelope.has_other_letters;
        call.model = envelope.model.into();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sdk_says_how_often_it_tried_before() {
        let told = |count: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-stainless-retry-count", count.parse().unwrap());
            retries_before(&headers)
        };
        assert_eq!(retries_before(&HeaderMap::new()), 0);
        assert_eq!((told("0"), told("2"), told("many")), (0, 2, 1));
    }
}
