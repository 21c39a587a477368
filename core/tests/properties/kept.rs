//! Kept answers, against a plain list: whatever is kept, asked for and forgotten in whatever order, the bound holds, what is
//! given is the last that was kept, nothing is given that is too old, and the least recently kept goes first. And keys: how a
//! request is written is no part of them, what it says is.

use std::time::Duration;

use bowsprit_core::call::{Call, Operation};
use bowsprit_core::clock::Moment;
use bowsprit_core::dialect::Dialect;
use bowsprit_core::kept::acts::Allowed;
use bowsprit_core::kept::key::{Asked, Key, Whose};
use bowsprit_core::kept::lru::{Kept, Lru, OVERHEAD};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::seeded::holds;

fn key_of(body: &str) -> Key {
    let call = Call::new(Dialect::OpenAiChat, Operation::Generate);
    let asked = Asked {
        route: "r",
        operation: "chat_completions",
        call: &call,
        query: None,
        keys_in_query: None,
        caller: "",
        guards: &[],
        body: body.as_bytes(),
    };
    asked
        .key(std::iter::empty(), Allowed::IN_AN_OUTAGE, Whose::TheCallers)
        .unwrap()
}

#[derive(Clone, Debug)]
enum Doing {
    Keep(u8, usize),
    Get(u8),
    TakeUp(u8),
    Forget(u8),
    Expire,
    Rebound(usize),
    Pass(u64),
}

fn doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        4 => (0..12_u8, 0..2_000_usize).prop_map(|(key, bytes)| Doing::Keep(key, bytes)),
        2 => (0..12_u8).prop_map(Doing::Get),
        4 => (0..12_u8).prop_map(Doing::TakeUp),
        1 => (0..12_u8).prop_map(Doing::Forget),
        1 => Just(Doing::Expire),
        1 => (0..12_000_usize).prop_map(Doing::Rebound),
        2 => (0..40_u64).prop_map(Doing::Pass),
    ]
}

const OLDEST: Duration = Duration::from_mins(1);

/// Key, value, bytes, time: the least recently used first.
type Plain = Vec<(u8, usize, usize, Moment)>;

fn shrink(plain: &mut Plain, most: usize) -> usize {
    let before = plain.len();
    while plain.iter().map(|(_, _, bytes, _)| bytes).sum::<usize>() > most {
        plain.remove(0);
    }
    before - plain.len()
}

#[test]
fn a_bounded_store_does_what_a_list_would() {
    let keys: Vec<Key> = (0..12).map(|n| key_of(&format!("{{\"messages\":{n}}}"))).collect();
    holds("kept", prop::collection::vec(doing(), 1..120), |doings| {
        let (mut lru, mut plain, mut most, mut now) = (Lru::new(6_000), Plain::new(), 6_000, Moment::ZERO);
        for (value, doing) in doings.into_iter().enumerate() {
            match doing {
                Doing::Keep(key, bytes) => {
                    plain.retain(|(known, ..)| *known != key);
                    let whole = bytes + OVERHEAD;
                    let expected = if whole > most {
                        Kept::TooLarge
                    } else {
                        let evicted = shrink(&mut plain, most - whole);
                        plain.push((key, value, whole, now));
                        Kept::Yes { evicted }
                    };
                    prop_assert_eq!(lru.keep(keys[usize::from(key)], value, bytes, now), expected);
                }
                Doing::Get(key) => {
                    let expected = plain
                        .iter()
                        .find(|(known, _, _, at)| *known == key && now - *at <= OLDEST);
                    let expected = expected.map(|(_, value, _, at)| (*value, now - *at));
                    let got = lru.get(&keys[usize::from(key)], now, OLDEST);
                    prop_assert_eq!(got.map(|(value, age)| (*value, age)), expected);
                }
                Doing::TakeUp(key) => {
                    let at = plain
                        .iter()
                        .position(|(known, _, _, at)| *known == key && now - *at <= OLDEST);
                    let expected = at.map(|at| {
                        let one = plain.remove(at);
                        plain.push(one);
                        (one.1, now - one.3)
                    });
                    let got = lru.take_up(&keys[usize::from(key)], now, OLDEST);
                    prop_assert_eq!(got.map(|(value, age)| (*value, age)), expected);
                }
                Doing::Forget(key) => {
                    let before = plain.len();
                    plain.retain(|(known, value, ..)| *known != key && value % 3 != 0);
                    let forgotten = lru.forget(|known, value| *known == keys[usize::from(key)] || value % 3 == 0);
                    prop_assert_eq!(forgotten, before - plain.len());
                }
                Doing::Expire => {
                    let before = plain.len();
                    plain.retain(|(_, _, _, at)| now - *at <= OLDEST);
                    prop_assert_eq!(lru.expire(now, OLDEST), before - plain.len());
                }
                Doing::Rebound(bound) => {
                    most = bound;
                    prop_assert_eq!(lru.rebound(bound), shrink(&mut plain, bound));
                }
                Doing::Pass(seconds) => now = now + Duration::from_secs(seconds),
            }
            let bytes: usize = plain.iter().map(|(_, _, bytes, _)| bytes).sum();
            prop_assert!(lru.bytes() <= most);
            prop_assert_eq!((lru.bytes(), lru.len()), (bytes, plain.len()));
            prop_assert_eq!(lru.is_empty(), plain.is_empty());
        }
        Ok(())
    });
}

/// Any JSON, small.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::Array),
            prop::collection::vec((".{0,4}", inner), 0..5)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The same value, written another way: members backwards, and white space.
fn otherwise(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Array(list) => {
            let list: Vec<_> = list.iter().map(otherwise).collect();
            format!("[ {} ]", list.join(" ,\n"))
        }
        serde_json::Value::Object(map) => {
            let members: Vec<_> = map
                .iter()
                .rev()
                .map(|(name, value)| format!("{} : {}", serde_json::Value::from(name.as_str()), otherwise(value)))
                .collect();
            format!("{{\t{}}}", members.join(", "))
        }
        plain => plain.to_string(),
    }
}

#[test]
fn what_is_said_makes_the_key_and_not_how() {
    let pair = (any_json(), any_json());
    holds("key", pair, |(one, other)| -> Result<(), TestCaseError> {
        let body = |value: &str| format!("{{\"messages\":{value}}}");
        let key = key_of(&body(&one.to_string()));
        prop_assert_eq!(key, key_of(&body(&otherwise(&one))));
        prop_assert_eq!(key == key_of(&body(&other.to_string())), one == other);
        Ok(())
    });
}

#[test]
fn what_came_here_old_is_old_for_as_long_as_it_was_before() {
    let (mut kept, key) = (Lru::new(1 << 20), |number: u8| Key::of_digest([number; 32]));
    let at = |seconds| Moment::from_start(Duration::from_secs(seconds));
    // Before the clock began to count, too; and in whatever order.
    for (number, age) in [(1, 10), (2, 50), (3, 0)] {
        let _ = kept.keep_aged(key(number), number, 1, (at(1), Duration::from_secs(age)));
    }
    assert_eq!(kept.get(&key(2), at(11), OLDEST), Some((&2, OLDEST)));
    assert_eq!(kept.get(&key(2), at(12), OLDEST), None);
    assert_eq!(kept.expire(at(12), OLDEST), 1, "the second, which is the oldest");
    assert_eq!((kept.expire(at(51), OLDEST), kept.expire(at(52), OLDEST)), (0, 1));
    assert_eq!(kept.get(&key(3), at(61), OLDEST), Some((&3, OLDEST)));
}
