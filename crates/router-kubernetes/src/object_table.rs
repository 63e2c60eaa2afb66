//! The objects of one kind as the API server has them, by events in whatever order they come.
//!
//! The version of an object is the number of the change that made it; changes of built-in kinds have one order. That lets
//! an event be recognised as old: repeated, out of order, or overtaken by a list.

use crate::object::Watched;
use std::collections::{HashMap, HashSet};

/// The name of an object: its namespace and its name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct ObjectName {
    /// The namespace.
    pub namespace: String,
    /// The name within it.
    pub name: String,
}

/// The version of an object or of a list; `None` where it is not a number, which leaves it without an order.
pub(crate) type Version = Option<u64>;

/// The version that the text of `resourceVersion` stands for.
pub(crate) fn version(text: &str) -> Version {
    text.parse().ok()
}

/// The name and the version of an object.
pub(crate) fn identity(object: &impl Watched) -> (ObjectName, Version) {
    let meta = object.metadata();
    let name = ObjectName { namespace: meta.namespace.clone(), name: meta.name.clone() };
    (name, version(&meta.resource_version))
}

/// Why the API server was asked for a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListPurpose {
    /// To begin: nothing was watched while it was made, so nothing is newer.
    Begin,
    /// To find what the watch missed, which went on: some of what is known may be newer.
    Audit,
}

/// The objects of one kind.
#[derive(Debug)]
pub(crate) struct ObjectTable<T> {
    objects: HashMap<ObjectName, Versioned<T>>,
    /// The names of deleted objects, with the version of the deletion, until a list is newer.
    deleted: HashMap<ObjectName, u64>,
    /// The version of the newest list: what is older and not in the table is gone.
    listed: u64,
}

#[derive(Debug)]
struct Versioned<T> {
    version: Version,
    object: T,
}

impl<T> Default for ObjectTable<T> {
    fn default() -> Self {
        Self { objects: HashMap::new(), deleted: HashMap::new(), listed: 0 }
    }
}

impl<T> ObjectTable<T> {
    /// The object of this name.
    pub(crate) fn get(&self, name: &ObjectName) -> Option<&T> {
        self.objects.get(name).map(|versioned| &versioned.object)
    }

    /// Whether an event of this version tells something new of the object of this name.
    fn is_news(&self, name: &ObjectName, version: Version) -> bool {
        let Some(version) = version else { return true };
        match self.objects.get(name) {
            Some(known) => known.version.is_none_or(|known| version > known),
            None => version > self.listed && self.deleted.get(name).is_none_or(|deleted| version > *deleted),
        }
    }

    /// An object was added or changed. Returns what it was before if that is news: `Some(None)` for a new one.
    pub(crate) fn apply(&mut self, name: ObjectName, version: Version, object: T) -> Option<Option<T>> {
        if !self.is_news(&name, version) {
            return None;
        }
        self.deleted.remove(&name);
        let before = self.objects.insert(name, Versioned { version, object });
        Some(before.map(|versioned| versioned.object))
    }

    /// An object was deleted. Returns it if that is news.
    pub(crate) fn delete(&mut self, name: ObjectName, version: Version) -> Option<T> {
        if !self.is_news(&name, version) {
            return None;
        }
        let before = self.objects.remove(&name);
        if let Some(version) = version {
            self.deleted.insert(name, version);
        }
        before.map(|versioned| versioned.object)
    }

