//! Changes the configuration of a router that runs: all that a patch or a file says, or nothing.

use super::outcome::ChangeOutcome;
use super::worker_change::{WorkerChange, workers_of};
use crate::live_settings::LiveSettings;
use crate::models::{Beginning, NextPolicies};
use crate::state::AppState;
use parking_lot::Mutex;
use router_config::{
    ChangeError, Config, ConfigOrigin, FixedOption, LogLevel, OptionChange, Options, Source, SourcedOptions,
    Sources, WorkerSpec,
};
use router_core::Registry;
use router_upstream::PollsAnyway;
use serde_json::{Value, json};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Whether a change is only to be looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DryRun {
    /// Nothing changes.
    Yes,
    /// It takes effect.
    No,
}

/// Sets the minimum severity of logged events.
type SetLogLevel = Box<dyn Fn(LogLevel) + Send + Sync>;

/// The configuration of a router that runs.
pub(crate) struct LiveConfig {
    registry: Registry,
    /// Held while it changes.
    current: Mutex<CurrentConfig>,
    set_log_level: OnceLock<SetLogLevel>,
    /// Whether decisions are recorded to files.
    records: bool,
}

#[derive(Debug)]
struct CurrentConfig {
    options: Options,
    sources: Sources,
    /// The workers that the options name.
    workers: Vec<WorkerSpec>,
    /// The options as file and flags gave them last: when they are read again, what differs from these has changed.
    loaded: Options,
}

/// A change that was checked, and what it is made of.
#[derive(Debug)]
struct CheckedChange {
    options: Options,
    changes: Vec<OptionChange>,
    config: Config,
    workers: WorkerChange,
    warnings: Vec<String>,
}

impl fmt::Debug for LiveConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveConfig").field("current", &self.current).finish_non_exhaustive()
    }
}

impl LiveConfig {
    /// Of a router that starts with `config`.
    pub(crate) fn new(config: &Config) -> Self {
        let ConfigOrigin { options, sources, registry } = config.origin.clone();
        let workers = workers_of(config);
        let current = CurrentConfig { loaded: options.clone(), options, sources, workers };
        Self {
            registry,
            current: Mutex::new(current),
            set_log_level: OnceLock::new(),
            records: config.record.is_some(),
        }
    }

    /// From now on the log level can change, by this function.
    pub(crate) fn log_level_changes_by(&self, set: SetLogLevel) {
        // A second one changes nothing: there is one log.
        let _ = self.set_log_level.set(set);
    }

    /// Every option, its value and where that is from.
    pub(crate) fn describe(&self) -> Value {
        let current = self.current.lock();
        json!({"options": current.options.described(&current.sources)})
    }

    /// Makes the changes of a JSON merge patch.
    pub(crate) fn patch(
        &self,
        state: &Arc<AppState>,
        patch: &Value,
        dry_run: DryRun,
    ) -> Result<Value, ChangeError> {
        let mut current = self.current.lock();
        let checked = self.check(state, &current, current.options.patched(patch)?)?;
        let mut sources = current.sources.clone();
        for change in &checked.changes {
            sources.set(change.key, Source::Api);
        }
        Ok(self.finish(state, &mut current, checked, sources, dry_run)?.json())
    }

    /// Makes the changes that file and flags have now, compared with when they were read last. What was changed otherwise stays,
    /// unless they say something new about it.
    pub(crate) fn reload(&self, state: &Arc<AppState>, loaded: SourcedOptions) -> Result<Value, ChangeError> {
        let mut current = self.current.lock();
        let keys: Vec<_> = current.loaded.changes_to(&loaded.options).iter().map(|c| c.key).collect();
        let checked = self.check(state, &current, current.options.with(&keys, &loaded.options)?)?;
        let mut sources = current.sources.clone();
        sources.take(&keys, &loaded.sources);
        let outcome = self.finish(state, &mut current, checked, sources, DryRun::No)?;
        current.loaded = loaded.options;
        Ok(outcome.json())
    }

    /// Checks everything that can be wrong with new options.
    fn check(
        &self,
        state: &AppState,
        current: &CurrentConfig,
        options: Options,
    ) -> Result<CheckedChange, ChangeError> {
        let changes = current.options.changes_to(&options);
        Options::refuse_fixed(&changes)?;
        let is_changed = |key: &str| changes.iter().any(|change| change.key == key);
        let config = options.check(&self.registry)?;
        let mut fixed = Vec::new();
        if is_changed("log_level") && self.set_log_level.get().is_none() {
            fixed.push(FixedOption {
                key: "log_level",
                reason: "the program that embeds the router has the log",
            });
        }
        if config.record.is_some() && !self.records {
            let key = if is_changed("decode_policy") { "decode_policy" } else { "policy" };
            fixed.push(FixedOption {
                key,
                reason: "it turns recording on, and the recorder begins with the router",
            });
        }
        if !fixed.is_empty() {
            return Err(ChangeError::Fixed(fixed));
        }
        let workers = WorkerChange::between(&current.workers, &workers_of(&config), options.connection_mode)?;
        workers.check(state)?;
        let mut warnings: Vec<_> = options.unused_policy_options(&self.registry);
        for option in &mut warnings {
            *option = format!("{option} is not an option of {}: it has no effect", options.policy);
        }
        warnings.extend(options.unheard_shadows(&self.registry).map(str::to_owned));
        if self.records && config.record.is_none() {
            warnings.push("decisions go on to be recorded until the router starts again".to_owned());
        }
        Ok(CheckedChange { options, changes, config, workers, warnings })
    }

    fn finish(
        &self,
        state: &Arc<AppState>,
        current: &mut CurrentConfig,
        checked: CheckedChange,
        sources: Sources,
        dry_run: DryRun,
    ) -> Result<ChangeOutcome, ChangeError> {
        let CheckedChange { options, changes, config, workers, mut warnings } = checked;
        let mut notes = Vec::new();
        if dry_run == DryRun::No && !changes.is_empty() {
            let named = workers_of(&config);
            let policy = config.policy.name().to_owned();
            notes.extend(apply(state, config)?.note(&policy));
            if let Some(set) = self.set_log_level.get() {
                set(options.log_level);
            }
            warnings.extend(workers.apply(state));
            (current.options, current.sources, current.workers) = (options, sources, named);
        }
        let outcome = ChangeOutcome { dry_run, changes, notes, warnings };
        if dry_run == DryRun::No {
            outcome.log();
        }
        Ok(outcome)
    }
}

/// Lets a checked configuration take effect, except for its workers. The policies come first: only they can still refuse.
fn apply(state: &AppState, config: Config) -> Result<Beginning, ChangeError> {
    let prefill = config.disaggregation.map(|split| split.policy);
    let next = NextPolicies { live: config.policy, shadows: config.shadows, prefill };
    let beginning = state
        .models
        .set_policies(next)
        .map_err(|error| ChangeError::Value { key: "policy".to_owned(), problem: error.to_string() })?;
    state.models.set_admission(&config.admission, PollsAnyway::of(config.fleet.polls_for_overload));
    state.admission.set(&config.admission);
    state.budget.set_share(config.retry.budget);
    state.open_routes.set_timeout(config.requests.route_lease);
    let before = state.live();
    let mut settings = LiveSettings::new(state.models.first().needs(), config.requests, config.retry);
    if before.retry.hedge == settings.retry.hedge {
        // It goes on with the latencies that it knows.
        settings.hedging.clone_from(&before.hedging);
    }
    state.settings.store(Arc::new(settings));
    Ok(beginning)
}
