//! `bowsprit-operator selftest`: what `helm test` runs, in a pod that was injected. It plays the provider on the pod's own
//! loopback, asks it through the sidecar as an app would, and looks whether its own answer comes back. Webhook, injection, the
//! rendered config, the sidecar and its way out are all in that circle, and no key and no model outside of it.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::response::Parts;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Where the provider is played: the chart's test has it as the base URL of its ProviderConfig.
pub const PROVIDER_PORT: u16 = 8090;
/// The model that the chart's test serves.
pub const MODEL: &str = "helm-test";
/// What the played provider says.
const WORD: &str = "ahoy";
/// What the injector sets, and an SDK reads.
const BASE_URL: &str = "OPENAI_BASE_URL";
/// A model of a real provider to ask as well.
const REAL_MODEL: &str = "BOWSPRIT_TEST_MODEL";
/// For one question; a real model may think.
const PATIENCE: Duration = Duration::from_mins(1);
/// The largest question or answer that is read.
const MAX_BODY: usize = 64 << 10;

/// Plays, asks, and says what it saw.
///
/// # Errors
/// What does not work, with what to do.
pub async fn run(say: impl Fn(&str)) -> anyhow::Result<()> {
    let base_url = std::env::var(BASE_URL)
        .ok()
        .filter(|url| !url.is_empty())
        .with_context(|| {
            format!("{BASE_URL} is not set: this pod was not injected; kubectl bowsprit doctor says why")
        })?;
    let provider = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, PROVIDER_PORT)))
        .await
        .with_context(|| format!("cannot play the provider on port {PROVIDER_PORT}"))?;
    tokio::select! {
        never = play(provider) => match never {},
        asked = ask_all(&base_url, &say) => asked,
    }
}

async fn ask_all(base_url: &str, say: &impl Fn(&str)) -> anyhow::Result<()> {
    say(&format!("injected: the sidecar is at {base_url}"));
    let answer = ask(base_url, MODEL).await?;
    ensure!(
        answer.text == WORD,
        "the answer is not the one that was given: {:?}",
        answer.text
    );
    say(&format!("the sidecar serves: {} answered for {MODEL}", answer.provider));
    if let Some(model) = std::env::var(REAL_MODEL).ok().filter(|model| !model.is_empty()) {
        let answer = ask(base_url, &model).await?;
        say(&format!("a real provider answers: {} for {model}", answer.provider));
    }
    Ok(())
}

struct Answer {
    provider: String,
    text: String,
}

async fn ask(base_url: &str, model: &str) -> anyhow::Result<Answer> {
    let asked = tokio::time::timeout(PATIENCE, exchange(base_url, model));
    let (head, body) = asked
        .await
        .with_context(|| format!("no answer within {PATIENCE:?}"))??;
    let provider = head
        .headers
        .get("x-bowsprit-provider")
        .and_then(|name| name.to_str().ok());
    let provider = provider.unwrap_or("nobody").to_owned();
    if !head.status.is_success() {
        bail!(
            "the sidecar answered {}: {}",
            head.status,
            String::from_utf8_lossy(&body)
        );
    }
    let body: Value = serde_json::from_slice(&body).context("the sidecar's answer is no JSON")?;
    let text = body.pointer("/choices/0/message/content").and_then(Value::as_str);
    Ok(Answer {
        provider,
        text: text.context("there is no text in the answer")?.to_owned(),
    })
}

async fn exchange(base_url: &str, model: &str) -> anyhow::Result<(Parts, Bytes)> {
    let url: Uri = format!("{base_url}/chat/completions")
        .parse()
        .context("its address is no URL")?;
    let at = url.authority().context("its address names no host")?.as_str();
    let stream = TcpStream::connect(at).await;
    let stream = stream.with_context(|| format!("no sidecar at {at}: see the log of the container bowsprit"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let question = json!({"model": model, "messages": [{"role": "user", "content": "Answer with one word: ahoy"}]});
    let request = Request::post(url.path())
        .header(header::HOST, at)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(question.to_string())))?;
    let answered = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
        anyhow::Ok((head, body.to_bytes()))
    };
    let carried = async {
        let _ = connection.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        answer = answered => answer,
        never = carried => match never {},
    }
}

/// Answers every question with the word.
async fn play(listener: TcpListener) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        connections.spawn(async move {
            let service = service_fn(|request: Request<Incoming>| async {
                // Read whole, so that the connection can be used again.
                let read = Limited::new(request.into_body(), MAX_BODY).collect().await;
                let status = if read.is_ok() { 200 } else { 400 };
                let mut response = Response::new(Full::new(Bytes::from(completion().to_string())));
                *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
                let json = header::HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, json);
                Ok::<_, Infallible>(response)
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn completion() -> Value {
    json!({
        "id": "chatcmpl-helm-test", "object": "chat.completion", "created": 0, "model": MODEL,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": WORD}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_played_provider_is_one_that_a_sidecar_can_ask() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::select! {
            never = play(listener) => match never {},
            answer = ask(&base_url, MODEL) => assert_eq!(answer.unwrap().text, WORD),
        }
    }
}
