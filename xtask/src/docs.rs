//! The documentation: the parts of its pages that come from the code, and the site with all pages.

use crate::harness::page::replace_in_file;
use crate::{command, python_env};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Pages with a part that `sgl-router pages PART` prints.
const GENERATED: [(&str, &str); 2] = [("configuration.md", "options"), ("migrating.md", "foreign")];

/// Writes the generated parts, and builds the site.
///
/// # Errors
/// A page lacks its marks, or the build fails.
pub(crate) fn run(root: &Path) -> Result<()> {
    for (page, part) in GENERATED {
        let printed = command::output(&mut command::cargo(
            root,
            &["run", "--quiet", "--package", "sgl-router", "--bin", "sgl-router", "--", "pages", part],
        ))?;
        let begin = format!("<!-- written by cargo xtask docs: {part} -->\n");
        let text = format!("\n{}\n\n", printed.trim());
        replace_in_file(&root.join("docs").join(page), &begin, "<!-- end -->", &text)?;
    }
    build(root)
}

/// Builds the site into `target/site`. A broken link is an error.
///
/// # Errors
/// Python or a package is missing, or a link is broken.
pub(crate) fn build(root: &Path) -> Result<()> {
    let mut mkdocs = Command::new(python_env::for_tests(root, "docs")?);
    mkdocs.current_dir(root).args(["-m", "mkdocs", "build", "--strict", "--site-dir"]);
    command::run(mkdocs.arg(command::target_dir(root)?.join("site")).env("NO_MKDOCS_2_WARNING", "1"))
}
