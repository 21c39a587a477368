//! Message bodies without I/O: bytes in as they arrive, content out, in whatever pieces the network made of them.

use anyhow::{Context, Result, bail, ensure};

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `content-length`, in bytes. A request without a body is `Length(0)`.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
    /// Only the end of the connection ends it (responses without either header).
    UntilClose,
}

/// Longest chunk-size or trailer line taken, in bytes. Real ones are a few bytes long.
const LONGEST_LINE: usize = 4096;

/// Where in a body the decoder stands.
#[derive(Debug)]
enum State {
    /// Content bytes still to come; after them, the body is over.
    Length(u64),
    UntilClose,
    /// In a chunk-size line; what of it has been seen.
    SizeLine(Vec<u8>),
    /// Content bytes of the current chunk still to come.
    Chunk(u64),
    /// The CRLF behind a chunk's content; bytes of it still to come.
    ChunkEnd(u8),
    /// In the trailer section; length of the line being read (without its line end).
    Trailer(usize),
    Done,
}

/// Decodes one body. Feed it until [`Decoder::is_done`].
#[derive(Debug)]
pub struct Decoder {
    state: State,
}

impl Decoder {
    /// A decoder at the first byte behind the head.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(bytes) => State::Length(bytes),
            Framing::Chunked => State::SizeLine(Vec::new()),
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    /// Whether the body is complete. Bytes behind it belong to the next message.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether the peer may close here without cutting the body short.
    pub fn may_close(&self) -> bool {
        matches!(self.state, State::Done | State::UntilClose)
    }

    /// Takes what it can of `input`, hands the content in it to `sink`, and returns the number of bytes taken:
    /// all of them, unless the body ended before.
    pub fn feed(&mut self, input: &[u8], sink: &mut impl FnMut(&[u8])) -> Result<usize> {
        let mut rest = input;
        while !rest.is_empty() && !self.is_done() {
            rest = self.step(rest, sink)?;
        }
        Ok(input.len() - rest.len())
    }

    fn step<'a>(&mut self, input: &'a [u8], sink: &mut impl FnMut(&[u8])) -> Result<&'a [u8]> {
        match &mut self.state {
            State::Done => Ok(input),
            State::UntilClose => {
                sink(input);
                Ok(&[])
            }
            State::Length(left) => {
                let (content, rest) = split(input, *left);
                sink(content);
                *left -= content.len() as u64;
                if *left == 0 {
                    self.state = State::Done;
                }
                Ok(rest)
            }
            State::Chunk(left) => {
                let (content, rest) = split(input, *left);
                sink(content);
                *left -= content.len() as u64;
                if *left == 0 {
                    self.state = State::ChunkEnd(2);
                }
                Ok(rest)
            }
            State::ChunkEnd(left) => {
                let Some((first, rest)) = input.split_first() else {
                    return Ok(input);
                };
                let expected = if *left == 2 { b'\r' } else { b'\n' };
                ensure!(*first == expected, "a chunk is longer than its size line says");
                *left -= 1;
                if *left == 0 {
                    self.state = State::SizeLine(Vec::new());
                }
                Ok(rest)
            }
            State::SizeLine(line) => {
                let Some((seen, rest)) = until_newline(input, line.len())? else {
                    line.extend_from_slice(input);
                    return Ok(&[]);
                };
                line.extend_from_slice(seen);
                self.state = match chunk_size(line)? {
                    0 => State::Trailer(0),
                    bytes => State::Chunk(bytes),
                };
                Ok(rest)
            }
            State::Trailer(length) => {
                let Some((seen, rest)) = until_newline(input, *length)? else {
                    *length += trimmed_length(input);
                    return Ok(&[]);
                };
                let whole = *length + trimmed_length(seen);
                self.state = if whole == 0 { State::Done } else { State::Trailer(0) };
                Ok(rest)
            }
        }
    }
}

