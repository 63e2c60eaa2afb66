//! `sgl-router launch`: the router in front of real servers.

use crate::error::CommandError;
use crate::runtime::{self, LogStyle};
use clap::{ArgMatches, Args};
use router_config::compat::ForeignPolicyOption;
use router_config::{Config, ConfigError, LogFormat, LogLevel, Options, Source, SourcedOptions};
use router_core::Registry;
use router_proxy::{Router, RunningRouter, ServingThreads, StartError};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tokio::signal::unix::Signal;
use tracing::{info, warn};

/// The flags of `launch`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LaunchArgs {
    /// TOML file with the same options, with underscores instead of dashes; flags override the file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    options: Options,

    /// Options of policies, from flags of other routers.
    #[arg(skip)]
    pub(crate) policy_options: Vec<ForeignPolicyOption>,

    /// Notes for the log about flags of other routers.
    #[arg(skip)]
    pub(crate) notes: Vec<String>,
}

pub(crate) fn run(args: Box<LaunchArgs>, matches: &ArgMatches) -> Result<(), CommandError> {
    let checked = args.check(matches)?;
    runtime::raise_open_files();
    runtime::block_on_one(serve_with(checked, async |_: &RunningRouter| Ok(())))
}

/// What a checked command line asks for.
#[derive(Debug)]
pub(crate) struct CheckedLaunch {
    pub(crate) config: Config,
    /// The number of serving threads.
    pub(crate) threads: Option<NonZeroUsize>,
    /// Reads file and flags again.
    pub(crate) reload: ConfigReload,
}

/// Reads the file of `--config` again; the flags still override it.
#[derive(Debug)]
pub(crate) struct ConfigReload {
    args: LaunchArgs,
    matches: ArgMatches,
}

impl ConfigReload {
    fn read(&self) -> Result<SourcedOptions, ConfigError> {
        self.args.clone().load(&self.matches).map(|loaded| loaded.sourced)
    }
}

impl LaunchArgs {
    /// Checks the options, starts logging, and logs what the options mean that is not obvious.
    pub(crate) fn check(self, matches: &ArgMatches) -> Result<CheckedLaunch, CommandError> {
        let reload = ConfigReload { args: self.clone(), matches: matches.clone() };
        let LoadedOptions { sourced, notes } = self.load(matches).map_err(CommandError::usage)?;
        let SourcedOptions { options, sources } = sourced;
        let mut config = options.check(&Registry::builtin()).map_err(CommandError::usage)?;
        config.origin.sources = sources;
        init_logs(&options)?;
        for note in notes {
            info!("{note}");
        }
        for warning in options.policy_warnings(&Registry::builtin()) {
            warn!("{warning}");
        }
        Ok(CheckedLaunch { config, threads: options.threads.and_then(NonZeroUsize::new), reload })
    }

    /// The options of the file, if there is one, overridden by those of the command line.
    pub(crate) fn load(self, matches: &ArgMatches) -> Result<LoadedOptions, ConfigError> {
        let mut sourced = Options::load_sourced(matches, self.options, self.config.as_deref())?;
        let mut notes = self.notes;
        if !self.policy_options.is_empty() {
            sourced.sources.set("policy_options", Source::Flag);
        }
        let options = &mut sourced.options;
        notes.extend(options.set_foreign_policy_options(self.policy_options, &Registry::builtin()));
        Ok(LoadedOptions { sourced, notes })
    }
}

/// Options, and notes for the log about flags of other routers.
#[derive(Debug)]
pub(crate) struct LoadedOptions {
    pub(crate) sourced: SourcedOptions,
    pub(crate) notes: Vec<String>,
}

/// Starts logging as the options say. Only the first call in a process has an effect.
///
/// # Errors
/// The directory of `--log-dir` cannot be used.
pub fn init_logs(options: &Options) -> Result<(), CommandError> {
    let (level, style) = (level(options.log_level), style(options.log_format));
    match &options.log_dir {
        Some(dir) => runtime::init_logs_and_files(level, style, dir),
        None => {
            runtime::init_logs(level, style);
            Ok(())
        }
    }
}

