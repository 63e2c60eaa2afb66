//! The bytes of request bodies that are held in memory, all clients together.

use crate::error::ProxyError;
use bytes::Bytes;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bodies up to this size are not counted: there are at most as many as connections, and they come in one piece of
/// a connection's own buffer.
const SMALL: usize = 16 << 10;

/// How much may be held. Counting is one addition for each piece of a large body.
#[derive(Clone, Debug)]
pub(crate) struct BodyMemory(Arc<BodyCounts>);

#[derive(Debug)]
struct BodyCounts {
    limit: AtomicUsize,
    held: AtomicUsize,
}

impl BodyMemory {
    pub(super) fn new(limit: Option<NonZeroUsize>) -> Self {
        let memory =
            Self(Arc::new(BodyCounts { limit: AtomicUsize::default(), held: AtomicUsize::default() }));
        memory.set_limit(limit);
        memory
    }

    /// Changes how much may be held. Bodies that are held already stay.
    pub(super) fn set_limit(&self, limit: Option<NonZeroUsize>) {
        self.0.limit.store(limit.map_or(usize::MAX, NonZeroUsize::get), Relaxed);
    }

    pub(super) fn held(&self) -> usize {
        self.0.held.load(Relaxed)
    }

    /// Whether a body of `size` bytes does not fit now, so that it need not be read.
    pub(crate) fn is_over(&self, size: u64) -> bool {
        size > SMALL as u64 && size > self.0.limit.load(Relaxed).saturating_sub(self.held()) as u64
    }

    /// An empty reservation, for a body of which nothing is read yet.
    pub(crate) fn reservation(&self) -> BodyReservation {
        BodyReservation { all: self.clone(), size: 0 }
    }
}

/// The bytes that one body has reserved; dropping it releases them.
#[derive(Debug)]
pub(crate) struct BodyReservation {
    all: BodyMemory,
    size: usize,
}

impl BodyReservation {
    /// The body has grown to `size` bytes.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(crate) fn reserve(&mut self, size: usize) -> Result<(), ProxyError> {
        if size <= SMALL || size <= self.size {
            return Ok(());
        }
        let more = size - self.size;
        let before = self.all.0.held.fetch_add(more, Relaxed);
        self.size = size;
        if before.saturating_add(more) > self.all.0.limit.load(Relaxed) {
            return Err(ProxyError::NoMemory);
        }
        Ok(())
    }

    /// The body, which counts until the last part of it is dropped.
    pub(crate) fn attach(self, body: Bytes) -> Bytes {
        if self.size == 0 { body } else { Bytes::from_owner(ReservedBytes { body, _reservation: self }) }
    }
}

impl Drop for BodyReservation {
    fn drop(&mut self) {
        if self.size > 0 {
            self.all.0.held.fetch_sub(self.size, Relaxed);
        }
    }
}

struct ReservedBytes {
    body: Bytes,
    _reservation: BodyReservation,
}

impl AsRef<[u8]> for ReservedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}
