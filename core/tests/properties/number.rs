//! Numbers: whatever JSON number stands in arguments, results, schemas or parameters arrives digit by digit.

use bowsprit_core::dialect::{
    AnswerContext, Dialect, Stream, Target, embeddings, translate_request, translate_response,
};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use crate::seeded::holds;

/// Every number that the grammar has: of any size, with any exponent, with the zeros that somebody wrote.
fn numbers() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?",
        1 => prop::sample::select(vec!["-0", "-0.0", "1e400", "-1E-400", "18446744073709551616", "9007199254740993", "1.10"])
            .prop_map(str::to_owned),
    ]
}

/// Whether the text has the number as a whole, once the escapes of a document within it are gone.
fn has(text: &[u8], number: &str) -> bool {
    let plain = String::from_utf8_lossy(text).replace('\\', "").replace(": ", ":");
    let ends = |c: char| matches!(c, ',' | '}' | ']' | '"');
    plain
        .match_indices(&format!("\"n\":{number}"))
        .any(|(at, found)| plain[at + found.len()..].starts_with(ends))
}

fn escaped(arguments: &str) -> String {
    serde_json::to_string(arguments).unwrap()
}

/// A call and its result, in the caller's words; both have the number.
fn conversation(caller: Dialect, call: &str, result: &str) -> String {
    let (call_text, result_text) = (escaped(call), escaped(result));
    match caller {
        Dialect::OpenAiChat => format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"x"}},{{"role":"assistant","tool_calls":[{{"id":"i",
                "type":"function","function":{{"name":"f","arguments":{call_text}}}}}]}},
                {{"role":"tool","tool_call_id":"i","content":{result_text}}}]}}"#
        ),
        Dialect::AnthropicMessages => format!(
            r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"x"}},{{"role":"assistant","content":[
                {{"type":"tool_use","id":"i","name":"f","input":{call}}}]}},{{"role":"user","content":[
                {{"type":"tool_result","tool_use_id":"i","content":{result_text}}}]}}]}}"#
        ),
        Dialect::Gemini => format!(
            r#"{{"contents":[{{"role":"user","parts":[{{"text":"x"}}]}},{{"role":"model","parts":[
                {{"functionCall":{{"name":"f","args":{call}}}}}]}},{{"role":"user","parts":[
                {{"functionResponse":{{"name":"f","response":{result}}}}}]}}]}}"#
        ),
        Dialect::OpenAiResponses => format!(
            r#"{{"model":"m","input":[{{"role":"user","content":"x"}},{{"type":"function_call","call_id":"i","name":"f",
                "arguments":{call_text}}},{{"type":"function_call_output","call_id":"i","output":{result_text}}}]}}"#
        ),
    }
}

/// A request whose tool has the number in its schema.
fn tool(caller: Dialect, schema: &str) -> String {
    match caller {
        Dialect::OpenAiChat => format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],
                "tools":[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}]}}"#
        ),
        Dialect::AnthropicMessages => format!(
            r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"x"}}],
                "tools":[{{"name":"f","input_schema":{schema}}}]}}"#
        ),
        Dialect::Gemini => format!(
            r#"{{"contents":[{{"role":"user","parts":[{{"text":"x"}}]}}],
                "tools":[{{"functionDeclarations":[{{"name":"f","parametersJsonSchema":{schema}}}]}}]}}"#
        ),
        Dialect::OpenAiResponses => format!(
            r#"{{"model":"m","input":"x","tools":[{{"type":"function","name":"f","strict":false,"parameters":{schema}}}]}}"#
        ),
    }
}

fn sent(caller: Dialect, provider: Dialect, body: &str) -> Result<Bytes, TestCaseError> {
    let target = Target {
        model: "m",
        default_max_tokens: 100,
        safety: &[],
        stream: false,
        on_unsupported: None,
        allowed_tools: true,
    };
    let translated = translate_request(caller, provider, body.as_bytes(), &target);
    Ok(translated
        .map_err(|error| TestCaseError::fail(format!("{error}: {body}")))?
        .body)
}

