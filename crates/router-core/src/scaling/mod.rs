//! What tells when a pool needs more workers, or fewer: the arrival rate and its forecast, what a worker can take within the SLO,
//! and from both the saturation of the pool and the workers that it needs.
//!
//! It watches what the [`Balancer`](crate::Balancer) sees, decides nothing, and is part of no policy. docs/scaling.md explains
//! each figure. From bottom to top:
//!
//! ```text
//! learner                    all of it, event by event; the figures
//! demand                     how much demand differs from its mean, and what must be there for that
//! capacity                   what a worker could take, by the learned times
//! load_levels                what it did take: misses of the SLO by load
//! work_model, worker_table   how long a worker computes; how much faster one is than others
//! request_mix                the lengths of requests
//! forecaster, season         the arrival rate, and what it will be
//! signals, slo               plain data
//! ```

mod capacity;
mod demand;
mod forecaster;
mod learner;
mod load_levels;
mod request_mix;
mod season;
mod signals;
mod slo;
#[cfg(test)]
mod tests;
mod work_model;
mod worker_table;

pub use forecaster::RateForecast;
pub(crate) use learner::RequestMark;
pub(crate) use learner::ScalingLearner;
pub use learner::{ScalingOptions, WaitingRequests};
pub use signals::{ScaleUnknown, ScalingSignals, WorkerCapability, WorkersNeeded};
pub use slo::{ResponseTimes, Slo};
