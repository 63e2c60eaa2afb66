//! The part of a request that an attempt does: all of it, its prefill or its decode.

use std::fmt;

/// The part of a request that an attempt does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leg {
    /// The whole request.
    Whole,
    /// The prefill: the worker computes the KV cache of the prompt.
    Prefill,
    /// The decode: the worker generates the response.
    Decode,
}

impl Leg {
    /// The name in records, errors and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }

    /// The number of the attempt among all attempts of the request. Each try of a split request takes two numbers, one per
    /// leg.
    pub const fn number(self, attempt: u32) -> u32 {
        match self {
            Self::Whole => attempt,
            Self::Prefill => 2 * attempt,
            Self::Decode => 2 * attempt + 1,
        }
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
