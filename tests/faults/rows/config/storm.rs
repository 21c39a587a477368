//! Row 20: a configuration that changes all the time, under traffic.

use std::time::Duration;

use bowsprit_providers::Api;
use bowsprit_rig::operator::ScriptedOperator;

use super::{held, one, serves};
use crate::trial::{Trial, promises, provider, until};

promises! {
    20, "1,000 config changes a minute";
    a_storm_of_changes_fails_no_request_and_leaves_memory_flat,
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
