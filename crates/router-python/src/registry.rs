//! The policies that can be asked for by name from Python.

use crate::policy::{self, Host};
use pyo3::prelude::*;
use router_core::Registry;

/// Ours, and those that were registered from Python.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::builtin();
    policy::add_to(&mut registry, &Host::Live);
    registry
}

/// The names of all policies, each with its rule in one line.
#[pyfunction]
pub(crate) fn policies() -> Vec<(String, String)> {
    registry().specs().map(|spec| (spec.name.clone(), spec.summary.clone())).collect()
}
