#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a failed test panics

use std::sync::Arc;
use std::time::Duration;

use bowsprit_crds::DurationText;
use bowsprit_crds::access::Enforcement;
use bowsprit_crds::guards::{Action, Guard as GuardSpec, OnFailure, Unread, Webhook as Spec};
use bowsprit_crds::provider_config::ObjectKeyRef;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::breaker::Breaker;
use crate::clock::Moment;
use crate::json;

fn spec() -> GuardSpec {
    GuardSpec {
        name: "dlp".into(),
        apply_to: vec![Side::Request, Side::Answer],
        detect: Vec::new(),
        words: Vec::new(),
        webhook: Some(Spec {
            url: "https://guard.example.com/v1/check".into(),
            timeout: DurationText::millis(500),
            on_failure: OnFailure::Refuse,
            auth_secret_ref: None,
            ca_bundle_ref: None,
            allow_http: false,
            allowed_addresses: None,
        }),
        action: Action::Mask,
        enforcement: Enforcement::Enforce,
        unread: Unread::Refuse,
    }
}

fn made(spec: GuardSpec) -> Arc<Guard> {
    Guard::all_of("UsagePolicy house", &[spec]).unwrap().remove(0)
}

const ABOUT: About<'_> = About {
    namespace: "team",
    route: "smart",
    model: "m",
};
const BODY: &str = r#"{"model":"m","messages":[{"role":"system","content":"be kind"},{"role":"user","content":[{"type":"text","text":"hi \"you\""},{"type":"image_url","image_url":{"url":"x"}}]},{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\"to\":\"ann\",\"n\":7}"}}]},{"role":"tool","tool_call_id":"c","content":"done"}],"metadata":{"a":"not said"}}"#;

