//! One connection to one node of a store, shared by all who ask: questions go out as they come, answers come in their order.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use bowsprit_core::share::store::address::Node;
use bowsprit_core::share::store::resp::{self, Reply};
use bowsprit_core::share::store::script::{self, Answer, Named, Place};
use bowsprit_core::share::store::{Unanswered, standing};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::question::{Counted, Heard, Question, Wished};
use super::reach::{Io, Reach};
use crate::limits::{STORE_CONNECT, STORE_QUESTIONS, STORE_SILENCE, STORE_UNSENT};

/// Keeps the connection to a node (`None`: the one that the Secret names) as long as anybody may ask.
pub(super) async fn run(to: Option<Node>, reach: Arc<Reach>, mut asked: mpsc::Receiver<Question>) {
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
            tracing::warn!(
                secret = reach.secret(),
                error = why,
                "a store that counts limits is not connected"
            );
        }
        let again = Instant::now() + standing::pause(failures, fastrand::f64());
        failures = failures.saturating_add(1);
        if !refuse_until(again, &mut asked).await {
            return;
        }
    }
}

/// Whoever asks meanwhile hears at once that there is no connection. Says whether anybody may still ask.
async fn refuse_until(again: Instant, asked: &mut mpsc::Receiver<Question>) -> bool {
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
struct Waiting {
    since: Instant,
    what: What,
}

enum What {
    /// The word that the next question may be asked here.
    Asking,
    /// An answer that somebody waits for. Whoever has gone on takes nothing: what was taken is given back.
    Asked {
        asker: oneshot::Sender<Result<Heard, Unanswered>>,
        taken: Option<(Arc<Counted>, u64, Place)>,
    },
    /// An answer that nobody waits for.
    Told,
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

struct Talk {
    from: ReadHalf<Box<dyn Io>>,
    to: WriteHalf<Box<dyn Io>>,
    node: Node,
    read: BytesMut,
    unsent: Unsent,
    waiting: VecDeque<Waiting>,
    line: Vec<u8>,
}

impl Talk {
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
    async fn run(mut self, asked: &mut mpsc::Receiver<Question>) -> Result<(), String> {
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

    fn ask(&mut self, question: Question) {
        // Whoever has gone on while there was no connection takes nothing.
        if question.asker.as_ref().is_some_and(oneshot::Sender::is_closed) {
            return;
        }
        let since = Instant::now();
        self.line.clear();
        if question.for_once {
            resp::begin(&mut self.line, 1);
            resp::text(&mut self.line, b"ASKING");
            self.waiting.push_back(Waiting {
                since,
                what: What::Asking,
            });
        }
        let of = &question.of;
        script::call(
            &mut self.line,
            question.named,
            &of.keys,
            &of.limits,
            &question.wished.as_wish(),
        );
        self.unsent.bytes.extend_from_slice(&self.line);
        let what = match (question.asker, question.wished) {
            (None, _) => What::Told,
            (Some(asker), Wished::Take { tokens, place }) => What::Asked {
                asker,
                taken: Some((question.of, tokens, place)),
            },
            (Some(asker), _) => What::Asked { asker, taken: None },
        };
        self.waiting.push_back(Waiting { since, what });
    }

    /// Reads the answers that have come.
    fn hear(&mut self) -> Result<(), String> {
        while let Some((reply, took)) = resp::parse(&self.read).map_err(|garbage| garbage.to_string())? {
            let Some(waiting) = self.waiting.pop_front() else {
                return Err("answered what it was not asked".into());
            };
            let mut back = None;
            match waiting.what {
                What::Asking => {
                    if !matches!(reply, Reply::Simple(_)) {
                        return Err("refused: ASKING".into());
                    }
                }
                What::Told => {}
                What::Asked { asker, taken } => {
                    let heard = heard(&reply, &self.node);
                    if matches!(heard, Err(Unanswered::Garbled)) {
                        // Nothing that follows can be trusted to answer what it seems to.
                        let _ = asker.send(heard);
                        return Err(resp::Garbage.to_string());
                    }
                    if let Err(Ok(Heard::Done)) = asker.send(heard) {
                        back = taken;
                    }
                }
            }
            let _ = self.read.split_to(took);
            if let Some((of, tokens, place)) = back {
                let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
                let wished = Wished::Give {
                    requests: 1,
                    tokens,
                    place,
                };
                self.ask(Question {
                    of,
                    wished,
                    named: Named::Sha,
                    for_once: false,
                    asker: None,
                });
            }
        }
        Ok(())
    }
}

fn heard(reply: &Reply<'_>, node: &Node) -> Result<Heard, Unanswered> {
    Ok(match script::answer(reply)? {
        Answer::Done => Heard::Done,
        Answer::Limited(limited) => Heard::Limited(limited),
        Answer::NoScript => Heard::NoScript,
        Answer::Elsewhere { at, for_once } => Heard::Elsewhere {
            node: Node::elsewhere(at, node).ok_or(Unanswered::Garbled)?,
            for_once,
        },
    })
}
