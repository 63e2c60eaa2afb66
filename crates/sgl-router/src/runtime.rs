//! The async runtime, the logs, and the signals that end a command.

use crate::cli::Failure;
use std::future::Future;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Runs `work` on `threads` threads; one per core when absent.
pub(crate) fn block_on<T>(
    threads: Option<usize>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads.max(1));
    }
    let runtime =
        builder.enable_all().build().map_err(|e| Failure::Runtime(format!("cannot start threads: {e}")))?;
    runtime.block_on(work)
}

/// Lets the process open as many files as the system allows it; many shells start it with 1,024, which is fewer than
/// the clients that the router can hold.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Log lines go to standard error, so that standard output stays clean.
pub(crate) fn init_logs(level: &str, json: LogStyle) {
    // The libraries below log their own steps on debug; an operator asks for those of the router.
    let filter = EnvFilter::new(format!("{level},hyper=warn,hyper_util=warn,h2=warn"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // Setting a second subscriber fails; then the first one stays.
    let _ = match json {
        LogStyle::Json => logs.json().flatten_event(true).try_init(),
        LogStyle::Text => logs.try_init(),
    };
}

/// How log lines look.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LogStyle {
    Text,
    Json,
}

/// The SIGHUPs that come from now on.
pub(crate) fn hang_ups() -> Result<Signal, Failure> {
    listen(SignalKind::hangup())
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|e| Failure::Runtime(format!("cannot listen for signals: {e}")))
}

/// Waits for SIGINT or SIGTERM.
pub(crate) async fn asked_to_stop() -> Result<(), Failure> {
    let (mut int, mut term) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
    Ok(())
}
