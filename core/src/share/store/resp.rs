//! The store's protocol (RESP 2), as far as it is needed: commands are lists of texts, answers are short.

use std::io::Write as _;

/// Longest answer, bytes, but a text that is longer by what was asked for. All else is a number or a short text; errors quote what they
/// were sent.
pub const LONGEST: usize = 4 << 10;

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// A word, such as `OK`.
    Simple(&'a str),
    /// An error: its first word is its kind.
    Error(&'a str),
    /// A whole number.
    Integer(i64),
    /// A text.
    Bulk(&'a [u8]),
    /// Nothing.
    Nil,
}

/// What was read is no answer that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what the store said is no answer")]
pub struct Garbage;

/// The first answer in `read` and how many bytes it took; `None` where it is not complete yet.
///
/// # Errors
/// It is none, is longer than [`LONGEST`], or is of a form that nothing asks for.
pub fn parse(read: &[u8]) -> Result<Option<(Reply<'_>, usize)>, Garbage> {
    parse_within(read, LONGEST)
}

/// The same, where a text may have so many bytes.
///
/// # Errors
/// As those of [`parse`].
pub fn parse_within(read: &[u8], longest: usize) -> Result<Option<(Reply<'_>, usize)>, Garbage> {
    let Some((kind, rest)) = read.split_first() else {
        return Ok(None);
    };
    let Some(end) = memchr::memchr(b'\n', rest) else {
        return if rest.len() > LONGEST {
            Err(Garbage)
        } else {
            is_kind(*kind).map(|()| None)
        };
    };
    let line = rest
        .get(..end)
        .and_then(|line| line.strip_suffix(b"\r"))
        .ok_or(Garbage)?;
    if line.len() > LONGEST {
        return Err(Garbage);
    }
    let line = std::str::from_utf8(line).map_err(|_| Garbage)?;
    let took = 1 + end + 1;
    let reply = match kind {
        b'+' => Reply::Simple(line),
        b'-' => Reply::Error(line),
        b':' => Reply::Integer(line.parse().map_err(|_| Garbage)?),
        b'$' if line == "-1" => Reply::Nil,
        b'$' => return bulk(read, took, line, longest),
        _ => return Err(Garbage),
    };
    Ok(Some((reply, took)))
}

fn is_kind(kind: u8) -> Result<(), Garbage> {
    if matches!(kind, b'+' | b'-' | b':' | b'$') {
        Ok(())
    } else {
        Err(Garbage)
    }
}

fn bulk<'a>(read: &'a [u8], from: usize, length: &str, longest: usize) -> Result<Option<(Reply<'a>, usize)>, Garbage> {
    let length: usize = length.parse().map_err(|_| Garbage)?;
    if length > longest {
        return Err(Garbage);
    }
    let Some(rest) = read.get(from..).filter(|rest| rest.len() >= length + 2) else {
        return Ok(None);
    };
    match rest.split_at_checked(length) {
        Some((text, end)) if end.starts_with(b"\r\n") => Ok(Some((Reply::Bulk(text), from + length + 2))),
        _ => Err(Garbage),
    }
}

/// The kind of an error, where it is one that a server writes: a word in capitals. Nothing else of it is told to anybody, as it
/// may quote what it was sent.
pub fn kind(error: &str) -> &str {
    let word = error.split(' ').next().unwrap_or_default();
    let is_kind = !word.is_empty() && word.len() <= 20 && word.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_kind { word } else { "ERR" }
}

/// Writes a command of so many texts to come.
pub fn begin(to: &mut Vec<u8>, texts: usize) {
    // Writing to memory does not fail.
    let _ = write!(to, "*{texts}\r\n");
}

/// Writes one of a command's texts.
pub fn text(to: &mut Vec<u8>, text: &[u8]) {
    let _ = write!(to, "${}\r\n", text.len());
    to.extend_from_slice(text);
    to.extend_from_slice(b"\r\n");
}

/// Writes a number as one of a command's texts.
pub fn number(to: &mut Vec<u8>, number: i64) {
    let mut digits = [0; 20];
    let mut rest = digits.as_mut_slice();
    let _ = write!(rest, "{number}");
    let left = rest.len();
    let used = digits.len() - left;
    text(to, digits.get(..used).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_or_not_yet() {
        let answers: [(&[u8], Reply<'_>); 6] = [
            (b"+OK\r\n", Reply::Simple("OK")),
            (b"-WRONGTYPE no\r\n", Reply::Error("WRONGTYPE no")),
            (b":-12\r\n", Reply::Integer(-12)),
            (b"$3\r\na\r\n\r\n", Reply::Bulk(b"a\r\n")),
            (b"$0\r\n\r\n", Reply::Bulk(b"")),
            (b"$-1\r\n", Reply::Nil),
        ];
        for (bytes, reply) in answers {
            assert_eq!(parse(bytes), Ok(Some((reply, bytes.len()))));
            for part in 0..bytes.len() {
                assert_eq!(parse(&bytes[..part]), Ok(None), "{part} of {bytes:?}");
            }
            let two = [bytes, b":1\r\n"].concat();
            assert_eq!(parse(&two), Ok(Some((reply, bytes.len()))), "the first of two");
        }
    }

    #[test]
    fn what_is_no_answer_is_known_before_much_of_it_is_held() {
        let long = [b"+".as_slice(), &vec![b'x'; LONGEST + 1]].concat();
        let garbage: [&[u8]; 10] = [
            b"HTTP/1.1 400 Bad Request\r\n",
            b"H",
            b"*1\r\n:1\r\n",
            b":1x\r\n",
            b":99999999999999999999\r\n",
            b"$-2\r\n",
            b"$5000\r\n",
            b"$1\r\nabc",
            b"+a\n",
            &long,
        ];
        for bytes in garbage {
            assert_eq!(parse(bytes), Err(Garbage), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_take_more_than_there_are() {
        let seed = 57;
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let letters = b"+-:$*\r\n0123456789aOK\xff";
        for _ in 0..200_000 {
            let bytes: Vec<u8> = (0..rng.usize(0..24))
                .map(|_| letters[rng.usize(0..letters.len())])
                .collect();
            if let Ok(Some((_, took))) = parse(&bytes) {
                assert!(took > 0 && took <= bytes.len(), "{bytes:?}");
            }
        }
    }

    #[test]
    fn commands_are_written_as_servers_read_them() {
        let mut to = Vec::new();
        begin(&mut to, 3);
        text(&mut to, b"AUTH");
        number(&mut to, -120);
        number(&mut to, i64::MIN);
        assert_eq!(to, b"*3\r\n$4\r\nAUTH\r\n$4\r\n-120\r\n$20\r\n-9223372036854775808\r\n");
    }

    #[test]
    fn of_an_error_only_its_kind_is_told() {
        assert_eq!(kind("WRONGPASS invalid username-password pair"), "WRONGPASS");
        for quoted in [
            "secret is wrong",
            "",
            " A",
            "SECRET-KEY",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(kind(quoted), "ERR");
        }
    }
}
