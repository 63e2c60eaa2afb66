//! The files of one crate and the arrows between them: an arrow goes from a file that uses a name to the file that
//! defines it. A name is followed through `pub use` and through imported modules, so re-exporting makes no arrow.

use super::names::{CratePath, FileNames, Import, WrittenPath};
use super::test_code::is_test_file;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Re-exports are followed this far; more can only be names that stand for each other.
const MAX_REEXPORTS: u32 = 8;

/// A source file and the modules that it uses.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// Its path from the root of the repository.
    pub(super) path: String,
    /// Its module.
    pub(super) module: CratePath,
    /// The files that it uses, by their place in the graph, and the first line that does so.
    pub(super) uses: BTreeMap<usize, usize>,
}

/// All production files of a crate, in the order of their modules.
#[derive(Debug)]
pub(super) struct ModuleGraph {
    pub(super) files: Vec<SourceFile>,
}

impl ModuleGraph {
    /// The graph of the files in the folder `src` (`crates/NAME/src/`), given as path and text.
    pub(super) fn new<'a>(src: &str, sources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut read: Vec<(SourceFile, FileNames)> = sources
            .into_iter()
            .filter(|(path, _)| !is_test_file(path))
            .filter_map(|(path, text)| {
                let module = module_of(path.strip_prefix(src)?)?;
                // Another rule reports a file that cannot be parsed.
                let names = FileNames::of(module.clone(), &syn::parse_file(text).ok()?);
                Some((SourceFile { path: path.to_owned(), module, uses: BTreeMap::new() }, names))
            })
            .collect();
        let test_modules: HashSet<CratePath> =
            read.iter().flat_map(|(_, names)| names.test_modules.iter().cloned()).collect();
        read.retain(|(file, _)| !test_modules.iter().any(|module| file.module.starts_with(module)));
        // lib.rs comes before main.rs, so that a path from the root means the library.
        read.sort_by(|(a, _), (b, _)| (&a.module, &a.path).cmp(&(&b.module, &b.path)));
        let uses: Vec<_> = {
            let names = CrateNames::new(&read);
            read.iter().enumerate().map(|(index, (file, own))| names.uses(index, file, own)).collect()
        };
        let files = read.into_iter().zip(uses).map(|((file, _), uses)| SourceFile { uses, ..file });
        Self { files: files.collect() }
    }
}

/// The module of a file, by its path in the source folder; `None` for what is no module.
fn module_of(path: &str) -> Option<CratePath> {
    let mut module: CratePath = path.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    let last = module.last()?.as_str();
    if last == "mod" || (module.len() == 1 && matches!(last, "lib" | "main")) {
        module.pop();
    }
    Some(module)
}

/// What a path stands for.
#[derive(Clone, Debug)]
enum Target {
    /// A module.
    Module(CratePath),
    /// Something in this file.
    Item(usize),
}

/// Where every name of a crate is defined.
struct CrateNames<'a> {
    /// The file of each module.
    modules: HashMap<&'a [String], usize>,
    defined: HashSet<&'a [String]>,
    /// Imports by the module that has them.
    imports: HashMap<&'a [String], Vec<&'a Import>>,
}

impl<'a> CrateNames<'a> {
    fn new(read: &'a [(SourceFile, FileNames)]) -> Self {
        let mut names = Self { modules: HashMap::new(), defined: HashSet::new(), imports: HashMap::new() };
        for (index, (file, own)) in read.iter().enumerate() {
            names.modules.entry(&file.module).or_insert(index);
            names.modules.extend(own.inline_modules.iter().map(|module| (module.as_slice(), index)));
            names.defined.extend(own.defined.iter().map(Vec::as_slice));
            for import in &own.imports {
                names.imports.entry(&import.target.module).or_default().push(import);
            }
        }
        names
    }

