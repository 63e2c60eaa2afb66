//! Which worker holds a stored response or a conversation.

use crate::worker::Worker;
use lru::LruCache;
use parking_lot::Mutex;
use router_protocol::routing_key;
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};

/// How many ids are remembered; those that were used last. An entry takes about 100 bytes.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// Which worker holds a stored response (`/v1/responses`) or a conversation. Engines keep them in the memory of one server.
#[derive(Debug)]
pub struct StoredObjects {
    /// By the hash of the id.
    holders: Mutex<LruCache<u64, Weak<Worker>>>,
}

impl Default for StoredObjects {
    fn default() -> Self {
        // The table grows with its entries.
        let mut holders = LruCache::unbounded();
        holders.resize(REMEMBERED);
        Self { holders: Mutex::new(holders) }
    }
}

impl StoredObjects {
    /// Remembers that `worker` holds the object `id`.
    pub fn insert(&self, id: &str, worker: &Arc<Worker>) {
        self.holders.lock().put(routing_key(id.as_bytes()), Arc::downgrade(worker));
    }

    /// The worker that holds the object `id`, if it is known and has not left.
    pub fn holder(&self, id: &str) -> Option<Arc<Worker>> {
        self.holders.lock().get(&routing_key(id.as_bytes()))?.upgrade()
    }
}
