//! The names in one source file: what it defines, what it imports, and every path that it writes. Test code is left out.

use super::test_code::{attributes, is_test_only};
use proc_macro2::{Span, TokenStream, TokenTree};
use std::collections::HashSet;
use syn::visit::{self, Visit};
use syn::{Item, UseTree, Visibility};

/// The name of a module or an item, from the root of its crate: `a::b::C` is `["a", "b", "C"]`.
pub(super) type CratePath = Vec<String>;

/// A path as a file writes it.
#[derive(Clone, Debug)]
pub(super) struct WrittenPath {
    /// The module that it is written in.
    pub(super) module: CratePath,
    /// Its segments, `crate`, `self` and `super` among them.
    pub(super) segments: Vec<String>,
    /// Its line, from 1.
    pub(super) line: usize,
}

/// One name that a `use` brings into a module.
#[derive(Clone, Debug)]
pub(super) struct Import {
    /// The name in that module; `None` for all names of the target (`use target::*`).
    pub(super) name: Option<String>,
    /// What it stands for.
    pub(super) target: WrittenPath,
    /// Whether others may use it from here (`pub use`, with any restriction).
    pub(super) is_reexport: bool,
}

/// What one file defines and uses.
#[derive(Debug, Default)]
pub(super) struct FileNames {
    /// Items and inline modules.
    pub(super) defined: HashSet<CratePath>,
    /// Inline modules alone.
    pub(super) inline_modules: HashSet<CratePath>,
    /// Modules in files of their own that exist in tests only.
    pub(super) test_modules: HashSet<CratePath>,
    pub(super) imports: Vec<Import>,
    /// Paths in code and in calls of macros.
    pub(super) paths: Vec<WrittenPath>,
}

impl FileNames {
    /// Reads the file of `module`.
    pub(super) fn of(module: CratePath, file: &syn::File) -> Self {
        let mut reader = Reader { module, names: Self::default() };
        reader.visit_file(file);
        reader.names
    }

    /// Every path that the file writes, in imports and in code.
    pub(super) fn all_paths(&self) -> impl Iterator<Item = &WrittenPath> {
        self.imports.iter().map(|import| &import.target).chain(&self.paths)
    }
}

struct Reader {
    /// The module that is being read: the file's own, or one inside it.
    module: CratePath,
    names: FileNames,
}

impl Reader {
    fn written(&self, segments: Vec<String>, span: Span) -> WrittenPath {
        WrittenPath { module: self.module.clone(), segments, line: span.start().line }
    }

    fn child(&self, name: &str) -> CratePath {
        self.module.iter().cloned().chain([name.to_owned()]).collect()
    }

    fn import(&mut self, tree: &UseTree, above: &[String], is_reexport: bool) {
        let (name, last, span) = match tree {
            UseTree::Path(path) => {
                let above = [above, &[path.ident.to_string()]].concat();
                return self.import(&path.tree, &above, is_reexport);
            }
            UseTree::Group(group) => {
                return group.items.iter().for_each(|item| self.import(item, above, is_reexport));
            }
            UseTree::Name(name) => (None, Some(name.ident.to_string()), name.ident.span()),
            UseTree::Rename(rename) => {
                (Some(rename.rename.to_string()), Some(rename.ident.to_string()), rename.ident.span())
            }
            UseTree::Glob(glob) => (None, None, glob.star_token.spans[0]),
        };
        let is_glob = last.is_none();
        let segments: Vec<String> = above.iter().cloned().chain(last.filter(|name| name != "self")).collect();
        let name = name.or_else(|| segments.last().cloned()).filter(|_| !is_glob);
        let target = self.written(segments, span);
        self.names.imports.push(Import { name, target, is_reexport });
    }

    /// The tokens of a macro call are no syntax tree: every `a::b` among them is taken for a path.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut segments: Vec<String> = Vec::new();
        let (mut colons, mut span) = (0, Span::call_site());
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end_of_path(&mut segments, span);
                        span = ident.span();
                    }
                    segments.push(ident.to_string());
                    colons = 0;
                }
                other => {
                    self.end_of_path(&mut segments, span);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.end_of_path(&mut segments, span);
    }

    fn end_of_path(&mut self, segments: &mut Vec<String>, span: Span) {
        let segments = std::mem::take(segments);
        if segments.len() > 1 {
            let path = self.written(segments, span);
            self.names.paths.push(path);
        }
    }

    fn define(&mut self, item: &Item) {
        let name = match item {
            Item::Const(i) => &i.ident,
            Item::Enum(i) => &i.ident,
            Item::Fn(i) => &i.sig.ident,
            Item::Static(i) => &i.ident,
            Item::Struct(i) => &i.ident,
            Item::Trait(i) => &i.ident,
            Item::Type(i) => &i.ident,
            Item::Macro(syn::ItemMacro { ident: Some(ident), .. }) => ident,
            _ => return,
        };
        let path = self.child(&name.to_string());
        self.names.defined.insert(path);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let test_only = is_test_only(attributes(item));
        if let (true, Item::Mod(module)) = (test_only, item) {
            let path = self.child(&module.ident.to_string());
            self.names.test_modules.insert(path);
        }
        if !test_only {
            self.define(item);
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.content.is_none() {
            return;
        }
        let inner = self.child(&module.ident.to_string());
        self.names.inline_modules.insert(inner.clone());
        let outer = std::mem::replace(&mut self.module, inner);
        visit::visit_item_mod(self, module);
        self.module = outer;
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_test_only(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let path_written = self.written(segments, path.segments[0].ident.span());
        self.names.paths.push(path_written);
        visit::visit_path(self, path);
    }

    // Visibilities such as `pub(in crate::a)` and attributes name modules without using anything of theirs.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}
