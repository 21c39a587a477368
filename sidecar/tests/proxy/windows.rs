//! A streamed answer under a guard that is a service: no window of it goes on before the service has decided about it, in every API
//! and from every provider, and nobody waits for one that only counts.

use std::sync::{Arc, Mutex};

use bowsprit_providers::Answer;
use bowsprit_rig::connection::Connection;
use bowsprit_rig::documents;
use bowsprit_rig::http::is_whole;
use bowsprit_rig::peer::{self, EVENTS, LAST, Peer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::guarded::said;
use crate::support::{Bed, chat, count, of_each_api, shows_card};
use crate::webhook::{found, guard};

const PROVIDERS: [&str; 3] = ["claude", "gemini", "openai"];
/// More than one window.
const WORDS: usize = 400;

/// A service that decides with this function, and the questions that it got. What it says nothing to waits.
pub(crate) async fn service(
    decide: impl Fn(&Value) -> Option<Value> + Send + Sync + 'static,
) -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let questions = Arc::new(Mutex::new(Vec::new()));
    let (kept, decide) = (Arc::clone(&questions), Arc::new(decide));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (kept, decide) = (Arc::clone(&kept), Arc::clone(&decide));
            tokio::spawn(async move {
                let (mut seen, mut piece) = (Vec::new(), vec![0; 64 << 10]);
                while let Ok(read @ 1..) = stream.read(&mut piece).await {
                    seen.extend_from_slice(&piece[..read]);
                    if !is_whole(&seen) {
                        continue;
                    }
                    let text = String::from_utf8(std::mem::take(&mut seen)).unwrap();
                    let question: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
                    let decided = decide(&question);
                    kept.lock().unwrap().push(question);
                    if let Some(decided) = decided {
                        stream
                            .write_all(peer::json(&decided.to_string()).as_bytes())
                            .await
                            .unwrap();
                    }
                }
            });
        }
    });
    (url, questions)
}

#[expect(clippy::unnecessary_wraps, reason = "a service may also decide nothing")]
pub(crate) fn pass(_: &Value) -> Option<Value> {
    Some(json!({"decision": "pass"}))
}

/// Masks the name of Ann.
#[expect(clippy::unnecessary_wraps, reason = "a service may also decide nothing")]
fn mask(question: &Value) -> Option<Value> {
    let texts = question["texts"].as_array().unwrap().iter();
    let masked: Vec<String> = texts
        .map(|said| said["text"].as_str().unwrap().replace("Ann", "[NAME]"))
        .collect();
    Some(json!({"decision": "mask", "texts": masked}))
}

fn silent(_: &Value) -> Option<Value> {
    None
}

/// A route to this provider first whose answers this service guards.
async fn bed(first: &str, url: &str, more: &Value, route: &Value) -> Bed {
    let mut of_answers = json!({"applyTo": ["Answer"]});
    of_answers
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let mut spec = json!({"targets": [{"provider": first}], "fallback": [], "guards": [guard(url, &of_answers)]});
    spec.as_object_mut().unwrap().extend(route.as_object().unwrap().clone());
    Bed::routed(spec, |_, _| {}).await
}

/// The same, where the provider is OpenAI and made of bytes.
pub(crate) async fn raw(url: &str, more: &Value) -> (Bed, Peer) {
    let peer = Peer::start().await;
    let base = format!("{}/v1", peer.url());
    let change = |provider: &str, spec: &mut Value| {
        if provider == "openai" {
            spec["endpoint"]["baseUrl"] = json!(base);
        } else {
            *spec = Value::Null;
        }
    };
    let mut of_answers = json!({"applyTo": ["Answer"]});
    of_answers
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let spec = json!({
        "match": {"models": ["smart"]}, "targets": [{"provider": "openai"}],
        "guards": [guard(url, &of_answers)],
    });
    let mut bed = Bed::providers();
    let documents = bed.documents(&change) + &documents::route("smart", &spec);
    std::fs::write(bed.config_path(), documents).unwrap();
    bed.start(&[]);
    (bed, peer)
}

