//! The house rules that a program can check. Rules that need judgement are left to reviews.

mod circles;
mod finding;
mod layers;
mod module_graph;
mod names;
mod pages;
mod sizes;
mod source;
mod test_code;
mod text;
mod troubleshooting;

use crate::command;
use anyhow::{Context, Result, ensure};
use finding::{Finding, TreeFile};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Checks the whole tree and prints all breaches.
///
/// # Errors
/// A rule is broken, or the tree cannot be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let tree = read_tree(root)?;
    let findings = check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(findings.is_empty(), "tidy: {} breaches of the house rules", findings.len());
    println!("tidy: {} files keep the house rules", tree.len());
    Ok(())
}

/// All breaches in the tree, by file and line.
pub(crate) fn check(tree: &[TreeFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for entry in tree {
        findings.extend(text::check_name(&entry.path));
        let Some(text) = &entry.text else { continue };
        findings.extend(text::check_text(&entry.path, text));
        if entry.path.ends_with(".rs") && !test_code::is_test_file(&entry.path) {
            findings.extend(source::check(&entry.path, text));
        }
    }
    findings.extend(layers::check(tree));
    findings.extend(circles::check(tree));
    findings.extend(pages::check(tree));
    findings.extend(troubleshooting::check(tree));
    findings.sort();
    findings.dedup();
    findings
}

/// The files that git tracks or would add, so that a breach is found before it is committed.
fn read_tree(root: &Path) -> Result<Vec<TreeFile>> {
    let listed = command::output(Command::new("git").current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut tree = Vec::new();
    for path in listed.split('\0').filter(|p| !p.is_empty()) {
        let file = root.join(path);
        if !file.is_file() {
            continue;
        }
        let bytes = fs::read(&file).with_context(|| format!("cannot read {path}"))?;
        tree.push(TreeFile { path: path.to_owned(), text: String::from_utf8(bytes).ok() });
    }
    Ok(tree)
}
