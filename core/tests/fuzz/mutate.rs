//! Inputs that are almost right: bytes that begin as a file of the corpus and are then spoilt a few times, where the form
//! allows it inside the structure, so that they get past the first check.

use bowsprit_crds::yaml;
use fastrand::Rng;
use serde_json::{Map, Number, Value};

/// Largest input, in bytes: larger ones take time and find nothing new.
const LARGEST: usize = 32 * 1024;
/// Spoilings of one input at most.
const SPOILINGS: usize = 6;

/// What the files of a corpus are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    /// Server-sent events with JSON in them.
    Events,
    /// One or more documents.
    Yaml,
}

/// A spoilt file of the corpus.
pub(crate) fn mutated(form: Form, corpus: &[&[u8]], rng: &mut Rng) -> Vec<u8> {
    let mut input = corpus[rng.usize(..corpus.len())].to_vec();
    for _ in 0..rng.usize(1..=SPOILINGS) {
        // Now and then without regard to the form, and always where it is spoilt already.
        let structured = rng.u8(..) >= 40;
        let next = match form {
            Form::Json if structured => json(&input, corpus, rng),
            Form::Events if structured => events(&input, corpus, rng),
            Form::Yaml if structured => documents(&input, corpus, rng),
            _ => None,
        };
        input = next.unwrap_or_else(|| bytes(input, corpus, rng));
        input.truncate(LARGEST);
    }
    input
}

/// Pieces of text that parsers stumble over.
const ODD: [&[u8]; 26] = [
    b"\0",
    b"\r",
    b"\n\n",
    b"\r\n\r\n",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xc3",
    b"\xe2\x9a\x93",
    b"\xf0\x9f\xa6\x80",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"\\ud800",
    b"\\u0000",
    b"null",
    b"-0",
    b"1e999",
    b"99999999999999999999",
    b"data:",
    b"data: [DONE]\n\n",
    b"event:",
    b": ",
    b"*",
];

fn bytes(mut input: Vec<u8>, corpus: &[&[u8]], rng: &mut Rng) -> Vec<u8> {
    let at = rng.usize(..=input.len());
    let end = (at + rng.usize(..=1 + input.len() / 8)).min(input.len());
    match rng.u8(..8) {
        0 => drop(input.drain(at..end)),
        1 => drop(input.splice(at..at, ODD[rng.usize(..ODD.len())].iter().copied())),
        2 => drop(input.splice(at..end, ODD[rng.usize(..ODD.len())].iter().copied())),
        3 => input.truncate(at),
        4 => {
            let again = input[at..end].to_vec();
            drop(input.splice(at..at, again));
        }
        5 => {
            let other = corpus[rng.usize(..corpus.len())];
            let from = rng.usize(..=other.len());
            let to = (from + rng.usize(..=64)).min(other.len());
            drop(input.splice(at..end.min(at + 64), other[from..to].iter().copied()));
        }
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte = if rng.bool() {
                    *byte ^ (1 << rng.u8(..8))
                } else {
                    rng.u8(..)
                };
            }
        }
    }
    input
}

fn json(input: &[u8], corpus: &[&[u8]], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(input).ok()?;
    let donor = serde_json::from_slice(corpus[rng.usize(..corpus.len())]).unwrap_or(Value::Null);
    spoil(&mut value, &donor, rng);
    serde_json::to_vec(&value).ok()
}

fn documents(input: &[u8], corpus: &[&[u8]], rng: &mut Rng) -> Option<Vec<u8>> {
    let read = |bytes: &[u8]| {
        yaml::documents(std::str::from_utf8(bytes).ok()?)
            .ok()
            .filter(|all| !all.is_empty())
    };
    let mut all = read(input)?;
    let donors = read(corpus[rng.usize(..corpus.len())]).unwrap_or_default();
    let donor = rng.choice(donors).unwrap_or(Value::Null);
    let at = rng.usize(..all.len());
    match rng.u8(..8) {
        0 => all.push(donor),
        1 => drop(all.remove(at)),
        _ => spoil(&mut all[at], &donor, rng),
    }
    // JSON is YAML.
    let text: Vec<_> = all.iter().map(Value::to_string).collect();
    Some(text.join("\n---\n").into_bytes())
}

