//! Keys by the forms that their makers publish, JSON Web Tokens, and private keys.

use super::ahead::{Ahead, Eat, Found, LONGEST_KEY, Verdict};

/// A form of keys: what they begin with, and what follows.
struct Form {
    prefix: &'static str,
    /// Bytes of its alphabet that follow at least, after which it is taken for a key.
    least: usize,
    /// No more may follow.
    is_exact: bool,
    alphabet: fn(u8) -> bool,
    eat: Eat,
}

const fn form(prefix: &'static str, least: usize) -> Form {
    Form {
        prefix,
        least,
        is_exact: false,
        alphabet: is_token,
        eat: Eat::Token,
    }
}

const fn exact(prefix: &'static str, length: usize, alphabet: fn(u8) -> bool) -> Form {
    Form {
        prefix,
        least: length,
        is_exact: true,
        alphabet,
        eat: Eat::Nothing,
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn is_upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

fn is_base64(byte: u8) -> bool {
    is_token(byte) || matches!(byte, b'+' | b'/' | b'=')
}

/// The longer prefixes of a kind come before the shorter.
const FORMS: &[Form] = &[
    // Amazon: access key IDs, long-lived and of a session.
    exact("AKIA", 16, is_upper),
    exact("ASIA", 16, is_upper),
    // Google: API keys, OAuth clients and tokens.
    exact("AIza", 35, is_token),
    form("GOCSPX-", 20),
    form("ya29.", 20),
    // Azure: storage and service bus connection strings.
    Form {
        prefix: "AccountKey=",
        least: 40,
        is_exact: false,
        alphabet: is_base64,
        eat: Eat::Base64,
    },
    Form {
        prefix: "SharedAccessKey=",
        least: 40,
        is_exact: false,
        alphabet: is_base64,
        eat: Eat::Base64,
    },
    // Model providers. `sk-` alone is OpenAI's old form and many others': it needs a digit, see below.
    form("sk-ant-", 20),
    form("sk-proj-", 20),
    form("sk-svcacct-", 20),
    form("sk-or-v1-", 20),
    form("gsk_", 20),
    form("xai-", 20),
    form("pplx-", 20),
    form("hf_", 30),
    form("r8_", 30),
    // GitHub, GitLab.
    form("github_pat_", 20),
    form("ghp_", 30),
    form("gho_", 30),
    form("ghu_", 30),
    form("ghs_", 30),
    form("ghr_", 30),
    form("glpat-", 20),
    form("gldt-", 20),
    form("glrt-", 20),
    // Slack, Stripe, SendGrid, DigitalOcean, Databricks, Vault.
    form("xoxb-", 10),
    form("xoxp-", 10),
    form("xoxa-", 10),
    form("xoxr-", 10),
    form("xoxs-", 10),
    form("xapp-", 10),
    form("sk_live_", 16),
    form("sk_test_", 16),
    form("rk_live_", 16),
    form("rk_test_", 16),
    form("whsec_", 24),
    Form {
        prefix: "SG.",
        least: 22,
        is_exact: false,
        alphabet: is_token,
        eat: Eat::Jwt,
    },
    form("dop_v1_", 40),
    exact("dapi", 32, is_hex),
    form("hvs.", 24),
    // Registries of packages.
    form("npm_", 30),
    form("pypi-AgEI", 16),
];

/// Which forms begin with a byte, a bit for each: most words begin with what few forms do, and every word of a text is looked at.
const BY_FIRST: [u64; 256] = by_first();
const _: () = assert!(FORMS.len() <= 64, "a bit for each form");

#[allow(clippy::indexing_slicing, reason = "done when this is compiled")]
const fn by_first() -> [u64; 256] {
    let mut all = [0; 256];
    let mut form = 0;
    while form < FORMS.len() {
        all[FORMS[form].prefix.as_bytes()[0] as usize] |= 1 << form;
        form += 1;
    }
    all
}

/// The forms that begin with this byte, in their order.
fn forms_of(first: u8) -> impl Iterator<Item = &'static Form> {
    let mut left = BY_FIRST.get(usize::from(first)).copied().unwrap_or_default();
    std::iter::from_fn(move || {
        let form = FORMS.get(left.trailing_zeros() as usize)?;
        left &= left - 1;
        Some(form)
    })
}

/// Bytes of a generic `sk-` key in which a digit must be found: `sk-learn-…` has none.
const DIGIT_WITHIN: usize = 40;
const LONGEST_PREFIX: usize = 16;

/// Bytes after which a key is decided.
pub(super) const KEY_HOLD: usize = LONGEST_PREFIX + DIGIT_WITHIN + 1;

/// Whether a key can begin with this byte.
pub(super) fn begins_key(byte: u8) -> bool {
    byte == b's' || forms_of(byte).next().is_some()
}

/// A key of a known form.
pub(super) fn key(ahead: &Ahead<'_>, at: usize) -> Verdict {
    let Some(first) = ahead.at(at)? else { return Ok(None) };
    for form in forms_of(first) {
        if !ahead.starts_with(at, form.prefix)? {
            continue;
        }
        let body = at + form.prefix.len();
        let end = ahead.run(body, form.least, form.alphabet)?;
        let is_long = end - body == form.least;
        if is_long && !(form.is_exact && ahead.at(end)?.is_some_and(form.alphabet)) {
            return Ok(Some(Found { end, eat: form.eat }));
        }
    }
    if first != b's' || !ahead.starts_with(at, "sk-")? {
        return Ok(None);
    }
    let body = at + 3;
    let end = ahead.run(body, DIGIT_WITHIN, is_token)?;
    let has_digit = ahead.text().as_bytes().get(body..end).unwrap_or_default();
    let is_key = end - body >= 20 && has_digit.iter().any(u8::is_ascii_digit);
    Ok(is_key.then_some(Found { end, eat: Eat::Token }))
}

/// The longest header of a JSON Web Token.
const JWT_HEADER: usize = 512;
/// Of its payload so much is looked at.
const JWT_PAYLOAD: usize = 8;

/// Bytes after which a token is decided.
pub(super) const JWT_HOLD: usize = 3 + JWT_HEADER + 1 + JWT_PAYLOAD;

/// A JSON Web Token, signed or encrypted: an object in base64 (`{"` is `eyJ`), a dot, and more.
pub(super) fn jwt(ahead: &Ahead<'_>, at: usize) -> Verdict {
    if !ahead.starts_with(at, "eyJ")? {
        return Ok(None);
    }
    let header = at + 3;
    let dot = ahead.run(header, JWT_HEADER, is_token)?;
    if dot - header < 8 || ahead.at(dot)? != Some(b'.') {
        return Ok(None);
    }
    let payload = dot + 1;
    let end = ahead.run(payload, JWT_PAYLOAD, is_token)?;
    let is_one = end - payload == JWT_PAYLOAD;
    Ok(is_one.then_some(Found { end, eat: Eat::Jwt }))
}

const BEGIN: &str = "-----BEGIN ";
/// The longest that a key's label may be, such as `RSA PRIVATE KEY`.
const LABEL: usize = 48;

/// Bytes after which a private key is decided: its first line.
pub(super) const PRIVATE_KEY_HOLD: usize = BEGIN.len() + LABEL + 5;

/// A private key in PEM, from its first line to its last.
pub(super) fn private_key(ahead: &Ahead<'_>, at: usize) -> Verdict {
    if !ahead.starts_with(at, BEGIN)? {
        return Ok(None);
    }
    let label = at + BEGIN.len();
    let end = ahead.run(label, LABEL, |byte| is_upper(byte) || byte == b' ')?;
    let is_private = ahead
        .text()
        .get(label..end)
        .is_some_and(|label| label.contains("PRIVATE KEY"));
    if !is_private || !ahead.starts_with(end, "-----")? {
        return Ok(None);
    }
    let eat = Eat::PrivateKey {
        left: LONGEST_KEY,
        seen: 0,
        escaped: false,
    };
    Ok(Some(Found { end: end + 5, eat }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_is_longer_than_what_a_stream_holds_for_one() {
        for form in FORMS {
            assert!(form.prefix.len() <= LONGEST_PREFIX, "{}", form.prefix);
            assert!(form.prefix.len() + form.least < KEY_HOLD, "{}", form.prefix);
            assert!(form.prefix.is_ascii() && form.prefix.len() > 2, "{}", form.prefix);
        }
    }
}
