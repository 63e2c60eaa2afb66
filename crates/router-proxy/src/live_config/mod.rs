//! The configuration while the router runs: what it is, what a change would do, and the change.
//!
//! ```text
//! change          options → checked changes → applied, all of them or none
//! worker_change   which workers the new options add, remove and alter
//! outcome         what has changed, in JSON
//! ```

mod change;
mod outcome;
mod worker_change;

pub use change::DryRun;
pub(crate) use change::LiveConfig;
