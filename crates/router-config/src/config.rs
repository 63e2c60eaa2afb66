//! The validated configuration: the values of [`Options`], parsed and checked against their limits.
//!
//! Files that it names have not been opened, and no certificate is loaded. Policies are already built, because only
//! building a policy validates its options.

use crate::admission::{AdmissionConfig, ClientTimeouts, Http2Config, LoadPolls};
use crate::breaker::BreakerConfig;
use crate::checks::{address, address_if, headers, positive, timeout_or_never};
use crate::connection_mode::ConnectionMode;
use crate::disaggregation::DisaggregationConfig;
use crate::discovery::DiscoveryConfig;
use crate::error::ConfigError;
use crate::forwarding::ForwardingConfig;
use crate::health_config::HealthConfig;
use crate::key_source::{KeySource, key_sources};
use crate::logging::AccessLogConfig;
use crate::metrics_per_worker::MetricsPerWorker;
use crate::models::ModelConfig;
use crate::options::Options;
use crate::otlp_endpoint::OtlpEndpoint;
use crate::own_address::OwnAddress;
use crate::policy_flags::NamedPolicy;
use crate::record_config::{RecordConfig, TraceConfig};
use crate::retry::RetryConfig;
use crate::security::{SecurityConfig, WorkerTlsFiles};
use crate::sources::Sources;
use crate::worker_spec::{Ranks, WorkerSpec};
use http::{HeaderName, HeaderValue};
use router_core::{PolicyFactory, Registry, ScalingOptions};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A validated configuration.
#[derive(Debug)]
pub struct Config {
    /// The workers at start; the decode workers with prefill and decode disaggregation.
    pub workers: Vec<WorkerSpec>,
    /// The prefill workers; `None` without prefill and decode disaggregation.
    pub disaggregation: Option<DisaggregationConfig>,
    /// Discovery of workers in Kubernetes; `None` without it.
    pub discovery: Option<DiscoveryConfig>,
    /// Address of the main port.
    pub listen: SocketAddr,
    /// Address of the metrics port; `None` when metrics are on the main port only.
    pub prometheus: Option<SocketAddr>,
    /// Bucket upper bounds of the request duration histograms, in seconds, ascending; `None` for the default ones.
    pub duration_buckets: Option<Vec<f64>>,
    /// Whether metrics have series for each worker.
    pub metrics_per_worker: MetricsPerWorker,
    /// How requests find the workers of their model.
    pub models: ModelConfig,
    /// The policy that routes requests.
    pub policy: PolicyFactory,
    /// Shadow policies, whose decisions are only recorded.
    pub shadows: Vec<PolicyFactory>,
    /// Random seed; `None` for a new one at each start.
    pub seed: Option<u64>,
    /// Limits of requests.
    pub requests: RequestLimits,
    /// Concurrency, queue and rate limits.
    pub admission: AdmissionConfig,
    /// Timeouts of client connections.
    pub client_timeouts: ClientTimeouts,
    /// HTTP/2 from clients; `None` when only HTTP/1.1 is served.
    pub http2: Option<Http2Config>,
    /// API keys, TLS and CORS.
    pub security: SecurityConfig,
    /// Clients behind proxies.
    pub forwarding: ForwardingConfig,
    /// Retries, hedging and queueing without workers.
    pub retry: RetryConfig,
    /// Recording to files; `None` for no recording.
    pub record: Option<RecordConfig>,
    /// The access log; `None` for none.
    pub access_log: Option<AccessLogConfig>,
    /// Request traces in memory; `None` for no traces.
    pub traces: Option<TraceConfig>,
    /// Collector to which spans are exported; `None` for no export.
    pub otlp: Option<OtlpEndpoint>,
    /// What the figures for scaling are relative to.
    pub scaling: ScalingOptions,
    /// Health checks, breakers and draining of workers.
    pub fleet: FleetConfig,
    /// How long the router says that it is not ready, and still accepts requests, before it drains at shutdown.
    pub shutdown_delay: Duration,
    /// How long requests in flight may take to finish at shutdown.
    pub shutdown_grace: Duration,
    /// What it was made of, so that it can change while the router runs.
    pub origin: ConfigOrigin,
}

