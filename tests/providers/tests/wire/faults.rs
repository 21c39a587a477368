use std::time::Duration;

use bowsprit_providers::{After, Answer, Api, Behaviour, Fault, LineEnd, Phase, Point, Provider, Raw};

use crate::client::{Client, DEADLINE, End, Response, ask, begin, chat, start};

const APIS: [Api; 3] = [Api::OpenAi, Api::Anthropic, Api::Gemini];

/// Streams "one two three four" broken by `fault`.
async fn broken(api: Api, fault: Fault) -> Response {
    let provider = start();
    provider.script(Answer::new("one two three four").fault(fault));
    ask(&provider, api, true).await
}

/// The words that came, whatever the API.
fn words(response: &Response) -> Vec<String> {
    let places = [
        "/choices/0/delta/content",
        "/delta/text",
        "/candidates/0/content/parts/0/text",
    ];
    let data = response.data();
    let words = data
        .iter()
        .filter_map(|event| places.iter().find_map(|place| event.pointer(place)?.as_str()));
    words
        .filter(|word| !word.is_empty())
        .map(|word| word.trim().to_owned())
        .collect()
}

fn has_end(api: Api, response: &Response) -> bool {
    let end = match api {
        Api::Anthropic => "message_stop",
        Api::Gemini => "finishReason",
        _ => "[DONE]",
    };
    response.text().contains(end)
}

#[tokio::test]
async fn a_well_behaved_stream_is_whole() {
    for api in APIS {
        let provider = start();
        provider.script(Answer::new("one two three four"));
        let response = ask(&provider, api, true).await;
        assert_eq!(words(&response), ["one", "two", "three", "four"]);
        assert_eq!((response.end, has_end(api, &response)), (End::Complete, true));
        assert_eq!(response.chunks.len(), response.events().len(), "an event a chunk");
    }
}

#[tokio::test]
async fn a_reset_comes_where_the_script_wants_it() {
    for api in APIS {
        let at = |at| broken(api, Fault::Reset { at });
        let response = at(Point::BeforeHead).await;
        assert_eq!((response.status, response.end), (0, End::Reset));
        let response = at(Point::AfterHead).await;
        assert_eq!(
            (response.status, response.end, response.chunks.len()),
            (200, End::Reset, 0)
        );
        let response = at(Point::AfterChunks(2)).await;
        assert_eq!(
            (response.end, words(&response)),
            (End::Reset, vec!["one".into(), "two".into()])
        );
        let response = at(Point::MidChunk(2)).await;
        assert_eq!(
            (response.end, words(&response)),
            (End::Reset, vec!["one".into(), "two".into()])
        );
        let tail = response.chunks.last().unwrap();
        assert!(!tail.is_empty() && !tail.ends_with(b"\n"), "the last chunk is cut");
    }
}

#[tokio::test]
async fn an_early_end_is_never_framed_as_complete() {
    for api in APIS {
        let response = broken(api, Fault::EarlyFin { after: 2 }).await;
        assert_eq!(response.end, End::Eof);
        assert!(response.header("content-length").unwrap().parse::<usize>().unwrap() > response.body.len());
        assert_eq!(words(&response), ["one", "two"]);

        let response = broken(api, Fault::TruncatedChunked { after: 3 }).await;
        assert_eq!((response.end, response.header("content-length")), (End::Eof, None));
        assert_eq!(words(&response), ["one", "two", "three"]);
    }
}

#[tokio::test]
async fn a_missing_end_marker_is_framed_as_complete() {
    for api in APIS {
        let response = broken(api, Fault::NoEndMarker).await;
        assert_eq!((response.end, has_end(api, &response)), (End::Complete, false));
        assert_eq!(words(&response), ["one", "two", "three", "four"]);
    }
}

#[tokio::test]
async fn a_missing_finish_reason_is_framed_as_complete() {
    for api in APIS {
        let response = broken(api, Fault::NoFinish).await;
        assert_eq!((response.end, has_end(api, &response)), (End::Complete, false));
        assert_eq!(words(&response), ["one", "two", "three", "four"]);
        let text = String::from_utf8_lossy(&response.body).into_owned();
        assert!(
            !text.contains("finish_reason\":\"") && !text.contains("stop_reason\":\""),
            "{text}"
        );
    }
}

#[tokio::test]
async fn an_error_event_comes_before_or_after_content() {
    for api in APIS {
        for after in [0, 2] {
            let response = broken(
                api,
                Fault::ErrorEvent {
                    after,
                    code: 529,
                    kind: None,
                },
            )
            .await;
            assert_eq!(
                (response.status, response.end, has_end(api, &response)),
                (200, End::Complete, false)
            );
            assert_eq!(words(&response).len(), after as usize);
            let (name, _) = response.events().last().unwrap().clone();
            assert_eq!(name, if api == Api::Anthropic { "error" } else { "" });
            assert!(response.data().last().unwrap()["error"]["message"].is_string());
        }
    }
}

