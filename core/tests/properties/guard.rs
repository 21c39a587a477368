//! A stream that is looked into piece by piece comes out as its whole text would, and holds no more back than it says.

use std::time::Instant;

use bowsprit_core::guard::{Detectors, Window};
use bowsprit_crds::guards::Kind;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::seeded::holds;

const ALL: [Kind; 7] = [
    Kind::PrivateKey,
    Kind::Jwt,
    Kind::Key,
    Kind::Email,
    Kind::Iban,
    Kind::Card,
    Kind::Phone,
];

/// Texts out of which finds are made, whole, cut and run together.
const PARTS: [&str; 44] = [
    "4111111111111111",
    "4111 1111",
    " 1111 1111",
    "4",
    "1",
    "-",
    " ",
    "  ",
    ".",
    ",",
    "@",
    "+",
    "_",
    "\\",
    "\\n",
    "\\u00e9",
    "\"",
    "{\"a\":",
    "}",
    "DE89370400440532013000",
    "DE89 3704 0044",
    " 0532 0130 00",
    "GB82",
    "ann",
    "ann@example.com",
    "@example",
    ".co.uk",
    "+49 170 1234567",
    "AKIA",
    "IOSFODNN7EXAMPLE",
    "sk-",
    "sk-ant-api03-abcdefgh12345678abcd",
    "eyJhbGciOiJIUzI1NiJ9",
    ".eyJzdWIiOiIxIn0.",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----END",
    " RSA PRIVATE KEY-----",
    "MIIEpAIBAAKCAQEA",
    "\n",
    "é",
    "機密",
    "Bluebird",
    "blue",
    "hello there ",
];

fn words() -> Vec<String> {
    ["bluebird", "機密", "blue", "é"].map(str::to_owned).to_vec()
}

/// The pieces of a text, cut after so many characters each, over and over.
fn pieces<'a>(text: &'a str, cuts: &[usize]) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    let (mut rest, mut cuts) = (text, cuts.iter().cycle());
    while !rest.is_empty() {
        let length = cuts.next().copied().unwrap_or(1).max(1);
        let end = rest.char_indices().nth(length).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[test]
fn a_stream_in_any_pieces_comes_out_as_the_whole_text_and_holds_no_more_than_it_says() {
    let text = vec(
        prop_oneof![4 => prop::sample::select(&PARTS[..]).prop_map(str::to_owned), 1 => "[ -~]{0,6}"],
        0..12,
    );
    let inputs = (text, vec(1..20_usize, 1..6), any::<bool>());
    holds("guard pieces", inputs, |(parts, cuts, is_json)| {
        let text = parts.concat();
        for (kinds, words) in [
            (&ALL[..], words()),
            (&ALL[3..4], Vec::new()),
            (&ALL[5..6], Vec::new()),
            (&[][..], words()),
        ] {
            let detectors = Detectors::new(kinds, &words);
            let whole = detectors.mask(&text, is_json);
            let (mut out, mut found) = (String::new(), 0);
            let mut window = Window::new(is_json);
            for piece in pieces(&text, &cuts) {
                found += window.push(&detectors, piece, &mut out);
                prop_assert!(
                    window.held() <= detectors.hold(),
                    "{} of {}",
                    window.held(),
                    detectors.hold()
                );
            }
            found += window.finish(&detectors, &mut out);
            let (expected, count) = whole.unwrap_or_else(|| (text.clone(), 0));
            prop_assert_eq!(&out, &expected, "{:?}", &text);
            prop_assert_eq!(found, count);
        }
        Ok(())
    });
}

/// What people write, with nothing in it to find.
const PROSE: &str = "The quick brown fox jumps over the lazy dog, and on 2026-11-29 at 12:30 it had 1,234 more to go. ";

#[test]
fn a_text_is_gone_over_in_little_time() {
    let text = PROSE.repeat(1 << 10);
    for (name, kinds) in [
        ("all kinds", &ALL[..]),
        ("cards alone", &ALL[5..6]),
        ("keys alone", &ALL[..3]),
    ] {
        let detectors = Detectors::new(kinds, &[]);
        let begun = Instant::now();
        assert_eq!(
            std::hint::black_box(detectors.mask(std::hint::black_box(&text), false)),
            None
        );
        let took = begun.elapsed();
        let rate = text.len() as f64 / took.as_secs_f64() / f64::from(1 << 20);
        println!(
            "{name}: {rate:.0} MiB/s of prose, holds at most {} bytes",
            detectors.hold()
        );
    }
    // What a stream of tokens is held back by, on the average.
    for (name, kinds) in [
        ("all kinds", &ALL[..]),
        ("all but e-mail", &[ALL[0], ALL[1], ALL[2], ALL[4], ALL[5], ALL[6]]),
    ] {
        let detectors = Detectors::new(kinds, &[]);
        let (mut window, mut out, mut late, mut most) = (Window::new(false), String::new(), 0, 0);
        let tokens = pieces(PROSE, &[5, 4, 6]);
        for token in &tokens {
            window.push(&detectors, token, &mut out);
            late += usize::from(window.held() > 0);
            most = most.max(window.held());
        }
        println!(
            "{name}: {late} of {} tokens wait for the next one, with at most {most} bytes",
            tokens.len()
        );
    }
}
