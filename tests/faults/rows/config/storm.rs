//! Row 20: a configuration that changes all the time, under traffic; what it takes away is in use.

use std::time::Duration;

use bowsprit_providers::{Answer, Api, Provider};
use bowsprit_rig::connection::Connection;
use bowsprit_rig::operator::ScriptedOperator;
use serde_json::json;

use super::{held, named, one, serves};
use crate::bed::{Bed, CHAT, chat};
use crate::trial::{SOON, Trial, promises, provider, until};

promises! {
    20, "1,000 config changes a minute";
    a_storm_of_changes_fails_no_request_and_leaves_memory_flat,
    a_provider_that_is_removed_while_in_use_ends_what_it_began_and_lets_go,
    a_limit_that_is_cut_below_what_is_in_use_cuts_nothing_off,
}

/// Streams under way at once.
const BUSY: usize = 8;

/// So many streams that have begun, each for about two seconds more.
async fn busy(bed: &Bed, provider: &Provider) -> Vec<Connection> {
    let words: Vec<String> = (0..20).map(|n| format!("w{n}")).collect();
    provider.always(Answer::new(words.join(" ")).delay(Duration::from_millis(100)));
    let mut streams = Vec::new();
    for _ in 0..BUSY {
        streams.push(bed.ask(CHAT, &chat(true)).await);
    }
    for stream in &mut streams {
        stream.until("w0").await;
    }
    streams
}

/// They end as if nothing had been.
async fn end_well(streams: Vec<Connection>) {
    for mut stream in streams {
        let reply = stream.reply().await;
        let text = reply.text();
        assert!(
            reply.complete && reply.is_ended_well() && text.contains("w19"),
            "{text}"
        );
    }
}

async fn a_provider_that_is_removed_while_in_use_ends_what_it_began_and_lets_go(trial: Trial) {
    let (operator, first, second) = (
        ScriptedOperator::start().await,
        provider(Api::OpenAi),
        provider(Api::OpenAi),
    );
    let (bed, mut stream) = held(&trial, &operator, &first).await;
    let streams = busy(&bed, &first).await;
    // It goes, and the configuration goes on changing.
    let mut sequence = 5;
    for n in 0..trial.count(10, 30) {
        sequence += 1;
        let aliases = [format!("alias-{n}")];
        stream
            .config(&named("second", &second, &aliases, &json!({})), sequence)
            .await;
    }
    serves(&bed, sequence).await;
    for _ in 0..BUSY {
        assert_eq!(bed.chat(false).await.status, 200);
    }
    trial.figure(
        "requests that the removed provider got",
        first.seen().counts.requests as f64,
        "",
        BUSY as f64..=BUSY as f64,
    );
    end_well(streams).await;
    let lets_go = first.wait_for(|seen| seen.open_connections == 0, SOON).await;
    assert!(lets_go.is_ok(), "its connections stay open: {lets_go:?}");
    until("nothing is told of it any more", || async {
        bed.sum("bowsprit_provider_in_flight", &["provider=\"first\""]).await == 0.0
            && !bed.health().await["providers"].to_string().contains("first")
    })
    .await;
}

async fn a_limit_that_is_cut_below_what_is_in_use_cuts_nothing_off(trial: Trial) {
    let (operator, first) = (ScriptedOperator::start().await, provider(Api::OpenAi));
    let (bed, mut stream) = held(&trial, &operator, &first).await;
    let streams = busy(&bed, &first).await;
    let limits = json!({"concurrentRequests": 2, "onLimit": "Reject"});
    stream.config(&named("first", &first, &[], &limits), 6).await;
    until("it is in service", || async {
        bed.health().await["config"]["sequence"] == 6
    })
    .await;
    let refused = bed.chat(false).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    end_well(streams).await;
    trial.figure(
        "requests that were taken, all ended well",
        first.seen().answered as f64,
        "",
        BUSY as f64..=BUSY as f64,
    );
    until("there is room again", || async { bed.chat(false).await.status == 200 }).await;
}

async fn a_storm_of_changes_fails_no_request_and_leaves_memory_flat(trial: Trial) {
    let (operator, first) = (ScriptedOperator::start().await, provider(Api::OpenAi));
    let (bed, mut stream) = held(&trial, &operator, &first).await;
    let changes = trial.count(200, 1_000);
    let pause = Duration::from_millis(trial.count(5, 60) as u64);
    // Of some size, and of another each time, so that what is not given back is seen.
    let document = |n: usize| {
        one(
            &first,
            &(0..200 + n % 50)
                .map(|alias| format!("alias-{n}-{alias}"))
                .collect::<Vec<_>>(),
        )
    };
    let mut sequence = 5;
    let mut settled = 0.0;
    for n in 0..changes {
        sequence += 1;
        stream.config(&document(n), sequence).await;
        assert_eq!(bed.chat(n % 2 == 0).await.status, 200, "change {n}");
        if n == changes / 5 {
            settled = bed.memory();
        }
        tokio::time::sleep(pause).await;
    }
    serves(&bed, sequence).await;
    trial.figure(
        "memory gained over the last four fifths",
        bed.memory() - settled,
        "MiB",
        -64.0..=4.0,
    );
    let taken = bed.sum("bowsprit_config_loaded_total", &[]).await;
    trial.figure(
        "changes brought into service",
        taken,
        "",
        (changes as f64 / 4.0)..=(changes as f64 + 1.0),
    );
    trial.figure(
        "rejected",
        bed.sum("bowsprit_config_rejected_total", &[]).await,
        "",
        0.0..=0.0,
    );
    until("the mount that stayed behind is no trouble", || async {
        bed.sum("bowsprit_config_synced", &[]).await == 1.0
    })
    .await;
}
