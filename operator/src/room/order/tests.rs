use futures::FutureExt as _;

use super::*;

const RULE: Rule = Rule {
    seats: 4,
    patience: Duration::from_millis(250),
    begins: Duration::from_secs(5),
};

fn peer(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

struct World {
    order: Order,
    start: Instant,
}

/// A caller of some peer.
struct Caller(IpAddr, u64, Arc<Signal>);

impl Caller {
    fn is_seated(&self) -> bool {
        self.2.seated.notified().now_or_never().is_some()
    }

    fn is_lost(&self) -> bool {
        self.2.lost.notified().now_or_never().is_some()
    }
}

impl World {
    fn new() -> Self {
        Self {
            order: Order::new(RULE),
            start: Instant::now(),
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn enters(&mut self, from: u8, most: usize) -> Option<Caller> {
        let signal = Arc::<Signal>::default();
        let id = self.order.enter(peer(from), most, Arc::clone(&signal))?;
        Some(Caller(peer(from), id, signal))
    }

    fn comes(&mut self, from: u8, ms: u64) -> Caller {
        let caller = self.enters(from, usize::MAX).unwrap();
        self.order.speaks(caller.0, caller.1, self.at(ms));
        caller
    }

    fn does(&mut self, caller: &Caller, asks: bool, ms: u64) {
        self.order.does(caller.0, caller.1, asks, self.at(ms));
    }

    fn goes(&mut self, caller: &Caller, ms: u64) {
        self.order.leaves(caller.0, caller.1, self.at(ms));
    }
}

#[test]
fn whose_address_has_the_fewest_is_next_and_of_equals_who_spoke_first() {
    let mut world = World::new();
    let many: Vec<Caller> = (0..6).map(|ms| world.comes(2, ms)).collect();
    assert!(many[..4].iter().all(Caller::is_seated) && !many[4].is_seated());
    let (one, other) = (world.comes(1, 7), world.comes(3, 8));
    world.goes(&many[0], 9);
    assert!(one.is_seated() && !other.is_seated());
    world.goes(&many[1], 10);
    assert!(other.is_seated() && !many[4].is_seated());
    world.goes(&many[2], 11);
    assert!(many[4].is_seated() && !many[5].is_seated());
}

#[test]
fn what_is_idle_makes_room_at_once_of_whom_there_is_the_most_and_what_is_under_way_is_let_be() {
    let mut world = World::new();
    let apiserver = world.comes(1, 0);
    let many: Vec<Caller> = (1..4).map(|ms| world.comes(2, ms)).collect();
    for caller in many.iter().chain([&apiserver]) {
        world.does(caller, true, 5);
    }
    let newcomer = world.comes(1, 9);
    assert!(!newcomer.is_seated());
    world.does(&apiserver, false, 10);
    assert!(
        apiserver.is_lost() && newcomer.is_seated(),
        "for who comes from there anew too"
    );
    world.does(&many[2], false, 11);
    world.does(&many[1], false, 12);
    let next = world.comes(1, 13);
    assert!(
        next.is_seated() && many[2].is_lost() && !many[1].is_lost(),
        "idle longest"
    );
    assert!(!many[0].is_lost());
}

#[test]
fn a_burst_of_one_address_closes_nothing_that_has_just_begun() {
    let mut world = World::new();
    let burst: Vec<Caller> = (0..20).map(|ms| world.comes(1, ms)).collect();
    world.order.settle(world.at(4999));
    assert!(!burst.iter().any(Caller::is_lost));
    // One on which nothing was asked in all the time that it had.
    world.order.settle(world.at(5000));
    assert!(burst[0].is_lost() && burst[4].is_seated() && !burst[1].is_lost());
}

#[test]
fn whoever_holds_more_than_another_loses_it_to_that_other_even_under_way() {
    let mut world = World::new();
    let many: Vec<Caller> = (0..8).map(|ms| world.comes(2, ms)).collect();
    many[..4].iter().for_each(|caller| world.does(caller, true, 8));
    let few: Vec<Caller> = (0..3).map(|_| world.comes(1, 100)).collect();
    world.order.settle(world.at(349));
    assert!(!few[0].is_seated() && !many[0].is_lost(), "an answer takes a moment");
    world.order.settle(world.at(350));
    // As many as the other has, and no more: that one waits for its own.
    assert_eq!(few.iter().filter(|caller| caller.is_seated()).count(), 2);
    assert_eq!(many.iter().filter(|caller| caller.is_lost()).count(), 2);
}

#[test]
fn who_comes_to_a_full_room_takes_the_place_of_whoever_has_more_of_them() {
    let mut world = World::new();
    let busy: Vec<Caller> = (0..4).map(|ms| world.comes(2, ms)).collect();
    let mute: Vec<Caller> = std::iter::from_fn(|| world.enters(2, 5)).collect();
    assert_eq!((mute.len(), world.order.waiting(), world.order.seated()), (5, 5, 4));
    let one = world.enters(1, 5).unwrap();
    assert!(mute[4].is_lost() && !mute[3].is_lost() && world.enters(2, 5).is_none());
    world.order.speaks(one.0, one.1, world.at(9));
    world.goes(&busy[0], 10);
    assert!(one.is_seated());
    [&one, &busy[1], &busy[2], &busy[3]]
        .into_iter()
        .chain(&mute)
        .for_each(|caller| world.goes(caller, 11));
    assert!(world.order.peers.is_empty(), "nothing is left of who is gone");
}