#[test]
fn it_is_asked_with_the_texts_by_who_says_them_and_nothing_else() {
    let asked = question(&made(spec()), Side::Request, BODY.as_bytes(), ABOUT).unwrap();
    let expected = r#"{"version":1,"guard":"dlp","of":"UsagePolicy house","side":"Request","namespace":"team","route":"smart","model":"m","texts":[{"role":"system","text":"be kind"},{"role":"user","text":"hi \"you\""},{"role":"assistant","text":"ann"},{"role":"assistant","text":"7"},{"role":"tool","text":"done"}]}"#;
    assert_eq!(std::str::from_utf8(&asked.unwrap()).unwrap(), expected);
    let silent = question(&made(spec()), Side::Request, br#"{"messages":[]}"#, ABOUT).unwrap();
    assert!(silent.is_none(), "nothing is asked about nothing");
    let huge = format!(
        r#"{{"messages":[{{"content":"{}"}}]}}"#,
        "x".repeat(LARGEST_QUESTION + 1)
    );
    let many = format!(
        r#"{{"messages":[{{"role":"","content":[{}"b"]}}]}}"#,
        "\"a\",".repeat(LARGEST_QUESTION / 64)
    );
    for body in [huge, many] {
        let refused = question(&made(spec()), Side::Request, body.as_bytes(), ABOUT);
        assert_eq!(refused, Err(Why::TooLarge));
    }
}

#[test]
fn in_each_api_who_speaks_is_told_too() {
    let roles = |side, body: &str| -> Vec<String> {
        let said = said(side, body.as_bytes(), 1000).unwrap().unwrap();
        said.iter().map(|said| format!("{}:{}", said.role, said.text)).collect()
    };
    for (body, expected) in [
        (
            r#"{"instructions":"a","input":[{"role":"user","content":"b"},{"type":"function_call","arguments":"{\"x"},{"type":"function_call_output","output":"d"}]}"#,
            vec!["system:a", "user:b", "assistant:{\"x", "tool:d"],
        ),
        (r#"{"input":"b"}"#, vec!["user:b"]),
        (
            r#"{"system":"a","messages":[{"role":"user","content":[{"type":"tool_result","content":"b"},{"type":"text","text":"c"}]}]}"#,
            vec!["system:a", "tool:b", "user:c"],
        ),
        (
            r#"{"systemInstruction":{"parts":[{"text":"a"}]},"contents":[{"role":"model","parts":[{"text":"b"}]}]}"#,
            vec!["system:a", "model:b"],
        ),
    ] {
        assert_eq!(roles(Side::Request, body), expected);
    }
    let answer =
        r#"{"choices":[{"message":{"role":"assistant","content":"b"},"logprobs":{"content":[{"token":"b"}]}}]}"#;
    assert_eq!(roles(Side::Answer, answer), ["assistant:b"]);
}

#[test]
fn what_it_masks_stands_in_its_place_and_all_else_is_as_it_was() {
    let answer = r#"{"decision":"mask","texts":[null,"hi [NAME]\n",null,"[N]",null]}"#;
    let Ok(Verdict::Mask(masked)) = verdict(answer.as_bytes(), Side::Request, BODY.as_bytes()) else {
        panic!("it masks");
    };
    let expected = BODY
        .replace(r#"hi \"you\""#, r"hi [NAME]\n")
        .replace(r#"\"n\":7"#, r#"\"n\":\"[N]\""#);
    assert_eq!(std::str::from_utf8(&masked).unwrap(), expected);
    assert!(json::parse(&masked).is_ok());
    let same = r#"{"decision":"mask","texts":["be kind",null,null,null,null]}"#;
    let decided = verdict(same.as_bytes(), Side::Request, BODY.as_bytes());
    assert_eq!(decided, Ok(Verdict::Pass), "nothing is another than it was");
}

#[test]
fn where_it_masks_an_answer_what_spells_it_once_more_goes() {
    let body = r#"{"choices":[{"message":{"content":"I am Ann"},"logprobs":{"content":[{"token":"Ann"}]}}]}"#;
    let decided = verdict(
        br#"{"decision":"mask","texts":["I am [NAME]"]}"#,
        Side::Answer,
        body.as_bytes(),
    );
    let Ok(Verdict::Mask(masked)) = decided else {
        panic!("it masks");
    };
    let expected = r#"{"choices":[{"message":{"content":"I am [NAME]"},"logprobs":null}]}"#;
    assert_eq!(std::str::from_utf8(&masked).unwrap(), expected);
}

#[test]
fn an_answer_that_is_none_decides_nothing() {
    let of = |answer: &str| verdict(answer.as_bytes(), Side::Request, BODY.as_bytes());
    for answer in [
        "",
        "[]",
        "{}",
        r#"{"decision":"maybe"}"#,
        r#"{"decision":"mask"}"#,
        r#"{"decision":"mask","texts":["one"]}"#,
        r#"{"decision":"mask","texts":[null,null,null,null,null,null]}"#,
    ] {
        assert_eq!(of(answer), Err(Why::Answer), "{answer}");
    }
    assert_eq!(of(r#"{"decision":"pass","more":1}"#), Ok(Verdict::Pass));
    assert_eq!(of(r#"{"decision":"refuse"}"#), Ok(Verdict::Refuse(None)));
    let told = of(r#"{"decision":"refuse","reason":" a\nb "}"#);
    assert_eq!(told, Ok(Verdict::Refuse(Some("ab".into()))));
    let long = format!(r#"{{"decision":"refuse","reason":"{}"}}"#, "é".repeat(500));
    assert_eq!(of(&long), Ok(Verdict::Refuse(Some("é".repeat(MOST_TOLD)))));
}

#[test]
fn what_follows_is_its_word_in_force_its_guards_on_failure_and_in_shadow_a_count() {
    let guard = |action, enforcement, on_failure| {
        let mut spec = spec();
        (spec.action, spec.enforcement) = (action, enforcement);
        spec.webhook.as_mut().unwrap().on_failure = on_failure;
        made(spec)
    };
    let masked = || Ok(Verdict::Mask(Bytes::from_static(b"{}")));
    let refused = || Ok(Verdict::Refuse(Some("house rule 7".into())));
    let late = || Err(Why::Timeout);
    let told = |follows: Follows| match follows {
        Follows::Nothing => "nothing".to_owned(),
        Follows::Counted(count) => {
            assert!(!count.starts_with("would_refuse"), "{count}");
            count.to_owned()
        }
        Follows::Spared(count) => {
            assert!(count.starts_with("would_refuse"), "{count}");
            count.to_owned()
        }
        Follows::Masked(_, count) => format!("masks: {count}"),
        Follows::Refused(told, count) => {
            assert!(told.starts_with("the guard dlp of UsagePolicy house"), "{told}");
            assert_eq!(
                count == "refused_timeout",
                told.contains("not answered in time"),
                "{told}"
            );
            format!("refuses: {count}")
        }
    };
    for (action, enforcement, on_failure, expected) in [
        (
            Action::Mask,
            Enforcement::Enforce,
            OnFailure::Refuse,
            ["masks: masked", "refuses: refused", "refuses: refused_timeout"],
        ),
        (
            Action::Mask,
            Enforcement::Enforce,
            OnFailure::Pass,
            ["masks: masked", "refuses: refused", "passed_timeout"],
        ),
        (
            Action::Refuse,
            Enforcement::Enforce,
            OnFailure::Refuse,
            ["refuses: refused", "refuses: refused", "refuses: refused_timeout"],
        ),
        (
            Action::Mask,
            Enforcement::Shadow,
            OnFailure::Refuse,
            ["would_mask", "would_refuse", "would_refuse_timeout"],
        ),
        (
            Action::Refuse,
            Enforcement::Shadow,
            OnFailure::Pass,
            ["would_refuse", "would_refuse", "passed_timeout"],
        ),
        (
            Action::Observe,
            Enforcement::Enforce,
            OnFailure::Refuse,
            ["observed", "observed", "passed_timeout"],
        ),
    ] {
        let guard = guard(action, enforcement, on_failure);
        let all = [masked(), refused(), late()].map(|decided| told(guard.follows(decided)));
        assert_eq!(all, expected, "{action:?} {enforcement:?} {on_failure:?}");
        assert_eq!(guard.follows(Ok::<Verdict, Why>(Verdict::Pass)), Follows::Nothing);
    }
}

#[test]
fn a_webhook_that_cannot_be_is_refused_with_its_place_and_a_way_out() {
    let refused = |change: &dyn Fn(&mut GuardSpec, &mut Spec)| {
        let mut guard = spec();
        let mut hook = guard.webhook.take().unwrap();
        change(&mut guard, &mut hook);
        guard.webhook = Some(hook);
        Guard::all_of("UsagePolicy house", &[guard]).unwrap_err().to_string()
    };
    let at = |key: &str| ObjectKeyRef {
        name: "dlp".into(),
        key: key.into(),
    };
    for (told, problem) in [
        (
            "webhook.timeout: is 6s: set it to 20ms to 5s",
            refused(&|_, hook| hook.timeout = DurationText::secs(6)),
        ),
        (
            "webhook.url: is plain http: write https",
            refused(&|_, hook| hook.url = "http://guard.example.com".into()),
        ),
        (
            "webhook.url: must not have a user",
            refused(&|_, hook| hook.url = "https://a@b".into()),
        ),
        (
            "webhook.url: is the address of a cloud's metadata service: write another",
            refused(&|_, hook| hook.url = "https://169.254.169.254/latest".into()),
        ),
        (
            "webhook.url: is a loopback address: list Loopback in allowedAddresses",
            refused(&|_, hook| hook.url = "https://127.0.0.1/".into()),
        ),
        (
            "webhook.allowedAddresses: is empty",
            refused(&|_, hook| hook.allowed_addresses = Some(Vec::new())),
        ),
        (
            "webhook.authSecretRef: has a name or key that no Secret can have",
            refused(&|_, hook| hook.auth_secret_ref = Some(at("../key"))),
        ),
        (
            "webhook.caBundleRef: has a name or key that no ConfigMap can have",
            refused(&|_, hook| hook.ca_bundle_ref = Some(at(".."))),
        ),
        (
            "webhook: is set beside detect or words: remove",
            refused(&|guard, _| guard.words.push("word".into())),
        ),
    ] {
        assert!(
            problem.contains(&format!("UsagePolicy house: spec.guards[0].{told}")),
            "{told}: {problem}"
        );
    }
}

#[test]
fn more_texts_than_any_question_has_are_no_answer_whatever_it_decides() {
    let list = |count: usize| vec!["null"; count].join(",");
    for decision in ["pass", "mask"] {
        let answer = |count| format!(r#"{{"texts":[{}],"decision":"{decision}"}}"#, list(count));
        assert!(decided(answer(MOST_TEXTS).as_bytes()).is_ok(), "{decision}");
        assert_eq!(
            decided(answer(MOST_TEXTS + 1).as_bytes()),
            Err(Why::Answer),
            "{decision}"
        );
    }
    // The smallest texts: those of the largest question.
    let said: Vec<String> = vec![r#"{"role":"","content":"a"}"#.to_owned(); MOST_TEXTS + 1];
    let body = format!(r#"{{"messages":[{}]}}"#, said.join(","));
    let asked = question(&made(spec()), Side::Request, body.as_bytes(), ABOUT);
    assert_eq!(asked, Err(Why::TooLarge), "no question has more");
}

fn decided(answer: &[u8]) -> Result<Verdict<Vec<Option<String>>>, Why> {
    decision(answer)
}

/// How a question may end.
fn ends() -> impl Strategy<Value = Result<(), Why>> {
    let statuses = [400, 413, 429, 500, 502, 503, 504, 529].map(Why::Status);
    let whys = [Why::Timeout, Why::Unreachable, Why::Answer, Why::TooLarge]
        .into_iter()
        .chain(statuses);
    prop_oneof![
        Just(Ok(())),
        proptest::sample::select(whys.map(Err).collect::<Vec<_>>())
    ]
}

/// Whether nobody was there who could answer in time.
fn is_nobody(end: Result<(), Why>) -> bool {
    matches!(end, Err(Why::Timeout | Why::Unreachable | Why::Status(502..=504 | 529)))
}

proptest! {
    /// Questions at these times, each as long under way as this, with these ends; some are given up by their caller.
    #[test]
    fn its_breaker_asks_on_while_anybody_answers_and_one_at_a_time_where_nobody_does(
        deadline in 20_u64..5_000,
        questions in vec((0_u64..4_000, 0_u64..5_000, ends(), any::<bool>()), 1..200),
    ) {
        let settings = hook(deadline).breaker();
        let (threshold, open_for) = (settings.failure_threshold.get(), settings.open_for);
        let mut breaker = Breaker::new(settings);
        let mut now = Moment::ZERO;
        let mut in_a_row = 0;
        let mut opened = None;
        for (pause, took, end, is_given_up) in questions {
            now = now + Duration::from_millis(pause);
            let is_left_alone = opened.is_some_and(|at| now - at < open_for);
            let Ok(permit) = breaker.admit(now) else {
                prop_assert!(is_left_alone, "somebody may try it again after {open_for:?}");
                continue;
            };
            prop_assert!(!is_left_alone, "nobody waits for one that does not answer");
            if opened.is_some() {
                prop_assert!(breaker.admit(now).is_err(), "one at a time tries it again");
            }
            now = now + Duration::from_millis(took.min(deadline));
            if is_given_up {
                breaker.cancel(permit);
                continue;
            }
            let _ = breaker.settle(permit, learned(&end), now);
            match end {
                _ if is_nobody(end) => {
                    in_a_row += 1;
                    if in_a_row >= threshold || opened.is_some() {
                        opened = Some(now);
                    }
                }
                Err(Why::TooLarge) => {}
                // Who is throttled in trying again leaves it alone for as long; before that, it is there.
                Err(Why::Status(429)) => opened = opened.map(|_| now),
                _ => (in_a_row, opened) = (0, None),
            }
            prop_assert_eq!(breaker.would_admit(now), opened != Some(now));
        }
    }
}

#[test]
fn it_is_left_alone_for_ten_deadlines_of_a_second_at_least_and_fifteen_at_most() {
    for (deadline, seconds) in [(20, 1), (500, 5), (5_000, 15)] {
        assert_eq!(
            hook(deadline).breaker().open_for,
            Duration::from_secs(seconds),
            "{deadline}"
        );
    }
}

fn hook(deadline: u64) -> Webhook {
    let mut spec = spec();
    if let Some(hook) = &mut spec.webhook {
        hook.timeout = DurationText::millis(deadline);
    }
    made(spec).webhook.as_deref().unwrap().clone()
}
