//! The ledger's half in the sidecar, as a program: what is kept when it is killed, when the disk is full, and what the ledger
//! service is sent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bowsprit_ledger::entry::{ANSWERED_STALE, Entry, Headroom, Numbered};
use bowsprit_ledger::outbox::{Most, Outbox, Settings};
use bowsprit_ledger::wire::{Batch, Page};
use bowsprit_rig::documents::{chat, provider, route};
use bowsprit_rig::metrics::sum;
use bowsprit_rig::operator::{Held, ScriptedOperator, TOKEN_CANARY};
use bowsprit_rig::peer::{EVENTS, Peer, chunk};
use bowsprit_rig::program::Program;
use bowsprit_rig::until;
use serde_json::json;

/// What a provider answers, and what it bills for it.
const ANSWER: &str = r#"{"id":"c","object":"chat.completion","model":"m-2026-01-01","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}}"#;
/// What a killed process may lose: the promise is 100 ms on a machine that has time for it.
const MAY_BE_LOST: Duration = Duration::from_secs(1);

fn answer() -> String {
    let length = ANSWER.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_p\r\ncontent-length: {length}\r\n\r\n{ANSWER}"
    )
}

/// A sidecar in front of one provider.
fn sidecar(dir: &Path, provider_url: &str, more: &[&str]) -> Command {
    let config = dir.join("config.yaml");
    let spec = json!({
        "provider": "OpenAICompatible",
        "endpoint": {"baseUrl": format!("{provider_url}/v1"), "allowHttp": true},
        "models": [{"name": "m"}],
    });
    std::fs::write(&config, provider("local", &spec)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowsprit-sidecar"));
    command
        .args(["--config", config.to_str().unwrap()])
        .args(more)
        .env_clear();
    command
}

fn request(id: &str) -> String {
    let body = chat("m", false).to_string();
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-request-id: {id}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Requests one after the other until it is told to stop or the sidecar has gone. Notes the id of each answer and when it came.
async fn ask_on(program: &Program, caller: usize, answered: &Mutex<BTreeMap<String, Instant>>, most: usize) {
    let mut connection = program.connect().await;
    for number in 0..most {
        let id = format!("r-{caller}-{number}");
        if connection.try_send(request(&id)).await.is_err() {
            return;
        }
        let Some(reply) = connection.try_reply().await else {
            return;
        };
        assert_eq!(reply.status, 200, "{}", reply.text());
        answered.lock().unwrap().insert(id, Instant::now());
    }
}

/// What an outbox holds that a process has left.
fn left_in(folder: &Path) -> Vec<Numbered> {
    let outbox = Outbox::start(Settings {
        folder: Some(folder.to_owned()),
        limit: 1 << 30,
        clock: || 0,
    });
    let (sender, offer) = std::sync::mpsc::channel();
    let all = Most {
        entries: usize::MAX,
        bytes: usize::MAX,
    };
    outbox.offer(all, move |offer| sender.send(offer).unwrap());
    let offer = offer.recv().unwrap().expect("it holds something");
    serde_json::from_slice(&[b"[", &offer.joined[..], b"]"].concat()).unwrap()
}

/// Requests and attempts that entries stand for.
fn counted<'a>(entries: impl IntoIterator<Item = &'a Numbered>) -> (u64, u64) {
    let (mut requests, mut attempts) = (0, 0);
    for entry in entries {
        match &entry.entry {
            Entry::Request(_) => requests += 1,
            Entry::Attempt(_) => attempts += 1,
            Entry::Sum(sum) if sum.of == "request" => requests += sum.count,
            Entry::Sum(sum) => attempts += sum.count,
            Entry::Headroom(_) => {}
        }
    }
    (requests, attempts)
}

#[tokio::test]
async fn what_a_provider_tells_of_its_limits_is_kept_once_a_minute_and_not_with_each_request() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("ledger");
    let told = "x-ratelimit-limit-requests: 100\r\nx-ratelimit-remaining-requests: 99\r\nx-ratelimit-reset-requests: 600ms\r\n\
        x-ratelimit-remaining-tokens: 7\r\nx-request-id";
    let peer = Peer::start().await.answering(answer().replace("x-request-id", told));
    let command = sidecar(dir.path(), &peer.url(), &["--ledger-dir", folder.to_str().unwrap()]);
    let program = Program::start(command, &dir.path().join("output"), "(no key)").await;
    let answered = Mutex::new(BTreeMap::new());
    ask_on(&program, 1, &answered, 20).await;
    program.signal("TERM");
    program.exit().await;
    let entries = left_in(&folder);
    assert_eq!(counted(&entries), (20, 20));
    let headroom = entries.into_iter().filter_map(|entry| match entry.entry {
        Entry::Headroom(headroom) => Some(*headroom),
        _ => None,
    });
    let of = |what: &str, limit, remaining, reset| Headroom {
        provider: "local".into(),
        credential: String::new(),
        what: what.into(),
        limit,
        remaining: Some(remaining),
        reset,
    };
    assert_eq!(
        headroom.collect::<Vec<_>>(),
        [of("requests", Some(100), 99, Some(600)), of("tokens", None, 7, None)]
    );
}

