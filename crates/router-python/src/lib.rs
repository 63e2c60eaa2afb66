//! `sgl_router._native`: the native half of the Python package `sgl_router`.
//!
//! It turns Python values into those of the crates below and back, and holds no rule of its own. Whatever takes long
//! lets other Python threads run meanwhile. An error becomes a Python exception with the sentence that the command line
//! prints, and so does a panic.

mod columns;
mod command_line;
mod decisions;
mod options;
mod policy;
mod records;
mod registry;
mod router;
mod simulation;
mod stats;
mod value;

/// The module, as Python imports it.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::columns::Columns;
    #[pymodule_export]
    use crate::command_line::run_command_line;
    #[pymodule_export]
    use crate::decisions::Decisions;
    #[pymodule_export]
    use crate::options::{
        check_options, option_fields, options_from_flags, options_from_toml, options_to_toml,
    };
    #[pymodule_export]
    use crate::policy::{Desk, Event, Request, WorkerView, policy_counts, register_policy, time_decisions};
    #[pymodule_export]
    use crate::records::read_columns;
    #[pymodule_export]
    use crate::registry::policies;
    #[pymodule_export]
    use crate::router::{RunningRouter, start_router};
    #[pymodule_export]
    use crate::simulation::{Simulated, run_simulation};

    /// The version of the package.
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name that Python knows")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
