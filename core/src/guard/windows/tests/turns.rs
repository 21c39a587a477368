//! Texts that come by turns: choices, calls that are made at once, thoughts under two names.

use std::collections::BTreeMap;

use super::*;

/// Of which choice a piece of a text is, and its delta.
type Form = dyn Fn(u64, &str) -> (u64, Value);

/// Events of a chat completion that say these texts by turns, and their end: `delta` makes one of which text it is and a piece of it.
fn by_turns(rng: &mut fastrand::Rng, texts: &[String], delta: &Form) -> Vec<String> {
    let mut rest: Vec<(u64, &str)> = (0..).zip(texts.iter().map(String::as_str)).collect();
    let mut events = Vec::new();
    while !rest.is_empty() {
        let mut choices = Vec::new();
        // One of them or two.
        for _ in 0..rng.usize(1..=2).min(rest.len()) {
            let turn = rng.usize(..rest.len());
            let (which, text) = &mut rest[turn];
            let mut end = rng.usize(1..12).min(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            let (piece, behind) = text.split_at(end);
            *text = behind;
            let (index, delta) = delta(*which, piece);
            choices.push(json!({"index": (index), "delta": (delta)}));
            if behind.is_empty() {
                rest.remove(turn);
            }
        }
        events.push(format!("data: {}\n\n", json!({"choices": (Value::Array(choices))})));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

#[test]
fn no_word_of_texts_that_come_by_turns_is_cut_in_two() {
    let choice = |which: u64, text: &str| (which, json!({"content": (text)}));
    let call = |which: u64, text: &str| {
        let call = json!({"index": (which), "function": {"arguments": (text)}});
        (0, json!({"tool_calls": [(call)]}))
    };
    let thoughts = |which: u64, text: &str| match which {
        0 => (0, json!({"reasoning_content": (text)})),
        1 => (0, json!({"reasoning": (text)})),
        _ => (1, json!({"content": (text)})),
    };
    let forms: [&Form; 3] = [&choice, &call, &thoughts];
    for seed in 0..150 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let texts: Vec<String> = (0..3).map(|_| words(&mut rng, 1).0).collect();
        let mut texts: Vec<Vec<&str>> = texts.iter().map(|text| text.split(' ').collect()).collect();
        let hidden = rng.usize(..3);
        let place = rng.usize(..texts[hidden].len());
        texts[hidden].insert(place, "Rumpelstiltskin");
        let texts: Vec<String> = texts.iter().map(|words| words.join(" ")).collect();
        let form = forms[rng.usize(..3)];
        let events = by_turns(&mut rng, &texts, form);
        let mut run = Run::new(Dialect::OpenAiChat);
        let mask = |text: &str| text.replace("Rumpelstiltskin", "[NAME]");
        for event in &events {
            run.push(event);
            if rng.bool() {
                run.decide(mask);
            }
        }
        let out = run.end(mask);
        let mut given: Vec<String> = each_text(&out).into_values().collect();
        let mut masked: Vec<String> = texts.iter().map(|text| mask(text)).collect();
        given.sort();
        masked.sort();
        assert_eq!(given, masked, "seed {seed}");
        assert_eq!(out.matches("data: ").count(), events.len(), "seed {seed}");
    }
}

/// The texts of a chat completion's stream, each by itself.
fn each_text(body: &str) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for line in body.lines().filter_map(|line| line.strip_prefix("data: {")) {
        let event = json::parse(format!("{{{line}").as_bytes()).unwrap();
        for choice in event["choices"].as_array().unwrap() {
            for (name, value) in choice["delta"].as_object().unwrap() {
                let (part, text) = match value.as_array() {
                    Some(calls) => (calls[0]["index"].to_string(), &calls[0]["function"]["arguments"]),
                    None => (String::new(), value),
                };
                let which = format!("{} {name} {part}", choice["index"]);
                all.entry(which).or_default().push_str(text.as_str().unwrap());
            }
        }
    }
    all
}

#[test]
fn a_word_is_asked_about_with_what_of_it_stands_behind_the_window() {
    let event = |index: u64, text: &str| {
        let choice = json!({"index": (index), "delta": {"content": (text)}});
        format!("data: {}\n\n", json!({"choices": [(choice)]}))
    };
    let words = "word ".repeat(WINDOW_CHARS / 5);
    let rest = "x".repeat(2 * UNCUT_STEP);
    let mut run = Run::new(Dialect::OpenAiChat);
    for (index, text) in [
        (0, "say Rumpel"),
        (1, &*words),
        (1, "unfin"),
        (0, "stilts"),
        (0, "kin and "),
    ] {
        run.push(&event(index, text));
        assert!(run.asked.is_none(), "{text}");
    }
    run.push(&event(0, &rest));
    assert_eq!(run.texts_asked(0), ["say Rumpelstiltskin and ", words.as_str()]);
    let mask = |text: &str| text.replace("Rumpelstiltskin", "[NAME]");
    run.decide(mask);
    assert_eq!(run.out(), [event(0, "say [NAME] and "), event(1, &words)].concat());
    run.push(&event(1, "ished"));
    let out = run.end(mask);
    assert_eq!(run.texts_asked(1), ["unfinished", rest.as_str()]);
    assert_eq!(run.questions[1]["texts"][1]["before"], "say [NAME] and ");
    let given: Vec<String> = each_text(&out).into_values().collect();
    assert_eq!(given, [format!("say [NAME] and {rest}"), format!("{words}unfinished")]);
    assert_eq!(run.windows.held, 0);
}

#[test]
fn where_no_end_is_behind_a_word_of_all_texts_the_fewest_are_cut() {
    let event = |index: usize, text: &str| {
        let choice = json!({"index": (index as u64), "delta": {"content": (text)}});
        format!("data: {}\n\n", json!({"choices": [(choice)]}))
    };
    let mut run = Run::new(Dialect::OpenAiChat);
    // It says nothing more, and nobody says that it has ended.
    run.push(&event(1, "unfinished"));
    for at in 0..2 * WINDOW_CHARS_MOST {
        run.push(&event(0, if at % 7 == 3 { " four" } else { "xxxxxxx" }));
        if run.asked.is_some() {
            break;
        }
    }
    let [unfinished, text] = run.texts_asked(0).try_into().unwrap();
    assert_eq!(unfinished, "unfinished");
    assert!(text.chars().count() > WINDOW_CHARS_MOST / 2, "{text}");
    assert!(text.ends_with('x'), "{text}");
    run.decide(same);
    run.push(&event(0, "x"));
    run.finish();
    assert!(run.texts_asked(1).concat().starts_with(" four"), "{:?}", run.questions);
}
