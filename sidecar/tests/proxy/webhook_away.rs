//! A guard's service that is dead, slow or lies: it costs its deadline a few times and then nothing, is found again by itself, and what one
//! request was answered is never another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bowsprit_providers::Answer;
use bowsprit_rig::http::is_whole;
use bowsprit_rig::law;
use bowsprit_rig::peer::{self, Peer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Bed, Reply, chat, logs};
use crate::webhook::{found, guard};
use crate::windows::{begin, end, event, pass, raw, service};

/// Failures in a row after which it is left alone.
const UNANSWERED: usize = 3;

async fn bed(url: &str, more: &Value) -> Bed {
    let bed = Bed::routed(json!({"guards": [guard(url, more)]}), |_, _| {}).await;
    bed.claude.always(Answer::new("hello"));
    bed
}

async fn ask(bed: &Bed) -> Reply {
    bed.post_as("/v1/chat/completions", &chat("smart", false), &[]).await
}

/// Where nobody listens.
async fn nobody() -> String {
    Peer::start().await.url()
}

async fn breaker(bed: &Bed) -> Value {
    bed.health().await["guardServices"][0]["breaker"].clone()
}

/// Log lines of the guard whose service is here that say this.
fn told(of: &str, what: &str) -> usize {
    let lines = law::lines(&logs(), "bowsprit_sidecar::tenant::service");
    let fields = lines.iter().map(|line| &line["fields"]);
    fields
        .filter(|fields| fields["guard"] == of && fields["message"].as_str().unwrap().contains(what))
        .count()
}

#[tokio::test]
async fn one_that_is_silent_costs_its_deadline_once_and_then_nothing_open_or_closed() {
    for (on_failure, status, what) in [("Pass", 200, "passed"), ("Refuse", 403, "refused")] {
        let (url, questions) = service(|_| None).await;
        let bed = bed(&url, &json!({"timeout": "1s", "onFailure": on_failure})).await;
        // At once: all wait for the same second.
        let (one, two, three) = tokio::join!(ask(&bed), ask(&bed), ask(&bed));
        for reply in [one, two, three] {
            assert_eq!(reply.status, status, "{}", reply.text);
        }
        for _ in 0..10 {
            let reply = ask(&bed).await;
            assert_eq!(reply.status, status, "{}", reply.text);
            let tells = reply
                .text
                .contains("has not answered others, and is not asked for a while");
            assert_eq!(tells, status == 403, "{}", reply.text);
        }
        assert_eq!(questions.lock().unwrap().len(), UNANSWERED, "nobody else waits for it");
        assert_eq!(found(&bed, &format!("{what}_timeout")).await, 3.0);
        assert_eq!(found(&bed, &format!("{what}_not_asked")).await, 10.0);
        let health = bed.health().await;
        assert_eq!(health["status"], "degraded");
        let seen = &health["guardServices"][0];
        assert_eq!(
            (&seen["name"], &seen["of"], &seen["breaker"]),
            (&json!("dlp"), &json!("ModelRoute smart"), &json!("open"))
        );
        assert!(seen["retryInSeconds"].as_f64().unwrap() > 0.0, "{seen}");
        assert_eq!(
            bed.metric("bowsprit_guard_service_questions_total{guard=\"dlp\"}")
                .await,
            3.0
        );
        let took = bed.metric("bowsprit_guard_service_seconds_total{guard=\"dlp\"}").await;
        assert!(took >= 3.0, "each took its deadline: {took}");
    }
}

#[tokio::test]
async fn it_is_asked_again_by_itself_when_it_is_back_and_told_of_once_each_way() {
    let is_dead = Arc::new(AtomicBool::new(true));
    let dead = Arc::clone(&is_dead);
    let (url, _) = service(move |question| (!dead.load(Ordering::Relaxed)).then(|| pass(question).unwrap())).await;
    // A name of its own, by which its log lines are known.
    let guards = json!([guard(&url, &json!({"name": "back", "timeout": "100ms"}))]);
    let bed = Bed::routed(json!({ "guards": guards }), |_, _| {}).await;
    bed.claude.always(Answer::new("hello"));
    bed.until("it has been tried again, and left alone again", || async {
        ask(&bed).await;
        told("back", "is still away") >= 2
    })
    .await;
    is_dead.store(false, Ordering::Relaxed);
    bed.until("it decides again", || async { ask(&bed).await.status == 200 })
        .await;
    assert_eq!(breaker(&bed).await, "closed");
    assert_eq!(told("back", "does not answer"), 1, "not for each try that failed");
    assert_eq!(told("back", "is asked again"), 1);
}

#[tokio::test]
async fn a_stream_waits_for_no_more_windows_than_it_takes_to_know_that_nobody_answers() {
    let (bed, peer) = raw(&nobody().await, &json!({"onFailure": "Pass"})).await;
    let mut caller = bed.ask("/v1/chat/completions", &chat("smart", true)).await;
    let mut provider = begin(&peer).await;
    for word in ["one", "two", "three", "four", "five", "six"] {
        // Each is a window, and goes on before the next comes.
        provider.send(event(&format!("{word} ").repeat(200))).await;
        caller.until(word).await;
    }
    provider.send(end()).await;
    caller.until("[DONE]").await;
    assert_eq!(caller.reply().await.status, 200);
    assert_eq!(found(&bed, "passed_unreachable").await, 1.0, "each once for an answer");
    assert_eq!(found(&bed, "passed_not_asked").await, 1.0);
    let questions = bed
        .metric("bowsprit_guard_service_questions_total{guard=\"dlp\"}")
        .await;
    assert_eq!(questions, 3.0);
}

