#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a failed test panics

mod against_serde;

use super::*;

fn read(text: &str) -> Value {
    parse(text.as_bytes()).unwrap()
}

fn problem(text: &str) -> String {
    parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_number_is_written_as_it_was_read() {
    for text in [
        "0",
        "-0",
        "-0.0",
        "1.0",
        "1.10",
        "1e0",
        "1E+07",
        "1e400",
        "-1e-400",
        "0.7000000000000001",
        "18446744073709551616",
        "123456789012345678901234567890123456789012345678901234567890.5",
    ] {
        let value = read(text);
        assert_eq!(value.to_string(), text);
        assert_eq!(serde_json::to_string(&value).unwrap(), text, "inside a typed struct");
        assert_eq!(from_str::<Value>(text).unwrap(), value);
    }
}

#[test]
fn a_number_is_compared_by_what_it_says() {
    assert_eq!(read("1e400").as_f64(), Some(f64::INFINITY));
    assert_eq!(read("18446744073709551615").as_u64(), Some(u64::MAX));
    assert_eq!(read("18446744073709551616").as_u64(), None);
    assert_eq!(read("-5").as_i64(), Some(-5));
    assert_eq!((read("1.0").as_u64(), read("1e2").as_u64()), (None, None));
    assert_eq!(Value::from(f64::NAN), Value::Null);
    assert_eq!(json!(0.5).to_string(), "0.5");
}

#[test]
fn the_last_of_a_repeated_name_wins_at_the_place_of_the_first() {
    assert_eq!(read(r#"{"a":1,"b":2,"a":3}"#).to_string(), r#"{"a":3,"b":2}"#);
}

#[test]
fn an_object_of_many_members_is_found_its_way_in() {
    let members: Vec<String> = (0..100_000).map(|n| format!(r#""k{}":{n}"#, n % 60_000)).collect();
    let mut value = read(&format!("{{{}}}", members.join(",")));
    let map = value.as_object_mut().unwrap();
    assert_eq!(map.len(), 60_000);
    assert_eq!(map.get("k7").and_then(Value::as_u64), Some(60_007));
    assert_eq!(map.remove("k7").and_then(|value| value.as_u64()), Some(60_007));
    assert_eq!(map.get("k8").and_then(Value::as_u64), Some(60_008));
    map.retain(|name, _| name.len() < 3);
    assert_eq!(
        map.keys().collect::<Vec<_>>(),
        ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k8", "k9"]
    );
}

#[test]
fn two_halves_are_one_character_and_one_alone_is_a_replacement() {
    for (written, said) in [
        (r#""\ud83d\ude00""#, "\u{1f600}"),
        (r#""a\ud83db""#, "a\u{fffd}b"),
        (r#""\ude00""#, "\u{fffd}"),
        (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
        (r#""\ud83d\n""#, "\u{fffd}\n"),
        (r#""\u0000""#, "\0"),
    ] {
        assert_eq!(read(written).as_str(), Some(said), "{written}");
        assert_eq!(from_str::<String>(written).unwrap(), said, "{written}");
        assert_eq!(from_str::<Text>(written).unwrap(), *said, "{written}");
    }
    assert_eq!(read(r#"{"\ud83d":1}"#)["\u{fffd}"], json!(1), "in a name too");
}

#[test]
fn halves_at_the_edges_are_remembered_and_join() {
    let text = |written: &str| read(written).as_text().unwrap().clone();
    let edges = |written: &str| (text(written).low(), text(written).high());
    assert_eq!(edges(r#""a\ud83d""#), (None, Some(0xd83d)));
    assert_eq!(edges(r#""\ude00a""#), (Some(0xde00), None));
    assert_eq!(edges(r#""\ude00\ud83d""#), (Some(0xde00), Some(0xd83d)));
    assert_eq!(edges(r#""a\ude00\ud83db""#), (None, None));

    let mut whole = text(r#""a\ud83d""#);
    whole.append(text(r#""\ude00b\ud83d""#));
    whole.append(text(r#""""#));
    assert_eq!((whole.as_str(), whole.high()), ("a\u{1f600}b\u{fffd}", Some(0xd83d)));
    whole.append(text(r#""c""#));
    assert_eq!(whole.as_str(), "a\u{1f600}b\u{fffd}c");
}

#[test]
fn nesting_is_bounded_where_it_is_read_and_not_where_it_passes() {
    let nested = |depth: u32| "[".repeat(depth as usize) + &"]".repeat(depth as usize);
    assert!(parse(nested(DEPTH).as_bytes()).is_ok());
    assert_eq!(problem(&nested(DEPTH + 1)), "nested too deeply at line 1 column 128");
    let deep = nested(1_000_000);
    assert_eq!(from_str::<Raw<'_>>(&deep).unwrap().get(), deep);
    from_str::<serde::de::IgnoredAny>(&deep).unwrap();
    assert!(from_str::<Value>(&deep).is_err());
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for (text, says) in [
        ("", "EOF while parsing a value at line 1 column 1"),
        ("{\n \"a\": NaN}", "expected a value at line 2 column 7"),
        ("[1,]", "trailing comma at line 1 column 4"),
        ("{\"a\":1,}", "trailing comma at line 1 column 8"),
        ("[1 2]", "expected `,` or `]` at line 1 column 4"),
        ("{\"a\" 1}", "expected `:` at line 1 column 6"),
        ("{a:1}", "a name must be a string at line 1 column 2"),
        ("01", "invalid number at line 1 column 1"),
        ("\"\\x\"", "invalid escape at line 1 column 3"),
        ("\"\\ud8\"", "EOF while parsing a string at line 1 column 4"),
        ("\"a\u{1}\"", "control character in a string at line 1 column 3"),
        ("1 1", "trailing characters at line 1 column 3"),
        ("\u{feff}1", "expected a value at line 1 column 1"),
    ] {
        assert_eq!(problem(text), says, "{text:?}");
        let skipped = from_str::<Raw<'_>>(text).unwrap_err().to_string();
        assert_eq!(skipped, says, "unread: {text:?}");
    }
    assert_eq!(
        parse(b"\"a\xff\"").unwrap_err().to_string(),
        "invalid UTF-8 at line 1 column 3"
    );
}

#[test]
fn a_struct_says_what_it_expected_and_where() {
    #[derive(Debug, serde::Deserialize)]
    struct Place {
        #[allow(dead_code)]
        x: u32,
    }
    let error = |text: &str| from_str::<Place>(text).unwrap_err();
    let wrong = error(r#"{"x":"1"}"#);
    assert_eq!(
        wrong.to_string(),
        r#"invalid type: string "1", expected u32 at line 1 column 9"#
    );
    assert!(wrong.is_data() && error(r#"{"x":1,"x":2}"#).is_data() && !error(r#"{"x":1"#).is_data());
}

#[test]
fn the_macro_says_what_it_looks_like() {
    let (name, list) = ("n".to_owned(), vec![1, 2]);
    let value = json!({
        "null": null, "list": [1, null, [true], { "a": "b" }, 1 + 1],
        name.as_str(): list,
        "none": None::<String>,
        "nested": { "deep": { "er": -1 } },
        "end": "\"\u{1}\u{7f}é\u{1f600}",
    });
    assert_eq!(
        value.to_string(),
        r#"{"null":null,"list":[1,null,[true],{"a":"b"},2],"n":[1,2],"none":null,"nested":{"deep":{"er":-1}},"end":"\"\u0001é😀"}"#
            .replace("\\u0001", "\\u0001\u{7f}")
    );
    assert_eq!(
        (json!([]).to_string(), json!({}).to_string()),
        ("[]".to_owned(), "{}".to_owned())
    );
    assert_eq!(
        (&value["nested"]["deep"]["er"], &value["list"][3]["a"]),
        (&json!(-1), &json!("b"))
    );
    assert!(value["nothing"][0]["there"].is_null());
    assert_eq!(value.pointer("/list/3/a"), Some(&json!("b")));
}
