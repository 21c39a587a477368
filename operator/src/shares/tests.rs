use std::time::Duration;

use super::*;
use prometheus_client::registry::Registry;

fn pod(name: &str) -> PodId {
    PodId {
        name: name.into(),
        uid: format!("uid-{name}"),
    }
}

fn of_claude() -> LimitKey {
    LimitKey::of_provider("claude", Which::Requests)
}

fn shares(leadership: &Leadership, clock: Clock, exists: bool) -> Shares {
    shares_of(of_claude(), leadership, clock, exists)
}

fn shares_of(limit: LimitKey, leadership: &Leadership, clock: Clock, exists: bool) -> Shares {
    let (fleet, _heard) = Fleet::new();
    Shares::new(
        clock,
        leadership.clone(),
        fleet,
        Arc::new(move |namespace| {
            Some(if namespace == "team" {
                vec![(limit.clone(), 600)]
            } else {
                Vec::new()
            })
        }),
        Arc::new(move || if exists { vec!["team".into()] } else { Vec::new() }),
        Metrics::register(&mut Registry::default()),
    )
}

fn ask(number: u64, held: u64, want: u64) -> WireAsk {
    WireAsk {
        of: of_claude(),
        number,
        held,
        uses: held,
        is_lent: held > 0,
        want,
        ..WireAsk::default()
    }
}

#[test]
fn who_does_not_lead_passes_on_what_is_asked_once_and_the_leader_answers() {
    let clock = Clock::new();
    let leadership = Leadership::new(clock);
    let shares = shares(&leadership, clock, false);
    assert_eq!(shares.ask("team", &pod("a"), &[ask(1, 0, 100)]), None);
    shares.pass_on("team", &pod("a"), vec![ask(1, 0, 100)]);
    assert_eq!(shares.waiting().len(), 1);
    assert!(shares.waiting().is_empty());
    leadership.leads_for(7, Duration::from_mins(1));
    let grants = shares.ask("team", &pod("a"), &[ask(2, 0, 100)]).unwrap();
    assert_eq!(
        (grants[0].number, grants[0].epoch, grants[0].whole, grants[0].share),
        (2, 7, 600, 125)
    );
    assert_eq!(grants[0].grant().lease, Duration::from_mins(1));
}

#[test]
fn a_new_leader_lends_nothing_that_another_may_have_lent_and_a_limit_that_is_new_at_once() {
    let clock = Clock::new();
    let leadership = Leadership::new(clock);
    leadership.leads_for(2, Duration::from_mins(1));
    let inherited = shares(&leadership, clock, true);
    let first = inherited.ask("team", &pod("a"), &[ask(1, 0, 100)]).unwrap();
    assert_eq!(first[0].share, 0);
    let renewed = inherited.ask("team", &pod("b"), &[ask(1, 90, 100)]).unwrap();
    assert_eq!(renewed[0].share, 90, "it goes on with what it has");
    let new = shares(&leadership, clock, false);
    assert_eq!(new.ask("team", &pod("a"), &[ask(1, 0, 100)]).unwrap()[0].share, 125);
}

#[test]
fn of_another_namespace_and_of_limits_that_are_not_shared_nothing_is_granted() {
    let clock = Clock::new();
    let leadership = Leadership::new(clock);
    leadership.leads_for(1, Duration::from_mins(1));
    let shares = shares(&leadership, clock, false);
    assert!(shares.ask("other", &pod("a"), &[ask(1, 0, 100)]).unwrap().is_empty());
    let unknown = WireAsk {
        of: LimitKey::of_provider("gemini", Which::Tokens),
        ..ask(1, 0, 100)
    };
    assert!(shares.ask("team", &pod("a"), &[unknown]).unwrap().is_empty());
}

#[test]
fn of_a_policy_that_a_new_leader_did_not_know_at_first_nothing_is_lent_twice() {
    let clock = Clock::new();
    let leadership = Leadership::new(clock);
    leadership.leads_for(1, Duration::from_mins(1));
    for (limit, first) in [
        (LimitKey::of_limit("policy/all/a", Which::Requests), 0),
        (LimitKey::of_limit("fast/a", Which::Requests), 125),
    ] {
        let shares = shares_of(limit.clone(), &leadership, clock, false);
        let ask = WireAsk {
            of: limit,
            ..ask(1, 0, 100)
        };
        let granted = shares.ask("team", &pod("a"), &[ask]).unwrap();
        assert_eq!(granted[0].share, first, "{:?}", granted[0].of);
    }
}
