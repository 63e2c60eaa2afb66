//! How a worker joins.

use crate::health::Readiness;
use std::sync::Arc;

/// What is known of a worker that joins, beside its description.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Arrival {
    /// Whether it is ready, as whoever runs it says.
    pub readiness: Readiness,
    /// Whose it is, where a discovery adds, changes and removes it: an id of the discovery's own.
    pub owner: Option<Arc<str>>,
}
