//! Where a path under `/providers/{name}` leads: always below the provider's base URL.
//!
//! The caller's bytes are sent on as they are, so they must mean the same to every server that may read them. What some
//! take for a step upwards or for another host is refused instead of being tidied up.

use std::borrow::Cow;

use bowsprit_crds::base_url::is_version;

/// How often a path is unescaped by servers that do it once more than they should.
const UNESCAPED: usize = 2;

/// A path below `base`. `rest` is what follows the provider's name: empty or beginning with a slash.
///
/// An OpenAI base URL ends in its version (`…/v1`), and SDKs differ in whether theirs does. So where `rest` begins with
/// the version that `base` ends in, it is not doubled. `version`: one that the base URL named and that `base` is without; it
/// is put in front where `rest` names none. `own`: what every base URL of this kind ends in; where `rest` begins with it, as
/// the provider's own documentation writes its paths, it is not doubled either.
pub(super) fn below(base: &str, own: Option<&str>, version: Option<&str>, rest: &str) -> Result<String, String> {
    let Some(path) = rest.strip_prefix('/').filter(|path| !path.is_empty()) else {
        return Err("names no path of the provider's after its name".into());
    };
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        // A slash at the end is part of some paths; elsewhere an empty segment is a host to some servers.
        if segment.is_empty() && segments.peek().is_some() {
            return Err("holds two slashes in a row".into());
        }
        check(segment)?;
    }
    if let Some(after) = own.and_then(|own| rest.strip_prefix(own))
        && (after.is_empty() || after.starts_with('/'))
    {
        return Ok(format!("{base}{after}"));
    }
    if let Some(version) = version.filter(|_| !path.split('/').any(is_version)) {
        return Ok(format!("{base}/{version}{rest}"));
    }
    let version = base.rsplit('/').next().filter(|last| is_version(last));
    let rest = version
        .and_then(|version| path.strip_prefix(version))
        .filter(|after| after.is_empty() || after.starts_with('/'))
        .unwrap_or(rest);
    Ok(format!("{base}{rest}"))
}

fn check(segment: &str) -> Result<(), String> {
    let mut text = segment.as_bytes().to_vec();
    for round in 0..=UNESCAPED {
        // Some servers cut parameters off before they look: `..;x` is `..` to them.
        let name = text.split(|byte| *byte == b';').next().unwrap_or_default();
        if matches!(name, b"." | b"..") {
            return Err("holds a step to the same folder or to the one above".into());
        }
        if text
            .iter()
            .any(|byte| matches!(byte, b'/' | b'\\') || byte.is_ascii_control())
        {
            return Err("holds an escaped slash, a backslash or a control character".into());
        }
        match unescape(&text) {
            Some(next) => text = next,
            None if round == 0 => return Err("holds a % that escapes nothing".into()),
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Percent-decoding, of any bytes; `None`: a % escapes nothing.
pub(super) fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let (hex, tail) = tail.split_at_checked(2)?;
            let hex = std::str::from_utf8(hex)
                .ok()
                .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
            out.push(u8::from_str_radix(hex, 16).ok()?);
            rest = tail;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    Some(out)
}

/// A path as rules know it: unescaped, and without a version in front, for `/files` and `/v1/files` are one.
pub(super) fn plain(path_below: &str) -> String {
    let path = unescaped(path_below);
    match after_version(&path) {
        Some(after) => after.to_owned(),
        None => path,
    }
}

/// The same to a server that cuts parameters off, what follows a `;` in a segment.
pub(super) fn without_parameters(path_below: &str) -> String {
    let path = unescaped(path_below);
    let names = path
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or_default());
    let path = names.collect::<Vec<_>>().join("/");
    after_version(&path).unwrap_or(&path).to_owned()
}

fn unescaped(path_below: &str) -> String {
    let mut path = path_below.as_bytes().to_vec();
    for _ in 0..=UNESCAPED {
        match unescape(&path) {
            Some(next) if next != path => path = next,
            _ => break,
        }
    }
    String::from_utf8_lossy(&path).into_owned()
}

/// What follows the version, in whatever letters that is: some servers make no difference.
fn after_version(path: &str) -> Option<&str> {
    let rest = path.strip_prefix('/')?;
    let first = rest.split('/').next().unwrap_or_default();
    let after = rest.get(first.len()..)?;
    is_version(&first.to_ascii_lowercase()).then_some(after)
}

/// A query without keys: those are the caller's placeholder, and the provider's goes in a header. `also`: another name that
/// is left out, in whatever letters.
pub(super) fn query(query: Option<&str>, also: Option<&str>) -> Option<String> {
    let is_kept = |pair: &&str| {
        let name = name_in(pair);
        !is_key(&name) && also.is_none_or(|also| !name.eq_ignore_ascii_case(also.as_bytes()))
    };
    let kept: Vec<&str> = query?.split('&').filter(is_kept).collect();
    Some(kept.join("&")).filter(|kept| !kept.is_empty())
}

/// The keys that stand in a query, as they stand there: whose the request is may be said nowhere else.
pub(super) fn keys(query: Option<&str>) -> Option<Box<str>> {
    let keys: Vec<&str> = query?.split('&').filter(|pair| is_key(&name_in(pair))).collect();
    (!keys.is_empty()).then(|| keys.join("&").into())
}

fn name_in(pair: &str) -> Cow<'_, [u8]> {
    let name = pair.split('=').next().unwrap_or_default().as_bytes();
    let unescaped = name.contains(&b'%').then(|| unescape(name)).flatten();
    unescaped.map_or(Cow::Borrowed(name), Cow::Owned)
}

