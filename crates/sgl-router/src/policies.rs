//! `sgl-router policies`: the list of policies.

use router_core::Registry;
use std::io::{self, Write as _};

/// Prints every policy with its summary.
pub(crate) fn print() {
    let registry = Registry::builtin();
    let width = registry.specs().map(|s| s.name.len()).max().unwrap_or(0);
    let mut out = io::stdout().lock();
    for spec in registry.specs() {
        if writeln!(out, "{:width$}  {}", spec.name, spec.summary).is_err() {
            // A reader that closes the pipe early is not an error.
            return;
        }
    }
}
