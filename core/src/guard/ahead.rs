//! A text of which more may follow, and what is found in it.

/// More of the text must be seen before this can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct More;

/// What a reader says of a place: something begins there, nothing does, or not yet.
pub(super) type Verdict = Result<Option<Found>, More>;

/// Something that begins at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where what is sure of it ends, bytes.
    pub end: usize,
    /// What follows that belongs to it too, however long it is.
    pub eat: Eat,
}

impl Found {
    /// All of it.
    pub(super) fn whole(end: usize) -> Self {
        Self { end, eat: Eat::Nothing }
    }
}

/// A text as far as it is known.
#[derive(Clone, Copy)]
pub(super) struct Ahead<'a> {
    text: &'a str,
    is_end: bool,
}

impl<'a> Ahead<'a> {
    pub(super) fn new(text: &'a str, is_end: bool) -> Self {
        Self { text, is_end }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn is_end(&self) -> bool {
        self.is_end
    }

    /// The byte there; none: the text has ended.
    pub(super) fn at(&self, at: usize) -> Result<Option<u8>, More> {
        match self.text.as_bytes().get(at) {
            Some(byte) => Ok(Some(*byte)),
            None if self.is_end => Ok(None),
            None => Err(More),
        }
    }

    /// Whether what follows there is this.
    pub(super) fn starts_with(&self, at: usize, prefix: &str) -> Result<bool, More> {
        let rest = self.text.as_bytes().get(at..).unwrap_or_default();
        let known = rest.len().min(prefix.len());
        let is_alike = rest.get(..known) == prefix.as_bytes().get(..known);
        match is_alike {
            true if known < prefix.len() && !self.is_end => Err(More),
            is_alike => Ok(is_alike && known == prefix.len()),
        }
    }

    /// Where the run of such bytes from there on ends; it is looked at for `most` bytes.
    pub(super) fn run(&self, at: usize, most: usize, is_in: impl Fn(u8) -> bool) -> Result<usize, More> {
        let mut end = at;
        while end - at < most && self.at(end)?.is_some_and(&is_in) {
            end += 1;
        }
        Ok(end)
    }
}

/// What follows a find and goes with it. It is dropped as it comes, so that a long secret is never held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Eat {
    /// Nothing does.
    #[default]
    Nothing,
    /// The rest of a token: letters, digits, `_` and `-`.
    Token,
    /// The rest of a JSON Web Token: that, and dots.
    Jwt,
    /// The rest of what is in base64.
    Base64,
    /// A private key, up to the line that ends it.
    PrivateKey {
        /// Bytes that it may still have.
        left: u16,
        /// Bytes of `-----END` that were just seen; from then on, the dashes after it.
        seen: u8,
        /// The byte before was a backslash.
        escaped: bool,
    },
}

/// The longest private key, bytes: one of RSA with 16,384 bits takes 13 KiB.
pub(super) const LONGEST_KEY: u16 = 16 << 10;
const END: &[u8] = b"-----END";

impl Eat {
    /// Where it ends, as far as the text is known, of which it goes on at `at`.
    pub(super) fn end(&mut self, bytes: &[u8], mut at: usize) -> usize {
        while *self != Self::Nothing && bytes.get(at).is_some_and(|byte| self.takes(*byte)) {
            at += 1;
        }
        at
    }

    /// Takes the next byte; `false`: it does not belong to it, and nothing more does.
    pub(super) fn takes(&mut self, byte: u8) -> bool {
        let is_token = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let takes = match self {
            Self::Nothing => false,
            Self::Token => is_token,
            Self::Jwt => is_token || byte == b'.',
            Self::Base64 => is_token || matches!(byte, b'+' | b'/' | b'='),
            Self::PrivateKey { left, seen, escaped } => {
                // A quote ends the text that the key stands in, where that is one in a JSON text.
                let takes = *left > 0 && byte.is_ascii() && (byte != b'"' || *escaped);
                *left = left.saturating_sub(1);
                *escaped = byte == b'\\' && !*escaped;
                *seen = after(*seen, byte);
                if takes && usize::from(*seen) == END.len() + 5 {
                    *self = Self::Nothing;
                }
                takes
            }
        };
        if !takes {
            *self = Self::Nothing;
        }
        takes
    }
}

/// How much of the end line has been seen after this byte.
fn after(seen: u8, byte: u8) -> u8 {
    let before = usize::from(seen);
    if before >= END.len() {
        // `-----END RSA PRIVATE KEY-----`: five dashes in a row are its end.
        return if byte == b'-' { seen + 1 } else { 8 };
    }
    match END.get(before) {
        Some(next) if *next == byte => seen + 1,
        // Of more dashes than five the last five count.
        _ if byte == b'-' => 5,
        _ => 0,
    }
}
