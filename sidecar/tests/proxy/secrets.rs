//! No key in anything that leaves the sidecar but the one header it is for.

use bowsprit_providers::Behaviour;
use bowsprit_rig::peer::{EVENTS, chunk};

use crate::support::{Bed, CANARIES, Reply, chat, logs, message};

#[tokio::test]
async fn no_key_shows_in_answers_logs_metrics_or_health() {
    let bed = Bed::new().await;
    let mut texts: Vec<String> = Vec::new();
    let mut take = |reply: Reply| texts.push(format!("{:?} {}", reply.headers, reply.text));
    for model in ["claude-sonnet-4-5", "gemini-2.5-flash", "gpt-4.1-mini"] {
        for stream in [false, true] {
            take(bed.chat_with(model, stream).await);
        }
    }
    // Providers that repeat the key in their errors, in the caller's dialect and in another.
    for (provider, canary) in [
        (&bed.claude, CANARIES[0]),
        (&bed.gemini, CANARIES[1]),
        (&bed.openai, CANARIES[2]),
    ] {
        for code in [400, 401, 403, 500] {
            provider.script(Behaviour::status(code).message(format!("Incorrect API key provided: {canary}")));
        }
    }
    for _ in 0..4 {
        take(bed.chat_with("gpt-4.1-mini", false).await);
        take(bed.chat_with("gemini-2.5-flash", true).await);
        let own = bed
            .post("/v1/messages", &message("claude-sonnet-4-5", false))
            .send()
            .await
            .unwrap();
        take(Reply::of(own).await);
    }
    bed.claude.down().await;
    take(
        Reply::of(
            bed.post("/v1/chat/completions", &chat("claude-sonnet-4-5", false))
                .send()
                .await
                .unwrap(),
        )
        .await,
    );
    take(bed.admin("/health").await);
    take(bed.admin("/metrics").await);
    texts.push(bed.sidecar().log());
    texts.push(logs());
    for text in &texts {
        for canary in CANARIES {
            if let Some(at) = text.find(canary) {
                panic!("a key in: {}", &text[at.saturating_sub(200)..at]);
            }
        }
    }
    assert!(
        texts
            .iter()
            .any(|text| text.contains("Incorrect API key provided: [key]")),
        "the rest of the message is kept"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn no_prompt_and_no_answer_is_ever_logged() {
    let bed = Bed::new().await;
    let mut body = chat("claude-sonnet-4-5", false);
    body["messages"][0]["content"] = "prompt-canary-5e1".into();
    let reply = Reply::of(bed.post("/v1/chat/completions", &body).send().await.unwrap()).await;
    assert!(
        reply.text.contains("prompt-canary-5e1"),
        "the scripted provider repeats it"
    );
    assert!(!bed.sidecar().log().contains("prompt-canary-5e1"));
    assert!(!logs().contains("prompt-canary-5e1"));
}

#[tokio::test]
async fn an_error_in_mid_stream_that_quotes_the_key_is_told_without_it() {
    let (bed, peer) = Bed::raw("openai", |_| (), &[]).await;
    let mut app = bed.ask("/v1/chat/completions", &chat("gpt-4.1-mini", true)).await;
    let mut provider = peer.asked().await;
    let key = CANARIES[2];
    let one = "data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\n";
    let error = format!("data: {{\"error\":{{\"message\":\"key {key} was revoked\",\"type\":\"server_error\"}}}}\n\n");
    provider
        .send([EVENTS.as_bytes(), &chunk(one.as_bytes()), &chunk(error.as_bytes())].concat())
        .await;
    drop(provider);
    let answer = app.reply().await.text().clone();
    assert!(answer.contains("one") && answer.contains("error"), "{answer}");
    for text in [answer, logs()] {
        assert!(!text.contains(key), "{text}");
    }
    bed.balanced().await;
}
