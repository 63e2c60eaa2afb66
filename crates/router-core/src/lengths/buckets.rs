//! Lengths in buckets of half a doubling.

use std::f64::consts::SQRT_2;

/// Buckets per doubling, and their number: the last one holds all lengths above 2^16.
const PER_DOUBLING: usize = 2;
pub(crate) const BUCKETS: usize = 33;

/// The bucket of a length.
pub(crate) fn bucket(tokens: f64) -> usize {
    if tokens < 1.0 {
        return 0;
    }
    // The exponent of the number is the logarithm's whole part, its mantissa gives the half; no logarithm is computed.
    let bits = tokens.to_bits();
    let doublings = (bits >> 52) as usize - 1023;
    let is_upper_half = bits & ((1 << 52) - 1) >= SQRT_2.to_bits() & ((1 << 52) - 1);
    (PER_DOUBLING * doublings + usize::from(is_upper_half)).min(BUCKETS - 1)
}

/// A length in the middle of a bucket, by its logarithm.
pub(crate) fn middle(bucket: usize) -> f64 {
    ((bucket as f64 + 0.5) / PER_DOUBLING as f64).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_halves_of_doublings() {
        for tokens in 1..70_000 {
            let tokens = f64::from(tokens);
            assert_eq!(bucket(tokens), ((2.0 * tokens.log2()) as usize).min(BUCKETS - 1), "{tokens}");
        }
        assert_eq!((bucket(0.0), bucket(0.7), bucket(1e300)), (0, 0, BUCKETS - 1));
    }
}
