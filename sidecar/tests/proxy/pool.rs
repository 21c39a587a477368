//! Connections to providers: kept, and never trusted to be alive.

use bowsprit_providers::{After, Answer};

use crate::support::Bed;

#[tokio::test]
async fn one_connection_serves_request_after_request() {
    let bed = Bed::new().await;
    for _ in 0..10 {
        for model in ["claude-sonnet-4-5", "gemini-2.5-flash", "gpt-4.1-mini"] {
            for stream in [false, true] {
                assert_eq!(bed.chat_with(model, stream).await.status, 200);
            }
        }
    }
    for provider in [&bed.claude, &bed.gemini, &bed.openai] {
        assert_eq!(provider.seen().connections, 1);
    }
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced_without_the_app_noticing() {
    for after in [After::Close, After::CloseSilently] {
        let bed = Bed::new().await;
        for _ in 0..5 {
            bed.claude.script(Answer::new("hi").after(after));
            let reply = bed.chat().await;
            assert_eq!((reply.status, reply.provider()), (200, "claude"), "{after:?}");
        }
        bed.balanced().await;
    }
}

#[tokio::test]
async fn a_connection_that_dies_under_a_request_is_a_failure_like_any_other() {
    let bed = Bed::with(|_, spec| {
        spec["retry"] = serde_json::json!({"maxAttempts": 2, "backoff": {"base": "1ms", "max": "1ms"}});
    })
    .await;
    bed.claude.script(Answer::new("hi").after(After::ResetOnNextRequest));
    assert_eq!(bed.chat().await.provider(), "claude");
    let reply = bed.chat().await;
    assert_eq!((reply.status, reply.provider()), (200, "claude"));
    bed.balanced().await;
}