    /// The files that the file uses. Only the root of a folder or crate re-exports without using.
    fn uses(&self, index: usize, file: &SourceFile, own: &FileNames) -> BTreeMap<usize, usize> {
        let is_root = ["/mod.rs", "/lib.rs", "/main.rs"].iter().any(|root| file.path.ends_with(root));
        let imports = own.imports.iter().filter(|import| !(is_root && import.is_reexport));
        let globs = imports.clone().filter(|import| import.name.is_none()).filter_map(|import| {
            let Some(Target::Module(module)) = self.resolve(&import.target, 0) else { return None };
            Some((*self.modules.get(module.as_slice())?, import.target.line))
        });
        let named = imports.filter(|import| import.name.is_some()).map(|import| &import.target);
        let items = named.chain(&own.paths).filter_map(|path| match self.resolve(path, 0) {
            Some(Target::Item(target)) => Some((target, path.line)),
            Some(Target::Module(_)) | None => None,
        });
        let mut uses = BTreeMap::new();
        for (target, line) in items.chain(globs).filter(|(target, _)| *target != index) {
            let first = uses.entry(target).or_insert(line);
            *first = line.min(*first);
        }
        uses
    }

    /// What a path stands for; `None` for other crates and local names.
    fn resolve(&self, path: &WrittenPath, depth: u32) -> Option<Target> {
        let mut module = path.module.clone();
        let mut segments = path.segments.as_slice();
        let mut is_absolute = false;
        while let [first, rest @ ..] = segments {
            match first.as_str() {
                "crate" => module.clear(),
                "super" => drop(module.pop()),
                "self" => {}
                _ => break,
            }
            (segments, is_absolute) = (rest, true);
        }
        let first = segments.first()?;
        let is_here = || {
            let path = [module.as_slice(), std::slice::from_ref(first)].concat();
            self.modules.contains_key(path.as_slice()) || self.defined.contains(path.as_slice())
        };
        if is_absolute || is_here() || self.import(&module, first).is_some() {
            return self.walk(module, segments, depth);
        }
        // A name that is neither defined nor imported may come in by a glob.
        self.through_globs(&module, segments, depth)
    }

