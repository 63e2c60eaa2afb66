//! From options to a checked configuration: parse at the edge, trust inside.

mod disaggregation;
pub mod foreign;
mod knobs;
mod options;
mod overload;
mod resilience;
mod security;

pub use disaggregation::DisaggregationConfig;
pub use options::{LogFormat, LogLevel, Options, PdProtocol, WorkerOptions};
pub use overload::AdmissionConfig;
pub use resilience::{HedgeAfter, RetryConfig};
pub use security::SecurityConfig;

use crate::record::{OtlpEndpoint, OtlpEndpointError, RecordConfig, TraceConfig};
use crate::server::ClientPatience;
use crate::workers::{BreakerConfig, Dial, WorkerSpec, WorkerUrl, WorkerUrlError};
use clap::{ArgMatches, parser::ValueSource};
use http::{HeaderName, HeaderValue};
use router_core::{Policy, PolicyError, Registry};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a configuration is refused: one line that names the key or flag.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("config file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not TOML or has a key or value that does not belong.
    #[error("{origin}: {problem}")]
    Parse {
        /// Which text: a file, or one that was given as it is.
        origin: String,
        /// Where and why.
        problem: String,
    },
    /// One option's value is refused.
    #[error("{option}: {problem}")]
    Option {
        /// The flag.
        option: &'static str,
        /// Why.
        problem: String,
    },
    /// A worker's URL is refused.
    #[error("--worker-urls: {0}")]
    WorkerUrl(#[from] WorkerUrlError),
    /// The policy or one of its knobs is refused.
    #[error("--policy: {0}")]
    Policy(#[from] PolicyError),
}

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
    /// How long clients may keep a connection to themselves.
    pub patience: ClientPatience,
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
}

/// Bounds on requests.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    /// From the first byte in to the last byte out.
    pub timeout: Duration,
    /// A client may send nothing of its body for this long.
    pub body_timeout: Duration,
    /// How workers are reached.
    pub dial: Dial,
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
    /// The options of a TOML file, overlaid by the flags that were given on the command line.
    ///
    /// # Errors
    /// When the file cannot be read or has a key or value that does not belong; the message names it.
    pub fn load(matches: &ArgMatches, flags: Self, file: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = file else { return Ok(flags) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let origin = format!("config file {}", path.display());
        let from_file = Self::from_toml(&text, &origin)?;
        let given = |name: &str| {
            matches!(matches.value_source(name), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
        };
        let merged = (|| {
            let mut base = serde_json::to_value(&from_file)?;
            let flags = serde_json::to_value(&flags)?;
            if let (Some(base), Value::Object(flags)) = (base.as_object_mut(), flags) {
                let known: Vec<_> = matches.ids().map(|id| id.as_str().to_owned()).collect();
                base.extend(flags.into_iter().filter(|(k, _)| known.contains(k) && given(k)));
            }
            serde_json::from_value(base)
        })();
        let merged: Self =
            merged.map_err(|e: serde_json::Error| ConfigError::Parse { origin, problem: e.to_string() })?;
        Ok(merged.keep_secrets(flags, from_file, given))
    }

    /// The options of a TOML text; `origin` says where it is from, for messages.
    ///
    /// # Errors
    /// When it has a key or value that does not belong; the message names it.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, ConfigError> {
        toml::from_str(text)
            .map_err(|e| ConfigError::Parse { origin: origin.to_owned(), problem: one_line(&e.to_string()) })
    }

    /// The options that are not at their defaults, as TOML. Keys that must stay secret are left out.
    ///
    /// # Errors
    /// When a value has no form in TOML, such as a number beyond its range.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let (Value::Object(own), Value::Object(defaults)) = (as_json(self)?, as_json(&Self::default())?)
        else {
            return Ok(String::new());
        };
        let changed = own.into_iter().filter(|(key, value)| defaults.get(key) != Some(value));
        toml::to_string(&Value::Object(changed.collect()))
    }

    /// Checks every option and builds what it names.
    ///
    /// # Errors
    /// The first option that is refused, by name.
    pub fn check(&self, registry: &Registry) -> Result<Config, ConfigError> {
        let record = self.check_record(registry)?;
        let disaggregation = self.check_disaggregation(registry, record.as_ref())?;
        let workers = if disaggregation.is_some() { self.check_decode()? } else { self.check_workers()? };
        let policy = self.build_policy(registry, self.live_policy(), &self.policy_options)?;
        // The knobs of --policy-option are the live policy's; a shadow has its own defaults and the named flags.
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
            patience: self.check_patience()?,
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
            },
            shutdown_grace: Duration::from_secs(self.shutdown_grace_period_secs),
        })
    }

    fn check_workers(&self) -> Result<Vec<WorkerSpec>, ConfigError> {
        let plain =
            self.worker_urls.iter().map(|url| WorkerOptions { url: url.clone(), weight: 1.0, priority: 50 });
        let mut seen = BTreeMap::new();
        let mut workers = Vec::new();
        for w in plain.chain(self.workers.iter().cloned()) {
            let url: WorkerUrl = w.url.parse()?;
            if let Some(earlier) = seen.insert(url.clone(), w.url.clone()) {
                let problem = if earlier == w.url {
                    format!("worker '{earlier}' is given twice")
                } else {
                    format!("workers '{earlier}' and '{}' are the same", w.url)
                };
                return Err(ConfigError::Option { option: "--worker-urls", problem });
            }
            if !(w.weight.is_finite() && w.weight >= 0.0) {
                let problem = format!("worker '{url}': weight {} must be a number from 0 up", w.weight);
                return Err(ConfigError::Option { option: "[[workers]]", problem });
            }
            workers.push(WorkerSpec {
                url: url.as_str().to_owned(),
                weight: w.weight,
                priority: w.priority,
                ..WorkerSpec::default()
            });
        }
        if workers.is_empty() && !self.start_empty {
            let problem = "no worker is given; write --worker-urls http://HOST:PORT ..., or --start-empty to add \
                           them at run time";
            return Err(ConfigError::Option { option: "--worker-urls", problem: problem.to_owned() });
        }
        Ok(workers)
    }

    fn check_requests(&self) -> Result<RequestLimits, ConfigError> {
        Ok(RequestLimits {
            timeout: positive("--request-timeout-secs", self.request_timeout_secs as f64)?,
            body_timeout: positive("--client-body-timeout-secs", self.client_body_timeout_secs)?,
            dial: self.check_dial()?,
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

    /// Recording, when a directory is given or the policy asks for it.
    fn check_record(&self, registry: &Registry) -> Result<Option<RecordConfig>, ConfigError> {
        let policy = self.live_policy();
        let spec = registry.spec(policy);
        let stem = spec.map_or(policy, |s| s.record_stem.as_str()).to_owned();
        let wanted =
            spec.is_some_and(|s| s.records).then(|| std::env::temp_dir().join(format!("{stem}_metrics")));
        let Some(dir) = self.record_dir.clone().or(wanted) else {
            if self.record_candidates {
                let problem = "needs --record-dir, or a policy that records".to_owned();
                return Err(ConfigError::Option { option: "--record-candidates", problem });
            }
            return Ok(None);
        };
        if self.record_max_file_mb == 0 {
            let problem = "must be at least 1".to_owned();
            return Err(ConfigError::Option { option: "--record-max-file-mb", problem });
        }
        Ok(Some(RecordConfig {
            dir,
            stem,
            format: self.record_format,
            max_file_bytes: self.record_max_file_mb << 20,
            candidates: self.record_candidates,
        }))
    }

    fn check_buckets(&self) -> Result<Option<Vec<f64>>, ConfigError> {
        let bounds = &self.prometheus_duration_buckets;
        let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || bounds.iter().any(|bound| !bound.is_finite()) {
            let problem = format!("{bounds:?} must be numbers that ascend");
            return Err(ConfigError::Option { option: "--prometheus-duration-buckets", problem });
        }
        Ok((!bounds.is_empty()).then(|| bounds.clone()))
    }

    fn check_traces(&self) -> Result<Option<TraceConfig>, ConfigError> {
        if self.enable_tracking && self.max_trace_entries == 0 {
            let problem = "must be at least 1; leave out --enable-tracking to keep none".to_owned();
            return Err(ConfigError::Option { option: "--max-trace-entries", problem });
        }
        let ttl = positive("--trace-ttl", self.trace_ttl as f64)?;
        Ok(self.enable_tracking.then_some(TraceConfig { max_entries: self.max_trace_entries, ttl }))
    }

    fn check_otlp(&self) -> Result<OtlpEndpoint, ConfigError> {
        self.otlp_traces_endpoint.parse().map_err(|problem: OtlpEndpointError| ConfigError::Option {
            option: "--otlp-traces-endpoint",
            problem: problem.to_string(),
        })
    }

    fn build_policy(
        &self,
        registry: &Registry,
        name: &str,
        knobs: &[(String, String)],
    ) -> Result<Box<dyn Policy>, PolicyError> {
        let mut params =
            self.policy_flags(|knob| registry.knobs(name).is_some_and(|mut all| all.any(|k| k == knob)));
        params.extend(knobs.iter().map(|(name, text)| (name.clone(), knobs::value(text))));
        registry.build(name, &params)
    }
}

fn as_json(options: &Options) -> Result<Value, toml::ser::Error> {
    serde_json::to_value(options).map_err(serde::ser::Error::custom)
}

fn headers(option: &'static str, names: &[String]) -> Result<Vec<HeaderName>, ConfigError> {
    let header = |name: &String| {
        let problem = || format!("'{name}' is not a header name");
        name.parse().map_err(|_| ConfigError::Option { option, problem: problem() })
    };
    names.iter().map(header).collect()
}

fn count(option: &'static str, n: u32) -> Result<NonZeroU32, ConfigError> {
    NonZeroU32::new(n).ok_or(ConfigError::Option { option, problem: "must be at least 1".to_owned() })
}

fn positive(option: &'static str, secs: f64) -> Result<Duration, ConfigError> {
    Duration::try_from_secs_f64(secs)
        .ok()
        .filter(|d| !d.is_zero())
        .ok_or_else(|| ConfigError::Option { option, problem: format!("{secs} must be a time above 0") })
}

fn address(option: &'static str, host: &str, port: u16) -> Result<SocketAddr, ConfigError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let found = (bare, port).to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| ConfigError::Option {
        option,
        problem: format!("'{host}' is not an address of this machine"),
    })
}

/// toml's messages show the place over several lines; an operator's log wants one.
fn one_line(message: &str) -> String {
    message
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('|') && !shows_a_secret(l))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether the line is one of the file's own, quoted in a message, and holds a key.
fn shows_a_secret(line: &str) -> bool {
    line.split_once('|').is_some_and(|(number, quoted)| {
        number.trim().bytes().all(|b| b.is_ascii_digit()) && quoted.contains("api_key")
    })
}
