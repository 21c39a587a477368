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
use bowsprit_load::answers::{Answers, Api, Pace};
use bowsprit_load::certificate;
use bowsprit_load::wire::Wire;
use clap::Parser;
use tokio::net::{TcpListener, TcpStream};
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

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let pace = Pace::Every(Duration::from_millis(args.interval_ms));
    let answers = Arc::new(Answers::new(args.only, args.events, pace));
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
            async move { answers.serve(Wire::new(acceptor.accept(stream).await?)).await }
        }));
    }
    accept(plain, move |stream| {
        let answers = Arc::clone(&answers);
        async move { answers.serve(Wire::new(stream)).await }
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