/// What a configuration was made of.
#[derive(Clone, Debug)]
pub struct ConfigOrigin {
    /// The options.
    pub options: Options,
    /// Where they are from.
    pub sources: Sources,
    /// The policies that can be asked for.
    pub registry: Registry,
}

/// Health checks, circuit breakers, load polls and draining of workers.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// Health checks; `None` for no checks.
    pub health: Option<HealthConfig>,
    /// Circuit breakers; `None` for no breakers.
    pub breaker: Option<BreakerConfig>,
    /// Time between two load polls of one worker.
    pub load_poll: Duration,
    /// When workers are polled for their load.
    pub load_polls: LoadPolls,
    /// How long requests in flight on a removed worker may take to finish.
    pub drain: Duration,
    /// `authorization` header for workers that have no key of their own, in place of the client's.
    pub authorization: Option<HeaderValue>,
    /// Data-parallel ranks as candidates; `None` when each worker is one candidate.
    pub ranks: Option<Ranks>,
    /// Time limit of a control call to one worker.
    pub control_timeout: Duration,
    /// Whether workers that missed a weight update get requests.
    pub allow_outdated_weights: bool,
    /// Where the router itself listens, which no worker may be.
    pub own_address: OwnAddress,
    /// How workers are reached that do not say it themselves.
    pub connection_mode: ConnectionMode,
}

/// Limits of requests.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    /// From the first byte of the request to the last byte of the response.
    pub timeout: Duration,
    /// How long a client may send none of its body.
    pub body_timeout: Duration,
    /// Time limit to establish a connection to a worker, including TLS.
    pub connect_timeout: Duration,
    /// TLS files for workers with https URLs.
    pub worker_tls: WorkerTlsFiles,
    /// Maximum size of a request body, in bytes.
    pub max_body: usize,
    /// Headers that may carry the client's request id, in order of precedence.
    pub id_headers: Vec<HeaderName>,
    /// Whether workers get the id that the router made for a request whose client named none.
    pub send_id: bool,
    /// Where the routing key may stand, in order of precedence.
    pub key_sources: Vec<KeySource>,
    /// Time limit of an attempt until its first byte; `None` for no limit of its own.
    pub first_byte: Option<Duration>,
    /// How long a stream may be without data.
    pub stream_idle: Duration,
    /// How long a route of the decision service stays open that nothing is heard of.
    pub route_lease: Duration,
    /// After how long without data a client is sent a keep-alive; `None` for never.
    pub keep_alive: Option<Duration>,
    /// Response headers that name the worker, beside the router's own.
    pub worker_headers: Vec<HeaderName>,
}

impl Config {
    /// The workers of both kinds, where prefill and decode are apart.
    pub fn all_workers(&self) -> impl Iterator<Item = &WorkerSpec> {
        let prefill = self.disaggregation.iter().flat_map(|split| &split.prefill);
        self.workers.iter().chain(prefill)
    }
}