#[tokio::test]
async fn faults_break_a_plain_answer_in_half() {
    for fault in [
        Fault::Reset {
            at: Point::AfterChunks(1),
        },
        Fault::EarlyFin { after: 0 },
        Fault::TruncatedChunked { after: 0 },
        Fault::NoEndMarker,
    ] {
        let expected = match fault {
            Fault::Reset { .. } => End::Reset,
            Fault::NoEndMarker => End::Complete,
            _ => End::Eof,
        };
        let provider = start();
        provider.script(Answer::default().fault(fault));
        let response = ask(&provider, Api::OpenAi, false).await;
        assert_eq!(response.end, expected);
        assert!(response.body.starts_with(b"{\"id\"") && !response.body.ends_with(b"}"));
    }
}

/// Waits until a client has seen `needle`, closes it, and returns what the provider noticed.
async fn cut(provider: &Provider, api: Api, stream: bool, needle: Option<&str>) -> (Phase, u32) {
    let mut client = begin(provider, api, stream).await;
    match needle {
        Some(needle) => client.wait_for_bytes(needle).await,
        None => provider
            .wait_for(|seen| seen.requests.len() == 1, DEADLINE)
            .await
            .unwrap(),
    }
    assert!(provider.cancelled().is_empty());
    drop(client);
    provider
        .wait_for(|seen| !seen.cancelled.is_empty(), DEADLINE)
        .await
        .unwrap();
    provider
        .wait_for(|seen| seen.open_connections == 0, DEADLINE)
        .await
        .unwrap();
    let cancelled = provider.cancelled();
    assert_eq!((cancelled.len(), cancelled[0].request), (1, 1));
    (cancelled[0].phase, cancelled[0].chunks)
}

#[tokio::test]
async fn a_hang_lasts_until_the_client_goes() {
    for api in APIS {
        let provider = start();
        provider.script(Behaviour::hang());
        assert_eq!(cut(&provider, api, true, None).await, (Phase::BeforeHead, 0));
    }
}

#[tokio::test]
async fn a_stall_comes_after_so_many_pieces_and_lasts_until_the_client_goes() {
    for api in APIS {
        let provider = start();
        provider.script(Answer::new("one two three").fault(Fault::Stall { after: 2 }));
        assert_eq!(cut(&provider, api, true, Some("two ")).await, (Phase::Body, 2));
        let provider = start();
        provider.script(Answer::new("one two three").fault(Fault::Stall { after: 0 }));
        assert_eq!(cut(&provider, api, true, Some("HTTP/1.1 200")).await, (Phase::Body, 0));
        let provider = start();
        provider.script(Behaviour::stall_after(0));
        assert_eq!(cut(&provider, api, false, Some("\r\n\r\n{")).await, (Phase::Body, 0));
    }
}

#[tokio::test]
async fn a_client_that_goes_while_a_slow_answer_comes_is_noticed() {
    let provider = start();
    provider.script(Answer::new("one two three").delay(Duration::from_mins(10)));
    assert_eq!(cut(&provider, Api::OpenAi, true, Some("one ")).await, (Phase::Body, 1));
    let provider = start();
    provider.script(Answer::default().head_delay(Duration::from_mins(10)));
    assert_eq!(cut(&provider, Api::OpenAi, true, None).await, (Phase::BeforeHead, 0));
}

