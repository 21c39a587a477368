use std::hash::{BuildHasherDefault, DefaultHasher};

use serde_json::json;

use super::*;

type Plain = BuildHasherDefault<DefaultHasher>;

fn terms(stops: bool) -> Terms {
    Terms {
        policy: "house".into(),
        full_name: "policy/house/runaway".into(),
        times: 3,
        within: Duration::from_mins(10),
        stops,
    }
}

fn at(seconds: u64) -> Moment {
    Moment::from_start(Duration::from_secs(seconds))
}

fn ask(book: &mut Runaways, body: &Value, terms: &Terms, seconds: u64) -> Option<Again> {
    let hasher = Plain::default();
    let digests = digests("m", body.to_string().as_bytes(), &hasher);
    book.seen(&digests, terms, &hasher, at(seconds))
}

#[test]
fn the_same_request_is_told_once_it_came_too_often_and_counted_anew_when_its_time_has_passed() {
    let (mut book, body) = (
        Runaways::default(),
        json!({"messages": [{"role": "user", "content": "ahoy"}]}),
    );
    let told: Vec<_> = (0..6)
        .map(|second| ask(&mut book, &body, &terms(false), second))
        .collect();
    assert_eq!(told[..3], [None, None, None], "so often is well");
    let (fourth, fifth) = (told[3].unwrap(), told[4].unwrap());
    assert_eq!((fourth.what, fourth.times, fourth.is_first), (What::Request, 4, true));
    assert_eq!((fifth.times, fifth.is_first), (5, false), "told once");
    assert_eq!(fourth.left, Duration::from_secs(597));
    assert_eq!(ask(&mut book, &body, &terms(false), 600), None, "its window is over");
}

#[test]
fn what_is_stopped_stays_stopped_until_the_window_of_its_first_is_over() {
    let (mut book, body) = (Runaways::default(), json!({"input": "ahoy"}));
    for second in 0..3 {
        assert_eq!(ask(&mut book, &body, &terms(true), second), None);
    }
    for second in [3, 100, 599] {
        let again = ask(&mut book, &body, &terms(true), second).unwrap();
        assert_eq!((again.times, again.is_first), (3, second == 3));
    }
    assert_eq!(ask(&mut book, &body, &terms(true), 601), None);
}

#[test]
fn an_agents_step_that_repeats_is_found_in_every_api_however_long_its_conversation_has_grown() {
    let openai = |round: u32| {
        let mut messages = vec![json!({"role": "user", "content": "find it"})];
        for turn in 0..=round {
            let id = format!("call_{turn}");
            messages.push(
                json!({"role": "assistant", "content": format!("try {turn}"), "tool_calls": [
                {"id": id, "type": "function", "function": {"name": "search", "arguments": "{\"q\": \"x\"}"}}]}),
            );
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": "nothing found"}));
        }
        json!({"model": "m", "messages": messages})
    };
    let anthropic = |round: u32| {
        let mut messages = vec![json!({"role": "user", "content": "find it"})];
        for turn in 0..=round {
            let id = format!("toolu_{turn}");
            messages.push(
                json!({"role": "assistant", "content": [{"type": "text", "text": format!("try {turn}")},
                {"type": "tool_use", "id": id, "name": "search", "input": {"q": "x"}}]}),
            );
            messages.push(json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "nothing found"}]}));
        }
        json!({"model": "m", "messages": messages})
    };
    let gemini = |round: u32| {
        let mut contents = vec![json!({"role": "user", "parts": [{"text": "find it"}]})];
        for turn in 0..=round {
            contents.push(json!({"role": "model", "parts": [{"text": format!("try {turn}")},
                {"functionCall": {"name": "search", "args": {"q": "x"}}, "thoughtSignature": format!("s{turn}")}]}));
            contents.push(
                json!({"role": "user", "parts": [{"functionResponse": {"name": "search", "response": {"found": 0}}}]}),
            );
        }
        json!({"contents": contents})
    };
    let responses = |round: u32| {
        let mut input = vec![json!({"role": "user", "content": "find it"})];
        for turn in 0..=round {
            let id = format!("call_{turn}");
            input.push(json!({"type": "function_call", "id": format!("fc_{turn}"), "call_id": id, "name": "search", "arguments": "{}"}));
            input.push(json!({"type": "function_call_output", "call_id": id, "output": "nothing found"}));
        }
        json!({"model": "m", "input": input})
    };
    let apis: [(&str, &dyn Fn(u32) -> Value); 4] = [
        ("openai", &openai),
        ("anthropic", &anthropic),
        ("gemini", &gemini),
        ("responses", &responses),
    ];
    for (api, round) in apis {
        let mut book = Runaways::default();
        for turn in 0..3 {
            assert_eq!(
                ask(&mut book, &round(turn), &terms(false), u64::from(turn)),
                None,
                "{api} {turn}"
            );
        }
        let again = ask(&mut book, &round(3), &terms(false), 3).unwrap();
        assert_eq!((again.what, again.times), (What::Step, 4), "{api}");
    }
}

