//! A bounded map from hashes of routing keys to what is known about them, in the order of use.

/// No entry.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct KeyEntry<V> {
    key: u64,
    value: V,
    newer: u32,
    older: u32,
}

/// Places of an empty table.
const FIRST_PLACES: usize = 8;

/// The map. Its memory grows with its keys. It holds at most as many as it was built for; to add one to a full table, evict the oldest
/// first.
#[derive(Clone, Debug)]
pub(crate) struct KeyTable<V> {
    capacity: usize,
    /// Open addressing with linear probing: an entry's number plus one; 0 is a free place. A power of two of places, at most half
    /// of them taken, so that probing stays short.
    places: Vec<u32>,
    entries: Vec<KeyEntry<V>>,
    /// Entries that were taken out, to be used again.
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
}

impl<V: Copy> KeyTable<V> {
    /// An empty table for at most `capacity` keys; at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, NONE as usize / 2);
        Self {
            capacity,
            places: vec![0; FIRST_PLACES],
            entries: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
        }
    }

    /// How many keys it holds.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether a key must be evicted before another is added.
    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.capacity
    }

    /// What is known about `key`.
    pub(crate) fn get(&self, key: u64) -> Option<&V> {
        self.find(key).map(|(_, entry)| &self.entries[entry as usize].value)
    }

    /// What is known about the key that was used longest ago.
    pub(crate) fn oldest(&self) -> Option<&V> {
        self.entries.get(self.oldest as usize).map(|entry| &entry.value)
    }

    /// What is known about `key`, which becomes the most recently used one.
    pub(crate) fn renew(&mut self, key: u64) -> Option<&mut V> {
        let (_, entry) = self.find(key)?;
        self.unlink(entry);
        self.link(entry);
        Some(&mut self.entries[entry as usize].value)
    }

    /// Sets what is known about `key`, as the most recently used one. A new key is left out when the table is full.
    pub(crate) fn put(&mut self, key: u64, value: V) {
        let entry = match self.find(key) {
            Some((_, entry)) => {
                self.unlink(entry);
                self.entries[entry as usize].value = value;
                entry
            }
            None if self.is_full() => return,
            None => self.create(key, value),
        };
        self.link(entry);
    }

    /// As [`put`](Self::put), in place of the key that was used longest ago where the table is full.
    pub(crate) fn put_for_oldest(&mut self, key: u64, value: V) {
        if self.is_full() && self.get(key).is_none() {
            self.pop_oldest();
        }
        self.put(key, value);
    }

    /// Takes out the key that was used longest ago.
    pub(crate) fn pop_oldest(&mut self) -> Option<V> {
        let KeyEntry { key, value, .. } = *self.entries.get(self.oldest as usize)?;
        let (place, entry) = self.find(key)?;
        self.unlink(entry);
        self.free.push(entry);
        self.vacate(place);
        Some(value)
    }

    fn home(&self, key: u64) -> usize {
        // Fibonacci hashing: keys may come unhashed, from callers of this crate.
        key.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32) as usize & (self.places.len() - 1)
    }

    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }

    /// The place of `key` and its entry.
    fn find(&self, key: u64) -> Option<(usize, u32)> {
        let mut place = self.home(key);
        while let Some(entry) = self.places[place].checked_sub(1) {
            if self.entries[entry as usize].key == key {
                return Some((place, entry));
            }
            place = self.next(place);
        }
        None
    }

    fn create(&mut self, key: u64, value: V) -> u32 {
        let new = KeyEntry { key, value, newer: NONE, older: NONE };
        let entry = match self.free.pop() {
            Some(entry) => {
                self.entries[entry as usize] = new;
                entry
            }
            None => {
                self.entries.push(new);
                self.entries.len() as u32 - 1
            }
        };
        if 2 * self.len() > self.places.len() {
            self.places = vec![0; 2 * self.places.len()];
            let mut next = self.newest;
            while let Some(KeyEntry { key, older, .. }) = self.entries.get(next as usize).copied() {
                self.enter(key, next);
                next = older;
            }
        }
        self.enter(key, entry);
        entry
    }

    /// Puts an entry into the first free place for its key.
    fn enter(&mut self, key: u64, entry: u32) {
        let mut place = self.home(key);
        while self.places[place] != 0 {
            place = self.next(place);
        }
        self.places[place] = entry + 1;
    }

    /// Frees a place and moves later entries up that had probed past it.
    fn vacate(&mut self, mut hole: usize) {
        let mask = self.places.len() - 1;
        let mut place = self.next(hole);
        while let Some(entry) = self.places[place].checked_sub(1) {
            let home = self.home(self.entries[entry as usize].key);
            if place.wrapping_sub(home) & mask >= place.wrapping_sub(hole) & mask {
                self.places[hole] = entry + 1;
                hole = place;
            }
            place = self.next(place);
        }
        self.places[hole] = 0;
    }

    fn link(&mut self, entry: u32) {
        let older = self.newest;
        let linked = &mut self.entries[entry as usize];
        (linked.newer, linked.older) = (NONE, older);
        match self.entries.get_mut(older as usize) {
            Some(e) => e.newer = entry,
            None => self.oldest = entry,
        }
        self.newest = entry;
    }

    fn unlink(&mut self, entry: u32) {
        let KeyEntry { newer, older, .. } = self.entries[entry as usize];
        match self.entries.get_mut(newer as usize) {
            Some(e) => e.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older as usize) {
            Some(e) => e.newer = newer,
            None => self.oldest = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list in the order of use, with keys that collide.
        #[test]
        fn does_what_a_naive_list_does(
            capacity in 1_usize..12,
            steps in prop::collection::vec((0_u64..24, any::<u16>(), 0_u8..4), 0..300),
        ) {
            let mut table = KeyTable::new(capacity);
            let mut naive: Vec<(u64, u16)> = Vec::new();
            for (key, value, what) in steps {
                let key = key << 60 | key;
                if what == 0 {
                    let oldest = (!naive.is_empty()).then(|| naive.remove(0).1);
                    prop_assert_eq!(table.pop_oldest(), oldest);
                } else if what == 1 {
                    let old = naive.iter().position(|(k, _)| *k == key);
                    if let Some(i) = old {
                        let (key, _) = naive.remove(i);
                        naive.push((key, value));
                    }
                    let known = table.renew(key).map(|known| *known = value);
                    prop_assert_eq!(known.is_some(), old.is_some());
                } else {
                    let old = naive.iter().position(|(k, _)| *k == key);
                    if old.is_some() || naive.len() < capacity {
                        old.map(|i| naive.remove(i));
                        naive.push((key, value));
                    }
                    table.put(key, value);
                }
                prop_assert_eq!(table.len(), naive.len());
                prop_assert_eq!(table.oldest(), naive.first().map(|(_, v)| v));
                for k in 0..24_u64 {
                    let k = k << 60 | k;
                    prop_assert_eq!(table.get(k), naive.iter().find(|(n, _)| *n == k).map(|(_, v)| v));
                }
            }
        }
    }
}
