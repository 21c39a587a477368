//! How the store is asked for an answer of a route and told of one, in one script each, and what it says.

use std::time::Duration;

use super::{GENERATION_KEPT, Generation, Id, Names};
use crate::share::store::Unanswered;
use crate::share::store::resp::{self, Reply};
use crate::share::store::script::{Elsewhere, Named, elsewhere};

/// The script's text.
pub const TEXT: &str = include_str!("script.lua");
/// The SHA-1 of its text, by which the store knows it.
pub const SHA: &str = "3b880bd1fbe3ab83e63e27b79011b66e29be7c83";
/// Digits of the time that an answer is kept for, as the script writes it.
const DIGITS: usize = 12;
/// What the script writes where something else is in an answer's place.
const FOREIGN: &[u8] = b"!";
/// The longest that the store says of one: a value, with what stands before it.
pub const LONGEST: usize = super::value::LARGEST + 32 + DIGITS;

/// What is asked of the store.
#[derive(Clone, Copy, Debug)]
pub enum Wish<'a> {
    /// The generation, and this answer where there is one.
    Look {
        /// The answer.
        id: &'a Id,
        /// The generation from now on where there is none.
        fresh: Generation,
    },
    /// To keep this answer, if the generation still is this one.
    Keep {
        /// The answer.
        id: &'a Id,
        /// The generation, as a look said.
        generation: Generation,
        /// As [`super::value`] writes it.
        value: &'a [u8],
        /// For how long.
        time: Duration,
    },
    /// To let go of the generation.
    Clear,
}

