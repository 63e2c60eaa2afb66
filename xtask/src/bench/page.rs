//! The measured part of docs/benchmarks.md: each table stands between two marks and is replaced as a whole.

use super::Options;
use crate::command;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

const PAGE: &str = "docs/benchmarks.md";

/// When, on what machine and of which commit this was measured.
///
/// # Errors
/// git or date do not answer.
pub(crate) fn setting(root: &Path, options: &Options) -> Result<String> {
    let date = command::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let commit =
        command::output(Command::new("git").current_dir(root).args(["rev-parse", "--short", "HEAD"]))?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Ok(format!(
        "{}, {cores} cores of {}, Linux {}, commit {}; median (range) of {} rounds of {} s, contenders in turn; load \
         average at the end {}.",
        date.trim(),
        model.map_or("an unknown processor", |(_, name)| name),
        kernel.trim(),
        commit.trim(),
        options.rounds(),
        options.time().as_secs(),
        load.split(' ').next().unwrap_or_default(),
    ))
}

/// Replaces the named table on the page.
///
/// # Errors
/// The page cannot be read or written, or has no such marks.
pub(crate) fn write(root: &Path, name: &str, table: &str) -> Result<()> {
    let file = root.join(PAGE);
    let old = fs::read_to_string(&file).with_context(|| format!("cannot read {PAGE}"))?;
    let new = replace(&old, name, table).with_context(|| format!("{PAGE} has no marks for `{name}`"))?;
    fs::write(&file, new).with_context(|| format!("cannot write {PAGE}"))?;
    println!("written to {PAGE}");
    Ok(())
}

fn replace(page: &str, name: &str, table: &str) -> Option<String> {
    let (begin, end) =
        (format!("<!-- bench-proxy {name}: begin -->\n"), format!("<!-- bench-proxy {name}: end -->"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{table}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_replaced_and_the_words_around_it_stay() {
        let page = "Words.\n<!-- bench-proxy a: begin -->\nold\n<!-- bench-proxy a: end -->\nMore.\n";
        let wanted = "Words.\n<!-- bench-proxy a: begin -->\nnew\n<!-- bench-proxy a: end -->\nMore.\n";
        assert_eq!(replace(page, "a", "new\n").as_deref(), Some(wanted));
        assert_eq!(replace(page, "b", "new\n"), None);
    }
}
