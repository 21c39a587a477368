//! Undoing the content coding of an answer.
//!
//! No request asks for one, but some servers and the boxes before them compress all the same, and what is compressed cannot
//! be read: not for its tokens, not for an error in it, and not for a key that it quotes. Gzip and deflate (RFC 9110, section
//! 8.4.1) are undone, piece by piece; what is decoded may be so much larger than what was sent, and no more.

use std::io::{self, Write as _};

use bowsprit_core::fault::TransportFault;
use bytes::{Buf as _, Bytes};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::fault::Fault;
use crate::limits::{DECODED_FREE, DECODED_RATIO};

/// Bytes that are decoded at once: at deflate's highest ratio of 1:1,032 that makes a quarter of a MiB.
const STEP: usize = 256;
/// A piece of about this size is handed on before more is decoded, bytes.
const PIECE: usize = 16 << 10;

/// A content coding that can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Gzip.
    Gzip,
    /// Deflate, in zlib's format or, as some servers send it, without.
    Deflate,
}

impl Coding {
    /// The coding of a body with these headers; `None`: it has none, several, or one that is not undone.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut codings = headers.get_all(CONTENT_ENCODING).iter();
        let coding = codings.next()?.to_str().ok()?.trim();
        if codings.next().is_some() {
            None
        } else if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            Some(Self::Gzip)
        } else if coding.eq_ignore_ascii_case("deflate") {
            Some(Self::Deflate)
        } else {
            None
        }
    }
}

enum Inflate {
    Gzip(MultiGzDecoder<Vec<u8>>),
    /// Its first byte tells the format.
    Deflate,
    Zlib(ZlibDecoder<Vec<u8>>),
    Bare(DeflateDecoder<Vec<u8>>),
}

impl Inflate {
    fn write(&mut self, input: &[u8]) -> io::Result<()> {
        if matches!(self, Self::Deflate) {
            // RFC 1950: the low half of a zlib header's first byte is 8. A bare block of deflate does not begin with an 8 there
            // unless it is stored, which no compressor makes of text.
            let is_zlib = input.first().is_some_and(|first| first & 0x0f == 8);
            *self = if is_zlib {
                Self::Zlib(ZlibDecoder::new(Vec::new()))
            } else {
                Self::Bare(DeflateDecoder::new(Vec::new()))
            };
        }
        match self {
            Self::Gzip(decoder) => decoder.write_all(input).and_then(|()| decoder.flush()),
            Self::Zlib(decoder) => decoder.write_all(input).and_then(|()| decoder.flush()),
            Self::Bare(decoder) => decoder.write_all(input).and_then(|()| decoder.flush()),
            Self::Deflate => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zlib(decoder) => decoder.try_finish(),
            Self::Bare(decoder) => decoder.try_finish(),
            Self::Deflate => Ok(()),
        }
    }

    fn output(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Gzip(decoder) => Some(decoder.get_mut()),
            Self::Zlib(decoder) => Some(decoder.get_mut()),
            Self::Bare(decoder) => Some(decoder.get_mut()),
            Self::Deflate => None,
        }
    }
}

/// Decodes one body.
pub(super) struct Decoder {
    inflate: Inflate,
    /// What was sent and is not decoded yet.
    input: Bytes,
    /// Bytes that were decoded, and what they became.
    sent: usize,
    decoded: usize,
}

impl Decoder {
    pub(super) fn new(coding: Coding) -> Self {
        Self {
            inflate: match coding {
                Coding::Gzip => Inflate::Gzip(MultiGzDecoder::new(Vec::new())),
                Coding::Deflate => Inflate::Deflate,
            },
            input: Bytes::new(),
            sent: 0,
            decoded: 0,
        }
    }

    /// More was sent. All that was sent before is decoded.
    pub(super) fn push(&mut self, data: Bytes) {
        self.input = data;
    }

