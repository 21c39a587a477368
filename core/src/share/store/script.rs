//! The script that counts a limit in the store: how it is called, and what its answer means.

use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::resp::{self, Reply};
use super::{PLACE_AGAIN, PLACE_KEPT, Unanswered};
use crate::limits::limiter::{Limited, LimiterSettings, Which};

/// Its text.
pub const TEXT: &str = include_str!("script.lua");
/// The SHA-1 of its text, by which the store knows it.
pub const SHA: &str = "f01c949f73bb236d7c153bc5bf08cdfcc5f56730";

/// So much of each rate, in the order of [`Which::RATES`].
pub type Amounts<T> = [T; 5];

/// What is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish<'a> {
    /// Room for one request.
    Take {
        /// What it may need.
        amounts: Amounts<u64>,
        /// Names its place among all sidecars.
        place: Place,
    },
    /// So much was not used; below zero, more was used than was taken.
    Give {
        /// Of each; of requests 1 where it was never sent.
        amounts: Amounts<i64>,
        /// Its place is free.
        place: Place,
    },
    /// So much was used without asking, and these places are in use.
    Keep {
        /// So much.
        amounts: Amounts<u64>,
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

    /// Of a named limit, by its full name. `apart`: of whom that is told apart; none: of all together. All of a limit is in one
    /// slot, so that it is looked for once.
    pub fn of_limit(namespace: &str, full_name: &str, apart: Option<Apart>) -> Self {
        let mut tag = format!("bowsprit:{{{namespace}/limit/{full_name}}}");
        if let Some(Apart(digest)) = apart {
            let _ = write!(tag, ":{digest:032x}");
        }
        Self {
            rates: format!("{tag}:rates"),
            places: format!("{tag}:places"),
        }
    }
}

/// Somebody that a limit counts apart: a digest of what it is told apart by, which is the same in all sidecars and tells nothing
/// of it. 128 bits: no two are ever the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Apart(u128);

impl Apart {
    /// All whom a sidecar counts as one, since it counts as many apart as it may ([`MAX_KEYS`](crate::limits::keyed::MAX_KEYS)): the same
    /// count in all sidecars. No digest is it.
    pub const COMMON: Self = Self(0);

    /// Of what it says of itself; none: of all who say nothing.
    pub fn of(said: Option<&[u8]>) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([u8::from(said.is_some())]);
        hasher.update(said.unwrap_or_default());
        let mut first = [0; 16];
        for (to, from) in first.iter_mut().zip(hasher.finalize()) {
            *to = from;
        }
        Self(u128::from_be_bytes(first))
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
    let (word, amounts, places): (&[u8], Amounts<i64>, &[Place]) = match wish {
        Wish::Take { amounts, place } => (b"take", amounts.map(whole), std::slice::from_ref(place)),
        Wish::Give { amounts, place } => (b"give", *amounts, std::slice::from_ref(place)),
        Wish::Keep { amounts, places } => (b"keep", amounts.map(whole), places),
    };
    let places = if limits.concurrent.is_some() { places } else { &[] };
    named.begin(to, (SHA, TEXT), 2 + 13 + places.len());
    resp::text(to, keys.rates.as_bytes());
    resp::text(to, keys.places.as_bytes());
    resp::text(to, word);
    resp::number(to, limits.concurrent.map_or(0, |limit| limit.get().into()));
    resp::number(to, i64::try_from(PLACE_KEPT.as_millis()).unwrap_or(i64::MAX));
    for which in Which::RATES {
        resp::number(to, limits.amount(which).map_or(0, whole));
    }
    for amount in amounts {
        resp::number(to, amount);
    }
    for place in places {
        let mut name = [0; 32];
        write_hex(&mut name, (u128::from(place.of) << 64) | u128::from(place.number));
        resp::text(to, &name);
    }
}

fn whole(amount: u64) -> i64 {
    // Lua counts in doubles: beyond 2^53 by parts of 2^53, which is a millionth of a cent of a thousand dollars.
    i64::try_from(amount).unwrap_or(i64::MAX / 2).min(i64::MAX / 2)
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
    let which = match usize::try_from(code % 8).ok()? {
        6 => Which::Concurrency,
        number => *Which::RATES.get(number.checked_sub(1)?)?,
    };
    let micros = u64::try_from(code / 8).ok()?;
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
        let wish = Wish::Take {
            amounts: [1, 120, 20, 100, 0],
            place,
        };
        assert_eq!(
            written(Named::Sha, &limits, &wish),
            format!(
                "*19 $7 EVALSHA $40 {SHA} $1 2 $30 bowsprit:{{team-a/gemini}}:rates $31 bowsprit:{{team-a/gemini}}:places \
                 $4 take $1 4 $5 60000 $2 60 $4 9000 $1 0 $1 0 $1 0 $1 1 $3 120 $2 20 $3 100 $1 0 \
                 $32 00000000000000ab0000000000000007 "
            )
        );
        let rates = LimiterSettings {
            concurrent: None,
            ..limits
        };
        let without = written(Named::Text, &rates, &wish);
        assert!(
            without.starts_with("*18 $4 EVAL "),
            "no place is named where none is limited: {without}"
        );
    }

    #[test]
    fn whoever_is_told_apart_has_a_name_of_fixed_length_that_tells_nothing_and_all_of_a_limit_are_in_one_slot() {
        let keys = |said: Option<&str>| {
            let apart = Apart::of(said.map(str::as_bytes));
            Keys::of_limit("team-a", "smart/each", Some(apart))
        };
        let (one, nobody, empty) = (keys(Some("team {x}\r\n")), keys(None), keys(Some("")));
        let tag = "bowsprit:{team-a/limit/smart/each}";
        for keys in [&one, &nobody, &empty] {
            let name = keys.rates.strip_prefix(tag).unwrap().strip_suffix(":rates").unwrap();
            assert!(
                name.len() == 33 && name[1..].bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{name}"
            );
        }
        assert!(one != nobody && nobody != empty);
        assert_eq!(one, keys(Some("team {x}\r\n")), "in all sidecars");
        assert_eq!(
            Keys::of_limit("team-a", "smart/all", None).rates,
            "bowsprit:{team-a/limit/smart/all}:rates"
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
            answer(&Reply::Integer(1_500_000 * 8 + 1)),
            of(Which::Requests, Duration::from_millis(1500))
        );
        assert_eq!(answer(&Reply::Integer(2)), of(Which::Tokens, Duration::from_millis(1)));
        assert_eq!(
            answer(&Reply::Integer(i64::MAX / 8 * 8 + 2)),
            of(Which::Tokens, Duration::from_hours(1))
        );
        assert_eq!(answer(&Reply::Integer(6)), of(Which::Concurrency, PLACE_AGAIN));
        assert_eq!(answer(&Reply::Integer(5)), of(Which::Cost, Duration::from_millis(1)));
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
            Reply::Integer(8),
            Reply::Integer(7),
            Reply::Nil,
            Reply::Simple("OK"),
            Reply::Error("MOVED 1"),
        ] {
            assert_eq!(answer(&garbled), Err(Unanswered::Garbled), "{garbled:?}");
        }
    }
}
