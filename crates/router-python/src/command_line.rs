//! The command line of `sgl-router`, inside a Python process.

use pyo3::prelude::*;
use std::ffi::OsString;

/// Runs a command line, whose first word is the name of the program, and returns its exit code.
#[pyfunction]
pub(crate) fn run_command_line(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| sgl_router::run(args))
}