impl Options {
    /// Validates every option and builds the policies.
    ///
    /// # Errors
    /// For the first invalid option; the message names it.
    pub fn check(&self, registry: &Registry) -> Result<Config, ConfigError> {
        let record = self.check_record(registry)?;
        let disaggregation = self.check_disaggregation(registry, record.as_ref())?;
        let workers = if disaggregation.is_some() { self.check_decode()? } else { self.check_workers()? };
        let decodes = self.pd_disaggregation && self.decode_policy.is_some();
        let flag = if decodes { "--decode-policy" } else { "--policy" };
        let named = NamedPolicy { flag, name: self.live_policy() };
        let policy = self.build_policy(registry, named, &self.policy_options)?;
        let shadows = self.check_shadows(registry)?;
        let listen = address("--host", &self.host, self.port)?;
        let prometheus = address_if("--prometheus-host", &self.prometheus_host, self.prometheus_port)?;
        let security = self.check_security()?;
        not_shared("--port, --prometheus-port", Some(listen), prometheus)?;
        not_shared("--port, --admin-port", Some(listen), security.admin)?;
        not_shared("--admin-port, --prometheus-port", security.admin, prometheus)?;
        Ok(Config {
            workers,
            disaggregation,
            discovery: self.check_discovery()?,
            listen,
            prometheus,
            duration_buckets: self.check_buckets()?,
            metrics_per_worker: self.metrics_per_worker,
            models: self.check_models()?,
            policy,
            shadows,
            seed: self.seed,
            requests: self.check_requests()?,
            admission: self.check_admission()?,
            client_timeouts: self.check_client_timeouts()?,
            http2: self.check_http2()?,
            security,
            forwarding: ForwardingConfig::parse(self.forwarded_headers, &self.trusted_proxies)?,
            retry: self.check_retry()?,
            record,
            access_log: self.check_access_log()?,
            traces: self.check_traces()?,
            otlp: if self.enable_trace { Some(self.check_otlp()?) } else { None },
            scaling: self.check_scaling()?,
            fleet: FleetConfig {
                health: self.check_health()?,
                breaker: self.check_breaker()?,
                load_poll: self.check_load_poll()?,
                load_polls: self.load_polls(),
                drain: Duration::from_secs(self.drain_timeout_secs),
                authorization: self.check_worker_key()?,
                ranks: self.check_ranks()?,
                connection_mode: self.connection_mode,
                control_timeout: positive("--control-timeout-secs", self.control_timeout_secs)?,
                allow_outdated_weights: self.allow_outdated_weights,
                own_address: self.own_address(),
            },
            shutdown_delay: Duration::try_from_secs_f64(self.shutdown_delay_secs)
                .map_err(|e| ConfigError::option("--shutdown-delay-secs", e))?,
            shutdown_grace: Duration::from_secs(self.shutdown_grace_period_secs),
            origin: ConfigOrigin {
                options: self.clone(),
                sources: Sources::default(),
                registry: registry.clone(),
            },
        })
    }

    fn check_requests(&self) -> Result<RequestLimits, ConfigError> {
        Ok(RequestLimits {
            timeout: positive("--request-timeout-secs", self.request_timeout_secs as f64)?,
            body_timeout: timeout_or_never("--client-body-timeout-secs", self.client_body_timeout_secs)?,
            connect_timeout: positive("--connect-timeout-secs", self.connect_timeout_secs)?,
            worker_tls: self.check_worker_tls()?,
            max_body: self.max_payload_size,
            id_headers: headers("--request-id-headers", &self.request_id_headers)?,
            send_id: self.send_request_id,
            key_sources: key_sources("--routing-key-headers", &self.routing_key_headers)?,
            first_byte: match self.first_byte_timeout_secs {
                Some(secs) => Some(positive("--first-byte-timeout-secs", secs)?),
                None => None,
            },
            stream_idle: positive("--stream-idle-timeout-secs", self.stream_idle_timeout_secs)?,
            route_lease: match self.route_lease_timeout_secs {
                Some(secs) => positive("--route-lease-timeout-secs", secs)?,
                None => Duration::from_secs(self.request_timeout_secs),
            },
            keep_alive: match self.sse_keep_alive_secs {
                0.0 => None,
                secs => Some(positive("--sse-keep-alive-secs", secs)?),
            },
            worker_headers: headers("--routed-worker-headers", &self.routed_worker_headers)?,
        })
    }
}

/// Checks that two listeners do not need the same port of the same address. `options` are the flags of the two ports.
fn not_shared(
    options: &'static str,
    one: Option<SocketAddr>,
    other: Option<SocketAddr>,
) -> Result<(), ConfigError> {
    let (Some(one), Some(other)) = (one, other) else { return Ok(()) };
    // An unspecified IPv6 address usually takes IPv4 connections, too.
    let is_all = |ip: IpAddr, of: IpAddr| ip.is_unspecified() && (ip.is_ipv6() || of.is_ipv4());
    let (here, there) = (one.ip(), other.ip());
    let is_same_host = here == there || is_all(here, there) || is_all(there, here);
    if one.port() == other.port() && one.port() != 0 && is_same_host {
        return Err(ConfigError::option(
            options,
            format!("both are {}; each needs a port of its own", one.port()),
        ));
    }
    Ok(())
}
