use proptest::prelude::*;

use super::*;

fn price(model: &str, spent: &Spent) -> Result<Cost<'static>, Unpriced> {
    let used = spent.reported.unwrap();
    assert_eq!(used.terms, Terms::Batch);
    if model == "unheard-of" {
        return Err(Unpriced::Model);
    }
    Ok(Cost {
        reported: Picodollars::new(i64::try_from(used.input + 10 * used.output).unwrap()),
        estimated: Picodollars::ZERO,
        version: "table:today",
    })
}

fn openai(model: &str, input: u64, output: u64) -> String {
    format!(
        r#"{{"id":"batch_req_1","custom_id":"r","response":{{"status_code":200,"body":{{"object":"chat.completion","model":"{model}","choices":[{{"message":{{"content":"ahoy"}}}}],"usage":{{"prompt_tokens":{input},"completion_tokens":{output}}}}}}},"error":null}}"#
    )
}

fn read(dialect: Dialect, text: &[u8], piece: usize) -> Results {
    read_as(Form::Lines, dialect, text, piece)
}

fn read_as(form: Form, dialect: Dialect, text: &[u8], piece: usize) -> Results {
    let mut results = Results::new(dialect, form);
    for piece in text.chunks(piece.max(1)) {
        results.push(piece, &price);
    }
    results.end(&price);
    results
}

fn summed(results: &Results) -> Vec<(&str, u64, u64, u64)> {
    let sums = results.sums.iter();
    sums.map(|sum| (&*sum.model, sum.answers, sum.usage.input, sum.usage.output))
        .collect()
}

#[test]
fn each_model_of_a_batch_is_summed_at_a_batchs_price() {
    let text = [openai("gpt-a", 10, 5), openai("gpt-b", 1, 1), openai("gpt-a", 7, 3)].join("\n");
    let results = read(Dialect::OpenAiChat, text.as_bytes(), 7);
    assert_eq!(summed(&results), [("gpt-a", 2, 17, 8), ("gpt-b", 1, 1, 1)]);
    assert_eq!(results.sums[0].cost().unwrap().reported, Picodollars::new(97));
    assert_eq!((results.unanswered, results.left_out), (0, 0));
}

#[test]
fn each_providers_results_are_read() {
    let anthropic = r#"{"custom_id":"a","result":{"type":"succeeded","message":{"id":"msg","type":"message","model":"claude","content":[{"type":"text","text":"x"}],"usage":{"input_tokens":4,"output_tokens":2}}}}
{"custom_id":"b","result":{"type":"expired"}}
{"custom_id":"c","result":{"type":"errored","error":{"type":"error"}}}
"#;
    let results = read(Dialect::AnthropicMessages, anthropic.as_bytes(), 1000);
    assert_eq!((summed(&results), results.unanswered), (vec![("claude", 1, 4, 2)], 2));
    let responses = r#"{"custom_id":"a","response":{"status_code":200,"body":{"object":"response","model":"gpt","output":[],"usage":{"input_tokens":4,"output_tokens":2,"total_tokens":6}}}}"#;
    assert_eq!(
        summed(&read(Dialect::OpenAiChat, responses.as_bytes(), 9)),
        [("gpt", 1, 4, 2)]
    );
    let refused = r#"{"custom_id":"a","response":{"status_code":400,"body":{"error":{"message":"no"}}},"error":null}"#;
    assert_eq!(read(Dialect::OpenAiChat, refused.as_bytes(), 9).unanswered, 1);
    let gemini = r#"{"key":"a","response":{"candidates":[{"content":{"parts":[{"text":"x"}]}}],"modelVersion":"gemini","usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":2,"totalTokenCount":6}}}"#;
    assert_eq!(
        summed(&read(Dialect::Gemini, gemini.as_bytes(), 9)),
        [("gemini", 1, 4, 2)]
    );
}

