//! What a change of the configuration did, or would do.

use crate::models::Beginning;
use router_config::OptionChange;
use serde_json::{Value, json};
use tracing::info;

/// Whether a change is only to be looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DryRun {
    /// Nothing changes.
    Yes,
    /// It takes effect.
    No,
}

/// What a change of the configuration did, or would do.
#[derive(Debug)]
pub(super) struct ChangeOutcome {
    pub(super) dry_run: DryRun,
    pub(super) changes: Vec<OptionChange>,
    /// What is not obvious about it, in sentences.
    pub(super) notes: Vec<String>,
    /// What may not be meant.
    pub(super) warnings: Vec<String>,
}

impl ChangeOutcome {
    pub(super) fn json(&self) -> Value {
        let changed = self.changes.iter().map(|c| json!({"key": c.key, "from": c.from, "to": c.to}));
        json!({
            "dry_run": self.dry_run == DryRun::Yes,
            "changed": changed.collect::<Vec<_>>(),
            "notes": self.notes,
            "warnings": self.warnings,
        })
    }

    /// One line for each option that changed.
    pub(super) fn log(&self) {
        for OptionChange { key, from, to } in &self.changes {
            info!(key, %from, %to, "configuration changed");
        }
    }
}

impl Beginning {
    /// How the policy begins, in a sentence.
    pub(super) fn note(self, policy: &str) -> Option<String> {
        match self {
            Self::Same => None,
            Self::WasShadow => {
                Some(format!("{policy} was a shadow policy and goes on with what it has learned"))
            }
            Self::Learned(0) => Some(format!("{policy} begins without a request to learn from")),
            Self::Learned(requests) => {
                Some(format!("{policy} has learned from the last {requests} requests"))
            }
        }
    }
}
