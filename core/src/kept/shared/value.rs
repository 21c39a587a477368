//! An answer as it is in the store. It says of itself which version of this it is, whose it is, for how long it was good, and the sum of it
//! all: what was cut, written by another release, or put there by somebody else is no answer.
//!
//! The sum is no signature: who may write to the store may give answers. See docs/caching.md.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::Id;
use crate::cost::Picodollars;
use crate::kept::LARGEST_ANSWER;

/// The first byte: of another, nothing that follows is what it seems.
const VERSION: u8 = 1;
/// What a value may say beside its body, bytes: headers and ids.
const LARGEST_HEAD: usize = 8 << 10;
/// The largest value, bytes.
pub const LARGEST: usize = LARGEST_ANSWER + LARGEST_HEAD;
/// Stands for the length of what there is none of.
const NONE: u32 = u32::MAX;

/// An answer, as it is written and read. Headers are as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// For how long it was good when it was given.
    pub ttl: Duration,
    /// Tokens that it was billed with, and what these cost.
    pub spent: (u64, Picodollars),
    /// `X-Request-ID` of the request that it answered.
    pub request_id: &'a str,
    /// The model that was asked for.
    pub asked: &'a str,
    /// The ProviderConfig that gave it.
    pub provider: &'a [u8],
    /// The model that gave it, where it is not the one that was asked for.
    pub model: Option<&'a [u8]>,
    /// What of the request could not be carried to it.
    pub warning: Option<&'a [u8]>,
    /// What its body is.
    pub content_type: Option<&'a [u8]>,
    /// Its body.
    pub body: &'a [u8],
}

/// Writes it. `None`: it is too large to be kept.
pub fn write(id: &Id, told: &Told<'_>) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(told.body.len() + 512);
    value.push(VERSION);
    value.extend_from_slice(&[0; 32]);
    value.extend_from_slice(id);
    value.extend_from_slice(&u64::try_from(told.ttl.as_millis()).ok()?.to_le_bytes());
    value.extend_from_slice(&told.spent.0.to_le_bytes());
    value.extend_from_slice(&told.spent.1.get().to_le_bytes());
    for part in [
        Some(told.request_id.as_bytes()),
        Some(told.asked.as_bytes()),
        Some(told.provider),
        told.model,
        told.warning,
        told.content_type,
        Some(told.body),
    ] {
        let length = part.map_or(Some(NONE), |part| u32::try_from(part.len()).ok())?;
        value.extend_from_slice(&length.to_le_bytes());
        value.extend_from_slice(part.unwrap_or_default());
    }
    if value.len() > LARGEST || value.len() - told.body.len() > LARGEST_HEAD {
        return None;
    }
    let sum = sum(value.get(33..)?);
    value.get_mut(1..33)?.copy_from_slice(&sum);
    Some(value)
}

fn sum(of: &[u8]) -> [u8; 32] {
    Sha256::digest(of).into()
}

/// Reads it. `None`: it is none, or another's.
pub fn read<'a>(id: &Id, value: &'a [u8]) -> Option<Told<'a>> {
    let (version, rest) = value.split_first().filter(|(version, _)| **version == VERSION)?;
    debug_assert_eq!(*version, VERSION);
    let (said, rest) = rest.split_at_checked(32)?;
    let mut rest = rest.strip_prefix(id).filter(|_| sum(rest) == said)?;
    let ttl = Duration::from_millis(u64::from_le_bytes(*take(&mut rest)?));
    let tokens = u64::from_le_bytes(*take(&mut rest)?);
    let cost = Picodollars::new(i64::from_le_bytes(*take(&mut rest)?));
    let told = Told {
        ttl,
        spent: (tokens, cost),
        request_id: std::str::from_utf8(part(&mut rest).ok()??).ok()?,
        asked: std::str::from_utf8(part(&mut rest).ok()??).ok()?,
        provider: part(&mut rest).ok()??,
        model: part(&mut rest).ok()?,
        warning: part(&mut rest).ok()?,
        content_type: part(&mut rest).ok()?,
        body: part(&mut rest).ok()??,
    };
    rest.is_empty().then_some(told)
}

fn take<'a, const LENGTH: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; LENGTH]> {
    let (first, more) = rest.split_first_chunk()?;
    *rest = more;
    Some(first)
}

/// It ends before it should.
struct Cut;

/// The next part; `None`: it is said that there is none.
fn part<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Cut> {
    let length = u32::from_le_bytes(*take(rest).ok_or(Cut)?);
    if length == NONE {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| Cut)?;
    let (part, more) = rest.split_at_checked(length).ok_or(Cut)?;
    *rest = more;
    Ok(Some(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Id = [7; 32];

    fn told(body: &[u8]) -> Told<'_> {
        Told {
            ttl: Duration::from_hours(1),
            spent: (12, Picodollars::new(34)),
            request_id: "r-1",
            asked: "smart",
            provider: b"claude",
            model: Some(b"claude-sonnet-4-5"),
            warning: None,
            content_type: Some(b"application/json"),
            body,
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        for body in [&b"{}"[..], b"", &vec![b'x'; LARGEST_ANSWER]] {
            let value = write(&ID, &told(body)).unwrap();
            assert_eq!(read(&ID, &value), Some(told(body)));
        }
        assert_eq!(write(&ID, &told(&vec![b'x'; LARGEST_ANSWER + (8 << 10)])), None);
        let wordy = "w".repeat(9 << 10);
        let head = Told {
            request_id: &wordy,
            ..told(b"")
        };
        assert_eq!(write(&ID, &head), None);
    }

    #[test]
    fn what_was_cut_changed_or_kept_for_another_is_no_answer() {
        let value = write(&ID, &told(b"the answer")).unwrap();
        assert_eq!(read(&[8; 32], &value), None, "another's");
        for length in 0..value.len() {
            assert_eq!(read(&ID, &value[..length]), None, "cut at {length}");
        }
        let longer = [&value[..], b"x"].concat();
        assert_eq!(read(&ID, &longer), None);
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert_eq!(read(&ID, &changed), None, "changed at {at}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic_with_or_without_a_sum_that_is_right() {
        let seed = 66;
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..20_000 {
            let mut value: Vec<u8> = (0..rng.usize(0..200)).map(|_| rng.u8(..)).collect();
            if value.len() > 65 && rng.bool() {
                value[0] = VERSION;
                value[33..65].copy_from_slice(&ID);
                let sum = sum(&value[33..]);
                value[1..33].copy_from_slice(&sum);
            }
            let _ = read(&ID, &value);
        }
    }
}
