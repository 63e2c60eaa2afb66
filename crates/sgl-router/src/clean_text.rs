//! Text from outside, made harmless for a terminal.

use serde_json::Value;

/// Stands for a character that is not shown.
const HIDDEN: char = '\u{fffd}';

/// Whether a terminal would obey this character, or show nothing, instead of drawing it: control characters, among them those that
/// begin escape sequences, and characters that turn the direction of text or have no width.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text with a replacement character for each character that a terminal would obey.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { HIDDEN } else { c }).collect()
}

/// Cleans every text of a value, the names of members among them.
pub(crate) fn clean_all(value: &mut Value) {
    match value {
        Value::String(text) if text.chars().any(is_hidden) => *text = clean(text),
        Value::Array(all) => all.iter_mut().for_each(clean_all),
        Value::Object(members) => {
            if members.keys().any(|name| name.chars().any(is_hidden)) {
                *members = std::mem::take(members)
                    .into_iter()
                    .map(|(name, member)| (clean(&name), member))
                    .collect();
            }
            members.values_mut().for_each(clean_all);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn terminal_gets_nothing_to_obey() {
        for (outside, shown) in [
            ("a\x1b[2Jb", "a\u{fffd}[2Jb"),
            ("a\u{9b}31mb", "a\u{fffd}31mb"),
            ("a\r\nb\x07\x7f", "a\u{fffd}\u{fffd}b\u{fffd}\u{fffd}"),
            ("user\u{202e}nimda", "user\u{fffd}nimda"),
            ("模型 Qwen-72B é", "模型 Qwen-72B é"),
        ] {
            assert_eq!(clean(outside), shown);
        }
    }

    #[test]
    fn every_text_of_a_value_is_cleaned() {
        let mut value = json!({"a\x1b": ["b\x1b", {"c": "\x1b"}], "n": 1});
        clean_all(&mut value);
        assert_eq!(value, json!({"a\u{fffd}": ["b\u{fffd}", {"c": "\u{fffd}"}], "n": 1}));
    }
}
