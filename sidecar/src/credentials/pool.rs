//! The credentials of one provider, and the choice of one for each attempt.
//!
//! A provider may have several, each with a weight. One that the provider rejects (401, 402, 403) cools down until its
//! value changes or a time has passed, which is long where its account cannot pay or is closed. A throttled one (429) is
//! passed over while another is free.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::config::KeySource;
use bowsprit_core::fault::Code;
use bowsprit_core::headroom::Headroom;
use http::HeaderMap;

use super::secret::ApiKey;

/// How long a throttled key is passed over when the provider does not say.
const THROTTLED_COOL_DOWN: Duration = Duration::from_secs(5);
/// The longest that a provider's hint may have a key passed over.
const THROTTLED_MAX: Duration = Duration::from_mins(5);

/// How the provider took a credential last.
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
struct Credential {
    /// `credentials[].name`.
    pub name: Arc<str>,
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
pub struct CredentialPool {
    credentials: Vec<Credential>,
}

/// A credential that one attempt goes with: its name, and the key as it was when it was selected.
#[derive(Clone, Debug)]
pub struct Selected {
    pub(super) key: ApiKey,
    /// Its credential's name.
    pub name: Arc<str>,
}

/// How many keys can be used, for `/health` and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Keys that have a value and are not rejected.
    pub usable: usize,
    /// Credentials configured.
    pub total: usize,
}

impl CredentialPool {
    /// Brings the pool to what the configuration names and the sources hold now. A credential whose value is unchanged keeps
    /// its standing; one whose source is gone or empty keeps the old value and says so. A value never outlives the
    /// reference to its source: whoever points a credential elsewhere, and perhaps the base URL too, must not have the
    /// key of before sent there.
    pub fn update(&mut self, wanted: impl IntoIterator<Item = Wanted>) {
        let mut old = std::mem::take(&mut self.credentials);
        for Wanted {
            name,
            source,
            weight,
            read,
        } in wanted
        {
            let before = old
                .iter()
                .position(|credential| *credential.name == *name && credential.source == source)
                .map(|at| old.swap_remove(at));
            let credential = match (read, before) {
                (Ok(key), Some(credential)) if credential.key.as_ref() == Some(&key) => Credential {
                    weight,
                    problem: None,
                    ..credential
                },
                (Ok(key), _) => Credential {
                    name: name.into(),
                    source,
                    weight,
                    key: Some(key),
                    problem: None,
                    standing: Standing::Fine,
                    headroom: Headroom::default(),
                },
                (Err(why), Some(credential)) if credential.key.is_some() => Credential {
                    weight,
                    problem: Some(format!("{why}; the last good value stays in use")),
                    ..credential
                },
                (Err(why), _) => Credential {
                    name: name.into(),
                    source,
                    weight,
                    key: None,
                    problem: Some(why),
                    standing: Standing::Fine,
                    headroom: Headroom::default(),
                },
            };
            self.credentials.push(credential);
        }
    }

    /// Chooses a key by weight among those that are free. Throttled ones, and those whose limits are used up by the
    /// provider's own word, are taken only when no other is left, as a provider with one key must not be lost over one
    /// 429; rejected keys are taken only after they have cooled down.
    pub fn select(&self, passed_over: &[Arc<str>], now: Moment, rng: &mut fastrand::Rng) -> Option<Selected> {
        if let [only] = self.credentials.as_slice() {
            return only.select_if(only.usable(now) && !passed_over.contains(&only.name));
        }
        let rank = |credential: &Credential| credential.usable(now) && !passed_over.contains(&credential.name);
        self.weighted(|credential| rank(credential) && !credential.is_busy(now), rng)
            .or_else(|| self.weighted(rank, rng))
    }

    fn weighted(&self, fits: impl Fn(&Credential) -> bool, rng: &mut fastrand::Rng) -> Option<Selected> {
        let total: u64 = self
            .credentials
            .iter()
            .filter(|credential| fits(credential))
            .map(|credential| u64::from(credential.weight.max(1)))
            .sum();
        if total == 0 {
            return None;
        }
        let mut ticket = rng.u64(0..total);
        for credential in self.credentials.iter().filter(|credential| fits(credential)) {
            let weight = u64::from(credential.weight.max(1));
            if ticket < weight {
                return credential.select_if(true);
            }
            ticket -= weight;
        }
        None
    }

