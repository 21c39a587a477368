//! Whatever happens to the file, requests go on, nothing is lost from the sums, and a file that can be written again is.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::super::{Counts, Most, Offer, Outbox, Settings};
use super::attempt;
use crate::entry::{Entry, Numbered};

const SOON: Duration = Duration::from_secs(30);
const ALL: Most = Most {
    entries: 1_000_000,
    bytes: 1 << 30,
};

fn start(folder: &Path) -> Outbox {
    Outbox::start(Settings {
        folder: Some(folder.to_owned()),
        limit: 64 << 20,
        clock: || 60_000,
    })
}

fn offer(outbox: &Outbox) -> Option<Offer> {
    let (sender, answer) = mpsc::channel();
    outbox.offer(ALL, move |offer| {
        let _ = sender.send(offer);
    });
    answer.recv_timeout(SOON).unwrap()
}

/// Attempts that the outbox holds, detail and sums together, and how many entries they are.
fn held(outbox: &Outbox) -> (u64, usize) {
    let Some(offer) = offer(outbox) else { return (0, 0) };
    let text = [b"[", &offer.joined[..], b"]"].concat();
    let entries: Vec<Numbered> = serde_json::from_slice(&text).unwrap();
    let count = |entry: &Numbered| match &entry.entry {
        Entry::Sum(sum) => sum.count,
        _ => 1,
    };
    (entries.iter().map(count).sum(), entries.len())
}

fn until(outbox: &Outbox, what: &str, is_so: impl Fn(&Counts) -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so(&outbox.counts()) {
        assert!(Instant::now() < deadline, "not in time: {what}: {:?}", outbox.counts());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn push(outbox: &Outbox, attempts: u64) {
    for _ in 0..attempts {
        outbox.attempt(&attempt("m", 7));
    }
}

#[test]
fn what_was_pushed_is_in_the_file_when_the_outbox_ends_and_taken_up_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = start(dir.path());
    push(&outbox, 100);
    outbox.close();
    let outbox = start(dir.path());
    push(&outbox, 1);
    until(&outbox, "the new one", |counts| counts.kept == 1);
    assert_eq!(held(&outbox), (101, 101));
    let to = offer(&outbox).unwrap().to;
    outbox.taken(to);
    assert_eq!(held(&outbox), (0, 0));
}

#[test]
fn a_locked_file_costs_detail_and_no_sum_and_is_written_when_the_lock_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path()).close();
    let other = Connection::open(dir.path().join("outbox.db")).unwrap();
    other
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
        .unwrap();
    let outbox = start(dir.path());
    push(&outbox, 20_000);
    until(&outbox, "trouble", |counts| {
        counts.not_written > 0 && counts.spilled > 0
    });
    assert!(offer(&outbox).is_none());
    let spilled = outbox.counts().spilled;
    drop(other);
    until(&outbox, "written", |counts| counts.kept + spilled >= 20_000);
    let (attempts, entries) = held(&outbox);
    assert_eq!(attempts, 20_000);
    assert!(entries < 20_000, "{entries}");
}

#[test]
fn a_folder_that_cannot_be_used_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("ledger");
    std::fs::write(&folder, "").unwrap();
    let outbox = start(&folder);
    push(&outbox, 20_000);
    until(&outbox, "trouble", |counts| counts.not_written > 0);
    std::fs::remove_file(&folder).unwrap();
    let all = |counts: &Counts| counts.kept + counts.spilled >= 20_000;
    until(&outbox, "written", all);
    assert_eq!(held(&outbox).0, 20_000);
}

/// Damages a file.
type Damage<'a> = Box<dyn Fn(&Path) + 'a>;

#[test]
fn a_damaged_file_is_set_aside_and_a_new_outbox_begun() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = start(dir.path());
    push(&outbox, 500);
    outbox.close();
    let file = dir.path().join("outbox.db");
    let before = offer(&start(dir.path())).unwrap().outbox;
    let whole = std::fs::read(&file).unwrap();
    // Cut, overwritten in the middle, another program's, of a later layout.
    let mut middle = whole.clone();
    middle[4096..8192].fill(0xa5);
    let later = |file: &Path| {
        std::fs::write(file, &whole).unwrap();
        Connection::open(file)
            .unwrap()
            .execute_batch("PRAGMA user_version = 9")
            .unwrap();
    };
    let cases: [(&str, Damage<'_>); 4] = [
        (
            "cut",
            Box::new(|file| std::fs::write(file, &whole[..whole.len() / 2]).unwrap()),
        ),
        ("overwritten", Box::new(|file| std::fs::write(file, &middle).unwrap())),
        (
            "no database",
            Box::new(|file| std::fs::write(file, vec![b'x'; 9_000]).unwrap()),
        ),
        ("later", Box::new(later)),
    ];
    for (name, damage) in cases {
        for rest in ["outbox.db-wal", "outbox.db-shm", "outbox.db.broken"] {
            let _ = std::fs::remove_file(dir.path().join(rest));
        }
        damage(&file);
        let outbox = start(dir.path());
        push(&outbox, 3);
        until(&outbox, name, |counts| counts.broken == 1 && counts.kept == 3);
        let offer = offer(&outbox).unwrap();
        assert_eq!((offer.from, offer.entries), (1, 3), "{name}");
        assert_ne!(offer.outbox, before, "{name}");
        assert!(dir.path().join("outbox.db.broken").exists(), "{name}");
    }
}