fn says(bed: &Bed, answer: &Answer) {
    for provider in [&bed.claude, &bed.gemini, &bed.openai] {
        provider.always(answer.clone());
    }
}

/// An event of a chat completion's stream, as a chunk.
pub(crate) fn event(text: &str) -> Vec<u8> {
    let delta = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    peer::chunk(format!("data: {delta}\n\n").as_bytes())
}

/// One of a response's.
fn response(text: &str) -> Vec<u8> {
    let delta = json!({"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": text,
        "sequence_number": 4});
    peer::chunk(format!("event: response.output_text.delta\ndata: {delta}\n\n").as_bytes())
}

/// The end of a chat completion's stream.
pub(crate) fn end() -> Vec<u8> {
    let stop = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let mut all = peer::chunk(format!("data: {stop}\n\ndata: [DONE]\n\n").as_bytes());
    all.extend_from_slice(LAST.as_bytes());
    all
}

pub(crate) async fn begin(peer: &Peer) -> Connection {
    let mut provider = peer.asked().await;
    provider.send(EVENTS).await;
    provider
}

#[tokio::test]
async fn a_stream_that_is_allowed_says_what_it_says_without_a_guard_from_every_provider_to_every_api() {
    let text = "some words ".repeat(WORDS);
    for first in PROVIDERS {
        let (url, questions) = service(pass).await;
        let bed = bed(first, &url, &json!({}), &json!({})).await;
        let mut answer = Answer::new(text.as_str());
        answer.write_bytes = Some(3000);
        says(&bed, &answer);
        for (path, body) in of_each_api(true) {
            questions.lock().unwrap().clear();
            let reply = bed.post_as(&path, &body, &[]).await;
            let what = format!("{first} {path}: {}", reply.text);
            assert_eq!((reply.status, reply.complete), (200, true), "{what}");
            assert_eq!(said(&reply), text, "{what}");
            let questions = questions.lock().unwrap();
            assert_eq!(questions[0]["texts"][0].get("before"), None, "{what}");
            assert!(
                questions.iter().all(|question| question["side"] == "Answer"),
                "{questions:?}"
            );
            // Responses say it once more at the end.
            let asked = questions
                .iter()
                .map(|question| question["texts"][0]["text"].as_str().unwrap());
            assert!(asked.collect::<String>().starts_with(&text), "{what}: {questions:?}");
        }
        for line in bed.access() {
            assert_eq!(
                (&line["outcome"], &line["guarded_by"]),
                (&json!("ok"), &Value::Null),
                "{line}"
            );
        }
        bed.balanced().await;
    }
}

#[tokio::test]
async fn what_its_service_masks_comes_masked_from_every_provider_to_every_api() {
    let text = "so Ann said ".repeat(WORDS);
    for first in PROVIDERS {
        let (url, _) = service(mask).await;
        let bed = bed(first, &url, &json!({}), &json!({})).await;
        let mut answer = Answer::new(text.as_str());
        answer.write_bytes = Some(3000);
        says(&bed, &answer);
        for (path, body) in of_each_api(true) {
            let reply = bed.post_as(&path, &body, &[]).await;
            let what = format!("{first} {path}: {}", reply.text);
            assert_eq!((reply.status, reply.complete), (200, true), "{what}");
            assert!(!reply.text.contains("Ann"), "{what}");
            assert_eq!(said(&reply), text.replace("Ann", "[NAME]"), "{what}");
        }
        assert_eq!(found(&bed, "masked").await, 4.0, "each answer counts once");
        for line in bed.access() {
            assert_eq!(
                (&line["outcome"], &line["guarded_by"]),
                (&json!("ok"), &json!("dlp")),
                "{line}"
            );
        }
    }
}

