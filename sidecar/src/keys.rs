//! API keys: a type that cannot be printed, and the choice of one key among several.
//!
//! A provider may have several keys, each with a weight. A key the provider rejects (401, 402, 403) is set aside until
//! its value changes or a while has passed, which is long where its account cannot pay or is closed; a throttled one (429) is passed over while another is free. The header
//! value is made once per key and shares its bytes with every request; the bytes are wiped when the last user drops
//! them.

use std::fmt;
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::config::KeySource;
use bowsprit_core::fault::Code;
use bowsprit_core::headroom::Headroom;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

/// How long a throttled key is passed over when the provider does not say.
const THROTTLED_REST: Duration = Duration::from_secs(5);
/// The longest a provider's hint may bench a key.
const THROTTLED_MAX: Duration = Duration::from_mins(5);

/// Why a text is no key. Never contains the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Nothing but white space.
    #[error("is empty")]
    Empty,
    /// A byte that no header may carry.
    #[error("holds a character that no HTTP header may carry (is it a file of another kind, or two lines?)")]
    NotAHeader,
}

/// A provider key. Wiped on drop; prints as `ApiKey(..)`.
#[derive(Clone)]
pub struct ApiKey {
    /// The header values made from it, ready to send and marked sensitive.
    bearer: HeaderValue,
    bare: HeaderValue,
}

impl ApiKey {
    /// Takes the key out of a file's or variable's text: surrounding white space (editors add a newline) is not part of it.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let text = text.trim();
        if text.is_empty() {
            return Err(BadKey::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadKey::NotAHeader);
        }
        Ok(Self {
            bearer: sensitive(&["Bearer ", text])?,
            bare: sensitive(&[text])?,
        })
    }

    /// `Bearer <key>`, for `Authorization`.
    pub fn bearer(&self) -> HeaderValue {
        self.bearer.clone()
    }

    /// The key alone, for `x-api-key` and `x-goog-api-key`.
    pub fn bare(&self) -> HeaderValue {
        self.bare.clone()
    }
}

impl PartialEq for ApiKey {
    fn eq(&self, other: &Self) -> bool {
        self.bare == other.bare
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

fn sensitive(parts: &[&str]) -> Result<HeaderValue, BadKey> {
    // The exact capacity first: growing would leave copies of the key behind in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        bytes.extend_from_slice(part.as_bytes());
    }
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(Wiped(bytes))).map_err(|_| BadKey::NotAHeader)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Owner of a header value's bytes: wipes them when the last clone of the header is gone.
struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Where a slot's key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Fine,
    /// `code`: what was wrong with it.
    Rejected {
        until: Moment,
        code: Code,
    },
    /// `told`: the provider itself said until when; else it was assumed.
    Throttled {
        until: Moment,
        told: bool,
    },
}

impl Standing {
    /// Whether its account cannot pay or is closed.
    fn is_closed(self) -> bool {
        let Self::Rejected { code, .. } = self else {
            return false;
        };
        matches!(code, Code::AuthBilling | Code::AuthAccountClosed)
    }
}

/// One credential of a provider.
#[derive(Clone, Debug)]
pub struct Slot {
    /// `credentials[].name`.
    pub name: String,
    /// Where the key came from: only from there a value may be kept when it can no longer be read.
    source: KeySource,
    weight: u32,
    key: Option<ApiKey>,
    /// Why there is no key, or why an old one is still in use; shown at `/health`.
    pub problem: Option<String>,
    standing: Standing,
    /// What the provider says is left of its account's limits.
    headroom: Headroom,
}

/// A credential as the configuration names it, with what its source holds now.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// `credentials[].name`.
    pub name: String,
    /// Where its key is.
    pub source: KeySource,
    /// How often it is taken relative to the others.
    pub weight: u32,
    /// The key, or why there is none.
    pub read: Result<ApiKey, String>,
}

/// A provider's keys.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    slots: Vec<Slot>,
}

/// A key lent to one attempt. `slot` names it for the verdict, by position and generation of the ring.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The key.
    pub key: ApiKey,
    /// Its credential's name.
    pub name: String,
}

