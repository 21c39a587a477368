//! Row 10: event streams that are cut anywhere, end their lines in any way, or hold what no stream should.

use bowsprit_providers::{Answer, Api};
use serde_json::json;

use crate::bed::{Bed, CHAT, GENERATE, MESSAGES, Setup, chat, contents, message};
use crate::trial::{Trial, promises, provider};
use bowsprit_rig::http::Reply;
use bowsprit_rig::peer::{EVENTS, LAST, Peer, chunk};

promises! {
    10, "malformed event streams";
    a_stream_cut_at_every_byte_passes_unchanged,
    a_translated_stream_says_the_same_wherever_it_is_cut,
    any_line_end_a_byte_order_mark_and_a_missing_last_line_pass_unchanged,
    nul_and_invalid_utf8_pass_unchanged,
    a_line_of_ten_mebibytes_passes_in_bounded_memory,
    a_line_of_ten_mebibytes_that_must_be_read_is_refused_in_bounded_memory,
    a_stream_of_nothing_but_garbage_is_no_answer,
}

/// How a dialect's streams look, and who asks for one.
#[derive(Clone, Copy)]
struct Form {
    kind: &'static str,
    path: &'static str,
    body: &'static str,
}

const OPENAI: Form = Form {
    kind: "OpenAI",
    path: CHAT,
    body: "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
           data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"h\u{e9}llo\"}}]}\n\n\
           : a comment\n\n\
           data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
           data: [DONE]\n\n",
};
const ANTHROPIC: Form = Form {
    kind: "Anthropic",
    path: MESSAGES,
    body: "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m1\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"m\",\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n\
           event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
           event: ping\ndata: {\"type\":\"ping\"}\n\n\
           event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"h\u{e9}llo\"}}\n\n\
           event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n\
           event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":2}}\n\n\
           event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
};
const GEMINI: Form = Form {
    kind: "Gemini",
    path: GENERATE,
    body: "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"h\u{e9}\"}],\"role\":\"model\"},\"index\":0}]}\n\n\
           data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"llo\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":1,\"candidatesTokenCount\":2,\"totalTokenCount\":3}}\n\n",
};
const FORMS: [Form; 3] = [OPENAI, ANTHROPIC, GEMINI];

impl Form {
    async fn bed(self, trial: &Trial, peer: &Peer) -> std::rc::Rc<Bed> {
        let setup = Setup::new();
        let setup = match self.kind {
            "OpenAI" => setup.openai("first", peer.url(), json!({})),
            "Anthropic" => setup.anthropic("first", peer.url(), json!({})),
            _ => setup.gemini("first", peer.url(), json!({})),
        };
        trial.bed(setup).await
    }

    /// What a caller of this dialect gets when the provider sends these chunks and a clean end.
    async fn relayed<'a>(self, bed: &Bed, peer: &Peer, chunks: impl IntoIterator<Item = &'a [u8]>) -> Reply {
        let body = match self.kind {
            "OpenAI" => chat(true),
            "Anthropic" => message(true),
            _ => contents(),
        };
        relayed(bed, peer, self.path, &body, chunks).await
    }
}

/// The same for any caller. The provider closes its connection after each answer.
async fn relayed<'a>(
    bed: &Bed,
    peer: &Peer,
    path: &str,
    body: &serde_json::Value,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Reply {
    let mut client = bed.ask(path, body).await;
    let mut exchange = peer.asked().await;
    let pieces: Vec<Vec<u8>> = chunks
        .into_iter()
        .filter(|piece| !piece.is_empty())
        .map(chunk)
        .collect();
    let sending = tokio::task::spawn_local(async move {
        exchange.send(EVENTS).await;
        for piece in pieces {
            // A write each, so that each may come alone.
            if exchange.try_send(&piece).await.is_err() {
                return;
            }
        }
        let _ = exchange.try_send(LAST).await;
    });
    let reply = client.reply().await;
    sending.await.unwrap();
    reply
}