#[tokio::test]
async fn a_window_that_is_refused_ends_the_stream_in_each_api_and_nothing_of_it_goes_out() {
    let decide = |question: &Value| {
        let is_bad = question["texts"].to_string().contains("secret");
        let refuse = json!({"decision": "refuse", "reason": "house rule 7"});
        Some(if is_bad { refuse } else { json!({"decision": "pass"}) })
    };
    for (path, body) in of_each_api(true) {
        let (url, _) = service(decide).await;
        let (bed, peer) = raw(&url, &json!({"action": "Refuse"})).await;
        let mut caller = bed.ask(&path, &body).await;
        let mut provider = begin(&peer).await;
        // OpenAI answers Responses in their own words.
        let event: fn(&str) -> Vec<u8> = if path == "/v1/responses" { response } else { event };
        provider.send(event(&"good ".repeat(200))).await;
        provider.send(event(" so")).await;
        caller.until("good").await;
        provider.send(event(&" the secret is".repeat(100))).await;
        caller.until("BIZ_GUARD_REFUSED").await;
        let reply = caller.reply().await;
        let text = reply.text();
        assert_eq!(reply.status, 200, "{path}: {text}");
        assert!(
            text.contains("the guard dlp of ModelRoute smart does not let this pass: house rule 7"),
            "{text}"
        );
        assert!(!text.contains("secret"), "{path}: {text}");
        assert!(!reply.is_ended_well(), "{path}: {text}");
        bed.until("it is told", || async { !bed.access().is_empty() }).await;
        let line = &bed.access()[0];
        assert_eq!(
            (&line["outcome"], &line["refused_by"]),
            (&json!("cut"), &json!("guard:dlp")),
            "{line}"
        );
        assert_eq!(line["code"], "BIZ_GUARD_REFUSED", "{line}");
        assert_eq!(found(&bed, "refused").await, 1.0);
        bed.balanced().await;
    }
}

#[tokio::test]
async fn the_next_window_fills_while_one_is_asked_about_and_no_byte_goes_out_before_its_own() {
    let (url, questions) = service(silent).await;
    let (bed, peer) = raw(&url, &json!({"timeout": "1s", "onFailure": "Pass"})).await;
    let mut caller = bed.ask("/v1/chat/completions", &chat("smart", true)).await;
    let mut provider = begin(&peer).await;
    provider.send(event(&"one ".repeat(200))).await;
    bed.until("the first window is asked about", || async {
        questions.lock().unwrap().len() == 1
    })
    .await;
    assert!(!caller.text().contains("one"), "{}", caller.text());
    provider.send(event(&"two ".repeat(200))).await;
    provider.send(end()).await;
    caller.until("[DONE]").await;
    let reply = caller.reply().await;
    assert!(reply.text().contains(&"two ".repeat(200)), "{}", reply.text());
    let questions = questions.lock().unwrap();
    assert_eq!(questions.len(), 2, "what came meanwhile is one window: {questions:?}");
    assert_eq!(
        (&questions[0]["window"], &questions[1]["window"]),
        (&json!(1), &json!(2))
    );
    assert!(
        questions[1]["texts"][0]["before"]
            .as_str()
            .unwrap()
            .ends_with("one one "),
        "{questions:?}"
    );
}

#[tokio::test]
async fn a_window_that_is_not_decided_in_time_passes_or_ends_the_stream_and_is_never_kept() {
    let keeps = json!({"cache": {"ttl": "1h", "maxBytes": 1_048_576}});
    for (on_failure, decision) in [("Pass", "passed_timeout"), ("Refuse", "refused_timeout")] {
        let (url, _) = service(silent).await;
        let more = json!({"timeout": "50ms", "onFailure": on_failure});
        let bed = bed("claude", &url, &more, &keeps).await;
        says(&bed, &Answer::new("a few words"));
        let mut body = chat("smart", true);
        body["temperature"] = json!(0);
        for _ in 0..2 {
            let reply = bed.post_as("/v1/chat/completions", &body, &[]).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
            let is_refused = reply.text.contains("its service has not answered in time");
            assert_eq!(is_refused, on_failure == "Refuse", "{}", reply.text);
            let told = if is_refused { "" } else { "a few words" };
            assert_eq!(reply.content(), told, "{}", reply.text);
        }
        assert_eq!(count(&bed.claude), 2, "nobody has looked into what would be kept");
        assert_eq!(found(&bed, decision).await, 2.0);
    }
}