impl Chosen {
    /// Whether a text quotes this key: some servers repeat a refused key in their error.
    pub fn is_in(&self, text: &[u8]) -> bool {
        let key = self.key.bare.as_bytes();
        // Most header values are shorter than a key.
        text.len() >= key.len() && memchr::memmem::find(text, key).is_some()
    }
}

/// How many keys can be used, for `/health` and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Keys that have a value and are not rejected.
    pub usable: usize,
    /// Credentials configured.
    pub total: usize,
}

impl KeyRing {
    /// Brings the ring to what the configuration names and the sources hold now. A slot whose value is unchanged keeps
    /// its standing; one whose source is gone or empty keeps the old value and says so. A value never outlives the
    /// reference to its source: whoever points a credential elsewhere, and perhaps the base URL too, must not have the
    /// key of before sent there.
    pub fn update(&mut self, wanted: impl IntoIterator<Item = Wanted>) {
        let mut old = std::mem::take(&mut self.slots);
        for Wanted {
            name,
            source,
            weight,
            read,
        } in wanted
        {
            let before = old
                .iter()
                .position(|slot| slot.name == name && slot.source == source)
                .map(|at| old.swap_remove(at));
            let slot = match (read, before) {
                (Ok(key), Some(slot)) if slot.key.as_ref() == Some(&key) => Slot {
                    weight,
                    problem: None,
                    ..slot
                },
                (Ok(key), _) => Slot {
                    name,
                    source,
                    weight,
                    key: Some(key),
                    problem: None,
                    standing: Standing::Fine,
                    headroom: Headroom::default(),
                },
                (Err(why), Some(slot)) if slot.key.is_some() => Slot {
                    weight,
                    problem: Some(format!("{why}; the last good value stays in use")),
                    ..slot
                },
                (Err(why), _) => Slot {
                    name,
                    source,
                    weight,
                    key: None,
                    problem: Some(why),
                    standing: Standing::Fine,
                    headroom: Headroom::default(),
                },
            };
            self.slots.push(slot);
        }
    }

    /// Chooses a key by weight among those that are free. Throttled ones, and those whose limits are used up by the
    /// provider's own word, are taken only when no other is left, as a provider with one key must not be lost over one
    /// 429; rejected keys are taken only after their rest.
    pub fn choose(&self, passed_over: &[String], now: Moment, rng: &mut fastrand::Rng) -> Option<Chosen> {
        if let [only] = self.slots.as_slice() {
            return only.lend_if(only.usable(now) && !passed_over.contains(&only.name));
        }
        let rank = |slot: &Slot| slot.usable(now) && !passed_over.contains(&slot.name);
        self.weighted(|slot| rank(slot) && !slot.is_busy(now), rng)
            .or_else(|| self.weighted(rank, rng))
    }

    fn weighted(&self, fits: impl Fn(&Slot) -> bool, rng: &mut fastrand::Rng) -> Option<Chosen> {
        let total: u64 = self
            .slots
            .iter()
            .filter(|slot| fits(slot))
            .map(|slot| u64::from(slot.weight.max(1)))
            .sum();
        if total == 0 {
            return None;
        }
        let mut ticket = rng.u64(0..total);
        for slot in self.slots.iter().filter(|slot| fits(slot)) {
            let weight = u64::from(slot.weight.max(1));
            if ticket < weight {
                return slot.lend_if(true);
            }
            ticket -= weight;
        }
        None
    }

    /// Whether an attempt now would find a key.
    pub fn would_choose(&self, now: Moment) -> bool {
        self.slots.iter().any(|slot| slot.usable(now))
    }

    /// How long no usable key has room for a request of `tokens`, by the provider's own word; `None` where one has, or
    /// where none is usable.
    pub fn short_for(&self, tokens: u64, now: Moment) -> Option<Duration> {
        let usable = self.slots.iter().filter(|slot| slot.usable(now));
        let waits = usable.map(|slot| slot.short_for(tokens, now).unwrap_or_default());
        waits.min().filter(|wait| !wait.is_zero())
    }

    /// Requests and tokens that are left by the provider's last word, over all usable keys that it told of.
    pub fn headroom_left(&self, now: Moment) -> (Option<u64>, Option<u64>) {
        let usable = || self.slots.iter().filter(|slot| slot.usable(now));
        let sum = |left: fn(&Headroom) -> Option<u64>| {
            usable()
                .filter_map(|slot| left(&slot.headroom))
                .reduce(u64::saturating_add)
        };
        (sum(Headroom::requests_left), sum(Headroom::tokens_left))
    }

