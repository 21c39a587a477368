//! Texts that an API says once more when they have ended.

use super::*;
use crate::guard::webhook::{Follows, Why};

#[test]
fn what_an_api_says_once_more_is_asked_about_once_and_masked_alike() {
    let mut run = Run::new(Dialect::OpenAiResponses);
    let (mut events, _) = stream(Dialect::OpenAiResponses, &["I am ", "Ann"]);
    events.pop();
    let done = json!({"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "I am Ann"});
    let whole = json!({"type": "response.completed", "response": {"id": "Ann", "output": [{"type": "message", "content": [{"type": "output_text", "text": "I am Ann", "logprobs": [{"token": "Ann"}]}]}]}});
    events.extend([format!("data: {done}\n\n"), format!("data: {whole}\n\n")]);
    for event in &events {
        run.push(event);
    }
    assert_eq!(run.texts_asked(0), ["I am Ann"], "three times the same");
    let out = run.end(|_| "I am [NAME]".to_owned());
    assert_eq!(texts(&out, "delta"), "I am [NAME]", "{out}");
    assert_eq!(texts(&out, "text"), "I am [NAME]I am [NAME]", "{out}");
    assert!(
        out.contains(r#""logprobs":[]"#) && out.contains(r#""id":"Ann""#),
        "{out}"
    );
}

/// A response that says this in two windows, of which the first is decided with `mask`, and the events of its end that say it again.
fn said_twice(run: &mut Run, mask: impl Fn(&str) -> String) -> [String; 2] {
    let (events, _) = stream(Dialect::OpenAiResponses, &["I am Ann ", "of Bonn", " and "]);
    run.push(&events[0]);
    run.later(WINDOW_TIME);
    run.decide(mask);
    run.push(&events[1]);
    run.push(&events[2]);
    let text = "I am Ann of Bonn and ";
    let done = json!({"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": (text)});
    let output = json!([{"type": "message", "content": [{"type": "output_text", "text": (text)}]}, {"type": "function_call", "arguments": "Ann"}]);
    let whole = json!({"type": "response.completed", "response": {"output": (output)}});
    [done, whole].map(|event| format!("data: {event}\n\n"))
}

#[test]
fn what_an_api_says_once_more_is_what_was_given_and_nobody_is_asked_about_it_again() {
    let mask = |text: &str| text.replace("Ann", "[NAME]");
    for is_late in [false, true] {
        let mut run = Run::new(Dialect::OpenAiResponses);
        let [done, whole] = said_twice(&mut run, mask);
        if is_late {
            run.later(WINDOW_TIME);
            run.decide(same);
        }
        run.push(&done);
        if is_late {
            run.later(WINDOW_TIME);
            run.decide(same);
        }
        run.push(&whole);
        let out = run.end(mask);
        assert_eq!(texts(&out, "delta"), "I am [NAME] of Bonn and ", "{out}");
        assert_eq!(texts(&out, "text"), "I am [NAME] of Bonn and ".repeat(2), "{out}");
        assert_eq!(texts(&out, "arguments"), "[NAME]", "{out}");
        let asked: Vec<String> = (0..run.questions.len()).flat_map(|at| run.texts_asked(at)).collect();
        assert_eq!(asked, ["I am Ann ", "of Bonn and ", "Ann"]);
    }
}

#[test]
fn what_was_masked_does_not_pass_undecided_where_it_may_be_said_once_more() {
    for (is_masked, decided) in [(true, "refused_timeout"), (false, "passed_timeout")] {
        let mut run = Run::new(Dialect::OpenAiResponses);
        run.windows = Windows::new(Dialect::OpenAiResponses, guards_with(Unread::Pass, OnFailure::Pass));
        let guard = Arc::clone(&run.windows.guards()[0]);
        let mask = |text: &str| text.replace("Ann", if is_masked { "[NAME]" } else { "Ann" });
        let [_, whole] = said_twice(&mut run, mask);
        run.later(WINDOW_TIME);
        let parts = run.asked.as_ref().unwrap().follows(&guard, Err(Why::Timeout));
        assert_eq!(parts, Follows::Counted("passed_timeout"), "of this nothing went out");
        run.decide(same);
        run.push(&whole);
        match run.asked.as_ref().unwrap().follows(&guard, Err(Why::Timeout)) {
            Follows::Counted(told) | Follows::Refused(_, told) => assert_eq!(told, decided),
            other => panic!("{other:?}"),
        }
        run.decide(same);
        let unread = run.windows.push(b"data: {\"type\"\n\n", run.now, &mut run.out);
        assert_eq!(unread.is_err(), is_masked, "nor what nobody can read");
    }
}
