//! The error for an option of a policy whose value makes no sense.

use crate::PrefixIndex;
use std::fmt;

/// An option with a value that makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{option}` {message}")]
pub struct InvalidOption {
    /// The name of the option in the configuration.
    pub option: &'static str,
    /// What is wrong, to be read after the name: "must be at least 2, not 1".
    pub message: String,
}

impl InvalidOption {
    /// The error for a `value` that is not as it `must` be.
    pub(crate) fn must(option: &'static str, must: &str, value: impl fmt::Display) -> Self {
        Self { option, message: format!("must be {must}, not {value}") }
    }

    /// Passes a size in bytes that an index of prompt prefixes can work with, or none.
    pub(crate) fn check_tree_size(bytes: Option<usize>) -> Result<(), Self> {
        let range = PrefixIndex::MIN_BYTES..=PrefixIndex::MAX_BYTES;
        let Some(bytes) = bytes.filter(|bytes| !range.contains(bytes)) else { return Ok(()) };
        Err(Self::must("max_tree_size", &format!("from {} to {}", range.start(), range.end()), bytes))
    }

    /// Passes a number that is finite and above zero.
    pub(crate) fn check_positive(option: &'static str, value: f64) -> Result<(), Self> {
        if value.is_finite() && value > 0.0 { Ok(()) } else { Err(Self::must(option, "above 0", value)) }
    }

    /// Passes a number that is finite and not negative.
    pub(crate) fn check_not_negative(option: &'static str, value: f64) -> Result<(), Self> {
        if value.is_finite() && value >= 0.0 { Ok(()) } else { Err(Self::must(option, "0 or more", value)) }
    }
}
