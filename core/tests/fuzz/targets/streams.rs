//! Providers' streams, for every caller and in any pieces: whole, or an error, and never one that passes for the other.

use bowsprit_core::dialect::{Dialect, Pushed, Stream, StreamError, Usage};
use bytes::{Bytes, BytesMut};

use super::{chance, context, pairs, pieces as cut};

/// What came of a stream.
#[derive(Debug, PartialEq)]
struct Ran {
    end: Result<(), StreamError>,
    out: Vec<u8>,
    usage: Option<Usage>,
}

fn run<'a>(provider: Dialect, caller: Dialect, hide: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Ran {
    let mut stream = Stream::new(provider, caller, context(), hide);
    let mut all = Vec::new();
    let mut end = Ok(());
    for piece in pieces {
        let chunk = Bytes::copy_from_slice(piece);
        let mut out = BytesMut::new();
        let pushed = stream.push(&chunk, &mut out);
        match pushed {
            Ok(Pushed::Same) => {
                assert!(out.is_empty(), "the chunk itself, and more");
                all.extend_from_slice(&chunk);
            }
            Ok(Pushed::Rewritten) => all.extend_from_slice(&out),
            Err(error) => {
                all.extend_from_slice(&out);
                end = Err(error);
                break;
            }
        }
    }
    if end.is_ok() {
        let mut out = BytesMut::new();
        end = stream.finish(&mut out);
        all.extend_from_slice(&out);
    }
    // An array gets the bracket that it lacks.
    assert!(
        end.is_err() || stream.whole() || provider == Dialect::Gemini,
        "an end of what is not whole"
    );
    Ran {
        end,
        out: all,
        usage: stream.usage(),
    }
}

pub(crate) fn pieces(input: &[u8]) {
    let mut rng = chance(input);
    for (provider, caller) in pairs() {
        for hide in [false, true] {
            let whole = run(provider, caller, hide, [input]);
            let cut = run(provider, caller, hide, cut(input, &mut rng));
            let name = format!("{provider} to {caller}, hide {hide}");
            assert_eq!(
                cut.end.is_ok(),
                whole.end.is_ok(),
                "{name}: other pieces, another end: {:?}, {:?}",
                cut.end,
                whole.end
            );
            if whole.end.is_ok() {
                assert!(cut.out == whole.out, "{name}: other pieces, another answer");
                assert_eq!(cut.usage, whole.usage, "{name}: other pieces, other tokens");
            }
            if provider != caller {
                // As the caller's SDK would see it.
                let seen = run(caller, caller, false, [&whole.out[..]]);
                assert_eq!(
                    seen.end.is_ok(),
                    whole.end.is_ok(),
                    "{name}: {:?}, and the caller sees {:?}",
                    whole.end,
                    seen.end
                );
            } else if !hide && whole.end.is_ok() {
                assert!(whole.out == input, "{name}: bytes were changed on their way through");
            }
        }
    }
}

/// Cuts a stream of the corpus, which is named for its provider, at every byte before its finish reason is there.
pub(crate) fn cut_everywhere(name: &str, stream: &[u8]) {
    let Some(provider) = Dialect::ALL
        .into_iter()
        .rfind(|dialect| name.starts_with(&format!("{dialect}-")))
    else {
        assert!(
            name.starts_with("broken-"),
            "{name}: call it after its provider, or broken-"
        );
        return;
    };
    // Only a caller of Gemini gets the array form, for others the proxy asks for events; and only a caller of Responses is
    // answered in it.
    let only_same = name.contains("-array") || !Dialect::PROVIDERS.contains(&provider);
    for caller in Dialect::ALL
        .into_iter()
        .filter(|caller| *caller == provider || !only_same)
    {
        assert_eq!(
            run(provider, caller, false, [stream]).end,
            Ok(()),
            "{name} for {caller}"
        );
        for end in 0..told(provider, stream) {
            let ran = run(provider, caller, false, [&stream[..end]]);
            assert!(
                ran.end.is_err(),
                "{name} for {caller}, cut at byte {end} of {}, passes for whole",
                stream.len()
            );
        }
    }
}

/// Where the finish reason is there, the JSON that says it included.
fn told(provider: Dialect, stream: &[u8]) -> usize {
    let last = |mark: &[u8]| {
        let at = stream.windows(mark.len()).rposition(|window| window == mark);
        let at = at.expect("a stream of the corpus has its finish reason") + mark.len();
        at + stream_end(&stream[at..])
    };
    match provider.as_str() {
        "openai" => last(b"\"finish_reason\":\""),
        "anthropic" => last(b"\"stop_reason\":\""),
        "gemini" => last(b"\"finishReason\""),
        "openai_responses" => last(b"\"response.completed\""),
        other => panic!("say where a stream of {other} ends"),
    }
}

/// The end of the line's JSON.
fn stream_end(rest: &[u8]) -> usize {
    let line = rest
        .iter()
        .position(|byte| matches!(byte, b'\r' | b'\n'))
        .unwrap_or(rest.len());
    rest[..line]
        .iter()
        .rposition(|byte| *byte == b'}')
        .map_or(line, |at| at + 1)
}
