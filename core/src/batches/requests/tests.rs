//! What is read of the requests of batches, however the body that brings them is cut.

use serde_json::json;

use super::*;
use crate::dialect::embeddings::EmbeddingsApi;

fn read(dialect: Dialect, sent: Sent, kind: &str, text: &str, size: usize) -> (Vec<String>, Option<bool>) {
    let mut requests = Requests::new(dialect, sent, kind, true).unwrap().unwrap();
    let mut all = Vec::new();
    let pieces = text.as_bytes().chunks(size);
    let last = pieces.len();
    for (at, piece) in (1..).zip(pieces) {
        requests.push(piece, at == last, &mut |request| {
            all.push(match request {
                Ok(it) => format!(
                    "{} {:?} {} {} {:?} tools={} unread={}",
                    it.number,
                    it.id.as_deref().unwrap_or_default(),
                    it.dialect.as_str(),
                    it.model,
                    it.max_tokens,
                    it.features.tools,
                    it.is_unread
                ),
                Err(it) => format!("{}: {}", it.number, it.why),
            });
        });
    }
    (all, requests.is_batch())
}

fn claude(params: &str) -> String {
    format!(r#"{{"requests": [{{"custom_id": "a", "params": {params}}}]}}"#)
}

#[test]
fn each_of_anthropics_requests_is_read_with_all_that_rules_know_of_it() {
    let text = json!({"requests": [
        {"custom_id": "a", "params": {"model": "claude-haiku-4-5", "max_tokens": 7, "messages": []}},
        {"custom_id": "b\n", "params": {"model": "claude-opus-4-1", "max_tokens": 8, "tools": [{"name": "t"}], "messages": []}},
    ]})
    .to_string();
    for size in [1, 10, 10_000] {
        let (requests, is_batch) = read(Dialect::AnthropicMessages, Sent::Inlined, "", &text, size);
        let wanted = [
            r#"1 "a" anthropic claude-haiku-4-5 Some(7) tools=false unread=false"#,
            r#"2 "b\n" anthropic claude-opus-4-1 Some(8) tools=true unread=false"#,
        ];
        assert_eq!(
            (requests.as_slice(), is_batch),
            (&wanted.map(String::from)[..], Some(true))
        );
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_told_as_unread() {
    for (text, wanted) in [
        (
            claude(r#"{"model": "a", "model": "b", "messages": []}"#),
            "1: model: must be given once",
        ),
        (claude(r#"{"messages": []}"#), "1: model: is required"),
        (claude(r#"{"model": 7}"#), "1: model: must be a string"),
        (
            claude(r#"{"model": "a"}, "params": {"model": "b"}"#),
            "1: params: must be given once",
        ),
        (
            claude(r#"{"model": "a", "Model": "b", "messages": []}"#),
            "1: Model: must be written model, in these letters: some servers take the one for the other",
        ),
        (
            claude(r#"{"model": "a"}, "PARAMS": {"model": "b"}"#),
            "1: PARAMS: must be written params, in these letters: some servers take the one for the other",
        ),
        (r#"{"requests": []}"#.to_owned(), "0: holds no requests"),
        ("{}".to_owned(), "0: holds no requests"),
        (
            r#"{"Requests": [{}]}"#.to_owned(),
            "0: writes the name of a member in other letters",
        ),
        (
            r#"{"requ\u0065sts": [{}]}"#.to_owned(),
            "0: writes the name of a member with escapes",
        ),
    ] {
        let (requests, ..) = read(Dialect::AnthropicMessages, Sent::Inlined, "", &text, 9);
        assert_eq!(requests, [wanted], "{text}");
    }
    let fine = claude(r#"{"model": "a"}"#);
    let wide: String = fine.chars().flat_map(|it| [it, '\0']).collect();
    for text in [wide, format!("\u{feff}{fine}"), format!("{fine}{fine}")] {
        let (requests, is_batch) = read(Dialect::AnthropicMessages, Sent::Inlined, "", &text, 9);
        assert!(requests.last().unwrap().starts_with("0: is not "), "{requests:?}");
        assert_eq!(is_batch, Some(true));
    }
    let wide = "application/json; charset=utf-16";
    assert!(Requests::new(Dialect::AnthropicMessages, Sent::Inlined, wide, true).is_err());
    let long = claude(&format!(r#"{{"model": "a", "system": "{}"}}"#, "x".repeat(REQUEST)));
    let (requests, ..) = read(Dialect::AnthropicMessages, Sent::Inlined, "", &long, 1 << 16);
    assert_eq!(requests, ["1: is longer than 16777216 bytes"]);
}

#[test]
fn geminis_requests_are_for_the_model_of_the_path_and_of_a_file_nothing_else_is_known() {
    let sent = || super::sent(Dialect::Gemini, "/models/gemini-2.5-flash:batchGenerateContent").unwrap();
    let inlined = |request: serde_json::Value| {
        json!({"batch": {"display_name": "x", "input_config": {"requests": {"requests": [
            {"request": request, "metadata": {"key": "k"}}]}}}})
        .to_string()
    };
    for (text, wanted) in [
        (
            inlined(
                json!({"contents": [], "generationConfig": {"maxOutputTokens": 5}, "tools": [{"functionDeclarations": [{}]}]}),
            ),
            r#"1 "k" gemini gemini-2.5-flash Some(5) tools=true unread=false"#,
        ),
        (
            inlined(json!({"model": "models/gemini-2.5-flash", "contents": []})),
            r#"1 "k" gemini gemini-2.5-flash None tools=false unread=false"#,
        ),
        (
            inlined(json!({"model": "models/gemini-2.5-pro", "contents": []})),
            "1: names another model than the path",
        ),
        (
            json!({"batch": {"inputConfig": {"fileName": "files/a"}}}).to_string(),
            r#"0 "" gemini gemini-2.5-flash None tools=false unread=true"#,
        ),
        (
            json!({"batch": {"inputConfig": {"requests": {"requests": []}}}}).to_string(),
            r#"0 "" gemini gemini-2.5-flash None tools=false unread=true"#,
        ),
        (
            json!({"batch": {}}).to_string(),
            r#"0 "" gemini gemini-2.5-flash None tools=false unread=true"#,
        ),
    ] {
        let (requests, ..) = read(Dialect::Gemini, sent(), "", &text, 7);
        assert_eq!(requests, [wanted], "{text}");
    }
    // Which of the two a server takes nobody knows.
    let both = inlined(json!({"contents": []})).replacen(
        "\"input_config\":{",
        "\"input_config\":{\"file_name\":\"files/a\",",
        1,
    );
    let (requests, ..) = read(Dialect::Gemini, sent(), "", &both, 7);
    let unread = r#"0 "" gemini gemini-2.5-flash None tools=false unread=true"#;
    assert_eq!(
        (requests.len(), requests.last().unwrap().as_str()),
        (2, unread),
        "{both}"
    );
}

fn form(parts: &[(&str, &str)]) -> String {
    let part = |(name, text): &(&str, &str)| {
        format!("--xx\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
    };
    parts.iter().map(part).collect::<String>() + "--xx--\r\n"
}

#[test]
fn lines_of_a_file_are_read_before_its_purpose_is_known_and_count_if_it_is_a_batchs() {
    let line = |id: &str, url: &str, body: &str| {
        format!(r#"{{"custom_id": "{id}", "method": "POST", "url": "{url}", "body": {body}}}"#)
    };
    let file = [
        line(
            "a",
            "/v1/chat/completions",
            r#"{"model": "gpt-4.1-mini", "max_tokens": 3, "messages": []}"#,
        ),
        String::new(),
        line(
            "b",
            "/v1/responses",
            r#"{"model": "gpt-4.1", "max_output_tokens": 4, "input": ""}"#,
        ),
        line(
            "c",
            "/v1/embeddings",
            r#"{"model": "text-embedding-3-small", "input": ""}"#,
        ),
        "no line of a batch".to_owned(),
    ]
    .join("\n");
    let kind = "multipart/form-data; boundary=xx";
    let wanted = [
        r#"1 "a" openai gpt-4.1-mini Some(3) tools=false unread=false"#,
        r#"3 "b" openai_responses gpt-4.1 Some(4) tools=false unread=false"#,
        r#"4 "c" openai text-embedding-3-small None tools=false unread=false"#,
    ];
    for parts in [
        [("purpose", "batch"), ("file", &file)],
        [("file", &file), ("purpose", "batch")],
    ] {
        for size in [1, 64, 10_000] {
            let (requests, is_batch) = read(Dialect::OpenAiChat, Sent::File, kind, &form(&parts), size);
            assert_eq!(requests[..3], wanted.map(String::from));
            assert!(requests[3].starts_with("5: the body is not JSON"), "{requests:?}");
            assert_eq!((requests.len(), is_batch), (4, Some(true)));
        }
    }
    let other = form(&[("purpose", "user_data"), ("file", &file)]);
    assert_eq!(
        read(Dialect::OpenAiChat, Sent::File, kind, &other, 64).0,
        Vec::<String>::new()
    );
    let (requests, is_batch) = read(Dialect::OpenAiChat, Sent::File, kind, "--xx\r\n\r\n\r\n", 64);
    assert_eq!(
        (requests.as_slice(), is_batch),
        (&["0: a part has no name".to_owned()][..], Some(true))
    );
}

#[test]
fn a_form_with_two_purposes_or_an_odd_one_or_without_its_end_is_told_as_unread() {
    let kind = "multipart/form-data; boundary=xx";
    let file = r#"{"body": {"model": "m", "messages": []}}"#;
    let read = |text: &str, size| read(Dialect::OpenAiChat, Sent::File, kind, text, size);
    for (parts, wanted) in [
        (
            vec![("purpose", "user_data"), ("file", file), ("purpose", "batch")],
            "0: gives its purpose twice",
        ),
        (
            vec![("purpose", "user_data"), ("purpose", "batch"), ("file", file)],
            "0: gives its purpose twice",
        ),
        (
            vec![("purpose", "batch"), ("purpose", "user_data"), ("file", file)],
            "0: gives its purpose twice",
        ),
        (
            vec![("purpose", "\"batch\""), ("file", file)],
            "0: writes its purpose in no plain way",
        ),
        (
            vec![("purpose", "\u{feff}batch"), ("file", file)],
            "0: writes its purpose in no plain way",
        ),
        (
            vec![("purpose", ""), ("file", file)],
            "0: writes its purpose in no plain way",
        ),
    ] {
        for size in [1, 50, 10_000] {
            assert_eq!(
                read(&form(&parts), size),
                (vec![wanted.to_owned()], Some(true)),
                "{parts:?}"
            );
        }
    }
    for purpose in ["batch", " Batch\n", "batch_input"] {
        let (requests, is_batch) = read(&form(&[("purpose", purpose), ("file", file)]), 20);
        assert_eq!((requests.len(), is_batch), (1, Some(true)), "{purpose}");
    }
    let endless = |parts: &[(&str, &str)]| form(parts).replace("\r\n--xx--", "");
    for parts in [
        [("file", file), ("purpose", "batch")],
        [("purpose", "user_data"), ("file", file)],
    ] {
        let (requests, is_batch) = read(&endless(&parts), 20);
        assert_eq!(requests.last().unwrap(), "0: does not end as it must");
        assert_eq!(is_batch, Some(true));
    }
}

#[test]
fn of_a_file_for_another_purpose_no_line_is_held() {
    let kind = "multipart/form-data; boundary=xx";
    let mut requests = Requests::new(Dialect::OpenAiChat, Sent::File, kind, true)
        .unwrap()
        .unwrap();
    let long = "x".repeat(1 << 20);
    let text = form(&[("purpose", "user_data"), ("file", &long)]);
    for piece in text.as_bytes().chunks(1 << 14) {
        requests.push(piece, false, &mut |request| panic!("{request:?}"));
        assert_eq!(requests.held(), 0);
    }
}

#[test]
fn a_document_that_is_posted_where_files_are_brings_no_batch() {
    let is_none = |kind| Requests::new(Dialect::OpenAiChat, Sent::File, kind, true).is_ok_and(|it| it.is_none());
    for kind in ["application/json", "Application/JSON; charset=utf-8"] {
        assert!(is_none(kind), "{kind}");
    }
    for kind in [
        "",
        "text/plain",
        "application/json; boundary=xx",
        "application/json, multipart/form-data; boundary=xx",
    ] {
        assert!(!is_none(kind), "{kind}");
    }
}

#[test]
fn of_a_batch_whose_requests_nobody_reads_it_is_told_once() {
    let (requests, is_batch) = read(Dialect::Gemini, Sent::Elsewhere, "", r#"{"input_file_id": "f"}"#, 3);
    let wanted = r#"0 "" gemini  None tools=false unread=true"#;
    assert_eq!((requests, is_batch), (vec![wanted.to_owned()], Some(true)));
}

#[test]
fn a_path_says_whether_what_is_posted_there_brings_requests() {
    use Dialect::{AnthropicMessages, Gemini, OpenAiChat};
    for (dialect, path, wanted) in [
        (OpenAiChat, "/files", Some(Sent::File)),
        (OpenAiChat, "/openai/files/", Some(Sent::File)),
        (OpenAiChat, "/files/f", None),
        (OpenAiChat, "/batches", None),
        (AnthropicMessages, "/messages/batches", Some(Sent::Inlined)),
        (AnthropicMessages, "/messages/batches;x", Some(Sent::Inlined)),
        (OpenAiChat, "/Files;x", Some(Sent::File)),
        (OpenAiChat, "/openai/v1/FILES", Some(Sent::File)),
        (OpenAiChat, "/vector_stores/vs_1/files", None),
        (OpenAiChat, "/containers/cntr_1/files", None),
        (OpenAiChat, "/openai/assistants/a/files", None),
        (OpenAiChat, "/containers/..;/files", Some(Sent::File)),
        (OpenAiChat, "/vector_stores/vs_1/file_batches", None),
        (OpenAiChat, "/batch/jobs", Some(Sent::Elsewhere)),
        (Gemini, "/openai/files", Some(Sent::File)),
        (Gemini, "/openai/batches", Some(Sent::Elsewhere)),
        (AnthropicMessages, "/batches", Some(Sent::Elsewhere)),
        (AnthropicMessages, "/Messages/Batches", Some(Sent::Inlined)),
        (AnthropicMessages, "/messages/batches/b/cancel", None),
        (Gemini, "/models/m:generateContent", None),
        (Gemini, "/files", None),
    ] {
        assert_eq!(sent(dialect, path), wanted, "{path}");
    }
    let model = |path: &str| match sent(Gemini, path) {
        Some(Sent::ForModel { model, operation }) => (model, operation),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        model("/models/m:batchGenerateContent"),
        ("m".into(), Operation::Generate)
    );
    assert_eq!(model("/tunedModels/T:BatchGenerateContent").0, "tunedModels/T");
    let embed = Operation::Embed(EmbeddingsApi::One);
    assert_eq!(model("/models/m:asyncBatchEmbedContent"), ("m".into(), embed));
}
