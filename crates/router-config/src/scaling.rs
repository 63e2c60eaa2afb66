//! What the figures for scaling are relative to.

use crate::checks::positive;
use crate::error::ConfigError;
use crate::options::Options;
use router_core::{ScalingOptions, Slo};

impl Options {
    /// The limits that responses are to meet, and how long a worker takes to start.
    pub(crate) fn check_scaling(&self) -> Result<ScalingOptions, ConfigError> {
        let slo = Slo {
            ttft: positive("--slo-ttft-secs", self.slo_ttft_secs)?.as_secs_f64(),
            tpot: positive("--slo-tpot-secs", self.slo_tpot_secs)?.as_secs_f64(),
        };
        let attained = self.slo_attainment;
        if !(attained > 0.0 && attained < 1.0) {
            let problem = format!("{attained} must be a share above 0 and below 1");
            return Err(ConfigError::option("--slo-attainment", problem));
        }
        let horizon = positive("--scale-horizon-secs", self.scale_horizon_secs)?;
        Ok(ScalingOptions { slo, miss_share: 1.0 - attained, horizon, ..ScalingOptions::default() })
    }
}
