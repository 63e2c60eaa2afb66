//! The command line of `sgl-router`, inside a Python process.

use pyo3::prelude::*;
use std::ffi::OsString;

/// Carries out a command line, whose first word is the program's name, and returns its exit code.
#[pyfunction]
pub(crate) fn run_command_line(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| sgl_router::run(args))
}
