//! The constants of a worker's speed model, as numbers.

/// How many constants there are.
pub(super) const N: usize = 6;

/// One number per constant.
pub(super) type Coefficients = [f64; N];
