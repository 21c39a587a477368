//! A replica whose watch of UsagePolicies fails sends its streams to one whose does not, and keeps them where there is none.

use std::time::{Duration, Instant};

use bowsprit_core::stream::{ToOperator, ToSidecar};
use bowsprit_operator::stream::Settings;

use crate::policies::turned;
use crate::streams::{PATIENCE, Server, Stream, ask, quick, token};
use crate::{follow, report, sequence};

/// A moment worse off is long enough.
fn at_once() -> Settings {
    Settings {
        worse_off: Duration::ZERO,
        ..quick()
    }
}

/// The status that a pod's sidecar meets that asks for a stream.
async fn asks(server: &Server, pod: &str) -> u16 {
    let token = token("team", pod);
    ask(server.address, &server.bundle, Some(&token), "bowsprit-stream/1")
        .await
        .status
}

/// Reads until it is told to go elsewhere.
async fn sent_away(stream: &mut Stream) {
    loop {
        match stream.hear().await.expect("to be told to go, and not the end") {
            ToSidecar::GoAway { .. } => return,
            ToSidecar::Ping => stream.say(&ToOperator::Pong).await,
            ToSidecar::Paused { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Whoever fails, leader or follower.
#[tokio::test]
async fn a_resume_reaches_the_sidecars_of_a_replica_whose_watch_fails_at_another() {
    for leader_fails in [false, true] {
        let (leads, follows) = (Server::start(at_once()).await, Server::start(at_once()).await);
        let link = follow(&follows, "operator-1", &leads);
        let (fails, works) = if leader_fails {
            (&leads, &follows)
        } else {
            (&follows, &leads)
        };
        for server in [fails, works] {
            server.list_policies([turned("team", true)]);
        }
        let mut first = fails.connect("team", "a").await;
        assert_eq!(first.paused().await, 1);
        link.0.send_replace(Some(leads.address.to_string()));
        fails.lose_policies();
        works.turn("team", false);
        sent_away(&mut first).await;
        assert_eq!(asks(fails, "a").await, 503, "it is not let in where it comes from");
        assert_eq!(
            works.connect("team", "a").await.paused().await,
            0,
            "leader fails: {leader_fails}"
        );
        drop(first);
        fails
            .until("counted", |fails| {
                fails.counted("streams_ended_total{reason=\"in_doubt\"}") == 1
            })
            .await;
        assert_eq!(fails.counted("stream_requests_total{result=\"in_doubt\"}"), 1);
        assert_eq!(leads.counted("peer_links"), 1, "no replica is sent away");
        // Its watch lists again.
        fails.list_policies([]);
        fails.hub.look(Instant::now());
        assert_eq!(fails.connect("team", "b").await.paused().await, 0);
    }
}

#[tokio::test]
async fn where_no_replica_is_better_off_or_nobody_says_so_streams_stay() {
    let mut settings = at_once();
    settings.most = 1;
    let (leads, follows) = (Server::start(settings).await, Server::start(at_once()).await);
    let mut stream = follows.connect("team", "a").await;
    follows.lose_policies();
    follows.hub.look(Instant::now());
    assert_eq!(asks(&follows, "b").await, 101, "it knows of no other");
    let link = follow(&follows, "operator-1", &leads);
    link.0.send_replace(Some(leads.address.to_string()));
    // A report that comes tells that what was said before it has come too.
    for number in 1..=5 {
        stream.say(&report(number)).await;
        leads.until("heard", |leads| sequence(leads, "a") == Some(number)).await;
    }
    follows.hub.look(Instant::now());
    assert_eq!(
        asks(&follows, "b").await,
        101,
        "the leader's watch has listed nothing either"
    );
    // It has, and no room.
    let _only = leads.connect("team", "c").await;
    leads.list_policies([]);
    assert!(!leads.hub.takes(Instant::now()));
    leads.hub.look(Instant::now());
    assert_eq!(asks(&leads, "d").await, 503, "full");
    assert_eq!(leads.counted("stream_requests_total{result=\"in_doubt\"}"), 0);
    assert_eq!(follows.counted("stream_requests_total{result=\"in_doubt\"}"), 0);
}

#[tokio::test]
async fn each_stream_goes_at_a_moment_of_its_own_and_stays_where_the_watch_works_again_before_it() {
    let mut settings = at_once();
    settings.timing.withdraw_within = Duration::from_hours(1000);
    let (leads, follows) = (Server::start(settings).await, Server::start(settings).await);
    leads.list_policies([]);
    follows.list_policies([]);
    let mut stream = follows.connect("team", "a").await;
    let link = follow(&follows, "operator-1", &leads);
    follows.lose_policies();
    link.0.send_replace(Some(leads.address.to_string()));
    let is_refused = async {
        while asks(&follows, "b").await != 503 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, is_refused).await.expect("in doubt");
    // Its moment is in some weeks. Nothing that it hears until it hears of a pause sends it away.
    follows.list_policies([turned("team", true)]);
    follows.hub.look(Instant::now());
    while stream.paused().await != 1 {}
    assert_eq!(asks(&follows, "b").await, 101);
}
