//! The flags of autoscaling.

use super::args::{interval, part, pause};
use clap::Args;
use router_core::{ScalingOptions, Slo};
use router_sim::{AutoscaleRule, Autoscaler};
use std::time::Duration;

/// The flags of autoscaling.
#[derive(Debug, Args)]
pub(crate) struct AutoscaleArgs {
    /// Add and remove servers while the load runs, and compare these rules by worker-hours and misses of the SLO: METRIC:TARGET:LEAST,
    /// comma-separated, with the metric signal (the router's workers_needed), queue (requests waiting in engines), in-flight or
    /// fixed, how much of it one worker is to have (for fixed: how many workers), and the fewest workers. --policy names one policy
    #[arg(
        long,
        value_name = "RULES",
        value_delimiter = ',',
        help_heading = "Autoscaling",
        conflicts_with = "output"
    )]
    pub(crate) autoscale: Vec<AutoscaleRule>,

    /// How long a server that was ordered takes to be ready; it is paid for meanwhile
    #[arg(long, value_name = "SECS", default_value_t = 120.0, requires = "autoscale", help_heading = "Autoscaling",
        value_parser = pause)]
    pub(crate) startup_secs: f64,

    /// How often an autoscaler reads its metric
    #[arg(long, value_name = "SECS", default_value_t = 15.0, requires = "autoscale", help_heading = "Autoscaling",
        value_parser = interval)]
    pub(crate) scale_interval_secs: f64,

    /// The fleet shrinks to the most that was wanted within this time
    #[arg(long, value_name = "SECS", default_value_t = 300.0, requires = "autoscale", help_heading = "Autoscaling",
        value_parser = pause)]
    pub(crate) scale_down_secs: f64,

    /// Most servers
    #[arg(long, value_name = "N", default_value_t = 64, requires = "autoscale", help_heading = "Autoscaling",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) most_servers: u32,

    /// After what time the router expects arrivals to repeat themselves; a day unless a shorter one is simulated
    #[arg(long, value_name = "SECS", default_value_t = 86_400.0, requires = "autoscale", help_heading = "Autoscaling",
        value_parser = interval)]
    pub(crate) season_secs: f64,

    /// Share of the responses that the router's signal plans to meet the SLO
    #[arg(long, value_name = "SHARE", default_value_t = 0.99, requires = "autoscale", help_heading = "Autoscaling",
        value_parser = part)]
    pub(crate) slo_attainment: f64,
}

impl AutoscaleArgs {
    pub(crate) fn autoscaler(&self, rule: AutoscaleRule, slo: Slo) -> Autoscaler {
        let scaling = ScalingOptions {
            slo,
            miss_share: 1.0 - self.slo_attainment,
            // What is ordered now is there after the start-up and one reading.
            horizon: Duration::from_secs_f64((self.startup_secs + self.scale_interval_secs).max(1.0)),
            season: Duration::from_secs_f64(self.season_secs),
        };
        Autoscaler {
            interval: Duration::from_secs_f64(self.scale_interval_secs),
            startup: Duration::from_secs_f64(self.startup_secs),
            stabilization: Duration::from_secs_f64(self.scale_down_secs),
            most: self.most_servers,
            scaling,
            ..Autoscaler::new(rule)
        }
    }
}
