//! Where a provider's API begins.

use std::fmt;

use http::Uri;

/// An http or https URL with a host, without user, query or fragment, and without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    https: bool,
    authority: String,
    host: String,
    port: u16,
    path: String,
}

impl BaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with its path.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains(['#', '@', '?']) {
            return Err("must not have a user, a query or a fragment".into());
        }
        let uri: Uri = text.parse().map_err(|error| format!("is no URL ({error})"))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("must begin with https:// or http://".into()),
        };
        let authority = uri
            .authority()
            .filter(|authority| !matches!(authority.host(), "" | "[]"))
            .ok_or("must have a host")?;
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => {
                if https {
                    443
                } else {
                    80
                }
            }
            Some(rest) => rest
                .strip_prefix(':')
                .and_then(|digits| digits.parse().ok())
                .filter(|port| *port != 0)
                .ok_or("has a port that is no number from 1 to 65535")?,
            None => return Err("has a host that cannot be read".into()),
        };
        Ok(Self {
            https,
            authority: authority.as_str().to_owned(),
            host: authority
                .host()
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port,
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Whether both lead to the same server: scheme, host and port.
    pub fn same_origin(&self, other: &Self) -> bool {
        (self.https, self.port) == (other.https, other.port) && self.host.eq_ignore_ascii_case(&other.host)
    }

    /// Host and, where it was given, port: the `Host` header.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host name or address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, by the scheme where none was given.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same server with another path, which begins with a slash or is empty.
    #[must_use]
    pub fn with_path(mut self, path: String) -> Self {
        self.path = path;
        self
    }

    /// The path before every request's own, without a slash at its end; often empty.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            if self.https { "https" } else { "http" },
            self.authority,
            self.path
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_once() {
        let url = BaseUrl::parse("https://api.openai.com/v1/").unwrap();
        assert_eq!(
            (url.host(), url.port(), url.path(), url.is_https()),
            ("api.openai.com", 443, "/v1", true)
        );
        assert_eq!(url.to_string(), "https://api.openai.com/v1");
        let url = BaseUrl::parse("http://[::1]:8000").unwrap();
        assert_eq!(
            (url.host(), url.port(), url.path(), url.authority()),
            ("::1", 8000, "", "[::1]:8000")
        );
    }

    #[test]
    fn what_could_mislead_is_refused() {
        for text in [
            "",
            "api.openai.com",
            "ftp://x",
            "https://",
            "https://user:pw@x/",
            "https://x/?q=1",
            "https://x/#f",
            "https://x:99999/",
            "https://x:/",
            "https://[]:8443/",
            "/v1",
        ] {
            assert!(BaseUrl::parse(text).is_err(), "{text}");
        }
    }
}