fn unchanged(reply: &Reply, sent: &[u8], what: &str) {
    assert_eq!(reply.status, 200, "{what}: {}", reply.text());
    assert!(reply.complete, "{what}");
    assert!(
        reply.body == sent,
        "{what}: {:?} was sent and {:?} came",
        String::from_utf8_lossy(&sent[..sent.len().min(3000)]),
        String::from_utf8_lossy(&reply.body[..reply.body.len().min(3000)])
    );
}

async fn a_stream_cut_at_every_byte_passes_unchanged(trial: Trial) {
    let mut cuts = 0;
    for form in FORMS {
        let peer = Peer::start().await;
        let bed = form.bed(&trial, &peer).await;
        let sent = form.body.as_bytes();
        unchanged(&form.relayed(&bed, &peer, sent.chunks(1)).await, sent, "byte by byte");
        for at in (1..sent.len()).step_by(trial.count(17, 1)) {
            let (one, two) = sent.split_at(at);
            let reply = form.relayed(&bed, &peer, [one, two]).await;
            unchanged(&reply, sent, &format!("{} cut at {at}", form.kind));
            cuts += 1;
        }
        assert_eq!(
            bed.outcomes("ok").await,
            bed.sum("bowsprit_requests_received_total", &[]).await
        );
    }
    trial.tell("cuts tried", f64::from(cuts), "");
}

async fn a_translated_stream_says_the_same_wherever_it_is_cut(trial: Trial) {
    let mut cuts = 0;
    for form in FORMS {
        let peer = Peer::start().await;
        let bed = form.bed(&trial, &peer).await;
        let sent = form.body.as_bytes();
        let (path, body) = if form.kind == "OpenAI" {
            (MESSAGES, message(true))
        } else {
            (CHAT, chat(true))
        };
        let expected = said(&relayed(&bed, &peer, path, &body, [sent]).await);
        assert!(expected.contains("h\u{e9}llo"), "{}: {expected}", form.kind);
        let whole = relayed(&bed, &peer, path, &body, sent.chunks(1)).await;
        assert_eq!(said(&whole), expected);
        for at in (1..sent.len()).step_by(trial.count(29, 3)) {
            let (one, two) = sent.split_at(at);
            let reply = relayed(&bed, &peer, path, &body, [one, two]).await;
            assert!(
                reply.complete && reply.is_ended_well(),
                "{} cut at {at}: {}",
                form.kind,
                reply.text()
            );
            assert_eq!(said(&reply), expected, "{} cut at {at}", form.kind);
            cuts += 1;
        }
    }
    trial.tell("cuts tried", f64::from(cuts), "");
}

/// The text that a stream says, in any dialect.
fn said(reply: &Reply) -> String {
    let events = reply.events();
    let values = events
        .iter()
        .filter_map(|event| serde_json::from_str::<serde_json::Value>(event).ok());
    values
        .map(|event| {
            let places = [&event["choices"][0]["delta"]["content"], &event["delta"]["text"]];
            places.iter().filter_map(|place| place.as_str()).collect::<String>()
        })
        .collect()
}

async fn any_line_end_a_byte_order_mark_and_a_missing_last_line_pass_unchanged(trial: Trial) {
    for form in FORMS {
        let peer = Peer::start().await;
        let bed = form.bed(&trial, &peer).await;
        let body = form.body;
        let mut mixed = String::new();
        for (index, line) in body.split_inclusive('\n').enumerate() {
            mixed.push_str(line.trim_end_matches('\n'));
            mixed.push_str(["\n", "\r\n", "\r"][index % 3]);
        }
        let variants = [
            ("CR LF", body.replace('\n', "\r\n")),
            ("CR", body.replace('\n', "\r")),
            ("mixed line ends", mixed),
            ("a byte order mark", format!("\u{feff}{body}")),
            ("no last blank line", body.trim_end_matches('\n').to_owned() + "\n"),
            ("no last line end", body.trim_end_matches('\n').to_owned()),
            ("no space after the colon", body.replace("data: ", "data:")),
            (
                "fields nobody knows",
                body.replace("data: ", "x-field: y\nid: 7\nretry: 10\ndata: "),
            ),
            ("blank lines", format!("\n\n\n{}", body.replace("\n\n", "\n\n\n\n"))),
        ];
        for (what, text) in variants {
            for size in [usize::MAX, 1, 7] {
                let reply = form.relayed(&bed, &peer, text.as_bytes().chunks(size)).await;
                unchanged(
                    &reply,
                    text.as_bytes(),
                    &format!("{} with {what} in pieces of {size}", form.kind),
                );
            }
        }
        assert_eq!(bed.outcomes("ok").await, 27.0, "{}", form.kind);
    }
}

