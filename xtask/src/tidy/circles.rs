//! No large circles of files: files that use each other can only be read, tested and moved together.

use super::finding::{Finding, TreeFile};
use super::module_graph::ModuleGraph;
use super::sizes::CIRCLE_FILES;
use std::collections::{BTreeMap, BTreeSet};

/// Checks the production files of every crate.
pub(crate) fn check(tree: &[TreeFile]) -> Vec<Finding> {
    let folders: BTreeSet<&str> = tree.iter().filter_map(|entry| source_folder(&entry.path)).collect();
    folders
        .into_iter()
        .flat_map(|src| {
            let files = tree.iter().filter(|entry| entry.path.starts_with(src));
            let sources = files.filter_map(|entry| Some((entry.path.as_str(), entry.text.as_deref()?)));
            check_graph(src, &ModuleGraph::new(src, sources))
        })
        .collect()
}

/// `crates/NAME/src/` or `xtask/src/` of a Rust file below it.
fn source_folder(path: &str) -> Option<&str> {
    let end = path.find("/src/")? + "/src/".len();
    (path.ends_with(".rs") && path[..end].split('/').count() <= 4).then(|| &path[..end])
}

fn check_graph(src: &str, graph: &ModuleGraph) -> Vec<Finding> {
    let mut findings = between_files(src, graph);
    findings.extend(between_folders(src, graph));
    findings
}

/// Circles of more files than are allowed.
fn between_files(src: &str, graph: &ModuleGraph) -> Vec<Finding> {
    let arrows = graph.files.iter().map(|file| file.uses.keys().copied().collect()).collect::<Vec<_>>();
    let large = circles(&arrows).into_iter().filter(|circle| circle.len() > CIRCLE_FILES);
    let message = |circle: Vec<usize>| {
        let names = circle.iter().map(|file| short(src, graph, *file)).collect::<Vec<_>>().join(", ");
        let way = shortest_way(&arrows, &circle);
        let (from, to) = (way[0], way[1 % way.len()]);
        let steps = way.iter().map(|file| short(src, graph, *file)).collect::<Vec<_>>().join(" -> ");
        Finding {
            file: graph.files[from].path.clone(),
            line: graph.files[from].uses.get(&to).copied().unwrap_or_default(),
            message: format!(
                "{} files use each other in a circle, at most {CIRCLE_FILES}: move what they share into a file \
                 below them. One way round: {steps} -> {}. All: {names}",
                circle.len(),
                short(src, graph, from)
            ),
        }
    };
    large.map(message).collect()
}

/// A folder, and what lies directly in it: files, and folders as a whole.
#[derive(Debug, Default)]
struct FolderLevel {
    /// Its members; `true` for folders.
    members: BTreeMap<String, bool>,
    /// For each arrow between two members one of the uses behind it, as the places of two files.
    arrows: BTreeMap<(String, String), (usize, usize)>,
}

/// Circles between the folders of one level, and between the modules at the top of a crate.
///
/// The `mod.rs` of a folder is the folder; within the folder it is above all others and no member.
fn between_folders(src: &str, graph: &ModuleGraph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, level) in levels(graph) {
        let names: Vec<&String> = level.members.keys().collect();
        let place = |name: &String| names.binary_search(&name).unwrap_or_default();
        let mut arrows = vec![Vec::new(); names.len()];
        for (from, to) in level.arrows.keys() {
            arrows[place(from)].push(place(to));
        }
        let crosses = |circle: &Vec<usize>| {
            folder.is_empty() || circle.iter().any(|member| level.members[names[*member]])
        };
        for circle in circles(&arrows).into_iter().filter(crosses) {
            let way = shortest_way(&arrows, &circle);
            let next = way.iter().cycle().skip(1);
            let uses = way.iter().zip(next).filter_map(|(from, to)| {
                level.arrows.get(&(names[*from].clone(), names[*to].clone())).copied()
            });
            let line = |from: usize, to: usize| graph.files[from].uses.get(&to).copied().unwrap_or_default();
            let uses: Vec<(usize, usize)> = uses.collect();
            let steps = uses.iter().map(|(from, to)| {
                let (user, used) = (short(src, graph, *from), short(src, graph, *to));
                format!("{user}:{} uses {used}", line(*from, *to))
            });
            let members = circle.iter().map(|member| names[*member].as_str()).collect::<Vec<_>>().join(", ");
            let message = format!(
                "{} use each other in a circle: move what they share into a module below them. One way round: {}",
                members,
                steps.collect::<Vec<_>>().join(", ")
            );
            let Some((from, to)) = uses.first() else { continue };
            findings.push(Finding { file: graph.files[*from].path.clone(), line: line(*from, *to), message });
        }
    }
    findings
}