#[tokio::test]
async fn one_that_answers_wrongly_is_there_and_is_asked_on() {
    for (why, wrong) in [
        ("answer", "<html>we are sorry</html>"),
        ("answer", r#"{"decision":"mask","texts":["a","b"]}"#),
    ] {
        let page = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{wrong}",
            wrong.len()
        );
        let service = Peer::start().await.answering(page);
        let bed = bed(&service.url(), &json!({"onFailure": "Pass"})).await;
        for _ in 0..5 {
            assert_eq!(ask(&bed).await.status, 200);
        }
        assert_eq!(
            (found(&bed, &format!("passed_{why}")).await, breaker(&bed).await),
            (5.0, json!("closed"))
        );
    }
    // Who fails at one text does not lose its say about others; a gateway with nobody behind it is nobody.
    for (status, asked, state) in [
        ("500 Oh", 5.0, "closed"),
        ("413 No", 5.0, "closed"),
        ("503 Gone", 3.0, "open"),
    ] {
        let service = Peer::start()
            .await
            .answering(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"));
        let bed = bed(&service.url(), &json!({"onFailure": "Pass"})).await;
        for _ in 0..5 {
            assert_eq!(ask(&bed).await.status, 200);
        }
        assert_eq!(
            (found(&bed, "passed_status").await, breaker(&bed).await),
            (asked, json!(state)),
            "{status}"
        );
    }
}

#[tokio::test]
async fn what_is_known_of_it_outlives_a_reload_and_ends_by_hand_or_with_another_address() {
    let bed = bed(&nobody().await, &json!({"onFailure": "Pass"})).await;
    for _ in 0..UNANSWERED {
        ask(&bed).await;
    }
    assert_eq!(breaker(&bed).await, "open");
    let reloaded = async |from: &str, to: &str| {
        let before = bed.health().await["config"]["revision"].clone();
        let documents = std::fs::read_to_string(bed.config_path()).unwrap();
        assert!(documents.contains(from), "{documents}");
        std::fs::write(bed.config_path(), documents.replacen(from, to, 1)).unwrap();
        bed.until("the change is in service", || async {
            bed.health().await["config"]["revision"] != before
        })
        .await;
    };
    reloaded("\"models\":[\"smart\"]", "\"models\":[\"smart\",\"other\"]").await;
    assert_eq!(breaker(&bed).await, "open");
    let closed = bed.admin_post("/circuits/reset?provider=claude").await.json();
    assert_eq!(
        (&closed["closed"], breaker(&bed).await),
        (&json!(0), json!("open")),
        "this one alone"
    );
    let closed = bed.admin_post("/circuits/reset").await.json();
    assert_eq!((&closed["closed"], breaker(&bed).await), (&json!(1), json!("closed")));
    for _ in 0..UNANSWERED {
        ask(&bed).await;
    }
    assert_eq!(breaker(&bed).await, "open");
    reloaded("\"timeout\":\"5s\"", "\"timeout\":\"4s\"").await;
    assert_eq!(breaker(&bed).await, "closed", "it is another now");
}

/// Serves each connection with this.
async fn connections<F: Future<Output = ()> + Send>(
    serve: impl Fn(usize, TcpStream) -> F + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = Arc::new(serve);
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            let serve = Arc::clone(&serve);
            tokio::spawn(async move { serve(number, stream).await });
            number += 1;
        }
    });
    url
}

/// Reads one question. `false`: there is none more.
async fn question(stream: &mut TcpStream) -> bool {
    let (mut seen, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(read @ 1..) = stream.read(&mut piece).await {
        seen.extend_from_slice(&piece[..read]);
        if is_whole(&seen) {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn connections_whose_other_end_has_died_without_a_word_cost_one_deadline_together() {
    const MANY: usize = 6;
    let waiting = Arc::new(tokio::sync::Barrier::new(MANY));
    let url = connections(move |number, mut stream| {
        let waiting = Arc::clone(&waiting);
        async move {
            let mut asked = 0;
            while question(&mut stream).await {
                asked += 1;
                if number < MANY {
                    if asked > 1 {
                        continue;
                    }
                    waiting.wait().await;
                }
                stream
                    .write_all(peer::json(r#"{"decision":"pass"}"#).as_bytes())
                    .await
                    .unwrap();
            }
        }
    })
    .await;
    let bed = bed(&url, &json!({"timeout": "1s"})).await;
    let all = tokio::join!(ask(&bed), ask(&bed), ask(&bed), ask(&bed), ask(&bed), ask(&bed));
    for reply in <[Reply; MANY]>::from(all) {
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    // The node behind all of them is gone, and another has come in its place.
    assert_eq!(ask(&bed).await.status, 403);
    for _ in 0..MANY {
        let reply = ask(&bed).await;
        assert_eq!(reply.status, 200, "over a new connection: {}", reply.text);
    }
    assert_eq!(found(&bed, "refused_timeout").await, 1.0);
}

#[tokio::test]
async fn an_answer_too_many_is_not_taken_for_the_next_requests() {
    let asked = Arc::new(AtomicUsize::new(0));
    let url = connections(move |_, mut stream| {
        let asked = Arc::clone(&asked);
        async move {
            while question(&mut stream).await {
                let answer = if asked.fetch_add(1, Ordering::Relaxed) == 0 {
                    peer::json(r#"{"decision":"pass"}"#).repeat(2)
                } else {
                    peer::json(r#"{"decision":"refuse"}"#)
                };
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let bed = bed(&url, &json!({})).await;
    assert_eq!(ask(&bed).await.status, 200);
    for _ in 0..3 {
        let reply = ask(&bed).await;
        assert_eq!(reply.status, 403, "{}", reply.text);
        assert!(reply.text.contains("does not let this pass"), "{}", reply.text);
    }
}
