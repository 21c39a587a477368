//! How often a new pod may wait for a first provider. Who makes pods is few for a whole cluster (a controller manager has five
//! workers for all ReplicaSets), and each wait holds one up. So a namespace that stays without a provider is waited for ever more
//! rarely, and all of them together seldom: what is applied now and then finds somebody who waits, and a thousand namespaces whose
//! nodes are drained do not.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// After a first provider was waited for in vain, none is waited for in that namespace for so long; twice as long after each
/// further time.
const AGAIN: Duration = Duration::from_mins(1);
/// And at most for so long, after which it is forgotten how often it was.
const LONGEST: Duration = Duration::from_hours(1);
/// Waits in vain that may follow each other in all namespaces together; a wait that was not in vain does not count.
const MOST: u32 = 16;
/// Another one comes after this.
const EACH: Duration = Duration::from_mins(1);

/// The namespaces in which a pod waited for a first provider.
#[derive(Debug)]
pub(super) struct InVain {
    namespaces: HashMap<String, Wait>,
    left: u32,
    /// Since when the next one is on its way.
    counted: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    begun: Instant,
    /// Until none is waited for.
    rest: Duration,
}

impl InVain {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            namespaces: HashMap::new(),
            left: MOST,
            counted: now,
        }
    }

    /// Until when to wait in a namespace; None: not at all. All that wait there have one `patience` together.
    pub(super) fn until(&mut self, namespace: &str, now: Instant, patience: Duration) -> Option<Instant> {
        self.count(now);
        let before = self.namespaces.get(namespace).copied();
        match before {
            Some(wait) if now < wait.begun + patience => return Some(wait.begun + patience),
            Some(wait) if now < wait.begun + wait.rest => return None,
            _ => {}
        }
        self.left = self.left.checked_sub(1)?;
        let rest = before.map_or(AGAIN, |wait| wait.rest.saturating_mul(2).min(LONGEST));
        self.namespaces.insert(namespace.to_owned(), Wait { begun: now, rest });
        Some(now + patience)
    }

    /// A namespace has its first provider.
    pub(super) fn served(&mut self, namespace: &str) {
        if self.namespaces.remove(namespace).is_some() {
            self.left = self.left.saturating_add(1).min(MOST);
        }
    }

    fn count(&mut self, now: Instant) {
        self.namespaces.retain(|_, wait| now < wait.begun + wait.rest + LONGEST);
        while self.left < MOST && self.counted + EACH <= now {
            self.left = self.left.saturating_add(1);
            self.counted += EACH;
        }
        if self.left == MOST {
            self.counted = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    #[test]
    fn one_namespace_that_stays_without_is_waited_for_ever_more_rarely() {
        let start = Instant::now();
        let mut in_vain = InVain::new(start);
        // A CronJob of each minute, for a day.
        let waits: Vec<u64> = (0..24 * 60)
            .filter(|minute| in_vain.until("empty", start + EACH * *minute, PATIENCE) > Some(start + EACH * *minute))
            .map(u64::from)
            .collect();
        assert_eq!(waits[..7], [0, 1, 3, 7, 15, 31, 63]);
        assert_eq!(waits.len(), 29, "then once an hour");
        in_vain.served("empty");
        let now = start + EACH * 24 * 60;
        assert_eq!(
            in_vain.until("empty", now, PATIENCE),
            Some(now + PATIENCE),
            "its last was deleted"
        );
    }

    #[test]
    fn four_hundred_namespaces_without_providers_hold_up_who_makes_their_pods_for_a_bounded_time() {
        let start = Instant::now();
        let mut in_vain = InVain::new(start);
        let mut waited = Duration::ZERO;
        for second in 0..3600 {
            let now = start + Duration::from_secs(second);
            for namespace in (0..400).filter(|namespace| namespace % 60 == second % 60) {
                let until = in_vain.until(&namespace.to_string(), now, PATIENCE);
                waited += until.map_or(Duration::ZERO, |until| until - now);
            }
        }
        assert!(waited <= PATIENCE * (MOST + 60), "{waited:?} of an hour");
    }

    #[test]
    fn waits_that_are_not_in_vain_are_not_counted() {
        let now = Instant::now();
        let mut in_vain = InVain::new(now);
        for namespace in 0..100 {
            let namespace = namespace.to_string();
            assert_eq!(in_vain.until(&namespace, now, PATIENCE), Some(now + PATIENCE));
            assert_eq!(
                in_vain.until(&namespace, now, PATIENCE),
                Some(now + PATIENCE),
                "together"
            );
            in_vain.served(&namespace);
            in_vain.served(&namespace);
        }
        let waits = (0..100).filter(|namespace| in_vain.until(&namespace.to_string(), now, PATIENCE).is_some());
        assert_eq!(waits.count(), 16);
    }
}
