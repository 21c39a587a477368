//! The app goes away: the provider's work stops, and nothing is left held.

use bowsprit_providers::{Answer, Behaviour, Fault, Phase};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::{Bed, chat, saw};

#[tokio::test]
async fn leaving_before_the_head_cancels_the_provider() {
    let bed = Bed::new().await;
    bed.claude.always(Behaviour::hang());
    for stream in [false, true] {
        bed.claude.reset();
        bed.claude.always(Behaviour::hang());
        let asking = tokio::spawn(
            bed.post("/v1/chat/completions", &chat("claude-sonnet-4-5", stream))
                .send(),
        );
        saw(&bed.claude, |seen| seen.counts.requests == 1).await;
        asking.abort();
        saw(&bed.claude, |seen| seen.cancelled.len() == 1).await;
        assert_eq!(bed.claude.cancelled()[0].phase, Phase::BeforeHead);
        bed.balanced().await;
    }
    assert!(
        bed.metrics().await.contains("outcome=\"cancelled\",code=\"\"} 2"),
        "{}",
        bed.metrics().await
    );
    assert_eq!(
        bed.metric("bowsprit_attempts_total{provider=\"claude\",model=\"claude-sonnet-4-5\",code=\"cancelled\"}")
            .await,
        2.0
    );
    assert_eq!(
        bed.provider_health("claude").await["models"][0]["failures"],
        0,
        "the provider is not to blame"
    );
}

#[tokio::test]
async fn leaving_in_mid_stream_cancels_the_provider() {
    for model in ["claude-sonnet-4-5", "gpt-4.1-mini"] {
        let bed = Bed::new().await;
        let provider = if model.starts_with("claude") {
            &bed.claude
        } else {
            &bed.openai
        };
        provider.always(Answer::new("one two three").fault(Fault::Stall { after: 2 }));
        let mut response = bed
            .post("/v1/chat/completions", &chat(model, true))
            .send()
            .await
            .unwrap();
        response.chunk().await.unwrap().unwrap();
        drop(response);
        saw(provider, |seen| seen.cancelled.len() == 1).await;
        assert_eq!(provider.cancelled()[0].phase, Phase::Body);
        bed.balanced().await;
    }
}

#[tokio::test]
async fn leaving_in_mid_body_asks_nobody() {
    let bed = Bed::new().await;
    let mut stream = TcpStream::connect(bed.address()).await.unwrap();
    stream
        .write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{\"model\":")
        .await
        .unwrap();
    bed.until("the request was taken in", || async {
        bed.app().drain.in_flight() == 1
    })
    .await;
    drop(stream);
    bed.balanced().await;
    assert_eq!(bed.family("bowsprit_attempts_total").await, 0.0);
}

#[tokio::test]
async fn a_caller_that_closes_after_the_end_mark_was_answered() {
    let bed = Bed::new().await;
    let mut answer = Answer::new("one two");
    answer.after = bowsprit_providers::After::Keep;
    bed.openai.always(answer);
    let mut response = bed
        .post("/v1/chat/completions", &chat("gpt-4.1-mini", true))
        .send()
        .await
        .unwrap();
    let mut text = String::new();
    while !text.contains("[DONE]") {
        text.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()));
    }
    drop(response);
    bed.balanced().await;
    assert!(
        !bed.metrics().await.contains("outcome=\"cancelled\""),
        "{}",
        bed.metrics().await
    );
}
