//! E-mail addresses.

use super::ahead::{Ahead, Found, Verdict};

/// The longest part before the `@` (RFC 5321).
const LOCAL: usize = 64;
/// The longest part after it that is looked at. RFC 5321 has 255; no host of mail that is known comes near this.
const DOMAIN: usize = 128;

/// Bytes after which it is decided.
pub(super) const HOLD: usize = LOCAL + 1 + DOMAIN + 2;

/// Whether a byte may stand before the `@`. Those beyond these are allowed and not in use.
pub(super) fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-')
}

/// An address, with as many labels of its host as are some.
pub(super) fn email(ahead: &Ahead<'_>, at: usize) -> Verdict {
    let local = ahead.run(at, LOCAL + 1, is_local)?;
    if local == at || local - at > LOCAL || ahead.at(local)? != Some(b'@') {
        return Ok(None);
    }
    let domain = local + 1;
    let (mut label, mut best) = (domain, None);
    loop {
        let room = (domain + DOMAIN + 1).saturating_sub(label);
        let end = ahead.run(label, room, |byte| byte.is_ascii_alphanumeric() || byte == b'-')?;
        if end == label || end - domain > DOMAIN {
            break;
        }
        // The last label is a name: that keeps versions and decimals out.
        let is_name = end - label > 1 && ahead.at(label)?.is_some_and(|byte| byte.is_ascii_alphabetic());
        if label > domain && is_name {
            best = Some(Found::whole(end));
        }
        if ahead.at(end)? != Some(b'.') {
            break;
        }
        label = end + 1;
    }
    Ok(best)
}
