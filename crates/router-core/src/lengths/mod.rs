//! The length of an output, as a distribution.
//!
//! ```text
//! forecast     what is expected of one output
//! histogram    lengths seen, old ones forgotten
//! buckets      lengths in half doublings
//! ```

mod buckets;
mod forecast;
mod histogram;

pub(crate) use buckets::{BUCKETS, bucket, middle};
pub use forecast::{LengthClass, LengthForecast, VerifiedForecast};
pub(crate) use histogram::LengthHistogram;
