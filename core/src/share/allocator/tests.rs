use super::*;

fn at(millis: u64) -> Moment {
    Moment::from_start(Duration::from_millis(millis))
}

fn ask(number: u64, held: u64, want: u64) -> Ask {
    Ask {
        number,
        held,
        uses: held,
        is_lent: held > 0,
        floor: 0,
        epoch: 0,
        want,
    }
}

#[test]
fn who_alone_wants_anything_gets_nearly_all_and_the_others_a_spare_part() {
    let mut of = Allocator::of_a_new_limit(600, 1, at(0));
    let mut held = [0; 3];
    for round in 0..8 {
        for pod in [0_usize, 1, 2] {
            let want = [2_000, 0, 0][pod];
            held[pod] = of
                .hear(&pod, &ask(round, held[pod], want), at(round * 1_000 + pod as u64))
                .unwrap()
                .share;
        }
    }
    assert_eq!(held, [596, 2, 2]);
    assert_eq!(of.totals().lent, 600);
}

#[test]
fn what_is_wanted_is_shared_evenly_where_there_is_too_little_and_nobody_gets_more_than_it_wants() {
    assert_eq!(water(&mut [10, 100, 100], 90), (40, 0));
    assert_eq!(water(&mut [100, 50, 70], 100), (33, 1));
    assert_eq!(water(&mut [], 100), (u64::MAX, 100));
}

#[test]
fn what_one_gives_up_is_lent_to_another_only_once_it_has_said_so() {
    let mut of = Allocator::of_a_new_limit(100, 1, at(0));
    assert_eq!(of.hear(&"a", &ask(1, 0, 200), at(0)).unwrap().share, 100);
    assert_eq!(of.hear(&"b", &ask(1, 0, 200), at(1_000)).unwrap().share, 0);
    let down = of.hear(&"a", &ask(2, 100, 200), at(2_000)).unwrap().share;
    assert_eq!(down, 50);
    // The grant to `a` may be lost: until it says that it holds less, or its lease is over, `b` gets nothing.
    assert_eq!(of.hear(&"b", &ask(2, 0, 200), at(3_000)).unwrap().share, 0);
    assert_eq!(of.hear(&"a", &ask(3, down, 200), at(4_000)).unwrap().share, 50);
    assert_eq!(of.hear(&"b", &ask(3, 0, 200), at(5_000)).unwrap().share, 50);
}

#[test]
fn a_new_leader_lends_what_it_knows_to_be_free_and_all_after_a_lease() {
    let mut of = Allocator::new(100, 2, at(0));
    assert_eq!(
        of.hear(&"a", &ask(1, 0, 200), at(0)).unwrap().share,
        0,
        "others may hold all of it"
    );
    assert_eq!(
        of.hear(&"b", &ask(1, 60, 0), at(1)).unwrap().share,
        0,
        "it wants nothing any more"
    );
    let _ = of.hear(&"b", &ask(2, 0, 0), at(1_000));
    assert_eq!(
        of.hear(&"a", &ask(2, 0, 200), at(2_000)).unwrap().share,
        60,
        "what `b` has given up"
    );
    let _ = of.hear(&"b", &ask(3, 0, 0), at(50_000));
    let later = 61_000;
    assert_eq!(of.hear(&"a", &ask(3, 60, 200), at(later)).unwrap().share, 100);
}

#[test]
fn of_who_is_silent_the_floor_is_kept_back_until_its_pod_is_gone() {
    let mut of = Allocator::of_a_new_limit(100, 1, at(0));
    for pod in ["a", "b"] {
        let _ = of.hear(&pod, &ask(1, 0, 200), at(0));
    }
    let mut held = 0;
    for second in 30..100 {
        held = of
            .hear(&"b", &ask(second, held, 200), at(second * 1_000))
            .unwrap()
            .share;
    }
    // Alone it was told all of it as its floor; that is what it falls to.
    assert_eq!((held, of.totals().silent), (0, 1));
    of.gone(&"a");
    assert_eq!(of.hear(&"b", &ask(200, held, 200), at(101_000)).unwrap().share, 100);
}

