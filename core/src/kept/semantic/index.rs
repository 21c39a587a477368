//! Points in buckets, found by how alike they are: a flat index, which looks at each and so misses none.
//!
//! A bucket holds what is equal in all that must be equal, mostly a few points. What is searched is a [`Bucket`] of its own, cheap
//! to take, so that a search of many points keeps nobody from the index: points lie in blocks that are shared until they change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::point::Point;
use crate::clock::Moment;
use crate::kept::key::Key;

/// Points of a block: what is copied at most where a point comes or goes during a search.
const BLOCK: usize = 256;
/// What a point takes beside its numbers: its key, its places in the indexes with their slack, its part of a block and a bucket.
pub const OVERHEAD: usize = 512;

/// The index.
pub struct Index {
    most: usize,
    used: usize,
    turn: u64,
    buckets: HashMap<Key, Bucket>,
    places: HashMap<Key, Place>,
    /// The oldest first.
    ages: BTreeMap<u64, (Key, Moment)>,
}

/// Where a point is.
struct Place {
    bucket: Key,
    block: usize,
    slot: usize,
    /// Its place in the order of age.
    turn: u64,
}

/// Points that may be compared, as they were when it was taken.
#[derive(Clone, Default)]
pub struct Bucket {
    /// Numbers of a point.
    stride: usize,
    blocks: Vec<Arc<Block>>,
}

#[derive(Clone, Default)]
struct Block {
    numbers: Vec<f32>,
    keys: Vec<Key>,
}

impl Index {
    /// Nothing yet, and at most so many bytes.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            used: 0,
            turn: 0,
            buckets: HashMap::new(),
            places: HashMap::new(),
            ages: BTreeMap::new(),
        }
    }

    /// Points that it has.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes that are taken, overhead included. Never more than the bound.
    pub fn bytes(&self) -> usize {
        self.used
    }

    /// Takes a point in, in place of one that it has for the same answer. Returns how many older ones had to go for it; `None`: it
    /// alone is more than there may be, or of another width than those of its bucket.
    pub fn insert(&mut self, bucket: Key, point: &Point, answer: Key, now: Moment) -> Option<usize> {
        self.remove(&answer);
        let stride = point.numbers().len();
        let bytes = size(stride);
        let is_of_another = |known: &Bucket| known.stride != stride;
        if bytes > self.most || self.buckets.get(&bucket).is_some_and(is_of_another) {
            return None;
        }
        let gone = self.shrink(self.most - bytes);
        let of_bucket = self.buckets.entry(bucket).or_default();
        of_bucket.stride = stride;
        let blocks = &mut of_bucket.blocks;
        if blocks.last().is_none_or(|last| last.keys.len() >= BLOCK) {
            blocks.push(Arc::default());
        }
        let block = blocks.len() - 1;
        let mut slot = 0;
        if let Some(last) = blocks.last_mut() {
            let last = Arc::make_mut(last);
            slot = last.keys.len();
            if last.numbers.capacity() < last.numbers.len() + stride {
                // By a quarter: what is reserved is counted.
                last.numbers.reserve_exact(stride * (slot / 4 + 1));
            }
            last.numbers.extend_from_slice(point.numbers());
            last.keys.push(answer);
        }
        self.turn += 1;
        self.used += bytes;
        self.ages.insert(self.turn, (answer, now));
        let turn = self.turn;
        self.places.insert(
            answer,
            Place {
                bucket,
                block,
                slot,
                turn,
            },
        );
        Some(gone)
    }

    /// The points that may be compared; `None`: there are none.
    pub fn bucket(&self, bucket: &Key) -> Option<Bucket> {
        self.buckets.get(bucket).cloned()
    }

    /// Lets go of the point of this answer. Says whether there was one.
    pub fn remove(&mut self, answer: &Key) -> bool {
        let Some(place) = self.places.remove(answer) else {
            return false;
        };
        self.ages.remove(&place.turn);
        let Some(bucket) = self.buckets.get_mut(&place.bucket) else {
            return true;
        };
        let stride = bucket.stride;
        self.used -= size(stride);
        let Some(block) = bucket.blocks.get_mut(place.block) else {
            return true;
        };
        let block = Arc::make_mut(block);
        // The last of the block takes its place.
        let last = block.keys.len() - 1;
        block.keys.swap_remove(place.slot);
        block
            .numbers
            .copy_within(last * stride..(last + 1) * stride, place.slot * stride);
        block.numbers.truncate(last * stride);
        if let Some(moved) = block.keys.get(place.slot)
            && let Some(moved) = self.places.get_mut(moved)
        {
            moved.slot = place.slot;
        }
        if last == 0 {
            bucket.blocks.swap_remove(place.block);
            for moved in bucket.blocks.get(place.block).iter().flat_map(|block| &block.keys) {
                if let Some(moved) = self.places.get_mut(moved) {
                    moved.block = place.block;
                }
            }
            if bucket.blocks.is_empty() {
                self.buckets.remove(&place.bucket);
            }
        }
        true
    }

    /// Lets go of what is older than that; returns how many.
    pub fn expire(&mut self, now: Moment, oldest: Duration) -> usize {
        let before = self.len();
        while let Some((_, (answer, at))) = self.ages.first_key_value() {
            if now - *at <= oldest {
                break;
            }
            let answer = *answer;
            self.remove(&answer);
        }
        before - self.len()
    }

    /// Has another bound from now on; returns how many had to go for it.
    pub fn rebound(&mut self, most: usize) -> usize {
        self.most = most;
        self.shrink(most)
    }

    /// Lets go of all; returns how many there were.
    pub fn clear(&mut self) -> usize {
        let before = self.len();
        *self = Self {
            turn: self.turn,
            ..Self::new(self.most)
        };
        before
    }

    /// Lets go of the oldest until no more than so many bytes are taken.
    fn shrink(&mut self, most: usize) -> usize {
        let before = self.len();
        while self.used > most
            && let Some((_, (answer, _))) = self.ages.first_key_value()
        {
            let answer = *answer;
            self.remove(&answer);
        }
        before - self.len()
    }
}