    /// The API server listed all objects as of `list`. What an audit finds older than an event stays as the event had it.
    /// Returns the objects that went or were replaced; those that came are in the table.
    pub(crate) fn replace(
        &mut self,
        items: Vec<(ObjectName, Version, T)>,
        list: Version,
        purpose: ListPurpose,
    ) -> Vec<(ObjectName, T)> {
        // A server that lags behind may list what an earlier list no longer had.
        if purpose == ListPurpose::Audit && list.is_some_and(|list| list < self.listed) {
            return Vec::new();
        }
        let names: HashSet<ObjectName> = items.iter().map(|(name, ..)| name.clone()).collect();
        let is_newer = |version: Version| match (version, list) {
            (Some(version), Some(list)) => purpose == ListPurpose::Audit && version > list,
            _ => false,
        };
        let gone = self.objects.extract_if(|name, known| !names.contains(name) && !is_newer(known.version));
        let mut changed: Vec<_> = gone.map(|(name, versioned)| (name, versioned.object)).collect();
        self.deleted.retain(|_, version| is_newer(Some(*version)));
        // Without an order nothing can be told from a version, so the list counts as it is.
        self.listed = list.unwrap_or(0);
        for (name, version, object) in items {
            let is_older = match self.objects.get(&name) {
                Some(known) => is_newer(known.version),
                None => self.deleted.contains_key(&name),
            };
            if !is_older {
                let before = self.objects.insert(name.clone(), Versioned { version, object });
                changed.extend(before.map(|versioned| (name, versioned.object)));
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ObjectName {
        ObjectName { namespace: "n".to_owned(), name: text.to_owned() }
    }

    fn table(items: &[(&str, u64)], list: u64) -> ObjectTable<u64> {
        let mut table = ObjectTable::default();
        let items = items.iter().map(|(text, v)| (name(text), Some(*v), *v)).collect();
        table.replace(items, Some(list), ListPurpose::Begin);
        table
    }

    fn shown(table: &ObjectTable<u64>) -> Vec<u64> {
        let mut values: Vec<_> = table.objects.values().map(|known| known.object).collect();
        values.sort_unstable();
        values
    }

    #[test]
    fn old_events_change_nothing() {
        let mut table = table(&[("a", 5)], 9);
        assert_eq!(table.apply(name("a"), Some(5), 50), None, "repeated");
        assert_eq!(table.apply(name("a"), Some(4), 40), None, "out of order");
        assert_eq!(table.apply(name("b"), Some(8), 80), None, "the list is newer and does not have it");
        assert_eq!(table.delete(name("a"), Some(3)), None, "a deletion of an earlier object of this name");
        assert_eq!(shown(&table), [5]);
        assert_eq!(table.delete(name("a"), Some(12)), Some(5));
        assert_eq!(table.apply(name("a"), Some(11), 110), None, "a change that the deletion overtook");
        assert_eq!(table.apply(name("a"), Some(13), 130), Some(None));
    }

    #[test]
    fn slow_list_does_not_undo_events() {
        let mut table = table(&[("a", 1), ("b", 2), ("c", 3)], 3);
        table.apply(name("d"), Some(12), 12);
        table.delete(name("a"), Some(13));
        table.apply(name("b"), Some(14), 14);
        // The list was made at version 10: `c` was deleted before it, and that event was lost.
        let listed = [("a", 1), ("b", 2)].map(|(text, v)| (name(text), Some(v), v)).to_vec();
        let changed = table.replace(listed, Some(10), ListPurpose::Audit);
        assert_eq!(changed, [(name("c"), 3)]);
        assert_eq!(shown(&table), [12, 14]);
    }

    #[test]
    fn restored_cluster_counts_from_lower_versions() {
        let mut table = table(&[("a", 100), ("b", 101)], 101);
        table.replace(vec![(name("a"), Some(40), 40)], Some(50), ListPurpose::Begin);
        assert_eq!(shown(&table), [40]);
        assert_eq!(table.apply(name("c"), Some(51), 51), Some(None));
    }

    #[test]
    fn versions_without_an_order_are_taken_as_they_come() {
        let mut table = ObjectTable::default();
        assert_eq!(table.apply(name("a"), version("x9"), 1), Some(None));
        assert_eq!(table.apply(name("a"), version("x8"), 2), Some(Some(1)));
        let listed = vec![(name("b"), version("x1"), 3)];
        assert_eq!(table.replace(listed, version("x3"), ListPurpose::Audit), [(name("a"), 2)]);
        assert_eq!(shown(&table), [3]);
    }
}
