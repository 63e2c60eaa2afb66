//! The measured parts of a page: each stands between two marks and is replaced as a whole.

use crate::command;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The date, the machine and the commit of a measurement, for the text above its tables.
///
/// # Errors
/// git or date fail.
pub(crate) fn setting(root: &Path) -> Result<String> {
    let date = command::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let commit =
        command::output(Command::new("git").current_dir(root).args(["rev-parse", "--short", "HEAD"]))?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    Ok(format!(
        "{}, {cores} cores of {}, Linux {}, commit {}",
        date.trim(),
        model.map_or("an unknown processor", |(_, name)| name),
        kernel.trim(),
        commit.trim(),
    ))
}

/// A measured part of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PagePart<'a> {
    /// The page, by its path from the root of the repository.
    pub(crate) page: &'a str,
    /// The xtask command that writes it.
    pub(crate) task: &'a str,
    /// The name of the part.
    pub(crate) name: &'a str,
}

impl PagePart<'_> {
    /// Replaces the part with `text`.
    ///
    /// # Errors
    /// The page cannot be read or written, or has no marks for the part.
    pub(crate) fn write(self, root: &Path, text: &str) -> Result<()> {
        let Self { page, task, name } = self;
        let begin = format!("<!-- {task} {name}: begin -->\n");
        let end = format!("<!-- {task} {name}: end -->");
        replace_in_file(&root.join(page), &begin, &end, text)
    }
}

/// Replaces what stands between two marks in a file.
///
/// # Errors
/// The file cannot be read or written, or lacks the marks.
pub(crate) fn replace_in_file(file: &Path, begin: &str, end: &str, text: &str) -> Result<()> {
    let name = file.display();
    let old = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    let new = replace_between(&old, begin, end, text)
        .with_context(|| format!("{name} has no marks {} and {end}", begin.trim()))?;
    fs::write(file, new).with_context(|| format!("cannot write {name}"))?;
    println!("wrote {name}");
    Ok(())
}

fn replace_between(page: &str, begin: &str, end: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_is_replaced() {
        let page = "Words.\n<!-- a: begin -->\nold\n<!-- a: end -->\nMore.\n";
        let new = replace_between(page, "<!-- a: begin -->\n", "<!-- a: end -->", "new\n");
        assert_eq!(new.as_deref(), Some("Words.\n<!-- a: begin -->\nnew\n<!-- a: end -->\nMore.\n"));
        assert_eq!(
            replace_between(&new.clone().unwrap(), "<!-- a: begin -->\n", "<!-- a: end -->", "new\n"),
            new
        );
    }

    #[test]
    fn missing_marks_are_found() {
        assert_eq!(replace_between("Words.\n", "<!-- a: begin -->\n", "<!-- a: end -->", "new\n"), None);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.md");
        fs::write(&file, "Words.\n").unwrap();
        let part = PagePart { page: "p.md", task: "bench", name: "a" };
        let error = part.write(folder.path(), "new\n").unwrap_err().to_string();
        assert!(error.contains("<!-- bench a: begin -->"), "{error}");
    }
}
