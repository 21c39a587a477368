//! Objects.

use std::collections::HashMap;
use std::fmt;

use super::Value;

/// An object: members in the order in which their names first came.
#[derive(Clone, Default)]
pub struct Map {
    members: Vec<(String, Value)>,
    /// Where each name stands, once the object is so large that searching it would be slow.
    #[allow(clippy::box_collection)] // few objects have one, and a value is to be small
    places: Option<Box<HashMap<String, usize>>>,
}

/// Members that are searched one by one; beyond, an index is cheaper than the search.
const SMALL: usize = 32;

impl Map {
    /// Without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Without members, and with room for some.
    #[must_use]
    pub fn with_capacity(members: usize) -> Self {
        Self {
            members: Vec::with_capacity(members),
            places: None,
        }
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn place(&self, name: &str) -> Option<usize> {
        match &self.places {
            Some(places) => places.get(name).copied(),
            None => self.members.iter().position(|(known, _)| known == name),
        }
    }

    /// The value of a member.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(self.place(name)?).map(|(_, value)| value)
    }

    /// The value of a member, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        let place = self.place(name)?;
        self.members.get_mut(place).map(|(_, value)| value)
    }

    /// Whether there is such a member.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// Sets a member: at its place, if there is one of that name, whose value is returned; else as the last.
    pub fn insert(&mut self, name: String, value: Value) -> Option<Value> {
        if let Some(old) = self.get_mut(&name) {
            return Some(std::mem::replace(old, value));
        }
        if let Some(places) = &mut self.places {
            places.insert(name.clone(), self.members.len());
        }
        self.members.push((name, value));
        if self.places.is_none() && self.members.len() > SMALL {
            self.index();
        }
        None
    }

    /// The member of that name, or the place where it would stand.
    pub fn entry(&mut self, name: impl Into<String>) -> Entry<'_> {
        Entry {
            map: self,
            name: name.into(),
        }
    }

    /// Takes a member out; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let place = self.place(name)?;
        let (_, value) = self.members.remove(place);
        self.index_if_large();
        Some(value)
    }

    /// Keeps the members of which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&String, &mut Value) -> bool) {
        self.members.retain_mut(|(name, value)| keep(name, value));
        self.index_if_large();
    }

    fn index_if_large(&mut self) {
        self.places = None;
        if self.members.len() > SMALL {
            self.index();
        }
    }

    fn index(&mut self) {
        let names = self.members.iter().enumerate();
        let places = names.map(|(place, (name, _))| (name.clone(), place)).collect();
        self.places = Some(Box::new(places));
    }

    /// Names and values, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&String, &Value)> + DoubleEndedIterator + Clone {
        self.members.iter().map(|(name, value)| (name, value))
    }

    /// Names and values, the latter to be changed.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&String, &mut Value)> {
        self.members.iter_mut().map(|(name, value)| (&*name, value))
    }

    /// The names, in their order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &String> + Clone {
        self.members.iter().map(|(name, _)| name)
    }

    /// The values, in the order of their names.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> + Clone {
        self.members.iter().map(|(_, value)| value)
    }

    /// The values, to be changed.
    pub fn values_mut(&mut self) -> impl ExactSizeIterator<Item = &mut Value> {
        self.members.iter_mut().map(|(_, value)| value)
    }
}

/// A member that may not be there yet.
pub struct Entry<'m> {
    map: &'m mut Map,
    name: String,
}

impl<'m> Entry<'m> {
    /// The member's value; `value`, put last, where there is no such member.
    pub fn or_insert(self, value: Value) -> &'m mut Value {
        self.or_insert_with(|| value)
    }

    /// As [`Entry::or_insert`].
    #[allow(clippy::indexing_slicing)] // the place was found, or is the one that was filled last
    pub fn or_insert_with(self, value: impl FnOnce() -> Value) -> &'m mut Value {
        let place = self.map.place(&self.name).unwrap_or_else(|| {
            self.map.insert(self.name, value());
            self.map.len() - 1
        });
        &mut self.map.members[place].1
    }
}

impl<'m> IntoIterator for &'m mut Map {
    type Item = (&'m String, &'m mut Value);
    type IntoIter = std::iter::Map<std::slice::IterMut<'m, (String, Value)>, fn(&'m mut (String, Value)) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.iter_mut().map(|(name, value)| (&*name, value))
    }
}

impl<'m> IntoIterator for &'m Map {
    type Item = (&'m String, &'m Value);
    type IntoIter = std::iter::Map<std::slice::Iter<'m, (String, Value)>, fn(&'m (String, Value)) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.iter().map(|(name, value)| (name, value))
    }
}

impl IntoIterator for Map {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.into_iter()
    }
}

impl<N: Into<String>, V: Into<Value>> FromIterator<(N, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(members: I) -> Self {
        let mut map = Self::new();
        map.extend(members);
        map
    }
}

impl<N: Into<String>, V: Into<Value>> Extend<(N, V)> for Map {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, members: I) {
        for (name, value) in members {
            self.insert(name.into(), value.into());
        }
    }
}

/// Two objects are equal if they have the same members, in any order.
impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(name, value)| other.get(name) == Some(value))
    }
}

impl Eq for Map {}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
