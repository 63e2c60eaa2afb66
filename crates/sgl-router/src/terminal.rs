//! Output of commands.

use std::fmt::Display;
use std::io::{self, Write as _};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns of the narrowest terminal that the output is made for.
pub(crate) const COLUMNS: usize = 80;

/// Prints to standard output. A reader that closes the pipe early is not an error.
pub(crate) fn say(text: impl Display) {
    let mut out = io::stdout().lock();
    // A failure cannot be reported, because the terminal is gone.
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

/// The columns that a text takes in a terminal: two for a Chinese character.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// A paragraph in lines of at most `width` columns, each with `indent` in front. Lines break at spaces and beside Chinese characters; a
/// longer word stays whole, and so does a percent sign with its number.
pub(crate) fn wrap(text: &str, width: usize, indent: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.replace(" %", "\u{a0}%").split_ascii_whitespace() {
        for (at, piece) in pieces(word).into_iter().enumerate() {
            let space = usize::from(at == 0 && !line.is_empty());
            if !line.is_empty() && columns(indent) + columns(&line) + space + columns(piece) > width {
                lines.push_str(&format!("{indent}{line}\n"));
                line.clear();
            } else if space > 0 {
                line.push(' ');
            }
            line.push_str(piece);
        }
    }
    if !line.is_empty() {
        lines.push_str(&format!("{indent}{line}\n"));
    }
    lines.replace('\u{a0}', " ")
}

/// Parts of a word between which a line may end: Chinese characters stand alone, but no line begins with their punctuation.
fn pieces(word: &str) -> Vec<&str> {
    let is_wide = |c: char| c.width() == Some(2);
    let mut pieces = Vec::new();
    let (mut begin, mut before) = (0, None);
    for (at, c) in word.char_indices() {
        let may_end = before.is_some_and(|before| is_wide(before) || is_wide(c));
        if may_end && !matches!(c, '。' | '，' | '、' | '：' | '；' | '！' | '？' | '）' | '”') {
            pieces.push(&word[begin..at]);
            begin = at;
        }
        before = Some(c);
    }
    pieces.push(&word[begin..]);
    pieces
}

/// The end of a name that is too long, because it says most of it.
pub(crate) fn shortened(name: &str, width: usize) -> String {
    if columns(name) <= width {
        return name.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |c: &char| {
        let needed = c.width().unwrap_or(0);
        let fits = needed <= room;
        room = room.saturating_sub(needed);
        fits
    };
    let end: Vec<char> = name.chars().rev().take_while(fits).collect();
    std::iter::once('~').take(width).chain(end.into_iter().rev()).collect()
}

/// A length of time of which nobody needs to know more than two digits.
pub(crate) fn span(secs: f64) -> String {
    match secs {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
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

    #[test]
    fn chinese_breaks_anywhere_but_before_punctuation() {
        assert_eq!(wrap("gpu-1 不可用：拒绝。", 12, ""), "gpu-1 不可\n用：拒绝。\n");
        assert_eq!(wrap("一二三。", 6, ""), "一二\n三。\n");
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(shortened("meta-llama/Llama-3", 8), "~Llama-3");
        assert_eq!(shortened("通义千问", 6), "~千问");
        assert_eq!(shortened("abc", 3), "abc");
        assert_eq!(shortened("abc", 0), "");
    }
}