/// What a point of so many numbers takes.
fn size(numbers: usize) -> usize {
    // With the slack of a block.
    numbers * size_of::<f32>() / 4 * 5 + OVERHEAD
}

impl Bucket {
    /// Points in it.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.keys.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same in parts of about so many points, to be searched one after the other.
    pub fn parts(&self, points: usize) -> impl Iterator<Item = Self> {
        let parts = self.blocks.chunks(points.div_ceil(BLOCK).max(1));
        parts.map(|blocks| Self {
            stride: self.stride,
            blocks: blocks.to_vec(),
        })
    }

    /// The answer whose question is most alike, and how alike it is. `None` also where the point is of another width.
    pub fn nearest(&self, point: &Point) -> Option<(Key, f32)> {
        let stride = self.stride;
        if point.numbers().len() != stride {
            return None;
        }
        let of_block = |block: &'_ Arc<Block>| {
            let points = block.numbers.chunks_exact(stride).zip(&block.keys);
            points.fold(None, |best: Option<(Key, f32)>, (numbers, key)| {
                let likeness = point.likeness(numbers);
                let is_better = best.is_none_or(|(_, known)| likeness > known);
                if is_better { Some((*key, likeness)) } else { best }
            })
        };
        let all = self.blocks.iter().filter_map(of_block);
        all.max_by(|(_, one), (_, other)| one.total_cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::ZERO;

    fn key(number: u64) -> Key {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        Key::of_digest(digest)
    }

    /// Numbers by chance, the same for the same seed (SplitMix64).
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }

        fn point(&mut self, width: usize) -> Point {
            let vector = (0..width)
                .map(|_| f32::from((self.next() >> 48) as u16) - 32_768.0)
                .collect();
            Point::of(&[vector]).unwrap()
        }
    }

    #[test]
    fn the_nearest_is_found_whatever_came_and_went() {
        const SEED: u64 = 20_261_129;
        println!("seed {SEED}");
        let mut chance = Chance(SEED);
        let mut index = Index::new(1 << 20);
        let mut all: Vec<(Key, Point, Key)> = Vec::new();
        for step in 0..3_000_u64 {
            if chance.next().is_multiple_of(3) && !all.is_empty() {
                let at = usize::try_from(chance.next() % all.len() as u64).unwrap();
                let (_, _, answer) = all.swap_remove(at);
                assert!(index.remove(&answer));
            } else {
                let (bucket, point, answer) = (key(chance.next() % 3), chance.point(8), key(step + 10));
                if index.insert(bucket, &point, answer, NOW).is_some_and(|gone| gone == 0) {
                    all.push((bucket, point, answer));
                }
            }
            if step % 10 == 0 {
                let (bucket, point) = (key(chance.next() % 3), chance.point(8));
                let of_bucket = all.iter().filter(|(of, ..)| *of == bucket);
                let expected = of_bucket
                    .map(|(_, known, answer)| (*answer, point.likeness(known.numbers())))
                    .max_by(|(_, one), (_, other)| one.total_cmp(other));
                let found = index.bucket(&bucket).and_then(|bucket| bucket.nearest(&point));
                assert_eq!(found, expected, "step {step}");
            }
        }
        assert_eq!(index.len(), all.len());
        for (_, _, answer) in &all {
            index.remove(answer);
        }
        assert_eq!((index.len(), index.bytes(), index.buckets.len()), (0, 0, 0));
    }

    #[test]
    fn the_oldest_go_first_and_the_bound_holds() {
        let mut chance = Chance(7);
        let mut index = Index::new(size(4) * 3);
        for number in 0..3 {
            assert_eq!(index.insert(key(0), &chance.point(4), key(number), NOW), Some(0));
        }
        assert_eq!(index.insert(key(0), &chance.point(4), key(3), NOW), Some(1));
        assert!(!index.remove(&key(0)), "the oldest has gone");
        assert_eq!(index.insert(key(0), &chance.point(400), key(9), NOW), None, "too large");
        assert!(index.bytes() <= size(4) * 3);
        assert_eq!(index.rebound(size(4)), 2);
        assert_eq!((index.len(), index.clear(), index.bytes()), (1, 1, 0));
    }

    #[test]
    fn an_answer_has_one_point_and_it_goes_at_its_time() {
        let mut chance = Chance(7);
        let mut index = Index::new(1 << 20);
        let second = Duration::from_secs(1);
        index.insert(key(0), &chance.point(4), key(1), NOW);
        index.insert(key(5), &chance.point(4), key(1), NOW + second);
        assert_eq!(
            (
                index.len(),
                index.bucket(&key(0)).is_none(),
                index.bucket(&key(5)).is_some()
            ),
            (1, true, true)
        );
        assert_eq!(index.expire(NOW + second, second), 0);
        assert_eq!(index.expire(NOW + second * 3, second), 1);
        assert!(index.is_empty());
    }

    #[test]
    fn a_search_sees_what_was_there_when_it_began() {
        let mut chance = Chance(7);
        let mut index = Index::new(1 << 20);
        let point = chance.point(4);
        index.insert(key(0), &point, key(1), NOW);
        let bucket = index.bucket(&key(0)).unwrap();
        index.remove(&key(1));
        index.insert(key(0), &chance.point(4), key(2), NOW);
        assert_eq!((bucket.len(), bucket.nearest(&point).unwrap().0), (1, key(1)));
    }
}
