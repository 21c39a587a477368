#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a failed test panics

use bowsprit_crds::DurationText;
use bowsprit_crds::access::Enforcement;
use bowsprit_crds::guards::{Action, Guard as Spec, OnFailure, Unread, Webhook};

use super::*;
use crate::guard::tests::{REFUSED, texts};
use crate::guard::webhook::{About, Verdict, Why};
use crate::json::{self, Value, json};

mod once_more;
mod turns;

const ABOUT: About<'_> = About {
    namespace: "team",
    route: "smart",
    model: "m",
};

fn guards(unread: Unread) -> Arc<[Arc<Guard>]> {
    guards_with(unread, OnFailure::Refuse)
}

fn guards_with(unread: Unread, on_failure: OnFailure) -> Arc<[Arc<Guard>]> {
    let spec = Spec {
        name: "dlp".into(),
        apply_to: vec![Side::Answer],
        detect: Vec::new(),
        words: Vec::new(),
        webhook: Some(Webhook {
            url: "https://guard.example.com/v1/check".into(),
            timeout: DurationText::millis(500),
            on_failure,
            auth_secret_ref: None,
            ca_bundle_ref: None,
            allow_http: false,
            allowed_addresses: None,
        }),
        action: Action::Mask,
        enforcement: Enforcement::Enforce,
        unread,
    };
    Guard::all_of("UsagePolicy house", &[spec]).unwrap().into()
}

/// A stream under way, with the text of what has gone out of it and of what was allowed.
struct Run {
    windows: Windows,
    now: Moment,
    out: BytesMut,
    asked: Option<Window>,
    /// The questions, in order.
    questions: Vec<Value>,
}

impl Run {
    fn new(dialect: Dialect) -> Self {
        Self {
            windows: Windows::new(dialect, guards(Unread::Refuse)),
            now: Moment::ZERO,
            out: BytesMut::new(),
            asked: None,
            questions: Vec::new(),
        }
    }

    fn push(&mut self, piece: &str) {
        self.windows.push(piece.as_bytes(), self.now, &mut self.out).unwrap();
        self.ask();
    }

    fn later(&mut self, by: Duration) {
        self.now = self.now + by;
        self.ask();
    }

    fn ask(&mut self) {
        if let Some(window) = self.windows.ask(self.now) {
            let guard = Arc::clone(&self.windows.guards()[0]);
            let Some(question) = window.question(&guard, ABOUT).unwrap() else {
                // Nobody need be asked.
                self.windows.decided(window, &mut self.out);
                return self.ask();
            };
            self.questions.push(json::parse(&question).unwrap());
            assert!(self.asked.replace(window).is_none(), "one at a time");
        }
    }

    /// The service has answered: each text becomes what `mask` makes of it.
    fn decide(&mut self, mask: impl Fn(&str) -> String) {
        let Some(mut window) = self.asked.take() else { return };
        let texts = self.questions.last().unwrap()["texts"].as_array().unwrap();
        let masked = texts.iter().map(|said| mask(said["text"].as_str().unwrap()));
        let masked: Vec<Value> = masked.map(Value::from).collect();
        let answer = json!({"decision": "mask", "texts": (Value::Array(masked))}).to_string();
        if let Verdict::Mask(texts) = window.verdict(answer.as_bytes()).unwrap() {
            window.mask(texts);
        }
        self.windows.decided(window, &mut self.out);
        self.ask();
    }

    fn finish(&mut self) {
        self.windows.finish(self.now, &mut self.out).unwrap();
        self.ask();
    }

    /// Ends it, and has all that is left decided.
    fn end(&mut self, mask: impl Fn(&str) -> String) -> String {
        self.finish();
        while self.asked.is_some() {
            self.decide(&mask);
        }
        assert!(self.windows.is_empty(), "nothing is left");
        self.out()
    }

    fn out(&self) -> String {
        String::from_utf8(self.out.to_vec()).unwrap()
    }

