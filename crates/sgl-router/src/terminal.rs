//! Output of commands.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Columns of the narrowest terminal that the output is made for.
pub(crate) const COLUMNS: usize = 80;

/// Prints to standard output. A reader that closes the pipe early is not an error.
pub(crate) fn say(text: impl Display) {
    let mut out = io::stdout().lock();
    // A failure cannot be reported, because the terminal is gone.
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

/// A paragraph in lines of at most `width` columns, each with `indent` in front. A longer word stays whole, and so does a
/// percent sign with its number.
pub(crate) fn wrap(text: &str, width: usize, indent: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.replace(" %", "\u{a0}%").split_ascii_whitespace() {
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
    lines.replace('\u{a0}', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_only() {
        let (long, half) = ("x".repeat(100), "y".repeat(40));
        assert_eq!(wrap(&format!("a {long} b c"), COLUMNS, ""), format!("a\n{long}\nb c\n"));
        assert_eq!(wrap(&format!("{half} {}", &half[1..]), COLUMNS, ""), format!("{half} {}\n", &half[1..]));
        assert_eq!(wrap(&format!("{half} {half}"), COLUMNS, ""), format!("{half}\n{half}\n"));
        assert_eq!(wrap("about 12 % less", 8, ""), "about\n12 %\nless\n");
    }
}
