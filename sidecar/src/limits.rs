//! Every limit on what a peer can send or hold, in one place: value, reason, and what happens beyond it.
//!
//! A peer is the app on one side and a provider on the other. What is not bounded here is bounded by what is: memory by
//! [`TABLE`]'s sizes times its counts and by the budget of [`crate::memory`], time by the deadlines. The table is printed
//! as docs/limits.md; a test holds both together.

use std::time::Duration;

use bowsprit_core::batches::requests::REQUEST as BATCHED;
use bowsprit_core::dialect::sse;
use bowsprit_core::guard::{self, webhook};
use bowsprit_core::jobs::ask::{HEADERS, LONGEST_TTL, MOST_ATTEMPTS};
use bowsprit_core::kept::{self, inputs, shared};
use bowsprit_core::limits::{keyed, set};
use bowsprit_core::share::store::{MOST_HOPS, resp};
use bowsprit_core::stream::MAX_TO_SIDECAR;

/// A request head must be complete within this; also how long an idle kept connection may wait for its next request.
pub const HEAD_DEADLINE: Duration = Duration::from_mins(1);
/// How long the app may take nothing of what waits for it. A reader that is stuck holds a place at the provider and its
/// connection, and no other limit sees it: the answer is not polled while it cannot be written.
pub const WRITE_DEADLINE: Duration = Duration::from_mins(2);
/// Largest request head, bytes.
pub const HEAD_BYTES: usize = 64 << 10;
/// Most header fields in a request: hyper's own limit, which costs less than any that is set.
pub const HEAD_FIELDS: usize = 100;
/// Longest request target, bytes.
pub const TARGET_BYTES: usize = 16 << 10;
/// A body must be complete within this: it comes over loopback, so only a stuck caller takes longer.
pub const BODY_DEADLINE: Duration = Duration::from_mins(1);
/// Connections the kernel holds for us while we are busy.
pub const BACKLOG: i32 = 1024;
/// Idle connections of a listener that keep their buffers, 17 KiB each, and cost the next request nothing. Most apps keep fewer.
pub const WARM: usize = 128;
/// Pause after an accept that failed for want of file descriptors or memory: retrying at once would spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Most admin connections: kubelet, Prometheus and a person.
pub const ADMIN_CONNECTIONS: usize = 64;
/// File descriptors kept back, so that health and metrics can still be asked for when all others are in use.
pub const ADMIN_RESERVE: usize = 4;
/// How long connecting to a guard's service may take. Longer than any of their deadlines, which end it.
pub const GUARD_CONNECT: Duration = Duration::from_secs(10);
/// How long a body waits for room in the memory budget.
pub const ROOM_WAIT: Duration = Duration::from_millis(500);
/// Bodies up to this size do not count towards the memory budget: 4,096 requests in flight hold 16 MiB of them at most.
pub const SMALL_BODY: usize = 4 << 10;