    /// What was asked about, as it came.
    fn texts_asked(&self, at: usize) -> Vec<String> {
        let texts = self.questions[at]["texts"].as_array().unwrap();
        texts
            .iter()
            .map(|said| said["text"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn same(text: &str) -> String {
    text.to_owned()
}

/// A stream of these pieces of one text, event by event, as the dialect has it, and under which name a text stands.
fn stream(dialect: Dialect, pieces: &[&str]) -> (Vec<String>, &'static str) {
    let event = |value: &Value| format!("data: {value}\n\n");
    let named = |name: &str, value: &Value| format!("event: {name}\ndata: {value}\n\n");
    let (mut all, name): (Vec<String>, _) = match dialect {
        Dialect::OpenAiChat => (
            pieces.iter().map(|text| event(&json!({"choices": [{"index": 0, "delta": {"content": (*text)}}]}))).collect(),
            "content",
        ),
        Dialect::AnthropicMessages => (
            pieces.iter().map(|text| named("content_block_delta", &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": (*text)}}))).collect(),
            "text",
        ),
        Dialect::OpenAiResponses => (
            pieces.iter().map(|text| named("response.output_text.delta", &json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": (*text)}))).collect(),
            "delta",
        ),
        Dialect::Gemini => (
            pieces.iter().map(|text| event(&json!({"candidates": [{"content": {"role": "model", "parts": [{"text": (*text)}]}}]}))).collect(),
            "text",
        ),
    };
    let end = match dialect {
        Dialect::OpenAiChat => "data: [DONE]\n\n".to_owned(),
        Dialect::AnthropicMessages => named("message_stop", &json!({"type": "message_stop"})),
        Dialect::OpenAiResponses => named(
            "response.incomplete",
            &json!({"type": "response.incomplete", "response": {"output": []}}),
        ),
        Dialect::Gemini => event(&json!({"candidates": [{"finishReason": "STOP"}]})),
    };
    all.push(end);
    (all, name)
}

const DIALECTS: [Dialect; 4] = [
    Dialect::OpenAiChat,
    Dialect::AnthropicMessages,
    Dialect::OpenAiResponses,
    Dialect::Gemini,
];

/// A text of some words, cut anywhere into pieces of so many bytes at most.
fn words(rng: &mut fastrand::Rng, most: usize) -> (String, Vec<usize>) {
    let some = ["Ann", "is", "here", "naïve", "Annex", "a", "日本", "of"];
    let words: Vec<&str> = (0..rng.usize(1..700)).map(|_| some[rng.usize(..some.len())]).collect();
    let text = words.join(" ");
    let mut cuts = vec![0];
    while let Some(last) = cuts.last().copied().filter(|last| *last < text.len()) {
        let next = (last + rng.usize(1..=most)).min(text.len());
        cuts.push((next..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap());
    }
    (text, cuts)
}

#[test]
fn however_a_text_is_cut_what_goes_out_was_allowed_in_its_order_and_no_byte_sooner() {
    for seed in 0..100 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let most = [3, 20, 400][rng.usize(..3)];
        let (text, cuts) = words(&mut rng, most);
        let pieces: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
        let dialect = DIALECTS[rng.usize(..4)];
        let (events, name) = stream(dialect, &pieces);
        let largest = events.iter().map(String::len).max().unwrap();
        let body = events.concat();
        let (slow, chunk) = (rng.u32(1..60), rng.usize(1..4000).max(body.len() / 400));
        let mut run = Run::new(dialect);
        let mut allowed = String::new();
        for piece in body.as_bytes().chunks(chunk) {
            // Bytes of a character may come in two pieces.
            run.windows.push(piece, run.now, &mut run.out).unwrap();
            run.later(Duration::from_millis(rng.u64(..30)));
            // Where it is full nothing is read on.
            if (rng.u32(..slow) == 0 || run.windows.is_full()) && run.asked.is_some() {
                allowed.push_str(&run.texts_asked(run.questions.len() - 1).concat());
                run.decide(same);
            }
            assert_eq!(
                texts(&run.out(), name),
                allowed,
                "seed {seed}: nothing but what was allowed"
            );
            let bound = HELD_MOST + 10 * (chunk + largest);
            assert!(run.windows.held <= bound, "seed {seed}: {}", run.windows.held);
        }
        assert_eq!(run.end(same), body, "seed {seed}");
    }
}

#[test]
fn a_word_that_a_service_masks_is_whole_in_a_window_however_the_text_is_cut() {
    let mask = |text: &str| {
        let words = text.split(' ').map(|word| if word == "Ann" { "[NAME]" } else { word });
        words.collect::<Vec<&str>>().join(" ")
    };
    for seed in 0..100 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (text, cuts) = words(&mut rng, 20);
        let pieces: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
        let dialect = DIALECTS[rng.usize(..4)];
        let (events, name) = stream(dialect, &pieces);
        let mut run = Run::new(dialect);
        for event in &events {
            run.push(event);
            if rng.bool() {
                run.decide(mask);
            }
        }
        let out = run.end(mask);
        assert_eq!(texts(&out, name), mask(&text), "seed {seed}");
        assert_eq!(
            out.matches("data: ").count(),
            events.len(),
            "seed {seed}: no event is lost"
        );
    }
}

#[test]
fn the_first_word_waits_for_one_window_and_one_question_and_the_next_fills_meanwhile() {
    for dialect in DIALECTS {
        let word = "four ";
        let pieces: Vec<&str> = (0..400).map(|_| word).collect();
        let (events, name) = stream(dialect, &pieces);
        let mut run = Run::new(dialect);
        for (at, event) in events.iter().take(399).enumerate() {
            run.push(event);
            let is_asked = (at + 1) * word.len() >= WINDOW_CHARS;
            assert_eq!(run.questions.len(), usize::from(is_asked), "{dialect:?} {at}");
            assert_eq!(run.out(), "", "{dialect:?} {at}");
        }
        run.decide(same);
        assert_eq!(run.questions.len(), 2, "what came meanwhile is asked about at once");
        assert_eq!(texts(&run.out(), name).len(), WINDOW_CHARS);
        assert_eq!(run.texts_asked(1).concat().len(), 399 * word.len() - WINDOW_CHARS);
    }
}

#[test]
fn a_slow_text_is_asked_about_in_time_and_with_the_end_of_what_went_before() {
    let (events, name) = stream(Dialect::OpenAiChat, &["My name", " is", " Ann", " Smith", "", "son."]);
    let mut run = Run::new(Dialect::OpenAiChat);
    run.push(&events[0]);
    run.push(&events[1]);
    assert_eq!(run.windows.due(), Some(Moment::ZERO + WINDOW_TIME));
    run.later(WINDOW_TIME.saturating_sub(Duration::from_nanos(1)));
    assert!(run.asked.is_none());
    run.later(Duration::from_nanos(1));
    assert_eq!(
        run.texts_asked(0),
        ["My name"],
        "no word is cut: more of the last may come"
    );
    assert_eq!(run.windows.due(), None, "one is being asked about");
    run.decide(|_| "Your name".to_owned());
    assert_eq!(texts(&run.out(), name), "Your name");
    run.later(WINDOW_TIME);
    assert_eq!(run.texts_asked(1), [" is"], "nothing has come: it is not held forever");
    assert_eq!(
        run.questions[1]["texts"][0]["before"], "Your name",
        "as its caller has it"
    );
    assert_eq!(run.questions[1]["window"].to_string(), "2");
    run.decide(same);
    for event in &events[2..] {
        run.push(event);
    }
    assert_eq!(run.texts_asked(2), [" Ann Smithson."], "the texts have ended");
    assert_eq!(run.questions[2]["texts"][0]["before"], "Your name is");
    assert_eq!(texts(&run.end(same), name), "Your name is Ann Smithson.");
}

#[test]
fn what_brings_no_text_flows_and_comments_pass_those_that_wait() {
    let (events, _) = stream(Dialect::OpenAiChat, &["held", " back"]);
    let mut run = Run::new(Dialect::OpenAiChat);
    let start = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    run.push(start);
    assert_eq!(run.out(), start);
    run.push(&events[0]);
    run.push(": ping\n\n");
    run.push("data: {\"choices\":[]}\n\n");
    assert_eq!(
        run.out(),
        [start, ": ping\n\n"].concat(),
        "what is no comment keeps its place"
    );
    run.push(&events[1]);
    run.push(&events[2]);
    run.decide(same);
    assert!(
        run.out()
            .ends_with(&[&events[0], "data: {\"choices\":[]}\n\n", &events[1], &events[2]].concat())
    );
}

#[test]
fn choices_calls_and_refusals_are_asked_about_each_by_itself_and_keep_their_order() {
    let event = |index: u64, delta: &Value| {
        format!(
            "data: {}\n\n",
            json!({"choices": [{"index": (index), "delta": (delta.clone())}]})
        )
    };
    let call = |text: &str| json!({"tool_calls": [{"index": 0, "function": {"arguments": (text)}}]});
    let events = [
        event(0, &json!({"content": "one "})),
        event(1, &json!({"refusal": "no "})),
        event(0, &json!({"content": "more"})),
        event(1, &json!({"refusal": "way"})),
        event(0, &call("{\"to\": ")),
        event(0, &call("\"ann\"}")),
        event(0, &json!({"reasoning": "hm"})),
        "data: [DONE]\n\n".to_owned(),
    ];
    let mut run = Run::new(Dialect::OpenAiChat);
    for event in &events {
        run.push(event);
    }
    assert_eq!(run.texts_asked(0), ["one more", "no way", "{\"to\": \"ann\"}", "hm"]);
    assert_eq!(run.end(same), events.concat());
}

#[test]
fn more_than_may_wait_is_not_to_be_read_until_a_window_is_decided() {
    let long = "x".repeat(20_000);
    let (events, name) = stream(Dialect::OpenAiChat, &[long.as_str(); 20]);
    let mut run = Run::new(Dialect::OpenAiChat);
    let mut given = 0;
    for event in &events {
        if run.windows.is_full() {
            break;
        }
        run.push(event);
        given += 1;
    }
    assert!(given < 10, "{given}: each is held with its text beside");
    assert!(run.asked.is_some(), "whoever waits waits for a question");
    run.decide(same);
    assert!(!run.windows.is_full());
    for event in &events[given..] {
        run.decide(same);
        run.push(event);
    }
    assert_eq!(texts(&run.end(same), name).len(), 20 * long.len());
}

#[test]
fn what_waits_is_held_for_what_it_takes_and_bytes_between_elements_are_one() {
    let element = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "word"}]}}]}).to_string();
    let mut run = Run::new(Dialect::Gemini);
    run.push("[");
    run.push(&element);
    let before = run.windows.held;
    assert!(before > size_of::<Held>() + element.len(), "{before}");
    let space = " ".repeat(1000);
    run.push(&space);
    assert_eq!(run.windows.waiting.len(), 2);
    assert_eq!(run.windows.held, before + size_of::<Held>() + space.len());
    run.push(",");
    run.push(&element);
    run.push("]");
    assert_eq!(run.end(same), format!("[{element}{space},{element}]"));
    assert_eq!(run.windows.held, 0);
}

