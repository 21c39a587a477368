use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds {
    jobs: 6,
    bytes: 1_000,
    at_once: 2,
    answer: 100,
};

fn new(id: &str) -> New {
    New {
        id: id.into(),
        key: None,
        digest: "d".into(),
        path: "/v1/messages".into(),
        ttl: Duration::from_secs(100),
        deadline: Duration::from_secs(50),
        max_attempts: 3,
        request_bytes: 10,
    }
}

fn book() -> Book {
    Book::new(BOUNDS, Vec::new(), 0)
}

fn add(book: &mut Book, id: &str, now: Millis) {
    assert!(matches!(book.accept(new(id), now), Ok(Accepted::New(_))));
    book.written(id);
}

fn heard(status: u16) -> Heard {
    Heard { status, code: None }
}

fn for_now(hint: Option<u64>) -> Ended {
    Ended::ForNow {
        heard: heard(503),
        bytes: 7,
        hint: hint.map(Duration::from_secs),
    }
}

fn end(book: &mut Book, id: &str, ended: &Ended, now: Millis) -> Job {
    let job = book.decide(id, ended, now, &mut fastrand::Rng::with_seed(1)).unwrap();
    assert!(book.enter(job.clone()));
    job
}

fn ids(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| &*job.id).collect()
}

#[test]
fn who_came_first_is_tried_first_and_no_more_at_once_than_may_be() {
    let mut book = book();
    for id in ["c", "a", "b"] {
        add(&mut book, id, 5);
    }
    assert_eq!(ids(&book.start(5)), ["c", "a"]);
    assert!(book.start(5).is_empty());
    end(
        &mut book,
        "a",
        &Ended::ForGood {
            heard: heard(200),
            bytes: 20,
        },
        6,
    );
    assert_eq!(book.get("a").unwrap().status, Status::Done);
    assert_eq!(ids(&book.start(6)), ["b"]);
}

#[test]
fn nothing_is_tried_before_it_is_written() {
    let mut book = book();
    let Ok(Accepted::New(_)) = book.accept(new("a"), 0) else {
        panic!()
    };
    assert!(book.start(0).is_empty());
    book.written("a");
    assert_eq!(ids(&book.start(0)), ["a"]);
}

#[test]
fn the_same_key_is_the_same_job_until_it_is_forgotten() {
    let mut book = book();
    let keyed = |id: &str| New {
        key: Some("k".into()),
        ..new(id)
    };
    assert!(matches!(book.accept(keyed("a"), 0), Ok(Accepted::New(_))));
    assert_eq!(
        book.accept(keyed("b"), 0),
        Err(Full::Busy),
        "nothing is promised that is not written"
    );
    book.written("a");
    assert!(matches!(book.accept(keyed("b"), 0), Ok(Accepted::Known(job)) if &*job.id == "a"));
    book.forget("a");
    assert!(matches!(book.accept(keyed("b"), 0), Ok(Accepted::New(_))));
}

