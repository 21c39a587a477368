//! The script that counts a limit in the store: how it is called, and what its answer means.

use std::time::Duration;

use super::resp::{self, Reply};
use super::{PLACE_AGAIN, PLACE_KEPT, Unanswered};
use crate::limiter::{Limited, LimiterSettings, Which};

/// Its text.
pub const TEXT: &str = include_str!("script.lua");
/// The SHA-1 of its text, by which the store knows it.
pub const SHA: &str = "f93da63e84a7f3498ef19419c6123a231dc7d585";

/// What is asked of it. Amounts are requests and tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish<'a> {
    /// Room for one request of so many tokens.
    Take {
        /// Its estimate.
        tokens: u64,
        /// Names its place among all sidecars.
        place: Place,
    },
    /// So much was not used; below zero, more was used than was taken.
    Give {
        /// 1 where the request was never sent.
        requests: i64,
        /// Of tokens.
        tokens: i64,
        /// Its place is free.
        place: Place,
    },
    /// So much was used without asking, and these places are in use.
    Keep {
        /// Requests.
        requests: u64,
        /// Tokens.
        tokens: u64,
        /// All places of this sidecar.
        places: &'a [Place],
    },
}

/// Names a place: by the sidecar, at random, and by its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Of the sidecar.
    pub of: u64,
    /// In the order in which they were taken.
    pub number: u64,
}

/// The keys of one limit: of one slot, wherever a cluster has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    rates: String,
    places: String,
}

impl Keys {
    /// Of the limits of a provider. What stands in braces decides on the slot; neither name can hold one.
    pub fn of_provider(namespace: &str, provider: &str) -> Self {
        let tag = format!("bowsprit:{{{namespace}/{provider}}}");
        Self {
            rates: format!("{tag}:rates"),
            places: format!("{tag}:places"),
        }
    }
}

/// How a script is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// By its SHA-1, which costs few bytes.
    Sha,
    /// By its text, for a store that does not know it yet.
    Text,
}

impl Named {
    /// Begins the call of a script, its SHA-1 and its text, that so many texts follow, of which two are keys.
    pub fn begin(self, to: &mut Vec<u8>, (sha, text): (&str, &str), follow: usize) {
        let (command, script) = match self {
            Self::Sha => ("EVALSHA", sha),
            Self::Text => ("EVAL", text),
        };
        resp::begin(to, 3 + follow);
        resp::text(to, command.as_bytes());
        resp::text(to, script.as_bytes());
        resp::number(to, 2);
    }
}

/// Writes the call.
pub fn call(to: &mut Vec<u8>, named: Named, keys: &Keys, limits: &LimiterSettings, wish: &Wish<'_>) {
    let (word, requests, tokens, places): (&[u8], i64, i64, &[Place]) = match wish {
        Wish::Take { tokens, place } => (b"take", 1, whole(*tokens), std::slice::from_ref(place)),
        Wish::Give {
            requests,
            tokens,
            place,
        } => (b"give", *requests, *tokens, std::slice::from_ref(place)),
        Wish::Keep {
            requests,
            tokens,
            places,
        } => (b"keep", whole(*requests), whole(*tokens), places),
    };
    let places = if limits.concurrent.is_some() { places } else { &[] };
    named.begin(to, (SHA, TEXT), 2 + 7 + places.len());
    resp::text(to, keys.rates.as_bytes());
    resp::text(to, keys.places.as_bytes());
    resp::text(to, word);
    resp::number(to, limits.requests_per_minute.map_or(0, |limit| limit.get().into()));
    resp::number(to, limits.tokens_per_minute.map_or(0, |limit| whole(limit.get())));
    resp::number(to, limits.concurrent.map_or(0, |limit| limit.get().into()));
    resp::number(to, i64::try_from(PLACE_KEPT.as_millis()).unwrap_or(i64::MAX));
    resp::number(to, requests);
    resp::number(to, tokens);
    for place in places {
        let mut name = [0; 32];
        write_hex(&mut name, (u128::from(place.of) << 64) | u128::from(place.number));
        resp::text(to, &name);
    }
}

fn whole(amount: u64) -> i64 {
    // Lua counts in doubles: beyond this nothing is exact, and no request is so large.
    i64::try_from(amount).unwrap_or(i64::MAX).min(1 << 53)
}

fn write_hex(to: &mut [u8; 32], number: u128) {
    for (at, digit) in to.iter_mut().rev().enumerate() {
        let nibble = (number >> (4 * at)) & 0xf;
        *digit = *b"0123456789abcdef"
            .get(usize::try_from(nibble).unwrap_or(0))
            .unwrap_or(&b'0');
    }
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// There was room, or what was said is taken down.
    Done,
    /// There is none.
    Limited(Limited),
    /// The store does not know the script: send its text.
    NoScript,
    /// Another node has this limit. `for_once`: for this one question, after `ASKING`.
    Elsewhere {
        /// `host:port`; the host may be empty, which is the same one.
        at: &'a str,
        /// Whether only this question is to go there.
        for_once: bool,
    },
}

