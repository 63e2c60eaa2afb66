//! What a command prints.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Prints to standard output. Whoever closes the pipe has read enough, which is no error.
pub(crate) fn say(text: impl Display) {
    let mut out = io::stdout().lock();
    // Nobody is left to tell of a failure.
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}
