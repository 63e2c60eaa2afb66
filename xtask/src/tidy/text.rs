//! Rules for names and plain text: no catch-all files, no postponed work, no traces of one machine.

use super::Finding;

/// Words in file names that promise nothing: a file is named after the one thing it is about.
const VAGUE: [&str; 7] = ["util", "utils", "helper", "helpers", "manager", "misc", "common"];

/// Marks of postponed work. Spelt in two halves so that this file keeps its own rule.
const POSTPONED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];

/// Paths that exist on somebody's machine only.
const MACHINE: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/tm", "p/"),
    concat!(".lib", "rary/"),
];

/// Recorded answers of real servers are kept as they came, and the lock file is written by cargo.
fn is_foreign(path: &str) -> bool {
    path.contains("tests/data/") || path == "Cargo.lock" || path == "LICENSE"
}

/// A file is named after what it holds.
pub(crate) fn check_name(path: &str) -> Option<Finding> {
    let stem = path.rsplit('/').next()?.split('.').next()?;
    let vague = stem.split(['_', '-']).find(|word| VAGUE.contains(&word.to_ascii_lowercase().as_str()))?;
    Some(Finding {
        file: path.to_owned(),
        line: 0,
        message: format!("`{vague}` names no thing; say what it is"),
    })
}

/// Committed text is finished and belongs to no machine.
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
            found(format!("`{place}` exists on one machine only"));
        }
    }
    findings
}

/// Whether `place` begins a path in the line; in `target/tmp/x` or a URL it does not.
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
    fn vague_file_names_are_found_as_whole_words() {
        assert!(check_name("crates/a/src/http_utils.rs").is_some());
        assert!(check_name("crates/a/src/Manager.rs").is_some());
        assert!(check_name("crates/a/src/utility.rs").is_none());
        assert!(check_name("crates/a/src/policy/marginal_utility.rs").is_none());
    }

    #[test]
    fn postponed_work_is_found_with_its_line() {
        let text = format!("fine\n// {}: later\n", concat!("TO", "DO"));
        let found = check_text("src/a.rs", &text);
        assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn machine_paths_are_found_but_not_their_look_alikes() {
        let place = concat!("/tm", "p/");
        assert_eq!(check_text("a.md", &format!("see {place}x")).len(), 1);
        assert_eq!(check_text("a.md", &format!("see target{place}x")).len(), 0);
        assert_eq!(check_text("crates/a/tests/data/x.json", &format!("see {place}x")).len(), 0);
    }
}
