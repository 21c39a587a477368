//! What is told of a request and of each of its attempts. Metrics, access log and everything later are made of these two
//! structs, of what led from one attempt to the next ([`crate::flow::moves`]) and of nothing else, so they cannot disagree.
//! No prompt, answer or key is in them.

use std::time::Duration;

use crate::classify::Ended;
use crate::cost::{Cost, Picodollars, Unpriced};
use crate::dialect::{Dialect, Usage};
use crate::fault::{Code, ErrorKind, TransportFault};
use crate::flow::State;
use crate::headroom::Limit;
use crate::trace::Span;
use path::Path;

pub mod kind;
pub mod path;
pub mod refused_by;

pub use kind::AttemptKind;
pub use refused_by::Refuser;

/// How a request ended, once and for all. The counters of these add up to the requests received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Answered in full.
    Ok,
    /// The caller's mistake.
    ClientError,
    /// The providers failed, or took too long.
    ProviderError,
    /// Our own fault, or our configuration's.
    OwnError,
    /// Turned away by a limit, overload or shutdown.
    Shed,
    /// The caller left first.
    Cancelled,
    /// The answer had begun and did not reach its end.
    Cut,
}

impl Outcome {
    /// All seven.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::ClientError,
        Self::ProviderError,
        Self::OwnError,
        Self::Shed,
        Self::Cancelled,
        Self::Cut,
    ];

    /// The metric label and log value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::ProviderError => "provider_error",
            Self::OwnError => "own_error",
            Self::Shed => "shed",
            Self::Cancelled => "cancelled",
            Self::Cut => "cut",
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttemptOutcome {
    /// With a whole answer.
    Answered,
    /// With an error, or half an answer.
    Failed,
    /// Nobody wanted its answer any more: the caller left, another attempt won, or the sidecar stopped.
    Cancelled,
}

impl AttemptOutcome {
    /// The log value and record field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The tokens of one attempt, told apart by how they are known. What the provider billed is at least what it told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// What the provider told, up to the end of the attempt; `None`: nothing.
    pub reported: Option<Usage>,
    /// Input tokens beyond that, estimated from the bytes of the request.
    pub estimated_input: u64,
    /// Output tokens beyond that, estimated from the content that was seen.
    pub estimated_output: u64,
    /// Nothing was spent: the request was refused, or never sent.
    pub is_nothing: bool,
}

/// What to take for tokens where the provider tells none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Input tokens: a quarter of the request's bytes.
    pub input: u64,
    /// Output tokens: one for each event with content that was seen, or a quarter of a plain answer's bytes.
    pub output: u64,
}

impl Spent {
    /// Nothing was spent.
    pub const NOTHING: Self = Self {
        reported: None,
        estimated_input: 0,
        estimated_output: 0,
        is_nothing: true,
    };

    /// What an attempt cost that ended so. `told`: what the provider has told until then; `estimate`: `None` for operations
    /// whose tokens cannot be estimated.
    pub fn of(ended: &Ended, told: Option<Usage>, estimate: Option<Estimate>) -> Self {
        let whole = matches!(ended, Ended::Answered) && told.is_some();
        match *ended {
            _ if whole => Self {
                reported: told,
                ..Self::default()
            },
            // An answer that cannot be read was generated all the same; any other error is a refusal, and refusals are free.
            Ended::Status { kind, .. } if kind != ErrorKind::Malformed && told.is_none() => Self::NOTHING,
            Ended::Transport { fault, .. } if !was_sent(fault) => Self::NOTHING,
            _ => Self::so_far(told, estimate),
        }
    }

    fn so_far(told: Option<Usage>, estimate: Option<Estimate>) -> Self {
        let estimate = estimate.unwrap_or_default();
        let known = told.unwrap_or_default();
        Self {
            reported: told,
            estimated_input: if known.input > 0 { 0 } else { estimate.input },
            estimated_output: estimate.output.saturating_sub(known.output),
            is_nothing: false,
        }
    }

    /// Whether an attempt that ended so may have written more than is known: it was given up before anything was told of it, and an answer
    /// that comes whole or not at all did not come, or nothing of a stream. A provider that says that it failed has said so.
    pub fn is_output_open(&self, ended: &Ended, is_stream: bool) -> bool {
        let was_given_up = matches!(ended, Ended::Transport { .. } | Ended::CallerGone);
        let is_seen = is_stream && self.estimated_output > 0;
        was_given_up && !(self.is_nothing || self.reported.is_some() || is_seen)
    }

    /// All of it, for a limiter; `None`: not known at all, so what was reserved stands.
    pub fn total(&self) -> Option<u64> {
        if self.is_nothing {
            return Some(0);
        }
        let reported = self.reported.unwrap_or_default();
        let estimated = self.estimated_input.saturating_add(self.estimated_output);
        let is_known = self.reported.is_some() || estimated > 0;
        let total = reported.input.saturating_add(reported.output).saturating_add(estimated);
        is_known.then_some(total)
    }
}

