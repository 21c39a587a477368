//! The same documents, read by serde_json: what it takes is taken and means the same, what it refuses is refused, but for
//! what this module is there to take.

use proptest::prelude::*;
use serde_json::Value as Theirs;

use super::super::{Number, Raw, Value, from_slice, parse};

/// Documents that are JSON, mostly.
fn documents() -> impl Strategy<Value = String> {
    let string = proptest::collection::vec(
        prop_oneof![
            "[ -~]".prop_map(|c| if c == "\"" || c == "\\" { "x".to_owned() } else { c }),
            proptest::char::any().prop_map(|c| if c < ' ' || c == '"' || c == '\\' {
                "y".to_owned()
            } else {
                c.to_string()
            }),
            prop_oneof![
                Just("\\n"),
                Just("\\\""),
                Just("\\\\"),
                Just("\\/"),
                Just("\\u00e9"),
                Just("\\u0000"),
                Just("\\ud83d\\ude00")
            ]
            .prop_map(str::to_owned),
        ],
        0..24,
    )
    .prop_map(|pieces| format!("\"{}\"", pieces.concat()));
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,17})",
        "-?(0|[1-9][0-9]{0,5})\\.[0-9]{1,8}([eE][+-]?[0-9]{1,2})?",
        string.clone(),
    ];
    let space = "[ \n\t\r]{0,2}";
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            (proptest::collection::vec(inner.clone(), 0..6), space)
                .prop_map(|(list, space)| format!("[{space}{}{space}]", list.join(&format!("{space},")))),
            (proptest::collection::vec((string.clone(), inner), 0..6), space).prop_map(|(members, space)| {
                let members: Vec<String> = members
                    .iter()
                    .map(|(name, value)| format!("{name}{space}:{value}"))
                    .collect();
                format!("{{{}{space}}}", members.join(&format!(",{space}")))
            }),
        ]
    })
}

/// As many values in the same order, numbers apart, which are compared as floats.
fn same(ours: &Value, theirs: &Theirs) -> bool {
    match (ours, theirs) {
        (Value::Null, Theirs::Null) => true,
        (Value::Bool(ours), Theirs::Bool(theirs)) => ours == theirs,
        (Value::Number(ours), Theirs::Number(theirs)) => {
            let (near, by) = (ours.as_f64().unwrap_or_default(), theirs.as_f64().unwrap_or_default());
            (near - by).abs() <= near.abs() * 1e-15
                && (ours.as_u64(), ours.as_str() == "-0" || ours.as_i64() == theirs.as_i64()) == (theirs.as_u64(), true)
        }
        (Value::String(ours), Theirs::String(theirs)) => ours.as_str() == theirs,
        (Value::Array(ours), Theirs::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Value::Object(ours), Theirs::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours
                    .iter()
                    .zip(theirs)
                    .all(|(ours, theirs)| ours.0 == theirs.0 && same(ours.1, theirs.1))
        }
        _ => false,
    }
}

/// What serde_json refuses and this takes, by its own words.
fn is_ours_to_take(refusal: &serde_json::Error) -> bool {
    let words = refusal.to_string();
    ["surrogate", "number out of range", "unexpected end of hex escape"]
        .iter()
        .any(|known| words.contains(known))
}

fn agree(text: &[u8]) -> Result<(), TestCaseError> {
    let ours = parse(text);
    prop_assert_eq!(from_slice::<Raw<'_>>(text).is_ok(), ours.is_ok(), "unread as read");
    match (serde_json::from_slice::<Theirs>(text), ours) {
        (Ok(theirs), Ok(ours)) => {
            prop_assert!(same(&ours, &theirs), "{} is {}", ours, theirs);
            prop_assert_eq!(parse(&ours.to_vec()), Ok(ours.clone()), "what is written is read");
            let again: Theirs =
                serde_json::from_slice(&ours.to_vec()).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(again, theirs);
            let typed: Value = from_slice(text).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(typed, ours);
        }
        (Err(theirs), Err(_)) => prop_assert!(!theirs.is_io()),
        (Err(theirs), Ok(ours)) => prop_assert!(is_ours_to_take(&theirs), "{} is taken as {}", theirs, ours),
        (Ok(theirs), Err(ours)) => return Err(TestCaseError::fail(format!("{theirs} is refused: {ours}"))),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_serde_json_reads_is_read_alike(document in documents()) {
        agree(document.as_bytes())?;
    }

    #[test]
    fn what_serde_json_refuses_is_refused(document in documents(), at in any::<prop::sample::Index>(), with in "[\\[\\]{}\",:\\\\0-9eE+.u\u{1}nN -]{0,2}", cut in 0usize..3) {
        let mut bytes = document.into_bytes();
        let from = at.index(bytes.len() + 1);
        let to = (from + cut).min(bytes.len());
        bytes.splice(from..to, with.bytes());
        agree(&bytes)?;
    }

    #[test]
    fn any_bytes_are_judged_alike(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(br#"[]{}",:\u0dDe.-n t"#.to_vec())], 0..24)) {
        agree(&bytes)?;
    }

    #[test]
    fn a_float_is_written_as_serde_json_writes_it(value in any::<f64>()) {
        let theirs = serde_json::Number::from_f64(value).map(|number| number.to_string());
        prop_assert_eq!(Number::from_f64(value).map(|number| number.to_string()), theirs);
    }
}
