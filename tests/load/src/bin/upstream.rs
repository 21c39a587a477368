//! The bench's fixed `OpenAI` upstream: the same answer to everyone, at almost no cost.
//!
//! One thread, no parsing of bodies, answers made at the start. Prints `listening on ADDRESS` once it is.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bowsprit_load::script::{self, Script, Wanted};
use bowsprit_load::wire::Wire;
use clap::Parser;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::Instant;

#[derive(Parser)]
#[command(name = "upstream", about = "Fixed OpenAI upstream of `make bench`")]
struct Args {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Content events in a streamed answer; `[DONE]` follows them.
    #[arg(long, default_value_t = 64)]
    events: usize,
    /// Milliseconds between two content events.
    #[arg(long, default_value_t = 10)]
    interval_ms: u64,
}

/// Everything the upstream can answer. One more API is one more field here and one more line in [`answer`].
struct Answers {
    chat: Script,
    models: Vec<u8>,
    not_found: Vec<u8>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let answers = Arc::new(Answers {
        chat: Script::openai(args.events, Duration::from_millis(args.interval_ms)),
        models: script::models(),
        not_found: script::not_found(),
    });
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("listen on {}", args.listen))?;
    let address = listener.local_addr().context("read the listening address")?;
    writeln!(std::io::stdout().lock(), "listening on {address}").context("print the listening address")?;
    loop {
        // An accept that fails (out of file descriptors, say) would show up as errors at the load tool anyway.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            // A caller that goes away is its own affair; the load tool counts what it misses.
            let _ = stream.set_nodelay(true);
            let _ = serve(Wire::new(stream), &answers).await;
        });
    }
}

/// Answers requests until the peer closes. Generic over the stream, so that a TLS front is one more `accept`.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut wire: Wire<S>, answers: &Answers) -> Result<()> {
    let mut body = Vec::new();
    while let Some(head) = wire.request_head().await? {
        body.clear();
        wire.body(head.framing, |bytes| body.extend_from_slice(bytes)).await?;
        answer(&mut wire, answers, &head.method, &head.target, &body).await?;
    }
    Ok(())
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    answers: &Answers,
    method: &str,
    target: &str,
    body: &[u8],
) -> Result<()> {
    match (method, target) {
        ("POST", path) if path.ends_with("/chat/completions") => play(wire, &answers.chat, Wanted::of(body)).await,
        ("GET", path) if path.ends_with("/models") => wire.send(&answers.models).await,
        _ => wire.send(&answers.not_found).await,
    }
}

/// Sends a script's plain answer, or its events on schedule: each is due at a multiple of the interval, so that one late
/// write does not delay the rest.
async fn play<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>, script: &Script, wanted: Wanted) -> Result<()> {
    if !wanted.stream {
        return wire.send(&script.plain).await;
    }
    let mut due = Instant::now();
    let mut events = script.events.iter();
    let first = events.next().map(Vec::as_slice).unwrap_or_default();
    wire.send(&[&script.stream_head, first].concat()).await?;
    for event in events {
        due += script.interval;
        tokio::time::sleep_until(due).await;
        wire.send(event).await?;
    }
    if wanted.usage {
        wire.send(&script.usage).await?;
    }
    wire.send(&script.end).await
}
