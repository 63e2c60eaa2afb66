//! Every option of the router: one struct from which the command line, the TOML file and the docs derive.
//!
//! The name of an option is the field's name; on the command line underscores become dashes. Meaning, unit and
//! default stand in the doc comment, which is also the text of `--help`.

use crate::logging::{LogFormat, LogLevel};
use crate::policy_options;
use crate::recording::RecordFormat;
use crate::secret::Secret;
use clap::{Args, ValueEnum};
use router_core::Registry;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// How the worker that read a prompt hands it over to the one that writes the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PdProtocol {
    /// Both get the request at once and meet in a bootstrap room.
    Sglang,
    /// The one after the other, with kv_transfer_params
    Vllm,
}

/// One worker with its weight, for the config file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerOptions {
    /// Base URL.
    pub url: String,
    /// Relative capacity, for policies that weigh; one of 0 is for when there is no other. Default 1.
    #[serde(default = "one")]
    pub weight: f64,
    /// Of workers at equal cost the one with the higher priority is taken. Default 50.
    #[serde(default = "fifty")]
    pub priority: u32,
}

const fn one() -> f64 {
    1.0
}

const fn fifty() -> u32 {
    50
}

/// The options of `sgl-router launch`, as flags or as keys of a TOML file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Workers")]
pub struct Options {
    /// Base URLs of the workers, such as http://10.0.0.1:30000
    #[arg(long, value_name = "URL", num_args = 0..)]
    pub worker_urls: Vec<String>,

    /// Start without workers; they join at run time, by POST /workers
    #[arg(long)]
    pub start_empty: bool,

    /// Workers with weights, for the config file: `[[workers]] url = "...", weight = 2.0`
    #[arg(skip)]
    pub workers: Vec<WorkerOptions>,

    /// Read prompts on some workers and write answers on others: --prefill and --decode instead of --worker-urls
    #[arg(long, help_heading = "Prefill and decode")]
    pub pd_disaggregation: bool,

    /// A worker that reads prompts, and the port of its bootstrap server or none; repeatable
    #[arg(long, value_names = ["URL", "PORT|none"], num_args = 1..=2, action = clap::ArgAction::Append, help_heading = "Prefill and decode")]
    pub prefill: Vec<String>,

    /// A worker that writes answers; repeatable
    #[arg(long, value_name = "URL", num_args = 1.., action = clap::ArgAction::Append, help_heading = "Prefill and decode")]
    pub decode: Vec<String>,

    /// How a worker that reads prompts is chosen; default: as --policy says
    #[arg(long, value_name = "POLICY", help_heading = "Prefill and decode")]
    pub prefill_policy: Option<String>,

    /// How a worker that writes answers is chosen; default: as --policy says
    #[arg(long, value_name = "POLICY", help_heading = "Prefill and decode")]
    pub decode_policy: Option<String>,

    /// How the two hand a prompt over
    #[arg(long, value_enum, default_value_t = PdProtocol::Sglang, help_heading = "Prefill and decode")]
    pub pd_protocol: PdProtocol,

    /// Choose among the data-parallel ranks of each worker, not among the workers
    #[arg(long)]
    pub dp_aware: bool,

    /// With --dp-aware: how many ranks each worker has; default: as many as it says
    #[arg(long, value_name = "N")]
    pub dp_size: Option<u32>,

    /// How long the requests of a worker that is removed may take to end
    #[arg(long, value_name = "SECS", default_value_t = 180)]
    pub drain_timeout_secs: u64,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", help_heading = "Listening")]
    pub host: String,

    /// Port to listen on
    #[arg(long, default_value_t = 30000, help_heading = "Listening")]
    pub port: u16,

    /// Also serve Prometheus metrics on this port (GET /metrics on the main port always answers)
    #[arg(long, value_name = "PORT", help_heading = "Listening")]
    pub prometheus_port: Option<u16>,

    /// Address for --prometheus-port
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1", help_heading = "Listening")]
    pub prometheus_host: String,

    /// Upper bounds of the histograms of request durations, in seconds, ascending [default: 20 from 0.001 to 240]
    #[arg(long, value_name = "SECS", num_args = 1.., help_heading = "Listening")]
    pub prometheus_duration_buckets: Vec<f64>,

