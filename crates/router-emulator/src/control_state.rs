//! What the control routes of one server have changed, and what it says of itself.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::api::meta_info::quoted;

/// What control routes have changed.
#[derive(Debug, Default)]
pub(crate) struct ControlState {
    status: watch::Sender<EngineStatus>,
    pub(crate) changed: Mutex<ChangedState>,
}

/// What a server says of itself without being asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EngineStatus {
    /// Counts the changes; a server that has just started is at 2, as SGLang.
    pub(crate) revision: u64,
    /// Whether it serves.
    pub(crate) is_healthy: bool,
    /// Whether generation is paused.
    pub(crate) is_paused: bool,
}

impl Default for EngineStatus {
    fn default() -> Self {
        Self { revision: 2, is_healthy: true, is_paused: false }
    }
}

#[derive(Debug, Default)]
pub(crate) struct ChangedState {
    pub(crate) weight_version: Option<String>,
    /// Paths of LoRA adapters by name.
    pub(crate) adapters: BTreeMap<String, String>,
    /// Names of the process groups for weight updates.
    pub(crate) groups: BTreeSet<String>,
    pub(crate) is_profiling: bool,
}

impl ControlState {
    /// Waits until generation is not paused.
    pub(crate) async fn running(&self) {
        // The sender lives as long as the server, so waiting cannot fail.
        let _ = self.status.subscribe().wait_for(|status| !status.is_paused).await;
    }

    /// Follows the status.
    #[cfg(feature = "grpc")]
    pub(crate) fn status(&self) -> watch::Receiver<EngineStatus> {
        self.status.subscribe()
    }

    /// Pauses generation, or goes on with it.
    pub(crate) fn set_paused(&self, is_paused: bool) {
        self.change(|status| status.is_paused = is_paused);
    }

    /// Says whether the server serves.
    pub(crate) fn set_healthy(&self, is_healthy: bool) {
        self.change(|status| status.is_healthy = is_healthy);
    }

    fn change(&self, change: impl FnOnce(&mut EngineStatus)) {
        self.status.send_if_modified(|status| {
            let before = *status;
            change(status);
            let is_changed = *status != before;
            status.revision += u64::from(is_changed);
            is_changed
        });
    }

    /// The version of the weights.
    pub(crate) fn weight_version(&self) -> String {
        self.changed.lock().weight_version.clone().unwrap_or_else(|| "default".to_owned())
    }

    /// The same as a JSON text.
    pub(crate) fn quoted_weight_version(&self) -> String {
        quoted(&self.weight_version())
    }

    /// The names of the LoRA adapters that are loaded.
    pub(crate) fn adapters(&self) -> Vec<String> {
        self.changed.lock().adapters.keys().cloned().collect()
    }
}
