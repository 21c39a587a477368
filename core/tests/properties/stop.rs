//! The end of a stream is told once and last, with the right reason, wherever and however often its provider said that it
//! stopped; and what was cut before the provider first said so is never whole.

use bowsprit_core::dialect::{AnswerContext, Dialect, Stream, StreamError};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::seeded::holds;

use Dialect::{AnthropicMessages as Messages, Gemini, OpenAiChat as Chat, OpenAiResponses as Responses};

/// What a provider says in one chunk, and whether it says in it that it stopped.
#[derive(Clone, Debug)]
struct Step {
    what: What,
    stops: bool,
}

#[derive(Clone, Debug)]
enum What {
    Text(String),
    /// The value of its one argument; none: a call without arguments.
    Call(Option<String>),
    Nothing,
}

/// A stream: the steps, whether its reasons fit what was said, and whether its end mark comes.
#[derive(Clone, Debug)]
struct Said {
    steps: Vec<Step>,
    fits: bool,
    marked: bool,
}

fn said() -> impl Strategy<Value = Said> {
    let what = prop_oneof![
        "[a-z {}\"\\\\\u{2693}]{1,12}".prop_map(What::Text),
        proptest::option::of("[a-z\"{}]{0,8}").prop_map(What::Call),
        Just(What::Nothing),
    ];
    let step = (what, any::<bool>()).prop_map(|(what, stops)| Step { what, stops });
    let steps = proptest::collection::vec(step, 1..7);
    (steps, any::<bool>(), any::<bool>(), any::<proptest::sample::Index>()).prop_map(
        |(mut steps, fits, marked, last)| {
            let at = last.index(steps.len());
            steps[at].stops = true;
            Said { steps, fits, marked }
        },
    )
}

impl Said {
    fn text(&self) -> String {
        let texts = self.steps.iter().map(|step| match &step.what {
            What::Text(text) => text.as_str(),
            _ => "",
        });
        texts.collect()
    }

    /// The arguments of its calls.
    fn calls(&self) -> Vec<Value> {
        let calls = self.steps.iter().filter_map(|step| match &step.what {
            What::Call(argument) => Some(argument.as_ref().map_or_else(|| json!({}), |text| json!({ "a": text }))),
            _ => None,
        });
        calls.collect()
    }

    /// The events of each step, and those after the last.
    fn events(&self, provider: Dialect) -> (Vec<String>, String) {
        let called = !self.calls().is_empty();
        let mut number = 0;
        let steps = self.steps.iter().map(|step| {
            let events = step.events(provider, called && self.fits, number);
            number += usize::from(!matches!(step.what, What::Nothing) && (provider == Messages || step.is_call()));
            events
        });
        let mut steps: Vec<String> = steps.collect();
        if provider == Messages {
            let start = json!({"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}});
            steps[0].insert_str(0, &event(&start));
        }
        let mark = match provider {
            Chat if self.marked => "data: [DONE]\n\n".to_owned(),
            Messages if self.marked => event(&json!({"type": "message_stop"})),
            _ => String::new(),
        };
        (steps, mark)
    }
}

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

impl Step {
    fn is_call(&self) -> bool {
        matches!(self.what, What::Call(_))
    }

    fn events(&self, provider: Dialect, called: bool, number: usize) -> String {
        match provider {
            Chat => {
                let delta = match &self.what {
                    What::Text(text) => json!({ "content": text }),
                    What::Call(argument) => {
                        let arguments = argument.as_ref().map(|text| json!({ "a": text }).to_string());
                        let function = json!({"name": "tide", "arguments": arguments});
                        json!({"tool_calls": [{"index": number, "id": format!("c{number}"), "function": function}]})
                    }
                    What::Nothing => json!({}),
                };
                let reason = self.stops.then_some(if called { "tool_calls" } else { "stop" });
                event(&json!({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}))
            }
            Gemini => {
                let parts = match &self.what {
                    What::Text(text) => json!([{ "text": text }]),
                    What::Call(argument) => {
                        let args = argument.as_ref().map(|text| json!({ "a": text }));
                        json!([{"functionCall": {"name": "tide", "args": args}}])
                    }
                    What::Nothing => json!([]),
                };
                let reason = self.stops.then_some("STOP");
                event(&json!({"candidates": [{"index": 0, "content": {"parts": parts}, "finishReason": reason}]}))
            }
            _ => {
                let mut events = String::new();
                let mut block = |block: Value, delta: Option<Value>| {
                    let start = json!({"type": "content_block_start", "index": number, "content_block": block});
                    events.push_str(&event(&start));
                    if let Some(delta) = delta {
                        events.push_str(&event(
                            &json!({"type": "content_block_delta", "index": number, "delta": delta}),
                        ));
                    }
                    events.push_str(&event(&json!({"type": "content_block_stop", "index": number})));
                };
                match &self.what {
                    What::Text(text) => block(
                        json!({"type": "text", "text": ""}),
                        Some(json!({"type": "text_delta", "text": text})),
                    ),
                    What::Call(argument) => block(
                        json!({"type": "tool_use", "id": format!("c{number}"), "name": "tide", "input": {}}),
                        argument
                            .as_ref()
                            .map(|text| json!({"type": "input_json_delta", "partial_json": json!({ "a": text }).to_string()})),
                    ),
                    What::Nothing => {}
                }
                if self.stops {
                    let reason = if called { "tool_use" } else { "end_turn" };
                    let delta = json!({"stop_reason": reason});
                    events.push_str(&event(
                        &json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 2}}),
                    ));
                }
                events
            }
        }
    }
}

