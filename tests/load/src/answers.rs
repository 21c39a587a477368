//! What the fixed upstream does with a request: finds the script of its path and plays it.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::script::{self, Script, Wanted};
use crate::wire::Wire;

/// The API whose paths an upstream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Api {
    /// Chat completions.
    Openai,
    /// Messages.
    Anthropic,
    /// `generateContent` and `streamGenerateContent`.
    Gemini,
}

/// Between what one side has seen and what the other sends because of it. By then the proxy waits again: if it did not, its work would
/// be less by a sleep and a waking, or not, as chance has it.
pub const PAUSE: Duration = Duration::from_millis(4);

/// When the next content event of a stream is sent.
#[derive(Debug)]
pub enum Pace {
    /// This long after the one before was due.
    Every(Duration),
    /// [`PAUSE`] after the caller has seen something of the one before and says so.
    Seen(Semaphore),
}

/// Everything the upstream can answer.
#[derive(Debug)]
pub struct Answers {
    only: Option<Api>,
    pace: Pace,
    openai: Script,
    anthropic: Script,
    gemini: Script,
    models: Vec<u8>,
    taken: Vec<u8>,
    not_found: Vec<u8>,
}

impl Answers {
    /// Answers with `events` content events in a stream. Any path but those of `only` is not found.
    pub fn new(only: Option<Api>, events: usize, pace: Pace) -> Self {
        Self {
            only,
            pace,
            openai: Script::openai(events),
            anthropic: Script::anthropic(events),
            gemini: Script::gemini(events),
            models: script::models(),
            taken: script::taken(),
            not_found: script::not_found(),
        }
    }

    /// The caller has seen something of a content event. Nothing where the clock sets the pace.
    pub fn seen(&self) {
        if let Pace::Seen(seen) = &self.pace {
            seen.add_permits(1);
        }
    }

    /// Answers requests until the peer closes.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, mut wire: Wire<S>) -> Result<()> {
        let mut body = Vec::new();
        while let Some(head) = wire.request_head().await? {
            body.clear();
            wire.body(head.framing, |bytes| body.extend_from_slice(bytes)).await?;
            self.answer(&mut wire, &head.method, &head.target, &body).await?;
        }
        Ok(())
    }

    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut Wire<S>,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> Result<()> {
        let path = target.split('?').next().unwrap_or_default();
        let found = match method {
            "POST" if path.ends_with("/chat/completions") => Some((Api::Openai, &self.openai, Wanted::of(body))),
            "POST" if path.ends_with("/messages") => Some((Api::Anthropic, &self.anthropic, Wanted::of(body))),
            "POST" if path.contains(":generateContent") => Some((Api::Gemini, &self.gemini, Wanted::default())),
            "POST" if path.contains(":streamGenerateContent") => Some((Api::Gemini, &self.gemini, Wanted::STREAM)),
            "GET" if path.ends_with("/models") => return wire.send(&self.models).await,
            // As a collector of spans that takes them all.
            "POST" if path == "/v1/traces" => return wire.send(&self.taken).await,
            _ => None,
        };
        match found {
            Some((api, script, wanted)) if self.only.is_none_or(|only| only == api) => {
                self.play(wire, script, wanted).await
            }
            _ => wire.send(&self.not_found).await,
        }
    }

    /// Sends a script's plain answer, or its events one by one.
    async fn play<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut Wire<S>,
        script: &Script,
        wanted: Wanted,
    ) -> Result<()> {
        if !wanted.stream {
            return wire.send(&script.plain).await;
        }
        let usage = if wanted.usage { script.usage.as_slice() } else { &[] };
        let mut events: Vec<_> = script.events.iter().map(Vec::as_slice).collect();
        let first = [&script.stream_head, events.first().copied().unwrap_or_default()].concat();
        match &self.pace {
            // Each is due at a multiple of the interval, so that one late write does not delay the rest.
            Pace::Every(interval) => {
                let mut due = Instant::now();
                wire.send(&first).await?;
                for event in events.iter().skip(1) {
                    due += *interval;
                    tokio::time::sleep_until(due).await;
                    wire.send(event).await?;
                }
                if !usage.is_empty() {
                    wire.send(usage).await?;
                }
                wire.send(&script.end).await
            }
            // The last event and the end are one write: a translator may say nothing of the one before it has the other.
            Pace::Seen(seen) => {
                let last = [events.pop().unwrap_or_default(), usage, &script.end].concat();
                seen.forget_permits(usize::MAX); // of the answer before
                wire.send(&first).await?;
                for event in events.into_iter().skip(1).chain([last.as_slice()]) {
                    seen.acquire().await.context("wait for the caller")?.forget();
                    tokio::time::sleep(PAUSE).await;
                    // However many pieces of one event it has seen, they are one.
                    seen.forget_permits(usize::MAX);
                    wire.send(event).await?;
                }
                Ok(())
            }
        }
    }
}
