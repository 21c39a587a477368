//! Ids of traces and spans, and the header that they travel in.

use std::fmt;

/// A trace's id; never all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// A span's id; never all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl TraceId {
    /// A new one from random bits.
    pub fn new(random: u128) -> Self {
        Self(random.max(1))
    }

    /// Its lower half, which samplers look at.
    #[allow(clippy::cast_possible_truncation, reason = "it is the lower half that is meant")]
    pub(super) fn lower(self) -> u64 {
        self.0 as u64
    }

    /// As it travels.
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// As people read it: 32 hex digits.
    pub fn hex(self) -> [u8; 32] {
        let mut text = [0; 32];
        write_hex(&mut text, self.bytes());
        text
    }
}

impl SpanId {
    /// A new one from random bits.
    pub fn new(random: u64) -> Self {
        Self(random.max(1))
    }

    /// As it travels.
    pub fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// Where a request stands in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span that what is called is a child of.
    pub span: SpanId,
    /// Whether its spans are kept.
    pub is_sampled: bool,
}

impl Context {
    /// What a `traceparent` header says: `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`, of whatever version.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let version = hex(parts.next()?, 2)?;
        let trace = hex(parts.next()?, 32)?;
        let span = hex(parts.next()?, 16)?;
        let flags = hex(parts.next()?, 2)?;
        // Version 0 ends here; a later one may go on.
        if version == 0xff || (version == 0 && parts.next().is_some()) || trace == 0 || span == 0 {
            return None;
        }
        Some(Self {
            trace: TraceId(trace),
            span: SpanId(u64::try_from(span).ok()?),
            is_sampled: flags & 1 == 1,
        })
    }

    /// The header for whom is called from here.
    pub fn header(self) -> Header {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let (_, rest) = text.split_at_mut(3);
        let (trace, rest) = rest.split_at_mut(32);
        write_hex(trace, self.trace.bytes());
        let (_, rest) = rest.split_at_mut(1);
        let (span, rest) = rest.split_at_mut(16);
        write_hex(span, self.span.bytes());
        if let (true, Some(flag)) = (self.is_sampled, rest.last_mut()) {
            *flag = b'1';
        }
        Header(text)
    }
}

/// A `traceparent` header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header([u8; 55]);

impl Header {
    /// Its bytes: digits and hyphens.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// So many lower-case hex digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let fits = is_hex && text.len() == digits;
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Two digits for each byte.
fn write_hex<const N: usize>(digits: &mut [u8], bytes: [u8; N]) {
    let digit = |four: u8| if four < 10 { b'0' + four } else { b'a' + four - 10 };
    let (pairs, _) = digits.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_written_as_it_was_read() {
        let context = Context::parse(HEADER).unwrap();
        assert!(context.is_sampled);
        assert_eq!(context.header().as_bytes(), HEADER.as_bytes());
        assert_eq!(&context.trace.hex(), b"4bf92f3577b34da6a3ce929d0e0e4736");
        let off = Context {
            is_sampled: false,
            ..context
        };
        assert!(off.header().as_bytes().ends_with(b"-00"));
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        let later = HEADER.replacen("00", "01", 1);
        assert!(Context::parse(&later).is_some() && Context::parse(&format!("{later}-more")).is_some());
        for bad in [
            "",
            "00",
            &HEADER.replacen("00", "ff", 1),
            &format!("{HEADER}-more"),
            &HEADER.to_uppercase(),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Context::parse(bad), None, "{bad}");
        }
    }
}
