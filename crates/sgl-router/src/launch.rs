//! `sgl-router launch`: the router in front of real servers.

use crate::cli::Failure;
use crate::runtime::{self, LogStyle};
use clap::{ArgMatches, Args};
use router_core::Registry;
use router_proxy::config::{LogFormat, LogLevel};
use router_proxy::{Config, ConfigError, Options, Router, RunningRouter};
use std::num::NonZeroUsize;
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

    /// What the log should say about flags of other routers.
    #[arg(skip)]
    pub(crate) notes: Vec<String>,
}

pub(crate) fn run(args: Box<LaunchArgs>, matches: &ArgMatches) -> Result<(), Failure> {
    let usage = |e: ConfigError| Failure::Usage(e.to_string());
    let LaunchArgs { config, options, notes } = *args;
    let options = Options::load(matches, options, config.as_deref()).map_err(usage)?;
    let config = options.check(&Registry::builtin()).map_err(usage)?;
    let (level, style) = (level(options.log_level), style(options.log_format));
    match &options.log_dir {
        Some(dir) => runtime::init_logs_and_files(level, style, dir)?,
        None => runtime::init_logs(level, style),
    }
    for note in notes {
        info!("{note}");
    }
    runtime::raise_open_files();
    let threads = options.threads.and_then(NonZeroUsize::new);
    runtime::block_on_one(serve(config, threads))
}

async fn serve(config: Config, threads: Option<NonZeroUsize>) -> Result<(), Failure> {
    let policy = config.policy.name().to_owned();
    let workers = config.workers.len();
    let lanes = runtime::lanes(threads)?;
    let router = Router::start_on(lanes, config).await.map_err(|e| Failure::Runtime(e.to_string()))?;
    info!(url = router.url(), policy, workers, "listening");
    if let Some(address) = router.prometheus_address() {
        info!(url = format!("http://{address}/metrics"), "metrics");
    }
    serve_until_asked(&router).await?;
    stop(router).await
}

/// Renews the certificate on SIGHUP, and returns on SIGINT or SIGTERM.
async fn serve_until_asked(router: &RunningRouter) -> Result<(), Failure> {
    let mut stop = std::pin::pin!(runtime::asked_to_stop());
    let mut hang_ups = runtime::hang_ups()?;
    loop {
        tokio::select! {
            stopped = &mut stop => return stopped,
            _ = hang_ups.recv() => match router.renew_certificate().await {
                Ok(true) => info!("the certificate has been renewed"),
                Ok(false) => info!("the certificate is the same as before"),
                Err(error) => warn!("the certificate stays as it is: {error}"),
            },
        }
    }
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
