use std::sync::atomic::{AtomicBool, Ordering};
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

fn shared(limit: LimitKey) -> SharedLimit {
    SharedLimit {
        of: limit,
        whole: 600,
        is_apart: false,
    }
}

fn shares_of(limit: LimitKey, leadership: &Leadership, clock: Clock, exists: bool) -> Shares {
    shares_in(shared(limit), leadership, clock, exists)
}

fn shares_in(limit: SharedLimit, leadership: &Leadership, clock: Clock, exists: bool) -> Shares {
    shares_where(limit, leadership, clock, Arc::new(AtomicBool::new(exists)))
}

fn shares_where(limit: SharedLimit, leadership: &Leadership, clock: Clock, exists: Arc<AtomicBool>) -> Shares {
    Shares::new(
        clock,
        leadership.clone(),
        Fleet::new().0,
        Arc::new(move |namespace| {
            Some(if namespace == "team" {
                vec![limit.clone()]
            } else {
                Vec::new()
            })
        }),
        Arc::new(move || {
            let exists = exists.load(Ordering::Acquire);
            exists.then(|| "team".into()).into_iter().collect()
        }),
        Metrics::register(&mut Registry::default()),
    )
}

/// The namespace's config is written, for the first time with this limit.
fn wrote(shares: &Shares, limit: &LimitKey) {
    shares.wrote("team", Some(&[]), &[shared(limit.clone())]);
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
    wrote(&shares, &of_claude());
    let grants = shares.ask("team", &pod("a"), &[ask(2, 0, 100)]).unwrap();
    assert_eq!(
        (grants[0].number, grants[0].epoch, grants[0].whole, grants[0].share),
        (2, 7, 600, 125)
    );
    assert_eq!(grants[0].grant().lease, Duration::from_mins(1));
}

#[test]
fn a_new_leader_lends_nothing_that_another_may_have_lent() {
    let clock = Clock::new();
    let leadership = Leadership::new(clock);
    leadership.leads_for(2, Duration::from_mins(1));
    let inherited = shares(&leadership, clock, true);
    let first = inherited.ask("team", &pod("a"), &[ask(1, 0, 100)]).unwrap();
    assert_eq!(first[0].share, 0);
    let renewed = inherited.ask("team", &pod("b"), &[ask(1, 90, 100)]).unwrap();
    assert_eq!(renewed[0].share, 90, "it goes on with what it has");
    // Written anew for another reason.
    wrote(&inherited, &of_claude());
    assert_eq!(inherited.ask("team", &pod("a"), &[ask(2, 0, 100)]).unwrap()[0].share, 0);
}

#[test]
fn a_limit_that_comes_after_it_asked_for_the_lease_is_new_and_one_that_was_there_is_not() {
    let clock = Clock::new();
    for (was_there, share) in [(false, 125), (true, 0)] {
        let leadership = Leadership::new(clock);
        let exists = Arc::new(AtomicBool::new(was_there));
        let shares = shares_where(shared(of_claude()), &leadership, clock, Arc::clone(&exists));
        shares.before_it_leads();
        // Everybody knows who leads before it does anything.
        exists.store(true, Ordering::Release);
        leadership.leads_for(2, Duration::from_mins(1));
        shares.tick();
        wrote(&shares, &of_claude());
        let granted = shares.ask("team", &pod("a"), &[ask(1, 0, 100)]).unwrap();
        assert_eq!(granted[0].share, share, "it was there: {was_there}");
    }
}

#[test]
fn a_limit_that_a_new_leader_is_the_first_to_write_is_lent_at_once_whoever_sets_it() {
    let clock = Clock::new();
    let leadership = Leadership::new(clock);
    leadership.leads_for(2, Duration::from_mins(1));
    for limit in [
        of_claude(),
        LimitKey::of_limit("fast/a", Which::Requests),
        LimitKey::of_limit("policy/all/a", Which::Requests),
    ] {
        let ask = |number| WireAsk {
            of: limit.clone(),
            ..ask(number, 0, 100)
        };
        let shares = shares_of(limit.clone(), &leadership, clock, false);
        let granted = shares.ask("team", &pod("a"), &[ask(1)]).unwrap();
        assert_eq!(granted[0].share, 0, "{limit:?}: nobody says yet that it is new");
        wrote(&shares, &limit);
        let granted = shares.ask("team", &pod("a"), &[ask(2)]).unwrap();
        assert_eq!(granted[0].share, 125, "{limit:?}");
    }
}

#[test]
fn a_limit_is_not_new_where_the_config_before_had_it_or_may_have_had_it() {
    let clock = Clock::new();
    let leadership = Leadership::new(clock);
    leadership.leads_for(2, Duration::from_mins(1));
    let had = [of_claude()];
    for replaced in [Some(&had[..]), None] {
        // It does not know the limit when it begins, as where a kind is listed late.
        let shares = shares(&leadership, clock, false);
        shares.wrote("team", replaced, &[shared(of_claude())]);
        // What it writes later is no proof of what was before.
        wrote(&shares, &of_claude());
        assert_eq!(shares.ask("team", &pod("a"), &[ask(1, 0, 100)]).unwrap()[0].share, 0);
    }
}