#[tokio::test]
async fn a_stream_that_its_service_has_let_pass_is_kept_as_it_was_given() {
    let (url, questions) = service(mask).await;
    let keeps = json!({"cache": {"ttl": "1h", "maxBytes": 1_048_576}});
    let bed = bed("claude", &url, &json!({}), &keeps).await;
    says(&bed, &Answer::new("so Ann said"));
    let mut body = chat("smart", true);
    body["temperature"] = json!(0);
    for _ in 0..2 {
        let reply = bed.post_as("/v1/chat/completions", &body, &[]).await;
        assert_eq!(reply.content(), "so [NAME] said", "{}", reply.text);
    }
    assert_eq!((count(&bed.claude), questions.lock().unwrap().len()), (1, 1));
}

#[tokio::test]
async fn a_caller_that_goes_while_a_window_is_asked_about_leaves_nothing_behind_and_has_paid() {
    let service = Peer::start().await;
    let (bed, peer) = raw(&service.url(), &json!({})).await;
    let caller = bed.ask("/v1/chat/completions", &chat("smart", true)).await;
    let mut provider = begin(&peer).await;
    provider.send(event(&"word ".repeat(200))).await;
    let mut asked = service.asked().await;
    drop(caller);
    asked.closed().await;
    provider.closed().await;
    bed.until("it is told", || async { !bed.access().is_empty() }).await;
    assert_eq!(bed.access()[0]["outcome"], "cancelled", "{}", bed.access()[0]);
    bed.balanced().await;
}

#[tokio::test]
async fn no_more_is_read_of_a_provider_than_may_wait_for_a_service() {
    let (url, _) = service(silent).await;
    let (bed, peer) = raw(&url, &json!({"timeout": "3s"})).await;
    let mut caller = bed.ask("/v1/chat/completions", &chat("smart", true)).await;
    let mut provider = begin(&peer).await;
    let pouring = tokio::spawn(async move { provider.pour(&event(&"word ".repeat(1000)), usize::MAX).await });
    caller.until("has not decided").await;
    // What a system holds of a connection for both ends is some megabytes.
    let taken = pouring.await.unwrap();
    assert!(taken < 16 << 20, "{taken} bytes were taken");
}

#[tokio::test]
async fn a_guard_in_shadow_holds_nothing_and_counts_what_it_would_have_done() {
    for (enforcement, action, decision) in [
        ("Shadow", "Mask", "would_mask"),
        ("Shadow", "Refuse", "would_refuse"),
        ("Enforce", "Observe", "observed"),
    ] {
        let (url, questions) = service(mask).await;
        let more = json!({"enforcement": enforcement, "action": action});
        let bed = bed("claude", &url, &more, &json!({})).await;
        says(&bed, &Answer::new("so Ann said"));
        let reply = bed.chat_with("smart", true).await;
        assert_eq!(reply.content(), "so Ann said", "{}", reply.text);
        bed.until("it is counted", || async { found(&bed, decision).await == 1.0 })
            .await;
        assert_eq!(questions.lock().unwrap()[0]["texts"][0]["text"], "so Ann said");
    }
    let (url, questions) = service(silent).await;
    let (bed, peer) = raw(&url, &json!({"enforcement": "Shadow"})).await;
    let mut caller = bed.ask("/v1/chat/completions", &chat("smart", true)).await;
    let mut provider = begin(&peer).await;
    provider.send(event("first")).await;
    caller.until("first").await;
    assert!(questions.lock().unwrap().is_empty(), "nobody was asked, and it is here");
    provider.send(end()).await;
    caller.until("[DONE]").await;
    bed.balanced().await;
}

