//! One connection to one node of a store, shared by all who ask: questions go out as they come, answers come in their order.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use bowsprit_core::share::store::address::Node;
use bowsprit_core::share::store::resp::{self, Reply};
use bowsprit_core::share::store::standing;
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::ask::Ask;
use super::reach::{Io, Reach};
use crate::limits::{STORE_BUFFER_KEPT, STORE_CONNECT, STORE_QUESTIONS, STORE_SILENCE, STORE_UNSENT};

/// Keeps the connection to a node (`None`: the one that the Secret names) as long as anybody may ask.
pub(super) async fn run<Q: Ask>(to: Option<Node>, reach: Arc<Reach>, mut asked: mpsc::Receiver<Q>) {
    let mut failures = 0;
    while !asked.is_closed() || !asked.is_empty() {
        let connected = timeout(STORE_CONNECT, reach.connect(to.as_ref())).await;
        let why = match connected {
            Err(_) => format!("no connection within {} s", STORE_CONNECT.as_secs()),
            Ok(Err(why)) => why,
            Ok(Ok((io, node))) => {
                let began = Instant::now();
                let Err(why) = Talk::new(io, node).run(&mut asked).await else {
                    return;
                };
                // What breaks at once is no better than what does not connect.
                if began.elapsed() >= STORE_SILENCE {
                    failures = 0;
                }
                why
            }
        };
        if failures == 0 {
            tracing::warn!(secret = reach.secret(), error = why, "a store is not connected");
        }
        let again = Instant::now() + standing::pause(failures, fastrand::f64());
        failures = failures.saturating_add(1);
        if !refuse_until(again, &mut asked).await {
            return;
        }
    }
}

/// Whoever asks meanwhile hears at once that there is no connection. Says whether anybody may still ask.
async fn refuse_until<Q: Ask>(again: Instant, asked: &mut mpsc::Receiver<Q>) -> bool {
    loop {
        tokio::select! {
            question = asked.recv() => match question {
                Some(question) => drop(question),
                None => return false,
            },
            () = sleep_until(again) => return true,
        }
    }
}

/// What is waited for, in the order in which it was asked.
struct Waiting<Q> {
    since: Instant,
    /// None: the word that the next question may be asked here.
    question: Option<Q>,
}

/// What is still to be sent. All of its state is here, so that sending may be dropped at any time.
#[derive(Default)]
struct Unsent {
    bytes: BytesMut,
    /// Written, and perhaps held back by TLS.
    is_held_back: bool,
}

impl Unsent {
    fn is_any(&self) -> bool {
        !self.bytes.is_empty() || self.is_held_back
    }

    async fn send(&mut self, to: &mut WriteHalf<Box<dyn Io>>) -> io::Result<()> {
        poll_fn(|task| {
            while !self.bytes.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(task, &self.bytes))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.bytes.advance(written);
                self.is_held_back = true;
            }
            ready!(Pin::new(&mut *to).poll_flush(task))?;
            self.is_held_back = false;
            Poll::Ready(Ok(()))
        })
        .await
    }
}

struct Talk<Q> {
    from: ReadHalf<Box<dyn Io>>,
    to: WriteHalf<Box<dyn Io>>,
    node: Node,
    read: BytesMut,
    unsent: Unsent,
    waiting: VecDeque<Waiting<Q>>,
    line: Vec<u8>,
}

impl<Q: Ask> Talk<Q> {
    fn new(io: Box<dyn Io>, node: Node) -> Self {
        let (from, to) = tokio::io::split(io);
        Self {
            from,
            to,
            node,
            read: BytesMut::new(),
            unsent: Unsent::default(),
            waiting: VecDeque::new(),
            line: Vec::new(),
        }
    }

    /// Asks and hears until nobody can ask any more.
    ///
    /// # Errors
    /// Why the connection is given up. Who waits for an answer hears that there is none.
    async fn run(mut self, asked: &mut mpsc::Receiver<Q>) -> Result<(), String> {
        let broke = |error: io::Error| format!("broke off: {error}");
        loop {
            let silent_at = self.waiting.front().map(|waiting| waiting.since + STORE_SILENCE);
            let has_room = self.waiting.len() < STORE_QUESTIONS && self.unsent.bytes.len() < STORE_UNSENT;
            tokio::select! {
                biased;
                read = self.from.read_buf(&mut self.read) => {
                    if read.map_err(broke)? == 0 {
                        return Err("closed the connection".into());
                    }
                    self.hear()?;
                }
                question = asked.recv(), if has_room => match question {
                    Some(question) => self.ask(question),
                    None => return Ok(()),
                },
                sent = self.unsent.send(&mut self.to), if self.unsent.is_any() => sent.map_err(broke)?,
                () = sleep_until(silent_at.unwrap_or_else(Instant::now)), if silent_at.is_some() => {
                    return Err(format!("said nothing for {} ms", STORE_SILENCE.as_millis()));
                }
            }
        }
    }

    fn ask(&mut self, question: Q) {
        if question.is_in_vain() {
            return;
        }
        let since = Instant::now();
        self.line.clear();
        if question.is_for_once() {
            resp::begin(&mut self.line, 1);
            resp::text(&mut self.line, b"ASKING");
            self.waiting.push_back(Waiting { since, question: None });
        }
        question.write(&mut self.line);
        self.unsent.bytes.extend_from_slice(&self.line);
        let question = Some(question);
        self.waiting.push_back(Waiting { since, question });
    }

    /// Reads the answers that have come.
    fn hear(&mut self) -> Result<(), String> {
        while let Some((reply, took)) =
            resp::parse_within(&self.read, Q::LONGEST).map_err(|garbage| garbage.to_string())?
        {
            let Some(waiting) = self.waiting.pop_front() else {
                return Err("answered what it was not asked".into());
            };
            let next = match waiting.question {
                None if matches!(reply, Reply::Simple(_)) => None,
                None => return Err("refused: ASKING".into()),
                Some(question) => question
                    .answered(&reply, &self.node)
                    .map_err(|garbage| garbage.to_string())?,
            };
            let _ = self.read.split_to(took);
            if let Some(next) = next {
                self.ask(next);
            }
        }
        self.let_go();
        Ok(())
    }

    /// Keeps no buffer that one large text has made.
    fn let_go(&mut self) {
        for buffer in [&mut self.read, &mut self.unsent.bytes] {
            if buffer.is_empty() && buffer.capacity() > STORE_BUFFER_KEPT {
                *buffer = BytesMut::new();
            }
        }
        if self.line.capacity() > STORE_BUFFER_KEPT {
            self.line = Vec::new();
        }
    }
}