#[tokio::test]
async fn a_killed_sidecar_has_lost_its_last_moments_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("ledger");
    let peer = Peer::start().await.answering(answer());
    let command = sidecar(dir.path(), &peer.url(), &["--ledger-dir", folder.to_str().unwrap()]);
    let program = Program::start(command, &dir.path().join("output"), "(no key)").await;
    let answered = Mutex::new(BTreeMap::new());
    let killed = async {
        let enough = || async { answered.lock().unwrap().len() > 2_000 };
        until("traffic has been", enough).await;
        let at = Instant::now();
        program.signal("KILL");
        at
    };
    let on = |caller| ask_on(&program, caller, &answered, usize::MAX);
    let (killed, ..) = tokio::join!(killed, on(1), on(2), on(3), on(4));
    program.exit().await;
    let entries = left_in(&folder);
    let kept: BTreeSet<&str> = entries
        .iter()
        .filter_map(|entry| match &entry.entry {
            Entry::Request(request) => Some(request.id.as_str()),
            _ => None,
        })
        .collect();
    let answered = answered.into_inner().unwrap();
    let lost = answered.iter().filter(|(id, _)| !kept.contains(id.as_str()));
    let ages: Vec<Duration> = lost.map(|(_, at)| killed.saturating_duration_since(*at)).collect();
    let oldest = ages.iter().max().copied().unwrap_or_default();
    let asked: usize = peer
        .connections()
        .iter()
        .map(|bytes| count(bytes, b"POST /v1/chat/completions"))
        .sum();
    println!(
        "killed: {} answers came, the provider was asked {asked} times, {} requests are in the outbox; {} are lost, the oldest of {} ms before the end",
        answered.len(),
        kept.len(),
        ages.len(),
        oldest.as_millis()
    );
    assert!(oldest < MAY_BE_LOST, "{oldest:?}");
    let (requests, attempts) = counted(&entries);
    assert!(
        requests <= asked as u64 && attempts <= asked as u64,
        "nothing is there that was not asked"
    );
    // The next one takes it up and goes on.
    let command = sidecar(dir.path(), &peer.url(), &["--ledger-dir", folder.to_str().unwrap()]);
    let program = Program::start(command, &dir.path().join("output-2"), "(no key)").await;
    ask_on(&program, 9, &Mutex::default(), 10).await;
    program.signal("TERM");
    program.exit().await;
    let after = left_in(&folder);
    assert_eq!(counted(&after), (requests + 10, attempts + 10));
    let times: Vec<i64> = after.iter().map(|entry| entry.at).collect();
    assert!(times.is_sorted());
}

#[tokio::test]
async fn a_kept_answer_is_told_with_its_age_and_books_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("ledger");
    let peer = Peer::start().await;
    let command = sidecar(dir.path(), &peer.url(), &["--ledger-dir", folder.to_str().unwrap()]);
    let config = dir.path().join("config.yaml");
    let documents = std::fs::read_to_string(&config).unwrap();
    let spec = json!({
        "match": {"models": ["m"]},
        "targets": [{"provider": "local", "model": "m"}],
        "staleIfError": {"maxAge": "1h", "maxBytes": 1 << 20},
    });
    std::fs::write(&config, documents + &route("kept", &spec)).unwrap();
    let program = Program::start(command, &dir.path().join("output"), "(no key)").await;
    let mut app = program.connect().await;
    app.send(request("r-good")).await;
    let mut provider = peer.asked().await;
    provider.send(answer()).await;
    let good = app.reply().await;
    // Nobody listens there any more.
    drop((provider, peer));
    app.send(request("r-stale")).await;
    let stale = app.reply().await;
    assert_eq!((stale.status, stale.text()), (200, good.text()));
    assert_eq!(stale.header("x-bowsprit-stale"), "r-good");
    program.signal("TERM");
    program.exit().await;
    let entries = left_in(&folder);
    let mut requests = entries.iter().filter_map(|entry| match &entry.entry {
        Entry::Request(request) => Some(request),
        _ => None,
    });
    let told = requests.next_back().unwrap();
    assert_eq!(
        (told.id.as_str(), told.outcome.as_str(), told.status),
        ("r-stale", "provider_error", 200)
    );
    assert_eq!(told.code, "EXT_CONNECT_REFUSED");
    let turn = told.path.last().unwrap();
    assert_eq!((turn.what.as_str(), turn.because.as_str()), (ANSWERED_STALE, "r-good"));
    assert_eq!(turn.provider, "local");
    // What was billed is what the one good answer says.
    let billed = entries.iter().filter_map(|entry| match &entry.entry {
        Entry::Attempt(attempt) => Some(attempt.tokens.counts().iter().sum::<u64>()),
        _ => None,
    });
    assert_eq!(billed.sum::<u64>(), 14);
}

