//! What is kept of each request in flight on one worker.

use crate::RequestId;

/// Values by request, in no order. The ids lie apart, so that a search reads little memory.
#[derive(Clone, Debug)]
pub(crate) struct RequestTable<T> {
    ids: Vec<RequestId>,
    values: Vec<T>,
}

impl<T> Default for RequestTable<T> {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl<T> RequestTable<T> {
    /// An empty table with room for so many requests.
    pub(crate) fn with_capacity(requests: usize) -> Self {
        Self { ids: Vec::with_capacity(requests), values: Vec::with_capacity(requests) }
    }

    pub(crate) fn push(&mut self, id: RequestId, value: T) {
        self.ids.push(id);
        self.values.push(value);
    }

    /// The place of the first value of a request that `is_it` holds for; a request may have one for each attempt.
    pub(crate) fn position(&self, id: RequestId, is_it: impl Fn(&T) -> bool) -> Option<usize> {
        let mut all = self.ids.iter().zip(&self.values);
        all.position(|(known, value)| *known == id && is_it(value))
    }

    /// Removes the value at a place; the last one takes it.
    pub(crate) fn swap_remove(&mut self, place: usize) -> T {
        self.ids.swap_remove(place);
        self.values.swap_remove(place)
    }

    /// All values.
    pub(crate) fn values(&self) -> &[T] {
        &self.values
    }

    /// All values.
    pub(crate) fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }
}
