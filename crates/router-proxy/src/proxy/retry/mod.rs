//! Retries and hedges: when one more attempt is allowed, and which workers it may go to.
//!
//! [`RetryState`] holds the rules for whole and for split requests; [`RetryLoop`] makes the attempts of a whole one.

mod deadline;
mod retry_loop;
mod retry_state;

pub(super) use deadline::FirstByteDeadline;
pub(super) use retry_loop::RetryLoop;
pub(super) use retry_state::{RetryPermit, RetryState, has_untried, record_failure};
