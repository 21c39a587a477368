//! A stream that stands: messages in, reports out.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::stream::lines::{Lines, TooLong};
use bowsprit_core::stream::loans::{MOST_BORROWS, WireBorrow, WireLoan};
use bowsprit_core::stream::pauses::WirePause;
use bowsprit_core::stream::shares::{MOST_ASKS, WireAsk, WireGrant};
use bowsprit_core::stream::{MAX_TO_OPERATOR, MAX_TO_SIDECAR, SidecarReport, StreamedConfig, ToOperator, ToSidecar};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use super::pace;
use super::state::{Ended, StreamState, Why};
use crate::limits::{STREAM_BUFFER_KEPT, STREAM_PIECE, STREAM_SILENCE, STREAM_WRITE};
use crate::net::client::Resolve;

/// From one report to the next at the least, and from one look whether there is something to report to the next.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// From one look whether there is something to ask to the next, while it has asked within [`ASKS_FOR`]. Without that it is looked with the reports.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How long after an ask another may soon follow.
const ASKS_FOR: Duration = Duration::from_secs(5);

/// What the sidecar asks about limits of the fleet now; told whether the stream has just been opened.
type Asks = Box<dyn Fn(bool) -> Vec<WireAsk> + Send + Sync>;
/// Takes what is granted.
type Granted = Box<dyn Fn(&[WireGrant]) + Send + Sync>;

/// What the sidecar asks about budgets that pods spend together now; told whether the stream has just been opened.
type Borrows = Box<dyn Fn(bool) -> Vec<WireBorrow> + Send + Sync>;
/// Takes what is lent.
type Lent = Box<dyn Fn(&[WireLoan]) + Send + Sync>;

/// What the sidecar asks and is lent of budgets that pods spend together.
pub struct Money {
    /// What it asks.
    pub borrows: Borrows,
    /// Where what it is lent goes.
    pub lent: Lent,
    /// Rings when a request waits for what is asked.
    pub urgent: Arc<Notify>,
}

/// Takes what the operator says of pauses.
type Told = Box<dyn Fn(&[WirePause]) + Send + Sync>;

/// What the operator says of pauses.
pub struct Pauses {
    /// Takes what is paused now, and in force with it.
    pub told: Told,
    /// The stream has ended: nobody says anything until there is another.
    pub ended: Box<dyn Fn() + Send + Sync>,
}

/// What the stream is connected with inside.
pub struct Link<R> {
    /// Where what comes goes.
    pub configs: mpsc::Sender<StreamedConfig>,
    /// Where goes what comes before them.
    pub pauses: Pauses,
    /// What the sidecar says of itself now.
    pub report: R,
    /// What it asks about limits of the fleet.
    pub asks: Asks,
    /// Where what it is granted goes.
    pub granted: Granted,
    /// What it asks and is lent of budgets.
    pub money: Money,
    /// What is seen of the stream.
    pub state: Arc<StreamState>,
    /// Who resolves names.
    pub resolver: Arc<dyn Resolve>,
}

/// Reads and reports until the stream ends. Says why it did, and whether any message came.
pub(super) async fn hold<S, R>(stream: S, link: &Link<R>) -> (Ended, bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
    R: Fn() -> SidecarReport + Send + Sync,
{
    let mut session = Session {
        stream,
        link,
        lines: Lines::keeping(STREAM_BUFFER_KEPT),
        heard: Instant::now(),
        any_heard: false,
        leave: None,
        reported: None,
        has_asked: false,
        has_borrowed: false,
        asked: None,
    };
    let ended = session.run().await;
    (link.pauses.ended)();
    (ended, session.any_heard)
}

struct Session<'a, S, R> {
    stream: S,
    link: &'a Link<R>,
    lines: Lines,
    /// When the last bytes came.
    heard: Instant,
    any_heard: bool,
    /// When to leave an operator that is about to end.
    leave: Option<Instant>,
    reported: Option<SidecarReport>,
    has_asked: bool,
    has_borrowed: bool,
    /// When it asked last.
    asked: Option<Instant>,
}

