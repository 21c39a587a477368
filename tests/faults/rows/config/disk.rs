//! Row 14: the sidecar's own disk is full or cannot be written, files are half written, the mounted folder is gone.

use std::os::unix::fs::symlink;

use bowsprit_providers::Api;
use bowsprit_rig::operator::ScriptedOperator;

use super::{held, one, serves, setup};
use crate::trial::{Trial, promises, provider, until};

promises! {
    14, "disk full or read-only, config half written or gone";
    a_full_disk_keeps_no_change_from_service,
    a_folder_that_cannot_be_written_keeps_no_change_from_service,
    a_mounted_folder_that_goes_away_changes_nothing,
    a_saved_file_that_is_cut_at_any_byte_keeps_no_start_from_serving,
}

/// What was not saved is counted, and said once however often it happens.
async fn is_in_service_and_told_once(trial: Trial, break_disk: impl FnOnce(&ScriptedOperator)) {
    let (operator, first) = (ScriptedOperator::start().await, provider(Api::OpenAi));
    let (bed, mut stream) = held(&trial, &operator, &first).await;
    until("what is mounted is saved", || async {
        operator.state_dir().join("config.json").exists()
    })
    .await;
    break_disk(&operator);
    for sequence in 6..=8 {
        stream.config(&one(&first, &[format!("a{sequence}")]), sequence).await;
        serves(&bed, sequence).await;
        until("the failure is counted", || async {
            bed.sum("bowsprit_config_save_failures_total", &[]).await >= (sequence - 5) as f64
        })
        .await;
    }
    let told = bed.output().matches("cannot be saved").count();
    trial.figure("lines in the log for three failures", told as f64, "", 1.0..=1.0);
}

async fn a_full_disk_keeps_no_change_from_service(trial: Trial) {
    // The kernel's own full disk, where the next file would be.
    is_in_service_and_told_once(trial, |operator| {
        symlink("/dev/full", operator.state_dir().join("config.json.new")).unwrap();
    })
    .await;
}

async fn a_folder_that_cannot_be_written_keeps_no_change_from_service(trial: Trial) {
    // Permissions do not stop root, who may run this; a file in the folder's place stops everybody.
    is_in_service_and_told_once(trial, |operator| {
        std::fs::remove_dir_all(operator.state_dir()).unwrap();
        std::fs::write(operator.state_dir(), "").unwrap();
    })
    .await;
}

async fn a_mounted_folder_that_goes_away_changes_nothing(trial: Trial) {
    let (operator, first) = (ScriptedOperator::start().await, provider(Api::OpenAi));
    let (bed, mut stream) = held(&trial, &operator, &first).await;
    std::fs::remove_dir_all(operator.config_dir()).unwrap();
    until("it is told", || async { bed.health().await["config"]["rejected"] == 1 }).await;
    serves(&bed, 5).await;
    assert_eq!(bed.admin("/health/ready").await.status, 200);
    stream.config(&one(&first, &[]), 6).await;
    serves(&bed, 6).await;
    assert_eq!(
        bed.health().await["status"],
        "ok",
        "the stream has brought something newer"
    );
}

async fn a_saved_file_that_is_cut_at_any_byte_keeps_no_start_from_serving(trial: Trial) {
    let (operator, first) = (ScriptedOperator::start().await, provider(Api::OpenAi));
    let file = operator.state_dir().join("config.json");
    operator.mount(&one(&first, &[]), 5);
    let bed = trial.bed(setup(&operator)).await;
    until("it is saved", || async { file.exists() }).await;
    let whole = std::fs::read(&file).unwrap();
    bed.end();
    let tries = trial.count(3, 20);
    for part in 0..tries {
        std::fs::write(&file, &whole[..whole.len() * part / tries]).unwrap();
        let bed = trial.bed(setup(&operator)).await;
        serves(&bed, 5).await;
        assert_eq!(bed.sum("bowsprit_config_save_failures_total", &[]).await, 1.0);
        bed.end();
    }
}
