//! Stopping: what runs may finish; what does not is told.

use bowsprit_providers::{Answer, Behaviour, Fault};
use bowsprit_rig::http::post;
use bowsprit_rig::inside::Drained;
use bowsprit_rig::peer;
use serde_json::json;

use crate::support::{Bed, Reply, chat, saw};

#[tokio::test]
async fn a_stream_that_runs_at_the_stop_is_finished() {
    let mut bed = Bed::new().await;
    bed.claude
        .always(Answer::new("one two three four five").delay(std::time::Duration::from_millis(30)));
    let response = bed
        .post("/v1/chat/completions", &chat("claude-sonnet-4-5", true))
        .send()
        .await
        .unwrap();
    let stopping = tokio::spawn(bed.sidecar.take().unwrap().stop());
    let reply = Reply::of(response).await;
    assert_eq!(reply.events().last(), Some(&"[DONE]"), "{}", reply.text);
    assert_eq!(reply.content(), "one two three four five");
    assert_eq!(stopping.await.unwrap(), Drained::Clean);
}

#[tokio::test]
async fn at_the_stop_it_is_unready_and_takes_no_new_connections() {
    let mut bed = Bed::new().await;
    bed.claude.always(Behaviour::hang());
    let hung = tokio::spawn(
        bed.post("/v1/chat/completions", &chat("claude-sonnet-4-5", false))
            .send(),
    );
    saw(&bed.claude, |seen| seen.counts.requests == 1).await;
    let running = bed.sidecar.take().unwrap();
    let (address, view) = (running.listen, running.view());
    let stopping = tokio::spawn(running.stop());
    bed.until("it is unready", || async {
        bed.admin("/health/ready").await.status == 503
    })
    .await;
    assert_eq!(bed.admin("/health").await.json()["status"], "draining");
    assert_eq!(
        bed.admin("/health/live").await.status,
        200,
        "a draining sidecar must not be killed"
    );
    bed.until("connections are refused", || async {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
    hung.abort();
    assert_eq!(stopping.await.unwrap(), Drained::Clean);
    assert_eq!(view.in_flight(), 0);
}

#[tokio::test]
async fn at_the_deadline_streams_end_with_an_error_and_requests_with_a_503() {
    let mut bed = Bed::build(|_, _| {}, &["--drain-deadline", "100ms"]).await;
    bed.claude
        .always(Answer::new("one two three").fault(Fault::Stall { after: 2 }));
    bed.gemini.always(Behaviour::hang());
    let mut stream = bed
        .post("/v1/chat/completions", &chat("claude-sonnet-4-5", true))
        .send()
        .await
        .unwrap();
    let first = stream.chunk().await.unwrap().unwrap();
    let plain = tokio::spawn(
        bed.post("/v1/chat/completions", &chat("gemini-2.5-flash", false))
            .send(),
    );
    saw(&bed.gemini, |seen| seen.counts.requests == 1).await;
    let running = bed.sidecar.take().unwrap();
    let view = running.view();
    let stopping = tokio::spawn(running.stop());
    let rest = Reply::of(stream).await;
    assert!(
        first.starts_with(b"data: ") && !rest.text.contains("[DONE]"),
        "{}",
        rest.text
    );
    assert!(rest.text.contains("SYS_DRAINING"), "{}", rest.text);
    let plain = Reply::of(plain.await.unwrap().unwrap()).await;
    assert_eq!(
        (plain.status, plain.json()["error"]["bowsprit_code"].as_str()),
        (503, Some("SYS_DRAINING")),
        "{}",
        plain.text
    );
    assert_eq!(stopping.await.unwrap(), Drained::Cut(2));
    assert_eq!(view.in_flight(), 0);
    saw(&bed.claude, |seen| seen.cancelled.len() == 1).await;
}

#[tokio::test]
async fn a_whole_answer_is_handed_over_before_the_process_ends() {
    let (mut bed, peer) = Bed::raw("openai", |_| (), &[]).await;
    // More than the socket buffers of both ends take, less than what is held before it flows.
    let text = "x".repeat(3 << 20);
    let body = json!({
        "choices": [{"message": {"content": text}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    });
    let body = body.to_string();
    // Answered once, and idle since: the drain closes it.
    let mut idle = bed.send("GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(idle.reply().await.status, 200);
    let mut app = bed.connect_narrow().await;
    app.send(post("/v1/chat/completions", &chat("gpt-4.1-mini", false)))
        .await;
    peer.asked().await.send(peer::json(&body)).await;
    bed.until("it is settled", || async { bed.sidecar().in_flight() == 0 })
        .await;

    let stopping = tokio::spawn(bed.sidecar.take().unwrap().stop());
    idle.closed().await;
    // Everything that can go on without the app has its turn, many times over.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(
        !stopping.is_finished(),
        "the process would have ended with half an answer handed over"
    );
    let reply = app.reply().await;
    assert_eq!((reply.complete, reply.body.len()), (true, body.len()));
    drop(app);
    assert_eq!(stopping.await.unwrap(), Drained::Clean);
}
