//! Changes the configuration of a router that runs: all that a patch or a file says, or nothing.

use super::outcome::{ChangeOutcome, DryRun};
use super::worker_change::WorkerChange;
use crate::live_config::CurrentConfig;
use crate::live_settings::LiveSettings;
use crate::models::{Beginning, NextPolicies};
use crate::state::AppState;
use router_config::{
    ChangeError, Config, FixedOption, OptionChange, Options, Source, SourcedOptions, Sources, WorkerSpec,
};
use serde_json::Value;
use std::sync::Arc;

/// A change that was checked, and what it is made of.
#[derive(Debug)]
struct CheckedChange {
    options: Options,
    changes: Vec<OptionChange>,
    config: Config,
    /// The workers that the options name.
    named: Vec<WorkerSpec>,
    workers: WorkerChange,
    warnings: Vec<String>,
}

/// Makes the changes of a JSON merge patch.
pub(crate) fn patch(state: &Arc<AppState>, patch: &Value, dry_run: DryRun) -> Result<Value, ChangeError> {
    let mut current = state.config.current.lock();
    let checked = check(state, &current, current.options.patched(patch)?)?;
    let mut sources = current.sources.clone();
    for change in &checked.changes {
        sources.set(change.key, Source::Api);
    }
    Ok(finish(state, &mut current, checked, sources, dry_run)?.json())
}

/// Makes the changes that file and flags have now, compared with when they were read last. What was changed otherwise stays,
/// unless they say something new about it.
pub(crate) fn reload(state: &Arc<AppState>, loaded: SourcedOptions) -> Result<Value, ChangeError> {
    let mut current = state.config.current.lock();
    let keys: Vec<_> = current.loaded.changes_to(&loaded.options).iter().map(|c| c.key).collect();
    let checked = check(state, &current, current.options.with(&keys, &loaded.options)?)?;
    let mut sources = current.sources.clone();
    sources.take(&keys, &loaded.sources);
    let outcome = finish(state, &mut current, checked, sources, DryRun::No)?;
    current.loaded = loaded.options;
    Ok(outcome.json())
}

/// Checks everything that can be wrong with new options.
fn check(state: &AppState, current: &CurrentConfig, options: Options) -> Result<CheckedChange, ChangeError> {
    let live = &state.config;
    let changes = current.options.changes_to(&options);
    Options::refuse_fixed(&changes)?;
    let is_changed = |key: &str| changes.iter().any(|change| change.key == key);
    let config = options.check(&live.registry)?;
    let mut fixed = Vec::new();
    if is_changed("log_level") && live.set_log_level.get().is_none() {
        fixed
            .push(FixedOption { key: "log_level", reason: "the program that embeds the router has the log" });
    }
    if config.record.is_some() && !live.records {
        let key = if is_changed("decode_policy") { "decode_policy" } else { "policy" };
        fixed.push(FixedOption {
            key,
            reason: "it turns recording on, and the recorder begins with the router",
        });
    }
    if !fixed.is_empty() {
        return Err(ChangeError::Fixed(fixed));
    }
    let named: Vec<_> = config.all_workers().cloned().collect();
    let workers = WorkerChange::between(&current.workers, &named, options.connection_mode)?;
    workers.check(state)?;
    let mut warnings = options.policy_warnings(&live.registry);
    if live.records && config.record.is_none() {
        warnings.push("decisions go on to be recorded until the router starts again".to_owned());
    }
    Ok(CheckedChange { options, changes, config, named, workers, warnings })
}

fn finish(
    state: &Arc<AppState>,
    current: &mut CurrentConfig,
    checked: CheckedChange,
    sources: Sources,
    dry_run: DryRun,
) -> Result<ChangeOutcome, ChangeError> {
    let CheckedChange { options, changes, config, named, workers, mut warnings } = checked;
    let mut notes = Vec::new();
    if dry_run == DryRun::No && !changes.is_empty() {
        let policy = config.policy.name().to_owned();
        notes.extend(apply(state, config)?.note(&policy));
        if let Some(set) = state.config.set_log_level.get() {
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

/// Lets a checked configuration take effect, except for its workers. The policies come first: only they can still refuse.
fn apply(state: &AppState, config: Config) -> Result<Beginning, ChangeError> {
    let prefill = config.disaggregation.map(|split| split.policy);
    let next = NextPolicies { live: config.policy, shadows: config.shadows, prefill };
    let beginning = state
        .models
        .set_policies(next)
        .map_err(|error| ChangeError::Value { key: "policy".to_owned(), problem: error.to_string() })?;
    state.models.set_admission(&config.admission, config.fleet.load_polls);
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
