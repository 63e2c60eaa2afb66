//! Further attempts: when one is allowed, which workers it may go to, and what is kept of the earlier ones.
//!
//! [`RetryState`] holds the rules for whole and for split requests; [`RetryLoop`] is the loop of a whole one.

mod deadline;
mod excluded_workers;
mod fallback;
mod retry_loop;
mod retry_state;

pub(super) use deadline::FirstByteDeadline;
pub(super) use excluded_workers::ExcludedWorkers;
pub(super) use fallback::BufferedResponse;
pub(super) use retry_loop::RetryLoop;
pub(super) use retry_state::{RetryPermit, RetryState, has_untried, record_failure};
