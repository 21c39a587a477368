//! Paths and questions of HTTP services. Pure.

use std::fmt::Write as _;

/// A path with its question, whatever stands in the values. A value that is not there is left out.
pub(crate) fn with<'a>(path: &str, question: impl IntoIterator<Item = (&'a str, Option<String>)>) -> String {
    let mut uri = path.to_owned();
    let mut sign = '?';
    for (name, value) in question {
        if let Some(value) = value {
            let _ = write!(uri, "{sign}{name}={}", encoded(&value));
            sign = '&';
        }
    }
    uri
}

/// As a part of a path or a value of a question: all but RFC 3986's unreserved characters is escaped.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_more_than_a_value() {
        let question = [
            ("namespace", Some("shop".to_owned())),
            ("provider", None),
            ("route", Some("a&b=c/../%2e é".to_owned())),
        ];
        assert_eq!(
            with("/v1/stats", question),
            "/v1/stats?namespace=shop&route=a%26b%3Dc%2F..%2F%252e%20%C3%A9"
        );
        assert_eq!(with("/v1/stats", []), "/v1/stats");
        let which =
            [("route", "smart"), ("model", "models/g p&t=%")].map(|(name, value)| (name, Some(value.to_owned())));
        assert_eq!(
            with("/cache/clear", which),
            "/cache/clear?route=smart&model=models%2Fg%20p%26t%3D%25"
        );
    }
}
