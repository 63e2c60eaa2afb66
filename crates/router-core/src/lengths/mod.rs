//! The length of an output, as a distribution.
//!
//! ```text
//! forecast     what is expected of one output
//! histogram    lengths seen, old ones forgotten
//! ```

mod forecast;
mod histogram;

pub use forecast::{LengthClass, LengthForecast};
pub(crate) use histogram::{LengthHistogram, bucket};
