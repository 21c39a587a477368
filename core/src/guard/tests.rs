#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a failed test panics

use std::sync::Arc;

use bowsprit_crds::access::Enforcement;
use bowsprit_crds::guards::{Action, Guard as Spec, Kind, Side, Unread};

use super::*;
use crate::dialect::ErrorView;
use crate::fault::Code;
use crate::json::{self, Value};

const ALL: [Kind; 7] = [
    Kind::PrivateKey,
    Kind::Jwt,
    Kind::Key,
    Kind::Email,
    Kind::Iban,
    Kind::Card,
    Kind::Phone,
];

/// What a caller is told of a refusal in mid-stream.
pub(in crate::guard) const REFUSED: ErrorView<'_> = ErrorView {
    code: Code::BizGuardRefused,
    message: "no",
    status: None,
    exact: None,
    param: None,
    request_id: "r",
    retry_after: None,
};

/// All texts under a name in the events of a stream, in order.
pub(super) fn texts(body: &str, name: &str) -> String {
    let mut all = String::new();
    for line in body.lines().filter_map(|line| line.strip_prefix("data: ")) {
        if let Ok(value) = json::parse(line.as_bytes()) {
            walk(&value, name, &mut all);
        }
    }
    all
}

/// The same of one document.
pub(super) fn walk(value: &Value, name: &str, all: &mut String) {
    for (key, value) in value.as_object().into_iter().flatten() {
        match value.as_str() {
            Some(text) if key == name => all.push_str(text),
            _ => walk(value, name, all),
        }
    }
    for value in value.as_array().into_iter().flatten() {
        walk(value, name, all);
    }
}

fn masked(text: &str) -> String {
    let masked = Detectors::new(&ALL, &[]).mask(text, false);
    masked.map_or_else(|| text.to_owned(), |(masked, _)| masked)
}

fn spec(name: &str) -> Spec {
    Spec {
        name: name.into(),
        apply_to: vec![Side::Request],
        detect: ALL.to_vec(),
        words: Vec::new(),
        webhook: None,
        action: Action::Mask,
        enforcement: Enforcement::Enforce,
        unread: Unread::Refuse,
    }
}

fn guards(specs: &[Spec]) -> Vec<Arc<Guard>> {
    Guard::all_of("ModelRoute fast", specs).unwrap()
}

fn look(specs: &[Spec], body: &str) -> (String, Vec<u32>) {
    let guards = guards(specs);
    let guards: Vec<&Guard> = guards.iter().map(|guard| &**guard).collect();
    let looked = Guard::look(&guards, Side::Request, body.as_bytes()).unwrap();
    let body = looked
        .body
        .map_or_else(|| body.to_owned(), |body| String::from_utf8(body.into()).unwrap());
    (body, looked.found)
}

#[test]
fn what_is_one_is_masked_wherever_it_stands() {
    for (text, is) in [
        ("pay 4111111111111111 now", "pay [CARD] now"),
        ("pay 4111 1111 1111 1111, exp 12/26", "pay [CARD], exp 12/26"),
        ("4111-1111-1111-1111", "[CARD]"),
        ("4111 1111 1111 1111 12/26", "[CARD] 12/26"),
        ("12 4111 1111 1111 1111", "12 [CARD]"),
        ("amex 378282246310005.", "amex [CARD]."),
        ("é4111111111111111é", "é[CARD]é"),
        (
            r#"{"a":"b\n4111111111111111\u00a04111111111111111"}"#,
            r#"{"a":"b\n[CARD]\u00a0[CARD]"}"#,
        ),
        ("to DE89370400440532013000", "to [IBAN]"),
        ("to GB82 WEST 1234 5698 7654 32 please", "to [IBAN] please"),
        ("iban:gb82west12345698765432", "iban:[IBAN]"),
        ("ask ann.lee+x@mail.example.co.uk.", "ask [EMAIL]."),
        (
            "1.4111111111111111\n2.4111 1111 1111 1111\n10.4111111111111111",
            "1.[CARD]\n2.[CARD]\n10.[CARD]",
        ),
        ("<ann@example.com>, bob@example.org", "<[EMAIL]>, [EMAIL]"),
        ("call +49 (170) 123-45 67 or", "call [PHONE] or"),
        ("+14155552671", "[PHONE]"),
        ("key AKIAIOSFODNN7EXAMPLE.", "key [KEY]."),
        ("sk-ant-api03-AAAAAAAAAAAAAAAAAAAAAAAA-BB_c x", "[KEY] x"),
        (
            "OPENAI_API_KEY=sk-abcdefghijklmnopqrst1234567890",
            "OPENAI_API_KEY=[KEY]",
        ),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[KEY]"),
        ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "[KEY]"),
        (
            "AccountKey=abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH+/==;End",
            "[KEY];End",
        ),
        ("Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_ x", "Bearer [JWT] x"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc+/=\n-----END RSA PRIVATE KEY-----\nbye",
            "[PRIVATE_KEY]\nbye",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "[PRIVATE_KEY]"),
    ] {
        assert_eq!(masked(text), is, "{text}");
    }
}