    /// Threads that serve requests, each with connections to workers of its own; default: one per core
    #[arg(long, value_name = "N", help_heading = "Listening")]
    pub threads: Option<usize>,

    /// How a worker is chosen; `sgl-router policies` lists all
    #[arg(long, default_value = "marginal_cost", help_heading = "Routing")]
    pub policy: String,

    /// Policies that decide on every request and are never obeyed, to compare them on live traffic
    #[arg(long, value_name = "POLICY", num_args = 1.., help_heading = "Routing")]
    pub shadow_policies: Vec<String>,

    /// An option of the policy, as NAME=VALUE; repeatable
    #[arg(long = "policy-option", value_name = "NAME=VALUE", num_args = 1.., value_parser = policy_options::key_value, help_heading = "Routing")]
    #[serde(with = "policy_options")]
    pub policy_options: Vec<(String, String)>,

    /// cache_aware: least share of the prompt that must be cached for affinity to count, 0 to 1 [default: 0.3]
    #[arg(long, value_name = "SHARE", help_heading = "Routing")]
    pub cache_threshold: Option<f64>,

    /// cache_aware, bucket, prefix_hash: loads are uneven when they differ by more than this ... [default: 64, 64, 10]
    #[arg(long, value_name = "REQUESTS", help_heading = "Routing")]
    pub balance_abs_threshold: Option<u32>,

    /// cache_aware, bucket: ... and by more than this factor [default: 1.5]
    #[arg(long, value_name = "FACTOR", help_heading = "Routing")]
    pub balance_rel_threshold: Option<f64>,

    /// cache_aware: a prefix unused for this long is forgotten [default: 60]
    #[arg(long, value_name = "SECS", help_heading = "Routing")]
    pub eviction_interval_secs: Option<u64>,

    /// cache_aware, lmetric, marginal_cost: most memory for the prefix index, in bytes [default: 67108864]
    #[arg(long, value_name = "BYTES", help_heading = "Routing")]
    pub max_tree_size: Option<u64>,

    /// manual: a routing key without a request for this long is forgotten; 0 is never [default: 14400]
    #[arg(long, value_name = "SECS", help_heading = "Routing")]
    pub max_idle_secs: Option<u64>,

    /// manual: how a new routing key finds its worker [default: random]
    #[arg(long, value_name = "MODE", value_parser = ["random", "min_load", "min_group"], help_heading = "Routing")]
    pub assignment_mode: Option<String>,

    /// bucket: how often the workers' ranges of prompt length are fitted [default: 5]
    #[arg(long, value_name = "SECS", help_heading = "Routing")]
    pub bucket_adjust_interval_secs: Option<u64>,

    /// Headers that may carry a routing key, for policies that go by it; first found wins, and all win over the body
    #[arg(long, value_name = "HEADER", num_args = 1.., default_values = ["x-smg-routing-key", "x-session-id", "x-user-id", "x-tenant-id"], help_heading = "Routing")]
    pub routing_key_headers: Vec<String>,

    /// Seed of all chance in routing; default: a new one each start
    #[arg(long, help_heading = "Routing")]
    pub seed: Option<u64>,

    /// A request unanswered for this long ends with 504
    #[arg(long, value_name = "SECS", default_value_t = 1800, help_heading = "Requests")]
    pub request_timeout_secs: u64,

    /// A worker that does not accept a connection within this time counts as unreachable
    #[arg(long, value_name = "SECS", default_value_t = 5.0, help_heading = "Requests")]
    pub connect_timeout_secs: f64,

    /// Largest request body, in bytes; larger ones end with 413
    #[arg(long, value_name = "BYTES", default_value_t = 536_870_912, help_heading = "Requests")]
    pub max_payload_size: usize,

    /// Headers that may carry the client's request id, first found wins
    #[arg(long, value_name = "HEADER", num_args = 0.., default_values = ["x-request-id", "x-correlation-id", "x-trace-id", "request-id"], help_heading = "Requests")]
    pub request_id_headers: Vec<String>,

    /// A worker that has not begun to answer a request after this long is given up for it, and another one is tried;
    /// default: as long as the request may take. Answers that are not streamed begin when they end
    #[arg(long, value_name = "SECS", help_heading = "Requests")]
    pub first_byte_timeout_secs: Option<f64>,

