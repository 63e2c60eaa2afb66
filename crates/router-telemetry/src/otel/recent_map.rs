//! A map that forgets what is oldest, so that an entry whose end is never seen does not stay for ever.

use std::collections::HashMap;
use std::hash::Hash;

/// Entries of one generation. With more attempts than this in flight, the longest ones lose what their decision adds.
const GENERATION: usize = 65_536;

/// The last entries: at least [`GENERATION`], at most twice as many.
#[derive(Debug)]
pub(crate) struct RecentMap<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for RecentMap<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash, V> RecentMap<K, V> {
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
    fn the_oldest_is_forgotten_and_the_last_are_kept() {
        let mut recent = RecentMap::default();
        let count = 3 * GENERATION;
        for n in 0..count {
            recent.insert(n, n);
        }
        assert_eq!(recent.remove(&0), None);
        assert!((count - GENERATION..count).all(|n| recent.remove(&n) == Some(n)));
        assert_eq!(recent.remove(&(count - 1)), None, "an entry is handed out once");
    }
}