/// Writes the command.
pub fn call(to: &mut Vec<u8>, named: Named, names: &Names, wish: &Wish<'_>) {
    let kept = millis(GENERATION_KEPT);
    match wish {
        Wish::Look { id, fresh } => {
            named.begin(to, (SHA, TEXT), 5);
            resp::text(to, names.generation().as_bytes());
            resp::text(to, names.answer(id).as_bytes());
            resp::text(to, b"look");
            resp::text(to, fresh.as_bytes());
            resp::number(to, kept);
        }
        Wish::Keep {
            id,
            generation,
            value,
            time,
        } => {
            named.begin(to, (SHA, TEXT), 7);
            resp::text(to, names.generation().as_bytes());
            resp::text(to, names.answer(id).as_bytes());
            resp::text(to, b"keep");
            resp::text(to, generation.as_bytes());
            resp::number(to, kept);
            resp::text(to, value);
            resp::number(to, millis(*time).max(1));
        }
        Wish::Clear => {
            resp::begin(to, 2);
            resp::text(to, b"DEL");
            resp::text(to, names.generation().as_bytes());
        }
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// What is in an answer's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// Nothing.
    Empty,
    /// This, for so long.
    Value(&'a [u8], Duration),
    /// Nothing that anybody here has put there.
    Foreign,
}

/// What the store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// The generation, and what is in the answer's place.
    Looked(Generation, Place<'a>),
    /// It is done: kept, or cleared.
    Done,
    /// The generation is another one: not kept.
    Cleared,
    /// The store does not know the script: send its text.
    NoScript,
    /// Another node has this route.
    Elsewhere {
        /// `host:port`; the host may be empty, which is the same one.
        at: &'a str,
        /// Whether only this question is to go there.
        for_once: bool,
    },
}

/// Reads what the store says to a wish.
///
/// # Errors
/// It is no answer to that.
pub fn said<'a>(wish: &Wish<'_>, reply: &Reply<'a>) -> Result<Said<'a>, Unanswered> {
    match (wish, reply) {
        (_, Reply::Error(error)) => match elsewhere(error)? {
            Elsewhere::NoScript => Ok(Said::NoScript),
            Elsewhere::At { at, for_once } => Ok(Said::Elsewhere { at, for_once }),
        },
        (Wish::Look { .. }, Reply::Bulk(text)) => looked(text).ok_or(Unanswered::Garbled),
        (Wish::Keep { .. }, Reply::Integer(1)) | (Wish::Clear, Reply::Integer(0 | 1)) => Ok(Said::Done),
        (Wish::Keep { .. }, Reply::Integer(0)) => Ok(Said::Cleared),
        _ => Err(Unanswered::Garbled),
    }
}

fn looked(text: &[u8]) -> Option<Said<'_>> {
    let (generation, rest) = text.split_at_checked(32)?;
    let generation = Generation::read(generation)?;
    if rest.is_empty() || rest == FOREIGN {
        let place = if rest.is_empty() { Place::Empty } else { Place::Foreign };
        return Some(Said::Looked(generation, place));
    }
    let (left, value) = rest.split_at_checked(DIGITS)?;
    let left: i64 = std::str::from_utf8(left).ok()?.parse().ok()?;
    // Below zero: it is kept for ever, and nobody here keeps anything for ever.
    let place = match u64::try_from(left) {
        Ok(left) => Place::Value(value, Duration::from_millis(left)),
        Err(_) => Place::Foreign,
    };
    Some(Said::Looked(generation, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::of_route("team-a", "deployment/shop", "smart", "basis")
    }

    fn written(named: Named, wish: &Wish<'_>) -> String {
        let mut to = Vec::new();
        call(&mut to, named, &names(), wish);
        String::from_utf8(to).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn a_command_says_how_many_texts_follow() {
        let (id, generation) = ([7; 32], Generation::new(1));
        let wishes = [
            Wish::Look {
                id: &id,
                fresh: generation,
            },
            Wish::Keep {
                id: &id,
                generation,
                value: b"v",
                time: Duration::from_secs(9),
            },
            Wish::Clear,
        ];
        for wish in &wishes {
            let by_sum = written(Named::Sha, wish);
            let count: usize = by_sum[1..by_sum.find(' ').unwrap()].parse().unwrap();
            assert_eq!(by_sum.matches('$').count(), count, "{by_sum}");
            let by_text = by_sum
                .replace(SHA, TEXT)
                .replace("$7 EVALSHA $40", &format!("$4 EVAL ${}", TEXT.len()));
            assert_eq!(written(Named::Text, wish), by_text);
        }
        assert!(written(Named::Sha, &wishes[1]).ends_with("$1 v $4 9000 "));
        assert_eq!(
            written(Named::Sha, &Wish::Clear),
            "*2 $3 DEL $31 bowsprit:{team-a/smart}:answers "
        );
    }

    #[test]
    fn what_is_said_is_read_and_anything_else_is_no_answer() {
        let (id, fresh) = ([7; 32], Generation::new(1));
        let look = Wish::Look { id: &id, fresh };
        let of = |rest: &str| [std::str::from_utf8(fresh.as_bytes()).unwrap(), rest].concat();
        let place = |rest: &str| match said(&look, &Reply::Bulk(of(rest).as_bytes())) {
            Ok(Said::Looked(generation, Place::Value(value, left))) => {
                assert_eq!(generation, fresh);
                format!("{} {}", left.as_millis(), String::from_utf8_lossy(value))
            }
            other => format!("{other:?}"),
        };
        assert_eq!(place("000000003000value"), "3000 value");
        assert!(place("").contains("Empty"));
        for foreign in ["!", "-00000000001value"] {
            assert!(place(foreign).contains("Foreign"), "{foreign}");
        }
        for garbled in ["x", "00000000", "abcdefghijklvalue"] {
            assert!(place(garbled).contains("Garbled"), "{garbled}");
        }
        for reply in [
            Reply::Integer(1),
            Reply::Nil,
            Reply::Simple("OK"),
            Reply::Bulk(b"short"),
        ] {
            assert_eq!(said(&look, &reply), Err(Unanswered::Garbled), "{reply:?}");
        }
        let keep = Wish::Keep {
            id: &id,
            generation: fresh,
            value: b"v",
            time: Duration::ZERO,
        };
        assert_eq!(said(&keep, &Reply::Integer(1)), Ok(Said::Done));
        assert_eq!(said(&keep, &Reply::Integer(0)), Ok(Said::Cleared));
        assert_eq!(said(&keep, &Reply::Integer(2)), Err(Unanswered::Garbled));
        assert_eq!(said(&Wish::Clear, &Reply::Integer(0)), Ok(Said::Done));
        assert_eq!(said(&keep, &Reply::Error("NOSCRIPT no")), Ok(Said::NoScript));
        assert_eq!(said(&keep, &Reply::Error("WRONGTYPE no")), Err(Unanswered::Refused));
        assert_eq!(
            said(&keep, &Reply::Error("MOVED 1 a:2")),
            Ok(Said::Elsewhere {
                at: "a:2",
                for_once: false
            })
        );
    }
}
