//! `sgl-router policies`: what there is to choose from.

use router_core::Registry;

/// Prints every policy with its summary.
pub(crate) fn print() {
    let registry = Registry::builtin();
    let width = registry.specs().map(|s| s.name.len()).max().unwrap_or(0);
    for spec in registry.specs() {
        println!("{:width$}  {}", spec.name, spec.summary);
    }
}