/// What an attempt has cost: its tokens, and their price or why that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expense {
    /// Its tokens.
    pub spent: Spent,
    /// What they cost.
    pub cost: Result<Picodollars, Unpriced>,
}

/// Whether a fault of the network came after the request was on its way.
fn was_sent(fault: TransportFault) -> bool {
    use TransportFault::{
        Coding, ConnectRefused, ConnectTimeout, Denied, Dns, FirstTokenTimeout, IdleTimeout, NoDescriptors, Protocol,
        Reset, Tls, TotalTimeout, Truncated,
    };
    match fault {
        Denied | NoDescriptors | ConnectRefused | ConnectTimeout | Dns | Tls => false,
        Reset | Truncated | FirstTokenTimeout | IdleTimeout | TotalTimeout | Protocol | Coding => true,
    }
}

/// One attempt, closed once.
#[derive(Clone, Copy, Debug)]
pub struct AttemptRecord<'a> {
    /// `X-Request-ID` of its request.
    pub request_id: &'a str,
    /// Its request's trace; empty where there is none.
    pub trace_id: &'a str,
    /// The ModelRoute that its request was matched by; empty where none was.
    pub route: &'a str,
    /// What was asked: as the request's.
    pub operation: &'a str,
    /// Its number in the request, from 1.
    pub number: u32,
    /// How it came about.
    pub kind: AttemptKind,
    /// The ProviderConfig's name.
    pub provider: &'a str,
    /// The model that was asked for there.
    pub model: &'a str,
    /// The model that the provider says answered; empty where it says none.
    pub reported_model: &'a str,
    /// The provider's own id of it; empty where it told none.
    pub provider_request_id: &'a str,
    /// The name of the credential it went with; `None` where the provider needs none.
    pub credential: Option<&'a str>,
    /// Whether a model was asked for words: not an embedding, a count, or what passes unread.
    pub is_generation: bool,
    /// Whether it was to come as a stream.
    pub is_stream: bool,
    /// The provider's HTTP status; `None` before its head has come.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The error it ended with.
    pub code: Option<Code>,
    /// From its begin to its end.
    pub took: Duration,
    /// From its begin to the answer's head.
    pub head_after: Option<Duration>,
    /// From its begin to the first content of a stream.
    pub first_content_after: Option<Duration>,
    /// Its tokens.
    pub spent: Spent,
    /// What these cost, or why that is not known.
    pub cost: Result<Cost<'a>, Unpriced>,
    /// Its span, where spans are made.
    pub span: Option<Span>,
    /// Whom it called.
    pub called: Called<'a>,
}

/// What a provider told of its own limits, with an answer: now and then, for each credential.
#[derive(Clone, Copy, Debug)]
pub struct HeadroomRecord<'a> {
    /// The ProviderConfig's name.
    pub provider: &'a str,
    /// The name of the credential that it is about; empty where the provider needs none.
    pub credential: &'a str,
    /// The limit.
    pub limit: Limit,
}

/// Whom an attempt called, as OpenTelemetry's conventions name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Called<'a> {
    /// Whose API was spoken: `openai`, `anthropic`, `gcp.gemini`, ...
    pub system: &'static str,
    /// What was done: `chat`, `generate_content`, `embeddings`; nothing for what the conventions have no word for.
    pub operation: &'a str,
    /// The host.
    pub host: &'a str,
    /// The port.
    pub port: u16,
}

