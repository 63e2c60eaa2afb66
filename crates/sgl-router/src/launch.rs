//! `sgl-router launch`: the router in front of real servers.

use crate::cli::{self, Command, Failure, Unread};
use crate::runtime::{self, LogStyle};
use clap::{ArgMatches, Args};
use router_core::Registry;
use router_proxy::config::{LogFormat, LogLevel};
use router_proxy::{Config, ConfigError, Options, Router, RunningRouter, StartError};
use std::ffi::OsString;
use std::path::PathBuf;
use tracing::{info, warn};

/// The flags of `launch`.
#[derive(Debug, Args)]
pub(crate) struct LaunchArgs {
    /// TOML file with the same options, underscores for dashes; flags win over the file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    options: Options,
}

pub(crate) fn run(args: Box<LaunchArgs>, matches: &ArgMatches) -> Result<(), Failure> {
    let usage = |e: ConfigError| Failure::Usage(e.to_string());
    let options = args.load(matches).map_err(usage)?;
    let config = options.check(&Registry::builtin()).map_err(usage)?;
    init_logs(&options);
    runtime::raise_open_files();
    runtime::block_on(options.threads, serve(config))
}

impl LaunchArgs {
    /// The options of the file, if there is one, overlaid by those of the command line.
    fn load(self, matches: &ArgMatches) -> Result<Options, ConfigError> {
        Options::load(matches, self.options, self.config.as_deref())
    }
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
pub fn launch_options(flags: impl IntoIterator<Item = OsString>) -> Result<Options, LaunchOptionsError> {
    let line = ["sgl-router", "launch"].map(OsString::from).into_iter().chain(flags);
    match cli::parse(line) {
        Ok((Command::Launch(args), matches)) => {
            args.load(&matches).map_err(|error| LaunchOptionsError::Wrong(error.to_string()))
        }
        Err(Unread::Wrong(line)) => Err(LaunchOptionsError::Wrong(line)),
        Err(help) => {
            help.tell();
            Err(LaunchOptionsError::Help)
        }
        Ok(_) => Err(LaunchOptionsError::Wrong("the flags are not those of launch".to_owned())),
    }
}

/// Starts logging as the options say. The first call of a process decides.
pub fn init_logs(options: &Options) {
    runtime::init_logs(level(options.log_level), style(options.log_format));
}

/// Starts the router and says so in the log.
///
/// # Errors
/// As [`Router::start`].
pub async fn start(config: Config) -> Result<RunningRouter, StartError> {
    let policy = config.policy.name().to_owned();
    let workers = config.workers.len();
    let router = Router::start(config).await?;
    info!(url = router.url(), policy, workers, "listening");
    if let Some(address) = router.prometheus_address() {
        info!(url = format!("http://{address}/metrics"), "metrics");
    }
    Ok(router)
}

async fn serve(config: Config) -> Result<(), Failure> {
    let router = start(config).await.map_err(|e| Failure::Runtime(e.to_string()))?;
    runtime::asked_to_stop().await?;
    stop(router).await
}

/// Lets requests end; a second signal does not wait for them.
pub(crate) async fn stop(router: RunningRouter) -> Result<(), Failure> {
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
