//! A provider's limits that the namespace's sidecars share: brought to what is granted, asked for, counted.

use bowsprit_core::clock::Moment;
use bowsprit_core::limiter::{LimiterSettings, Shares, Which};
use bowsprit_core::share::holder::Standing;
use bowsprit_core::stream::shares::{LimitKey, WireAsk, WireGrant};

use super::ProviderState;
use super::fleet::{FleetLimits, Seen, Wants};
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
        let fleet = self.fleet.get_or_insert_with(|| Box::new(FleetLimits::new(now)));
        fleet.reconfigure(limits, now);
        self.fit(now);
    }

    /// Brings the limiter to the shares, where one has changed by itself. Says which are over.
    pub(super) fn fit(&mut self, now: Moment) -> Vec<Which> {
        let Some(fleet) = &mut self.fleet else {
            return Vec::new();
        };
        if fleet.changes.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut shares = Shares::default();
        let mut over = Vec::new();
        fleet.changes = None;
        for part in &mut fleet.parts {
            let (share, standing) = part.holder.entitled(now);
            match part.which {
                Which::Requests => shares.requests_per_minute = share,
                Which::Tokens => shares.tokens_per_minute = share,
                Which::Concurrency => shares.concurrent = share,
                // Not shared out.
                Which::Input | Which::Output | Which::Cost => {}
            }
            if part.standing == Standing::Granted && standing != Standing::Granted {
                over.push(part.which);
            }
            part.standing = standing;
            let next = part.holder.changes_at(now);
            fleet.changes = [fleet.changes, next].into_iter().flatten().min();
        }
        fleet.shares = shares;
        self.limiter.share(fleet.whole, shares, now);
        self.call_first();
        over
    }

    /// A request of so many tokens came, to be admitted or not.
    pub(super) fn came(&mut self, tokens: u64) {
        let (in_flight, waiting) = (self.limiter.in_flight(), self.line.len());
        let Some(fleet) = &mut self.fleet else {
            return;
        };
        for part in &mut fleet.parts {
            match (&mut part.wants, part.which) {
                (Wants::Rate(demand), Which::Tokens) => demand.note(tokens),
                (Wants::Rate(demand), _) => demand.note(1),
                (Wants::Peak { requests, .. }, _) => {
                    *requests = requests.max(f64::from(in_flight) + waiting as f64 + 1.0);
                }
            }
        }
    }

    /// Each part as it is, for metrics.
    pub(super) fn parts(&mut self, now: Moment) -> Vec<Seen> {
        let (in_flight, waiting) = (u64::from(self.limiter.in_flight()), self.line.len() as u64);
        let parts = self.fleet.iter_mut().flat_map(|fleet| &mut fleet.parts);
        let seen = parts.map(|part| {
            let (share, standing) = part.holder.entitled(now);
            Seen {
                which: part.which,
                share,
                wanted: part.want(in_flight, if part.which == Which::Tokens { 0 } else { waiting }, now),
                is_without: standing != Standing::Granted,
            }
        });
        seen.collect()
    }
}

impl ProviderState {
    /// What is to be asked now. `anew`: the stream has just been opened.
    pub fn asks(&self, anew: bool, now: Moment) -> Vec<WireAsk> {
        let mut machines = self.lock();
        let over = machines.fit(now);
        let (in_flight, waiting) = (u64::from(machines.limiter.in_flight()), machines.line.len() as u64);
        let mut asks = Vec::new();
        for part in machines.fleet.iter_mut().flat_map(|fleet| &mut fleet.parts) {
            let using = if part.which == Which::Concurrency { in_flight } else { 0 };
            // How many tokens those who wait want is not kept; their coming was noted.
            let waiting = if part.which == Which::Tokens { 0 } else { waiting };
            let want = part.want(in_flight, waiting, now);
            let ask = if anew {
                Some(part.holder.asks(want, using, now))
            } else {
                part.holder.ask(want, using, now)
            };
            asks.extend(ask.map(|ask| WireAsk::new(LimitKey::of_provider(&self.name, part.which), &ask)));
        }
        drop(machines);
        self.count_lapsed(&over);
        asks
    }

    /// The operator has granted a share.
    pub fn granted(&self, grant: &WireGrant, now: Moment) {
        let mut machines = self.lock();
        let Some(fleet) = &mut machines.fleet else {
            return;
        };
        let part = fleet
            .parts
            .iter_mut()
            .find(|part| part.which.as_str() == grant.of.limit);
        if part.is_some_and(|part| part.holder.take(&grant.grant(), now)) {
            fleet.changes = Some(now);
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
            (1, "requests", 4)
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