#[test]
fn what_only_looks_like_one_is_left_alone() {
    for text in [
        "4111111111111112",
        "41111111111111111111111",
        "9111111111111111",
        "0.4111111111111111",
        "[0.4111111111111111,-0.4111111111111111]",
        "1.4111111111111112",
        "a4111111111111111",
        "4111111111111111b",
        "2026-11-29 12:00:00",
        "DE89370400440532013001",
        "US89370400440532013000",
        "DE8937040044053201300",
        "a@b",
        "a@b.c",
        "a@b.1c",
        "git@host:repo",
        "@ann, v1.2@3.4",
        "+1 415",
        "1+23456789012345678",
        "AKIAIOSFODNN7EXAMPL",
        "AKIAIOSFODNN7EXAMPLES",
        "sk-learn-is-a-library-for-machines",
        "risk-abcdefghijklmnopqrst1234567890",
        "eyJhbGciOiJIUzI1NiJ9 alone",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "",
    ] {
        assert_eq!(masked(text), text, "{text}");
    }
}

#[test]
fn a_listed_word_is_found_whole_and_in_any_case() {
    let words = [
        "Bluebird".to_owned(),
        "Ærø".to_owned(),
        "機密".to_owned(),
        "blue".to_owned(),
    ];
    let detectors = Detectors::new(&[], &words);
    let masked = |text: &str| detectors.mask(text, false);
    assert_eq!(
        masked("BLUEBIRD, bluebirds and a blue ÆRØ; これは機密です"),
        Some((
            "[REDACTED], bluebirds and a [REDACTED] [REDACTED]; これは[REDACTED]です".into(),
            4
        ))
    );
    assert_eq!(masked("bluebirds"), None);
    assert_eq!(masked("ablue"), None);
}