#[test]
fn an_answer_in_which_a_tool_is_told_of_an_error_is_an_answer() {
    let anthropic = r#"{"custom_id":"a","result":{"type":"succeeded","message":{"type":"message","model":"claude","content":[{"type":"tool_use","id":"t","name":"report","input":{"error":{"code":7}}}],"usage":{"input_tokens":4,"output_tokens":2}}}}"#;
    let results = read(Dialect::AnthropicMessages, anthropic.as_bytes(), 9);
    assert_eq!((summed(&results), results.unanswered), (vec![("claude", 1, 4, 2)], 0));
    let gemini = r#"{"key":"a","response":{"candidates":[{"content":{"parts":[{"functionCall":{"name":"report","args":{"error":{"code":7}}}}]}}],"error":null,"modelVersion":"gemini","usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":2,"totalTokenCount":6}}}"#;
    let results = read(Dialect::Gemini, gemini.as_bytes(), 9);
    assert_eq!((summed(&results), results.unanswered), (vec![("gemini", 1, 4, 2)], 0));
    let refused = r#"{"key":"a","response":{ "error" : {"code":400}}}"#;
    assert_eq!(read(Dialect::Gemini, refused.as_bytes(), 9).unanswered, 1);
}

/// An operation whose results are below both of the places that they have.
fn operation(done: &str, results: &[String]) -> String {
    let inlined = format!(
        r#""inlinedResponses": {{ "inlinedResponses": [ {} ] }}"#,
        results.join(" ,\n")
    );
    format!(
        r#"{{"name":"batches/ab12","metadata":{{"model":"models/gemini","note":"\"inlinedResponses\":[{{","output":{{{inlined}}},"stats":[[1],{{"a":[]}}]}},
            "done": {done}, "response": {{"@type":"x", {inlined}}}}}"#
    )
}

fn gemini(input: u64, output: u64) -> String {
    format!(
        r#"{{"metadata":{{"key":"a","done":false}},"response":{{"candidates":[{{"content":{{"parts":[{{"text":"]}}\\\"inlinedResponses"}}]}}}}],"modelVersion":"gemini","usageMetadata":{{"promptTokenCount":{input},"candidatesTokenCount":{output},"totalTokenCount":6}}}}}}"#
    )
}