    /// A stream that brings nothing for this long is ended with an error
    #[arg(long, value_name = "SECS", default_value_t = 300.0, help_heading = "Requests")]
    pub stream_idle_timeout_secs: f64,

    /// Most other workers that are tried when one fails, each once
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = "Retries")]
    pub retry_max_retries: u32,

    /// Wait before the second retry; the first goes out at once
    #[arg(long, value_name = "MS", default_value_t = 50, help_heading = "Retries")]
    pub retry_initial_backoff_ms: u64,

    /// Longest wait before a retry
    #[arg(long, value_name = "MS", default_value_t = 30_000, help_heading = "Retries")]
    pub retry_max_backoff_ms: u64,

    /// Each wait is so many times the one before
    #[arg(long, value_name = "FACTOR", default_value_t = 1.5, help_heading = "Retries")]
    pub retry_backoff_multiplier: f64,

    /// Each wait is longer or shorter by up to this share of it, 0 to 1, by lot
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, help_heading = "Retries")]
    pub retry_jitter_factor: f64,

    /// Most retries after an answer of 5xx, 429 or 503, and hedges, as a share of the requests of the last 10 s;
    /// 100 more are always allowed
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, help_heading = "Retries")]
    pub retry_budget: f64,

    /// Never try another worker
    #[arg(long, help_heading = "Retries")]
    pub disable_retries: bool,

    /// Send a second copy of a request that is not streamed, to another worker, when no answer came for this long:
    /// a time such as 1.5s or 800ms, or p50 to p99 of the times of late; the first answer wins
    #[arg(long, value_name = "TIME|PERCENTILE", help_heading = "Retries")]
    pub hedge_after: Option<String>,

    /// Hold requests while no worker is available, up to --queue-timeout-secs, instead of answering 503
    #[arg(long, help_heading = "Retries")]
    pub queue_when_unavailable: bool,

    /// So many faults (connect errors, timeouts, 5xx) in a row, or that many within the window if they are at least
    /// half of all ends, keep requests from a worker for a while
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Circuit breaker")]
    pub cb_failure_threshold: u32,

    /// So many good requests, one at a time, bring it back
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "Circuit breaker")]
    pub cb_success_threshold: u32,

    /// How long it gets nothing before it is probed
    #[arg(long, value_name = "SECS", default_value_t = 60.0, help_heading = "Circuit breaker")]
    pub cb_timeout_duration_secs: f64,

    /// How far back faults count
    #[arg(long, value_name = "SECS", default_value_t = 120.0, help_heading = "Circuit breaker")]
    pub cb_window_duration_secs: f64,

    /// Keep requests from a worker only when it cannot be reached or fails its health checks
    #[arg(long, help_heading = "Circuit breaker")]
    pub disable_circuit_breaker: bool,

    /// Most requests that are served at a time, -1 for any number; more wait in the queue
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true, help_heading = "Overload")]
    pub max_concurrent_requests: i64,

    /// Most requests that wait; more end with 429
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Overload")]
    pub queue_size: usize,

    /// Longest wait in a queue of the router
    #[arg(long, value_name = "SECS", default_value_t = 60.0, help_heading = "Overload")]
    pub queue_timeout_secs: f64,

    /// Most requests that come in per second, with bursts of one second's; more wait in the queue
    #[arg(long, value_name = "N", help_heading = "Overload")]
    pub rate_limit_tokens_per_second: Option<u32>,

    /// Most requests in flight on one worker; when all have as many, requests wait in the queue, then end with 503
    #[arg(long, value_name = "N", help_heading = "Overload")]
    pub worker_max_in_flight: Option<u32>,

    /// Most bytes of request bodies held at a time, 0 for any number; what does not fit ends with 503
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 30, help_heading = "Overload")]
    pub max_buffered_bytes: usize,

    /// A client that sends no whole request head for this long is closed, an idle connection too
    #[arg(long, value_name = "SECS", default_value_t = 75.0, help_heading = "Overload")]
    pub client_header_timeout_secs: f64,

    /// A client that sends nothing of a body for this long gets 408
    #[arg(long, value_name = "SECS", default_value_t = 60.0, help_heading = "Overload")]
    pub client_body_timeout_secs: f64,

    /// A client that takes nothing of its answer for this long is closed
    #[arg(long, value_name = "SECS", default_value_t = 300.0, help_heading = "Overload")]
    pub client_write_timeout_secs: f64,

    /// Key that clients must send, as Authorization: Bearer KEY
    #[arg(
        long,
        value_name = "KEY",
        env = "SGL_ROUTER_API_KEY",
        hide_env_values = true,
        help_heading = "Security"
    )]
    #[serde(skip_serializing)]
    pub api_key: Option<Secret>,

    /// Key for the admin routes; without one they answer this machine only
    #[arg(
        long,
        value_name = "KEY",
        env = "SGL_ROUTER_ADMIN_API_KEY",
        hide_env_values = true,
        help_heading = "Security"
    )]
    #[serde(skip_serializing)]
    pub admin_api_key: Option<Secret>,

    /// More keys, each with a role: admin opens all routes, user those of clients
    #[arg(long, value_name = "ID:NAME:ROLE:KEY", num_args = 0.., help_heading = "Security")]
    #[serde(skip_serializing)]
    pub control_plane_api_keys: Vec<Secret>,

    /// Key that is sent to every worker without one of its own, in place of what the client sent
    #[arg(
        long,
        value_name = "KEY",
        env = "SGL_ROUTER_WORKER_API_KEY",
        hide_env_values = true,
        help_heading = "Security"
    )]
    #[serde(skip_serializing)]
    pub worker_api_key: Option<Secret>,

    /// Serve the admin routes on this port, and no longer on the main one
    #[arg(long, value_name = "PORT", help_heading = "Security")]
    pub admin_port: Option<u16>,

    /// Address for --admin-port
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1", help_heading = "Security")]
    pub admin_host: String,

    /// Certificate chain for clients, PEM; the router then speaks TLS
    #[arg(long, value_name = "FILE", help_heading = "Security")]
    pub tls_cert_path: Option<PathBuf>,

    /// Private key of that certificate, PEM
    #[arg(long, value_name = "FILE", help_heading = "Security")]
    pub tls_key_path: Option<PathBuf>,

    /// Certificate chain that the router shows to https workers, PEM
    #[arg(long, value_name = "FILE", help_heading = "Security")]
    pub client_cert_path: Option<PathBuf>,

    /// Private key of that certificate, PEM
    #[arg(long, value_name = "FILE", help_heading = "Security")]
    pub client_key_path: Option<PathBuf>,

    /// Authorities that https workers are checked by, PEM; default: the system's
    #[arg(long, value_name = "FILE", num_args = 0.., help_heading = "Security")]
    pub ca_cert_paths: Vec<PathBuf>,

    /// Web pages that may call the router, as https://HOST or https://HOST:PORT, or * for all
    #[arg(long, value_name = "ORIGIN", num_args = 0.., help_heading = "Security")]
    pub cors_allowed_origins: Vec<String>,

    /// On SIGTERM, how long running requests may take to end
    #[arg(long, value_name = "SECS", default_value_t = 180, help_heading = "Requests")]
    pub shutdown_grace_period_secs: u64,

    /// Time between two checks of a healthy worker
    #[arg(long, value_name = "SECS", default_value_t = 60.0, help_heading = "Health checks")]
    pub health_check_interval_secs: f64,

    /// A check unanswered for this long has failed
    #[arg(long, value_name = "SECS", default_value_t = 5.0, help_heading = "Health checks")]
    pub health_check_timeout_secs: f64,

    /// So many failed checks in a row make a worker unhealthy
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "Health checks")]
    pub health_failure_threshold: u32,

    /// So many good checks in a row make an unhealthy worker healthy again; the first check at start-up needs one
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Health checks")]
    pub health_success_threshold: u32,

    /// Path that is asked; /health_generate has SGLang generate a token for it
    #[arg(long, value_name = "PATH", default_value = "/health", help_heading = "Health checks")]
    pub health_check_endpoint: String,

    /// Take every worker for healthy until it cannot be reached
    #[arg(long, help_heading = "Health checks")]
    pub disable_health_check: bool,

    /// Time between two load reports of a worker, for policies that use them
    #[arg(long, value_name = "MS", default_value_t = 100, help_heading = "Health checks")]
    pub load_poll_interval_ms: u64,

    /// Record every decision and completion to files in this directory, with any policy
    #[arg(long, value_name = "DIR", help_heading = "Recording")]
    pub record_dir: Option<PathBuf>,

    /// Also record a row per candidate of each decision, with its score and terms
    #[arg(long, help_heading = "Recording")]
    pub record_candidates: bool,

    /// How recorded rows look
    #[arg(long, value_enum, default_value_t = RecordFormat::Csv, help_heading = "Recording")]
    pub record_format: RecordFormat,

    /// A recorded file that has grown to this size is followed by a new one
    #[arg(long, value_name = "MB", default_value_t = 1024, help_heading = "Recording")]
    pub record_max_file_mb: u64,

    /// Keep traces of recent requests in memory, for GET /v1/traces
    #[arg(long, help_heading = "Recording")]
    pub enable_tracking: bool,

    /// Most traces in memory; the oldest goes first
    #[arg(long, value_name = "N", default_value_t = 100_000, help_heading = "Recording")]
    pub max_trace_entries: usize,

    /// A trace older than this is gone
    #[arg(long, value_name = "SECS", default_value_t = 3600, help_heading = "Recording")]
    pub trace_ttl: u64,

    /// Export a span per request and per attempt to an OpenTelemetry collector
    #[arg(long, help_heading = "Recording")]
    pub enable_trace: bool,

    /// The collector: HOST:PORT for OTLP over gRPC, http://HOST:4318/v1/traces for OTLP over HTTP
    #[arg(long, value_name = "ENDPOINT", default_value = "localhost:4317", help_heading = "Recording")]
    pub otlp_traces_endpoint: String,

    /// How much is logged
    #[arg(long, value_enum, default_value_t = LogLevel::Info, help_heading = "Logging")]
    pub log_level: LogLevel,

    /// Also write the log to files in this directory, a new one each day
    #[arg(long, value_name = "DIR", help_heading = "Logging")]
    pub log_dir: Option<PathBuf>,

    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text, help_heading = "Logging")]
    pub log_format: LogFormat,
}