/// What a caller was told: text, the arguments of the calls as they join, and each end with how much was told before it.
#[derive(Debug, Default)]
struct Told {
    text: String,
    calls: Vec<String>,
    ends: Vec<(String, usize)>,
    so_far: usize,
}

impl Told {
    fn say(&mut self, text: &str) {
        self.so_far += text.len();
        self.text.push_str(text);
    }

    fn argue(&mut self, call: usize, fragment: &str) {
        self.so_far += 1;
        if self.calls.len() <= call {
            self.calls.resize(call + 1, String::new());
        }
        self.calls[call].push_str(fragment);
    }

    fn end(&mut self, reason: &Value) {
        self.ends.push((reason.as_str().unwrap().to_owned(), self.so_far));
    }
}

fn read(caller: Dialect, out: &str) -> Told {
    let mut told = Told::default();
    let mut blocks: Vec<Option<usize>> = Vec::new();
    let mut calls = 0;
    let data = out.lines().filter_map(|line| line.strip_prefix("data: "));
    let mut numbers = Vec::new();
    for event in data.filter(|data| *data != "[DONE]") {
        let event: Value = serde_json::from_str(event).unwrap();
        match caller {
            Chat => {
                for choice in event["choices"].as_array().unwrap() {
                    told.say(choice["delta"]["content"].as_str().unwrap_or_default());
                    for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
                        let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
                        told.argue(index, call["function"]["arguments"].as_str().unwrap_or_default());
                    }
                    if !choice["finish_reason"].is_null() {
                        told.end(&choice["finish_reason"]);
                    }
                }
            }
            Messages => match event["type"].as_str().unwrap() {
                "content_block_start" => {
                    let call = event["content_block"]["type"] == "tool_use";
                    blocks.push(call.then_some(calls));
                    if call {
                        told.argue(calls, "");
                        calls += 1;
                    }
                }
                "content_block_delta" => {
                    let block = usize::try_from(event["index"].as_u64().unwrap()).unwrap();
                    if let Some(call) = blocks[block] {
                        told.argue(call, event["delta"]["partial_json"].as_str().unwrap());
                    } else {
                        told.say(event["delta"]["text"].as_str().unwrap_or_default());
                    }
                }
                "message_delta" => told.end(&event["delta"]["stop_reason"]),
                _ => {}
            },
            Gemini => {
                for candidate in event["candidates"].as_array().unwrap() {
                    for part in candidate["content"]["parts"].as_array().unwrap() {
                        told.say(part["text"].as_str().unwrap_or_default());
                        if !part["functionCall"].is_null() {
                            told.argue(told.calls.len(), &part["functionCall"]["args"].to_string());
                        }
                    }
                    if !candidate["finishReason"].is_null() {
                        told.end(&candidate["finishReason"]);
                    }
                }
            }
            Responses => {
                numbers.push(event["sequence_number"].as_u64().unwrap());
                match event["type"].as_str().unwrap() {
                    "response.output_text.delta" => told.say(event["delta"].as_str().unwrap()),
                    "response.function_call_arguments.done" => {
                        told.argue(told.calls.len(), event["arguments"].as_str().unwrap());
                    }
                    "response.completed" | "response.incomplete" => told.end(&event["response"]["status"]),
                    _ => {}
                }
            }
        }
    }
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    told
}

