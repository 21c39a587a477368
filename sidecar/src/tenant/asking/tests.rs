use bowsprit_core::cost::Picodollars;
use bowsprit_core::json::json;
use bowsprit_core::kept::vector::Vector;
use futures::FutureExt as _;
use http::HeaderValue;

use super::super::vectors::Source;
use super::*;

fn key(number: u8) -> Key {
    Key::of_digest([number; 32])
}

fn keys(numbers: &[u8]) -> Vec<Key> {
    numbers.iter().copied().map(key).collect()
}

fn stored() -> Arc<Stored> {
    Arc::new(Stored {
        vector: Vector::of(&json!([0.5])).unwrap(),
        source: Arc::new(Source {
            request_id: String::new(),
            asked: "m".into(),
            model: "m".to_owned(),
            provider: HeaderValue::from_static("p"),
            spent: (0, Picodollars::ZERO),
        }),
    })
}

fn others(claimed: Result<Claim, Vec<Waiting>>) -> Vec<Waiting> {
    match claimed {
        Ok(_) => panic!("an input is claimed twice"),
        Err(others) => others,
    }
}

#[test]
fn one_asks_and_who_waits_gets_what_came() {
    let asking = Arc::new(Asking::default());
    let claim = asking.claim(1, keys(&[1, 2])).ok().unwrap();
    let mut waiting = others(asking.claim(1, keys(&[1, 2, 3])));
    assert_eq!((waiting.len(), asking.len()), (1, 2), "who waits holds nothing");
    assert!(
        asking.claim(2, keys(&[1])).is_ok(),
        "of another epoch it is another input"
    );
    let waiting = waiting.remove(0);
    claim.ended(HashMap::from([(key(2), stored())]));
    let came = waiting.end().now_or_never().unwrap().unwrap();
    assert!(came.contains_key(&key(2)) && !came.contains_key(&key(1)));
    assert_eq!(asking.len(), 0);
}

#[test]
fn who_fails_or_leaves_lets_another_ask() {
    let asking = Arc::new(Asking::default());
    let claim = asking.claim(1, keys(&[1])).ok().unwrap();
    let mut waiting = others(asking.claim(1, keys(&[1])));
    drop(claim);
    assert!(waiting.remove(0).end().now_or_never().unwrap().is_none());
    let next = asking.claim(1, keys(&[1])).ok().unwrap();
    let again = others(asking.claim(1, keys(&[1]))).remove(0);
    assert!(
        again.end().now_or_never().is_none(),
        "it waits for the one that asks now"
    );
    drop(next);
    assert_eq!(asking.len(), 0);
}

#[test]
fn who_waits_no_longer_claims_what_nobody_has_and_takes_nothing_from_others() {
    let asking = Arc::new(Asking::default());
    let claim = asking.claim(1, keys(&[1])).ok().unwrap();
    drop(asking.claim_free(1, keys(&[1, 2])));
    assert_eq!(asking.len(), 1, "the other's claim stands");
    drop(claim);
    assert_eq!(asking.len(), 0);
}