impl Default for Options {
    fn default() -> Self {
        use clap::FromArgMatches as _;
        let matches = Self::augment_args(clap::Command::new("defaults")).get_matches_from(["defaults"]);
        // The defaults are the command line's; a default that did not parse would fail every test.
        Self::from_arg_matches(&matches).unwrap_or_else(|e| e.exit())
    }
}

impl Options {
    /// The flags that are options of policies, as the registry takes them; those that a policy does not accept are
    /// left out, so that one command line serves every policy.
    pub(crate) fn policy_flags(&self, accepts: impl Fn(&str) -> bool) -> serde_json::Map<String, Value> {
        let flags = [
            ("cache_threshold", self.cache_threshold.map(Value::from)),
            ("balance_abs_threshold", self.balance_abs_threshold.map(Into::into)),
            ("balance_rel_threshold", self.balance_rel_threshold.map(Into::into)),
            ("eviction_interval_secs", self.eviction_interval_secs.map(Into::into)),
            ("max_tree_size", self.max_tree_size.map(Into::into)),
            ("max_idle_secs", self.max_idle_secs.map(Into::into)),
            ("assignment_mode", self.assignment_mode.clone().map(Into::into)),
            ("bucket_adjust_interval_secs", self.bucket_adjust_interval_secs.map(Into::into)),
        ];
        let flags = flags.into_iter().filter(|(name, _)| accepts(name));
        flags.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// Keys of options that were given and change nothing, because they belong to policies that were not chosen.
    pub fn unused_policy_options(&self, registry: &Registry) -> Vec<String> {
        let others =
            [&self.prefill_policy, &self.decode_policy].into_iter().flatten().chain(&self.shadow_policies);
        let chosen: Vec<_> = others.chain([&self.policy]).collect();
        let takes =
            |option: &str| chosen.iter().filter_map(|p| registry.options(p)).flatten().any(|k| k == option);
        self.policy_flags(|option| !takes(option)).into_iter().map(|(name, _)| name).collect()
    }
}