fn pairs() -> impl Iterator<Item = (Dialect, Dialect)> {
    let all = Dialect::ALL.into_iter();
    let pairs = all.flat_map(|caller| Dialect::PROVIDERS.map(|provider| (caller, provider)));
    pairs.filter(|(caller, provider)| caller != provider)
}

#[test]
fn a_number_in_calls_results_and_schemas_is_sent_as_it_was_written() {
    holds("numbers in requests", (numbers(), numbers()), |(call, result)| {
        for (caller, provider) in pairs() {
            let arguments = format!(r#"{{"n":{call}}}"#);
            let body = sent(
                caller,
                provider,
                &conversation(caller, &arguments, &format!(r#"{{"n":{result}}}"#)),
            )?;
            prop_assert!(has(&body, &call), "{} to {}: {} in {:?}", caller, provider, call, body);
            prop_assert!(
                has(&body, &result),
                "{} to {}: {} in {:?}",
                caller,
                provider,
                result,
                body
            );
            let schema = format!(
                r#"{{"type":"object","properties":{{"a":{{"type":"object","properties":{{}},"default":{{"n":{call}}}}}}}}}"#
            );
            let body = sent(caller, provider, &tool(caller, &schema))?;
            prop_assert!(has(&body, &call), "{} to {}: {} in {:?}", caller, provider, call, body);
        }
        Ok(())
    });
}

#[test]
fn a_temperature_is_sent_as_it_was_written() {
    holds(
        "temperatures",
        "0\\.[0-9]{1,25}([eE]-?0{0,2}[0-9])?|1e0|1E-0|-0",
        |number| {
            prop_assume!((0.0..=1.0).contains(&number.parse::<f64>().unwrap()));
            for (caller, provider) in pairs() {
                let body = match caller {
                    Dialect::OpenAiChat => {
                        format!(
                            r#"{{"model":"m","temperature":{number},"messages":[{{"role":"user","content":"x"}}]}}"#
                        )
                    }
                    Dialect::AnthropicMessages => format!(
                        r#"{{"model":"m","max_tokens":9,"temperature":{number},"messages":[{{"role":"user","content":"x"}}]}}"#
                    ),
                    Dialect::Gemini => format!(
                        r#"{{"generationConfig":{{"temperature":{number}}},"contents":[{{"role":"user","parts":[{{"text":"x"}}]}}]}}"#
                    ),
                    Dialect::OpenAiResponses => format!(r#"{{"model":"m","temperature":{number},"input":"x"}}"#),
                };
                let body = sent(caller, provider, &body)?.to_vec();
                let text = String::from_utf8(body).unwrap();
                let found = [",", "}"]
                    .iter()
                    .any(|end| text.contains(&format!("\"temperature\":{number}{end}")));
                prop_assert!(found, "{} to {}: {} in {}", caller, provider, number, text);
            }
            Ok(())
        },
    );
}

fn context() -> AnswerContext {
    AnswerContext {
        model: "m".to_owned(),
        id: "id".to_owned(),
        ..AnswerContext::default()
    }
}

#[test]
fn a_number_in_an_answers_arguments_is_told_as_it_was_written() {
    holds("numbers in answers", (numbers(), 1usize..40), |(number, at)| {
        let arguments = format!(r#"{{"n":{number}}}"#);
        let text = escaped(&arguments);
        let (head, tail) = arguments.split_at(at.min(arguments.len()));
        let (head, tail) = (escaped(head), escaped(tail));
        for (caller, provider) in pairs() {
            let (whole, streamed) = match provider {
                Dialect::OpenAiChat => (
                    format!(
                        r#"{{"id":"c","choices":[{{"finish_reason":"tool_calls","message":{{"tool_calls":[{{"id":"i",
                            "function":{{"name":"f","arguments":{text}}}}}]}}}}]}}"#
                    ),
                    format!(
                        r#"data: {{"choices":[{{"delta":{{"tool_calls":[{{"index":0,"id":"i","function":{{"name":"f","arguments":{head}}}}}]}}}}]}}

data: {{"choices":[{{"delta":{{"tool_calls":[{{"index":0,"function":{{"arguments":{tail}}}}}]}},"finish_reason":"tool_calls"}}]}}

data: [DONE]

"#
                    ),
                ),
                Dialect::AnthropicMessages => (
                    format!(
                        r#"{{"id":"m","type":"message","role":"assistant","stop_reason":"tool_use","content":[
                            {{"type":"tool_use","id":"i","name":"f","input":{arguments}}}]}}"#
                    ),
                    format!(
                        r#"data: {{"type":"message_start","message":{{"id":"m"}}}}

data: {{"type":"content_block_start","index":0,"content_block":{{"type":"tool_use","id":"i","name":"f","input":{{}}}}}}

data: {{"type":"content_block_delta","index":0,"delta":{{"type":"input_json_delta","partial_json":{head}}}}}

data: {{"type":"content_block_delta","index":0,"delta":{{"type":"input_json_delta","partial_json":{tail}}}}}

data: {{"type":"content_block_stop","index":0}}

data: {{"type":"message_delta","delta":{{"stop_reason":"tool_use"}}}}

data: {{"type":"message_stop"}}

"#
                    ),
                ),
                _ => {
                    let part = format!(r#"{{"functionCall":{{"name":"f","args":{arguments}}}}}"#);
                    let answer =
                        format!(r#"{{"candidates":[{{"content":{{"parts":[{part}]}},"finishReason":"STOP"}}]}}"#);
                    (answer.clone(), format!("data: {answer}\n\n"))
                }
            };
            let told = translate_response(provider, caller, whole.as_bytes(), &context());
            let (told, _) = told.map_err(|kind| TestCaseError::fail(format!("{kind:?}: {whole}")))?;
            prop_assert!(
                has(&told, &number),
                "{} to {}: {} in {:?}",
                provider,
                caller,
                number,
                told
            );

            let mut stream = Stream::new(provider, caller, context(), false);
            let mut out = BytesMut::new();
            stream
                .push(&Bytes::from(streamed), &mut out)
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            stream
                .finish(&mut out)
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            let fragments: String = String::from_utf8_lossy(&out)
                .lines()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line.strip_prefix("data: ")?).ok())
                .filter_map(|event| {
                    let texts = [
                        &event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"],
                        &event["delta"]["partial_json"],
                        &event["delta"],
                    ];
                    texts.into_iter().find_map(|text| text.as_str().map(str::to_owned))
                })
                .collect();
            let told = if caller == Dialect::Gemini {
                out.to_vec()
            } else {
                fragments.into_bytes()
            };
            prop_assert!(
                has(&told, &number),
                "{} to {}, streamed: {} in {:?}",
                provider,
                caller,
                number,
                out
            );
        }
        Ok(())
    });
}

#[test]
fn a_vector_that_is_passed_on_as_floats_keeps_its_digits() {
    use embeddings::{Answered, EmbeddingsApi};
    holds(
        "numbers in embeddings",
        prop::collection::vec("-?0\\.[0-9]{1,20}", 1..6),
        |vector| {
            let list = vector.join(",");
            let request = br#"{"requests":[{"content":{"parts":[{"text":"x"}]}}]}"#;
            let answer = format!(r#"{{"data":[{{"index":0,"embedding":[{list}]}}]}}"#);
            let told = embeddings::translate_response(
                EmbeddingsApi::OpenAi,
                EmbeddingsApi::Batch,
                &[Answered {
                    sent: br#"{"input":["x"]}"#,
                    answer: answer.as_bytes(),
                }],
                request,
                "m",
            );
            let (told, _) = told.map_err(|kind| TestCaseError::fail(format!("{kind:?}")))?;
            prop_assert!(
                String::from_utf8_lossy(&told).contains(&format!("[{list}]")),
                "{:?}",
                told
            );
            Ok(())
        },
    );
}
