//! Rules for Rust source, checked in its syntax tree: sizes, parameters, purity, no downcasts, no branches on names.

use super::finding::Finding;
use super::layers::PURE;
use super::names::{FileNames, WrittenPath};
use super::sizes::{FILE_LINES, FUNCTION_LINES, OPTIONS_FILE, PARAMETERS};
use super::test_code::{attributes, is_test_only};
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, BinOp, Block, Expr, FnArg, Ident, Pat, Signature, Type, Visibility};

/// A comment on the line above that begins with this gives the reason for an exception.
const ALLOWED: &str = "// tidy: allowed,";

/// Ways to find the concrete type behind a trait. A policy is known by its trait alone.
const DOWNCASTS: [&str; 5] = ["as_any", "into_any", "downcast", "downcast_ref", "downcast_mut"];

/// Methods whose result is for people and records; nothing may branch on it.
const LABELS: [&str; 2] = ["name", "policy_name"];

/// Modules that a pure crate may not use, as leading path segments.
const IMPURE: [&[&str]; 7] = [
    &["std", "fs"],
    &["std", "net"],
    &["std", "env"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "io", "stdin"],
    &["tokio"],
];

/// Clocks and entropy, at any place in a path.
const CLOCKS: [&str; 3] = ["Instant", "SystemTime", "RandomState"];

/// Checks one file of production code, without its `#[cfg(test)]` parts.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut check = SourceCheck {
        path,
        lines: text.lines().collect(),
        in_trait_impl: false,
        test_lines: 0,
        findings: Vec::new(),
    };
    match syn::parse_file(text) {
        Ok(file) => {
            check.visit_file(&file);
            if PURE.iter().any(|name| path.starts_with(&format!("crates/{name}/src/"))) {
                check.purity(&file);
            }
        }
        Err(error) => check.find(error.span(), format!("cannot be parsed: {error}")),
    }
    let production = check.lines.len() - check.test_lines;
    let (options, most_options) = OPTIONS_FILE;
    let most = if path == options { most_options } else { FILE_LINES };
    if production > most {
        let message =
            format!("{production} lines of production code, at most {most}: split the file by subject");
        check.findings.push(Finding { file: path.to_owned(), line: 0, message });
    }
    check.findings
}

struct SourceCheck<'a> {
    path: &'a str,
    lines: Vec<&'a str>,
    /// Inside an `impl Trait for`, where the trait gives the signatures.
    in_trait_impl: bool,
    test_lines: usize,
    findings: Vec<Finding>,
}

