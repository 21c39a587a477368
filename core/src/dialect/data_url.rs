//! `data:` URLs (RFC 2397), as people write them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A `data:` URL as (media type, base64), whichever way its data is written; none for any other URL.
pub(super) fn data_url(url: &str) -> Option<(String, String)> {
    let url = url.trim();
    let scheme = url.get(..5)?;
    if !scheme.eq_ignore_ascii_case("data:") {
        return None;
    }
    let (head, data) = url.get(5..)?.split_once(',')?;
    let mut words = head.split(';').map(str::trim);
    let mime = words.next().filter(|mime| !mime.is_empty()).unwrap_or("text/plain");
    let base64 = if words.any(|word| word.eq_ignore_ascii_case("base64")) {
        if data.contains('%') {
            String::from_utf8(percent_decoded(data)).ok()?
        } else {
            data.to_owned()
        }
    } else {
        STANDARD.encode(percent_decoded(data))
    };
    Some((mime.to_owned(), base64))
}

/// The bytes that a text with percent-escapes stands for; what is no escape stands for itself.
pub(super) fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, ..] if byte == b'%' => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        out.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}