#[test]
fn a_key_never_finds_the_answer_to_another_question_not_even_after_a_restart() {
    let keyed = |id: &str, digest: &str| New {
        key: Some("k".into()),
        digest: digest.into(),
        ..new(id)
    };
    let mut book = book();
    let Ok(Accepted::New(job)) = book.accept(keyed("a", "one"), 0) else {
        panic!()
    };
    assert_eq!(
        book.accept(keyed("b", "two"), 0),
        Err(Full::Taken),
        "it is not worth waiting for"
    );
    book.written("a");
    assert_eq!(book.accept(keyed("b", "two"), 0), Err(Full::Taken));
    let kept = serde_json::to_string(&job).unwrap();
    let read = |text: &str| vec![serde_json::from_str::<Job>(text).unwrap()];
    let mut after = Book::new(BOUNDS, read(&kept), 1);
    assert_eq!(after.accept(keyed("b", "two"), 1), Err(Full::Taken));
    assert!(matches!(after.accept(keyed("b", "one"), 1), Ok(Accepted::Known(_))));
    // The release before wrote none: what it promised holds.
    let old = kept.replace(r#""digest":"one","#, "");
    assert_ne!(old, kept);
    let mut after = Book::new(BOUNDS, read(&old), 1);
    assert!(matches!(after.accept(keyed("b", "two"), 1), Ok(Accepted::Known(_))));
}

#[test]
fn an_error_that_may_pass_is_tried_again_and_never_before_the_provider_asked_for() {
    let mut book = book();
    add(&mut book, "a", 0);
    book.start(0);
    let job = end(&mut book, "a", &for_now(Some(20)), 1_000);
    assert_eq!((job.status, job.attempts), (Status::Queued, 1));
    assert!((21_000..=23_000).contains(&job.next), "{}", job.next);
    assert!(book.start(20_999).is_empty());
    assert_eq!(ids(&book.start(job.next)), ["a"]);
    // A window that opens after the deadline is not waited for.
    let job = end(&mut book, "a", &for_now(Some(3_000)), 30_000);
    assert_eq!(
        (job.status, job.answer_bytes),
        (Status::Failed, 7),
        "what was heard last is kept"
    );
}

#[test]
fn attempts_are_counted_when_they_begin_so_that_a_restart_does_not_forget_them() {
    let mut jobs = Vec::new();
    let mut first = book();
    add(&mut first, "a", 0);
    for attempt in 1..=3 {
        let mut book = if attempt == 1 {
            std::mem::replace(&mut first, book())
        } else {
            Book::new(BOUNDS, jobs, 0)
        };
        jobs = book.start(0);
        assert_eq!(jobs[0].attempts, attempt, "what a killed sidecar left is run again");
    }
    let book = Book::new(BOUNDS, jobs, 9);
    let job = book.get("a").unwrap();
    assert_eq!((job.status, job.ended), (Status::Failed, Some(9)), "but not for ever");
}

#[test]
fn what_nobody_could_answer_in_time_has_expired_and_is_forgotten_at_its_end() {
    let mut book = book();
    add(&mut book, "a", 0);
    assert_eq!(book.wake(), Some(0));
    let (expired, forgotten) = book.pass(50_000);
    assert_eq!((ids(&expired), forgotten.len()), (vec!["a"], 0));
    assert_eq!(book.wake(), Some(100_000));
    assert!(book.start(50_000).is_empty());
    let (expired, forgotten) = book.pass(100_000);
    assert_eq!((expired.len(), ids(&forgotten)), (0, vec!["a"]));
    assert_eq!((book.get("a"), book.wake()), (None, None));
}

#[test]
fn answers_that_nobody_fetches_hold_jobs_up_and_then_refuse_them() {
    let mut book = book();
    for id in ["a", "b", "c"] {
        assert!(matches!(
            book.accept(
                New {
                    request_bytes: 260,
                    ..new(id)
                },
                0
            ),
            Ok(Accepted::New(_))
        ));
        book.written(id);
    }
    assert_eq!(
        book.accept(
            New {
                request_bytes: 30,
                ..new("d")
            },
            0
        ),
        Err(Full::Bytes(1_000))
    );
    assert_eq!(book.start(0).len(), 2);
    end(
        &mut book,
        "a",
        &Ended::ForGood {
            heard: heard(200),
            bytes: 100,
        },
        1,
    );
    end(
        &mut book,
        "b",
        &Ended::ForGood {
            heard: heard(200),
            bytes: 100,
        },
        1,
    );
    assert!(
        book.start(1).is_empty(),
        "980 bytes are kept: there is no room for an answer"
    );
    book.forget("a");
    assert_eq!(ids(&book.start(1)), ["c"]);
}

#[test]
fn what_opens_again_by_itself_is_waited_for_and_what_is_wrong_is_not() {
    assert!(
        may_pass(402, Some(false), Some(Code::BizBudgetSpent)) && may_pass(403, Some(false), Some(Code::BizPaused))
    );
    assert!(may_pass(503, Some(true), None) && may_pass(429, None, None) && may_pass(500, None, None));
    assert!(!may_pass(500, Some(false), None) && !may_pass(400, None, None) && !may_pass(403, None, None));
}

#[test]
fn what_is_forgotten_while_it_runs_is_not_entered_again() {
    let mut book = book();
    add(&mut book, "a", 0);
    book.start(0);
    let decided = book
        .decide("a", &Ended::Cut, 1, &mut fastrand::Rng::with_seed(1))
        .unwrap();
    book.forget("a");
    assert!(!book.enter(decided));
    assert!(
        book.decide("a", &Ended::Cut, 1, &mut fastrand::Rng::with_seed(1))
            .is_none()
    );
}

#[test]
fn the_list_is_bounded_and_the_newest_comes_first() {
    let mut book = book();
    for id in ["a", "b", "c"] {
        add(&mut book, id, 0);
    }
    book.start(0);
    let (jobs, has_more) = book.list(None, 2);
    assert_eq!(
        (jobs.iter().map(|job| &*job.id).collect::<Vec<_>>(), has_more),
        (vec!["c", "b"], true)
    );
    let (jobs, has_more) = book.list(Some(Status::Queued), 2);
    assert_eq!((jobs.len(), has_more), (1, false));
}

proptest! {
    /// Whatever happens in whatever order, restarts included.
    #[test]
    fn bounds_hold_and_every_job_ends(
        steps in prop::collection::vec((0_u8..8, 0_usize..6, 0_u64..5_000, any::<u64>()), 1..300)
    ) {
        let (mut book, mut now, mut made) = (book(), 0_u64, 0_u32);
        for (step, pick, more, seed) in steps {
            now += more;
            let mut rng = fastrand::Rng::with_seed(seed);
            let running: Vec<String> = book.list(Some(Status::Running), 100).0.iter().map(|job| job.id.clone()).collect();
            match step {
                0 | 1 => {
                    made += 1;
                    let id = format!("{made}");
                    let size = seed % 300;
                    if let Ok(Accepted::New(_)) = book.accept(New { request_bytes: size, ..new(&id) }, now) {
                        book.written(&id);
                    }
                }
                2 | 3 => { book.start(now); }
                4 | 5 if !running.is_empty() => {
                    let id = &running[pick % running.len()];
                    let ended = match seed % 4 {
                        0 => Ended::ForGood { heard: heard(200), bytes: seed % 101 },
                        1 => Ended::ForGood { heard: heard(400), bytes: seed % 101 },
                        2 => for_now((seed % 3 == 0).then_some(seed % 60)),
                        _ => Ended::Cut,
                    };
                    let before = book.get(id).unwrap().clone();
                    let job = book.decide(id, &ended, now, &mut rng).unwrap();
                    if let (Status::Queued, Ended::ForNow { hint: Some(hint), .. }) = (job.status, &ended) {
                        prop_assert!(job.next >= now + millis(*hint));
                    }
                    prop_assert_eq!(job.attempts, before.attempts);
                    prop_assert!(book.enter(job));
                }
                6 => { book.pass(now); }
                7 => {
                    let kept: Vec<Job> = book.list(None, 100).0.into_iter().cloned().collect();
                    book = Book::new(BOUNDS, kept, now);
                }
                _ => {}
            }
            let (all, _) = book.list(None, 100);
            let running = all.iter().filter(|job| job.status == Status::Running).count();
            prop_assert!(all.len() <= BOUNDS.jobs && running <= BOUNDS.at_once);
            prop_assert!(book.bytes() + running as u64 * BOUNDS.answer <= BOUNDS.bytes);
            for job in all {
                prop_assert!(job.attempts <= job.max_attempts);
                prop_assert_eq!(job.ended.is_some(), job.status.is_end());
            }
        }
        // Left alone, with a provider that never answers: all end, and are gone at last.
        for _ in 0..10_000 {
            let Some(wake) = book.wake() else { break };
            now = now.max(wake) + 1;
            book.pass(now);
            for job in book.start(now) {
                let mut rng = fastrand::Rng::with_seed(now);
                let job = book.decide(&job.id, &for_now(None), now, &mut rng).unwrap();
                book.enter(job);
            }
            let running: Vec<String> = book.list(Some(Status::Running), 100).0.iter().map(|job| job.id.clone()).collect();
            for id in running {
                let mut rng = fastrand::Rng::with_seed(now);
                let job = book.decide(&id, &for_now(None), now, &mut rng).unwrap();
                book.enter(job);
            }
        }
        prop_assert_eq!(book.wake(), None);
    }
}