    /// The next decoded piece; `None`: more must be sent first.
    pub(super) fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        while !self.input.is_empty() && self.waiting() < PIECE {
            let step = STEP.min(self.input.len());
            let written = self.inflate.write(self.input.get(..step).unwrap_or_default());
            written.map_err(|error| undecodable(&error))?;
            self.input.advance(step);
            self.sent += step;
            let decoded = self.decoded + self.waiting();
            if decoded > DECODED_FREE && decoded / self.sent > DECODED_RATIO {
                let text = format!("the answer is a compression bomb: {decoded} bytes from {}", self.sent);
                return Err(Fault::new(TransportFault::Coding, text));
            }
        }
        Ok(self.take())
    }

    /// All was sent: what is left, or that it is not whole.
    pub(super) fn finish(mut self) -> Result<Option<Bytes>, Fault> {
        match self.inflate.finish() {
            // The answer to HEAD, and some errors, name a coding and have no body.
            _ if self.sent == 0 => Ok(None),
            Ok(()) => Ok(self.take()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Fault::new(
                TransportFault::Truncated,
                "the compressed answer ended too soon",
            )),
            Err(error) => Err(undecodable(&error)),
        }
    }

    fn waiting(&mut self) -> usize {
        self.inflate.output().map_or(0, |output| output.len())
    }

    fn take(&mut self) -> Option<Bytes> {
        let output = self.inflate.output().map(std::mem::take)?;
        self.decoded += output.len();
        (!output.is_empty()).then(|| output.into())
    }
}

fn undecodable(error: &io::Error) -> Fault {
    Fault::new(
        TransportFault::Coding,
        format_args!("the answer is not in the content coding that it names: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    const TEXT: &[u8] = b"{\"id\":\"one\",\"text\":\"one two three four five six seven\"}";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// Decodes a body that arrives in pieces of this size.
    fn decode(coding: Coding, body: &[u8], size: usize) -> Result<Vec<u8>, TransportFault> {
        let mut decoder = Decoder::new(coding);
        let mut all = Vec::new();
        for piece in body.chunks(size) {
            decoder.push(Bytes::copy_from_slice(piece));
            while let Some(decoded) = decoder.piece().map_err(|fault| fault.kind)? {
                all.extend(decoded);
            }
        }
        all.extend(decoder.finish().map_err(|fault| fault.kind)?.unwrap_or_default());
        Ok(all)
    }

    #[test]
    fn every_form_is_decoded_however_it_arrives() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(TEXT).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
        bare.write_all(TEXT).unwrap();
        for (coding, body) in [
            (Coding::Gzip, gzip(TEXT)),
            (Coding::Deflate, zlib.finish().unwrap()),
            (Coding::Deflate, bare.finish().unwrap()),
        ] {
            for size in [1, 7, body.len()] {
                assert_eq!(decode(coding, &body, size).as_deref(), Ok(TEXT), "{coding:?} by {size}");
            }
        }
        let twice = [gzip(TEXT), gzip(TEXT)].concat();
        assert_eq!(decode(Coding::Gzip, &twice, 9), Ok([TEXT, TEXT].concat()));
        assert_eq!(decode(Coding::Deflate, b"", 1), Ok(Vec::new()));
    }

    #[test]
    fn what_was_flushed_is_there_before_the_end() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut decoder = Decoder::new(Coding::Gzip);
        for event in [&b"data: one\n\n"[..], b"data: two\n\n"] {
            encoder.write_all(event).unwrap();
            encoder.flush().unwrap();
            decoder.push(std::mem::take(encoder.get_mut()).into());
            assert_eq!(decoder.piece().unwrap().as_deref(), Some(event));
            assert!(decoder.piece().unwrap().is_none());
        }
    }

    #[test]
    fn a_bomb_is_given_up_at_its_ratio() {
        let bomb = gzip(&vec![0; 16 << 20]);
        assert_eq!(decode(Coding::Gzip, &bomb, bomb.len()), Err(TransportFault::Coding));
        let small = gzip(&vec![b' '; DECODED_FREE]);
        assert_eq!(decode(Coding::Gzip, &small, 64).map(|all| all.len()), Ok(DECODED_FREE));
    }

    #[test]
    fn half_a_body_and_another_coding_are_told_apart() {
        let body = gzip(TEXT);
        let half = body.get(..body.len() / 2).unwrap();
        assert_eq!(decode(Coding::Gzip, half, 8), Err(TransportFault::Truncated));
        assert_eq!(decode(Coding::Gzip, TEXT, 8), Err(TransportFault::Coding));
        let mut wrong = body.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert_eq!(decode(Coding::Gzip, &wrong, 8), Err(TransportFault::Coding));
    }

    #[test]
    fn one_coding_that_is_known_is_undone() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, http::HeaderValue::from_static(value));
            }
            Coding::of(&headers)
        };
        assert_eq!(
            (of(&["gzip"]), of(&["X-GZIP "])),
            (Some(Coding::Gzip), Some(Coding::Gzip))
        );
        assert_eq!(of(&["deflate"]), Some(Coding::Deflate));
        for other in [&[][..], &["br"], &["identity"], &["gzip, gzip"], &["gzip", "gzip"]] {
            assert_eq!(of(other), None, "{other:?}");
        }
    }
}
