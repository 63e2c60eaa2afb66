//! `sgl-router launch`: the router in front of real servers.

use crate::cli::{self, Command, CommandError, NoCommand};
use crate::runtime::{self, LogStyle};
use clap::{ArgMatches, Args};
use router_config::{Config, ConfigError, Options};
use router_config::{LogFormat, LogLevel};
use router_core::Registry;
use router_proxy::{Router, RunningRouter, ServingThreads, StartError};
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tokio::signal::unix::Signal;
use tracing::{info, warn};

/// The flags of `launch`.
#[derive(Debug, Args)]
pub(crate) struct LaunchArgs {
    /// TOML file with the same options, underscores for dashes; flags win over the file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    options: Options,

    /// What the log should say about flags of other routers.
    #[arg(skip)]
    pub(crate) notes: Vec<String>,
}

pub(crate) fn run(args: Box<LaunchArgs>, matches: &ArgMatches) -> Result<(), CommandError> {
    let usage = |e: ConfigError| CommandError::Usage(e.to_string());
    let notes = args.notes.clone();
    let options = args.load(matches).map_err(usage)?;
    let config = options.check(&Registry::builtin()).map_err(usage)?;
    init_logs(&options).map_err(|error| CommandError::Usage(error.to_string()))?;
    for note in notes {
        info!("{note}");
    }
    for knob in options.unused_policy_options(&Registry::builtin()) {
        warn!("{knob} is no knob of {}: it changes nothing", options.policy);
    }
    runtime::raise_open_files();
    let threads = options.threads.and_then(NonZeroUsize::new);
    runtime::block_on_one(serve(config, threads))
}

impl LaunchArgs {
    /// The options of the file, if there is one, overlaid by those of the command line.
    fn load(self, matches: &ArgMatches) -> Result<Options, ConfigError> {
        Options::load(matches, self.options, self.config.as_deref())
    }
}

/// Why nothing can be logged; the line is the one that the command line would print.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LogSetupError(String);

/// What flags of `launch` come to.
#[derive(Debug)]
pub struct LaunchOptions {
    /// The options.
    pub options: Options,
    /// A line for each flag of another router that was taken and changes nothing.
    pub notes: Vec<String>,
}

/// Why there are no options of `launch`.
#[derive(Debug, thiserror::Error)]
pub enum LaunchOptionsError {
    /// Help was asked for, and printed.
    #[error("help was printed")]
    Help,
    /// The flags, or the file that they name, are wrong; the line is the one that the command line would print.
    #[error("{0}")]
    Wrong(String),
}

/// The options that `sgl-router launch` would run with, given these flags.
///
/// # Errors
/// As the command line: an unknown flag, a bad value, a bad file.
pub fn launch_options(
    flags: impl IntoIterator<Item = OsString>,
) -> Result<LaunchOptions, LaunchOptionsError> {
    let line = ["sgl-router", "launch"].map(OsString::from).into_iter().chain(flags);
    match cli::parse(line) {
        Ok((Command::Launch(args), matches)) => {
            let notes = args.notes.clone();
            let options =
                args.load(&matches).map_err(|error| LaunchOptionsError::Wrong(error.to_string()))?;
            Ok(LaunchOptions { options, notes })
        }
        Err(NoCommand::Wrong(line)) => Err(LaunchOptionsError::Wrong(line)),
        Err(help) => {
            help.tell();
            Err(LaunchOptionsError::Help)
        }
        Ok(_) => Err(LaunchOptionsError::Wrong("the flags are not those of launch".to_owned())),
    }
}

/// Starts logging as the options say. The first call of a process decides.
///
/// # Errors
/// One line, when the directory of `--log-dir` cannot be used.
pub fn init_logs(options: &Options) -> Result<(), LogSetupError> {
    let (level, style) = (level(options.log_level), style(options.log_format));
    match &options.log_dir {
        Some(dir) => {
            runtime::init_logs_and_files(level, style, dir).map_err(|e| LogSetupError(e.to_string()))
        }
        None => {
            runtime::init_logs(level, style);
            Ok(())
        }
    }
}

/// Starts the router and says so in the log. Clients are served by so many threads; one per core when absent.
///
/// # Errors
/// As [`Router::start_on`], and when the threads cannot start.
pub async fn start(config: Config, threads: Option<NonZeroUsize>) -> Result<RunningRouter, StartError> {
    let policy = config.policy.name().to_owned();
    let workers = config.workers.len();
    let threads = threads.or_else(|| std::thread::available_parallelism().ok());
    let threads = ServingThreads::start(threads.unwrap_or(NonZeroUsize::MIN)).map_err(StartError::Threads)?;
    let router = Router::start_on(threads, config).await?;
    info!(url = router.url(), policy, workers, "listening");
    if let Some(address) = router.prometheus_address() {
        info!(url = format!("http://{address}/metrics"), "metrics");
    }
    Ok(router)
}

async fn serve(config: Config, threads: Option<NonZeroUsize>) -> Result<(), CommandError> {
    // Listened for from the beginning: a SIGHUP that nobody listens for ends the program.
    let hang_ups = runtime::hang_ups()?;
    let router = start(config, threads).await.map_err(|error| match error {
        StartError::Config(error) => CommandError::Usage(error.to_string()),
        error => CommandError::Runtime(error.to_string()),
    })?;
    serve_until_asked(&router, hang_ups).await?;
    stop(router).await
}

/// Renews the certificate on SIGHUP, and returns on SIGINT or SIGTERM.
async fn serve_until_asked(router: &RunningRouter, mut hang_ups: Signal) -> Result<(), CommandError> {
    let mut stop = std::pin::pin!(runtime::asked_to_stop());
    loop {
        tokio::select! {
            stopped = &mut stop => return stopped,
            _ = hang_ups.recv() => match router.reload_certificate().await {
                Ok(true) => info!("reloaded the TLS certificate"),
                Ok(false) => info!("the certificate is the same as before"),
                Err(error) => warn!("cannot reload the TLS certificate, keeping the old one: {error}"),
            },
        }
    }
}

/// Lets requests end; a second signal does not wait for them.
pub(crate) async fn stop(router: RunningRouter) -> Result<(), CommandError> {
    tokio::select! {
        cut = router.shutdown() => {
            if cut > 0 {
                warn!(cut, "requests were still running after the grace period");
            }
            info!("stopped");
        }
        again = runtime::asked_to_stop() => {
            again?;
            warn!("stopped at once");
        }
    }
    Ok(())
}

const fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

const fn style(format: LogFormat) -> LogStyle {
    match format {
        LogFormat::Text => LogStyle::Text,
        LogFormat::Json => LogStyle::Json,
    }
}
