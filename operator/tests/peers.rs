//! Two replicas: what the sidecars of one say, the leader knows too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "streams/policies.rs"]
mod policies;
mod streams;
#[path = "peers/withdrawal.rs"]
mod withdrawal;

use std::collections::BTreeMap;
use std::time::Duration;

use bowsprit_core::limiter::Which;
use bowsprit_core::stream::loans::{BudgetKey, WireBorrow, WireLoan};
use bowsprit_core::stream::shares::{LimitKey, WireAsk, WireGrant};
use bowsprit_core::stream::{SidecarReport, ToOperator, ToSidecar};
use bowsprit_operator::fleet::PodId;
use bowsprit_operator::link::Link;
use bowsprit_operator::stream::peer::follow::Follower;
use serde_json::json;
use streams::{HOST, Server, Stream, ask_at, quick, signed, token};
use tokio::sync::watch;
use tokio::task::JoinHandle;

fn pod(name: &str) -> PodId {
    PodId {
        name: name.into(),
        uid: format!("uid-{name}"),
    }
}

fn report(sequence: u64) -> ToOperator {
    ToOperator::Report(SidecarReport {
        sequence,
        ..SidecarReport::default()
    })
}

fn sequence(server: &Server, name: &str) -> Option<u64> {
    let reports = server.fleet.reports("team");
    reports.get(&pod(name)).map(|reported| reported.report.sequence)
}

/// The operators' own token, of the replica `name`.
fn own(name: &str) -> String {
    signed(json!({"namespace": "bowsprit-system", "account": "bowsprit", "pod": name}))
}

/// `from` follows whoever is said to lead.
fn follow(
    from: &Server,
    name: &str,
    trusted: &Server,
) -> (watch::Sender<Option<String>>, JoinHandle<()>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, format!("{}\n", own(name))).unwrap();
    let leader = watch::Sender::new(None);
    let follower = Follower {
        fleet: from.fleet.clone(),
        leader: leader.subscribe(),
        link: Link {
            server: HOST.into(),
            bundle: trusted.served.bundle(),
            token: path,
        },
        hub: std::sync::Arc::clone(&from.hub),
    };
    (leader, tokio::spawn(follower.run()), folder)
}

#[tokio::test]
async fn the_leader_knows_of_every_sidecar_and_of_one_that_moves_all_the_time() {
    let (leads, one, two) = (
        Server::start(quick()).await,
        Server::start(quick()).await,
        Server::start(quick()).await,
    );
    let mut early = one.connect("team", "early").await;
    early.say(&report(1)).await;
    one.until("here", |one| sequence(one, "early") == Some(1)).await;
    let followers = [follow(&one, "operator-1", &leads), follow(&two, "operator-2", &leads)];
    for (leader, ..) in &followers {
        leader.send_replace(Some(leads.address.to_string()));
    }
    // All that was so before the link, and then each change.
    leads.until("told", |leads| sequence(leads, "early") == Some(1)).await;
    let mut late = two.connect("team", "late").await;
    late.say(&report(2)).await;
    early.say(&report(3)).await;
    leads
        .until("changes", |leads| {
            (sequence(leads, "early"), sequence(leads, "late")) == (Some(3), Some(2))
        })
        .await;
    assert_eq!(leads.counted("peer_links"), 2);
    assert_eq!(leads.counted("streams_open"), 0);

    // It moves: its stream to one replica ends, and one to another begins.
    let moved = async {
        drop(early);
        one.until("noticed", |one| one.counted("streams_open") == 0).await;
        let mut again = two.connect("team", "early").await;
        again.say(&report(4)).await;
        leads.until("moved", |leads| sequence(leads, "early") == Some(4)).await;
        again
    };
    let never_gone = async {
        loop {
            assert!(sequence(&leads, "early").is_some(), "shown gone");
            tokio::task::yield_now().await;
        }
    };
    let _again = tokio::select! {
        again = moved => again,
        () = never_gone => unreachable!(),
    };
    // The replica that it left ends: nothing of the pod is lost with it.
    followers[0].1.abort();
    leads.until("one link", |leads| leads.counted("peer_links") == 1).await;
    assert_eq!(sequence(&leads, "early"), Some(4));
    // What a follower heard from its own sidecars is all that it tells: nothing comes back.
    assert!(one.fleet.reports_here("team").is_empty());
}

