//! What the control routes of one server have changed.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::api::meta_info::quoted;

/// What control routes have changed.
#[derive(Debug, Default)]
pub(crate) struct ControlState {
    pub(crate) is_paused: watch::Sender<bool>,
    pub(crate) changed: Mutex<ChangedState>,
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
        let _ = self.is_paused.subscribe().wait_for(|is_paused| !is_paused).await;
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
