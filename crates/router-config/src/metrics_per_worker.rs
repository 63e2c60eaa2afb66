//! Whether metrics have series for each worker.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Whether metrics have series for each worker, beside those of the whole fleet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MetricsPerWorker {
    /// They do while the fleet has at most 256 workers.
    #[default]
    Auto,
    /// They do.
    On,
    /// They do not: the fleet's alone are exported.
    Off,
}

impl MetricsPerWorker {
    /// The most workers that get series of their own with [`Auto`](Self::Auto). A worker in use has about 150 of them, most of
    /// them buckets of histograms, so that a page stays within 4 MB and 40,000 series; and the policy's scores, which take a
    /// look at every worker while no request can be routed, cost a scrape as much as one decision.
    pub const AUTO_LIMIT: usize = 256;

    /// Whether each of `workers` has series of its own.
    pub const fn applies(self, workers: usize) -> bool {
        match self {
            Self::Auto => workers <= Self::AUTO_LIMIT,
            Self::On => true,
            Self::Off => false,
        }
    }
}
