//! The checked configuration: what [`Options`] say, parsed and within its bounds.
//!
//! It is plain data: files that it names have not been opened, and no certificate is loaded. Policies are built here,
//! because only a built policy says whether its options are right.

use crate::admission::{AdmissionConfig, ClientTimeouts};
use crate::breaker::BreakerConfig;
use crate::checks::{address, count, headers, positive};
use crate::disaggregation::DisaggregationConfig;
use crate::error::ConfigError;
use crate::options::Options;
use crate::otlp_endpoint::OtlpEndpoint;
use crate::policy_options;
use crate::recording::{RecordConfig, TraceConfig};
use crate::retry::RetryConfig;
use crate::security::{SecurityConfig, WorkerTlsFiles};
use crate::worker_spec::{Ranks, WorkerSpec};
use http::{HeaderName, HeaderValue};
use router_core::{Policy, PolicyError, Registry};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// The workers at start.
    pub workers: Vec<WorkerSpec>,
    /// The workers that read prompts, where those above write the answers; absent when each worker does both.
    pub disaggregation: Option<DisaggregationConfig>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where to serve metrics besides the main port.
    pub prometheus: Option<SocketAddr>,
    /// Upper bounds of the histograms of request durations, in seconds, ascending; the usual ones when absent.
    pub duration_buckets: Option<Vec<f64>>,
    /// The live policy.
    pub policy: Box<dyn Policy>,
    /// Policies that are asked and not obeyed.
    pub shadows: Vec<Box<dyn Policy>>,
    /// Seed of all chance; a new one each start when absent.
    pub seed: Option<u64>,
    /// Bounds on requests.
    pub requests: RequestLimits,
    /// How many requests come in, and how many wait.
    pub admission: AdmissionConfig,
    /// How long a client may keep a connection open without doing its part.
    pub client_timeouts: ClientTimeouts,
    /// Who may ask, and over what wire.
    pub security: SecurityConfig,
    /// When a request goes to another worker.
    pub retry: RetryConfig,
    /// Recording to files; none when absent.
    pub record: Option<RecordConfig>,
    /// Request traces in memory; none when absent.
    pub traces: Option<TraceConfig>,
    /// Where spans are exported to; nowhere when absent.
    pub otlp: Option<OtlpEndpoint>,
    /// How workers are watched, and how they leave.
    pub fleet: FleetConfig,
    /// How long running requests may take to end at shutdown.
    pub shutdown_grace: Duration,
}

/// How workers are watched, and how they leave.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// How health is checked; never when absent.
    pub health: Option<HealthConfig>,
    /// When a failing worker gets no requests for a while; never when absent.
    pub breaker: Option<BreakerConfig>,
    /// Time between two load polls of one worker.
    pub load_poll: Duration,
    /// How long the requests of a worker that is removed may take to end.
    pub drain: Duration,
    /// Sent to workers that have no key of their own, in place of what the client sent.
    pub authorization: Option<HeaderValue>,
    /// Data-parallel ranks as candidates of their own; every worker is one as a whole when absent.
    pub ranks: Option<Ranks>,
}

/// Bounds on requests.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    /// From the first byte in to the last byte out.
    pub timeout: Duration,
    /// A client may send nothing of its body for this long.
    pub body_timeout: Duration,
    /// For a connection to a worker to be established, TLS included.
    pub connect_timeout: Duration,
    /// For workers with https URLs.
    pub worker_tls: WorkerTlsFiles,
    /// Largest body, in bytes.
    pub max_body: usize,
    /// Where the client's request id may stand.
    pub id_headers: Vec<HeaderName>,
    /// Where the client's routing key may stand.
    pub key_headers: Vec<HeaderName>,
    /// An attempt may take so long to its first byte; any time when absent.
    pub first_byte: Option<Duration>,
    /// A stream may bring nothing for so long.
    pub stream_idle: Duration,
}

/// How health is checked.
#[derive(Clone, Debug)]
pub struct HealthConfig {
    /// Path that is asked.
    pub path: http::uri::PathAndQuery,
    /// Between two checks of a healthy worker.
    pub interval: Duration,
    /// For one check.
    pub timeout: Duration,
    /// Failures in a row that make a worker unhealthy.
    pub failures: NonZeroU32,
    /// Successes in a row that make an unhealthy worker healthy.
    pub successes: NonZeroU32,
}

