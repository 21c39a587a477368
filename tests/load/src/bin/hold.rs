//! Holds many connections open, so that a proxy's memory can be read while they are.
//!
//! Opens them, has one request answered on each (with `--streams`: begun to be answered), prints a JSON line about them, and
//! keeps them until its standard input ends or `--limit-seconds` are over. Then it prints a second line and goes, which
//! closes all.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bowsprit_load::input;
use bowsprit_load::request::Request;
use bowsprit_load::wire::Wire;
use clap::Parser;
use serde::Serialize;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};

/// Longest that opening all of them may take.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// Connections from one source address. All of 127.0.0.0/8 is loopback, so a run takes addresses of its own and does not have
/// to wait for the ports of the one before.
const PER_SOURCE: u32 = 4000;

#[derive(Parser)]
#[command(
    name = "hold",
    about = "Holds connections of `make bench` open until standard input ends"
)]
struct Args {
    #[command(flatten)]
    request: Request,
    /// Connections.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Hold each inside its answer, which must be a stream: read on from the first content and never finish. Without it, each is
    /// idle behind a whole answer.
    #[arg(long)]
    streams: bool,
    /// Connections being opened at a time.
    #[arg(long, default_value_t = 64)]
    at_once: u16,
    /// Longest that they are held, in seconds.
    #[arg(long, default_value_t = 55)]
    limit_seconds: u32,
}

/// What all connections share.
struct Plan {
    peer: SocketAddr,
    request: Vec<u8>,
    streams: bool,
    gate: Semaphore,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let (authority, request) = args.request.wire()?;
    let peer = authority
        .parse()
        .with_context(|| format!("{authority} must be an address and a port"))?;
    let plan = Arc::new(Plan {
        peer,
        request,
        streams: args.streams,
        gate: Semaphore::new(usize::from(args.at_once)),
    });
    let (opened, mut open) = mpsc::unbounded_channel();
    let (release, released) = watch::channel(());
    let mut held = JoinSet::new();
    for index in 0..args.connections {
        held.spawn(hold(Arc::clone(&plan), index, opened.clone(), released.clone()));
    }
    drop((opened, released));

    let mut count = Count::default();
    let all_open = async {
        while count.open + count.lost < args.connections {
            tokio::select! {
                Some(()) = open.recv() => count.open += 1,
                Some(ended) = held.join_next() => count.ended(ended),
                else => break,
            }
        }
    };
    let _ = tokio::time::timeout(OPEN_LIMIT, all_open).await;
    count.print()?;
    let limit = Duration::from_secs(u64::from(args.limit_seconds));
    let _ = tokio::time::timeout(limit, input::ended()).await;
    let _ = release.send(());
    while let Some(ended) = held.join_next().await {
        count.ended(ended);
    }
    count.print()
}

/// What became of the connections.
#[derive(Default, Serialize)]
struct Count {
    /// Answered, or with an answer begun.
    open: u32,
    /// Not opened, or closed by the peer before they were released.
    lost: u32,
    /// Open until they were released.
    kept: u32,
    last_error: String,
}

impl Count {
    fn ended(&mut self, ended: Result<Result<()>, JoinError>) {
        let why = match ended {
            Ok(Ok(())) => {
                self.kept += 1;
                return;
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(error) => error.to_string(),
        };
        self.lost += 1;
        self.last_error = why;
    }

    fn print(&self) -> Result<()> {
        let line = serde_json::to_string(self).context("write the counts")?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .context("print the counts")
    }
}

/// One connection, from its opening to its release.
async fn hold(
    plan: Arc<Plan>,
    index: u32,
    opened: UnboundedSender<()>,
    mut released: watch::Receiver<()>,
) -> Result<()> {
    let turn = plan.gate.acquire().await.context("wait for a turn")?;
    let mut wire = Wire::new(connect(plan.peer, index).await?);
    wire.send(&plan.request).await?;
    let head = wire.response_head().await?;
    ensure!(head.status == 200, "status {}", head.status);
    let mut open = Some((turn, opened));
    let mut is_open = move || open.take().is_some_and(|(_, opened)| opened.send(()).is_ok());
    if plan.streams {
        let rest = wire.body(head.framing, |_| {
            is_open();
        });
        tokio::select! {
            ended = rest => ended.and(Err(anyhow!("the stream ended before it was released"))),
            _ = released.changed() => Ok(()),
        }
    } else {
        wire.body(head.framing, |_| {}).await?;
        is_open();
        tokio::select! {
            ended = wire.end() => ended.and(Err(anyhow!("the idle connection was closed before it was released"))),
            _ = released.changed() => Ok(()),
        }
    }
}

async fn connect(peer: SocketAddr, index: u32) -> Result<TcpStream> {
    let socket = match peer {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
    .context("make a socket: the limit of open files (ulimit -n) must be above --connections")?;
    if peer.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        let source = source(std::process::id(), index);
        socket
            .bind(SocketAddr::new(source.into(), 0))
            .with_context(|| format!("connect from {source}"))?;
    }
    let stream = socket
        .connect(peer)
        .await
        .with_context(|| format!("connect to {peer}"))?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    Ok(stream)
}

/// The source address of a connection: other ones for each process, and never 127.0.x.x, where everything else is.
fn source(process: u32, index: u32) -> Ipv4Addr {
    let [.., high, low] = process.to_be_bytes();
    let last = index / PER_SOURCE % 250 + 1;
    Ipv4Addr::new(127, 1 + high % 250, low, u8::try_from(last).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_addresses_have_ports_enough_and_are_all_loopback() {
        let sources: Vec<_> = (0..60_000).map(|index| source(u32::MAX, index)).collect();
        assert!(sources.iter().all(Ipv4Addr::is_loopback));
        let most = sources.chunk_by(|a, b| a == b).map(<[_]>::len).max();
        assert_eq!(most, Some(PER_SOURCE as usize));
        assert_ne!(source(1, 0), source(2, 0));
    }
}
