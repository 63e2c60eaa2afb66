//! The model of a pool.

use crate::served_models::ServedModels;
use crate::worker::Worker;
use parking_lot::Mutex;
use std::fmt::Debug;
use std::sync::{Arc, OnceLock, Weak};

/// The model of one pool, and of the one beside it where prefill and decode are apart; and who is told what workers serve.
#[derive(Clone, Debug)]
pub struct PoolModel {
    /// Absent until the first worker says what it serves.
    name: Arc<Mutex<Option<Arc<str>>>>,
    /// Absent where all workers count as serving the same model.
    pub(crate) directory: Option<DirectoryLink>,
}

/// Leads to who knows the pools of all models, once that is there.
pub type DirectoryLink = Arc<OnceLock<Weak<dyn ModelDirectory>>>;

/// Who knows the pools of all models.
pub trait ModelDirectory: Debug + Send + Sync {
    /// A worker has said what it serves, for the first time or something new, or it failed to. One that is elsewhere gets no
    /// requests until it has found its pool.
    fn told(&self, worker: &Arc<Worker>, place: Place);
}

/// Whether a worker is in the right pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It serves the model of its pool, maybe beside others, or does not say what it serves.
    Here,
    /// It serves other models.
    Elsewhere,
}

impl PoolModel {
    /// The model of a pool. The directory is told what workers serve; without one every worker belongs to the pool.
    pub fn new(name: Option<Arc<str>>, directory: Option<DirectoryLink>) -> Self {
        Self { name: Arc::new(Mutex::new(name)), directory }
    }

    /// The model, by its own name.
    pub fn name(&self) -> Option<Arc<str>> {
        self.name.lock().clone()
    }

    /// Gives the pool another model, because all its workers serve that.
    pub fn rename(&self, name: &Arc<str>) {
        *self.name.lock() = Some(Arc::clone(name));
    }

    /// Whether workers have to say what they serve before they get requests.
    pub(crate) const fn matters(&self) -> bool {
        self.directory.is_some()
    }

    /// Where a worker that serves these models belongs. The first one gives the pool its model.
    pub(crate) fn place(&self, served: &ServedModels) -> Place {
        let models = served.models();
        let Some(first) = models.first() else { return Place::Here };
        let mut name = self.name.lock();
        let own = name.get_or_insert_with(|| Arc::clone(first));
        if models.contains(own) { Place::Here } else { Place::Elsewhere }
    }
}