fn count(text: &[u8], what: &[u8]) -> usize {
    text.windows(what.len()).filter(|window| *window == what).count()
}

/// An answer of which more comes than a caller who reads nothing, and all the buffers on the way, have room for.
fn endless() -> Vec<u8> {
    let told = r#"{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"hi"}}],"usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}}"#;
    let more = format!(
        r#"data: {{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{{"index":0,"delta":{{"content":"{}"}}}}]}}"#,
        "x".repeat(64 << 10)
    );
    let mut answer = EVENTS.as_bytes().to_vec();
    answer.extend(chunk(format!("data: {told}\n\n").as_bytes()));
    for _ in 0..512 {
        answer.extend(chunk(format!("{more}\n\n").as_bytes()));
    }
    answer
}

#[tokio::test]
async fn a_caller_who_reads_nothing_is_in_the_ledger_of_a_sidecar_that_stops() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("ledger");
    let peer = Peer::start().await.answering(endless());
    let more = ["--ledger-dir", folder.to_str().unwrap(), "--drain-deadline", "1s"];
    let program = Program::start(
        sidecar(dir.path(), &peer.url(), &more),
        &dir.path().join("output"),
        "(no key)",
    )
    .await;
    let mut caller = program.connect().await;
    let body = chat("m", true).to_string();
    let length = body.len();
    let head =
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-request-id: deaf\r\ncontent-length: {length}");
    caller.send(format!("{head}\r\n\r\n{body}")).await;
    let is_asked = || async { !peer.connections().is_empty() };
    until("the provider answers", is_asked).await;
    // Until the deadline, a second from now, it sends far more than fits.
    program.signal("TERM");
    assert_eq!(program.exit().await.code(), Some(1), "{}", program.output());
    let left = left_in(&folder);
    assert_eq!(counted(&left), (1, 1));
    let told = left.iter().find_map(|entry| match &entry.entry {
        Entry::Attempt(attempt) => Some(attempt.tokens.input),
        _ => None,
    });
    assert_eq!(told, Some(11));
    drop(caller);
}

/// A ledger service that takes all it is given, each sequence once, until its sidecar has left.
async fn take_all(service: Arc<ScriptedOperator>, taken: Arc<Mutex<BTreeMap<u64, Numbered>>>) {
    loop {
        let mut held = service.asked().await;
        loop {
            let batch: Batch = serde_json::from_slice(&held.body().await).unwrap();
            for entry in batch.entries {
                taken.lock().unwrap().entry(entry.sequence).or_insert(entry);
            }
            say(&mut held, 200, &json!({"through": batch.to})).await;
            if !held.again().await {
                break;
            }
        }
    }
}

async fn say(held: &mut Held, status: u16, body: &serde_json::Value) {
    let body = body.to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    held.bytes(head + &body).await;
}

fn shipping(service: &ScriptedOperator) -> Vec<String> {
    let path = |path: std::path::PathBuf| path.display().to_string();
    let args = [
        ("--ledger", service.url()),
        ("--ledger-ca", path(service.ca_file())),
        ("--ledger-token", path(service.token_file())),
        ("--workload", "Deployment/checkout".into()),
    ];
    args.into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
}

