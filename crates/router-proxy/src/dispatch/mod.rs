//! Which workers a request may go to, and the dispatch to one of them.

mod dispatcher;
mod excluded_workers;
mod retry_after;
mod stored_object;

pub(crate) use dispatcher::{Dispatcher, LastResort};
pub(crate) use excluded_workers::ExcludedWorkers;
pub(crate) use retry_after::retry_after;
pub(crate) use stored_object::{elsewhere, is_held, may_be_held};
