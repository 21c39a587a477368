//! What the ledger holds, as it is kept in a sidecar's outbox and as it travels: plain data, owned, with names that are closed
//! lists of `bowsprit_core` where they can be. No prompt, no answer and no key is in it.
//!
//! A field that a release does not know is passed over, and one that it misses has a default: a release understands the one
//! before it and the one after.

use serde::{Deserialize, Serialize};

/// Bytes of a name, an id or a code that are kept: what is longer is cut, between two characters. Otherwise a text is kept as it
/// came, but for NUL, which PostgreSQL has no room for: it is kept as U+FFFD.
pub const LONGEST_TEXT: usize = 256;
/// Turns of a path that are kept: [`Request::turns_left_out`] counts those after them.
pub const MOST_TURNS: usize = 16;

/// [`Attempt::operation`] of what one model used in a batch: `request_id` is the batch's id, or its file's of results, and it is
/// told by whoever fetched the results, so perhaps by several pods.
pub const BATCH: &str = "batch";

/// [`Turn::what`] of a request that got a kept answer, since every candidate was down.
pub const ANSWERED_STALE: &str = "answered_stale";

/// One entry with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Numbered {
    /// Its place in its outbox, from 1; grows with each entry.
    pub sequence: u64,
    /// When what it tells of ended: milliseconds since 1970, UTC. Less than the entry's before it only where the clock of the node had
    /// been more than a minute ahead.
    pub at: i64,
    /// What it tells.
    pub entry: Entry,
}

/// What an entry tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Entry {
    /// A request has ended.
    Request(Box<Request>),
    /// An attempt at a provider has ended. A request's attempts come before it.
    Attempt(Box<Attempt>),
    /// Requests or attempts of one minute, added up: what is left of detail for which there was no room.
    Sum(Box<Sum>),
    /// How much a provider lets through, as its headers told.
    Headroom(Box<Headroom>),
}

/// Tokens, told apart by how they are known; the sum of all of them is what is believed to have been billed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tokens {
    /// Input as the provider told, what its cache held included.
    pub input: u64,
    /// Output as the provider told, reasoning included.
    pub output: u64,
    /// Of the input: read from the provider's cache.
    pub cached: u64,
    /// Of the input: written to the provider's cache.
    pub cache_write: u64,
    /// Of the output: spent on reasoning.
    pub reasoning: u64,
    /// Input beyond that, estimated.
    pub estimated_input: u64,
    /// Output beyond that, estimated.
    pub estimated_output: u64,
}

impl Tokens {
    /// Whether these, with more that are not known or not, are worth something: without a price their cost is not known, and not 0.
    pub fn may_cost(&self, are_more_unknown: bool) -> bool {
        *self != Self::default() || are_more_unknown
    }

    /// All counts, in the order of the fields.
    pub fn counts(&self) -> [u64; 7] {
        // Taken apart, so that one which is added is not forgotten.
        let Self {
            input,
            output,
            cached,
            cache_write,
            reasoning,
            estimated_input,
            estimated_output,
        } = *self;
        [
            input,
            output,
            cached,
            cache_write,
            reasoning,
            estimated_input,
            estimated_output,
        ]
    }
}

/// What it cost. Exact: an amount is a whole number of picodollars (10^-12 US dollars), which every price of up to six decimals
/// per million tokens is per token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cost {
    /// Of what the provider told, picodollars.
    pub reported: i64,
    /// Of what is estimated, picodollars.
    pub estimated: i64,
    /// Which prices: `table:<date>` of the table that comes with this release, or `config` for the object's own.
    pub version: String,
}

/// A request, from its head to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Request {
    /// `X-Request-ID`.
    pub id: String,
    /// W3C trace id, 32 hex digits; empty where there is none.
    pub trace_id: String,
    /// The ModelRoute that it was matched by; empty where none was.
    pub route: String,
    /// The caller's API: `openai`, `anthropic`, ...
    pub dialect: String,
    /// What was asked: `chat_completions`, `messages`, ...
    pub operation: String,
    /// The model asked for.
    pub asked_model: String,
    /// The ProviderConfig that answered, or was asked last; empty where none was.
    pub provider: String,
    /// The model that was asked for there.
    pub model: String,
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
    /// How it ended: `ok`, `client_error`, `provider_error`, `own_error`, `shed`, `cancelled`, `cut`.
    pub outcome: String,
    /// The error it ended with; empty after success and where the caller left.
    pub code: String,
    /// HTTP status sent; 0 where none was.
    pub status: u16,
    /// From its head to the end of the answer, microseconds.
    pub took: u64,
    /// To the first content of a stream, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token: Option<u64>,
    /// Spent neither waiting for the caller nor for a provider, microseconds.
    pub overhead: u64,
    /// Bytes of the answer that were sent.
    pub answer_bytes: u64,
    /// Tokens of the attempt that answered, or was made last. What was billed is told by the attempts.
    pub tokens: Tokens,
    /// What led from one candidate to the next, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<Turn>,
    /// Turns beyond those of the path, which has a bound.
    #[serde(skip_serializing_if = "is_zero")]
    pub turns_left_out: u32,
    /// The kept answer that it got, in place of asking anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cached>,
    /// Which rule turned it away: `limit:NAME`, `access:NAME`, `budget:NAME`, `guard:NAME`, `pause:NAME`; empty where none did.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub refused_by: String,
    /// The first rule in shadow that would have turned it away, in the same form; empty where none would.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub would_refuse_by: String,
}

