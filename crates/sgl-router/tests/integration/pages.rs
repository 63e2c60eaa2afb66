//! The generated parts of the documentation are up to date.

use std::process::Command;

/// The part of a page between its marks is what the command prints.
fn assert_fresh(page: &str, part: &str, words: &str) {
    let path = format!("{}/../../docs/{page}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sgl-router")).args(words.split(' ')).output().unwrap();
    let wanted = String::from_utf8(output.stdout).unwrap();
    let (begin, end) = (format!("<!-- written by cargo xtask docs: {part} -->\n"), "<!-- end -->");
    let written = text.split_once(&begin).and_then(|(_, rest)| rest.split_once(end)).unwrap().0;
    let written = written.trim().trim_start_matches("```text\n").trim_end_matches("\n```");
    assert!(written == wanted.trim(), "docs/{page} is stale: run cargo xtask docs");
}

#[test]
fn option_reference_is_fresh() {
    assert_fresh("configuration.md", "options", "pages options");
}

#[test]
fn foreign_flag_table_is_fresh() {
    assert_fresh("migrating.md", "foreign", "pages foreign");
}

#[test]
fn simulated_figures_are_fresh() {
    let command = "simulate --policy least_request,marginal_cost,oracle";
    assert_fresh("simulating.md", command, command);
}