#[test]
fn who_does_not_lead_notes_nothing_of_what_it_wrote() {
    let clock = Clock::new();
    let leadership = Leadership::new(clock);
    let shares = shares(&leadership, clock, false);
    wrote(&shares, &of_claude());
    leadership.leads_for(2, Duration::from_mins(1));
    assert_eq!(shares.ask("team", &pod("a"), &[ask(1, 0, 100)]).unwrap()[0].share, 0);
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

fn apart() -> SharedLimit {
    SharedLimit {
        of: LimitKey::of_limit("fast/a", Which::Requests),
        whole: 600,
        is_apart: true,
    }
}

fn ask_of(group: &str, number: u64, held: u64) -> WireAsk {
    WireAsk {
        of: apart().of.apart(group),
        ..ask(number, held, 600)
    }
}

#[test]
fn what_is_lent_apart_each_group_has_whole_and_its_sidecars_share() {
    let clock = Clock::new();
    let leadership = Leadership::new(clock);
    leadership.leads_for(1, Duration::from_mins(1));
    let shares = shares_in(apart(), &leadership, clock, false);
    shares.wrote("team", Some(&[]), &[apart()]);
    let mut held = BTreeMap::new();
    for number in 1..=20 {
        for (name, group) in [("a", "Deployment/shop"), ("b", "Deployment/shop"), ("c", "Job/nightly")] {
            let before = held.get(name).copied().unwrap_or(0);
            let granted = shares
                .ask("team", &pod(name), &[ask_of(group, number, before)])
                .unwrap();
            assert_eq!(granted[0].of.apart, group, "a grant says whose it is");
            held.insert(name, granted[0].share);
        }
        assert!(held["a"] + held.get("b").copied().unwrap_or(0) <= 600, "{held:?}");
    }
    assert!(held["a"] + held["b"] >= 590, "the workload has all of it: {held:?}");
    assert_eq!(held["c"], 600, "and so has the other");
}

#[test]
fn a_new_leader_lends_a_group_nothing_that_another_may_have_lent_it() {
    let clock = Clock::new();
    let leadership = Leadership::new(clock);
    leadership.leads_for(2, Duration::from_mins(1));
    let shares = shares_in(apart(), &leadership, clock, true);
    let first = shares
        .ask("team", &pod("a"), &[ask_of("Deployment/shop", 1, 0)])
        .unwrap();
    assert_eq!(first[0].share, 0);
}

#[test]
fn who_was_missing_after_a_list_leaves_the_whole_to_who_follows_it() {
    let clock = Clock::new();
    let leadership = Leadership::new(clock);
    leadership.leads_for(1, Duration::from_hours(1));
    let shares = shares_in(apart(), &leadership, clock, false);
    shares.wrote("team", Some(&[]), &[apart()]);
    let ask = |name: &str, number| {
        let granted = shares.ask("team", &pod(name), &[ask_of("Deployment/shop", number, 0)]);
        granted.unwrap().first().map(|grant| grant.share)
    };
    assert!(ask("a", 1) > Some(0));
    shares.keep_only(&HashSet::from(["uid-b".into()]));
    let lent = || shares.totals("team").iter().map(|(_, of)| of.pods).sum::<u64>();
    assert_eq!(lent(), 1, "its share may be used until it is over");
    // Whoever is known to be gone is not heard any more.
    shares.gone("team", &pod("a"));
    assert_eq!(ask("a", 2), None);
    assert!(ask("b", 1).is_some());
}

#[test]
fn there_are_no_more_counts_of_a_limit_than_sidecars_could_be_of() {
    let clock = Clock::new();
    let leadership = Leadership::new(clock);
    leadership.leads_for(1, Duration::from_mins(1));
    let shares = shares_in(apart(), &leadership, clock, false);
    let granted = (0..100).filter(|number| {
        let ask = ask_of(&format!("made-up-{number}"), 1, 0);
        !shares.ask("team", &pod("a"), &[ask]).unwrap().is_empty()
    });
    assert_eq!(granted.count(), 16, "nobody holds a stream here");
    assert_eq!(
        shares.totals("team").len(),
        17,
        "and one that nobody borrows, of the limit itself"
    );
}

#[test]
fn sidecars_of_the_release_before_do_not_say_of_which_group_they_are_and_have_a_count_together() {
    let clock = Clock::new();
    let leadership = Leadership::new(clock);
    leadership.leads_for(1, Duration::from_mins(1));
    let shares = shares_in(apart(), &leadership, clock, false);
    for name in ["a", "b"] {
        assert!(!shares.ask("team", &pod(name), &[ask_of("", 1, 0)]).unwrap().is_empty());
    }
    assert_eq!(shares.totals("team").len(), 1);
}