fn pushed<K: Ord + Clone>(of: &mut Allocator<K>, millis: u64) -> Vec<(K, u64, u64)> {
    let grants = of.push(at(millis)).into_iter();
    grants.map(|(pod, grant)| (pod, grant.number, grant.share)).collect()
}

#[test]
fn who_has_more_than_its_part_is_told_at_once_and_what_it_gives_up_goes_at_once_to_who_wanted_it() {
    let mut of = Allocator::of_a_new_limit(100, 1, at(0));
    assert_eq!(of.hear(&"a", &ask(7, 0, 200), at(0)).unwrap().share, 100);
    assert_eq!(of.hear(&"b", &ask(1, 0, 200), at(1_000)).unwrap().share, 0);
    assert_eq!(pushed(&mut of, 1_001), [("a", 7, 50)], "in answer to its latest ask");
    assert_eq!(
        pushed(&mut of, 1_002),
        [],
        "it was told, and `b` gets nothing before it has said so"
    );
    assert_eq!(of.totals().lent, 100);
    assert_eq!(of.hear(&"a", &ask(8, 50, 200), at(1_050)).unwrap().share, 50);
    assert_eq!(pushed(&mut of, 1_051), [("b", 1, 50)]);
    assert_eq!(of.totals().lent, 100);
    assert_eq!(pushed(&mut of, 1_052), []);
}

#[test]
fn nothing_is_pushed_to_who_may_be_cut_off_or_is_gone() {
    for is_gone in [false, true] {
        let mut of = Allocator::of_a_new_limit(100, 1, at(0));
        let _ = of.hear(&"a", &ask(1, 0, 200), at(0));
        let _ = of.hear(&"b", &ask(1, 0, 200), at(1_000));
        let _ = of.hear(&"c", &ask(1, 0, 0), at(1_000));
        let _ = of.hear(&"a", &ask(2, 0, 0), at(1_100));
        let silent_for = if is_gone { 0 } else { 1_251 };
        if is_gone {
            of.gone(&"b");
        }
        let pushes = pushed(&mut of, 1_101 + silent_for);
        assert!(pushes.iter().all(|(pod, ..)| *pod != "b"), "{pushes:?}");
    }
}

#[test]
fn no_more_is_pushed_in_a_second_than_a_leader_takes_asks() {
    let mut of = Allocator::of_a_new_limit(4_000, 1, at(0));
    for pod in 0..4_000 {
        let want = if pod < 2_000 { 4 } else { 0 };
        let _ = of.hear(&pod, &ask(1, 0, want), at(1_000));
    }
    let mut sent = 0;
    for tenth in 0..10 {
        for pod in 0..2_000 {
            let _ = of.hear(&pod, &ask(tenth + 2, 0, 0), at(2_000 + tenth * 100));
            let _ = of.hear(&(2_000 + pod), &ask(tenth + 2, 0, 9), at(2_000 + tenth * 100));
        }
        sent += of.push(at(2_000 + tenth * 100 + 90)).len() as u64;
    }
    assert!(sent > 0 && sent <= ASKS_A_SECOND + ASKS_A_SECOND / 4, "{sent}");
}

#[test]
fn an_ask_that_a_later_one_has_overtaken_lowers_nothing_that_may_be_held() {
    let mut of = Allocator::of_a_new_limit(100, 1, at(0));
    assert_eq!(of.hear(&"a", &ask(7, 0, 200), at(0)).unwrap().share, 100);
    // Sent before, by another replica, and slower.
    of.hear(&"a", &ask(6, 5, 200), at(100));
    assert_eq!(of.hear(&"b", &ask(1, 0, 200), at(200)).unwrap().share, 0);
}
