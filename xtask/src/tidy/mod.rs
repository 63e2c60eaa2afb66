//! The house rules that a program can check. Style that needs judgement is not its business.

mod circles;
mod layers;
mod module_graph;
mod names;
mod pages;
mod sizes;
mod source;
mod test_code;
mod text;

use crate::command;
use anyhow::{Context, Result, bail};
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

/// One breach of a rule.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Finding {
    /// The file, from the root of the repository.
    pub(crate) file: String,
    /// The line, from 1; 0 where the file as a whole is meant.
    pub(crate) line: usize,
    /// What is wrong and what is wanted.
    pub(crate) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

/// A file that is, or is about to be, in the repository.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its path from the root, with forward slashes.
    pub(crate) path: String,
    /// Its text; `None` where it is not UTF-8.
    pub(crate) text: Option<String>,
}

/// Checks the whole tree and prints what breaks a rule.
///
/// # Errors
/// Anything breaks a rule, or the tree cannot be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let tree = read_tree(root)?;
    let findings = check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} breaches of the house rules", findings.len());
    }
    println!("tidy: {} files keep the house rules", tree.len());
    Ok(())
}

/// Everything in the tree that breaks a rule, in the order of files and lines.
pub(crate) fn check(tree: &[Entry]) -> Vec<Finding> {
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
    findings.sort();
    findings.dedup();
    findings
}

/// The files git knows, and those it would take in, so that a breach shows before it is committed.
fn read_tree(root: &Path) -> Result<Vec<Entry>> {
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
        tree.push(Entry { path: path.to_owned(), text: String::from_utf8(bytes).ok() });
    }
    Ok(tree)
}