#[test]
fn what_is_no_stream_is_asked_about_as_a_whole() {
    let body = r#"{"choices":[{"message":{"content":"I am Ann"}}]}"#;
    let mut run = Run::new(Dialect::OpenAiChat);
    run.push(body);
    assert!(run.asked.is_none());
    run.finish();
    assert_eq!(run.texts_asked(0), ["I am Ann"]);
    assert_eq!(run.end(|_| "I am [NAME]".into()), body.replace("Ann", "[NAME]"));
    let mut silent = Run::new(Dialect::OpenAiChat);
    silent.push("{\"choices\":[]}");
    assert_eq!(silent.end(same), "{\"choices\":[]}");
    assert!(silent.questions.is_empty());
}

#[test]
fn what_nobody_can_be_asked_about_ends_the_stream_or_passes_as_its_guard_says() {
    for bad in ["data: {\"choices\": [\n\n", "{\"choices\": ["] {
        for (unread, is_out) in [(Unread::Refuse, false), (Unread::Pass, true)] {
            let mut windows = Windows::new(Dialect::OpenAiChat, guards(unread));
            let mut out = BytesMut::new();
            let pushed = windows.push(bad.as_bytes(), Moment::ZERO, &mut out);
            let ended = pushed.and_then(|()| windows.finish(Moment::ZERO, &mut out));
            assert_eq!(matches!(ended, Err(Stop::Unread(_))), !is_out, "{bad}");
            assert_eq!(out == bad.as_bytes(), is_out, "{bad}");
            assert!(!is_out || windows.is_empty());
        }
    }
}

