//! The room before a port. Anybody may connect, so what takes TLS, buffers and answers is done for so many at a time (seats), and
//! who comes when there are so many waits for a turn with nothing but its socket. Which turn that is, and what happens to who holds
//! more than its share, says [`order`]: nobody is kept out by how many others come.

mod order;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::sync::locked;
pub(crate) use order::Rule;
use order::{Order, Signal};

/// A caller has to begin to speak within this; until then it has a place, and no turn.
const SPEAKS_WITHIN: Duration = Duration::from_secs(5);

/// The room. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    order: Arc<Mutex<Order>>,
    patience: Duration,
}

/// Somebody in the room, until it is dropped.
#[derive(Debug)]
struct Caller {
    room: Room,
    peer: IpAddr,
    id: u64,
    signal: Arc<Signal>,
}

/// A place to wait in, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Caller);

/// A seat, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Caller);

/// Something that is asked on a seat, until it is dropped. Meanwhile the seat is not idle.
#[derive(Debug)]
pub(crate) struct Asking(Arc<Seat>);

/// Why somebody has no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// It said nothing.
    Mute,
    /// It is gone.
    Gone,
    /// Its address had more places than others that came.
    Crowded,
}

impl NoTurn {
    /// For the metric.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Mute => "mute",
            Self::Gone => "gone",
            Self::Crowded => "crowded",
        }
    }
}

impl Room {
    /// With the seats and the patience of `rule`.
    pub(crate) fn new(rule: Rule) -> Self {
        Self {
            order: Arc::new(Mutex::new(Order::new(rule))),
            patience: rule.patience,
        }
    }

    /// A place for who has just come, where at most `most` may wait; none where it is crowded.
    pub(crate) fn enter(&self, peer: IpAddr, most: usize) -> Option<Place> {
        // The same peer may come as `::ffff:10.0.0.1` too.
        let (peer, signal) = (peer.to_canonical(), Arc::<Signal>::default());
        let id = locked(&self.order).enter(peer, most, Arc::clone(&signal))?;
        Some(Place(Caller {
            room: self.clone(),
            peer,
            id,
            signal,
        }))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        locked(&self.room.order).leaves(self.peer, self.id, Instant::now());
    }
}

impl Place {
    /// Waits until the caller speaks, and then for a seat.
    pub(crate) async fn turn(self, stream: &TcpStream) -> Result<Seat, NoTurn> {
        let Self(caller) = self;
        let mut first = [0];
        tokio::select! {
            biased;
            () = caller.signal.lost.notified() => return Err(NoTurn::Crowded),
            spoken = tokio::time::timeout(SPEAKS_WITHIN, stream.peek(&mut first)) => match spoken {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => return Err(NoTurn::Gone),
                Err(_) => return Err(NoTurn::Mute),
            },
        }
        locked(&caller.room.order).speaks(caller.peer, caller.id, Instant::now());
        loop {
            tokio::select! {
                biased;
                () = caller.signal.lost.notified() => return Err(NoTurn::Crowded),
                () = caller.signal.seated.notified() => break,
                // Nothing tells when patience ends.
                () = tokio::time::sleep(caller.room.patience) => locked(&caller.room.order).settle(Instant::now()),
            }
        }
        // Who has hung up meanwhile costs no handshake.
        match stream.ready(Interest::READABLE).await {
            Ok(ready) if !ready.is_read_closed() => Ok(Seat(caller)),
            _ => Err(NoTurn::Gone),
        }
    }
}

impl Seat {
    /// Resolves when the seat is another's: the connection is to be closed.
    pub(crate) async fn lost(&self) {
        self.0.signal.lost.notified().await;
    }

    /// Something is asked.
    pub(crate) fn asks(self: &Arc<Self>) -> Asking {
        self.does(true);
        Asking(Arc::clone(self))
    }

    fn does(&self, asks: bool) {
        let Caller { room, peer, id, .. } = &self.0;
        locked(&room.order).does(*peer, *id, asks, Instant::now());
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.does(false);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    const RULE: Rule = Rule {
        seats: 1,
        patience: Duration::from_millis(250),
        begins: Duration::from_secs(5),
    };

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// A caller that has said something, and what the operator has of it.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        caller.write_all(b"x").await.unwrap();
        (caller, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_seat_is_given_back_by_who_goes_and_what_is_asked_on_it_is_let_be() {
        let room = Room::new(RULE);
        let (_caller, stream) = pair().await;
        let seat = Arc::new(room.enter(peer(1), 9).unwrap().turn(&stream).await.unwrap());
        let asking = seat.asks();
        let mut next = Box::pin(room.enter(peer(1), 9).unwrap().turn(&stream));
        tokio::time::timeout(RULE.patience * 2, &mut next).await.unwrap_err();
        drop(asking);
        let next = next.await.unwrap();
        seat.lost().await;
        drop((next, seat));
        let order = locked(&room.order);
        assert_eq!((order.waiting(), order.seated()), (0, 0));
    }

    #[tokio::test]
    async fn who_hangs_up_while_it_waits_costs_no_handshake() {
        let room = Room::new(RULE);
        let (_first, other) = pair().await;
        let seat = room.enter(peer(1), 9).unwrap().turn(&other).await.unwrap();
        let (caller, stream) = pair().await;
        let mut turn = Box::pin(room.enter(peer(1), 9).unwrap().turn(&stream));
        assert!(futures::poll!(turn.as_mut()).is_pending());
        drop(caller);
        // Its end arrives before its turn does.
        let hung_up = async {
            while !stream.ready(Interest::READABLE).await.unwrap().is_read_closed() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), hung_up).await.unwrap();
        drop(seat);
        assert_eq!(turn.await.unwrap_err(), NoTurn::Gone);
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_has_no_turn() {
        let room = Room::new(RULE);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let turn = room.enter(peer(1), 9).unwrap().turn(&stream).await;
        assert_eq!(turn.unwrap_err(), NoTurn::Mute);
        assert_eq!(locked(&room.order).seated(), 0);
    }
}
