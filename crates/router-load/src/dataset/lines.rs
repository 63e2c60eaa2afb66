//! JSON Lines: one JSON value per line.

use super::{BadEntry, problem};
use serde::de::DeserializeOwned;
use std::path::Path;

/// Reads every line that is not blank. Returns the values with their line numbers, and the lines that do not parse.
pub(crate) fn json_lines<T: DeserializeOwned>(file: &Path, bytes: &[u8]) -> (Vec<(usize, T)>, Vec<BadEntry>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(value) => good.push((index + 1, value)),
            Err(error) => {
                bad.push(BadEntry { file: file.to_owned(), line: index + 1, problem: problem(&error) });
            }
        }
    }
    (good, bad)
}