#[tokio::test]
async fn what_is_kept_is_sent_until_it_is_taken_and_the_last_batch_goes_out_with_the_sidecar() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::start().await.answering(answer());
    let service = ScriptedOperator::start().await;
    let mut args = shipping(&service);
    args.extend(["--ledger-dir".into(), dir.path().join("ledger").display().to_string()]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = dir.path().join("output");
    let program = Program::start(sidecar(dir.path(), &peer.url(), &args), &output, "(no key)").await;
    ask_on(&program, 1, &Mutex::default(), 3).await;
    // It is told to come again, and that something is missing, and comes with the same.
    let mut held = service.asked().await;
    assert!(held.head.starts_with("POST /v1/batches HTTP/1.1\r\n"), "{}", held.head);
    let bearer = format!("authorization: Bearer {TOKEN_CANARY}-first\r\n");
    assert!(held.head.contains(&bearer), "{}", held.head);
    let first: Batch = serde_json::from_slice(&held.body().await).unwrap();
    say(&mut held, 503, &json!({})).await;
    assert!(held.again().await);
    held.body().await;
    say(&mut held, 409, &json!({"reason": "gap", "message": "m", "expected": 1})).await;
    assert!(held.again().await);
    let batch: Batch = serde_json::from_slice(&held.body().await).unwrap();
    assert_eq!((batch.outbox.as_str(), batch.from), (first.outbox.as_str(), 1));
    assert_eq!(
        (batch.workload.as_str(), batch.sidecar_version.as_str()),
        ("Deployment/checkout", "0.1.0")
    );
    let entries = [&batch.entries[0].entry, &batch.entries[1].entry];
    let [Entry::Attempt(attempt), Entry::Request(request)] = entries else {
        panic!("an attempt comes before its request: {entries:?}")
    };
    assert_eq!((attempt.request_id.as_str(), request.id.as_str()), ("r-1-0", "r-1-0"));
    assert_eq!(attempt.provider_request_id, "req_p");
    assert_eq!(
        (attempt.model.as_str(), attempt.reported_model.as_str()),
        ("m", "m-2026-01-01")
    );
    assert_eq!((attempt.tokens.input, attempt.tokens.output), (11, 3));
    assert_eq!(
        (attempt.operation.as_str(), request.operation.as_str()),
        ("chat_completions", "chat_completions")
    );
    say(&mut held, 200, &json!({"through": batch.to})).await;
    let mut all = counted(&batch.entries);
    // What comes after that goes out at the end at the latest, over whatever connection.
    ask_on(&program, 2, &Mutex::default(), 5).await;
    program.signal("TERM");
    let mut from = batch.to + 1;
    while all != (8, 8) {
        let has_more = tokio::select! {
            has_more = held.again() => has_more,
            anew = service.asked() => { held = anew; true }
        };
        if !has_more {
            held = service.asked().await;
        }
        let batch: Batch = serde_json::from_slice(&held.body().await).unwrap();
        assert_eq!(batch.from, from);
        from = batch.to + 1;
        let more = counted(&batch.entries);
        all = (all.0 + more.0, all.1 + more.1);
        say(&mut held, 200, &json!({"through": batch.to})).await;
    }
    assert_eq!(program.exit().await.code(), Some(0), "{}", program.output());
    assert!(!program.output().contains(TOKEN_CANARY));
}