    /// Reads what the provider says about a key's limits.
    pub fn observe(&mut self, chosen: &Chosen, headers: &HeaderMap, now: Moment, wall_unix_ms: u64) {
        if let Some(slot) = self.slot(chosen) {
            slot.headroom.observe(headers, now, wall_unix_ms);
        }
    }

    /// Whether a key other than those named is free and not throttled: worth an immediate second try.
    pub fn has_other(&self, passed_over: &[String], now: Moment) -> bool {
        self.slots
            .iter()
            .any(|slot| slot.usable(now) && !slot.is_busy(now) && !passed_over.contains(&slot.name))
    }

    /// The provider refused this key for the reason `code`: it rests for so long before one request may try it again. A
    /// verdict on a value that was rotated meanwhile is dropped.
    pub fn reject(&mut self, chosen: &Chosen, code: Code, rest: Duration, now: Moment) {
        let until = now + rest;
        self.mark(chosen, Standing::Rejected { until, code });
    }

    /// `AUTH_BILLING` or `AUTH_ACCOUNT_CLOSED` where every key rests for that one reason: then it is the answer to the
    /// requests that come meanwhile too.
    pub fn closed(&self, now: Moment) -> Option<Code> {
        let reason = |slot: &Slot| match slot.standing {
            Standing::Rejected { until, code } if until > now => Some(code),
            _ => None,
        };
        let slot = self.slots.first()?;
        let first = reason(slot)?;
        (slot.standing.is_closed() && self.slots.iter().all(|slot| reason(slot) == Some(first))).then_some(first)
    }

    /// The provider throttled this key.
    pub fn throttle(&mut self, chosen: &Chosen, hint: Option<Duration>, now: Moment) {
        let rest = hint.unwrap_or(THROTTLED_REST).min(THROTTLED_MAX);
        let (until, told) = (now + rest, hint.is_some());
        self.mark(chosen, Standing::Throttled { until, told });
    }

    /// The provider took this key. An answer that began before its account was found empty or closed says nothing of it
    /// now: such a key rests all the same.
    pub fn accept(&mut self, chosen: &Chosen) {
        if let Some(slot) = self.slot(chosen)
            && !slot.standing.is_closed()
        {
            slot.standing = Standing::Fine;
        }
    }

    fn mark(&mut self, chosen: &Chosen, standing: Standing) {
        if let Some(slot) = self.slot(chosen) {
            slot.standing = standing;
        }
    }

    /// The slot of a key that was lent, if it still holds that key.
    fn slot(&mut self, chosen: &Chosen) -> Option<&mut Slot> {
        let lent = |slot: &&mut Slot| slot.name == chosen.name && slot.key.as_ref() == Some(&chosen.key);
        self.slots.iter_mut().find(lent)
    }

    /// Whether there are several keys to choose from.
    pub fn has_several(&self) -> bool {
        self.slots.len() > 1
    }

    /// Usable keys of all keys.
    pub fn counts(&self, now: Moment) -> Counts {
        Counts {
            usable: self.slots.iter().filter(|slot| slot.usable(now)).count(),
            total: self.slots.len(),
        }
    }

    /// Whether no credential is configured at all: a local server that wants no key.
    pub fn needs_no_key(&self) -> bool {
        self.slots.is_empty()
    }

    /// Every credential with what is wrong with it, if anything. Never a value. A throttled key is not wrong: it passes
    /// by itself within seconds, and whoever acts on problems would act on each 429.
    pub fn problems(&self, now: Moment) -> impl Iterator<Item = (&str, String)> {
        self.slots.iter().filter_map(move |slot| {
            let why = match slot.standing {
                Standing::Rejected { until, code } if until > now => Some(match code {
                    Code::AuthBilling => "its account cannot pay: settle the provider's billing".to_owned(),
                    Code::AuthAccountClosed => "its account is closed, or it was revoked: replace it".to_owned(),
                    _ => "the provider rejected it (401 or 403): replace it".to_owned(),
                }),
                _ => None,
            };
            slot.problem.clone().or(why).map(|why| (slot.name.as_str(), why))
        })
    }