fn run(provider: Dialect, caller: Dialect, text: &str) -> (String, Result<(), StreamError>) {
    let ctx = AnswerContext {
        model: "m".into(),
        id: "0123456789abcdef".into(),
        ..AnswerContext::default()
    };
    let mut stream = Stream::new(provider, caller, ctx, false);
    let mut out = BytesMut::new();
    let end = stream
        .push(&Bytes::copy_from_slice(text.as_bytes()), &mut out)
        .and_then(|_| stream.finish(&mut out));
    (String::from_utf8(out.to_vec()).unwrap(), end)
}

fn reason(caller: Dialect, called: bool) -> &'static str {
    match (caller, called) {
        (Chat, true) => "tool_calls",
        (Chat, false) => "stop",
        (Messages, true) => "tool_use",
        (Messages, false) => "end_turn",
        (Gemini, _) => "STOP",
        (Responses, _) => "completed",
    }
}

fn pairs() -> impl Iterator<Item = (Dialect, Dialect)> {
    Dialect::PROVIDERS
        .into_iter()
        .flat_map(|provider| Dialect::ALL.map(|caller| (provider, caller)))
        .filter(|(provider, caller)| provider != caller)
}

#[test]
fn the_end_is_told_once_and_last_wherever_the_provider_says_stop() {
    holds("stop", said(), |said| {
        for (provider, caller) in pairs() {
            let (steps, mark) = said.events(provider);
            let (out, end) = run(provider, caller, &format!("{}{mark}", steps.concat()));
            // A provider that says it calls a tool, and calls none, is not what this is about.
            prop_assert_eq!(end, Ok(()), "{} -> {}: {}", provider, caller, out);
            let told = read(caller, &out);
            prop_assert_eq!(&told.text, &said.text(), "{} -> {}: {}", provider, caller, out);
            let calls: Result<Vec<Value>, _> = told.calls.iter().map(|text| serde_json::from_str(text)).collect();
            prop_assert_eq!(calls.ok(), Some(said.calls()), "{} -> {}: {}", provider, caller, out);
            let expected = reason(caller, !said.calls().is_empty());
            prop_assert_eq!(
                told.ends,
                vec![(expected.to_owned(), told.so_far)],
                "{} -> {}: {}",
                provider,
                caller,
                out
            );
        }
        Ok(())
    });
}

#[test]
fn what_is_cut_before_the_first_stop_is_never_whole() {
    holds("cut", (said(), any::<proptest::sample::Index>()), |(said, cut)| {
        for provider in Dialect::PROVIDERS {
            let (steps, _) = said.events(provider);
            let first = said.steps.iter().position(|step| step.stops).unwrap();
            let before = steps[..first].concat();
            // At any byte, of the event that says it too.
            let whole = format!("{before}{}", steps[first]);
            let mark = match provider {
                Chat => "\"finish_reason\":\"",
                Gemini => "\"finishReason\":\"",
                _ => "\"stop_reason\":\"",
            };
            let told = whole.find(mark).unwrap();
            let mut at = cut.index(told + 1);
            while !whole.is_char_boundary(at) {
                at -= 1;
            }
            for caller in Dialect::ALL {
                if !Dialect::PROVIDERS.contains(&caller) && caller == provider {
                    continue;
                }
                let (out, end) = run(provider, caller, &whole[..at]);
                prop_assert_eq!(end, Err(StreamError::Truncated), "{} -> {}: {}", provider, caller, out);
                prop_assert!(read_ends(caller, provider, &out), "{} -> {}: {}", provider, caller, out);
            }
        }
        Ok(())
    });
}

/// Whether a translated stream has no end in it.
fn read_ends(caller: Dialect, provider: Dialect, out: &str) -> bool {
    caller == provider || read(caller, out).ends.is_empty()
}