impl<S, R> Session<'_, S, R>
where
    S: AsyncRead + AsyncWrite + Unpin,
    R: Fn() -> SidecarReport + Send + Sync,
{
    async fn run(&mut self) -> Ended {
        let mut piece = vec![0; STREAM_PIECE];
        let mut look = Instant::now();
        let mut ask_look = look;
        let mut sent = None;
        loop {
            let ask_at = self.ask_again(ask_look);
            let alarm = [self.leave, ask_at].into_iter().flatten().fold(look, Instant::min);
            tokio::select! {
                // After a pause of the whole process, what arrived meanwhile counts before the clock does.
                biased;
                read = self.stream.read(&mut piece) => {
                    let arrived = match read {
                        Ok(0) => return Ended::new(Why::Closed, "the operator closed it"),
                        Ok(read) => piece.get(..read).unwrap_or_default(),
                        Err(error) => return Ended::new(Why::Closed, error.to_string()),
                    };
                    if let Err(ended) = self.arrived(arrived).await {
                        return ended;
                    }
                }
                // What the operator waits for: whether a configuration has been taken.
                () = self.link.state.news.notified() => {
                    look = sent.map_or(look, |sent: Instant| look.min(sent + REPORT_EVERY));
                }
                // A request waits: that cannot.
                () = self.link.money.urgent.notified() => {
                    if let Err(ended) = self.borrow().await {
                        return ended;
                    }
                }
                () = tokio::time::sleep_until(alarm) => {}
            }
            let now = Instant::now();
            if self.leave.is_some_and(|leave| leave <= now) {
                return Ended::new(Why::Moved, "the operator is about to end");
            }
            if now.duration_since(self.heard) > STREAM_SILENCE {
                return Ended::new(Why::Silent, format!("nothing came for {} s", STREAM_SILENCE.as_secs()));
            }
            let looks = look <= now;
            if looks {
                look = now + REPORT_EVERY;
                match self.report().await {
                    Ok(true) => sent = Some(now),
                    Ok(false) => {}
                    Err(ended) => return ended,
                }
            }
            if looks || ask_at.is_some_and(|at| at <= now) {
                ask_look = now;
                if let Err(ended) = self.ask().await {
                    return ended;
                }
            }
            if looks && let Err(ended) = self.borrow().await {
                return ended;
            }
        }
    }

    /// When to look again whether there is something to ask, where it was looked last at `last`; `None`: with the next report.
    fn ask_again(&self, last: Instant) -> Option<Instant> {
        let asked = self.asked.filter(|asked| asked.elapsed() < ASKS_FOR);
        asked.map(|_| last + ASK_EVERY)
    }

    /// Asks for shares, where there is something to ask.
    async fn ask(&mut self) -> Result<(), Ended> {
        let asks = (self.link.asks)(!self.has_asked);
        self.has_asked = true;
        if !asks.is_empty() {
            self.asked = Some(Instant::now());
        }
        for asks in asks.chunks(MOST_ASKS) {
            self.send(&ToOperator::Ask { asks: asks.to_vec() }).await?;
        }
        Ok(())
    }

    /// Asks for parts of budgets, where there is something to ask.
    async fn borrow(&mut self) -> Result<(), Ended> {
        let asks = (self.link.money.borrows)(!self.has_borrowed);
        self.has_borrowed = true;
        for asks in asks.chunks(MOST_BORROWS) {
            self.send(&ToOperator::Borrow { asks: asks.to_vec() }).await?;
        }
        Ok(())
    }

    async fn arrived(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.heard = Instant::now();
        let mut messages = Vec::new();
        self.lines
            .take(bytes, MAX_TO_SIDECAR, |line| {
                messages.push(serde_json::from_slice::<ToSidecar>(line));
                Ok(())
            })
            .map_err(|TooLong| Ended::new(Why::Protocol, format!("a line of more than {MAX_TO_SIDECAR} bytes")))?;
        for message in messages {
            // The text of serde's error has no part of the message but names of fields.
            let message = message.map_err(|error| Ended::new(Why::Protocol, format!("a message: {error}")))?;
            self.any_heard = true;
            self.link.state.heard();
            match message {
                ToSidecar::Config(config) => {
                    if self.link.configs.send(config).await.is_err() {
                        return Err(Ended::new(Why::Closed, "nobody takes configurations any more"));
                    }
                }
                ToSidecar::Paused { by } => (self.link.pauses.told)(&by),
                ToSidecar::Lend { loans } => (self.link.money.lent)(&loans),
                ToSidecar::Grant { grants } => {
                    (self.link.granted)(&grants);
                    // What it gives up nobody else has before it says so.
                    self.ask().await?;
                }
                ToSidecar::Ping => self.send(&ToOperator::Pong).await?,
                ToSidecar::GoAway { within_ms } => {
                    let leave = pace::leave_after(within_ms, fastrand::f64());
                    self.leave.get_or_insert(Instant::now() + leave);
                }
                ToSidecar::Unknown => {}
            }
        }
        Ok(())
    }

    /// Reports what is new. Says whether anything was.
    async fn report(&mut self) -> Result<bool, Ended> {
        let report = (self.link.report)();
        if self.reported.as_ref() == Some(&report) {
            return Ok(false);
        }
        self.send(&ToOperator::Report(report.clone())).await?;
        self.reported = Some(report);
        Ok(true)
    }

    async fn send(&mut self, message: &ToOperator) -> Result<(), Ended> {
        let mut line = serde_json::to_vec(message).unwrap_or_default();
        line.push(b'\n');
        if line.len() > MAX_TO_OPERATOR {
            // It would end the stream, and the next one, and say nothing.
            return Ok(());
        }
        let writing = async {
            self.stream.write_all(&line).await?;
            self.stream.flush().await
        };
        match timeout(STREAM_WRITE, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Ended::new(Why::Closed, error.to_string())),
            Err(_) => Err(Ended::new(
                Why::Silent,
                format!("the operator takes nothing for {} s", STREAM_WRITE.as_secs()),
            )),
        }
    }
}
