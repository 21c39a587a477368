//! Caller and fixed upstream of a proxy in one process, one message after the other, so that a run of the same arguments is the
//! same work for the proxy, however fast it is: what instructions are counted under.
//!
//! Prints `listening on ADDRESS` of the upstream, waits until the proxy listens, sends the requests on one connection, prints a
//! JSON line about the answers, and serves on until its standard input ends. A wrong answer is an error.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bowsprit_load::answers::{Answers, Api, PAUSE, Pace};
use bowsprit_load::certificate;
use bowsprit_load::events::EventCounter;
use bowsprit_load::input;
use bowsprit_load::request::Request;
use bowsprit_load::wire::Wire;
use clap::Parser;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Longest that the proxy may take to listen: it starts under valgrind, several dozen times slower than alone.
const START_LIMIT: Duration = Duration::from_mins(1);
/// Between two attempts to connect to it.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// Longest that all answers may take.
const RUN_LIMIT: Duration = Duration::from_mins(2);

#[derive(Parser)]
#[command(
    name = "lockstep",
    about = "Caller and upstream of `make budget`, one message after the other"
)]
struct Args {
    #[command(flatten)]
    request: Request,
    /// Requests, one after the other.
    #[arg(long)]
    requests: u32,
    /// Speak this API only: any other path is not found.
    #[arg(long)]
    only: Option<Api>,
    /// Listen for TLS instead, and write the certificate authority to trust to this file.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Content events in a streamed answer; each is sent when the caller has seen the one before.
    #[arg(long, default_value_t = 64)]
    events: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let (authority, request) = args.request.wire()?;
    let answers = Arc::new(Answers::new(args.only, args.events, Pace::Seen(Semaphore::new(0))));
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .context("listen")?;
    let acceptor = match &args.tls_ca {
        Some(file) => {
            let (config, authority) = certificate::server(Ipv4Addr::LOCALHOST.into())?;
            std::fs::write(file, authority).with_context(|| format!("write {}", file.display()))?;
            Some(TlsAcceptor::from(config))
        }
        None => None,
    };
    let address = listener.local_addr().context("read the listening address")?;
    say(&format!("listening on {address}"))?;
    tokio::spawn(serve(listener, acceptor, Arc::clone(&answers)));

    let mut wire = Wire::new(connect(&authority).await?);
    let events = tokio::time::timeout(RUN_LIMIT, ask(&mut wire, &request, args.requests, &answers))
        .await
        .with_context(|| format!("not all answers came in {} s", RUN_LIMIT.as_secs()))??;
    say(&format!(r#"{{"ok":{},"events":{events}}}"#, args.requests))?;
    input::ended().await.context("wait for the end of the input")
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("print")
}

async fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>, answers: Arc<Answers>) {
    loop {
        // What goes wrong with the proxy's connection is a wrong answer to the caller.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (acceptor, answers) = (acceptor.clone(), Arc::clone(&answers));
        tokio::spawn(async move {
            match acceptor {
                Some(acceptor) => answers.serve(Wire::new(acceptor.accept(stream).await?)).await,
                None => answers.serve(Wire::new(stream)).await,
            }
        });
    }
}

/// To the proxy, as soon as it listens. An attempt before that costs the proxy nothing.
async fn connect(authority: &str) -> Result<TcpStream> {
    let begun = tokio::time::Instant::now();
    loop {
        match TcpStream::connect(authority).await {
            Ok(stream) => {
                stream.set_nodelay(true).context("set TCP_NODELAY")?;
                return Ok(stream);
            }
            Err(error) if begun.elapsed() > START_LIMIT => bail!("{authority} does not listen: {error}"),
            Err(_) => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
}

/// Sends the requests, each behind the answer to the one before; the number of events in the answers.
async fn ask(wire: &mut Wire<TcpStream>, request: &[u8], requests: u32, answers: &Answers) -> Result<u64> {
    let mut events = EventCounter::default();
    for _ in 0..requests {
        tokio::time::sleep(PAUSE).await;
        wire.send(request).await?;
        let head = wire.response_head().await?;
        let mut sample = Vec::new();
        wire.body(head.framing, |content| {
            events.feed(content);
            if head.status != 200 {
                sample.extend_from_slice(content);
            }
            answers.seen();
        })
        .await?;
        ensure!(
            head.status == 200,
            "status {}: {}",
            head.status,
            String::from_utf8_lossy(&sample)
        );
        ensure!(head.keep_alive, "the proxy closes the connection behind an answer");
    }
    Ok(events.count())
}
