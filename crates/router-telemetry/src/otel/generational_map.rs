//! A map that drops its oldest entries, so that entries that are never removed do not accumulate.

use std::collections::HashMap;
use std::hash::Hash;

/// Entries of one generation. With more attempts in flight, the spans of the oldest ones lack the attributes of their
/// decision.
const GENERATION: usize = 65_536;

/// Keeps at least the last [`GENERATION`] entries and at most twice as many.
#[derive(Debug)]
pub(crate) struct GenerationalMap<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for GenerationalMap<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash, V> GenerationalMap<K, V> {
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_generation_is_dropped() {
        let mut map = GenerationalMap::default();
        let count = 3 * GENERATION;
        for n in 0..count {
            map.insert(n, n);
        }
        assert_eq!(map.remove(&0), None);
        assert!((count - GENERATION..count).all(|n| map.remove(&n) == Some(n)));
        assert_eq!(map.remove(&(count - 1)), None, "an entry is removed once");
    }
}