/// Events in another order, doubled, left out, or with other JSON inside.
fn events(input: &[u8], corpus: &[&[u8]], rng: &mut Rng) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(input).ok()?;
    let end = if text.contains("\r\n\r\n") { "\r\n\r\n" } else { "\n\n" };
    let mut all: Vec<String> = text.split_inclusive(end).map(str::to_owned).collect();
    if all.is_empty() {
        return None;
    }
    let (at, other) = (rng.usize(..all.len()), rng.usize(..all.len()));
    match rng.u8(..8) {
        0 => drop((all.len() > 1).then(|| all.remove(at))),
        1 => all.insert(at, all.get(other)?.clone()),
        2 => all.swap(at, other),
        3 => {
            let donor = String::from_utf8_lossy(corpus[rng.usize(..corpus.len())]).into_owned();
            let donors: Vec<_> = donor.split_inclusive("\n\n").collect();
            all.insert(at, rng.choice(donors)?.to_owned());
        }
        _ => {
            let event = all.get(at)?.clone();
            let (head, data) = event.split_once("data:")?;
            let (line, rest) = data.split_at(data.find(['\r', '\n']).unwrap_or(data.len()));
            let mut value: Value = serde_json::from_str(line.trim()).ok()?;
            let donor = value.clone();
            spoil(&mut value, &donor, rng);
            all[at] = format!("{head}data: {value}{rest}");
        }
    }
    Some(all.concat().into_bytes())
}

/// Spoils one place of a value, any depth alike.
fn spoil(value: &mut Value, donor: &Value, rng: &mut Rng) {
    let at = rng.usize(..places(value));
    let gift = nth(donor, rng.usize(..places(donor))).clone();
    let place = nth_mut(value, at);
    match (rng.u8(..10), place) {
        (0, Value::Object(fields)) if !fields.is_empty() => {
            let name = name(fields, rng);
            fields.remove(&name);
        }
        (1, Value::Object(fields)) if !fields.is_empty() => {
            let name = name(fields, rng);
            let taken = fields.remove(&name).unwrap_or_default();
            fields.insert(odd_text(rng), taken);
        }
        (0, Value::Array(items)) if !items.is_empty() => drop(items.remove(rng.usize(..items.len()))),
        (1, Value::Array(items)) if !items.is_empty() => items.push(items[rng.usize(..items.len())].clone()),
        (2, Value::Array(items)) if items.len() > 1 => rng.shuffle(items),
        (3, Value::Array(items)) => items.push(gift),
        (2..=4, place) => *place = gift,
        (5, place) => {
            for _ in 0..rng.usize(1..120) {
                let inner = place.take();
                *place = if rng.bool() {
                    Value::Array(vec![inner])
                } else {
                    Value::Object(Map::from_iter([("a".to_owned(), inner)]))
                };
            }
        }
        (_, place) => *place = odd_value(rng),
    }
}

fn name(fields: &Map<String, Value>, rng: &mut Rng) -> String {
    fields
        .keys()
        .nth(rng.usize(..fields.len()))
        .cloned()
        .unwrap_or_default()
}

fn odd_value(rng: &mut Rng) -> Value {
    match rng.u8(..12) {
        0 => Value::Null,
        1 => Value::Bool(rng.bool()),
        2 => Value::from(rng.i64(..)),
        3 => Value::from(u64::MAX),
        4 => Value::from(-1),
        5 => Value::from(0),
        6 => Number::from_f64([1e308, -0.0, 0.5, 1e-308, 4_294_967_296.5][rng.usize(..5)])
            .map_or(Value::Null, Value::Number),
        7 => Value::Array(Vec::new()),
        8 => Value::Object(Map::new()),
        9 => Value::Array(vec![Value::String(odd_text(rng)), Value::Null]),
        _ => Value::String(odd_text(rng)),
    }
}

fn odd_text(rng: &mut Rng) -> String {
    const TEXTS: [&str; 22] = [
        "",
        " ",
        "\0",
        "\u{feff}",
        "\u{2028}",
        "⚓",
        "é",
        "data: x\n\n",
        "\r\n",
        "..",
        "../..",
        "a/b?c#d",
        "%2e%2e",
        "{\"a\":",
        "{}",
        "[]",
        "null",
        "-1",
        "18446744073709551616",
        "data:image/png;base64,iVBORw0KGgo=",
        "https://[::1",
        "*",
    ];
    match rng.u8(..6) {
        0 => (0..rng.usize(..40)).map(|_| rng.char(..)).collect(),
        1 => "x".repeat(rng.usize(..2_000)),
        _ => TEXTS[rng.usize(..TEXTS.len())].to_owned(),
    }
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        _ => Box::new(std::iter::empty()),
    }
}

/// The value and all below it.
fn places(value: &Value) -> usize {
    1 + children(value).map(places).sum::<usize>()
}

fn nth(value: &Value, mut at: usize) -> &Value {
    if at == 0 {
        return value;
    }
    at -= 1;
    for child in children(value) {
        let below = places(child);
        if at < below {
            return nth(child, at);
        }
        at -= below;
    }
    value
}

fn nth_mut(value: &mut Value, mut at: usize) -> &mut Value {
    if at == 0 {
        return value;
    }
    at -= 1;
    let index = children(value).map(places).position(|below| {
        let here = at < below;
        at -= if here { 0 } else { below };
        here
    });
    let index = index.expect("a place within the value");
    match value {
        Value::Array(items) => nth_mut(&mut items[index], at),
        Value::Object(fields) => nth_mut(fields.values_mut().nth(index).expect("counted"), at),
        _ => unreachable!("only arrays and objects have children"),
    }
}