    fn import(&self, module: &[String], name: &str) -> Option<&'a Import> {
        let imports = self.imports.get(module)?;
        imports.iter().find(|import| import.name.as_deref() == Some(name)).copied()
    }

    /// Follows the segments from a module downwards.
    fn walk(&self, mut module: CratePath, segments: &[String], depth: u32) -> Option<Target> {
        if depth > MAX_REEXPORTS {
            return None;
        }
        for (index, name) in segments.iter().enumerate() {
            let path = [module.as_slice(), std::slice::from_ref(name)].concat();
            let is_module = self.modules.contains_key(path.as_slice());
            let is_last = index + 1 == segments.len();
            if self.defined.contains(path.as_slice()) && (is_last || !is_module) {
                return self.modules.get(module.as_slice()).map(|file| Target::Item(*file));
            }
            let import = self.import(&module, name).filter(|import| {
                let is_itself = import.target.module == module
                    && matches!(import.target.segments.as_slice(), [only] if only == name);
                (is_last || !is_module) && !is_itself
            });
            if let Some(import) = import {
                let further = [&import.target.segments, &segments[index + 1..]].concat();
                return self.resolve(&WrittenPath { segments: further, ..import.target.clone() }, depth + 1);
            }
            if !is_module {
                let found = self.through_globs(&module, &segments[index..], depth);
                return found.or_else(|| self.modules.get(module.as_slice()).map(|f| Target::Item(*f)));
            }
            module = path;
        }
        Some(Target::Module(module))
    }

    /// Looks in the modules whose names all come in here.
    fn through_globs(&self, module: &[String], segments: &[String], depth: u32) -> Option<Target> {
        let globs = self.imports.get(module)?.iter().filter(|import| import.name.is_none());
        globs.filter(|_| depth < MAX_REEXPORTS).find_map(|import| {
            let Some(Target::Module(target)) = self.resolve(&import.target, depth + 1) else { return None };
            let path = [target.as_slice(), &segments[..1]].concat();
            let has = self.defined.contains(path.as_slice()) || self.import(&target, &segments[0]).is_some();
            has.then(|| self.walk(target, segments, depth + 1)).flatten()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every arrow as "from -> to", by module.
    fn arrows(sources: &[(&str, &str)]) -> Vec<String> {
        let graph = ModuleGraph::new("src/", sources.iter().copied());
        let name = |index: usize| match graph.files[index].module.join("::").as_str() {
            "" => "root".to_owned(),
            name => name.to_owned(),
        };
        let of = |index: usize| graph.files[index].uses.keys().map(move |to| (index, *to));
        (0..graph.files.len()).flat_map(of).map(|(a, b)| format!("{} -> {}", name(a), name(b))).collect()
    }

    #[test]
    fn paths_and_imports_make_arrows() {
        let b = ("src/b.rs", "pub struct B; pub fn f() {} pub const C: u8 = 0;");
        let uses = ["use crate::b::B;", "use super::b::{f, B};", "use crate::b; fn g() { b::f() }"];
        for text in uses.into_iter().chain(["fn g() { println!(\"{}\", crate::b::C) }", "use crate::b::*;"]) {
            assert_eq!(
                arrows(&[("src/lib.rs", "mod a; mod b;"), ("src/a.rs", text), b]),
                ["a -> b"],
                "{text}"
            );
        }
    }

    #[test]
    fn modules_and_foreign_names_make_no_arrow() {
        let b = ("src/b.rs", "pub struct B;");
        for text in ["use crate::b;", "use std::fmt;", "use other::b::B;", "pub(in crate::b) struct A;"] {
            assert_eq!(arrows(&[("src/lib.rs", ""), ("src/a.rs", text), b]), [""; 0], "{text}");
        }
    }

    #[test]
    fn reexports_lead_to_the_definition() {
        let found = arrows(&[
            ("src/lib.rs", "mod a; mod x; pub use x::{Deep as Renamed, deep::*};"),
            ("src/a.rs", "use crate::x::Deep; fn f() { crate::Renamed::new(); crate::free(); }"),
            ("src/x/mod.rs", "mod deep; pub(crate) use deep::Deep; pub struct Shallow;"),
            ("src/x/deep.rs", "use super::Shallow; pub struct Deep; pub fn free() {}"),
        ]);
        assert_eq!(found, ["a -> x::deep", "x::deep -> x"]);
    }

    #[test]
    fn private_imports_lead_to_the_definition() {
        let found = arrows(&[
            ("src/x/mod.rs", "use crate::b::B; use bytes::Bytes; mod y;"),
            ("src/x/y.rs", "use super::{B, Bytes};"),
            ("src/b.rs", "pub struct B;"),
        ]);
        assert_eq!(found, ["x -> b", "x::y -> b"]);
    }

    #[test]
    fn test_code_makes_no_arrow() {
        let found = arrows(&[
            ("src/lib.rs", "#[cfg(test)] mod support; mod a; mod b;"),
            ("src/a.rs", "#[cfg(test)] mod tests { use crate::b::B; } #[cfg(test)] use crate::b::B;"),
            ("src/b.rs", "pub struct B; impl B { #[cfg(test)] fn f() { crate::a::f() } }"),
            ("src/support.rs", "use crate::a::A; use crate::b::B;"),
        ]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn inline_modules_belong_to_their_file() {
        let found = arrows(&[
            ("src/a.rs", "mod inner { use super::super::b::B; pub struct I; }"),
            ("src/b.rs", "pub struct B; fn f() { crate::a::inner::I }"),
            ("src/c.rs", "use crate::a::inner::I;"),
        ]);
        assert_eq!(found, ["a -> b", "b -> a", "c -> a"]);
    }

    #[test]
    fn a_function_may_share_its_modules_name() {
        let found = arrows(&[
            ("src/lib.rs", "pub mod registry; pub use registry::registry;"),
            ("src/registry.rs", "pub fn registry() {}"),
            ("src/a.rs", "use crate::registry; fn f() { registry(); registry::registry(); }"),
        ]);
        assert_eq!(found, ["a -> registry"]);
    }
}
