//! Where an option stands in a configuration file.

use std::collections::BTreeMap;
use toml::Spanned;

/// The line of a TOML text, counted from 1, on which the value of `key` begins; `None` where the text has no such key.
pub fn line_of(text: &str, key: &str) -> Option<usize> {
    let values = toml::from_str::<BTreeMap<String, Spanned<toml::Value>>>(text).ok()?;
    let before = text.get(..values.get(key)?.span().start)?;
    Some(before.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_each_kind_of_value() {
        let text = "port = 1\n\npolicy = 'x'\n[policy_options]\na = 1\n[[workers]]\nurl = 'http://a'\n";
        let lines = ["port", "policy", "policy_options", "workers", "host"].map(|key| line_of(text, key));
        assert_eq!(lines, [Some(1), Some(3), Some(4), Some(6), None]);
    }
}
