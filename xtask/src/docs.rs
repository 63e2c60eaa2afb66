//! The documentation: the parts of its pages that come from the code, and the site with all pages.

use crate::harness::page::replace_in_file;
use crate::{command, python_env};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Pages with a part that `sgl-router` prints, and the words after that name: `pages PART` prints Markdown, all else is shown as
/// it is. The test `pages.rs` runs the same commands.
const GENERATED: [(&str, &str); 3] = [
    ("configuration.md", "pages options"),
    ("migrating.md", "pages foreign"),
    ("simulating.md", "simulate --policy least_request,marginal_cost,oracle"),
];

/// Writes the generated parts, and builds the site.
///
/// # Errors
/// A page lacks its marks, or the build fails.
pub(crate) fn run(root: &Path) -> Result<()> {
    for (page, words) in GENERATED {
        let run = ["run", "--quiet", "--package", "sgl-router", "--bin", "sgl-router", "--"];
        let mut run = command::cargo(root, &run);
        let printed = command::output(run.args(words.split(' ')))?;
        let (part, text) = match words.strip_prefix("pages ") {
            Some(part) => (part, format!("\n{}\n\n", printed.trim())),
            None => (words, format!("\n```text\n{}\n```\n\n", printed.trim())),
        };
        let begin = format!("<!-- written by cargo xtask docs: {part} -->\n");
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