/// One request, closed once.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord<'a> {
    /// `X-Request-ID`.
    pub id: &'a str,
    /// The caller's trace, from its `traceparent`; empty where there is none.
    pub trace_id: &'a str,
    /// The ModelRoute that it was matched by; empty where none was.
    pub route: &'a str,
    /// The caller's dialect.
    pub dialect: Dialect,
    /// What was asked: `chat_completions`, `messages`, ...
    pub operation: &'a str,
    /// The model asked for.
    pub asked_model: &'a str,
    /// Who answered, or was asked last; empty where nobody was.
    pub provider: &'a str,
    /// The model that was asked for there.
    pub model: &'a str,
    /// Whether a stream was asked for.
    pub is_stream: bool,
    /// Attempts over all providers.
    pub attempts: u32,
    /// Of these, made beside another.
    pub hedges: u32,
    /// How often the caller's SDK made this request before.
    pub sdk_retries: u32,
    /// Fields of the request that the provider which answered was not told.
    pub fields_left_out: u32,
    /// Of these, tools that it cannot run.
    pub tools_left_out: u32,
    /// The last state of its life.
    pub state: State,
    /// Changes outside the table of states: each is a bug of Bowsprit's.
    pub illegal_changes: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// The error it ended with; `None` after success and where the caller left.
    pub code: Option<Code>,
    /// HTTP status sent.
    pub status: u16,
    /// From the request's head to the end of the answer.
    pub took: Duration,
    /// To the first content, for streams.
    pub first_token_after: Option<Duration>,
    /// Spent neither waiting for the caller nor for a provider: our own part.
    pub overhead: Duration,
    /// Bytes of the answer's body that were sent to the caller.
    pub answer_bytes: u64,
    /// Tokens of the attempt that answered, or was made last; of one that was given up before its answer began, as they were
    /// estimated when it went out.
    pub spent: Spent,
    /// What led from one candidate to the next.
    pub path: &'a Path,
    /// The kept answer that its caller got after all, since every candidate was down. How it ended is told as if there had been
    /// none, and no tokens were spent for it.
    pub stale: Option<Stale<'a>>,
    /// The kept answer that its caller got in place of asking anybody: it ended well, and nothing was spent for it.
    pub cache: Option<Cached<'a>>,
    /// Which rule turned it away, as [`Refuser::named`] says it; empty where none did.
    pub refused_by: &'a str,
    /// Which rule in shadow would have turned it away, as [`Refuser::named`] says it: the first of them; empty where none would.
    pub would_refuse_by: &'a str,
    /// The guards that found something in it or in its answer, by their names, with commas between; empty where none did. What they
    /// found is told nowhere.
    pub guarded_by: &'a str,
    /// Its span, where spans are made.
    pub span: Option<Span>,
    /// What these cost, or why that is not known.
    pub cost: Result<Picodollars, Unpriced>,
}

/// A kept answer that a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale<'a> {
    /// How long ago it was given first.
    pub age: Duration,
    /// `X-Request-ID` of the request that it answered then.
    pub request_id: &'a str,
    /// The ProviderConfig that gave it.
    pub provider: &'a str,
}

/// An answer of the cache that a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cached<'a> {
    /// How long ago it was given first.
    pub age: Duration,
    /// `X-Request-ID` of the request that it answered then.
    pub request_id: &'a str,
    /// The ProviderConfig that gave it.
    pub provider: &'a str,
    /// Input and output tokens that it was billed with then, and were not spent again; 0 where that was not told.
    pub saved_tokens: u64,
    /// What these cost then; zero where that is not known.
    pub saved_cost: Picodollars,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Terms;

    const TOLD: Usage = Usage {
        input: 1_000,
        output: 1,
        cached: 0,
        cache_write: 0,
        reasoning: 0,
        cache_write_hour: 0,
        searches: 0,
        terms: Terms::Standard,
    };
    const ESTIMATE: Option<Estimate> = Some(Estimate { input: 50, output: 40 });

    #[test]
    fn what_a_provider_told_of_a_whole_answer_is_all_there_is() {
        let spent = Spent::of(&Ended::Answered, Some(TOLD), ESTIMATE);
        assert_eq!(
            (spent.total(), spent.estimated_input, spent.estimated_output),
            (Some(1_001), 0, 0)
        );
    }

    #[test]
    fn who_leaves_a_stream_has_spent_what_was_told_and_what_was_seen_beyond_it() {
        let spent = Spent::of(&Ended::CallerGone, Some(TOLD), ESTIMATE);
        assert_eq!(
            (spent.reported, spent.estimated_input, spent.estimated_output),
            (Some(TOLD), 0, 39)
        );
        assert_eq!(spent.total(), Some(1_040));
        let nothing_told = Spent::of(&Ended::CallerGone, None, ESTIMATE);
        assert_eq!(nothing_told.total(), Some(90));
    }

    #[test]
    fn refusals_and_what_was_never_sent_cost_nothing() {
        let refused = Ended::Status {
            status: 429,
            kind: ErrorKind::RateLimited,
        };
        let unreachable = Ended::Transport {
            fault: TransportFault::ConnectRefused,
            content_sent: false,
        };
        for ended in [refused, unreachable] {
            assert_eq!(Spent::of(&ended, None, ESTIMATE), Spent::NOTHING);
        }
    }

    #[test]
    fn an_answer_that_cannot_be_read_or_breaks_off_was_generated_all_the_same() {
        let unreadable = Ended::Status {
            status: 200,
            kind: ErrorKind::Malformed,
        };
        let late = Ended::Transport {
            fault: TransportFault::FirstTokenTimeout,
            content_sent: false,
        };
        for ended in [unreadable, late] {
            assert_eq!(Spent::of(&ended, None, ESTIMATE).total(), Some(90));
        }
    }

    #[test]
    fn what_cannot_be_estimated_is_not_known() {
        assert_eq!(Spent::of(&Ended::Answered, None, None).total(), None);
    }
}
