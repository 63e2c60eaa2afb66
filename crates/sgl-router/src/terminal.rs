//! Output of commands.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Prints to standard output. A reader that closes the pipe early is not an error.
pub(crate) fn say(text: impl Display) {
    let mut out = io::stdout().lock();
    // A failure cannot be reported, because the terminal is gone.
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}
