//! A provider's limits that the namespace's sidecars share: brought to what is granted, asked for, counted.

use bowsprit_core::clock::Moment;
use bowsprit_core::limiter::{LimiterSettings, Which};
use bowsprit_core::share::parts::{Load, Parts, Seen};
use bowsprit_core::stream::shares::{LimitKey, WireAsk, WireGrant};

use super::ProviderState;
use super::machines::Machines;
use super::metrics::limit_name;

impl Machines {
    /// Takes the limits as they are configured now, shared or not.
    pub(super) fn limit(&mut self, limits: LimiterSettings, is_shared: bool, now: Moment) {
        if !is_shared {
            self.fleet = None;
            self.limiter.reconfigure(limits, now);
            return;
        }
        let fleet = self
            .fleet
            .get_or_insert_with(|| Box::new(Parts::new(fastrand::u32(..), now)));
        fleet.reconfigure(limits, now);
        self.fit(now);
    }

    /// Brings the limiter to the shares, where one has changed by itself. Says which are over.
    pub(super) fn fit(&mut self, now: Moment) -> Vec<Which> {
        let Some(fleet) = &mut self.fleet else {
            return Vec::new();
        };
        let Some(over) = fleet.fit(now) else {
            return Vec::new();
        };
        self.limiter.share(fleet.whole(), fleet.shares(), now);
        self.call_first();
        over
    }

    /// A request of so many tokens came, to be admitted or not.
    pub(super) fn came(&mut self, tokens: u64) {
        let load = self.load();
        if let Some(fleet) = &mut self.fleet {
            fleet.came(tokens.into(), load);
        }
    }

    /// Each part as it is, for metrics.
    pub(super) fn parts(&mut self, now: Moment) -> Vec<Seen> {
        let load = self.load();
        self.fleet.as_mut().map_or_else(Vec::new, |fleet| fleet.seen(load, now))
    }

    fn load(&self) -> Load {
        Load {
            in_flight: self.limiter.in_flight().into(),
            waiting: self.line.len() as u64,
        }
    }
}

impl ProviderState {
    /// What is to be asked now. `anew`: the stream has just been opened.
    pub fn asks(&self, anew: bool, now: Moment) -> Vec<WireAsk> {
        let mut machines = self.lock();
        let over = machines.fit(now);
        let load = machines.load();
        let asks = machines.fleet.as_mut().map(|fleet| fleet.asks(anew, load, now));
        drop(machines);
        self.count_lapsed(&over);
        let wire = |(which, ask)| WireAsk::new(LimitKey::of_provider(&self.name, which), &ask);
        asks.into_iter().flatten().map(wire).collect()
    }

    /// The operator has granted a share.
    pub fn granted(&self, grant: &WireGrant, now: Moment) {
        let mut machines = self.lock();
        let Some(fleet) = &mut machines.fleet else {
            return;
        };
        if fleet.granted(&grant.of.limit, &grant.grant(), now) {
            machines.fit(now);
        }
    }

    pub(super) fn count_lapsed(&self, over: &[Which]) {
        for which in over {
            self.metrics.lapsed(&self.name, *which);
            tracing::warn!(
                provider = %self.name,
                limit = limit_name(*which),
                "no word from the operator: the share of this limit is over, what is left is the floor"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bowsprit_core::config::{Scope, load};
    use bowsprit_core::share::allocator::Allocator;

    use super::*;
    use crate::metrics::Registry;
    use crate::tenant::provider::{ProviderMetrics, States};

    fn at(millis: u64) -> Moment {
        Moment::from_start(Duration::from_millis(millis))
    }

    fn state(limits: &str) -> Arc<ProviderState> {
        let text = format!(
            "apiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: p}}\n\
             spec: {{provider: OpenAICompatible, endpoint: {{baseUrl: 'https://p'}}, rateLimits: {limits}}}\n"
        );
        let scope = Scope::Cluster {
            pod_labels: std::collections::BTreeMap::new(),
        };
        let config = load(&text, &scope).unwrap();
        let metrics = ProviderMetrics::register(&mut Registry::default());
        States::default().adopt(&config.providers[0], &metrics, at(0))
    }

    fn admitted(state: &Arc<ProviderState>, millis: u64) -> bool {
        // Kept open: what counts is the rate.
        state.admit("m", 1, at(millis)).map(std::mem::forget).is_ok()
    }

    #[test]
    fn one_request_at_first_then_the_share_and_then_the_floor() {
        let state = state("{requestsPerMinute: 600, scope: Fleet}");
        assert!(admitted(&state, 0));
        assert!(!admitted(&state, 1_000), "nothing was granted yet");
        let asks = state.asks(true, at(1_000));
        assert_eq!(
            (asks.len(), asks[0].of.limit.as_str(), asks[0].want),
            (1, "requests", 12)
        );
        let ask = bowsprit_core::share::Ask {
            want: 120,
            ..asks[0].ask()
        };
        let mut leader = Allocator::of_a_new_limit(600, 1, at(0));
        leader.expect(10);
        let grant = leader.hear(&0, &ask, at(1_000)).unwrap();
        state.granted(&WireGrant::new(asks[0].of.clone(), &grant), at(1_100));
        let first: usize = (0..300).filter(|second| admitted(&state, 1_100 + second * 100)).count();
        assert!((74..=92).contains(&first), "150 a minute for half a minute: {first}");
        // A minute after the ask the share is over; the floor is a tenth of the limit.
        let floor: usize = (0..600)
            .filter(|second| admitted(&state, 61_000 + second * 100))
            .count();
        assert!((59..=77).contains(&floor), "60 a minute: {floor}");
    }

    #[test]
    fn places_at_once_are_shared_too_and_what_is_in_flight_is_held() {
        let state = state("{concurrentRequests: 4, scope: Fleet}");
        assert!(!admitted(&state, 0));
        let asks = state.asks(true, at(0));
        let mut leader = Allocator::of_a_new_limit(4, 1, at(0));
        let grant = leader.hear(&0, &asks[0].ask(), at(0)).unwrap();
        state.granted(&WireGrant::new(asks[0].of.clone(), &grant), at(1));
        assert!(admitted(&state, 2));
        assert!(!admitted(&state, 3));
        let asks = state.asks(true, at(2_000));
        assert_eq!((asks[0].held, asks[0].want), (1, 2));
    }
}