/// Largest response head, and the most a connection to a provider reads ahead. Providers send heads of 1-4 KiB.
pub const ANSWER_READ_AHEAD: usize = 128 << 10;
/// Most header fields in a response: hyper's own limit, which costs less than any that is set.
pub const ANSWER_HEADERS: usize = 100;
/// A plain answer is held whole up to this size, so that a truncated one can be tried again; what is larger flows.
pub const ANSWER_HELD: usize = 4 << 20;
/// A translated answer must be held whole; beyond this it is refused.
pub const ANSWER_TRANSLATED: usize = 64 << 20;
/// As much of an error body is read; providers' own are well below 10 KiB.
pub const ERROR_BODY: usize = 256 << 10;
/// Decoded bytes for each byte of a compressed answer, at most. Deflate reaches 1,032 with a bomb; JSON comes at 5 to 20.
pub const DECODED_RATIO: usize = 100;
/// So many decoded bytes may break that ratio: no bomb, and a short answer may say one thing over and over.
pub const DECODED_FREE: usize = 1 << 20;
/// Start-up events held before the first content: pieces.
pub const STREAM_HELD_PIECES: usize = 64;
/// Start-up events held before the first content: bytes. Then the stream flows, come what may.
pub const STREAM_HELD_BYTES: usize = 256 << 10;
/// An idle connection older than this is closed: below the 60-75 s at which common front ends close theirs.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(50);
/// Most idle connections kept per origin.
pub const IDLE_CONNECTIONS: usize = 256;
/// Longest answer of a proxy to CONNECT.
pub const PROXY_ANSWER: usize = 8 << 10;
/// How long an address of a name is tried before the next one is tried beside it (RFC 8305 recommends 250 ms).
pub const ADDRESS_HEAD_START: Duration = Duration::from_millis(250);
/// Finding and reaching the operator.
pub const STREAM_CONNECT: Duration = Duration::from_secs(10);
/// TLS and the answer that opens the stream: longer than an operator takes to whom a whole fleet has just come back, and who
/// lets each wait for its turn before TLS.
pub const STREAM_OPEN: Duration = Duration::from_mins(1);
/// The operator pings more often than that; without any message it is gone.
pub const STREAM_SILENCE: Duration = Duration::from_secs(90);
/// How long the operator may take nothing of a report.
pub const STREAM_WRITE: Duration = Duration::from_secs(20);
/// How long the ledger service may take over a batch.
pub const LEDGER_POST: Duration = Duration::from_secs(30);
/// Longest answer to a batch, bytes.
pub const LEDGER_ANSWER: usize = 64 << 10;
/// Longest head of the answer that opens the stream, bytes.
pub const STREAM_ANSWER: usize = 8 << 10;
/// Read from the stream at once, bytes: a change of a usual namespace is one or two pieces.
pub const STREAM_PIECE: usize = 4 << 10;
/// Room for a line that is kept for the next one, bytes.
pub const STREAM_BUFFER_KEPT: usize = 16 << 10;
/// Nodes of one store that counts limits, beside the first.
pub const STORE_NODES: usize = 16;
/// Questions to one node of it that wait for an answer, and as many again that wait to be asked.
pub const STORE_QUESTIONS: usize = 1024;
/// Bytes of questions that a node has not taken yet; then questions wait to be asked.
pub const STORE_UNSENT: usize = 256 << 10;
/// Bytes of answers that wait to be told to stores that keep them; beyond that, answers are not kept there.
pub const STORE_BEHIND: usize = 8 << 20;
/// Room that a connection to a store keeps between large texts, bytes.
pub const STORE_BUFFER_KEPT: usize = 64 << 10;
/// How long it may say nothing while it is asked: twice what `rateLimits.store.timeout` may be at the most, so that every request has
/// gone on, and said why, before the connection is given up.
pub const STORE_SILENCE: Duration = Duration::from_secs(2);
/// How long a connection to it may take, TLS and password included.
pub const STORE_CONNECT: Duration = Duration::from_secs(2);
/// Log lines that wait for standard output, bytes. Beyond it lines are lost: a reader that stopped must not stop requests.
pub const LOG_WAITING: usize = 1 << 20;

/// Most background jobs, answered ones that are kept included.
pub const JOBS: usize = 1_000;
/// Attempts at jobs that are made at once.
pub const JOBS_AT_ONCE: usize = 4;
/// Largest body of a job.
pub const JOB_BODY: usize = 4 << 20;
/// Largest answer of a job.
pub const JOB_ANSWER: usize = 4 << 20;
/// Most jobs that are listed at once.
pub const JOBS_LISTED: usize = 100;

/// One limit.
pub struct Limit {
    /// On what.
    pub on: &'static str,
    /// The value with its unit, as the documentation says it.
    pub value: Value,
    /// Why so much.
    pub why: &'static str,
    /// What happens beyond it.
    pub beyond: &'static str,
}