/// Starts the router and logs its address. `threads` is the number of serving threads; the default is one per core.
///
/// # Errors
/// As [`Router::start_on`], and when the threads cannot start.
pub async fn start(config: Config, threads: Option<NonZeroUsize>) -> Result<RunningRouter, StartError> {
    let policy = config.policy.name().to_owned();
    let workers = config.workers.len();
    let prefill = config.disaggregation.as_ref().map(|d| (d.policy.name().to_owned(), d.prefill.len()));
    let is_open = config.security.credentials.is_empty() && !config.listen.ip().is_loopback();
    let is_admin_open = is_open && config.security.remote_admin;
    let threads = threads.or_else(|| std::thread::available_parallelism().ok());
    let threads = ServingThreads::start(threads.unwrap_or(NonZeroUsize::MIN)).map_err(StartError::Threads)?;
    let router = Router::start_on(threads, config).await?;
    if runtime::has_logs() {
        router.log_level_changes_by(|log_level| runtime::set_log_level(level(log_level)));
    }
    match prefill {
        Some((prefill_policy, prefill_workers)) => info!(
            url = router.url(),
            prefill_policy,
            prefill_workers,
            decode_policy = policy,
            decode_workers = workers,
            "listening"
        ),
        None => info!(url = router.url(), policy, workers, "listening"),
    }
    if is_open {
        warn!("everyone who reaches this address may send requests: --api-key asks clients for a key");
    }
    if is_admin_open {
        warn!(
            "everyone who reaches this address may add and remove workers: --allow-remote-admin is on without --admin-api-key"
        );
    }
    if let Some(address) = router.prometheus_address() {
        info!(url = format!("http://{address}/metrics"), "metrics");
    }
    Ok(router)
}

/// Runs the router, and what `begin` starts with it, until a signal asks it to stop.
pub(crate) async fn serve_with(
    launch: CheckedLaunch,
    begin: impl AsyncFnOnce(&RunningRouter) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let CheckedLaunch { config, threads, reload } = launch;
    // From the start, because a SIGHUP without a handler ends the process.
    let hang_ups = runtime::hang_ups()?;
    let router = start(config, threads).await.map_err(|error| match error {
        StartError::Config(error) => CommandError::usage(error),
        error => CommandError::runtime(error),
    })?;
    begin(&router).await?;
    serve_until_asked(&router, hang_ups, &reload).await?;
    stop(router).await
}

/// Opens the access log again and reloads the configuration and the certificate on SIGHUP; returns on SIGINT or SIGTERM.
async fn serve_until_asked(
    router: &RunningRouter,
    mut hang_ups: Signal,
    reload: &ConfigReload,
) -> Result<(), CommandError> {
    let mut stop = std::pin::pin!(runtime::asked_to_stop());
    loop {
        tokio::select! {
            stopped = &mut stop => return stopped,
            _ = hang_ups.recv() => on_hang_up(router, reload).await,
        }
    }
}

/// Makes the changes of a changed file. The router goes on with what it has where they are refused.
fn reload_config(router: &RunningRouter, reload: &ConfigReload) {
    if reload.args.config.is_none() {
        return;
    }
    let loaded = match reload.read() {
        Ok(loaded) => loaded,
        Err(error) => return warn!("the configuration stays as it was: {error}"),
    };
    match router.reload_config(loaded) {
        Ok(outcome) => {
            let texts = |member: &str| outcome[member].as_array().cloned().unwrap_or_default();
            texts("notes").iter().filter_map(|note| note.as_str()).for_each(|note| info!("{note}"));
            texts("warnings").iter().filter_map(|text| text.as_str()).for_each(|text| warn!("{text}"));
            if texts("changed").is_empty() {
                info!("the configuration file says nothing new");
            }
        }
        Err(error) => warn!("the configuration stays as it was: {error}"),
    }
}

async fn on_hang_up(router: &RunningRouter, reload: &ConfigReload) {
    router.reopen_access_log();
    reload_config(router, reload);
    // Without TLS there is nothing to reload, and nothing to tell.
    if !router.serves_tls() {
        return;
    }
    match router.reload_certificate().await {
        Ok(true) => info!("reloaded the TLS certificate"),
        Ok(false) => info!("the certificate is the same as before"),
        Err(error) => warn!("cannot reload the TLS certificate, keeping the old one: {error}"),
    }
}

/// Drains the router; a second signal stops it at once.
pub(crate) async fn stop(router: RunningRouter) -> Result<(), CommandError> {
    let mut is_hurried = false;
    let hurry = async {
        match runtime::asked_to_stop().await {
            Ok(()) => is_hurried = true,
            Err(error) => {
                warn!(%error, "a second signal will not stop the router at once");
                std::future::pending().await
            }
        }
    };
    let cut = router.shutdown_unless(hurry).await;
    if cut > 0 {
        let why = if is_hurried { "a second signal" } else { "the grace period" };
        warn!(cut, "requests were still running at {why}");
    }
    info!("stopped");
    match is_hurried {
        true => {
            Err(CommandError::runtime(format_args!("stopped by a second signal; {cut} requests were cut")))
        }
        false => Ok(()),
    }
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
