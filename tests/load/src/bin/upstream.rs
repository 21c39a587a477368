//! The bench's fixed upstream: the same answers to everyone, at almost no cost.
//!
//! One thread, no parsing of bodies, answers made at the start. Prints `listening on ADDRESS` once it is, and with
//! `--tls-ca` then `tls on ADDRESS`: the same answers behind TLS.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bowsprit_load::certificate;
use bowsprit_load::script::{self, Script, Wanted};
use bowsprit_load::wire::Wire;
use clap::{Parser, ValueEnum};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

#[derive(Parser)]
#[command(name = "upstream", about = "Fixed upstream of `make bench`")]
struct Args {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Speak this API only: any other path is not found.
    #[arg(long)]
    only: Option<Api>,
    /// Serve TLS too, on a port of its own, and write the certificate authority to trust to this file.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Content events in a streamed answer.
    #[arg(long, default_value_t = 64)]
    events: usize,
    /// Milliseconds between two content events.
    #[arg(long, default_value_t = 10)]
    interval_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Api {
    Openai,
    Anthropic,
    Gemini,
}

/// Everything the upstream can answer.
struct Answers {
    only: Option<Api>,
    openai: Script,
    anthropic: Script,
    gemini: Script,
    models: Vec<u8>,
    not_found: Vec<u8>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let interval = Duration::from_millis(args.interval_ms);
    let answers = Arc::new(Answers {
        only: args.only,
        openai: Script::openai(args.events, interval),
        anthropic: Script::anthropic(args.events, interval),
        gemini: Script::gemini(args.events, interval),
        models: script::models(),
        not_found: script::not_found(),
    });
    let plain = bind(args.listen).await?;
    let tls = match &args.tls_ca {
        Some(file) => {
            let (config, authority) = certificate::server(args.listen.ip())?;
            std::fs::write(file, authority).with_context(|| format!("write {}", file.display()))?;
            let listener = bind(SocketAddr::new(args.listen.ip(), 0)).await?;
            Some((listener, TlsAcceptor::from(config)))
        }
        None => None,
    };
    say("listening", &plain)?;
    if let Some((listener, acceptor)) = tls {
        say("tls", &listener)?;
        let answers = Arc::clone(&answers);
        tokio::spawn(accept(listener, move |stream| {
            let (acceptor, answers) = (acceptor.clone(), Arc::clone(&answers));
            async move { serve(Wire::new(acceptor.accept(stream).await?), &answers).await }
        }));
    }
    accept(plain, move |stream| {
        let answers = Arc::clone(&answers);
        async move { serve(Wire::new(stream), &answers).await }
    })
    .await;
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))
}

fn say(what: &str, listener: &TcpListener) -> Result<()> {
    let address = listener.local_addr().context("read the listening address")?;
    writeln!(std::io::stdout().lock(), "{what} on {address}").context("print the listening address")
}

/// Serves every connection in a task of its own, for ever.
async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    loop {
        // An accept that fails (out of file descriptors, say) would show up as errors at the load tool anyway.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        // A caller that goes away is its own affair; the load tool counts what it misses.
        tokio::spawn(serve(stream));
    }
}

/// Answers requests until the peer closes.
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
    let path = target.split('?').next().unwrap_or_default();
    let found = match method {
        "POST" if path.ends_with("/chat/completions") => Some((Api::Openai, &answers.openai, Wanted::of(body))),
        "POST" if path.ends_with("/messages") => Some((Api::Anthropic, &answers.anthropic, Wanted::of(body))),
        "POST" if path.contains(":generateContent") => Some((Api::Gemini, &answers.gemini, Wanted::default())),
        "POST" if path.contains(":streamGenerateContent") => Some((Api::Gemini, &answers.gemini, Wanted::STREAM)),
        "GET" if path.ends_with("/models") => return wire.send(&answers.models).await,
        _ => None,
    };
    match found {
        Some((api, script, wanted)) if answers.only.is_none_or(|only| only == api) => play(wire, script, wanted).await,
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
