//! The documentation: parts of its pages that are written from the code, and the site that is built from all of them.

use crate::{command, test};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Pages with a part that the binary prints.
const WRITTEN: [(&str, &str); 2] = [("configuration.md", "options"), ("migrating.md", "foreign")];

/// Writes the parts anew, and builds the site.
///
/// # Errors
/// A page without its marks, or what the build found wrong.
pub(crate) fn run(root: &Path) -> Result<()> {
    for (page, part) in WRITTEN {
        let path = root.join("docs").join(page);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let printed = command::output(&mut command::cargo(
            root,
            &["run", "--quiet", "--package", "sgl-router", "--bin", "sgl-router", "--", "pages", part],
        ))?;
        let text = spliced(&text, part, &printed)
            .with_context(|| format!("docs/{page} has no marks around the part `{part}`"))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    build(root)
}

/// Builds the site into `target/site`; a link that leads nowhere is an error.
///
/// # Errors
/// Python, a package or a link is missing.
pub(crate) fn build(root: &Path) -> Result<()> {
    let target = command::target_dir(root)?;
    let python = test::python(root, &target, "docs")?;
    let mut mkdocs = Command::new(python);
    mkdocs.current_dir(root).args(["-m", "mkdocs", "build", "--strict", "--site-dir"]);
    command::run(mkdocs.arg(target.join("site")).env("NO_MKDOCS_2_WARNING", "1"))
}

/// The page with `part` between its marks in place of what was there.
fn spliced(page: &str, part: &str, printed: &str) -> Option<String> {
    let begin = format!("<!-- written by cargo xtask docs: {part} -->\n");
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once("<!-- end -->")?;
    Some(format!("{before}{begin}\n{}\n\n<!-- end -->{after}", printed.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_takes_the_place_of_the_old_one_and_a_page_without_marks_is_found() {
        let page = "head\n<!-- written by cargo xtask docs: x -->\nold\n<!-- end -->\ntail\n";
        let new = spliced(page, "x", "\nnew\n").unwrap();
        assert_eq!(new, "head\n<!-- written by cargo xtask docs: x -->\n\nnew\n\n<!-- end -->\ntail\n");
        assert_eq!(spliced(&new, "x", "new").unwrap(), new);
        assert!(spliced(page, "y", "new").is_none());
    }
}
