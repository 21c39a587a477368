//! Reading what an outbox holds changes nothing in it, goes through all of it once, and says how far back it goes.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::super::{Asked, Most, Outbox, Sender, Settings, page};
use super::{attempt, request};
use crate::entry::{Entry, Numbered};
use crate::wire::{Page, VERSION};

const SOON: Duration = Duration::from_secs(30);

fn start(folder: Option<PathBuf>, limit: u64) -> Outbox {
    Outbox::start(Settings {
        folder,
        limit,
        clock: || 60_000,
    })
}

fn read(outbox: &Outbox, after: u64, since: i64, entries: usize) -> Page {
    let (sender, answer) = mpsc::channel();
    let most = Most {
        entries,
        bytes: 1 << 20,
    };
    outbox.read(Asked { after, since, most }, move |page| {
        let _ = sender.send(page);
    });
    let read = answer.recv_timeout(SOON).unwrap().expect("it can be read");
    let sender = Sender {
        version: "0.1.0".into(),
        workload: "Deployment/\"checkout\"".into(),
    };
    serde_json::from_slice(&page(&read, &sender)).expect("it is a page")
}

/// Page after page, until there is no more.
fn all(outbox: &Outbox, entries: usize) -> Vec<Numbered> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = read(outbox, after, 0, entries);
        assert_eq!((page.batch.version, page.batch.from), (VERSION, after + 1));
        after = page.batch.to;
        all.extend(page.batch.entries);
        if !page.more {
            return all;
        }
    }
}

#[test]
fn each_entry_is_on_one_page_and_what_was_read_is_still_offered() {
    let dir = tempfile::tempdir().unwrap();
    for place in [None, Some(Path::to_owned(dir.path()))] {
        let outbox = start(place, 1 << 20);
        for _ in 0..10 {
            outbox.attempt(&attempt("m", 7));
            outbox.request(&request("m"));
        }
        for entries in [1, 7, 1_000] {
            let sequences: Vec<u64> = all(&outbox, entries).iter().map(|it| it.sequence).collect();
            assert_eq!(sequences, (1..=20).collect::<Vec<_>>(), "{entries} on a page");
        }
        let page = read(&outbox, 0, 0, 1_000);
        assert_eq!((page.detail_since, page.has_sums, page.taken), (Some(60_000), false, 0));
        assert_eq!(page.batch.workload, "Deployment/\"checkout\"");
        // What ended before that is not asked for.
        let later = read(&outbox, 0, 60_001, 1_000);
        assert_eq!((later.batch.entries.len(), later.more), (0, false));
        outbox.taken(5);
        assert_eq!(read(&outbox, 0, 0, 1_000).taken, 5);
    }
}

#[test]
fn an_outbox_that_had_no_room_says_since_when_it_knows_each_one_and_its_sums_are_read_too() {
    let outbox = start(None, 64 << 10);
    for _ in 0..2_000 {
        outbox.attempt(&attempt("m", 7));
    }
    let held = all(&outbox, 1_000);
    let count = |it: &Numbered| match &it.entry {
        Entry::Sum(sum) => sum.count,
        _ => 1,
    };
    assert_eq!(held.iter().map(count).sum::<u64>(), 2_000);
    let page = read(&outbox, 0, 0, 1);
    assert!(page.has_sums && held.len() < 2_000, "{} entries", held.len());
}