    /// Credentials whose source no longer holds a good key.
    pub fn broken(&self) -> usize {
        self.slots.iter().filter(|slot| slot.problem.is_some()).count()
    }
}

impl Slot {
    fn usable(&self, now: Moment) -> bool {
        self.key.is_some() && !matches!(self.standing, Standing::Rejected { until, .. } if until > now)
    }

    /// How long it has no room for a request of `tokens`, as far as the provider told.
    fn short_for(&self, tokens: u64, now: Moment) -> Option<Duration> {
        let throttled = match self.standing {
            Standing::Throttled { until, told: true } => Some(until - now).filter(|wait| !wait.is_zero()),
            Standing::Throttled { .. } | Standing::Fine | Standing::Rejected { .. } => None,
        };
        throttled.max(self.headroom.short_for(tokens, now))
    }

    /// Whether another key is to be preferred: throttled, told or assumed, or without room.
    fn is_busy(&self, now: Moment) -> bool {
        let throttled = matches!(self.standing, Standing::Throttled { until, .. } if until > now);
        throttled || self.short_for(1, now).is_some()
    }

    fn lend_if(&self, fits: bool) -> Option<Chosen> {
        let key = self.key.as_ref().filter(|_| fits)?;
        Some(Chosen {
            key: key.clone(),
            name: self.name.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_mins(1);

    fn wanted(name: &str, source: &str, weight: u32, read: Result<&str, &str>) -> Wanted {
        Wanted {
            name: name.to_owned(),
            source: KeySource::File(source.to_owned()),
            weight,
            read: read
                .map_err(str::to_owned)
                .and_then(|key| ApiKey::parse(key).map_err(|bad| bad.to_string())),
        }
    }

    fn ring(keys: &[(&str, u32, &str)]) -> KeyRing {
        let mut ring = KeyRing::default();
        ring.update(
            keys.iter()
                .map(|(name, weight, key)| wanted(name, "f", *weight, Ok(key))),
        );
        ring
    }

    #[test]
    fn a_key_never_prints() {
        let key = ApiKey::parse("sk-canary-123\n").unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(..)");
        assert!(!format!("{:?} {:?}", key.bearer(), key.bare()).contains("canary"));
        assert_eq!(key.bearer().as_bytes(), b"Bearer sk-canary-123");
        assert_eq!(ApiKey::parse(" \n").unwrap_err(), BadKey::Empty);
        assert_eq!(ApiKey::parse("two\nlines").unwrap_err(), BadKey::NotAHeader);
    }

    #[test]
    fn a_rejected_key_rests_and_the_other_one_works_on() {
        let mut ring = ring(&[("a", 1, "ka"), ("b", 1, "kb")]);
        let mut rng = fastrand::Rng::with_seed(7);
        let now = Moment::ZERO;
        let a = std::iter::repeat_with(|| ring.choose(&[], now, &mut rng).unwrap())
            .find(|key| key.name == "a")
            .unwrap();
        ring.reject(&a, Code::AuthKeyRejected, REST, now);
        for _ in 0..50 {
            assert_eq!(ring.choose(&[], now, &mut rng).unwrap().name, "b");
        }
        assert_eq!(ring.counts(now), Counts { usable: 1, total: 2 });
        let later = now + REST;
        assert_eq!(ring.counts(later).usable, 2, "it may be tried again after its rest");
    }

    #[test]
    fn why_no_key_is_left_is_known_where_all_have_one_reason() {
        let mut ring = ring(&[("a", 1, "ka"), ("b", 1, "kb")]);
        let now = Moment::ZERO;
        let mut rng = fastrand::Rng::with_seed(7);
        let first = ring.choose(&[], now, &mut rng).unwrap();
        ring.reject(&first, Code::AuthBilling, 15 * REST, now);
        assert_eq!(ring.closed(now), None, "the other one is not");
        let second = ring.choose(&[], now, &mut rng).unwrap();
        ring.reject(&second, Code::AuthBilling, 15 * REST, now);
        assert_eq!(ring.closed(now + 14 * REST), Some(Code::AuthBilling));
        assert_eq!(ring.closed(now + 15 * REST), None, "then one request may try");
        ring.reject(&second, Code::AuthKeyRejected, REST, now);
        assert_eq!(ring.closed(now), None);
        assert!(ring.problems(now).any(|(_, why)| why.contains("billing")));
    }

    #[test]
    fn an_answer_that_began_before_does_not_end_a_long_rest() {
        let mut ring = ring(&[("a", 1, "ka")]);
        let now = Moment::ZERO;
        let key = ring.choose(&[], now, &mut fastrand::Rng::with_seed(7)).unwrap();
        ring.reject(&key, Code::AuthBilling, 15 * REST, now);
        ring.accept(&key);
        assert!(!ring.would_choose(now + 14 * REST));
        assert!(ring.would_choose(now + 15 * REST));
        ring.reject(&key, Code::AuthKeyRejected, REST, now);
        ring.accept(&key);
        assert!(ring.would_choose(now), "a key that the provider takes is no wrong key");
    }

    #[test]
    fn a_new_value_clears_the_rejection_and_an_emptied_secret_keeps_the_old_key() {
        let mut ring = ring(&[("a", 1, "old")]);
        let mut rng = fastrand::Rng::with_seed(7);
        let now = Moment::ZERO;
        let old = ring.choose(&[], now, &mut rng).unwrap();
        ring.reject(&old, Code::AuthKeyRejected, REST, now);
        assert!(ring.choose(&[], now, &mut rng).is_none());
        ring.update([wanted("a", "f", 1, Ok("new"))]);
        assert_eq!(ring.choose(&[], now, &mut rng).unwrap().key.bare(), "new");
        ring.reject(&old, Code::AuthKeyRejected, REST, now);
        assert!(
            ring.would_choose(now),
            "a late verdict on the old value does not hit the new one"
        );
        ring.update([wanted("a", "f", 1, Err("is empty"))]);
        assert_eq!(ring.choose(&[], now, &mut rng).unwrap().key.bare(), "new");
        assert_eq!(ring.broken(), 1);
    }

    #[test]
    fn a_credential_that_points_elsewhere_does_not_keep_the_key_of_before() {
        let mut ring = ring(&[("a", 1, "old")]);
        ring.update([wanted("a", "another Secret", 1, Err("is not there"))]);
        let mut rng = fastrand::Rng::with_seed(7);
        assert!(ring.choose(&[], Moment::ZERO, &mut rng).is_none());
        assert_eq!(ring.counts(Moment::ZERO), Counts { usable: 0, total: 1 });
    }

    #[test]
    fn a_throttled_key_is_not_reported_as_a_problem() {
        let mut ring = ring(&[("a", 1, "k")]);
        let key = ring
            .choose(&[], Moment::ZERO, &mut fastrand::Rng::with_seed(7))
            .unwrap();
        ring.throttle(&key, None, Moment::ZERO);
        assert_eq!(ring.problems(Moment::ZERO).count(), 0);
        ring.reject(&key, Code::AuthKeyRejected, REST, Moment::ZERO);
        assert_eq!(ring.problems(Moment::ZERO).count(), 1);
    }

    #[test]
    fn a_throttled_key_is_passed_over_but_never_lost() {
        let mut ring = ring(&[("a", 9, "ka"), ("b", 1, "kb")]);
        let mut rng = fastrand::Rng::with_seed(1);
        let now = Moment::ZERO;
        let first = ring.choose(&[], now, &mut rng).unwrap();
        ring.throttle(&first, None, now);
        let second = ring.choose(&[], now, &mut rng).unwrap();
        assert_ne!(first.name, second.name);
        ring.throttle(&second, None, now);
        assert!(ring.choose(&[], now, &mut rng).is_some());
        assert!(!ring.has_other(&[first.name], now));
    }

    #[test]
    fn keys_are_balanced_by_weight() {
        let ring = ring(&[("a", 3, "ka"), ("b", 1, "kb")]);
        let mut rng = fastrand::Rng::with_seed(42);
        let heavy = (0..4_000)
            .filter(|_| ring.choose(&[], Moment::ZERO, &mut rng).unwrap().name == "a")
            .count();
        assert!((2_850..3_150).contains(&heavy), "{heavy} of 4000");
    }
}