/// Reads an answer of the script.
///
/// # Errors
/// It is none.
pub fn answer<'a>(reply: &Reply<'a>) -> Result<Answer<'a>, Unanswered> {
    match reply {
        Reply::Integer(0) => Ok(Answer::Done),
        Reply::Integer(code) if *code > 0 => limited(*code).ok_or(Unanswered::Garbled),
        Reply::Error(error) => match elsewhere(error)? {
            Elsewhere::NoScript => Ok(Answer::NoScript),
            Elsewhere::At { at, for_once } => Ok(Answer::Elsewhere { at, for_once }),
        },
        _ => Err(Unanswered::Garbled),
    }
}

/// What an error sends on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere<'a> {
    /// To the script's text: the store does not know its sum.
    NoScript,
    /// To another node.
    At {
        /// `host:port`; the host may be empty, which is the same one.
        at: &'a str,
        /// Whether only this question is to go there.
        for_once: bool,
    },
}

/// Reads an error of the store.
///
/// # Errors
/// It sends on to nowhere.
pub fn elsewhere(error: &str) -> Result<Elsewhere<'_>, Unanswered> {
    match (resp::kind(error), error.split(' ').nth(2)) {
        ("NOSCRIPT", _) => Ok(Elsewhere::NoScript),
        (kind @ ("MOVED" | "ASK"), Some(at)) => Ok(Elsewhere::At {
            at,
            for_once: kind == "ASK",
        }),
        ("MOVED" | "ASK", None) => Err(Unanswered::Garbled),
        _ => Err(Unanswered::Refused),
    }
}

fn limited(code: i64) -> Option<Answer<'static>> {
    let which = match code % 4 {
        1 => Which::Requests,
        2 => Which::Tokens,
        3 => Which::Concurrency,
        _ => return None,
    };
    let micros = u64::try_from(code / 4).ok()?;
    // No debt is longer than an hour; a wait of nothing would be asked again at once, for ever.
    let wait = Duration::from_micros(micros).clamp(Duration::from_millis(1), Duration::from_hours(1));
    let retry_in = Some(if which == Which::Concurrency { PLACE_AGAIN } else { wait });
    Some(Answer::Limited(Limited { which, retry_in }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::{NonZeroU32, NonZeroU64};

    fn written(named: Named, limits: &LimiterSettings, wish: &Wish<'_>) -> String {
        let mut to = Vec::new();
        call(&mut to, named, &Keys::of_provider("team-a", "gemini"), limits, wish);
        String::from_utf8(to).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn a_call_names_the_script_the_keys_the_limits_and_what_is_taken() {
        let limits = LimiterSettings {
            requests_per_minute: NonZeroU32::new(60),
            tokens_per_minute: NonZeroU64::new(9000),
            concurrent: NonZeroU32::new(4),
            ..LimiterSettings::default()
        };
        let place = Place { of: 0xab, number: 7 };
        let wish = Wish::Take { tokens: 120, place };
        assert_eq!(
            written(Named::Sha, &limits, &wish),
            format!(
                "*13 $7 EVALSHA $40 {SHA} $1 2 $30 bowsprit:{{team-a/gemini}}:rates $31 bowsprit:{{team-a/gemini}}:places \
                 $4 take $2 60 $4 9000 $1 4 $5 60000 $1 1 $3 120 $32 00000000000000ab0000000000000007 "
            )
        );
        let rates = LimiterSettings {
            concurrent: None,
            ..limits
        };
        let without = written(Named::Text, &rates, &wish);
        assert!(
            without.starts_with("*12 $4 EVAL "),
            "no place is named where none is limited: {without}"
        );
    }

    #[test]
    fn answers_say_what_they_mean_or_nothing() {
        let of = |which, retry_in| {
            Ok(Answer::Limited(Limited {
                which,
                retry_in: Some(retry_in),
            }))
        };
        assert_eq!(answer(&Reply::Integer(0)), Ok(Answer::Done));
        assert_eq!(
            answer(&Reply::Integer(1_500_000 * 4 + 1)),
            of(Which::Requests, Duration::from_millis(1500))
        );
        assert_eq!(answer(&Reply::Integer(2)), of(Which::Tokens, Duration::from_millis(1)));
        assert_eq!(
            answer(&Reply::Integer(i64::MAX / 4 * 4 + 2)),
            of(Which::Tokens, Duration::from_hours(1))
        );
        assert_eq!(answer(&Reply::Integer(3)), of(Which::Concurrency, PLACE_AGAIN));
        assert_eq!(
            answer(&Reply::Error("NOSCRIPT No matching script.")),
            Ok(Answer::NoScript)
        );
        let at = "10.0.0.2:6379";
        assert_eq!(
            answer(&Reply::Error("MOVED 3999 10.0.0.2:6379")),
            Ok(Answer::Elsewhere { at, for_once: false })
        );
        assert_eq!(
            answer(&Reply::Error("ASK 3999 10.0.0.2:6379")),
            Ok(Answer::Elsewhere { at, for_once: true })
        );
        for refused in [
            "WRONGTYPE Operation against a key",
            "ERR unknown",
            "OOM command not allowed",
            "",
        ] {
            assert_eq!(answer(&Reply::Error(refused)), Err(Unanswered::Refused));
        }
        for garbled in [
            Reply::Integer(-1),
            Reply::Integer(4),
            Reply::Nil,
            Reply::Simple("OK"),
            Reply::Error("MOVED 1"),
        ] {
            assert_eq!(answer(&garbled), Err(Unanswered::Garbled), "{garbled:?}");
        }
    }
}