    /// Whether an attempt now would find a key.
    pub fn would_select(&self, now: Moment) -> bool {
        self.credentials.iter().any(|credential| credential.usable(now))
    }

    /// How long no usable key has room for a request of `tokens`, by the provider's own word; `None` where one has, or
    /// where none is usable.
    pub fn short_for(&self, tokens: u64, now: Moment) -> Option<Duration> {
        let usable = self.credentials.iter().filter(|credential| credential.usable(now));
        let waits = usable.map(|credential| credential.short_for(tokens, now).unwrap_or_default());
        waits.min().filter(|wait| !wait.is_zero())
    }

    /// Requests and tokens that are left by the provider's last word, over all usable keys that it told of.
    pub fn headroom_left(&self, now: Moment) -> (Option<u64>, Option<u64>) {
        let usable = || self.credentials.iter().filter(|credential| credential.usable(now));
        let sum = |left: fn(&Headroom) -> Option<u64>| {
            usable()
                .filter_map(|credential| left(&credential.headroom))
                .reduce(u64::saturating_add)
        };
        (sum(Headroom::requests_left), sum(Headroom::tokens_left))
    }

    /// Reads what the provider says about a key's limits. Returns whether that is to be told on.
    pub fn observe(&mut self, selected: &Selected, headers: &HeaderMap, now: Moment, wall_unix_ms: u64) -> bool {
        let credential = self.credential(selected);
        credential.is_some_and(|credential| credential.headroom.observe(headers, now, wall_unix_ms))
    }

    /// Whether a key other than those named is free and not throttled: worth an immediate second try.
    pub fn has_other(&self, passed_over: &[Arc<str>], now: Moment) -> bool {
        self.credentials.iter().any(|credential| {
            credential.usable(now) && !credential.is_busy(now) && !passed_over.contains(&credential.name)
        })
    }

    /// The provider refused this key for the reason `code`: it cools down for so long before one request may try it again. A
    /// verdict on a value that was rotated meanwhile is dropped.
    pub fn reject(&mut self, selected: &Selected, code: Code, cool_down: Duration, now: Moment) {
        let until = now + cool_down;
        self.mark(selected, Standing::Rejected { until, code });
    }

    /// `AUTH_BILLING` or `AUTH_ACCOUNT_CLOSED` where every key cools down for that one reason: then it is the answer to the
    /// requests that come meanwhile too.
    pub fn closed(&self, now: Moment) -> Option<Code> {
        let reason = |credential: &Credential| match credential.standing {
            Standing::Rejected { until, code } if until > now => Some(code),
            _ => None,
        };
        let credential = self.credentials.first()?;
        let first = reason(credential)?;
        (credential.standing.is_closed()
            && self
                .credentials
                .iter()
                .all(|credential| reason(credential) == Some(first)))
        .then_some(first)
    }

    /// The provider throttled this key.
    pub fn throttle(&mut self, selected: &Selected, hint: Option<Duration>, now: Moment) {
        let cool_down = hint.unwrap_or(THROTTLED_COOL_DOWN).min(THROTTLED_MAX);
        let (until, told) = (now + cool_down, hint.is_some());
        self.mark(selected, Standing::Throttled { until, told });
    }

    /// The provider took this key. An answer that began before its account was found empty or closed says nothing of it
    /// now: such a key cools down all the same.
    pub fn accept(&mut self, selected: &Selected) {
        if let Some(credential) = self.credential(selected)
            && !credential.standing.is_closed()
        {
            credential.standing = Standing::Fine;
        }
    }

    fn mark(&mut self, selected: &Selected, standing: Standing) {
        if let Some(credential) = self.credential(selected) {
            credential.standing = standing;
        }
    }

    /// The credential that was selected, if it still holds the same key.
    fn credential(&mut self, selected: &Selected) -> Option<&mut Credential> {
        let is_it = |credential: &&mut Credential| {
            credential.name == selected.name && credential.key.as_ref() == Some(&selected.key)
        };
        self.credentials.iter_mut().find(is_it)
    }

    /// Whether there are several keys to select from.
    pub fn has_several(&self) -> bool {
        self.credentials.len() > 1
    }

