//! docs/troubleshooting.md has an entry for every warning that the router logs and every error code that it responds with.

use super::finding::{Finding, TreeFile};
use super::test_code::{attributes, is_test_file, is_test_only};
use proc_macro2::{Span, TokenStream, TokenTree};
use std::collections::BTreeSet;
use syn::visit::{self, Visit};
use syn::{Expr, ExprMethodCall, Lit, LitStr, Type};

const PAGE: &str = "docs/troubleshooting.md";

/// The emulator stands in for an engine, and no user operates it.
const LEFT_OUT: [&str; 2] = ["crates/router-emulator/", "crates/router-fuzz/"];

/// The crate that responds to clients.
const RESPONDS: &str = "crates/router-proxy/src/";

/// A method that logs its last argument as a warning.
const LOGS: &str = "log_problem";

/// Checks that the page tells of everything that the source may log or respond.
pub(crate) fn check(tree: &[TreeFile]) -> Vec<Finding> {
    let Some(page) = tree.iter().find(|entry| entry.path == PAGE) else { return Vec::new() };
    let told = quoted(page.text.as_deref().unwrap_or_default());
    let mut findings = Vec::new();
    for entry in tree {
        let is_source = entry.path.starts_with("crates/") && entry.path.ends_with(".rs");
        if !is_source || is_test_file(&entry.path) || LEFT_OUT.iter().any(|left| entry.path.starts_with(left))
        {
            continue;
        }
        // A file that cannot be parsed is a finding of `source`.
        let Ok(file) = syn::parse_file(entry.text.as_deref().unwrap_or_default()) else { continue };
        let mut texts = UserTexts { responds: entry.path.starts_with(RESPONDS), ..UserTexts::default() };
        texts.visit_file(&file);
        for UserText { text, line } in texts.found {
            if !told.contains(&text) {
                let message = format!("{PAGE} does not explain `{text}`: add an entry with cause and remedy");
                findings.push(Finding { file: entry.path.clone(), line, message });
            }
        }
    }
    findings
}

/// What stands in backticks on the page, with each run of white space as one space.
fn quoted(page: &str) -> BTreeSet<String> {
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    words.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A text that a user may search for.
struct UserText {
    text: String,
    line: usize,
}

#[derive(Default)]
struct UserTexts {
    responds: bool,
    /// Inside an `impl` of an error type, whose words are the codes of its responses.
    in_error: bool,
    found: Vec<UserText>,
}

impl UserTexts {
    fn event(&mut self, literal: &LitStr) {
        let text = without_values(&literal.value());
        // A text of values alone is written elsewhere.
        if text.chars().any(char::is_alphabetic) {
            self.add(text, literal.span());
        }
    }

    fn add(&mut self, text: String, span: Span) {
        self.found.push(UserText { text, line: span.start().line });
    }
}

impl<'ast> Visit<'ast> for UserTexts {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test_only(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let is_error = item.trait_.is_none() && is_error_type(&item.self_ty);
        let outer = std::mem::replace(&mut self.in_error, is_error && self.responds);
        visit::visit_item_impl(self, item);
        self.in_error = outer;
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let is_warning =
            call.path.segments.last().is_some_and(|name| name.ident == "warn" || name.ident == "error");
        if let Some(message) = message(call.tokens.clone()).filter(|_| is_warning) {
            self.event(&message);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if let Some(Expr::Lit(syn::ExprLit { lit: Lit::Str(message), .. })) = call.args.last()
            && call.method == LOGS
        {
            self.event(message);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_lit_str(&mut self, literal: &'ast LitStr) {
        let word = literal.value();
        if self.in_error && !word.is_empty() && word.chars().all(|c| c.is_ascii_alphabetic() || c == '_') {
            self.add(word, literal.span());
        }
    }
}

fn is_error_type(of: &Type) -> bool {
    matches!(of, Type::Path(path) if path.path.segments.last().is_some_and(|s| s.ident.to_string().ends_with("Error")))
}

/// The message among the tokens of a logging macro: the first string that is no value of a field.
fn message(tokens: TokenStream) -> Option<LitStr> {
    let mut is_first_of_argument = true;
    for token in tokens {
        match &token {
            TokenTree::Literal(literal) if is_first_of_argument => {
                return syn::parse_str::<LitStr>(&literal.to_string()).ok().map(|mut message| {
                    message.set_span(literal.span());
                    message
                });
            }
            TokenTree::Punct(punct) => is_first_of_argument = punct.as_char() == ',',
            _ => is_first_of_argument = false,
        }
    }
    None
}

/// The message with `…` for each of its values, as the page writes it.
fn without_values(message: &str) -> String {
    let mut text = String::new();
    let mut rest = message;
    while let Some((before, value)) = rest.split_once('{') {
        text.push_str(before);
        text.push('…');
        rest = value.split_once('}').map_or("", |(_, after)| after);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(path: &str, source: &str, page: &str) -> Vec<String> {
        let entry = |path: &str, text: &str| TreeFile { path: path.to_owned(), text: Some(text.to_owned()) };
        let found = check(&[entry(path, source), entry(PAGE, page)]);
        found.into_iter().filter_map(|f| Some(f.message.split('`').nth(1)?.to_owned())).collect()
    }

    const UPSTREAM: &str = "crates/router-upstream/src/a.rs";
    const PROXY: &str = "crates/router-proxy/src/error.rs";

    #[test]
    fn unexplained_warnings_are_found() {
        let source = r#"
            fn f(url: &str) {
                warn!(target: "x", worker = "y", %url, "worker of {} is {state}", url);
                tracing::error!("it stopped: \
                    for good");
                info!("not a problem");
                warn!("{text}");
                self.log_problem(&state, "check failed");
            }
        "#;
        let all = ["worker of … is …", "it stopped: for good", "check failed"];
        assert_eq!(missing(UPSTREAM, source, ""), all);
        let page = "| `worker of … is …` | `it stopped:\nfor good` | `check failed` |";
        assert_eq!(missing(UPSTREAM, source, page), [""; 0]);
    }

    #[test]
    fn unexplained_error_codes_are_found() {
        let source = r#"
            impl ProxyError {
                fn code(&self) -> &'static str { match self { Self::A => "queue_full", Self::B => "forbidden" } }
            }
            impl Display for ProxyError { fn fmt(&self) { f.write_str("text") } }
            fn other() -> &'static str { "no_code" }
        "#;
        assert_eq!(missing(PROXY, source, "`queue_full`"), ["forbidden"]);
        assert_eq!(missing(UPSTREAM, source, ""), [""; 0]);
    }

    #[test]
    fn texts_of_tests_are_left_out() {
        let source = r#"#[cfg(test)] mod tests { fn f() { warn!("only in a test"); } }"#;
        assert_eq!(missing(UPSTREAM, source, ""), [""; 0]);
        assert_eq!(missing("crates/router-upstream/tests/a.rs", r#"fn f() { warn!("a"); }"#, ""), [""; 0]);
    }
}
