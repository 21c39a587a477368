//! Where the store is: the URL in a Secret, and where a cluster sends on to.

use std::fmt;

use zeroize::Zeroizing;

/// The usual port.
const PORT: u16 = 6379;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Node {
    /// The node that an answer sends on to, as `from` wrote it: `host:port`, where an empty host is `from`'s own. An IPv6 address
    /// stands there without brackets.
    pub fn elsewhere(at: &str, from: &Self) -> Option<Self> {
        let (host, port) = at.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let host = if host.is_empty() { from.host.as_str() } else { host };
        is_host(host).then(|| Self {
            host: host.to_owned(),
            port,
        })
    }
}

fn is_host(host: &str) -> bool {
    let is_in_one = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    !host.is_empty() && host.len() <= 253 && host.bytes().all(is_in_one)
}

/// A store, as its URL says. Holds a password: it has no `Debug`.
pub struct Address {
    /// The first node.
    pub node: Node,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Who asks; empty: the default user.
    pub user: Zeroizing<String>,
    /// Empty: none is wanted.
    pub password: Zeroizing<String>,
    /// The number of the database; 0 in a cluster.
    pub database: u32,
}

/// Why a URL is refused. Says nothing of what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// Another scheme, or none.
    #[error("does not begin with redis:// or rediss://")]
    Scheme,
    /// No host, or one that no name can be; or no port that is one.
    #[error("names no host and port, such as redis://redis.limits.svc:6379")]
    Host,
    /// What follows the host is no number.
    #[error("names a database that is no number, such as redis://redis.limits.svc:6379/0")]
    Database,
    /// A `%` that begins no byte, or bytes that are no text.
    #[error("has a user or password that is not percent-encoded")]
    Encoding,
}

impl Address {
    /// Reads `redis://user:password@host:port/database`; `rediss` is with TLS, all but the host may be left out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str) -> Result<Self, BadAddress> {
        let url = url.trim();
        let (tls, rest) = match (url.strip_prefix("redis://"), url.strip_prefix("rediss://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(BadAddress::Scheme),
        };
        let (rest, database) = rest
            .rsplit_once('/')
            .filter(|(_, last)| !last.contains('@'))
            .unwrap_or((rest, ""));
        let (user, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => place
                .split_once(':')
                .map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(PORT), str::parse).map_err(|_| BadAddress::Host)?;
        if !is_host(host) || port == 0 {
            return Err(BadAddress::Host);
        }
        let database = if database.is_empty() { Ok(0) } else { database.parse() };
        Ok(Self {
            node: Node {
                host: host.to_owned(),
                port,
            },
            tls,
            user: decoded(user)?,
            password: decoded(password)?,
            database: database.map_err(|_| BadAddress::Database)?,
        })
    }
}

fn decoded(text: &str) -> Result<Zeroizing<String>, BadAddress> {
    // Never moved to a larger place, which would leave a copy of it behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        bytes.push(match byte {
            b'%' => match (digit(), digit()) {
                (Some(high), Some(low)) => u8::try_from(high * 16 + low).map_err(|_| BadAddress::Encoding)?,
                _ => return Err(BadAddress::Encoding),
            },
            byte => byte,
        });
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| BadAddress::Encoding)?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (String, bool, String, String, u32);

    fn read(url: &str) -> Result<Read, BadAddress> {
        let address = Address::parse(url)?;
        let (user, password) = (address.user.to_string(), address.password.to_string());
        Ok((address.node.to_string(), address.tls, user, password, address.database))
    }

    fn is(node: &str, tls: bool, user: &str, password: &str, database: u32) -> Read {
        (node.into(), tls, user.into(), password.into(), database)
    }

    #[test]
    fn a_url_says_where_who_and_which() {
        assert_eq!(read("redis://redis"), Ok(is("redis:6379", false, "", "", 0)));
        assert_eq!(read("rediss://r.svc:7000/3\n"), Ok(is("r.svc:7000", true, "", "", 3)));
        assert_eq!(read("redis://:p%40ss%3A@r:1"), Ok(is("r:1", false, "", "p@ss:", 0)));
        assert_eq!(read("redis://bob:a:b/c@r/"), Ok(is("r:6379", false, "bob", "a:b/c", 0)));
        assert_eq!(read("redis://[::1]:70"), Ok(is("[::1]:70", false, "", "", 0)));
        for (url, why) in [
            ("http://redis", BadAddress::Scheme),
            ("redis", BadAddress::Scheme),
            ("redis://", BadAddress::Host),
            ("redis://a b", BadAddress::Host),
            ("redis://a:0", BadAddress::Host),
            ("redis://a:99999", BadAddress::Host),
            ("redis://a/x", BadAddress::Database),
            ("redis://%4:x@a", BadAddress::Encoding),
            ("redis://%ff:x@a", BadAddress::Encoding),
        ] {
            assert_eq!(read(url), Err(why), "{url}");
        }
    }

    #[test]
    fn a_cluster_sends_on_to_a_host_and_a_port() {
        let from = Node {
            host: "r".into(),
            port: 1,
        };
        let elsewhere = |at: &str| Node::elsewhere(at, &from).map(|node| node.to_string());
        assert_eq!(elsewhere("10.0.0.2:6380").as_deref(), Some("10.0.0.2:6380"));
        assert_eq!(elsewhere(":6380").as_deref(), Some("r:6380"));
        assert_eq!(elsewhere("fd00::2:6380").as_deref(), Some("[fd00::2]:6380"));
        for at in ["", "r", "r:", "r:0", "r:x", "a b:1", "a/b:1"] {
            assert_eq!(elsewhere(at), None, "{at}");
        }
    }
}
