//! Why a request was assigned to no worker.

use std::fmt;

/// No worker may be chosen: none is routable, or all routable ones are excluded or at their cap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoWorker;

impl fmt::Display for NoWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no worker is available")
    }
}

impl std::error::Error for NoWorker {}