#[tokio::test]
async fn a_client_that_goes_in_its_own_body_is_noticed() {
    let provider = start();
    let mut client = Client::connect(&provider).await;
    client
        .send_raw(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 100\r\n\r\n{\"mod")
        .await;
    drop(client);
    provider
        .wait_for(|seen| seen.cancelled.len() == 1, DEADLINE)
        .await
        .unwrap();
    let request = &provider.requests()[0];
    assert_eq!((request.complete, &request.body[..]), (false, &b"{\"mod"[..]));
    assert_eq!(provider.cancelled()[0].phase, Phase::RequestBody);
}

#[tokio::test]
async fn an_unread_body_is_left_unread_or_refused_early() {
    let provider = start();
    provider.script(Behaviour::RefuseBody { status: None });
    let mut client = begin(&provider, Api::OpenAi, false).await;
    provider
        .wait_for(|seen| seen.requests.len() == 1, DEADLINE)
        .await
        .unwrap();
    assert_eq!(provider.requests()[0].behaviour, "refuse_body");
    client.send_raw(&[b' '; 1000]).await;
    assert!(provider.cancelled().is_empty());
    drop(client);
    provider
        .wait_for(|seen| seen.cancelled.len() == 1, DEADLINE)
        .await
        .unwrap();

    provider.script(Behaviour::RefuseBody { status: Some(413) });
    let mut client = Client::connect(&provider).await;
    client
        .send_raw(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n")
        .await;
    let response = client.receive().await;
    assert_eq!((response.status, response.header("connection")), (413, Some("close")));
    assert_ne!(client.end().await, End::Complete);
}

#[tokio::test]
async fn bytes_are_written_one_by_one_where_asked() {
    for api in APIS {
        let provider = start();
        provider.script(Answer {
            write_bytes: Some(1),
            ..Answer::new("one two")
        });
        let response = ask(&provider, api, true).await;
        assert!(response.chunks.iter().all(|chunk| chunk.len() == 1));
        assert_eq!(
            (words(&response), has_end(api, &response)),
            (vec!["one".into(), "two".into()], true)
        );
        provider.script(Answer {
            write_bytes: Some(1),
            ..Answer::new("one two")
        });
        assert!(ask(&provider, api, false).await.json().is_object());
    }
}

#[tokio::test]
async fn an_event_may_be_huge() {
    let provider = start();
    let size = 10 * 1024 * 1024;
    provider.script(Answer {
        huge_event_bytes: Some(size),
        ..Answer::new("one ")
    });
    let response = ask(&provider, Api::OpenAi, true).await;
    assert_eq!((words(&response)[1].len(), response.end), (size, End::Complete));
}

#[tokio::test]
async fn an_event_stream_may_be_written_in_every_legal_form() {
    for (line_end, end) in [
        (LineEnd::Lf, "\n\n"),
        (LineEnd::CrLf, "\r\n\r\n"),
        (LineEnd::Cr, "\r\r"),
    ] {
        for api in APIS {
            let provider = start();
            provider.script(Answer {
                line_end,
                byte_order_mark: true,
                pings: 2,
                ..Answer::new("one two")
            });
            let response = ask(&provider, api, true).await;
            assert!(response.body.starts_with("\u{feff}".as_bytes()) && response.body.ends_with(end.as_bytes()));
            assert_eq!(words(&response), ["one", "two"]);
            let (pings, at_least) = match api {
                Api::Anthropic => ("event: ping", 4),
                // Gemini has none, neither as events nor as comments.
                Api::Gemini => ("\n:", 0),
                _ => (": keep-alive", 4),
            };
            let count = response.text().matches(pings).count();
            assert!(count >= at_least && (at_least > 0) == (count > 0), "{api:?}: {count}");
        }
    }
    let provider = start();
    provider.script(Answer {
        no_final_blank_line: true,
        ..Answer::new("one")
    });
    assert!(
        ask(&provider, Api::OpenAi, true)
            .await
            .body
            .ends_with(b"}\n\ndata: [DONE]\n")
    );
}

/// Unpacks a member of stored blocks, which is all the provider writes.
fn unzip(bytes: &[u8]) -> Vec<u8> {
    assert_eq!(&bytes[..3], [0x1f, 0x8b, 8]);
    let (mut rest, mut out) = (&bytes[10..], Vec::new());
    loop {
        let length = usize::from(u16::from_le_bytes([rest[1], rest[2]]));
        assert_eq!(u16::from_le_bytes([rest[3], rest[4]]), !u16::try_from(length).unwrap());
        out.extend(&rest[5..5 + length]);
        let last = rest[0] == 1;
        rest = &rest[5 + length..];
        if last {
            assert_eq!(rest.len(), 8);
            assert_eq!(u32::from_le_bytes(rest[4..].try_into().unwrap()) as usize, out.len());
            return out;
        }
    }
}

#[tokio::test]
async fn a_gzipped_answer_is_labelled_and_can_be_unpacked() {
    let provider = start();
    for stream in [false, true] {
        provider.script(Answer {
            gzip: true,
            ..Answer::new("one two")
        });
        let response = ask(&provider, Api::OpenAi, stream).await;
        assert_eq!(response.header("content-encoding"), Some("gzip"));
        let text = String::from_utf8(unzip(&response.body)).unwrap();
        assert!(text.contains("two") && (!stream || text.ends_with("data: [DONE]\n\n")));
    }
}

#[tokio::test]
async fn raw_bytes_are_sent_as_they_are() {
    let provider = start();
    let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nab\xff";
    provider.script(Raw {
        bytes: bytes.to_vec(),
        after: After::CloseSilently,
    });
    let (path, headers, body) = chat(Api::OpenAi, false);
    let mut client = Client::connect(&provider).await;
    let response = client.exchange("POST", path, &headers, &body).await;
    assert_eq!((response.body, client.end().await), (b"ab".to_vec(), End::Eof));
    assert!(response.head.contains("content-length: 3"));
}
