//! The measured parts of a page: each stands between two marks and is replaced as a whole.

use crate::command;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// When, on what machine and of which commit this was measured.
///
/// # Errors
/// git or date do not answer.
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

/// A part of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    /// The page, from the root of the repository.
    pub(crate) page: &'a str,
    /// The chore that writes it.
    pub(crate) chore: &'a str,
    /// What stands there.
    pub(crate) name: &'a str,
}

impl Part<'_> {
    /// Replaces what stands there.
    ///
    /// # Errors
    /// The page cannot be read or written, or has no such marks.
    pub(crate) fn write(self, root: &Path, text: &str) -> Result<()> {
        let Self { page, name, .. } = self;
        let file = root.join(page);
        let old = fs::read_to_string(&file).with_context(|| format!("cannot read {page}"))?;
        let new = self.replace(&old, text).with_context(|| format!("{page} has no marks for `{name}`"))?;
        fs::write(&file, new).with_context(|| format!("cannot write {page}"))?;
        println!("written to {page}");
        Ok(())
    }

    fn replace(self, page: &str, text: &str) -> Option<String> {
        let Self { chore, name, .. } = self;
        let (begin, end) =
            (format!("<!-- {chore} {name}: begin -->\n"), format!("<!-- {chore} {name}: end -->"));
        let (before, rest) = page.split_once(&begin)?;
        let (_, after) = rest.split_once(&end)?;
        Some(format!("{before}{begin}{text}{end}{after}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_replaced_and_the_words_around_it_stay() {
        let page = "Words.\n<!-- bench-proxy a: begin -->\nold\n<!-- bench-proxy a: end -->\nMore.\n";
        let wanted = "Words.\n<!-- bench-proxy a: begin -->\nnew\n<!-- bench-proxy a: end -->\nMore.\n";
        let part = |name| Part { page: "p.md", chore: "bench-proxy", name };
        assert_eq!(part("a").replace(page, "new\n").as_deref(), Some(wanted));
        assert_eq!(part("b").replace(page, "new\n"), None);
    }
}
