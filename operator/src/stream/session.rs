//! One stream from its 101 to its end: a single task that reads and writes at the same time.
//!
//! What it holds is small whatever the peer does: of what is to be sent only the line under way (shared with all streams of
//! the namespace) and the newest after it; of what comes only the line that is not yet whole.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::ready;
use std::time::Duration;

use bowsprit_core::stream::ToSidecar;
use bowsprit_core::stream::lines::{Lines, TooLong};
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::documents::{Frame, Newest, line};
use super::mailbox::Mailbox;
use super::metrics::Metrics;
use super::roster::Cut;

/// Read at once, on the stack.
const CHUNK: usize = 4 << 10;
/// Beyond the window of a [`ToSidecar::GoAway`], for those who are late.
const LATE: Duration = Duration::from_secs(1);

/// The times of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two pings, give or take a sixth.
    pub ping: Duration,
    /// A peer that says nothing for so long is gone.
    pub silence: Duration,
    /// After what was heard, before more is read: who talks without end costs no more than this.
    pub pause: Duration,
    /// In which to leave an operator that ends.
    pub leave_within: Duration,
    /// In which streams are told, each at a moment of its own, to leave an operator that is worse off than another.
    pub withdraw_within: Duration,
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The peer closed it, or the network did.
    Closed,
    /// The peer said nothing for too long.
    Silent,
    /// A line that is too long or no message.
    Malformed,
    /// From here.
    Cut(Cut),
    /// This replica ends.
    Leaving,
    /// Another replica knows better what is paused.
    InDoubt,
}

impl Ended {
    /// For the metric.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::Malformed => "malformed",
            Self::Cut(Cut::PodGone) => "pod_gone",
            Self::Cut(Cut::Replaced) => "replaced",
            Self::Leaving => "leaving",
            Self::InDoubt => "in_doubt",
        }
    }
}

/// A line that is no message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Malformed;

impl From<TooLong> for Malformed {
    fn from(TooLong: TooLong) -> Self {
        Self
    }
}

/// What a stream looks at beside its peer.
pub(super) struct Session<'a> {
    /// What to send.
    pub(super) newest: Newest,
    /// What to send before that: a pause waits for nothing but the line under way.
    pub(super) pauses: Newest,
    /// What else to send.
    pub(super) mailbox: &'a Mailbox,
    /// Ends it.
    pub(super) cut: oneshot::Receiver<Cut>,
    /// Whether this replica is about to end.
    pub(super) leaving: watch::Receiver<bool>,
    /// Whether streams are sent to other replicas.
    pub(super) withdrawn: watch::Receiver<bool>,
    pub(super) timing: Timing,
    /// The longest line to read, bytes.
    pub(super) longest: usize,
    pub(super) metrics: &'a Metrics,
}

/// What is being written.
#[derive(Default)]
struct Output {
    rest: Bytes,
    /// Written, and may lie in a buffer of TLS.
    unflushed: bool,
    config: Option<Config>,
}

/// A config that is being written.
struct Config {
    /// When it was heard of, where that was while this stream was open.
    news_since: Option<std::time::Instant>,
}

impl Output {
    fn is_idle(&self) -> bool {
        self.rest.is_empty() && !self.unflushed
    }

    /// May be dropped while it waits: what was taken is noted before the next wait.
    async fn advance(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        if self.rest.is_empty() {
            writer.flush().await?;
            self.unflushed = false;
            return Ok(());
        }
        let taken = writer.write(&self.rest).await?;
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.rest.advance(taken);
        self.unflushed = true;
        Ok(())
    }
}

