//! The async runtime, the logs, and the signals that end a command.

use crate::cli::CommandError;
use std::future::Future;
use std::io::IsTerminal as _;
use std::path::Path;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// Runs `work` on `threads` threads; one per core when absent.
pub(crate) fn block_on<T>(
    threads: Option<usize>,
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads.max(1));
    }
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|e| CommandError::Runtime(format!("cannot start threads: {e}")))?;
    runtime.block_on(work)
}

/// Runs `work` on the caller's thread.
pub(crate) fn block_on_one<T>(
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| CommandError::Runtime(format!("cannot start: {e}")))?.block_on(work)
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
pub(crate) fn init_logs(level: &str, style: LogStyle) {
    start_logs(level, layer(style, std::io::stderr, Colours::OnTerminals).boxed());
}

/// Log lines go to standard error and to files in `dir`, a new one each day (UTC).
pub(crate) fn init_logs_and_files(level: &str, style: LogStyle, dir: &Path) -> Result<(), CommandError> {
    let files = RollingFileAppender::builder().rotation(Rotation::DAILY);
    let files = files.filename_prefix("sgl-router").filename_suffix("log").build(dir);
    let files =
        files.map_err(|e| CommandError::Usage(format!("--log-dir: {}: {}", dir.display(), causes(&e))))?;
    let terminal = layer(style, std::io::stderr, Colours::OnTerminals);
    start_logs(level, terminal.and_then(layer(style, files, Colours::Never)).boxed());
    Ok(())
}

/// Whether lines are coloured.
#[derive(Clone, Copy, Debug)]
enum Colours {
    OnTerminals,
    Never,
}

type Lines = Box<dyn Layer<Registry> + Send + Sync>;

fn start_logs(level: &str, lines: Lines) {
    // The libraries below log their own steps on debug; an operator asks for those of the router.
    let filter = EnvFilter::new(format!("{level},hyper=warn,hyper_util=warn,h2=warn"));
    // Setting a second subscriber fails; then the first one stays.
    let _ = Registry::default().with(lines.with_filter(filter)).try_init();
}

fn layer<W>(style: LogStyle, to: W, colours: Colours) -> Lines
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let colours = matches!(colours, Colours::OnTerminals) && std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(to).with_target(false).with_ansi(colours);
    match style {
        LogStyle::Json => lines.json().flatten_event(true).boxed(),
        LogStyle::Text => lines.boxed(),
    }
}

/// The last cause of an error says what the system said.
fn causes(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), causes)
}

/// How log lines look.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LogStyle {
    Text,
    Json,
}

/// The SIGHUPs that come from now on.
pub(crate) fn hang_ups() -> Result<Signal, CommandError> {
    listen(SignalKind::hangup())
}

fn listen(kind: SignalKind) -> Result<Signal, CommandError> {
    signal(kind).map_err(|e| CommandError::Runtime(format!("cannot listen for signals: {e}")))
}

/// Waits for SIGINT or SIGTERM.
pub(crate) async fn asked_to_stop() -> Result<(), CommandError> {
    let (mut int, mut term) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
    Ok(())
}
