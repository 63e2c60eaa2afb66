//! The options about recording, the access log, traces and spans.

use crate::checks::positive;
use crate::error::ConfigError;
use crate::logging::AccessLogConfig;
use crate::options::Options;
use crate::otlp_endpoint::{OtlpEndpoint, OtlpEndpointError};
use crate::record_config::{RecordConfig, TraceConfig};
use router_core::Registry;

impl Options {
    /// The recording, if a directory is given or the policy asks for one.
    pub(crate) fn check_record(&self, registry: &Registry) -> Result<Option<RecordConfig>, ConfigError> {
        let policy = self.live_policy();
        let spec = registry.spec(policy);
        let stem = spec.map_or(policy, |s| s.record_stem.as_str()).to_owned();
        let wanted =
            spec.is_some_and(|s| s.records).then(|| std::env::temp_dir().join(format!("{stem}_metrics")));
        let Some(dir) = self.record_dir.clone().or(wanted) else {
            if self.record_candidates {
                let problem = "needs --record-dir or a policy that records";
                return Err(ConfigError::option("--record-candidates", problem));
            }
            return Ok(None);
        };
        if self.record_max_file_mb == 0 {
            return Err(ConfigError::option("--record-max-file-mb", "must be at least 1"));
        }
        Ok(Some(RecordConfig {
            dir,
            stem,
            format: self.record_format,
            max_file_bytes: self.record_max_file_mb << 20,
            candidates: self.record_candidates,
        }))
    }

    pub(crate) fn check_buckets(&self) -> Result<Option<Vec<f64>>, ConfigError> {
        let bounds = &self.prometheus_duration_buckets;
        let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || bounds.iter().any(|bound| !bound.is_finite()) {
            let problem = format!("{bounds:?} must be numbers in ascending order");
            return Err(ConfigError::option("--prometheus-duration-buckets", problem));
        }
        Ok((!bounds.is_empty()).then(|| bounds.clone()))
    }

    pub(crate) fn check_traces(&self) -> Result<Option<TraceConfig>, ConfigError> {
        if self.enable_tracking && self.max_trace_entries == 0 {
            let problem = "must be at least 1; leave out --enable-tracking to keep no traces";
            return Err(ConfigError::option("--max-trace-entries", problem));
        }
        let ttl = positive("--trace-ttl", self.trace_ttl as f64)?;
        Ok(self.enable_tracking.then_some(TraceConfig { max_entries: self.max_trace_entries, ttl }))
    }

    pub(crate) fn check_access_log(&self) -> Result<Option<AccessLogConfig>, ConfigError> {
        let sample = self.access_log_sample;
        if !(sample > 0.0 && sample <= 1.0) {
            let problem =
                format!("{sample} must be above 0 and at most 1; leave out --access-log for no lines");
            return Err(ConfigError::option("--access-log-sample", problem));
        }
        let Some(path) = &self.access_log else { return Ok(None) };
        if path.as_os_str().is_empty() {
            return Err(ConfigError::option(
                "--access-log",
                "is empty; name a file, or - for standard output",
            ));
        }
        let path = (path.as_os_str() != "-").then(|| path.clone());
        Ok(Some(AccessLogConfig { path, format: self.access_log_format, sample }))
    }

    pub(crate) fn check_otlp(&self) -> Result<OtlpEndpoint, ConfigError> {
        let endpoint = self.otlp_traces_endpoint.parse();
        endpoint.map_err(|e: OtlpEndpointError| ConfigError::option("--otlp-traces-endpoint", e))
    }
}