/// A limit's value.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// Bytes.
    Bytes(usize),
    /// A number of things.
    Count(usize),
    /// A time.
    Time(Duration),
    /// A flag of the command line, by its name.
    Flag(&'static str),
    /// A field of the ProviderConfig, by its path.
    Field(&'static str),
}

const fn limit(on: &'static str, value: Value, why: &'static str, beyond: &'static str) -> Limit {
    Limit { on, value, why, beyond }
}

use Value::{Bytes, Count, Field, Flag, Time};

/// What the app can send and hold.
#[rustfmt::skip]
pub const APP: &[Limit] = &[
    limit("connections", Flag("max-connections"), "each holds some KiB and a file descriptor", "accepting pauses; the kernel queues as many again as the next row says"),
    limit("connections waiting to be accepted", Count(BACKLOG as usize), "a burst of a busy app", "the kernel drops the SYN, which the app's kernel repeats"),
    limit("file descriptors", Value::Field("ulimit -n"), "set by the container's runtime", "accepting pauses 50 ms at a time and is counted (`bowsprit_accept_errors_total`); reserved ones keep the admin port answering"),
    limit("request head", Bytes(HEAD_BYTES), "SDKs send 1 KiB; long enough for large tracing baggage", "431 and close"),
    limit("header fields", Count(HEAD_FIELDS), "SDKs send 20", "431 and close"),
    limit("request target", Bytes(TARGET_BYTES), "model names and queries are short", "414 `VAL_HTTP`"),
    limit("time for a request head, and idle time of a kept connection", Time(HEAD_DEADLINE), "longer than clients keep idle connections", "the connection is closed, without an answer"),
    limit("Content-Length and Transfer-Encoding in one request", Count(0), "two ways to tell where a request ends are two opinions (request smuggling)", "400 `VAL_HTTP` and close; nothing is sent to a provider"),
    limit("several Content-Lengths, one that is no number, an encoding other than chunked, a folded header, space before a colon", Count(0), "the same", "400 and close"),
    limit("request body", Flag("max-body"), "a long context with images is 20 MiB", "413 `VAL_TOO_LARGE`, at once where the length is announced"),
    limit("members in other letters than the API's (`Model`), under limits, budgets, access rules, guards, `runaway` or paused routes", Count(0), "servers in Go take them for the ones that were judged", "400 `VAL_FIELD`; without any of these they pass"),
    limit("time for a request body", Time(BODY_DEADLINE), "it comes over loopback", "400 `VAL_HTTP`; no minimum rate is needed beside it"),
    limit("pass-through body (`/providers/…`, where it is not read)", Flag("max-upload"), "never held, so it costs no memory; providers take files of up to 2 GiB", "413 `VAL_TOO_LARGE`"),
    limit("silence in a pass-through body", Field("timeouts.idle"), "an upload that stands still holds a place at the provider", "408 `VAL_HTTP`, or 504 where it is the provider that takes nothing"),
    limit("a request of a batch, where access rules look into each", Bytes(BATCHED), "pictures are some MiB; it is held while it is read, and counts as a body", "413 `VAL_TOO_LARGE`, and the upload ends"),
    limit("requests in flight", Flag("max-in-flight"), "bounds tasks, buffers and places", "503 `SYS_OVERLOADED` with retry-after"),
    limit("bytes of bodies held, all requests and answers together", Flag("memory-budget"), "what keeps a burst of large bodies from being an out-of-memory kill", "waits for room, then 503 `SYS_OVERLOADED` with retry-after"),
    limit("bodies that do not count towards it", Bytes(SMALL_BODY), "times the requests in flight it is 16 MiB", "they count"),
    limit("answers that a route keeps for an outage", Field("staleIfError.maxBytes"), "kept in memory; all routes together have a quarter of the budget above", "the least recent go; all of them go where a body finds no room"),
    limit("a request whose answer is kept", Bytes(kept::LARGEST_REQUEST), "its key is made by reading it", "its answer is not kept"),
    limit("a request for embeddings that are kept input by input", Bytes(inputs::LARGEST_BATCH), "more than APIs take in one; each input has the bound above", "it is asked for as it is, and its answer is not kept"),
    limit("inputs of such a request", Count(inputs::MOST_INPUTS), "APIs take 2,048", "the same"),
    limit("an answer that is kept", Bytes(kept::LARGEST_ANSWER), "text answers are some KiB; a quarter of the route's bound is the other limit", "it is not kept"),
    limit("requests that wait for a named limit", Count(set::MAX_WAITING), "each holds its place and its body; `maxWait` bounds for how long", "429 `RATE_LOCAL_LIMIT` at once"),
    limit("time that a request waits for a named limit", Field("limits[].maxWait"), "10 s where it is not set; clients wait 10 minutes at most", "429 `RATE_LOCAL_LIMIT`"),
    limit("callers that a named limit counts apart (`per: Caller`)", Count(keyed::MAX_KEYS), "callers say themselves who they are, and could make up any number", "the one longest unused goes where nothing is owed to it; else those that are new share one count"),
    limit("time a body waits for room", Time(ROOM_WAIT), "a held body is freed within an answer's time or not soon", "503 `SYS_OVERLOADED`; a plain answer flows unheld instead"),
    limit("time in which the app takes nothing of its answer", Time(WRITE_DEADLINE), "a stuck reader holds a provider's connection", "the connection is closed, the provider's too"),
    limit("background jobs (`POST /jobs`), answered ones included", Count(JOBS), "each is known in memory too", "507 `SYS_JOBS_FULL`"),
    limit("bytes of jobs and their answers on disk", Flag("jobs-size"), "the folder is in the pod's state volume, whose bound evicts the pod", "507 `SYS_JOBS_FULL`; jobs wait until answers are fetched or forgotten"),
    limit("a job's body", Bytes(JOB_BODY), "it is written to disk", "413 `VAL_TOO_LARGE`"),
    limit("a job's answer", Bytes(JOB_ANSWER), "text answers are below 1 MiB; of a small `--jobs-size` an eighth", "the job has failed"),
    limit("headers kept with a job", Count(HEADERS), "versions and names, never keys", "400 `VAL_FIELD`"),
    limit("jobs tried at once", Count(JOBS_AT_ONCE), "they are in no hurry", "the others wait"),
    limit("attempts at a job", Count(MOST_ATTEMPTS as usize), "25 unless it says otherwise: some hour of an outage", "400 `VAL_FIELD`"),
    limit("time that a job is kept", Time(LONGEST_TTL), "a day unless it says otherwise", "400 `VAL_FIELD`"),
    limit("jobs listed at once", Count(JOBS_LISTED), "one page", "`has_more`"),
    limit("admin connections", Count(ADMIN_CONNECTIONS), "kubelet, Prometheus and a person", "accepting pauses"),
    limit("log lines waiting for a reader", Bytes(LOG_WAITING), "a full pipe must not stop requests", "lines are lost and counted (`bowsprit_log_lines_lost_total`)"),
];

/// What a provider can send and hold.
#[rustfmt::skip]
pub const PROVIDER: &[Limit] = &[
    limit("connecting, TLS included", Field("timeouts.connect"), "2 s are many round trips", "`EXT_CONNECT_TIMEOUT`, next attempt"),
    limit("head start of an address over the next one of the same name", Time(ADDRESS_HEAD_START), "RFC 8305", "the next address is tried beside it"),
    limit("response head", Bytes(ANSWER_READ_AHEAD), "providers send 1-4 KiB", "`EXT_PROTOCOL`, next attempt"),
    limit("response header fields", Count(ANSWER_HEADERS), "providers send 30", "`EXT_PROTOCOL`, next attempt"),
    limit("first token, silence, whole answer", Field("timeouts.firstToken, .idle, .total"), "see the ProviderConfig", "`EXT_FIRST_TOKEN_TIMEOUT`, `EXT_IDLE_TIMEOUT`, `EXT_TOTAL_TIMEOUT`"),
    limit("plain answer held for a second try", Bytes(ANSWER_HELD), "text answers are below 1 MiB", "it flows through unheld"),
    limit("plain answer to translate", Bytes(ANSWER_TRANSLATED), "it must be held whole", "`EXT_MALFORMED`, next attempt"),
    limit("error body", Bytes(ERROR_BODY), "providers send 1 KiB", "the status counts, the body is withheld"),
    limit("bytes for each byte of an answer that is gzip or deflate", Count(DECODED_RATIO), "no compression is asked for, and JSON comes at 5 to 20; a bomb has 1,000", "`EXT_MALFORMED`, next attempt; of an error the status counts, the body is withheld"),
    limit("decoded bytes that are free of that ratio", Bytes(DECODED_FREE), "a short answer may say one thing over and over", "the ratio holds"),
    limit("answer in another coding, or that is not in the one it names", Bytes(0), "what cannot be read cannot be translated, and may quote the key", "translated: `EXT_MALFORMED`, next attempt; same dialect: another coding passes untouched, an error's body is withheld"),
    limit("one event of a stream", Bytes(sse::EVENT_LIMIT), "the largest known are images of some hundred KiB", "same dialect: it passes unread; translated: `EXT_MALFORMED`"),
    limit("events held before the first content", Count(STREAM_HELD_PIECES), "providers send 1-3", "the stream flows, and can no longer fail over"),
    limit("bytes held before the first content", Bytes(STREAM_HELD_BYTES), "providers send 1 KiB", "the same"),
    limit("bytes of events that wait while guards decide", Bytes(guard::HELD_MOST), "the longest form that a guard looks for, in events of one letter", "the stream ends with `BIZ_GUARD_REFUSED`, or flows where the guard says `unread: Pass`"),
    limit("texts that a guard's service is asked about", Bytes(webhook::LARGEST_QUESTION), "a book has 1 MiB; more would be gone over for longer than anybody waits", "it has not decided, and the guard's `onFailure` says what follows"),
    limit("answer of a guard's service", Bytes(webhook::LARGEST_ANSWER), "the texts again, each of which may have grown", "the same"),
    limit("texts in it", Count(webhook::MOST_TEXTS), "more than the largest question has; a list of nothing takes five times what it is written with", "the same"),
    limit("bytes that it puts in place of a window of a stream, beyond the window's own", Bytes(guard::HELD_MOST), "they wait for the caller as the stream does", "the same"),
    limit("time that a request, or its answer, waits for a guard's service, connecting included", Field("guards[].webhook.timeout"), "500 ms where it is not set, 5 s at most", "the same"),
    limit("questions in a row that it has not answered", Count(webhook::UNANSWERED.get() as usize), "each costs a deadline, and one may be an accident", "it is not asked for ten deadlines (1 to 15 s), and `onFailure` says at once what follows"),
    limit("idle connections kept per origin", Count(IDLE_CONNECTIONS), "a burst's worth", "closed after use"),
    limit("age of an idle connection", Time(IDLE_CONNECTION), "common front ends close theirs after 60-75 s", "closed"),
    limit("a proxy's answer to CONNECT", Bytes(PROXY_ANSWER), "it is one line", "`EXT_CONNECT_REFUSED`, next attempt"),
    limit("redirects followed", Count(0), "a key must not follow them", "`EXT_REDIRECT`; on `/providers/…`, where it is not read, the redirect is the answer, without a key in it"),
    limit("addresses", Field("endpoint.allowedAddresses"), "whoever names an address decides where a key goes", "`EXT_ADDRESS_DENIED`"),
];

/// What the operator can send and hold.
#[rustfmt::skip]
pub const OPERATOR: &[Limit] = &[
    limit("connections", Count(1), "a change is a few KiB", "there is no other"),
    limit("finding and reaching it", Time(STREAM_CONNECT), "it is in the same cluster", "tried again"),
    limit("TLS and the answer that opens the stream", Time(STREAM_OPEN), "a whole fleet may have come back to it at once", "tried again"),
    limit("head of that answer", Bytes(STREAM_ANSWER), "it is four lines", "tried again"),
    limit("a message", Bytes(MAX_TO_SIDECAR), "a ConfigMap holds 1 MiB, which JSON may double", "the stream is closed and made anew"),
    limit("silence", Time(STREAM_SILENCE), "it pings more often", "the stream is closed and made anew"),
    limit("time that the ledger service takes over a batch", Time(LEDGER_POST), "a batch is half a MiB at most", "sent again"),
    limit("the ledger service's answer to a batch", Bytes(LEDGER_ANSWER), "it is one line", "sent again"),
    limit("time in which it takes nothing of a report", Time(STREAM_WRITE), "a report is a few KiB", "the stream is closed and made anew"),
];

/// What a store that counts limits or keeps answers can send and hold.
#[rustfmt::skip]
pub const STORE: &[Limit] = &[
    limit("time that a request waits for it", Field("rateLimits.store.timeout"), "a request costs seconds, and a round trip a millisecond", "the request goes on by its sidecar's share, and so do all after it until the store has answered a look (`bowsprit_store_fallbacks_total`)"),
    limit("connections to each node", Count(1), "all requests share it", "there is no other"),
    limit("nodes beside the first", Count(STORE_NODES), "a limit is at one of them", "the request goes on by its share"),
    limit("times that it sends a question on to another node", Count(MOST_HOPS as usize), "a slot that moves needs one", "the request goes on by its share"),
    limit("questions that wait for an answer, for each node", Count(STORE_QUESTIONS), "some 20,000 a second at 50 ms", "as many again wait to be asked, the rest goes on by its share"),
    limit("bytes that it has not taken yet", Bytes(STORE_UNSENT), "the questions that may wait", "questions wait to be asked"),
    limit("an answer", Bytes(resp::LONGEST), "it is a number", "the connection is closed and made anew"),
    limit("time that a request waits for an answer that is kept", Field("cache.store.timeout"), "a request costs seconds, and a round trip a millisecond", "it is asked for as if there were none, and so are all after it until the store has answered a look (`bowsprit_cache_store_total`)"),
    limit("an answer that is kept", Bytes(shared::script::LONGEST), "the largest answer, and its headers", "it is not kept; what a store says beyond it closes the connection"),
    limit("answers that wait to be told", Bytes(STORE_BEHIND), "some hundred answers, and eight of the largest", "they are not kept there (`full`)"),
    limit("silence while it is asked", Time(STORE_SILENCE), "all who asked have gone on long before", "the connection is closed and made anew"),
    limit("connecting, TLS and password included", Time(STORE_CONNECT), "it is in the same region", "tried again, ever more seldom, up to every 10 s"),
];