#[test]
fn results_within_an_operation_are_read_once_when_it_is_done_and_whole() {
    let refused = r#"{"metadata":{"key":"b"},"error":{"code":400,"message":"no"}}"#.to_owned();
    let results = [gemini(4, 2), refused, gemini(6, 3)];
    let text = operation("true", &results);
    for piece in [1, 2, 3, 50, 10_000] {
        let read = read_as(Form::Operation, Dialect::Gemini, text.as_bytes(), piece);
        assert_eq!(
            (summed(&read), read.unanswered, read.left_out),
            (vec![("gemini", 2, 10, 5)], 1, 0),
            "{piece}"
        );
    }
    let of = |text: &str| read_as(Form::Operation, Dialect::Gemini, text.as_bytes(), 7).sums.len();
    assert_eq!(of(&operation("false", &results)), 0, "it still runs");
    assert_eq!(of(&text[..text.len() - 1]), 0, "it broke off");
    assert_eq!(
        of(r#"{"name":"batches/ab12","metadata":{"state":"BATCH_STATE_RUNNING"}}"#),
        0
    );
    let below = format!(
        r#"{{"done":true,"response":{{"inlinedResponses":[{}]}}}}"#,
        gemini(1, 1)
    );
    assert_eq!(of(&below), 1, "as some releases write it");
    let elsewhere = format!(r#"{{"done":true,"error":{{"inlinedResponses":[{}]}}}}"#, gemini(1, 1));
    assert_eq!(of(&elsewhere), 0);
}

#[test]
fn a_result_within_an_operation_that_is_too_long_is_left_out() {
    let long = gemini(1, 1).replace("\"text\":\"", &format!("\"text\":\"{}", "x".repeat(LINE)));
    let text = operation("true", &[long, gemini(2, 2)]);
    let read = read_as(Form::Operation, Dialect::Gemini, text.as_bytes(), 4096);
    assert_eq!((summed(&read), read.left_out), (vec![("gemini", 1, 2, 2)], 1));
}

#[test]
fn another_file_of_lines_is_no_batch() {
    for text in [
        r#"{"messages":[{"role":"user"}]}"#,
        "a,b\n1,2\n",
        "{\"custom_id",
        "",
        "[1]\n\"x\"\nnull",
    ] {
        let results = read(Dialect::OpenAiChat, text.as_bytes(), 3);
        assert_eq!(
            (results.sums.len(), results.unanswered, results.left_out),
            (0, 0, 0),
            "{text}"
        );
    }
}

#[test]
fn a_result_that_is_too_long_is_left_out_and_counted_and_the_next_is_read() {
    let long = openai("gpt-a", 1, 1).replace("ahoy", &"x".repeat(LINE));
    let text = [long, openai("gpt-a", 2, 2)].join("\n");
    let results = read(Dialect::OpenAiChat, text.as_bytes(), 4096);
    assert_eq!((summed(&results), results.left_out), (vec![("gpt-a", 1, 2, 2)], 1));
    assert!(
        results.line.capacity() <= 2 * LINE,
        "no more is held than a line may have"
    );
}

#[test]
fn models_beyond_the_bound_are_left_out_and_an_unknown_price_is_not_nothing() {
    let lines: Vec<String> = (0..MODELS + 3).map(|n| openai(&format!("m{n}"), 1, 1)).collect();
    let results = read(Dialect::OpenAiChat, lines.join("\n").as_bytes(), 100);
    assert_eq!((results.sums.len(), results.left_out), (MODELS, 3));
    let results = read(Dialect::OpenAiChat, openai("unheard-of", 1, 1).as_bytes(), 100);
    assert_eq!(results.sums[0].cost().unwrap_err(), Unpriced::Model);
}

#[test]
fn only_the_paths_of_results_are_read() {
    let form = |dialect, path| results_of(dialect, path).map(|(form, _)| form);
    let of = |dialect, path| results_of(dialect, path).map(|(_, id)| id);
    assert_eq!(of(Dialect::Gemini, "/v1beta/batches/ab12"), Some("ab12"));
    assert_eq!(form(Dialect::Gemini, "/v1beta/batches/ab12"), Some(Form::Operation));
    assert_eq!(form(Dialect::Gemini, "/v1beta/files/a:download"), Some(Form::Lines));
    assert_eq!(of(Dialect::Gemini, "/v1beta/batches/ab12:cancel"), None);
    assert_eq!(of(Dialect::OpenAiChat, "/v1/files/file-1/content"), Some("file-1"));
    assert_eq!(of(Dialect::OpenAiChat, "/files/file-1/content"), Some("file-1"));
    assert_eq!(
        of(Dialect::AnthropicMessages, "/v1/messages/batches/msgbatch_1/results"),
        Some("msgbatch_1")
    );
    assert_eq!(
        of(Dialect::Gemini, "/download/v1beta/files/batch-1:download"),
        Some("batch-1")
    );
    assert_eq!(of(Dialect::OpenAiChat, "/openai/Files/file-1/CONTENT"), Some("file-1"));
    assert_eq!(of(Dialect::OpenAiChat, "/v1/files/file-1;x/content;y"), Some("file-1"));
    assert_eq!(
        of(Dialect::AnthropicMessages, "/v1/Messages/batches/B1/results"),
        Some("B1")
    );
    assert_eq!(of(Dialect::Gemini, "/v1beta/files/a:Download"), Some("a"));
    for other in [
        "/v1/files",
        "/v1/files/../content",
        "/v1/files/a",
        "/v1/files//content",
        "/v1/files/a%2Fb/content",
        "/v1/batches/b",
    ] {
        assert_eq!(of(Dialect::OpenAiChat, other), None, "{other}");
    }
}

proptest! {
    #[test]
    fn it_does_not_matter_where_pieces_end(tokens in prop::collection::vec((0_u64..1000, 0_u64..1000), 0..20), piece in 1_usize..500) {
        let lines: Vec<String> = tokens.iter().map(|(input, output)| openai("gpt", *input, *output)).collect();
        let results = read(Dialect::OpenAiChat, lines.join("\n").as_bytes(), piece);
        let sum = (tokens.len() as u64, tokens.iter().map(|it| it.0).sum::<u64>(), tokens.iter().map(|it| it.1).sum::<u64>());
        let read = results.sums.first().map_or((0, 0, 0), |it| (it.answers, it.usage.input, it.usage.output));
        prop_assert_eq!((sum, results.left_out), (read, 0));
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..2000), piece in 1_usize..500) {
        for dialect in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini] {
            read(dialect, &bytes, piece);
            read_as(Form::Operation, dialect, &bytes, piece);
        }
    }
}
