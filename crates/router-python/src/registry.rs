//! The policies that Python can use by name.

use crate::policy::{self, PolicyHost};
use pyo3::prelude::*;
use router_core::Registry;

/// The built-in policies, and those that were registered from Python.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::builtin();
    policy::add_to(&mut registry, &PolicyHost::Live);
    registry
}

/// The same policies by name, for checks: those of Python are not made.
pub(crate) fn names() -> Registry {
    let mut registry = Registry::builtin();
    policy::add_to(&mut registry, &PolicyHost::Check);
    registry
}

/// The names of all policies, each with a one-line summary.
#[pyfunction]
pub(crate) fn policies() -> Vec<(String, String)> {
    registry().specs().map(|spec| (spec.name.clone(), spec.summary.clone())).collect()
}