/// An answer of the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cached {
    /// How old it was, milliseconds.
    pub age: u64,
    /// `X-Request-ID` of the request that it answered first.
    pub request_id: String,
    /// The ProviderConfig that gave it.
    pub provider: String,
    /// Tokens that it was billed with then, and were not spent again.
    pub saved_tokens: u64,
    /// What these cost then, picodollars; 0 where that is not known.
    pub saved_cost: i64,
}

/// A turn that a request took away from a candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Turn {
    /// Since the request's head, microseconds.
    pub after: u64,
    /// The ProviderConfig.
    pub provider: String,
    /// `failed`, `retried`, `passed_over`, `waited`; [`ANSWERED_STALE`] as the last one.
    pub what: String,
    /// The error's code, or why it was passed over or waited for; of a kept answer, the id of the request that it answered
    /// first.
    pub because: String,
    /// What was decided: `again`, `other_credential`, `onward`, `stop`, and why; empty where nothing was.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub then: String,
    /// How long it waited or will wait, milliseconds; of a kept answer, its age.
    #[serde(skip_serializing_if = "is_zero")]
    pub wait: u32,
}

/// An attempt at a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attempt {
    /// `X-Request-ID` of its request.
    pub request_id: String,
    /// W3C trace id; empty where there is none.
    pub trace_id: String,
    /// The ModelRoute of its request; empty where none was matched.
    pub route: String,
    /// Its number in the request, from 1.
    pub number: u32,
    /// How it came about: `first`, `retry`, `fallback`, `hedge`.
    pub reason: String,
    /// The ProviderConfig.
    pub provider: String,
    /// The model asked for there.
    pub model: String,
    /// The model that the provider says answered; empty where it says none.
    pub reported_model: String,
    /// The name of the credential it went with; empty where none is needed.
    pub credential: String,
    /// The provider's own id of it; empty where it told none.
    pub provider_request_id: String,
    /// What was asked: as the request's.
    pub operation: String,
    /// The provider's HTTP status; 0 before its head has come.
    pub status: u16,
    /// How it ended: `answered`, `failed`, `cancelled`.
    pub outcome: String,
    /// The error it ended with; empty where it did not.
    pub code: String,
    /// From its begin to its end, microseconds.
    pub took: u64,
    /// To the answer's head, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<u64>,
    /// To the first content of a stream, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token: Option<u64>,
    /// Its tokens.
    pub tokens: Tokens,
    /// Whether its tokens are not known at all, not even by estimate.
    pub tokens_unknown: bool,
    /// What it cost; `None` where tokens were spent whose price is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

impl Attempt {
    /// Whether it has spent what nobody knows the price of.
    pub fn is_cost_unknown(&self) -> bool {
        self.cost.is_none() && self.tokens.may_cost(self.tokens_unknown)
    }
}

/// Requests or attempts of one minute that have the same names, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sum {
    /// `request` or `attempt`.
    pub of: String,
    /// Minutes since 1970, UTC, of their ends.
    pub minute: i64,
    /// The ModelRoute.
    pub route: String,
    /// The ProviderConfig.
    pub provider: String,
    /// The model asked for there.
    pub model: String,
    /// How they ended.
    pub outcome: String,
    /// How many.
    pub count: u64,
    /// Their durations, microseconds, added up.
    pub took: u64,
    /// Their tokens.
    pub tokens: Tokens,
    /// How many had tokens that are not known at all.
    pub tokens_unknown: u64,
    /// What those of known price cost.
    pub cost: Cost,
    /// How many had tokens whose price is not known.
    pub cost_unknown: u64,
}

/// How much a provider lets through, as the headers of an answer told. Told with an answer, at most once a minute
/// for each credential and sidecar, and of each kind the limit with the least left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Headroom {
    /// The ProviderConfig.
    pub provider: String,
    /// The credential's name.
    pub credential: String,
    /// What is counted: `requests`, `tokens`, `input_tokens`, `output_tokens`.
    pub what: String,
    /// How much there is in a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How much of it is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u64>,
    /// Until it is whole again, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<u64>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_a_later_release_is_understood_and_so_is_one_of_an_earlier() {
        let later = r#"{"sequence":1,"at":5,"entry":{"kind":"attempt","number":2,"colour":"blue"}}"#;
        let read: Numbered =
            serde_json::from_str(later).expect("unknown fields are passed over, missing ones have a default");
        let expected = Attempt {
            number: 2,
            ..Attempt::default()
        };
        assert_eq!(read.entry, Entry::Attempt(Box::new(expected)));
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let cost = Cost {
            reported: 1_250_000,
            estimated: 0,
            version: "config".into(),
        };
        let attempt = Attempt {
            request_id: "r".into(),
            head: Some(3),
            cost: Some(cost),
            ..Attempt::default()
        };
        let entry = Numbered {
            sequence: 7,
            at: 1,
            entry: Entry::Attempt(Box::new(attempt)),
        };
        let text = serde_json::to_string(&entry).expect("it is plain data");
        assert_eq!(
            serde_json::from_str::<Numbered>(&text).expect("it is what was written"),
            entry
        );
    }
}