fn is_key(name: &[u8]) -> bool {
    matches!(name, b"key" | b"api_key" | b"api-key" | b"access_token")
}

/// A URL of the provider's own as the app reaches it: through the sidecar. Others are left alone (`None`).
///
/// `origin` is the provider's scheme, host and port, `base` the path of its base URL, `own` the sidecar as the app
/// calls it, such as `http://localhost:4000/providers/openai`.
pub(super) fn as_the_app_reaches_it(url: &str, origin: &str, base: &str, own: &str) -> Option<String> {
    let path = match url.strip_prefix(origin) {
        Some(path) => path,
        None if url.starts_with("//") => return None,
        None => url,
    };
    let rest = path.strip_prefix(base).filter(|rest| rest.starts_with('/'))?;
    Some(format!("{own}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_the_base_url_has_is_not_doubled() {
        for (base, rest, whole) in [
            ("/v1", "/files", "/v1/files"),
            ("/v1", "/v1/files", "/v1/files"),
            ("/v1", "/v1", "/v1"),
            ("/v1", "/v10/files", "/v1/v10/files"),
            ("/openai/v1", "/v1/audio/speech", "/openai/v1/audio/speech"),
            ("", "/v1/messages/batches", "/v1/messages/batches"),
            ("", "/upload/v1beta/files", "/upload/v1beta/files"),
            ("/team", "/team/files", "/team/team/files"),
            ("/v1", "/files/", "/v1/files/"),
            ("/v1", "/files/a%20b%C3%BC", "/v1/files/a%20b%C3%BC"),
            ("/v1", "/files/100%25", "/v1/files/100%25"),
            ("/v1", "/models/..x/...", "/v1/models/..x/..."),
        ] {
            assert_eq!(below(base, None, None, rest).as_deref(), Ok(whole), "{base} + {rest}");
        }
    }

    #[test]
    fn a_base_that_every_url_of_a_kind_ends_in_is_there_once() {
        for (base, rest, whole) in [
            ("/openai/v1", "/openai/v1/files", "/openai/v1/files"),
            ("/openai/v1", "/v1/files", "/openai/v1/files"),
            ("/openai/v1", "/files", "/openai/v1/files"),
            ("/openai/v1", "/openai/v1", "/openai/v1"),
            ("/openai/v1", "/openai/v10/files", "/openai/v1/openai/v10/files"),
            ("/gateway/openai/v1", "/openai/v1/files", "/gateway/openai/v1/files"),
        ] {
            let own = Some("/openai/v1");
            assert_eq!(below(base, own, None, rest).as_deref(), Ok(whole), "{base} + {rest}");
        }
        assert!(below("/openai/v1", Some("/openai/v1"), None, "/openai/v1/../admin").is_err());
    }

    #[test]
    fn a_version_that_the_base_url_named_is_there_once() {
        for (rest, whole) in [
            ("/files", "/g/v1beta/files"),
            ("/v1beta/files", "/g/v1beta/files"),
            ("/v1/files", "/g/v1/files"),
            ("/upload/v1beta/files", "/g/upload/v1beta/files"),
        ] {
            assert_eq!(below("/g", None, Some("v1beta"), rest).as_deref(), Ok(whole), "{rest}");
        }
    }

    #[test]
    fn no_path_leads_out_of_the_base_url() {
        for rest in [
            "",
            "/",
            "//evil.example/x",
            "/files//x",
            "/../admin",
            "/files/..",
            "/files/./x",
            "/%2e%2e/admin",
            "/%2E./admin",
            "/.%2e",
            "/%252e%252e/admin",
            "/files/..;x/admin",
            "/files%2f..%2fadmin",
            "/files/%2F",
            "/files/%5c..",
            "/files\\..",
            "/files/%00",
            "/files/%0d%0ax",
            "/files/%zz",
            "/files/%2",
            "/files/%+1",
        ] {
            assert!(below("/v1", None, None, rest).is_err(), "{rest}");
        }
    }

    #[test]
    fn a_query_keeps_everything_but_keys() {
        assert_eq!(
            query(Some("limit=2&key=k&alt=media"), None),
            Some("limit=2&alt=media".into())
        );
        assert_eq!(query(Some("k%65y=k&API_KEY=x"), None), Some("API_KEY=x".into()));
        assert_eq!(
            query(Some("key=secret&beta=true&alt=sse"), Some("alt")),
            Some("beta=true".into())
        );
        assert_eq!(query(Some("api-key=k"), None), None);
        assert_eq!(query(None, None), None);
        assert_eq!(
            keys(Some("alt=sse&k%65y=a&beta=true&api_key=b")).as_deref(),
            Some("k%65y=a&api_key=b")
        );
        assert_eq!((keys(Some("alt=sse&monkey=a")), keys(None)), (None, None));
        for named in ["$httpMethod=POST&a=1", "a=1&%24HTTPmethod=POST", "$httpmethod&a=1"] {
            assert_eq!(
                query(Some(named), Some("$httpMethod")).as_deref(),
                Some("a=1"),
                "{named}"
            );
        }
    }

    #[test]
    fn a_path_is_known_however_it_is_written() {
        for written in [
            "/files/a",
            "/v1/files/a",
            "/v1/%66iles/a",
            "/v1beta/files/a",
            "/v1/%2566iles/a",
            "/V1Beta/files/a",
        ] {
            assert_eq!(plain(written), "/files/a", "{written}");
            assert_eq!(without_parameters(written), "/files/a", "{written}");
        }
        for written in ["/v1;x=1/files;y/a;", "/files%3Bx/a", "/v1%253B/files/a;/"] {
            let name = without_parameters(written);
            assert_eq!(name.trim_end_matches('/'), "/files/a", "{written}");
        }
        assert_eq!(plain("/v1/files;x"), "/files;x");
        assert_eq!(plain("/v1"), "");
        assert_eq!(plain("/files/%zz"), "/files/%zz");
    }

    #[test]
    fn a_providers_own_url_leads_through_the_sidecar() {
        let own = "http://localhost:4000/providers/openai";
        let seen = |url| as_the_app_reaches_it(url, "https://api.openai.com", "/v1", own);
        assert_eq!(
            seen("https://api.openai.com/v1/files/f?x=1").as_deref(),
            Some("http://localhost:4000/providers/openai/files/f?x=1")
        );
        assert_eq!(
            seen("/v1/files/f").as_deref(),
            Some("http://localhost:4000/providers/openai/files/f")
        );
        for other in [
            "https://api.openai.com.evil.example/v1/x",
            "https://blob.example/signed",
            "//blob.example/v1/x",
            "/elsewhere",
            "/v1x",
        ] {
            assert_eq!(seen(other), None, "{other}");
        }
    }
}