/// What is asked for at the admin port, from inside the pod as this is.
async fn page(program: &Program, query: &str) -> Page {
    let reply = program.admin(&format!("/ledger{query}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn without_a_service_the_pod_itself_is_told_what_its_outbox_holds_and_how_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::start().await.answering(answer());
    let folder = dir.path().join("ledger");
    let more = [
        "--ledger-dir",
        folder.to_str().unwrap(),
        "--workload",
        "Deployment/checkout",
    ];
    let command = sidecar(dir.path(), &peer.url(), &more);
    let program = Program::start(command, &dir.path().join("output"), "(no key)").await;
    ask_on(&program, 1, &Mutex::default(), 3).await;
    // What was answered is in it, committed or not: it is read behind what is queued.
    let all = page(&program, "").await;
    assert_eq!(counted(&all.batch.entries), (3, 3));
    assert_eq!(
        (all.batch.workload.as_str(), all.more, all.taken),
        ("Deployment/checkout", false, 0)
    );
    assert_eq!(all.detail_since, Some(all.batch.entries[0].at));
    let text = serde_json::to_string(&all).unwrap();
    assert!(
        !text.contains("\"hi\"") && !text.contains("ahoy"),
        "no prompt and no answer: {text}"
    );
    let rest = page(&program, &format!("?after={}", all.batch.entries[1].sequence)).await;
    assert_eq!(counted(&rest.batch.entries), (2, 2));
    let none = page(&program, &format!("?since={}", i64::MAX)).await;
    assert_eq!((none.batch.entries.len(), none.more), (0, false));
    assert_eq!(program.admin("/ledger?after=x").await.status, 400);

    let health = program.health().await;
    let ledger = &health["ledger"];
    assert_eq!(
        (&ledger["keptIn"], &ledger["kept"]),
        (&json!("file"), &json!(6)),
        "{ledger}"
    );
    assert_eq!(ledger.get("problems"), None, "{ledger}");
    let off = sidecar(dir.path(), &peer.url(), &[]);
    let off = Program::start(off, &dir.path().join("off"), "(no key)").await;
    let reply = off.admin("/ledger").await;
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("--ledger-dir"), "{}", reply.text());
}

#[tokio::test]
async fn health_says_in_words_why_nothing_is_sent_and_since_when() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::start().await.answering(answer());
    let service = ScriptedOperator::start().await;
    let args = shipping(&service);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = dir.path().join("output");
    let program = Program::start(sidecar(dir.path(), &peer.url(), &args), &output, "(no key)").await;
    ask_on(&program, 1, &Mutex::default(), 1).await;
    let mut held = service.asked().await;
    held.body().await;
    say(&mut held, 503, &json!({"message": "the store is away"})).await;
    until("health says so", || async {
        let health = program.health().await;
        let said = health["ledger"]["problems"][0].as_str().unwrap_or_default().to_owned();
        health["ledger"]["keptIn"] == "memory"
            && said.contains("takes no batches (unreachable: status 503")
            && !said.contains(TOKEN_CANARY)
    })
    .await;
    assert!(held.again().await);
    let batch: Batch = serde_json::from_slice(&held.body().await).unwrap();
    say(&mut held, 200, &json!({"through": batch.to})).await;
    until("health says that it was taken", || async {
        let ledger = program.health().await["ledger"].clone();
        ledger.get("problems").is_none()
            && ledger["shippedThrough"] == batch.to
            && ledger["lastShippedSeconds"].is_u64()
            && ledger["unshippedBytes"] == 0
    })
    .await;
}

/// As root only: a disk of its own is mounted, as small as that.
#[tokio::test]
async fn a_full_disk_fails_no_request_and_loses_no_sum() {
    const REQUESTS: u64 = 3_000;
    if rustix::process::geteuid().as_raw() != 0 {
        println!("skipped: a file system can be mounted by root only");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("ledger");
    std::fs::create_dir(&folder).unwrap();
    let folder = folder.display().to_string();
    let peer = Peer::start().await.answering(answer());
    let service = ScriptedOperator::start().await;
    let mut args = shipping(&service);
    args.extend(["--ledger-dir".into(), folder.clone()]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let program = sidecar(dir.path(), &peer.url(), &args);
    let mut command = Command::new("unshare");
    let mounted = format!("mount -t tmpfs -o size=64k tmpfs {folder} && exec \"$0\" \"$@\"");
    command.args(["--mount", "bash", "-c", &mounted]);
    command.arg(program.get_program()).args(program.get_args());
    let program = Program::start(command, &dir.path().join("output"), "(no key)").await;
    ask_on(&program, 1, &Mutex::default(), usize::try_from(REQUESTS).unwrap()).await;
    let failed = || async {
        let metrics = program.metrics().await;
        sum(&metrics, "bowsprit_ledger_failures_total", &["problem=\"not_written\""]) > 0.0
            && sum(&metrics, "bowsprit_ledger_entries_total", &["fate=\"spilled\""]) > 0.0
    };
    until("the disk is full, and the queue too", failed).await;
    let pid = program.pid().to_string();
    let larger = ["-t", &pid, "--mount", "mount", "-o", "remount,size=64m", &folder];
    assert!(Command::new("nsenter").args(larger).status().unwrap().success());
    let taken = Arc::<Mutex<BTreeMap<u64, Numbered>>>::default();
    let service = tokio::spawn(take_all(Arc::new(service), Arc::clone(&taken)));
    let all = || async { counted(taken.lock().unwrap().values()) == (REQUESTS, REQUESTS) };
    until("all of it has been taken", all).await;
    let entries = taken.lock().unwrap().len();
    println!("disk of 64 KiB: {REQUESTS} requests answered, their ledger in {entries} entries, sums exact");
    let tokens: u64 = taken
        .lock()
        .unwrap()
        .values()
        .map(|entry| match &entry.entry {
            Entry::Attempt(attempt) => attempt.tokens.input,
            Entry::Sum(sum) if sum.of == "attempt" => sum.tokens.input,
            _ => 0,
        })
        .sum();
    assert_eq!(tokens, 11 * REQUESTS);
    service.abort();
}