impl Session<'_> {
    /// Carries the stream to its end. `early` is what was read beyond the request; `hear` takes each line without its end.
    pub(super) async fn carry<T>(
        mut self,
        io: T,
        early: &[u8],
        mut hear: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Ended
    where
        T: AsyncRead + AsyncWrite,
    {
        let (mut reader, mut writer) = tokio::io::split(io);
        let opened = std::time::Instant::now();
        // Nothing is kept between lines: ten thousand streams that are silent hold nothing.
        let mut input = Lines::keeping(0);
        let mut output = Output::default();
        let (mut sent, mut paused, mut is_first) = (None, None, true);
        let mut heard_at = Instant::now();
        let mut read_at = heard_at;
        let mut ping_at = heard_at + self.until_ping();
        let (mut leave_by, mut go_at): (Option<(Instant, Ended)>, Option<Instant>) = (None, None);
        if input.take(early, self.longest, &mut hear).is_err() {
            return Ended::Malformed;
        }
        loop {
            if output.is_idle() {
                if let Some(Config { news_since }) = output.config.take() {
                    self.metrics.sent(news_since.map(|since| since.elapsed()));
                }
                let pause = newer(&mut self.pauses, paused);
                // Never one that is older than what was sent, whatever the source says.
                if let Some(frame) = pause {
                    paused = Some(frame.sequence);
                    output.rest = frame.line;
                } else if let Some(frame) = newer(&mut self.newest, sent) {
                    sent = Some(frame.sequence);
                    output.rest = frame.line;
                    let is_first = std::mem::take(&mut is_first);
                    let news_since = (!is_first || frame.since >= opened).then_some(frame.since);
                    output.config = Some(Config { news_since });
                } else if leave_by.is_none()
                    && let Some(why) = self.goes(&mut go_at)
                {
                    let window = self.timing.leave_within;
                    leave_by = Some((Instant::now() + window + LATE, why));
                    let within_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
                    output.rest = line(&ToSidecar::GoAway { within_ms }).unwrap_or_default();
                } else if Instant::now() >= ping_at {
                    ping_at = Instant::now() + self.until_ping();
                    output.rest = line(&ToSidecar::Ping).unwrap_or_default();
                } else {
                    output.rest = self.mailbox.take();
                }
            }
            let is_reading = Instant::now() >= read_at;
            let mut wake = heard_at + self.timing.silence;
            if !is_reading {
                wake = wake.min(read_at);
            }
            if output.is_idle() {
                wake = wake.min(ping_at);
            }
            if let Some((leave_by, _)) = leave_by {
                wake = wake.min(leave_by);
            } else if let Some(go_at) = go_at.filter(|_| output.is_idle()) {
                wake = wake.min(go_at);
            }
            tokio::select! {
                cut = &mut self.cut => return cut.map_or(Ended::Closed, Ended::Cut),
                // Taken in the moment in which it is read, so that nothing is lost where another branch wins.
                read = read(&mut reader, |bytes| input.take(bytes, self.longest, &mut hear)), if is_reading => {
                    let Ok(Some(lines)) = read else {
                        return leave_by.map_or(Ended::Closed, |(_, why)| why);
                    };
                    heard_at = Instant::now();
                    match lines {
                        Ok(0) => {}
                        Ok(_) => read_at = heard_at + self.timing.pause,
                        Err(Malformed) => return Ended::Malformed,
                    }
                }
                written = output.advance(&mut writer), if !output.is_idle() => {
                    if written.is_err() {
                        return Ended::Closed;
                    }
                }
                // A sender that is gone says nothing any more; the cut and the peer still do.
                Ok(()) = self.pauses.changed(), if output.is_idle() => {}
                Ok(()) = self.newest.changed(), if output.is_idle() => {}
                () = self.mailbox.news(), if output.is_idle() => {}
                Ok(()) = self.leaving.changed(), if leave_by.is_none() => {}
                Ok(()) = self.withdrawn.changed(), if leave_by.is_none() => {}
                () = tokio::time::sleep_until(wake) => {
                    let now = Instant::now();
                    if let Some((_, why)) = leave_by.filter(|(leave_by, _)| now >= *leave_by) {
                        return why;
                    }
                    if is_reading && now >= heard_at + self.timing.silence {
                        return Ended::Silent;
                    }
                }
            }
        }
    }

    /// Why the peer is to be told to leave now, if it is. Where another replica is better off, each stream goes at a moment of its own
    /// (`go_at`), and stays where that is over before it comes.
    fn goes(&self, go_at: &mut Option<Instant>) -> Option<Ended> {
        if *self.leaving.borrow() {
            return Some(Ended::Leaving);
        }
        if !*self.withdrawn.borrow() {
            *go_at = None;
            return None;
        }
        let now = Instant::now();
        let at = *go_at.get_or_insert_with(|| now + self.timing.withdraw_within.mul_f64(fastrand::f64()));
        (now >= at).then_some(Ended::InDoubt)
    }

    /// So that streams that were opened together do not ping together.
    fn until_ping(&self) -> Duration {
        self.timing.ping.mul_f64(5.0 / 6.0 + fastrand::f64() / 3.0)
    }
}

/// What there is of a source, where it is newer than what was sent of it.
fn newer(source: &mut Newest, sent: Option<u64>) -> Option<Frame> {
    let newest = source.borrow_and_update().clone();
    newest.filter(|frame| sent.is_none_or(|sent| frame.sequence > sent))
}

/// What `take` makes of what is there to read; none at the end.
async fn read<R>(reader: &mut (impl AsyncRead + Unpin), mut take: impl FnMut(&[u8]) -> R) -> io::Result<Option<R>> {
    poll_fn(|context| {
        let mut chunk = [0; CHUNK];
        let mut chunk = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut *reader).poll_read(context, &mut chunk))?;
        let bytes = chunk.filled();
        io::Result::Ok((!bytes.is_empty()).then(|| take(bytes))).into()
    })
    .await
}
