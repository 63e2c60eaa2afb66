//! The knobs of `marginal_cost`.

use crate::PrefixIndex;
use crate::policy::InvalidKnob;
use serde::{Deserialize, Serialize};

/// The knobs of [`MarginalCost`](super::MarginalCost). Weights are pure numbers: all parts of the cost are seconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MarginalCostConfig {
    /// What a second until the first token counts beyond the second of latency that it is anyway. Default 4; 0 and
    /// more; 0 is for pure mean latency.
    pub ttft_weight: f64,
    /// What a second counts by which the requests already on the worker are slowed down. Default 2, because in steady
    /// state the slowdown of later ones mirrors that of the present ones; 0 and more. At 0 each request looks after
    /// itself alone, and fast workers drown.
    pub externality_weight: f64,
    /// What a second counts by which those who are expected next wait behind this prompt. Default 4; 0 and more.
    pub backlog_weight: f64,
    /// Share of what a worker's speed model knows that is kept with each further answer. Default 0.98: about the last
    /// fifty answers count. Above 0, below 1.
    pub memory: f64,
    /// Seconds in which a passing slowness is half forgiven while nothing comes back. Default 30; above 0.
    pub forgive_secs: f64,
    /// Answers that a worker must have given before it may hold more than its share. Default 3.
    pub cold_answers: u32,
    /// A load report older than this many seconds is not used. Default 2; 0 and more.
    pub max_report_age_secs: f64,
    /// Most memory that the index of prompt prefixes takes, in bytes. Default 67108864 (64 MiB); 4096 to 16 GiB.
    pub max_tree_size: usize,
}

impl Default for MarginalCostConfig {
    fn default() -> Self {
        Self {
            ttft_weight: 4.0,
            externality_weight: 2.0,
            backlog_weight: 4.0,
            memory: 0.98,
            forgive_secs: 30.0,
            cold_answers: 3,
            max_report_age_secs: 2.0,
            max_tree_size: 64 << 20,
        }
    }
}

impl MarginalCostConfig {
    pub(super) fn check(&self) -> Result<(), InvalidKnob> {
        InvalidKnob::check_not_negative("ttft_weight", self.ttft_weight)?;
        InvalidKnob::check_not_negative("externality_weight", self.externality_weight)?;
        InvalidKnob::check_not_negative("backlog_weight", self.backlog_weight)?;
        InvalidKnob::check_not_negative("max_report_age_secs", self.max_report_age_secs)?;
        if !(self.memory > 0.0 && self.memory < 1.0) {
            return Err(InvalidKnob::must("memory", "above 0 and below 1", self.memory));
        }
        if !(self.forgive_secs.is_finite() && self.forgive_secs > 0.0) {
            return Err(InvalidKnob::must("forgive_secs", "above 0", self.forgive_secs));
        }
        if !(PrefixIndex::MIN_BYTES..=PrefixIndex::MAX_BYTES).contains(&self.max_tree_size) {
            let must = format!("from {} to {}", PrefixIndex::MIN_BYTES, PrefixIndex::MAX_BYTES);
            return Err(InvalidKnob::must("max_tree_size", &must, self.max_tree_size));
        }
        Ok(())
    }
}
