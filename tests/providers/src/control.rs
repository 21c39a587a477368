//! The control API: a provider's script and record over HTTP, for tests in another process and for people with `curl`.
//!
//! | | |
//! | --- | --- |
//! | `POST /script` | `{"steps": [...], "always": [...]}`: steps are added to the queue, rules replace those with the same condition |
//! | `GET /script` | what is left of it |
//! | `POST /keys` | `["key", ...]`: the accepted keys; empty accepts any |
//! | `GET /requests` | the requests, oldest first, keys included |
//! | `GET /counts` | totals, connections, cancelled responses |
//! | `GET /bill` | what was generated, by model: answers sent whole and answers that broke off |
//! | `POST /reset` | forgets script, requests and counts |
//! | `POST /down`, `POST /up` | closes port and connections, opens the port again |
//! | `GET /healthz` | 200 while it runs |

use std::sync::Arc;

use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::provider::{Shared, State};
use crate::script::Script;
use crate::wire::{self, ReadError, ResponseHead};

const ENDPOINTS: &str = "GET or POST /script, POST /keys, GET /requests, GET /counts, GET /bill, POST /reset, POST /down, POST /up, GET /healthz";

pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((tcp, _)) = accepted {
                    connections.spawn(converse(tcp, Arc::clone(&shared)));
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn converse(mut tcp: TcpStream, shared: Arc<Shared>) {
    let mut buffer = BytesMut::new();
    loop {
        let (keep_alive, (status, answer)) = match read(&mut tcp, &mut buffer).await {
            Ok(Some((head, body))) => (head.keep_alive, handle(&head.method, head.path(), &body, &shared).await),
            Ok(None) | Err(ReadError::Closed) => return,
            Err(ReadError::TooLarge) => (false, problem(413, "the body is too large")),
            Err(ReadError::Malformed(what)) => (false, problem(400, what)),
        };
        let body = format!("{answer:#}\n");
        let mut head = ResponseHead::new(status);
        head.set("Content-Type", "application/json");
        head.set("Content-Length", body.len().to_string());
        head.set("Connection", if keep_alive { "keep-alive" } else { "close" });
        let mut bytes = head.to_bytes();
        bytes.extend(body.as_bytes());
        if tcp.write_all(&bytes).await.is_err() || !keep_alive {
            return;
        }
    }
}

async fn read(tcp: &mut TcpStream, buffer: &mut BytesMut) -> Result<Option<(wire::Head, BytesMut)>, ReadError> {
    let Some(head) = wire::read_head(tcp, buffer).await? else {
        return Ok(None);
    };
    let mut body = BytesMut::new();
    wire::read_body(tcp, buffer, head.length, &mut body).await?;
    Ok(Some((head, body)))
}

async fn handle(method: &str, path: &str, body: &[u8], shared: &Shared) -> (u16, Value) {
    match (method, path) {
        ("POST", "/script") => match serde_json::from_slice::<Script>(body) {
            Ok(script) => (200, shared.update(|state| extend(&mut state.script, script))),
            Err(error) => problem(400, &format!("the script cannot be read: {error}")),
        },
        ("GET", "/script") => (200, shared.read(|state| json!(state.script))),
        ("POST", "/keys") => match serde_json::from_slice::<Vec<String>>(body) {
            Ok(keys) => {
                shared.update(|state| state.keys = keys);
                (200, json!({"ok": true}))
            }
            Err(error) => problem(400, &format!("expected a list of keys: {error}")),
        },
        ("GET", "/requests") => (200, shared.read(|state| json!(state.seen.requests))),
        ("GET", "/counts") => (200, shared.read(counts)),
        ("GET", "/bill") => (200, shared.read(|state| json!(state.seen.bill))),
        ("POST", "/reset") => {
            shared.update(|state| {
                state.script = Script::default();
                state.seen.reset();
            });
            (200, json!({"ok": true}))
        }
        ("POST", "/down" | "/up") => {
            shared.set_listening(path == "/up").await;
            (200, json!({"listening": path == "/up"}))
        }
        ("GET", "/healthz") => (200, json!({"ok": true})),
        _ => problem(404, &format!("no {method} {path} here; there are {ENDPOINTS}")),
    }
}

/// Adds steps and rules, and tells how many there are now.
fn extend(script: &mut Script, more: Script) -> Value {
    script.steps.extend(more.steps);
    // Each goes to the front of the rules with a condition, so the last is put there first to keep the order given.
    more.always.into_iter().rev().for_each(|rule| script.stand(rule));
    json!({"steps": script.steps.len(), "always": script.always.len()})
}

fn counts(state: &State) -> Value {
    let seen = &state.seen;
    let cancelled: Vec<Value> = seen
        .cancelled
        .iter()
        .map(|cut| json!({"request": cut.request, "phase": cut.phase, "chunks": cut.chunks}))
        .collect();
    json!({
        "requests": seen.counts.requests,
        "by_api": seen.counts.by_api,
        "by_model": seen.counts.by_model,
        "by_behaviour": seen.counts.by_behaviour,
        "answered": seen.answered,
        "cancelled": cancelled,
        "malformed": seen.malformed.len(),
        "connections": seen.connections,
        "open_connections": seen.open_connections,
        "failed_handshakes": seen.failed_handshakes,
    })
}

fn problem(status: u16, what: &str) -> (u16, Value) {
    (status, json!({"error": what}))
}
