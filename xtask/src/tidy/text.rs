//! Rules for file names and text: no catch-all files, no postponed work, no paths of one machine.

use super::finding::Finding;

/// Words in file names that say nothing about the content.
const VAGUE: [&str; 7] = ["util", "utils", "helper", "helpers", "manager", "misc", "common"];

/// Marks of postponed work, in two halves so that this file passes its own rule.
const POSTPONED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];

/// Paths that exist on one machine only.
const MACHINE: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/tm", "p/"),
    concat!(".lib", "rary/"),
];

/// Recorded responses of real servers and generated files are not ours to change.
fn is_foreign(path: &str) -> bool {
    path.contains("tests/data/") || path == "Cargo.lock" || path == "LICENSE"
}

/// Checks the name of a file: it says what the file holds.
pub(crate) fn check_name(path: &str) -> Option<Finding> {
    let stem = path.rsplit('/').next()?.split('.').next()?;
    let vague = stem.split(['_', '-']).find(|word| VAGUE.contains(&word.to_ascii_lowercase().as_str()))?;
    Some(Finding {
        file: path.to_owned(),
        line: 0,
        message: format!("`{vague}` is vague: name the file after what it holds"),
    })
}

/// Checks each line of a text.
pub(crate) fn check_text(path: &str, text: &str) -> Vec<Finding> {
    if is_foreign(path) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut found = |message| findings.push(Finding { file: path.to_owned(), line: index + 1, message });
        if let Some(mark) = POSTPONED.iter().find(|mark| line.contains(**mark)) {
            found(format!("`{mark}`: finish it or file an issue"));
        }
        if let Some(place) = MACHINE.iter().find(|place| starts_a_path(line, place)) {
            found(format!("`{place}` exists on one machine only: use a relative path"));
        }
    }
    findings
}

/// Whether `place` begins a path in the line, unlike in `target/tmp/x` or in a URL.
fn starts_a_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | ']' | '>'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vague_file_names_are_found() {
        assert!(check_name("crates/a/src/http_utils.rs").is_some());
        assert!(check_name("crates/a/src/Manager.rs").is_some());
        assert!(check_name("crates/a/src/utility.rs").is_none());
        assert!(check_name("crates/a/src/policy/marginal_utility.rs").is_none());
    }

    #[test]
    fn postponed_work_is_found() {
        let text = format!("fine\n// {}: later\n", concat!("TO", "DO"));
        let found = check_text("src/a.rs", &text);
        assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn machine_paths_are_found() {
        let place = concat!("/tm", "p/");
        assert_eq!(check_text("a.md", &format!("see {place}x")).len(), 1);
        assert_eq!(check_text("a.md", &format!("see target{place}x")).len(), 0);
        assert_eq!(check_text("crates/a/tests/data/x.json", &format!("see {place}x")).len(), 0);
    }
}
