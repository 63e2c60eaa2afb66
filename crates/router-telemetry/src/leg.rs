//! What part of a request an attempt does.

use router_core::Route;
use std::fmt;

/// What part of a request an attempt does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leg {
    /// All of it.
    Whole,
    /// It reads the prompt.
    Prefill,
    /// It writes the answer.
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

    /// The attempt's number among all of the request, when each try takes as many as there are legs.
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

/// Whether requests of this route are split where prefill and decode are apart: those that SGLang and vLLM take with
/// the members that say where the two meet.
pub const fn is_split(route: Route) -> bool {
    matches!(route, Route::Generate | Route::ChatCompletions | Route::Completions)
}
