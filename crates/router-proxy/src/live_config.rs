//! The configuration of a router that runs, as it is now.

use parking_lot::Mutex;
use router_config::{Config, ConfigOrigin, LogLevel, Options, Sources, WorkerSpec};
use router_core::Registry;
use serde_json::{Value, json};
use std::fmt;
use std::sync::OnceLock;

/// Sets the minimum severity of logged events.
pub(crate) type SetLogLevel = Box<dyn Fn(LogLevel) + Send + Sync>;

/// The configuration of a router that runs.
pub(crate) struct LiveConfig {
    pub(crate) registry: Registry,
    /// Held while it changes.
    pub(crate) current: Mutex<CurrentConfig>,
    pub(crate) set_log_level: OnceLock<SetLogLevel>,
    /// Whether decisions are recorded to files.
    pub(crate) records: bool,
}

/// The options now, and what they were made of.
#[derive(Debug)]
pub(crate) struct CurrentConfig {
    pub(crate) options: Options,
    pub(crate) sources: Sources,
    /// The workers that the options name.
    pub(crate) workers: Vec<WorkerSpec>,
    /// The options as file and flags gave them last: when they are read again, what differs from these has changed.
    pub(crate) loaded: Options,
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
        let workers = config.all_workers().cloned().collect();
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
}