    /// Usable keys of all keys.
    pub fn counts(&self, now: Moment) -> Counts {
        Counts {
            usable: self
                .credentials
                .iter()
                .filter(|credential| credential.usable(now))
                .count(),
            total: self.credentials.len(),
        }
    }

    /// Whether no credential is configured at all: a local server that wants no key.
    pub fn needs_no_key(&self) -> bool {
        self.credentials.is_empty()
    }

    /// Every credential with what is wrong with it, if anything. Never a value. A throttled key is not wrong: it passes
    /// by itself within seconds, and whoever acts on problems would act on each 429. A refused one stays wrong after it has cooled
    /// down, until the provider takes it: nobody should think meanwhile that it has become right.
    pub fn problems(&self, now: Moment) -> impl Iterator<Item = (&str, String)> {
        self.credentials.iter().filter_map(move |credential| {
            let why = match credential.standing {
                // Of an account that was closed, what the provider says afterwards is not noted.
                Standing::Rejected { until, code } if until > now || !credential.standing.is_closed() => {
                    Some(match code {
                        Code::AuthBilling => "its account cannot pay: settle the provider's billing".to_owned(),
                        Code::AuthAccountClosed => "its account is closed, or it was revoked: replace it".to_owned(),
                        _ => "the provider rejected it (401 or 403): replace it".to_owned(),
                    })
                }
                _ => None,
            };
            credential.problem.clone().or(why).map(|why| (&*credential.name, why))
        })
    }

    /// Credentials whose source no longer holds a good key.
    pub fn broken(&self) -> usize {
        self.credentials
            .iter()
            .filter(|credential| credential.problem.is_some())
            .count()
    }
}

impl Credential {
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

