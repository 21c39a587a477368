use super::*;

fn at(at: u64, event: Event) -> Entry {
    Entry { at, event }
}

fn swapped(key: &str) -> Event {
    let (namespace, key) = ("team".into(), key.into());
    Event::Swapped { namespace, key }
}

fn seen(key: &str) -> Event {
    let (namespace, key) = ("team".into(), key.into());
    Event::Seen { namespace, key }
}

fn killed() -> Event {
    Event::SidecarKilled { pod: "app".into() }
}

fn asked(error: &str) -> Event {
    let (pod, ok, error) = ("app".into(), error.is_empty(), error.into());
    Event::Asked { pod, ok, error }
}

fn loaded(sequence: u64) -> Event {
    let (pod, revision) = ("app".into(), format!("r{sequence}"));
    Event::Loaded {
        pod,
        sequence,
        revision,
    }
}

fn counted(before: u64, ended: u64, after: u64) -> Event {
    let pod = "app".into();
    Event::Counted {
        pod,
        before,
        ended,
        after,
    }
}

fn last_fault() -> Event {
    let wanted = [("app".to_owned(), "r3".to_owned())].into();
    Event::LastFault { wanted }
}

fn settled(revision: &str) -> Event {
    let (pod, revision) = ("app".into(), revision.into());
    Event::Settled { pod, revision }
}

fn good() -> Vec<Entry> {
    vec![
        at(0, swapped("a")),
        at(10, loaded(1)),
        at(20, asked("")),
        at(30, seen("a")),
        at(1_000, Event::ApiserverGone),
        at(1_500, asked("")),
        at(2_000, Event::ApiserverBack),
        at(3_000, killed()),
        at(3_010, asked("APIConnectionError: Connection error.")),
        at(5_000, asked("")),
        at(5_500, swapped("b")),
        at(5_600, loaded(2)),
        at(5_600, loaded(2)),
        at(6_000, counted(3, 4, 4)),
        at(7_000, last_fault()),
        at(7_500, loaded(3)),
        at(7_500, settled("r3")),
        at(7_600, seen("b")),
    ]
}

/// The good history with something in it that must be found, and only that.
fn found(change: impl FnOnce(&mut Vec<Entry>)) -> String {
    let mut history = good();
    change(&mut history);
    let wrong = judge(&history);
    assert_eq!(wrong.len(), 1, "{wrong:#?}");
    wrong.into_iter().next().unwrap()
}

#[test]
fn a_good_history_has_nothing_wrong_and_survives_its_file() {
    assert_eq!(judge(&good()), Vec::<String>::new());
    for entry in good() {
        let line = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry, "{line}");
    }
}

#[test]
fn a_config_that_goes_back_is_found() {
    let wrong = found(|history| history.insert(13, at(5_700, loaded(1))));
    assert!(wrong.contains("from config 2 to 1"), "{wrong}");
}

#[test]
fn a_failure_without_a_reason_is_found_before_a_kill_long_after_one_and_of_another_kind() {
    let refused = "APIConnectionError: Connection error.";
    for when in [500, 3_000 + BACK_WITHIN + 1] {
        let wrong = found(|history| history.insert(5, at(when, asked(refused))));
        assert!(wrong.contains("nothing explains it"), "{wrong}");
    }
    let wrong = found(|history| history.insert(9, at(3_020, asked("InternalServerError: 503"))));
    assert!(wrong.contains("refuses connections"), "{wrong}");
    let wrong = found(|history| {
        history.remove(7);
    });
    assert!(wrong.contains("nothing explains it"), "nobody killed it: {wrong}");
}

#[test]
fn a_foreign_key_and_a_new_one_that_is_not_used_are_found() {
    let wrong = found(|history| history.insert(4, at(40, seen("of-another-team"))));
    assert!(
        wrong.contains("none of its own") && !wrong.contains("of-another-team"),
        "{wrong}"
    );
    let wrong = found(|history| {
        history.pop();
    });
    assert!(wrong.contains("never used"), "{wrong}");
}

#[test]
fn a_request_that_ended_twice_or_never_is_found() {
    for ended in [2, 6] {
        let wrong = found(|history| history.push(at(8_000, counted(3, ended, 4))));
        assert!(wrong.contains("requests ended"), "{wrong}");
    }
}

#[test]
fn a_pod_that_never_settles_or_too_late_or_on_another_config_is_found() {
    let without = |history: &mut Vec<Entry>| {
        history.remove(16);
    };
    assert!(found(without).contains("never had"));
    let late = |history: &mut Vec<Entry>| history[16] = at(7_000 + SETTLED_WITHIN + 1, settled("r3"));
    assert!(found(late).contains("only"));
    let other = |history: &mut Vec<Entry>| history[16] = at(7_500, settled("r2"));
    assert!(found(other).contains("never had"));
    let endless = |history: &mut Vec<Entry>| {
        history.remove(14);
    };
    assert!(found(endless).contains("no end"));
}