/// The first `most` bytes (or all there are), and the rest.
fn split(input: &[u8], most: u64) -> (&[u8], &[u8]) {
    let at = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
    input.split_at(at)
}

/// The bytes before the next newline and those behind it; `None` if the line goes on. `before`: its length so far.
fn until_newline(input: &[u8], before: usize) -> Result<Option<(&[u8], &[u8])>> {
    let found = memchr::memchr(b'\n', input);
    ensure!(
        before + found.unwrap_or(input.len()) <= LONGEST_LINE,
        "a chunk-size or trailer line is longer than {LONGEST_LINE} bytes"
    );
    Ok(found.and_then(|at| Some((input.get(..at)?, input.get(at + 1..)?))))
}

/// Length without carriage returns: a trailer section ends with a line that has nothing else.
fn trimmed_length(line: &[u8]) -> usize {
    line.iter().filter(|byte| **byte != b'\r').count()
}

fn chunk_size(line: &[u8]) -> Result<u64> {
    let line = std::str::from_utf8(line).context("a chunk-size line is not text")?;
    let digits = line.split(';').next().unwrap_or_default().trim();
    if digits.is_empty() || digits.starts_with('+') {
        bail!("a chunk-size line has no size: {line:?}");
    }
    u64::from_str_radix(digits, 16).with_context(|| format!("a chunk-size line has no size: {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Content and bytes left over when `wire` arrives in pieces of `step` bytes.
    fn decode(framing: Framing, wire: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool)> {
        let mut decoder = Decoder::new(framing);
        let mut content = Vec::new();
        let mut taken = 0;
        for piece in wire.chunks(step) {
            let used = decoder.feed(piece, &mut |bytes| content.extend_from_slice(bytes))?;
            taken += used;
            if used < piece.len() {
                break;
            }
        }
        Ok((content, wire.len() - taken, decoder.is_done()))
    }

    #[test]
    fn a_chunked_body_decodes_the_same_however_it_is_split() {
        let wire = b"5\r\nhello\r\n7;name=x\r\n, world\r\n0\r\n\r\nNEXT";
        for step in 1..=wire.len() {
            assert_eq!(
                decode(Framing::Chunked, wire, step).unwrap(),
                (b"hello, world".to_vec(), 4, true),
                "step {step}"
            );
        }
    }

    #[test]
    fn trailers_are_skipped() {
        let wire = b"1\r\na\r\n0\r\nx-checksum: 1\r\ny: 2\r\n\r\n";
        for step in 1..=wire.len() {
            assert_eq!(
                decode(Framing::Chunked, wire, step).unwrap(),
                (b"a".to_vec(), 0, true),
                "step {step}"
            );
        }
    }

    #[test]
    fn a_body_of_known_length_leaves_what_follows_alone() {
        for step in 1..=9 {
            assert_eq!(
                decode(Framing::Length(5), b"hellonext", step).unwrap(),
                (b"hello".to_vec(), 4, true)
            );
        }
        assert!(Decoder::new(Framing::Length(0)).is_done());
    }

    #[test]
    fn only_a_body_that_ends_with_the_connection_may_be_closed_midway() {
        let mut cut = Decoder::new(Framing::Chunked);
        cut.feed(b"5\r\nhel", &mut |_| {}).unwrap();
        assert!(!cut.may_close());
        assert!(!Decoder::new(Framing::Length(1)).may_close());
        assert!(Decoder::new(Framing::UntilClose).may_close());
    }

    #[test]
    fn nonsense_where_a_chunk_size_belongs_is_an_error() {
        for wire in ["xyz\r\n", "\r\n", "+5\r\nhello\r\n", "2\r\nabc\r\n"] {
            assert!(decode(Framing::Chunked, wire.as_bytes(), 64).is_err(), "{wire:?}");
        }
        assert!(decode(Framing::Chunked, &[b'1'; LONGEST_LINE + 1], 64).is_err());
    }
}
