//! Output of commands.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Prints to standard output. A reader that closes the pipe early is not an error.
pub(crate) fn say(text: impl Display) {
    let mut out = io::stdout().lock();
    // A failure cannot be reported, because the terminal is gone.
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

/// A paragraph in lines of at most `width` columns, each with `indent` in front. A longer word stays whole.
pub(crate) fn wrap(text: &str, width: usize, indent: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let is_full = indent.len() + line.chars().count() + 1 + word.chars().count() > width;
        if is_full && !line.is_empty() {
            lines.push_str(&format!("{indent}{line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push_str(&format!("{indent}{line}\n"));
    }
    lines
}