impl Options {
    /// Checks every option and builds what it names.
    ///
    /// # Errors
    /// The first option that is refused, by name.
    pub fn check(&self, registry: &Registry) -> Result<Config, ConfigError> {
        let record = self.check_record(registry)?;
        let disaggregation = self.check_disaggregation(registry, record.as_ref())?;
        let workers = if disaggregation.is_some() { self.check_decode()? } else { self.check_workers()? };
        let policy = self.build_policy(registry, self.live_policy(), &self.policy_options)?;
        // The options of --policy-option are the live policy's; a shadow has its own defaults and the named flags.
        let shadow = |name: &String| self.build_policy(registry, name, &[]);
        let shadows = self.shadow_policies.iter().map(shadow).collect::<Result<_, _>>()?;
        Ok(Config {
            workers,
            disaggregation,
            listen: address("--host", &self.host, self.port)?,
            prometheus: match self.prometheus_port {
                Some(port) => Some(address("--prometheus-host", &self.prometheus_host, port)?),
                None => None,
            },
            duration_buckets: self.check_buckets()?,
            policy,
            shadows,
            seed: self.seed,
            requests: self.check_requests()?,
            admission: self.check_admission()?,
            client_timeouts: self.check_client_timeouts()?,
            security: self.check_security()?,
            retry: self.check_retry()?,
            record,
            traces: self.check_traces()?,
            otlp: if self.enable_trace { Some(self.check_otlp()?) } else { None },
            fleet: FleetConfig {
                health: if self.disable_health_check { None } else { Some(self.check_health()?) },
                breaker: self.check_breaker()?,
                load_poll: positive("--load-poll-interval-ms", self.load_poll_interval_ms as f64 / 1000.0)?,
                drain: Duration::from_secs(self.drain_timeout_secs),
                authorization: self.check_worker_key()?,
                ranks: self.check_ranks()?,
            },
            shutdown_grace: Duration::from_secs(self.shutdown_grace_period_secs),
        })
    }

    fn check_requests(&self) -> Result<RequestLimits, ConfigError> {
        Ok(RequestLimits {
            timeout: positive("--request-timeout-secs", self.request_timeout_secs as f64)?,
            body_timeout: positive("--client-body-timeout-secs", self.client_body_timeout_secs)?,
            connect_timeout: positive("--connect-timeout-secs", self.connect_timeout_secs)?,
            worker_tls: self.check_worker_tls()?,
            max_body: self.max_payload_size,
            id_headers: headers("--request-id-headers", &self.request_id_headers)?,
            key_headers: headers("--routing-key-headers", &self.routing_key_headers)?,
            first_byte: match self.first_byte_timeout_secs {
                Some(secs) => Some(positive("--first-byte-timeout-secs", secs)?),
                None => None,
            },
            stream_idle: positive("--stream-idle-timeout-secs", self.stream_idle_timeout_secs)?,
        })
    }

    fn check_health(&self) -> Result<HealthConfig, ConfigError> {
        let path = self.health_check_endpoint.as_str();
        let path = if path.starts_with('/') { path.parse().ok() } else { None };
        Ok(HealthConfig {
            path: path.ok_or_else(|| ConfigError::Option {
                option: "--health-check-endpoint",
                problem: format!("'{}' is not a path that starts with /", self.health_check_endpoint),
            })?,
            interval: positive("--health-check-interval-secs", self.health_check_interval_secs)?,
            timeout: positive("--health-check-timeout-secs", self.health_check_timeout_secs)?,
            failures: count("--health-failure-threshold", self.health_failure_threshold)?,
            successes: count("--health-success-threshold", self.health_success_threshold)?,
        })
    }

    pub(crate) fn build_policy(
        &self,
        registry: &Registry,
        name: &str,
        options: &[(String, String)],
    ) -> Result<Box<dyn Policy>, PolicyError> {
        let mut params = self
            .policy_flags(|option| registry.options(name).is_some_and(|mut all| all.any(|k| k == option)));
        params.extend(options.iter().map(|(name, text)| (name.clone(), policy_options::value(text))));
        registry.build(name, &params)
    }
}
