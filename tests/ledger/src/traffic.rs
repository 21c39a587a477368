//! Callers: every API, plain and streamed, a few at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bowsprit_rig::connection::{Connection, Lookout};
use bowsprit_rig::{documents, http};
use serde_json::json;
use tokio::sync::watch;

/// Callers at a time.
pub(crate) const AT_ONCE: usize = 8;

/// How they behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Each hears its answer to the end.
    Patient,
    /// Every third leaves a stream after its first content.
    Leaving,
}

/// What they ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) models: &'static [&'static str],
    pub(crate) manner: Manner,
    /// All requests.
    pub(crate) count: usize,
    pub(crate) seed: u64,
}

/// Sends all requests; where the sidecar is may change meanwhile. Gives how many were answered in full.
pub(crate) async fn run(sidecar: watch::Receiver<SocketAddr>, asked: Asked) -> usize {
    let (next, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let callers = (0..AT_ONCE).map(|_| {
        let (sidecar, next, answered) = (sidecar.clone(), Arc::clone(&next), Arc::clone(&answered));
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= asked.count {
                    return;
                }
                let address = *sidecar.borrow();
                if request(address, asked, number).await == Some(200) {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    });
    for caller in futures::future::join_all(callers).await {
        caller.unwrap();
    }
    answered.load(Ordering::Relaxed)
}

/// One request; its status, where it was answered in full.
async fn request(address: SocketAddr, asked: Asked, number: usize) -> Option<u16> {
    let mut chance = fastrand::Rng::with_seed(asked.seed.wrapping_add(number as u64));
    let model = asked.models[chance.usize(..asked.models.len())];
    let leaves = asked.manner == Manner::Leaving && number.is_multiple_of(3);
    let is_stream = leaves || chance.bool();
    let message = match chance.u8(..4) {
        // Who leaves has seen content, which only this API's events are looked at for here.
        _ if leaves => http::post("/v1/chat/completions", &documents::chat(model, true)),
        0 => http::post("/v1/chat/completions", &documents::chat(model, is_stream)),
        1 => http::post(
            "/v1/responses",
            &json!({"model": model, "input": "hello", "stream": is_stream}),
        ),
        2 => http::post("/v1/messages", &documents::message(model, is_stream)),
        _ => http::post(
            &format!("/v1beta/models/{model}:generateContent"),
            &documents::contents(),
        ),
    };
    let Ok(mut connection) = Connection::try_connect(address, &Lookout::new("the-providers-key")).await else {
        // It is being killed; the next one is there soon.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        return None;
    };
    connection.try_send(message).await.ok()?;
    if leaves {
        while !connection.text().contains("\"content\":\"") && connection.more().await {}
        return None;
    }
    connection.try_reply().await.map(|reply| reply.status)
}