async fn nul_and_invalid_utf8_pass_unchanged(trial: Trial) {
    for form in FORMS {
        let peer = Peer::start().await;
        let bed = form.bed(&trial, &peer).await;
        for (what, bad) in [
            ("NUL", &b"h\0llo"[..]),
            ("invalid UTF-8", b"h\xff\xfello"),
            ("half a letter", b"h\xc3llo"),
        ] {
            let mut sent = Vec::new();
            // Not in Gemini's last event: its end mark is a field there, and one that cannot be read is none.
            let (before, after) = form.body.split_once("h\u{e9}").unwrap();
            sent.extend_from_slice(before.as_bytes());
            sent.extend_from_slice(bad);
            sent.extend_from_slice(after.as_bytes());
            for size in [usize::MAX, 1] {
                let reply = form.relayed(&bed, &peer, sent.chunks(size)).await;
                unchanged(&reply, &sent, &format!("{} with {what}", form.kind));
            }
        }
    }
}

const TEN_MIB: usize = 10 << 20;

/// A stream with one event of ten mebibytes in its middle.
fn huge() -> String {
    OPENAI.body.replace("h\u{e9}llo", &"x".repeat(TEN_MIB))
}

async fn a_line_of_ten_mebibytes_passes_in_bounded_memory(trial: Trial) {
    let peer = Peer::start().await;
    let bed = OPENAI.bed(&trial, &peer).await;
    let sent = huge();
    OPENAI.relayed(&bed, &peer, [OPENAI.body.as_bytes()]).await;
    bed.forget_peak();
    let before = bed.peak();
    let reply = OPENAI.relayed(&bed, &peer, sent.as_bytes().chunks(64 << 10)).await;
    unchanged(&reply, sent.as_bytes(), "10 MiB");
    trial.figure("memory for it", bed.peak() - before, "MiB", 0.0..=4.0);
    assert_eq!(bed.outcomes("ok").await, 2.0);
}

async fn a_line_of_ten_mebibytes_that_must_be_read_is_refused_in_bounded_memory(trial: Trial) {
    let peer = Peer::start().await;
    let backup = provider(Api::Anthropic);
    backup.always(Answer::new("from the backup"));
    let bed = trial
        .bed(Setup::new().openai("first", peer.url(), json!({})).backup(&backup))
        .await;
    let sent = huge();
    bed.forget_peak();
    let before = bed.peak();
    // Content has not begun when the line grows beyond what is read of one: the next candidate may answer.
    let reply = relayed(&bed, &peer, MESSAGES, &message(true), sent.as_bytes().chunks(64 << 10)).await;
    assert_eq!((reply.status, reply.provider()), (200, "backup"), "{}", reply.text());
    trial.figure("memory for it", bed.peak() - before, "MiB", 0.0..=6.0);
    assert_eq!(bed.attempts("first", "EXT_MALFORMED").await, 1.0);
}

async fn a_stream_of_nothing_but_garbage_is_no_answer(trial: Trial) {
    for form in FORMS {
        let peer = Peer::start().await;
        let bed = form.bed(&trial, &peer).await;
        for garbage in [
            &b"data: {not json\n\n"[..],
            b"\0\0\0\0",
            b"<html>busy</html>",
            b"data: null\n\n",
            b"",
        ] {
            let reply = form.relayed(&bed, &peer, [garbage]).await;
            let text = reply.text();
            assert!(
                reply.status >= 500 || reply.stream_error().is_some(),
                "{}: {garbage:?}: {text}",
                form.kind
            );
            assert!(!reply.is_ended_well(), "{}: {text}", form.kind);
        }
        assert_eq!(bed.outcomes("ok").await, 0.0);
    }
}