#[test]
fn a_mask_that_is_far_longer_than_what_was_asked_about_is_no_decision() {
    let mut run = Run::new(Dialect::OpenAiChat);
    let text = "word ".repeat(200);
    let (events, _) = stream(Dialect::OpenAiChat, &[text.as_str()]);
    run.push(&events[0]);
    let window = run.asked.take().unwrap();
    assert_eq!(run.texts_asked(0), [text.as_str()]);
    let answer = |length: usize| format!(r#"{{"decision":"mask","texts":["{}"]}}"#, "x".repeat(length));
    let longest = text.len() + HELD_MOST;
    assert!(matches!(
        window.verdict(answer(longest).as_bytes()),
        Ok(Verdict::Mask(_))
    ));
    assert_eq!(window.verdict(answer(longest + 1).as_bytes()), Err(Why::TooLarge));
}

#[test]
fn an_error_stands_where_its_caller_is_in_an_array_too() {
    let element =
        |text: &str| json!({"candidates": [{"content": {"role": "model", "parts": [{"text": (text)}]}}]}).to_string();
    for (pieces, decided) in [(1, 0), (1, 1), (2, 1), (2, 2)] {
        let mut run = Run::new(Dialect::Gemini);
        run.push("[");
        for at in 0..pieces {
            if at > 0 {
                run.push(",\r\n");
            }
            run.push(&element("some words "));
            run.later(WINDOW_TIME);
            if at < decided {
                run.decide(same);
            }
        }
        let whole = [run.out().as_bytes(), &run.windows.error_event(&REFUSED)].concat();
        let value = json::parse(&whole).unwrap();
        assert_eq!(value.as_array().unwrap().len(), decided + 1, "{pieces} {decided}");
    }
}

#[test]
fn beside_a_stream_the_same_windows_are_filled_and_nothing_is_held_or_given() {
    let (events, _) = stream(Dialect::OpenAiChat, &["word ".repeat(100).as_str(); 10]);
    let mut held = Run::new(Dialect::OpenAiChat);
    let mut beside = Windows::beside(Dialect::OpenAiChat, guards(Unread::Refuse));
    let mut out = BytesMut::new();
    let mut questions = Vec::new();
    for event in &events {
        held.push(event);
        held.decide(same);
        beside.push(event.as_bytes(), held.now, &mut out).unwrap();
        while let Some(window) = beside.ask(held.now) {
            let question = window.question(&beside.guards()[0], ABOUT).unwrap().unwrap();
            questions.push(json::parse(&question).unwrap());
            beside.passed(window);
        }
    }
    assert_eq!(questions.len(), 5);
    assert_eq!(questions, held.questions);
    assert!(out.is_empty() && beside.is_empty() && beside.held == 0);
}
