//! A service that guards requests and answers is asked a question, once and within its deadline.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::AtomicBool;

use bowsprit_core::config::KeySource;
use bowsprit_core::guard::webhook::{LARGEST_ANSWER, Verdict, Why, learned};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request};
use tokio::time::Instant;

use crate::credentials::{self, ApiKey};
use crate::limits::{GUARD_CONNECT, SMALL_BODY};
use crate::net::client::{Answer, Outgoing};
use crate::process::Process;
use crate::tenant::service::Service;
use crate::time::until;

/// What the service has decided within its deadline. `read`: what an answer says of what it was asked.
///
/// # Errors
/// It has decided nothing.
pub(super) async fn answered<T>(
    process: &Process,
    (service, keys): (Option<&Service>, &HashMap<KeySource, ApiKey>),
    question: Bytes,
    read: impl FnOnce(&[u8]) -> Result<Verdict<T>, Why>,
) -> Result<Verdict<T>, Why> {
    let service = service.ok_or(Why::Unreachable)?;
    let key = match &service.hook().key {
        Some(source) => Some(keys.get(source).ok_or(Why::Key)?),
        None => None,
    };
    let leave = service.admit(process.clock.now())?;
    let deadline = Instant::now() + service.hook().deadline;
    let post = pin!(post(process, service, key, question));
    let answer = until(deadline, &mut false, post).await;
    let answer = answer.unwrap_or(Err(Why::Timeout));
    leave.settle(learned(&answer), process.clock.now());
    let answer = answer?;
    // Of its reason only the beginning is told, which may have lost the key's end.
    let is_told = |text: &[u8]| key.is_some_and(|key| key.is_told_in(text));
    let tells = is_told(&answer);
    Ok(match read(&answer)? {
        // A service that says what it was asked with has no reason that anybody is told.
        Verdict::Refuse(Some(reason)) if tells || is_told(reason.as_bytes()) => Verdict::Refuse(None),
        verdict => verdict,
    })
}

async fn post(process: &Process, service: &Service, key: Option<&ApiKey>, question: Bytes) -> Result<Vec<u8>, Why> {
    let mut room = process.memory.room();
    let asked = question.len();
    if asked > SMALL_BODY && !room.take_now(asked) {
        return Err(Why::TooLarge);
    }
    let origin = service.origin.as_ref().map_err(|_| Why::Unreachable)?;
    let sent = match origin
        .send(
            request(service, key, question.clone()),
            GUARD_CONNECT,
            &AtomicBool::new(false),
        )
        .await
    {
        // It may have been closed before anything was read: the question changes nothing, so it may be asked twice.
        Err(fault) if fault.reused => origin.send_anew(request(service, key, question), GUARD_CONNECT).await,
        sent => sent,
    };
    let Answer { head, mut body } = sent.map_err(|_| Why::Unreachable)?;
    if !head.status.is_success() {
        return Err(Why::Status(head.status.as_u16()));
    }
    if head.headers.contains_key(CONTENT_ENCODING) {
        // None was asked for.
        return Err(Why::Answer);
    }
    let mut answer = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|_| Why::Unreachable)?;
        let length = answer.len() + piece.len();
        if length > LARGEST_ANSWER || (length > SMALL_BODY && !room.take_now(asked + length)) {
            return Err(Why::TooLarge);
        }
        answer.extend_from_slice(&piece);
    }
    Ok(answer)
}

fn request(service: &Service, key: Option<&ApiKey>, question: Bytes) -> Request<Outgoing> {
    let mut request = Request::new(Outgoing::from(question));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = service.path.clone();
    let headers = request.headers_mut();
    headers.insert(HOST, service.host.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let agent = concat!("bowsprit-sidecar/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    if let Some(key) = key {
        credentials::bear(&mut request, key);
    }
    request
}
