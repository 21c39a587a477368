//! How answers end on the wire, byte for byte: what is half is never sent as whole, what is whole is not spoilt.

use bowsprit_rig::peer::{EVENTS, chunk};

use crate::support::{Bed, chat, contents};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
const ONE: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\n";

#[tokio::test]
async fn an_array_that_breaks_inside_an_element_breaks_the_connection() {
    let (bed, peer) = Bed::raw("gemini", |_| (), &[]).await;
    let path = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
    let mut app = bed.ask(path, &contents()).await;
    let mut provider = peer.asked().await;
    let first = chunk(br#"[{"candidates":[{"content":{"parts":[{"text":"one"}]}}]},"#);
    let half = chunk(br#"{"candidates":[{"content":{"par"#);
    provider.send([CHUNKED.as_bytes(), &first, &half].concat()).await;
    drop(provider);
    let answer = app.rest().await;
    assert!(answer.contains("one") && answer.contains("par"), "{answer}");
    assert!(
        !answer.ends_with("0\r\n\r\n"),
        "half an array must not come to a proper end: {answer}"
    );
    bed.balanced().await;
    assert_eq!(bed.access()[0]["outcome"], "cut");
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_end_mark_spoils_nothing() {
    let (bed, peer) = Bed::raw("openai", |_| (), &[]).await;
    let mut app = bed.ask("/v1/chat/completions", &chat("gpt-4.1-mini", true)).await;
    let mut provider = peer.asked().await;
    let event = chunk(format!("{ONE}data: [DONE]\n\n").as_bytes());
    provider.send([EVENTS.as_bytes(), &event].concat()).await;
    drop(provider);
    let reply = app.reply().await;
    assert!(reply.complete && !reply.text().contains("error"), "{}", reply.text());
    bed.balanced().await;
    assert_eq!(bed.access()[0]["outcome"], "ok");
}

#[tokio::test]
async fn an_old_provider_does_not_make_the_apps_connection_old() {
    let (bed, peer) = Bed::raw("openai", |_| (), &[]).await;
    let mut app = bed.ask("/v1/chat/completions", &chat("gpt-4.1-mini", true)).await;
    let mut provider = peer.asked().await;
    let head = "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    provider.send(format!("{head}{ONE}")).await;
    drop(provider);
    app.until("\r\n\r\n").await;
    assert!(app.seen.starts_with(b"HTTP/1.1 200"), "{}", app.text());
}
