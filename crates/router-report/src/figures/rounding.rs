//! Numbers at the precision that a page can show.

/// Rounds to four significant digits.
pub(crate) fn four_digits(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}
