//! `sgl_router._native`: the native half of the Python package `sgl_router`.
//!
//! It converts Python values into those of the crates below and back, and has no rules of its own. Long calls release the
//! GIL. An error becomes a Python exception with the message that the command line prints, and so does a panic.
//!
//! ```text
//! options, value ............. keyword arguments <-> Options
//! foreign_flags .............. the flags of sglang-router
//! router, decisions, stats ... a router in the background, its decisions and statistics
//! simulation, records ........ simulate() and recorded files, both as columns
//! command_line ............... sgl-router in this process
//! registry ................... built-in policies and those below
//! policy/ .................... policies in Python: factory makes an object, live or inline calls it
//!   channel, choice .......... its thread, and the return value of select()
//!   view, event .............. what it sees and learns from (worker_history, latency)
//!   counters, measure ........ how it does
//! ```

mod columns;
mod command_line;
mod decisions;
mod foreign_flags;
mod options;
mod policy;
mod records;
mod registry;
mod router;
mod simulation;
mod stats;
mod value;

/// The module that Python imports.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::columns::Columns;
    #[pymodule_export]
    use crate::command_line::run_command_line;
    #[pymodule_export]
    use crate::decisions::Decisions;
    #[pymodule_export]
    use crate::foreign_flags::sglang_router_flags;
    #[pymodule_export]
    use crate::options::{
        check_options, check_router, option_fields, options_from_flags, options_from_toml, options_to_toml,
    };
    #[pymodule_export]
    use crate::policy::{
        Event, PolicyThread, Request, WorkerView, policy_counts, register_policy, time_decisions,
    };
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