#[tokio::test]
async fn a_replica_follows_whoever_leads_now() {
    let (first, second, from) = (
        Server::start(quick()).await,
        Server::start(quick()).await,
        Server::start(quick()).await,
    );
    let mut stream = from.connect("team", "a").await;
    stream.say(&report(1)).await;
    // It checks the certificate, so both leaders have to have the one that it trusts.
    let material = bowsprit_operator::certs::authority::Material::step(
        None,
        &[HOST.to_owned()],
        bowsprit_operator::time::unix_seconds(),
        |_| true,
    );
    let material = material.unwrap().unwrap();
    for server in [&first, &second] {
        server.served.set(&material.current).unwrap();
        server.served.announce(&material.bundle());
    }
    let (leader, following, _folder) = follow(&from, "operator-1", &first);
    leader.send_replace(Some(first.address.to_string()));
    first.until("told", |first| sequence(first, "a") == Some(1)).await;
    leader.send_replace(Some(second.address.to_string()));
    second.until("told", |second| sequence(second, "a") == Some(1)).await;
    first.until("left", |first| first.counted("peer_links") == 0).await;
    // It leads itself.
    leader.send_replace(None);
    second.until("left", |second| second.counted("peer_links") == 0).await;
    following.abort();
}

#[tokio::test]
async fn nobody_but_an_operator_may_speak_for_sidecars() {
    let server = Server::start(quick()).await;
    let ask = async |token: Option<String>| {
        let asked = ask_at(
            "/v1/peer",
            server.address,
            &server.bundle,
            token.as_deref(),
            "bowsprit-peer/1",
        )
        .await;
        asked.status
    };
    assert_eq!(ask(None).await, 401);
    assert_eq!(ask(Some(token("team", "a"))).await, 403);
    // The operators' namespace alone is not enough, nor is the name of their account elsewhere.
    let other = signed(json!({"namespace": "bowsprit-system", "account": "default", "pod": "a"}));
    assert_eq!(ask(Some(other)).await, 403);
    let elsewhere = signed(json!({"namespace": "team", "account": "bowsprit", "pod": "a"}));
    assert_eq!(ask(Some(elsewhere)).await, 403);
    assert_eq!(server.counted("stream_requests_total{result=\"no_peer\"}"), 3);
    assert_eq!(ask(Some(own("operator-1"))).await, 101);
}

/// What a sidecar asks of the limit that all of them share.
fn ask(number: u64, held: u64, want: u64) -> ToOperator {
    let ask = WireAsk {
        of: LimitKey::of_provider("claude", Which::Requests),
        number,
        held,
        uses: held,
        is_lent: held > 0,
        want,
        ..WireAsk::default()
    };
    ToOperator::Ask { asks: vec![ask] }
}

/// Asks until it is granted something: the link to the leader may not stand yet.
async fn granted(stream: &mut Stream, number: &mut u64, want: u64) -> WireGrant {
    loop {
        *number += 1;
        stream.say(&ask(*number, 0, want)).await;
        let until = tokio::time::Instant::now() + Duration::from_secs(2);
        while let Ok(heard) = tokio::time::timeout_at(until, stream.hear()).await {
            match heard {
                Some(ToSidecar::Grant { mut grants }) => return grants.remove(0),
                Some(_) => {}
                None => panic!("the stream ended"),
            }
        }
    }
}

#[tokio::test]
async fn whichever_replica_a_sidecar_asks_it_is_the_leader_that_grants() {
    let (leads, other) = (Server::start(quick()).await, Server::start(quick()).await);
    leads.leads(7);
    let (leader, ..) = &follow(&other, "operator-1", &leads);
    leader.send_replace(Some(leads.address.to_string()));
    let (mut near, mut far) = (leads.connect("team", "near").await, other.connect("team", "far").await);
    let mut number = 0;
    let grant = granted(&mut near, &mut number, 200).await;
    assert_eq!(
        (grant.number, grant.epoch, grant.whole, grant.share),
        (number, 7, 600, 250)
    );
    let grant = granted(&mut far, &mut number, 400).await;
    assert_eq!(
        (grant.number, grant.epoch, grant.share),
        (number, 7, 350),
        "what is left"
    );
}

