//! The options of `marginal_cost`.

use crate::policy::InvalidOption;
use serde::{Deserialize, Serialize};

/// The options of [`MarginalCost`](super::MarginalCost). Weights are pure numbers: all parts of the cost are seconds.
/// DESIGN.md names the experiments that chose the defaults.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MarginalCostConfig {
    /// What a first token that comes as late as usual costs, as a share of the usual latency of a complete response; twice
    /// as late costs four times that. Default 0.1; 0 and more; 0 minimises mean latency alone.
    pub ttft_weight: f64,
    /// Weight of the seconds by which the requests already on the worker are slowed down. Default 2, because in steady
    /// state the slowdown of later ones mirrors that of the present ones; 0 and more. At 0 the delay
    /// of other requests is ignored, and fast workers become overloaded.
    pub externality_weight: f64,
    /// Weight of the seconds that the requests expected next wait behind this prompt. Default 4; 0 and more.
    pub backlog_weight: f64,
    /// Weight of the seconds spent on computing again what this prompt evicts from the worker's cache.
    /// Default 4; 0 and more. It is expected only as far as prompts repeat each other at all.
    pub copy_weight: f64,
    /// Longest time to the first token that is good enough, in seconds. With it, or the next, as many requests as
    /// possible are to be good enough, at some cost in latency. Default none; above 0.
    pub slo_ttft_secs: Option<f64>,
    /// Longest time per further token that is good enough, in seconds. Default none; above 0.
    pub slo_tpot_secs: Option<f64>,
    /// Share of a worker's speed model that is kept with each further response. Default 0.98: about the last
    /// fifty responses count. Above 0, below 1.
    pub memory: f64,
    /// Half-life, in seconds, of a worker's temporary slowdown while it is idle. Default 10; above 0.
    pub forgive_secs: f64,
    /// Seconds after which half of what was learned about an idle worker is replaced by the fleet's median.
    /// Default 600; above 0.
    pub relax_secs: f64,
    /// Responses that a worker must have completed before it may hold more than its share. Default 3.
    pub cold_answers: u32,
    /// One request in so many goes to a worker that has long been unused, if it costs little more there. Default 200;
    /// 0 for never.
    pub explore_every: u32,
    /// Seconds after which a worker has long been unused. Default 30; 0 and more.
    pub explore_after_secs: f64,
    /// A load report older than this many seconds is not used. Default 2; 0 and more.
    pub max_report_age_secs: f64,
    /// Most memory that the index of prompt prefixes takes, in bytes; 4096 to 16 GiB. Default none: 256 KiB for each worker, rounded
    /// up, at least 8 MiB and at most 1 GiB.
    pub max_tree_size: Option<usize>,
}

impl Default for MarginalCostConfig {
    fn default() -> Self {
        Self {
            ttft_weight: 0.1,
            externality_weight: 2.0,
            backlog_weight: 4.0,
            copy_weight: 4.0,
            slo_ttft_secs: None,
            slo_tpot_secs: None,
            memory: 0.98,
            forgive_secs: 10.0,
            relax_secs: 600.0,
            cold_answers: 3,
            explore_every: 200,
            explore_after_secs: 30.0,
            max_report_age_secs: 2.0,
            max_tree_size: None,
        }
    }
}

impl MarginalCostConfig {
    pub(super) fn check(&self) -> Result<(), InvalidOption> {
        let not_negative = [
            ("ttft_weight", self.ttft_weight),
            ("externality_weight", self.externality_weight),
            ("backlog_weight", self.backlog_weight),
            ("copy_weight", self.copy_weight),
            ("explore_after_secs", self.explore_after_secs),
            ("max_report_age_secs", self.max_report_age_secs),
        ];
        for (option, value) in not_negative {
            InvalidOption::check_not_negative(option, value)?;
        }
        let above_zero = [
            ("forgive_secs", Some(self.forgive_secs)),
            ("relax_secs", Some(self.relax_secs)),
            ("slo_ttft_secs", self.slo_ttft_secs),
            ("slo_tpot_secs", self.slo_tpot_secs),
        ];
        for (option, value) in above_zero {
            if let Some(value) = value.filter(|v| !(v.is_finite() && *v > 0.0)) {
                return Err(InvalidOption::must(option, "above 0", value));
            }
        }
        if !(self.memory > 0.0 && self.memory < 1.0) {
            return Err(InvalidOption::must("memory", "above 0 and below 1", self.memory));
        }
        InvalidOption::check_tree_size(self.max_tree_size)
    }
}
