//! Which files and items are compiled for tests only, so that production rules leave them out.

use syn::{Attribute, Item};

/// Whether the file holds only tests, judged by its path.
pub(super) fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "benches") || path.ends_with("tests.rs")
}

/// Whether any of the attributes keeps the item out of a normal build.
pub(super) fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(marks_test)
}

/// `#[test]`, or `#[cfg(test)]` alone or in `all`.
fn marks_test(attribute: &Attribute) -> bool {
    if attribute.path().is_ident("test") {
        return true;
    }
    let Ok(list) = attribute.meta.require_list() else { return false };
    let words: Vec<String> = list.tokens.clone().into_iter().map(|token| token.to_string()).collect();
    attribute.path().is_ident("cfg")
        && match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["test"] => true,
            ["all", inner] => inner.trim_matches(['(', ')']).split(',').any(|word| word.trim() == "test"),
            _ => false,
        }
}

/// The attributes of an item of any kind.
pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(i) => &i.attrs,
        Item::Enum(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Macro(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Static(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Trait(i) => &i.attrs,
        Item::Type(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        _ => &[],
    }
}