    fn select_if(&self, fits: bool) -> Option<Selected> {
        let key = self.key.as_ref().filter(|_| fits)?;
        Some(Selected {
            key: key.clone(),
            name: Arc::clone(&self.name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOL_DOWN: Duration = Duration::from_mins(1);

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

    fn pool(keys: &[(&str, u32, &str)]) -> CredentialPool {
        let mut pool = CredentialPool::default();
        pool.update(
            keys.iter()
                .map(|(name, weight, key)| wanted(name, "f", *weight, Ok(key))),
        );
        pool
    }

    #[test]
    fn a_rejected_key_cools_down_and_the_other_one_works_on() {
        let mut pool = pool(&[("a", 1, "ka"), ("b", 1, "kb")]);
        let mut rng = fastrand::Rng::with_seed(7);
        let now = Moment::ZERO;
        let a = std::iter::repeat_with(|| pool.select(&[], now, &mut rng).unwrap())
            .find(|key| &*key.name == "a")
            .unwrap();
        pool.reject(&a, Code::AuthKeyRejected, COOL_DOWN, now);
        for _ in 0..50 {
            assert_eq!(&*pool.select(&[], now, &mut rng).unwrap().name, "b");
        }
        assert_eq!(pool.counts(now), Counts { usable: 1, total: 2 });
        let later = now + COOL_DOWN;
        assert_eq!(
            pool.counts(later).usable,
            2,
            "it may be tried again once it has cooled down"
        );
        let told = |pool: &CredentialPool| {
            pool.problems(later)
                .map(|(name, _)| name.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&pool), ["a"], "and is not right before the provider says so");
        pool.accept(&a);
        assert!(told(&pool).is_empty());
    }

    #[test]
    fn why_no_key_is_left_is_known_where_all_have_one_reason() {
        let mut pool = pool(&[("a", 1, "ka"), ("b", 1, "kb")]);
        let now = Moment::ZERO;
        let mut rng = fastrand::Rng::with_seed(7);
        let first = pool.select(&[], now, &mut rng).unwrap();
        pool.reject(&first, Code::AuthBilling, 15 * COOL_DOWN, now);
        assert_eq!(pool.closed(now), None, "the other one is not");
        let second = pool.select(&[], now, &mut rng).unwrap();
        pool.reject(&second, Code::AuthBilling, 15 * COOL_DOWN, now);
        assert_eq!(pool.closed(now + 14 * COOL_DOWN), Some(Code::AuthBilling));
        assert_eq!(pool.closed(now + 15 * COOL_DOWN), None, "then one request may try");
        pool.reject(&second, Code::AuthKeyRejected, COOL_DOWN, now);
        assert_eq!(pool.closed(now), None);
        assert!(pool.problems(now).any(|(_, why)| why.contains("billing")));
    }

    #[test]
    fn an_answer_that_began_before_does_not_end_a_long_cool_down() {
        let mut pool = pool(&[("a", 1, "ka")]);
        let now = Moment::ZERO;
        let key = pool.select(&[], now, &mut fastrand::Rng::with_seed(7)).unwrap();
        pool.reject(&key, Code::AuthBilling, 15 * COOL_DOWN, now);
        pool.accept(&key);
        assert!(!pool.would_select(now + 14 * COOL_DOWN));
        assert!(pool.would_select(now + 15 * COOL_DOWN));
        pool.reject(&key, Code::AuthKeyRejected, COOL_DOWN, now);
        pool.accept(&key);
        assert!(pool.would_select(now), "a key that the provider takes is no wrong key");
    }

    #[test]
    fn a_new_value_clears_the_rejection_and_an_emptied_secret_keeps_the_old_key() {
        let mut pool = pool(&[("a", 1, "old")]);
        let mut rng = fastrand::Rng::with_seed(7);
        let now = Moment::ZERO;
        let old = pool.select(&[], now, &mut rng).unwrap();
        pool.reject(&old, Code::AuthKeyRejected, COOL_DOWN, now);
        assert!(pool.select(&[], now, &mut rng).is_none());
        pool.update([wanted("a", "f", 1, Ok("new"))]);
        assert_eq!(pool.select(&[], now, &mut rng).unwrap().key.bare(), "new");
        pool.reject(&old, Code::AuthKeyRejected, COOL_DOWN, now);
        assert!(
            pool.would_select(now),
            "a late verdict on the old value does not hit the new one"
        );
        pool.update([wanted("a", "f", 1, Err("is empty"))]);
        assert_eq!(pool.select(&[], now, &mut rng).unwrap().key.bare(), "new");
        assert_eq!(pool.broken(), 1);
    }

    #[test]
    fn a_credential_that_points_elsewhere_does_not_keep_the_key_of_before() {
        let mut pool = pool(&[("a", 1, "old")]);
        pool.update([wanted("a", "another Secret", 1, Err("is not there"))]);
        let mut rng = fastrand::Rng::with_seed(7);
        assert!(pool.select(&[], Moment::ZERO, &mut rng).is_none());
        assert_eq!(pool.counts(Moment::ZERO), Counts { usable: 0, total: 1 });
    }

    #[test]
    fn a_throttled_key_is_not_reported_as_a_problem() {
        let mut pool = pool(&[("a", 1, "k")]);
        let key = pool
            .select(&[], Moment::ZERO, &mut fastrand::Rng::with_seed(7))
            .unwrap();
        pool.throttle(&key, None, Moment::ZERO);
        assert_eq!(pool.problems(Moment::ZERO).count(), 0);
        pool.reject(&key, Code::AuthKeyRejected, COOL_DOWN, Moment::ZERO);
        assert_eq!(pool.problems(Moment::ZERO).count(), 1);
    }

    #[test]
    fn a_throttled_key_is_passed_over_but_never_lost() {
        let mut pool = pool(&[("a", 9, "ka"), ("b", 1, "kb")]);
        let mut rng = fastrand::Rng::with_seed(1);
        let now = Moment::ZERO;
        let first = pool.select(&[], now, &mut rng).unwrap();
        pool.throttle(&first, None, now);
        let second = pool.select(&[], now, &mut rng).unwrap();
        assert_ne!(first.name, second.name);
        pool.throttle(&second, None, now);
        assert!(pool.select(&[], now, &mut rng).is_some());
        assert!(!pool.has_other(&[first.name], now));
    }

    #[test]
    fn keys_are_balanced_by_weight() {
        let pool = pool(&[("a", 3, "ka"), ("b", 1, "kb")]);
        let mut rng = fastrand::Rng::with_seed(42);
        let heavy = (0..4_000)
            .filter(|_| &*pool.select(&[], Moment::ZERO, &mut rng).unwrap().name == "a")
            .count();
        assert!((2_850..3_150).contains(&heavy), "{heavy} of 4000");
    }
}
