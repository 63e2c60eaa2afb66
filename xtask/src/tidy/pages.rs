//! Documentation that must match the code: a page for every policy, an existing test for every invariant.

use super::finding::{Finding, TreeFile};

const POLICIES: &str = "crates/router-core/src/policy/";

/// Checks the documentation against the tree.
pub(crate) fn check(tree: &[TreeFile]) -> Vec<Finding> {
    let mut findings = policy_pages(tree);
    findings.extend(named_guards(tree));
    findings
}

/// Every policy has a page.
fn policy_pages(tree: &[TreeFile]) -> Vec<Finding> {
    let has = |page: &str| tree.iter().any(|entry| entry.path == page);
    tree.iter()
        .filter(|entry| entry.text.as_deref().is_some_and(|text| text.contains("impl Policy for ")))
        .filter_map(|entry| {
            let place = entry.path.strip_prefix(POLICIES)?;
            let name = place.trim_end_matches("/mod.rs").trim_end_matches(".rs");
            let page = format!("docs/policies/{name}.md");
            let message = format!("policy `{name}` has no page: write {page}");
            let known = name == "mod" || has(&page);
            (!known).then(|| Finding { file: entry.path.clone(), line: 0, message })
        })
        .collect()
}

/// A line of ARCHITECTURE.md that begins with "Guarded by" names, in backticks, test functions that exist.
fn named_guards(tree: &[TreeFile]) -> Vec<Finding> {
    let Some(page) = tree.iter().find(|entry| entry.path == "ARCHITECTURE.md") else { return Vec::new() };
    let mut findings = Vec::new();
    for (index, line) in page.text.as_deref().unwrap_or_default().lines().enumerate() {
        let Some((_, guards)) = line.split_once("Guarded by") else { continue };
        for guard in guards.split('`').skip(1).step_by(2).map(|name| name.rsplit("::").next().unwrap_or(name))
        {
            let (rust, python) = (format!("fn {guard}("), format!("def {guard}("));
            let real = |entry: &TreeFile| {
                entry.text.as_deref().is_some_and(|t| t.contains(&rust) || t.contains(&python))
            };
            if !tree.iter().any(real) {
                let message = format!("no test is named `{guard}`: name one that exists");
                findings.push(Finding { file: page.path.clone(), line: index + 1, message });
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, text: &str) -> TreeFile {
        TreeFile { path: path.to_owned(), text: Some(text.to_owned()) }
    }

    #[test]
    fn policy_without_page_is_found() {
        let policy = entry("crates/router-core/src/policy/sticky.rs", "impl Policy for Sticky {}");
        let page = entry("docs/policies/sticky.md", "");
        assert_eq!(check(&[policy]).len(), 1);
        let policy = entry("crates/router-core/src/policy/sticky.rs", "impl Policy for Sticky {}");
        assert_eq!(check(&[policy, page]), []);
    }

    #[test]
    fn policy_folder_has_one_page() {
        let policy = entry("crates/router-core/src/policy/cost/mod.rs", "impl Policy for Cost {}");
        assert_eq!(check(&[policy, entry("docs/policies/cost.md", "")]), []);
    }

    #[test]
    fn missing_guard_is_found() {
        let page = "Guarded by `laws::real_test`, `missing_test`.";
        let tree = [entry("ARCHITECTURE.md", page), entry("a.rs", "fn real_test() {}")];
        let found = check(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].message, "no test is named `missing_test`: name one that exists");
    }
}