impl SourceCheck<'_> {
    fn find(&mut self, span: Span, message: String) {
        self.find_at(span.start().line, message);
    }

    /// Reports a breach, unless the line above gives a reason for an exception.
    fn find_at(&mut self, line: usize, message: String) {
        let above = line.checked_sub(2).and_then(|index| self.lines.get(index));
        if above
            .and_then(|line| line.split_once(ALLOWED))
            .is_some_and(|(_, reason)| !reason.trim().is_empty())
        {
            return;
        }
        self.findings.push(Finding { file: self.path.to_owned(), line, message });
    }

    /// Whether the item is compiled for tests only; its lines then do not count.
    fn is_left_out(&mut self, attributes: &[Attribute], whole: Span) -> bool {
        let test_only = is_test_only(attributes);
        if test_only {
            let first = attributes.first().map_or(whole, Spanned::span).start().line;
            self.test_lines += whole.end().line + 1 - first;
        }
        test_only
    }

    fn signature(&mut self, signature: &Signature, visibility: &Visibility) {
        let count = signature.inputs.len();
        if count > PARAMETERS {
            let message = format!(
                "`{}` takes {count} parameters, at most {PARAMETERS}: group them in a struct",
                signature.ident
            );
            self.find(signature.ident.span(), message);
        }
        let tuple = signature.inputs.iter().any(is_tuple);
        if tuple && !self.in_trait_impl {
            let message = format!(
                "`{}` takes a tuple: make it two parameters, or a struct with named fields",
                signature.ident
            );
            self.find(signature.ident.span(), message);
        }
        let public = matches!(visibility, Visibility::Public(_));
        if public && signature.inputs.iter().any(is_bool) {
            let message = format!("`{}` takes a bool: use an enum that names the two cases", signature.ident);
            self.find(signature.ident.span(), message);
        }
    }

    fn body(&mut self, name: &Ident, block: &Block) {
        let (first, last) = (block.span().start().line, block.span().end().line);
        let inner = self.lines.get(first..last.saturating_sub(1)).unwrap_or_default();
        let code =
            inner.iter().map(|line| line.trim()).filter(|line| !line.is_empty() && !line.starts_with("//"));
        let length = code.count();
        if length > FUNCTION_LINES {
            self.find(
                name.span(),
                format!("`{name}` is {length} lines long, at most {FUNCTION_LINES}: split it"),
            );
        }
    }

    /// Checks that a pure crate uses no I/O, clock or entropy.
    fn purity(&mut self, file: &syn::File) {
        for WrittenPath { segments, line, .. } in FileNames::of(Vec::new(), file).all_paths() {
            let starts_with = |banned: &&[&str]| {
                segments.len() >= banned.len() && segments.iter().zip(*banned).all(|(s, b)| s == b)
            };
            let is_impure = IMPURE.iter().any(starts_with);
            if is_impure || segments.iter().any(|segment| CLOCKS.contains(&segment.as_str())) {
                let path = segments.join("::");
                self.find_at(
                    *line,
                    format!("a pure crate may not use `{path}`: pass its result in as an argument"),
                );
            }
        }
    }

    /// The tokens of a macro call are no syntax tree, so each is checked alone.
    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => self.visit_ident(&ident),
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for SourceCheck<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !self.is_left_out(attributes(item), item.span()) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.signature(&item.sig, &item.vis);
        self.body(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let outer = std::mem::replace(&mut self.in_trait_impl, item.trait_.is_some());
        visit::visit_item_impl(self, item);
        self.in_trait_impl = outer;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if self.is_left_out(&item.attrs, item.span()) {
            return;
        }
        self.signature(&item.sig, &item.vis);
        self.body(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.signature(&item.sig, &Visibility::Public(syn::token::Pub::default()));
        if let Some(block) = &item.default {
            self.body(&item.sig.ident, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_ident(&mut self, ident: &'ast Ident) {
        if DOWNCASTS.iter().any(|name| ident == name) {
            self.find(
                ident.span(),
                format!("`{ident}`: no code may depend on a concrete type behind a trait; extend the trait"),
            );
        }
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        let compares = matches!(binary.op, BinOp::Eq(_) | BinOp::Ne(_));
        if compares && (is_label(&binary.left) || is_label(&binary.right)) {
            self.find(binary.span(), "no code branches on a name: add a method to the trait".to_owned());
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_match(&mut self, choice: &'ast syn::ExprMatch) {
        if is_label(&choice.expr) {
            self.find(choice.expr.span(), "no code branches on a name: add a method to the trait".to_owned());
        }
        visit::visit_expr_match(self, choice);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}

fn is_bool(argument: &FnArg) -> bool {
    matches!(argument, FnArg::Typed(typed) if matches!(&*typed.ty, Type::Path(path) if path.path.is_ident("bool")))
}

/// Whether the parameter is a tuple or a reference to one, by its type or its pattern.
fn is_tuple(argument: &FnArg) -> bool {
    let FnArg::Typed(typed) = argument else { return false };
    let mut ty = &*typed.ty;
    while let Type::Reference(reference) = ty {
        ty = &reference.elem;
    }
    matches!(ty, Type::Tuple(tuple) if !tuple.elems.is_empty()) || matches!(&*typed.pat, Pat::Tuple(_))
}

/// Whether the expression calls a label method, with or without references and parentheses around it.
fn is_label(expression: &Expr) -> bool {
    match expression {
        Expr::Reference(inner) => is_label(&inner.expr),
        Expr::Paren(inner) => is_label(&inner.expr),
        Expr::Unary(inner) => is_label(&inner.expr),
        Expr::MethodCall(call) => {
            let label = call.args.is_empty() && LABELS.iter().any(|name| call.method == name);
            let wrapped =
                ["as_str", "as_ref", "to_string", "to_owned"].iter().any(|name| call.method == name);
            label || (wrapped && is_label(&call.receiver))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "crates/router-proxy/src/a.rs";
    const OTHER: &str = "crates/other/src/a.rs";
    const CORE: &str = "crates/router-core/src/a.rs";

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(path, text).into_iter().map(|finding| finding.message).collect()
    }

    fn assert_found(path: &str, text: &str, words: &str) {
        let found = messages(path, text);
        assert!(found.iter().any(|message| message.contains(words)), "{words:?} not in {found:?}");
    }

    fn assert_clean(path: &str, text: &str) {
        assert_eq!(messages(path, text), [""; 0]);
    }

    #[test]
    fn long_files_are_found() {
        let code = "const A: u8 = 0;\n".repeat(FILE_LINES);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "const B: u8 = 0;\n".repeat(300));
        assert_clean(PROXY, &format!("{code}{tests}"));
        assert_found(PROXY, &format!("{code}const C: u8 = 0;\n{tests}"), "501 lines of production code");
    }

    #[test]
    fn long_functions_are_found() {
        let body = "    let _ = 0;\n".repeat(FUNCTION_LINES);
        assert_clean(PROXY, &format!("fn f() {{\n    // Why.\n\n{body}}}\n"));
        assert_found(PROXY, &format!("fn f() {{\n    let _ = 0;\n{body}}}\n"), "`f` is 61 lines long");
        assert_found(
            PROXY,
            &format!("impl A {{\nfn f() {{\n    let _ = 0;\n{body}}}\n}}\n"),
            "`f` is 61 lines long",
        );
    }

    #[test]
    fn many_parameters_and_public_bools_are_found() {
        assert_found(PROXY, "fn f(a: A, b: B, c: C, d: D, e: E, f: F, g: G, h: H) {}", "takes 8 parameters");
        assert_found(PROXY, "pub fn f(on: bool) {}", "takes a bool");
        assert_found(PROXY, "trait T { fn f(&self, on: bool); }", "takes a bool");
        assert_clean(PROXY, "fn f(on: bool) -> bool { on }");
        assert_clean(PROXY, "pub fn f(on: Option<bool>) -> bool { on.is_some() }");
    }

    #[test]
    fn tuple_parameters_are_found() {
        for text in [
            "fn f((a, b): (u8, u8)) {}",
            "fn f(pair: (u8, u8)) {}",
            "impl A { fn f(&self, pair: &(u8, u8)) {} }",
            "trait T { fn f(&self, (a, b): Pair); }",
        ] {
            assert_found(OTHER, text, "`f` takes a tuple");
        }
        assert_clean(
            OTHER,
            "fn f(pairs: &[(u8, u8)], unit: ()) { pairs.iter().for_each(|(a, b)| drop(a + b)) }",
        );
        assert_clean(OTHER, "impl From<(u8, u8)> for A { fn from((a, b): (u8, u8)) -> Self { Self } }");
    }

    #[test]
    fn downcasts_are_found() {
        assert_found(PROXY, "fn f(p: &P) { p.as_any(); }", "`as_any`");
        assert_found(PROXY, "fn f(p: &P) { println!(\"{:?}\", p.downcast_ref::<Q>()); }", "`downcast_ref`");
        assert_clean(PROXY, "// There is no as_any and no downcast here.\nfn f() {}");
    }

    #[test]
    fn exceptions_need_a_reason() {
        assert_clean(PROXY, "// tidy: allowed, the trait's shape is given.\npub fn f(on: bool) {}");
        assert_found(PROXY, "// tidy: allowed,\npub fn f(on: bool) {}", "takes a bool");
        assert_found(PROXY, "// tidy: allowed, why.\n\npub fn f(on: bool) {}", "takes a bool");
    }

    #[test]
    fn branching_on_a_name_is_found() {
        assert_found(PROXY, "fn f(p: &P) -> bool { p.name() == \"x\" }", "branches on a name");
        assert_found(
            PROXY,
            "fn f(p: &P) -> bool { \"x\" != p.policy_name().as_ref() }",
            "branches on a name",
        );
        assert_found(PROXY, "fn f(p: &P) { match p.name() { _ => {} } }", "branches on a name");
        assert_clean(PROXY, "fn f(p: &P) -> String { p.name().to_owned() }");
    }

    #[test]
    fn pure_crate_does_no_io() {
        assert_found(CORE, "use std::time::{Duration, Instant};", "`std::time::Instant`");
        assert_found(CORE, "use std::{fmt, fs};", "`std::fs`");
        assert_found(CORE, "use std::net::*;", "`std::net`");
        assert_found(CORE, "fn f() { let _ = std::env::args(); }", "`std::env::args`");
        assert_found(CORE, "use std::time; fn f() { time::SystemTime::now(); }", "`time::SystemTime::now`");
        assert_found(CORE, "async fn f() { tokio::task::yield_now().await }", "`tokio::task::yield_now`");
        assert_clean(CORE, "use std::time::Duration; use std::{fmt, collections::HashMap};");
        assert_clean(CORE, "#[cfg(test)]\nmod tests { use std::time::Instant; }");
        assert_clean(PROXY, "use std::time::Instant;");
    }

    #[test]
    fn cfg_all_test_is_a_test() {
        assert_clean(CORE, "#[cfg(all(test, unix))]\nmod tests { use std::fs; }");
        assert_found(CORE, "#[cfg(feature = \"test\")]\nmod tests { use std::fs; }", "`std::fs`");
    }
}