/// The next grant that comes.
async fn next_grant(stream: &mut Stream) -> WireGrant {
    loop {
        match stream.hear().await {
            Some(ToSidecar::Grant { mut grants }) => return grants.remove(0),
            Some(_) => {}
            None => panic!("the stream ended"),
        }
    }
}

/// The answer to an ask, and not to one before it: as the link to the leader may not stand yet, it asks until one comes.
async fn answered(stream: &mut Stream, number: &mut u64, want: u64) -> WireGrant {
    loop {
        *number += 1;
        stream.say(&ask(*number, 0, want)).await;
        let until = tokio::time::Instant::now() + Duration::from_secs(2);
        while let Ok(grant) = tokio::time::timeout_at(until, next_grant(stream)).await {
            if grant.number == *number {
                return grant;
            }
        }
    }
}

/// What the one was answered that wanted all while the other had it, and what was sent to it once the other had given that up, without
/// being asked again. None: nothing was sent within a second, after which the one may be taken for cut off.
async fn sent_on(has: &mut Stream, waits: &mut Stream, number: &mut u64) -> Option<(WireGrant, WireGrant)> {
    // Until the leader's plan says so.
    while answered(waits, number, 0).await.share > 100 {}
    while answered(has, number, 600).await.share < 400 {}
    let answer = answered(waits, number, 600).await;
    for _ in 0..10 {
        *number += 1;
        has.say(&ask(*number, 0, 0)).await;
        if let Ok(sent) = tokio::time::timeout(Duration::from_millis(100), next_grant(waits)).await {
            return Some((answer, sent));
        }
    }
    None
}

#[tokio::test]
async fn what_one_sidecar_gives_up_is_sent_to_who_wanted_it_at_whichever_replica_it_is_and_it_need_not_ask_again() {
    let (leads, other) = (Server::start(quick()).await, Server::start(quick()).await);
    leads.leads(7);
    let (leader, ..) = &follow(&other, "operator-1", &leads);
    leader.send_replace(Some(leads.address.to_string()));
    for (server, name) in [(&leads, "near"), (&other, "far")] {
        let (mut has, mut waits) = (leads.connect("team", "has").await, server.connect("team", name).await);
        let mut number = 0;
        let (answer, sent) = loop {
            if let Some(both) = sent_on(&mut has, &mut waits, &mut number).await {
                break both;
            }
        };
        assert_eq!(
            (sent.number, sent.epoch),
            (answer.number, 7),
            "in answer to what it asked before"
        );
        assert!(sent.share > answer.share, "{sent:?}");
        // The next round begins with nothing held.
        while answered(&mut waits, &mut number, 0).await.share > 100 {}
    }
}

#[tokio::test]
async fn whichever_replica_a_sidecar_asks_it_is_the_leader_that_lends_money() {
    let (leads, other) = (Server::start(quick()).await, Server::start(quick()).await);
    leads.leadership.leads_for(7, Duration::from_mins(10));
    leads.money.begin(7, BTreeMap::new());
    let (leader, ..) = &follow(&other, "operator-1", &leads);
    leader.send_replace(Some(leads.address.to_string()));
    let (near, far) = (leads.connect("team", "near").await, other.connect("team", "far").await);
    for (mut stream, number) in [(near, 1_000), (far, 2_000)] {
        // Until the link stands nobody answers.
        let loan = lent(&mut stream, number).await;
        assert!(loan.number > number && loan.epoch == 7, "{loan:?}");
        assert!(
            loan.is_pending && loan.again_ms == 100,
            "nobody has written a mark: {loan:?}"
        );
    }
}

/// Asks until an answer comes.
async fn lent(stream: &mut Stream, mut number: u64) -> WireLoan {
    loop {
        number += 1;
        let ask = WireBorrow {
            key: BudgetKey {
                budget: "shop/all".into(),
                ..BudgetKey::default()
            },
            number,
            least: 5,
            want: 5,
            ..WireBorrow::default()
        };
        stream.say(&ToOperator::Borrow { asks: vec![ask] }).await;
        let until = tokio::time::Instant::now() + Duration::from_secs(2);
        while let Ok(heard) = tokio::time::timeout_at(until, stream.hear()).await {
            match heard {
                Some(ToSidecar::Lend { mut loans }) => return loans.remove(0),
                Some(_) => {}
                None => panic!("the stream ended"),
            }
        }
    }
}
