//! Finds out whether a worker belongs to its pool: there is one for each model.

use crate::pool::WorkerPool;
use crate::pool_model::Place;
use crate::worker::Worker;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

impl WorkerPool {
    /// Notes what a worker serves, and tells whether it belongs here. `is_new` says that it has not been asked before, or
    /// answered something else.
    pub(crate) fn place(self: &Arc<Self>, worker: &Arc<Worker>, is_new: bool) -> Place {
        let Some(directory) = &self.model.directory else { return Place::Here };
        let place = self.model.place(&worker.profile.load().served);
        let was_silent = !worker.has_told_models.swap(true, Relaxed);
        if (is_new || was_silent || place == Place::Elsewhere)
            && let Some(directory) = directory.get().and_then(Weak::upgrade)
        {
            directory.told(worker, place);
            // The pool may have taken the worker's model.
            return self.model.place(&worker.profile.load().served);
        }
        place
    }
}