/// Every folder of the crate, by its module.
fn levels(graph: &ModuleGraph) -> BTreeMap<&[String], FolderLevel> {
    let mut levels: BTreeMap<&[String], FolderLevel> = BTreeMap::new();
    for (from, file) in graph.files.iter().enumerate() {
        let is_folder = file.path.ends_with("/mod.rs");
        for depth in 0..file.module.len() {
            let level = levels.entry(&file.module[..depth]).or_default();
            let member = &file.module[depth];
            *level.members.entry(member.clone()).or_default() |= is_folder || depth + 1 < file.module.len();
            for to in file.uses.keys() {
                let target = &graph.files[*to].module;
                if target.starts_with(&file.module[..depth])
                    && target.get(depth).is_some_and(|other| other != member)
                {
                    level.arrows.entry((member.clone(), target[depth].clone())).or_insert((from, *to));
                }
            }
        }
    }
    levels
}

/// A file's path within its crate's source folder.
fn short<'a>(src: &str, graph: &'a ModuleGraph, file: usize) -> &'a str {
    let path = graph.files[file].path.as_str();
    path.strip_prefix(src).unwrap_or(path)
}

/// The sets of two or more nodes that reach each other, each in order.
fn circles(arrows: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let reached: Vec<BTreeSet<usize>> = (0..arrows.len()).map(|node| reachable(arrows, node)).collect();
    let mut circles: Vec<Vec<usize>> = Vec::new();
    for node in 0..arrows.len() {
        let members: Vec<usize> =
            reached[node].iter().copied().filter(|other| reached[*other].contains(&node)).collect();
        if members.first() == Some(&node) && members.len() > 1 {
            circles.push(members);
        }
    }
    circles
}

/// What is reached from a node in one step or more.
fn reachable(arrows: &[Vec<usize>], from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(node) = open.pop() {
        open.extend(arrows[node].iter().copied().filter(|next| reached.insert(*next)));
    }
    reached
}

/// The nodes on a shortest way from the first member of a circle back to it.
fn shortest_way(arrows: &[Vec<usize>], circle: &[usize]) -> Vec<usize> {
    let start = circle[0];
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::from([start]);
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in &arrows[way[way.len() - 1]] {
                if *next == start {
                    return way;
                }
                if circle.contains(next) && seen.insert(*next) {
                    longer.push([way.as_slice(), &[*next]].concat());
                }
            }
        }
        ways = longer;
    }
    circle.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(sources: &[(&str, &str)]) -> Vec<String> {
        let entry = |(path, text): &(&str, &str)| TreeFile {
            path: format!("crates/x/src/{path}"),
            text: Some((*text).to_owned()),
        };
        check(&sources.iter().map(entry).collect::<Vec<_>>()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn large_circles_are_found() {
        let sources = |last: &'static str| {
            [
                ("f/mod.rs", "mod a; mod b; mod c; mod d;"),
                ("f/a.rs", "use super::b::B; pub struct A;"),
                ("f/b.rs", "pub struct B;\nuse super::c::C;"),
                ("f/c.rs", "pub struct C; use super::d::D;"),
                ("f/d.rs", last),
            ]
        };
        assert_eq!(findings(&sources("pub struct D;")), [""; 0]);
        assert_eq!(
            findings(&sources("pub struct D; use super::a::A;")),
            [
                "crates/x/src/f/a.rs:1: 4 files use each other in a circle, at most 3: move what they share into a \
              file below them. One way round: f/a.rs -> f/b.rs -> f/c.rs -> f/d.rs -> f/a.rs. All: f/a.rs, \
              f/b.rs, f/c.rs, f/d.rs"
            ]
        );
    }

    #[test]
    fn small_circles_in_a_folder_are_allowed() {
        let found = findings(&[
            ("f/mod.rs", "mod a; mod b; use a::A; pub struct F;"),
            ("f/a.rs", "use super::F; use super::b::B; pub struct A;"),
            ("f/b.rs", "use super::a::A; pub struct B;"),
        ]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn circles_across_folders_are_found() {
        let found = findings(&[
            ("lib.rs", "mod f; mod g; mod h;"),
            ("f/mod.rs", "mod a;"),
            ("f/a.rs", "\nuse crate::g::G; pub struct A;"),
            ("g/mod.rs", "pub struct G; mod b;"),
            ("g/b.rs", "use crate::f::a::A; use crate::h::H;"),
            ("h.rs", "pub struct H;"),
        ]);
        assert_eq!(
            found,
            [
                "crates/x/src/f/a.rs:2: f, g use each other in a circle: move what they share into a module below \
              them. One way round: f/a.rs:2 uses g/mod.rs, g/b.rs:1 uses f/a.rs"
            ]
        );
    }

    #[test]
    fn folders_inside_folders_are_checked() {
        let found = findings(&[
            ("f/mod.rs", "mod a; mod b;"),
            ("f/a/mod.rs", "mod c; pub struct A;"),
            ("f/a/c.rs", "use crate::f::b::B;"),
            ("f/b.rs", "use super::a::A; pub struct B;"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("a, b use each other in a circle"), "{found:?}");
    }

    #[test]
    fn top_level_files_form_no_circle() {
        let found = findings(&[
            ("a.rs", "use crate::b::B; pub struct A;"),
            ("b.rs", "use crate::a::A; pub struct B;"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
