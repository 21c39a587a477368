//! The bench's load generator: one kind of request, many times, and a JSON line about the answers.

use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bowsprit_load::events::EventCounter;
use bowsprit_load::pace::{self, Pace};
use bowsprit_load::request::Request;
use bowsprit_load::tally::{Answer, Tally};
use bowsprit_load::wire::Wire;
use clap::{Parser, ValueEnum};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Longest a request may take; a proxy that stalls longer is broken, not slow.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// How long an open loop may run over to send requests that were due in time; the rest count as lost.
const OVERRUN: Duration = Duration::from_secs(10);
/// Wait after a failure, so that a dead peer does not turn the load into a busy loop.
const AFTER_FAILURE: Duration = Duration::from_millis(20);
/// Bytes of a wrong answer kept for the error text.
const SAMPLE: usize = 200;

#[derive(Parser)]
#[command(name = "load", about = "Load generator of `make bench`: prints one JSON line")]
struct Args {
    /// How requests follow each other.
    mode: Mode,
    #[command(flatten)]
    request: Request,
    /// Connections, all kept open.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    connections: u32,
    /// How long requests are started, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Requests per second of mode `rate`.
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Server-sent events an answer must have, `[DONE]` included; any other number makes it bad.
    #[arg(long)]
    events: Option<u64>,
    /// Milliseconds over which the connections of mode `stream` begin, so that their events do not come in step.
    #[arg(long, default_value_t = 640)]
    spread_ms: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Each connection sends its next request when the last is answered.
    Closed,
    /// Requests are due at a fixed rate, whatever the answers do.
    Rate,
    /// As `closed`, for server-sent events.
    Stream,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Rate => "rate",
            Self::Stream => "stream",
        }
    }
}

/// What all connections share.
struct Run {
    mode: Mode,
    authority: String,
    request: Vec<u8>,
    events: Option<u64>,
    pace: Pace,
    end: Instant,
    tally: Mutex<Tally>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(
        args.seconds > 0.0 && args.seconds <= 3600.0,
        "--seconds must be above 0 and at most 3600"
    );
    ensure!(
        args.rate > 0.0 && args.rate <= 1e6,
        "--rate must be above 0 and at most 1000000"
    );
    let (authority, request) = args.request.wire()?;
    let start = Instant::now();
    let length = Duration::from_secs_f64(args.seconds);
    let run = Arc::new(Run {
        mode: args.mode,
        authority,
        request,
        events: args.events,
        pace: Pace::new(start, args.rate, length),
        end: start + length,
        tally: Mutex::new(Tally::new()?),
    });
    let mut connections = JoinSet::new();
    for index in 0..args.connections {
        let delay = match args.mode {
            Mode::Stream => Duration::from_millis(u64::from(args.spread_ms)) * index / args.connections,
            Mode::Closed | Mode::Rate => Duration::ZERO,
        };
        let run = Arc::clone(&run);
        connections.spawn(async move {
            tokio::time::sleep(delay).await;
            drive(&run).await;
        });
    }
    while let Some(ended) = connections.join_next().await {
        ended.context("a connection's task")?;
    }
    let took = start.elapsed();
    let unsent = if run.mode == Mode::Rate { run.pace.left() } else { 0 };
    if unsent > 0 {
        run.tally().io(
            unsent,
            &format!("{unsent} requests were due and never sent: the peer is slower than the rate"),
        );
    }
    let report = run.tally().report(run.mode.name(), took);
    let line = serde_json::to_string(&report).context("write the report")?;
    writeln!(std::io::stdout().lock(), "{line}").context("print the report")
}

/// One connection's part of the run.
async fn drive(run: &Run) {
    let mut connection = None;
    while let Some(start) = run.next().await {
        match tokio::time::timeout(REQUEST_LIMIT, run.exchange(&mut connection, start)).await {
            Ok(Ok(Outcome::Ok(answer))) => run.tally().ok(answer),
            Ok(Ok(Outcome::Bad(why))) => run.tally().bad(&why),
            failed => {
                connection = None;
                let why = match failed {
                    Ok(Err(error)) => format!("{error:#}"),
                    _ => format!("no whole answer in {} s", REQUEST_LIMIT.as_secs()),
                };
                run.tally().io(1, &why);
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

enum Outcome {
    Ok(Answer),
    Bad(String),
}

impl Run {
    /// A poisoned lock means that another connection's task ended by panic, which `main` reports.
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the next request may go, and says from when it is timed; `None` when the run is over.
    async fn next(&self) -> Option<Instant> {
        if self.mode != Mode::Rate {
            let now = Instant::now();
            return (now < self.end).then_some(now);
        }
        if Instant::now() >= self.end + OVERRUN {
            return None;
        }
        let due = self.pace.take()?;
        let early = Instant::now() < due;
        if early {
            tokio::time::sleep_until(due.into()).await;
        }
        Some(pace::timed_from(due, Instant::now(), early))
    }

    /// Sends the request and reads the whole answer. Leaves the connection in `slot` if it can carry another.
    async fn exchange(&self, slot: &mut Option<Wire<TcpStream>>, start: Instant) -> Result<Outcome> {
        let mut wire = match slot.take() {
            Some(wire) => wire,
            None => connect(&self.authority).await?,
        };
        let reads_before = wire.reads();
        wire.send(&self.request).await?;
        let head = wire.response_head().await?;
        let mut first_byte = None;
        let mut bytes = 0;
        let mut events = EventCounter::default();
        let mut sample = Vec::new();
        wire.body(head.framing, |content| {
            first_byte.get_or_insert_with(Instant::now);
            bytes += content.len() as u64;
            if self.events.is_some() {
                events.feed(content);
            }
            if head.status != 200 {
                sample.extend(content.iter().take(SAMPLE - sample.len().min(SAMPLE)));
            }
        })
        .await?;
        let now = Instant::now();
        let answer = Answer {
            latency: now - start,
            first_byte: first_byte.unwrap_or(now) - start,
            events: events.count(),
            reads: wire.reads() - reads_before,
            bytes,
        };
        if head.keep_alive {
            *slot = Some(wire);
        }
        if head.status != 200 {
            return Ok(Outcome::Bad(format!(
                "status {}: {}",
                head.status,
                String::from_utf8_lossy(&sample)
            )));
        }
        Ok(match self.events {
            Some(expected) if expected != answer.events => {
                Outcome::Bad(format!("{} events where {expected} were expected", answer.events))
            }
            _ => Outcome::Ok(answer),
        })
    }
}

async fn connect(authority: &str) -> Result<Wire<TcpStream>> {
    let stream = TcpStream::connect(authority)
        .await
        .with_context(|| format!("connect to {authority}"))?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    Ok(Wire::new(stream))
}