#[test]
fn an_agent_that_gets_on_and_one_question_about_many_documents_are_no_loops() {
    let mut book = Runaways::default();
    for round in 0..50 {
        let step = json!({"messages": [
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "read", "arguments": format!("{{\"page\": {round}}}")}}]},
            {"role": "tool", "tool_call_id": "c", "content": "read"}]});
        assert_eq!(ask(&mut book, &step, &terms(true), 1), None, "other arguments");
        let polled = json!({"messages": [
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "poll", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": format!("{round} percent")}]});
        assert_eq!(ask(&mut book, &polled, &terms(true), 1), None, "other results");
        let document = json!({"messages": [{"role": "system", "content": format!("document {round}")}, {"role": "user", "content": "sum it up"}]});
        assert_eq!(ask(&mut book, &document, &terms(true), 1), None, "another document");
    }
}

#[test]
fn what_is_remembered_is_bounded_and_a_loop_is_found_among_others() {
    let mut book = Runaways::default();
    let looping = json!({"input": "again"});
    let mut found = None;
    for round in 0..10_u64 {
        found = found.or(ask(&mut book, &looping, &terms(true), round));
        for other in 0..60_u64 {
            let other = json!({"input": format!("{round} {other}")});
            assert_eq!(ask(&mut book, &other, &terms(true), round), None);
            assert!(book.slots.len() <= SLOTS);
        }
    }
    assert_eq!(found.map(|again| again.is_first), Some(true));
}

fn told_in_turns(book: &mut Runaways, name: &str, times: u64, seconds: u64) -> Option<Again> {
    let mut found = None;
    for _ in 0..times {
        for turn in ["a", "b"] {
            let body = json!({"input": format!("{name} {turn}")});
            found = found.or(ask(book, &body, &terms(true), seconds));
        }
    }
    found
}

#[test]
fn a_book_full_of_what_came_twice_hides_no_loop_neither_while_that_counts_nor_long_after() {
    for later in [0, 599, 600, 86_400] {
        let mut book = Runaways::default();
        for round in 0..2 {
            for other in 0..SLOTS {
                let other = json!({"input": format!("twice {other}")});
                assert_eq!(ask(&mut book, &other, &terms(true), round), None);
            }
        }
        let found = told_in_turns(&mut book, "loop", 4, 1 + later);
        assert!(found.is_some_and(|again| again.is_first), "{later} s later");
    }
}

#[test]
fn what_is_stopped_stays_so_among_any_number_of_others_and_many_stopped_hide_no_other_loop() {
    let mut book = Runaways::default();
    assert!(told_in_turns(&mut book, "loop", 4, 0).is_some());
    for other in 0..10 * SLOTS {
        let other = json!({"input": format!("other {other}")});
        assert_eq!(ask(&mut book, &other, &terms(true), 1), None);
    }
    assert!(told_in_turns(&mut book, "loop", 1, 2).is_some(), "it is stopped still");
    let mut book = Runaways::default();
    for loops in 0..SLOTS as u64 {
        let found = told_in_turns(&mut book, &format!("loop {loops}"), 4, loops);
        assert!(found.is_some(), "the {loops}th pair");
    }
}

#[test]
fn each_policy_counts_by_its_own_terms_and_what_is_no_json_counts_as_it_is() {
    let (mut book, hasher) = (Runaways::default(), Plain::default());
    let strict = Terms {
        policy: "strict".into(),
        times: 1,
        ..terms(true)
    };
    let told = digests("m", b"no json", &hasher);
    assert!(told[1].is_none());
    let mut seen = |terms: &Terms| book.seen(&told, terms, &hasher, at(0)).is_some();
    assert_eq!(
        [seen(&strict), seen(&terms(true)), seen(&strict), seen(&terms(true))],
        [false, false, true, false]
    );
    assert_ne!(
        digests("m", b"x", &hasher),
        digests("n", b"x", &hasher),
        "of another model"
    );
}
