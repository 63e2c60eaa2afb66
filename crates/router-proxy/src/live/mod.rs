//! Samples the router for those who watch it (`GET /v1/live`), twice a second, as long as there is one.
//!
//! ```text
//! sampler                        the loop, and what it keeps from one sample to the next
//!   rows, choices, fleet         the parts of a snapshot
//!   peers                        what workers are beside the others
//!   shadow_pairs                 what shadow policies would have done
//!     window                     what happened in the last minute
//! ```

mod choices;
mod fleet;
mod peers;
mod rows;
mod sampler;
mod shadow_pairs;
mod window;

use crate::state::AppState;
use crate::viewers::{NotAdmitted, Viewer, Viewers};
use sampler::Sampler;
use std::sync::Arc;

/// Somebody begins to watch the router.
pub(crate) fn watch(state: &Arc<AppState>, viewers: &Arc<Viewers>) -> Result<Viewer, NotAdmitted> {
    let (viewer, publisher) = viewers.enter()?;
    if let Some(publisher) = publisher {
        let sampler = Sampler::new(Arc::clone(state));
        state.main.tasks.spawn_on(sampler.run(publisher), viewers.background());
    }
    Ok(viewer)
}
