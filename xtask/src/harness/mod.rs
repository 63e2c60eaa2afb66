//! What the measurements share: processes, emulated workers, routers from PyPI, statistics, and pages with the results.

pub(crate) mod envoy;
pub(crate) mod fleet;
pub(crate) mod haproxy;
pub(crate) mod http;
pub(crate) mod page;
pub(crate) mod peers;
pub(crate) mod process;
pub(crate) mod stats;
pub(crate) mod workspace;

use anyhow::{Result, bail};

/// Runs a measurement until it ends or the user presses Ctrl-C. Its processes are stopped in both cases.
///
/// # Errors
/// Those of the measurement, or that it was stopped.
pub(crate) fn run(measurement: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            result = measurement => result,
            // Dropping the measurement drops the guards of its processes.
            _ = tokio::signal::ctrl_c() => bail!("stopped by the user"),
        }
    })
}
