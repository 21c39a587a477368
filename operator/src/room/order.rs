//! Whose turn it is. Seats are few, and callers are told apart by nothing but their address. So a seat goes to the address that has
//! the fewest, of its callers to the one that began to speak first: however many one address sends, another waits for no more
//! of them than it has itself.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// What a room has and how long it is patient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// Seats.
    pub(crate) seats: usize,
    /// Who has waited for so long while another address has more seats than his is given one of those, whatever is done on it.
    pub(crate) patience: Duration,
    /// On a seat that is new something is asked within this. One on which nothing was, is as good as idle.
    pub(crate) begins: Duration,
}

/// How a caller hears what becomes of it.
#[derive(Debug, Default)]
pub(super) struct Signal {
    /// It has a seat.
    pub(super) seated: Notify,
    /// It has neither place nor seat any more.
    pub(super) lost: Notify,
}

/// Everybody in the room.
#[derive(Debug)]
pub(super) struct Order {
    rule: Rule,
    last: u64,
    peers: HashMap<IpAddr, Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    /// Have said nothing yet.
    mute: BTreeMap<u64, Arc<Signal>>,
    /// Wait, in the order in which they began to speak.
    queue: VecDeque<Waiting>,
    seats: HashMap<u64, Line>,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    /// Grows over all peers.
    turn: u64,
    since: Instant,
    signal: Arc<Signal>,
}

/// Who has a seat.
#[derive(Debug)]
struct Line {
    doing: Doing,
    since: Instant,
    signal: Arc<Signal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Has not asked anything yet.
    Begins,
    /// Is being answered.
    Asks,
    /// Was answered.
    Idle,
}

impl Line {
    fn is_idle(&self, rule: &Rule, now: Instant) -> bool {
        match self.doing {
            Doing::Begins => now.saturating_duration_since(self.since) >= rule.begins,
            Doing::Asks => false,
            Doing::Idle => true,
        }
    }
}

impl Peer {
    fn places(&self) -> usize {
        self.mute.len().saturating_add(self.queue.len())
    }

    /// The one that came last goes: of those who wait longer none loses its turn.
    fn lose_a_place(&mut self) {
        let last = self.mute.pop_last().map(|(_, signal)| signal);
        if let Some(signal) = last.or_else(|| self.queue.pop_back().map(|waiting| waiting.signal)) {
            signal.lost.notify_one();
        }
    }

    fn lose_a_seat(&mut self, id: u64) {
        if let Some(line) = self.seats.remove(&id) {
            line.signal.lost.notify_one();
        }
    }
}

impl Order {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            rule,
            last: 0,
            peers: HashMap::new(),
        }
    }

    /// A place for a caller that has just come, where at most `most` wait. None where no address has two more than this one.
    pub(super) fn enter(&mut self, peer: IpAddr, most: usize, signal: Arc<Signal>) -> Option<u64> {
        if self.waiting() >= most {
            let own = self.peers.get(&peer).map_or(0, Peer::places);
            let greediest = self.peers.values_mut().max_by_key(|peer| peer.places())?;
            if greediest.places() <= own.saturating_add(1) {
                return None;
            }
            greediest.lose_a_place();
        }
        let id = self.next_id();
        self.peers.entry(peer).or_default().mute.insert(id, signal);
        Some(id)
    }

    /// Who has a place begins to speak: its turn is to come.
    pub(super) fn speaks(&mut self, peer: IpAddr, id: u64, now: Instant) {
        let turn = self.next_id();
        if let Some(peer) = self.peers.get_mut(&peer)
            && let Some(signal) = peer.mute.remove(&id)
        {
            let since = now;
            peer.queue.push_back(Waiting {
                id,
                turn,
                since,
                signal,
            });
        }
        self.settle(now);
    }

    /// Who has a seat asks something, or was answered.
    pub(super) fn does(&mut self, peer: IpAddr, id: u64, asks: bool, now: Instant) {
        let line = self.peers.get_mut(&peer).and_then(|peer| peer.seats.get_mut(&id));
        if let Some(line) = line {
            line.doing = if asks { Doing::Asks } else { Doing::Idle };
            line.since = now;
        }
        self.settle(now);
    }

    /// Somebody goes, from wherever it is.
    pub(super) fn leaves(&mut self, address: IpAddr, id: u64, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.mute.remove(&id);
            if peer.seats.remove(&id).is_none() {
                peer.queue.retain(|waiting| waiting.id != id);
            }
            if peer.places() == 0 && peer.seats.is_empty() {
                self.peers.remove(&address);
            }
        }
        self.settle(now);
    }

    /// Gives seats to whose turn it is, as far as there are any.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some(next) = self.next() {
            if self.seated() >= self.rule.seats && !self.makes_room(next, now) {
                return;
            }
            let Some(peer) = self.peers.get_mut(&next) else {
                return;
            };
            let Some(Waiting { id, signal, .. }) = peer.queue.pop_front() else {
                return;
            };
            signal.seated.notify_one();
            let line = Line {
                doing: Doing::Begins,
                since: now,
                signal,
            };
            peer.seats.insert(id, line);
        }
    }

    /// Places that are taken.
    pub(super) fn waiting(&self) -> usize {
        self.peers.values().map(Peer::places).sum()
    }

    /// Seats that are taken.
    pub(super) fn seated(&self) -> usize {
        self.peers.values().map(|peer| peer.seats.len()).sum()
    }

    fn next_id(&mut self) -> u64 {
        self.last = self.last.wrapping_add(1);
        self.last
    }

    /// Whose turn it is.
    fn next(&self) -> Option<IpAddr> {
        let waiting = self.peers.iter().filter_map(|(address, peer)| {
            let first = peer.queue.front()?;
            Some(((peer.seats.len(), first.turn), *address))
        });
        waiting.min_by_key(|(order, _)| *order).map(|(_, address)| address)
    }

    /// Takes a seat from somebody for the first that waits at `next`. False where none is to be taken.
    fn makes_room(&mut self, next: IpAddr, now: Instant) -> bool {
        let rule = self.rule;
        let Some(peer) = self.peers.get(&next) else {
            return false;
        };
        let own = peer.seats.len();
        let first = peer.queue.front();
        let is_due = first.is_some_and(|first| now.saturating_duration_since(first.since) >= rule.patience);
        // What is idle goes first, and of the rest only what some address has above the share of the one that waits.
        let mut fit = Vec::new();
        for (address, peer) in &self.peers {
            let seats = peer.seats.len();
            let has_more = is_due && seats > own.saturating_add(1);
            for (id, line) in &peer.seats {
                let is_idle = line.is_idle(&rule, now);
                if is_idle || has_more {
                    fit.push(((is_idle, seats, std::cmp::Reverse(line.since)), *address, *id));
                }
            }
        }
        let Some((_, address, id)) = fit.into_iter().max_by_key(|(order, ..)| *order) else {
            return false;
        };
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.lose_a_seat(id);
        }
        true
    }
}

#[cfg(test)]
mod tests;
