//! The async runtime, logging, and the signals that stop a command.

use crate::error::CommandError;
use std::future::Future;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::OnceLock;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// Runs `work` on `threads` threads; the default is one per core.
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
        .map_err(|e| CommandError::runtime(format_args!("cannot start threads: {e}")))?;
    runtime.block_on(work)
}

/// Runs `work` on the caller's thread.
pub(crate) fn block_on_one<T>(
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| CommandError::runtime(format_args!("cannot start the runtime: {e}")))?.block_on(work)
}

/// Raises the limit of open files to the system's maximum. Many shells set it to 1,024, which is fewer than the client
/// connections that the router can serve.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Logs to standard error, so that standard output contains only results.
pub(crate) fn init_logs(level: &str, style: LogStyle) {
    start_logs(level, layer(style, std::io::stderr, LogColours::OnTerminals).boxed());
}

/// Logs to standard error and to files in `dir`, with a new file each day (UTC).
pub(crate) fn init_logs_and_files(level: &str, style: LogStyle, dir: &Path) -> Result<(), CommandError> {
    let files = RollingFileAppender::builder().rotation(Rotation::DAILY);
    let files = files.filename_prefix("sgl-router").filename_suffix("log").build(dir);
    let files =
        files.map_err(|e| CommandError::flag("--log-dir")(format!("{}: {}", dir.display(), causes(&e))))?;
    let terminal = layer(style, std::io::stderr, LogColours::OnTerminals);
    start_logs(level, terminal.and_then(layer(style, files, LogColours::Never)).boxed());
    Ok(())
}

/// Whether log lines have colours.
#[derive(Clone, Copy, Debug)]
enum LogColours {
    OnTerminals,
    Never,
}

type Lines = Box<dyn Layer<Registry> + Send + Sync>;

fn start_logs(level: &str, lines: Lines) {
    let (filter, handle) = reload::Layer::new(own_lines(level));
    // Setting a second subscriber fails and keeps the first one.
    if Registry::default().with(lines.with_filter(filter)).try_init().is_ok() {
        let _ = LEVEL.set(handle);
    }
}

/// Sets the minimum severity of the lines.
static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Whether this program writes a log, whose level can change.
pub(crate) fn has_logs() -> bool {
    LEVEL.get().is_some()
}

/// Changes the level of the log.
pub(crate) fn set_log_level(level: &str) {
    if let Some(handle) = LEVEL.get()
        && let Err(error) = handle.reload(own_lines(level))
    {
        tracing::error!(%error, "the log level cannot be changed");
    }
}

/// Lines of the router's own crates from `level` on. Libraries tell only of warnings and errors: at level debug they are
/// verbose, and what they tell is not about the router.
fn own_lines(level: &str) -> EnvFilter {
    let others = if level == "error" { "error" } else { "warn" };
    // A name is the beginning of the names that it stands for.
    EnvFilter::new(format!("{others},router_={level},sgl_router={level}"))
}

fn layer<W>(style: LogStyle, to: W, colours: LogColours) -> Lines
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let colours = matches!(colours, LogColours::OnTerminals) && std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(to).with_target(false).with_ansi(colours);
    match style {
        LogStyle::Json => lines.json().flatten_event(true).boxed(),
        LogStyle::Text => lines.boxed(),
    }
}

/// The message of the innermost cause, which is the one of the operating system.
fn causes(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), causes)
}

/// The format of log lines.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LogStyle {
    Text,
    Json,
}

/// Receives SIGHUP from now on.
pub(crate) fn hang_ups() -> Result<Signal, CommandError> {
    listen(SignalKind::hangup())
}

fn listen(kind: SignalKind) -> Result<Signal, CommandError> {
    signal(kind).map_err(|e| CommandError::runtime(format_args!("cannot listen for signals: {e}")))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::mpsc::{Sender, channel};

    /// Passes on what is written.
    struct Lines(Sender<Vec<u8>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn level_concerns_own_crates() {
        for (level, expected) in [("debug", "own debug,own warn,library warn"), ("error", "")] {
            let (to, lines) = channel();
            let layer = layer(LogStyle::Text, move || Lines(to.clone()), LogColours::Never);
            let subscriber = Registry::default().with(layer.with_filter(own_lines(level)));
            tracing::subscriber::with_default(subscriber, || {
                tracing::debug!(target: "router_proxy::server", "own debug");
                tracing::warn!(target: "sgl_router::launch", "own warn");
                tracing::debug!(target: "rustls::client", "library debug");
                tracing::warn!(target: "rustls::client", "library warn");
            });
            let text = String::from_utf8(lines.iter().flatten().collect()).unwrap();
            // Each line begins with the time and the level.
            let told = text.lines().map(|l| l.split_whitespace().skip(2).collect::<Vec<_>>().join(" "));
            assert_eq!(told.collect::<Vec<_>>().join(","), expected, "{level}");
        }
    }
}