#[test]
fn in_the_text_of_a_document_escapes_stay_whole_and_a_bare_number_becomes_a_text() {
    let detectors = Detectors::new(&ALL, &[]);
    let masked = |text: &str| detectors.mask(text, true).map(|(masked, _)| masked);
    for (text, is) in [
        (
            r#"{"to":"\nann@example.com\tx","card":4111111111111111"#,
            r#"{"to":"\n[EMAIL]\tx","card":"[CARD]""#,
        ),
        (r#""\\ann@example.com"#, r#""\\[EMAIL]"#),
        (r#""\u00e94111111111111111"#, r#""\u00e9[CARD]"#),
        (
            r#""-----BEGIN PRIVATE KEY-----\nAB\n-----END PRIVATE KEY-----\n","x":1"#,
            r#""[PRIVATE_KEY]\n","x":1"#,
        ),
        (r#""-----BEGIN PRIVATE KEY-----\nAB","x":1"#, r#""[PRIVATE_KEY]","x":1"#),
    ] {
        assert_eq!(masked(text).as_deref(), Some(is), "{text}");
    }
}

#[test]
fn a_body_in_which_nothing_is_found_stays_as_it_is() {
    let body = r#"{ "model":"m", "messages":[ {"role":"user","content":"h\u0069"} ], "n":1.0 }"#;
    let guards = guards(&[spec("pii")]);
    let looked = Guard::look(&[&guards[0]], Side::Request, body.as_bytes()).unwrap();
    assert_eq!((looked.body, looked.found), (None, vec![0]));
}

#[test]
fn in_each_dialect_what_is_said_is_looked_into_and_nothing_else_is_touched() {
    const CARD: &str = "4111111111111111";
    for (body, is) in [
        // Chat completions.
        (
            r#"{"model":"CARD","messages":[{"role":"system","content":"CARD"},{"role":"user","name":"CARD","content":[{"type":"text","text":"a \"CARD\" \u00e9"},{"type":"image_url","image_url":{"url":"https://x/CARD"}}]},{"role":"assistant","content":null,"tool_calls":[{"id":"CARD","type":"function","function":{"name":"pay","arguments":"{\"card\": CARD, \"to\":[\"CARD\"]}"}}]},{"role":"tool","tool_call_id":"CARD","content":"CARD"}],"metadata":{"a":"CARD"},"tools":[{"type":"function","function":{"name":"pay","description":"CARD"}}]}"#,
            r#"{"model":"CARD","messages":[{"role":"system","content":"[CARD]"},{"role":"user","name":"CARD","content":[{"type":"text","text":"a \"[CARD]\" é"},{"type":"image_url","image_url":{"url":"https://x/CARD"}}]},{"role":"assistant","content":null,"tool_calls":[{"id":"CARD","type":"function","function":{"name":"pay","arguments":"{\"card\": \"[CARD]\", \"to\":[\"[CARD]\"]}"}}]},{"role":"tool","tool_call_id":"CARD","content":"[CARD]"}],"metadata":{"a":"CARD"},"tools":[{"type":"function","function":{"name":"pay","description":"CARD"}}]}"#,
        ),
        // Responses.
        (
            r#"{"instructions":"CARD","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"CARD"}]},{"type":"function_call","call_id":"CARD","name":"p","arguments":"{\"a\":\"CARD"},{"type":"function_call_output","call_id":"CARD","output":"CARD"},{"type":"reasoning","encrypted_content":"CARD","summary":[{"type":"summary_text","text":"CARD"}]}]}"#,
            r#"{"instructions":"[CARD]","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"[CARD]"}]},{"type":"function_call","call_id":"CARD","name":"p","arguments":"{\"a\":\"[CARD]"},{"type":"function_call_output","call_id":"CARD","output":"[CARD]"},{"type":"reasoning","encrypted_content":"CARD","summary":[{"type":"summary_text","text":"[CARD]"}]}]}"#,
        ),
        (r#"{"input":"CARD","model":"m"}"#, r#"{"input":"[CARD]","model":"m"}"#),
        // Messages.
        (
            r#"{"system":[{"type":"text","text":"CARD","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"CARD","signature":"CARD"},{"type":"tool_use","id":"CARD","name":"p","input":{"id":"CARD","n":CARD,"m":[1,true,null]}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"CARD","content":[{"type":"text","text":"CARD"}]},{"type":"document","source":{"data":"CARD","type":"text","media_type":"text/plain"}},{"type":"image","source":{"type":"base64","data":"CARD"}}]}]}"#,
            r#"{"system":[{"type":"text","text":"[CARD]","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"CARD","signature":"CARD"},{"type":"tool_use","id":"CARD","name":"p","input":{"id":"[CARD]","n":"[CARD]","m":[1,true,null]}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"CARD","content":[{"type":"text","text":"[CARD]"}]},{"type":"document","source":{"data":"[CARD]","type":"text","media_type":"text/plain"}},{"type":"image","source":{"type":"base64","data":"CARD"}}]}]}"#,
        ),
        // Gemini.
        (
            r#"{"systemInstruction":{"parts":[{"text":"CARD"}]},"contents":[{"role":"user","parts":[{"text":"CARD"},{"inlineData":{"mimeType":"image/png","data":"CARD"}}]},{"role":"model","parts":[{"functionCall":{"name":"p","args":{"url":"CARD","n":CARD}},"thoughtSignature":"CARD"}]},{"role":"user","parts":[{"functionResponse":{"name":"p","response":{"name":"CARD"}}}]}]}"#,
            r#"{"systemInstruction":{"parts":[{"text":"[CARD]"}]},"contents":[{"role":"user","parts":[{"text":"[CARD]"},{"inlineData":{"mimeType":"image/png","data":"CARD"}}]},{"role":"model","parts":[{"functionCall":{"name":"p","args":{"url":"[CARD]","n":"[CARD]"}},"thoughtSignature":"CARD"}]},{"role":"user","parts":[{"functionResponse":{"name":"p","response":{"name":"[CARD]"}}}]}]}"#,
        ),
        (
            r#"{"requests":[{"model":"CARD","content":{"parts":[{"text":"CARD"}]}}]}"#,
            r#"{"requests":[{"model":"CARD","content":{"parts":[{"text":"[CARD]"}]}}]}"#,
        ),
    ] {
        // A card in place of the word, but not of the mask.
        let card = |text: &str| {
            text.replace("[CARD]", "[X]")
                .replace("CARD", CARD)
                .replace("[X]", "[CARD]")
        };
        let (masked, found) = look(&[spec("pii")], &card(body));
        assert_eq!(masked, card(is));
        assert!(found[0] > 0);
        let (again, found) = look(&[spec("pii")], &masked);
        assert_eq!((again, found), (masked, vec![0]), "what is masked stays as it is");
    }
}

#[test]
fn below_a_name_in_other_letters_is_looked_at_all_that_a_server_may_take_for_said() {
    for body in [
        r#"{"messages":[{"Content":[{"Type":"text","Text":"4111111111111111"}]}]}"#,
        r#"{"messages":[{"content":[{"input":{"id":"4111111111111111"}}]}]}"#,
        r#"{"messages":[{"content":[{"Input":{"id":"4111111111111111"}}]}]}"#,
        r#"{"contents":[{"parts":[{"functionCall":{"Args":{"data":4111111111111111}}}]}]}"#,
        r#"{"messages":[{"tool_calls":[{"function":{"Arguments":"{\"id\":\"4111111111111111\"}"}}]}]}"#,
        r#"{"messages":[{"content":[{"Source":{"type":"text","data":"4111111111111111"}}]}]}"#,
        r#"{"messages":[{"content":[{"source":{"Type":"text","data":"4111111111111111"}}]}]}"#,
    ] {
        let (masked, found) = look(&[spec("all")], body);
        assert!(!masked.contains("4111"), "{masked}");
        assert_eq!(found, [1], "{body}");
    }
}

#[test]
fn only_a_guard_that_masks_in_force_changes_anything_and_each_counts() {
    let with = |name: &str, action, enforcement| Spec {
        action,
        enforcement,
        ..spec(name)
    };
    let body = r#"{"messages":[{"content":"4111111111111111 and 4111111111111111"}]}"#;
    let quiet = [
        with("a", Action::Mask, Enforcement::Shadow),
        with("b", Action::Refuse, Enforcement::Enforce),
        with("c", Action::Observe, Enforcement::Enforce),
    ];
    assert_eq!(look(&quiet, body), (body.to_owned(), vec![2, 2, 2]));
    let decided: Vec<Decided> = guards(&quiet).iter().map(|guard| guard.decided).collect();
    assert_eq!(decided, [Decided::WouldMask, Decided::Refused, Decided::Observed]);
    let loud = [
        with("a", Action::Mask, Enforcement::Enforce),
        with("b", Action::Observe, Enforcement::Enforce),
    ];
    let (masked, found) = look(&loud, body);
    assert_eq!(masked, r#"{"messages":[{"content":"[CARD] and [CARD]"}]}"#);
    assert_eq!(found, [2, 0], "the second sees what the first has left");
}

/// What is wrong with a guard.
type Change = dyn Fn(&mut Spec);

#[test]
fn a_guard_that_cannot_be_is_refused_with_its_place_and_a_way_out() {
    let refused = |change: &dyn Fn(&mut Spec)| {
        let mut one = spec("pii");
        change(&mut one);
        Guard::all_of("ModelRoute fast", &[spec("first"), one])
            .unwrap_err()
            .to_string()
    };
    let cases: [(&Change, &str); 7] = [
        (
            &|guard| guard.name = "No Cards".into(),
            "ModelRoute fast: spec.guards[1].name: is \"No Cards\"",
        ),
        (
            &|guard| guard.name = "first".into(),
            "spec.guards[1].name: is first, as another guard's",
        ),
        (&|guard| guard.apply_to.clear(), "spec.guards[1].applyTo: is empty"),
        (
            &|guard| guard.detect.clear(),
            "spec.guards[1].detect: is empty, and there are no words",
        ),
        (
            &|guard| guard.words = vec!["x".into()],
            "spec.guards[1].words[0]: is shorter",
        ),
        (
            &|guard| guard.words = vec!["ok".into(), "a\"b".into()],
            "spec.guards[1].words[1]: has a quote",
        ),
        (
            &|guard| guard.words = vec!["ab".into(); MOST_WORDS + 1],
            "spec.guards[1].words: has 201 words",
        ),
    ];
    for (change, told) in cases {
        let problem = refused(change);
        assert!(problem.contains(told), "{problem}");
    }
    let many: Vec<Spec> = (0..=MOST_GUARDS).map(|number| spec(&format!("g{number}"))).collect();
    let problem = Guard::all_of("ModelRoute fast", &many).unwrap_err().to_string();
    assert!(problem.contains("has 11 guards"), "{problem}");
}

#[test]
fn inputs_of_embeddings_that_are_tokens_are_known_from_texts() {
    for (body, has) in [
        (r#"{"model": "m", "input": [[15339, 1917], [7]]}"#, true),
        (r#"{"input": [15339, 1917]}"#, true),
        (r#"{"input": ["a", [7]]}"#, true),
        (r#"{"input": "1 2 3", "dimensions": 256}"#, false),
        (r#"{"input": ["one", "2"]}"#, false),
        (r#"{"input": []}"#, false),
        (r#"{"input": {"text": 7}}"#, false),
        ("[7]", false),
        ("no JSON", false),
    ] {
        assert_eq!(Guard::has_tokens(body.as_bytes()), has, "{body}");
    }
}