#[tokio::test]
async fn what_waits_beside_streams_has_room_in_memory_and_gives_it_back() {
    let (url, questions) = service(silent).await;
    let more = json!({"enforcement": "Shadow", "timeout": "5s"});
    let (bed, peer) = raw(&url, &more).await;
    let mut caller = bed.ask("/v1/chat/completions", &chat("smart", true)).await;
    let mut provider = begin(&peer).await;
    let large = "word ".repeat(10_000);
    // Twice as many as are asked about at once.
    for _ in 0..64 {
        provider.send(event(&large)).await;
    }
    provider.send(end()).await;
    caller.until("[DONE]").await;
    bed.until("32 are asked about", || async { questions.lock().unwrap().len() >= 32 })
        .await;
    let held = bed.sidecar().held();
    assert!(held > 64 * large.len(), "{held} for 64 windows");
    drop(caller);
}

#[tokio::test]
async fn what_was_masked_does_not_go_out_at_the_end_of_responses_where_its_service_is_silent_by_then() {
    let decide = |question: &Value| mask(question).filter(|_| question["window"] == 1);
    let (url, questions) = service(decide).await;
    let (bed, peer) = raw(&url, &json!({"timeout": "1s", "onFailure": "Pass"})).await;
    let mut body = json!({"model": "smart", "input": "hello", "stream": true});
    body["store"] = json!(false);
    let mut caller = bed.ask("/v1/responses", &body).await;
    let mut provider = begin(&peer).await;
    let (first, second) = ("so Ann said ".repeat(100), "and more ".repeat(100));
    provider.send(response(&first)).await;
    caller.until("[NAME]").await;
    provider.send(response(&second)).await;
    let text = format!("{first}{second}");
    let item = json!({"type": "message", "id": "m", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": (text), "annotations": []}]});
    let events = [
        json!({"type": "response.output_text.done", "item_id": "m", "output_index": 0, "content_index": 0, "text": (text)}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": (item)}),
        json!({"type": "response.completed", "response": {"id": "r", "object": "response", "status": "completed", "output": [(item)]}}),
    ];
    for event in events {
        let name = event["type"].as_str().unwrap();
        provider
            .send(peer::chunk(format!("event: {name}\ndata: {event}\n\n").as_bytes()))
            .await;
    }
    provider.send(LAST.as_bytes().to_vec()).await;
    caller.until("response.completed").await;
    let reply = caller.reply().await;
    assert!(!reply.text().contains("Ann"), "{}", reply.text());
    let masked = format!("{}{second}", first.replace("Ann", "[NAME]"));
    assert_eq!(reply.text().matches(&masked).count(), 3, "{}", reply.text());
    let questions = questions.lock().unwrap();
    assert!(!json!(questions[1..]).to_string().contains("Ann"), "{questions:?}");
}

#[tokio::test]
async fn local_guards_look_first_and_what_no_service_can_read_is_refused_or_passes_as_the_guard_says() {
    let (url, questions) = service(pass).await;
    let local = json!({"name": "cards", "applyTo": ["Answer"], "detect": ["Card"]});
    let hook = guard(&url, &json!({"applyTo": ["Answer"]}));
    let both = bed("claude", &url, &json!({}), &json!({"guards": [hook, local]})).await;
    says(&both, &Answer::new("charged 4111 1111 1111 1111 today"));
    for (path, body) in of_each_api(true) {
        let reply = both.post_as(&path, &body, &[]).await;
        assert!(said(&reply).contains("charged [CARD] today"), "{path}: {}", reply.text);
    }
    assert!(!shows_card(&json!(*questions.lock().unwrap()).to_string()));
    for (unread, status) in [("Refuse", 403), ("Pass", 200)] {
        let bed = bed("openai", &url, &json!({"unread": unread}), &json!({})).await;
        let mut answer = Answer::new("hello");
        // In a coding that nobody here reads.
        answer.headers = vec![("content-encoding".into(), "br".into())];
        says(&bed, &answer);
        let reply = bed.post_as("/v1/chat/completions", &chat("smart", true), &[]).await;
        assert_eq!(reply.status, status, "{}", reply.text);
    }
}
