//! Changes of the configuration while the router runs.
//!
//! ```text
//! change          options → checked changes → applied, all of them or none
//! worker_change   which workers the new options add, remove and alter
//! outcome         what has changed, in JSON
//! ```

mod change;
mod outcome;
mod worker_change;

pub(crate) use change::{patch, reload};
pub use outcome::DryRun;
