//! Every option of the router: one struct from which the command line, the TOML file and the docs are derived.
//!
//! An option is named as its field, on the command line with dashes; the doc comment, with meaning and unit, is the text of `--help`.

use crate::{
    connection_mode::ConnectionMode, forwarding::ForwardedHeaders, logging::LogFormat, logging::LogLevel,
    metrics_per_worker::MetricsPerWorker, model_routing::ModelRouting, pd_protocol::PdProtocol,
    policy_options, record_config::RecordFormat, secret::Secret, worker_spec::WorkerSpec,
};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The options of `sgl-router launch`, as flags or as keys of a TOML file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Workers")]
pub struct Options {
    /// Base URLs of the workers, such as http://10.0.0.1:30000
    #[arg(long, value_name = "URL", num_args = 0..)]
    pub worker_urls: Vec<String>,

    /// How workers with http:// URLs are reached; a grpc:// URL says it by itself
    #[arg(long, value_enum, default_value_t = ConnectionMode::Http)]
    pub connection_mode: ConnectionMode,

    /// Start without workers; add them at run time with POST /workers
    #[arg(long)]
    pub start_empty: bool,

    /// Workers with their own settings, for the config file: `[[workers]] url = "...", weight = 2.0`
    #[arg(skip)]
    pub workers: Vec<WorkerSpec>,

    /// Run prefill and decode on different workers, given by --prefill and --decode instead of --worker-urls
    #[arg(long, help_heading = "Prefill and decode")]
    pub pd_disaggregation: bool,

    /// A prefill worker, and the port of its bootstrap server or none; repeatable
    #[arg(long, value_names = ["URL", "PORT|none"], num_args = 1..=2, action = clap::ArgAction::Append, help_heading = "Prefill and decode")]
    pub prefill: Vec<String>,

    /// A decode worker; repeatable
    #[arg(long, value_name = "URL", num_args = 1.., action = clap::ArgAction::Append, help_heading = "Prefill and decode")]
    pub decode: Vec<String>,

    /// Policy that chooses the prefill worker; default: that of --policy
    #[arg(long, value_name = "POLICY", help_heading = "Prefill and decode")]
    pub prefill_policy: Option<String>,

    /// Policy that chooses the decode worker; default: that of --policy
    #[arg(long, value_name = "POLICY", help_heading = "Prefill and decode")]
    pub decode_policy: Option<String>,

    /// How the KV cache gets from the prefill to the decode worker
    #[arg(long, value_enum, default_value_t = PdProtocol::Sglang, help_heading = "Prefill and decode")]
    pub pd_protocol: PdProtocol,

    /// Find workers in Kubernetes: the ready pods with the labels of --selector join, those that terminate drain
    #[arg(long, help_heading = "Kubernetes")]
    pub service_discovery: bool,

    /// Labels of the pods that are workers, as KEY=VALUE; a pod needs all of them
    #[arg(long, value_name = "KEY=VALUE", num_args = 0.., help_heading = "Kubernetes")]
    pub selector: Vec<String>,

    /// The same for prefill workers, with --pd-disaggregation
    #[arg(long, value_name = "KEY=VALUE", num_args = 0.., help_heading = "Kubernetes")]
    pub prefill_selector: Vec<String>,

    /// The same for decode workers, with --pd-disaggregation
    #[arg(long, value_name = "KEY=VALUE", num_args = 0.., help_heading = "Kubernetes")]
    pub decode_selector: Vec<String>,

    /// Port of the pods; the annotation sgl-router.io/port of a pod overrides it
    #[arg(long, value_name = "PORT", default_value_t = 80, help_heading = "Kubernetes")]
    pub service_discovery_port: u16,

    /// Namespace of the pods; default: all namespaces
    #[arg(long, value_name = "NAME", help_heading = "Kubernetes")]
    pub service_discovery_namespace: Option<String>,

    /// Only pods behind this Service, by its EndpointSlices, which tell readiness and zone too
    #[arg(long, value_name = "NAME", help_heading = "Kubernetes")]
    pub service_discovery_service: Option<String>,

    /// The InferencePool of this name says which pods are workers, and at which ports, in place of --selector
    #[arg(long, value_name = "NAME", help_heading = "Kubernetes")]
    pub service_discovery_pool: Option<String>,

    /// Where the name of a pod's model is: namespace, label:KEY or annotation:KEY; default: what the worker reports
    #[arg(long, value_name = "SOURCE", help_heading = "Kubernetes")]
    pub model_id_from: Option<String>,

    /// How to reach the API server; default: $KUBECONFIG, ~/.kube/config, or the service account of the router's pod
    #[arg(long, value_name = "FILE", help_heading = "Kubernetes")]
    pub kubeconfig: Option<PathBuf>,

    /// Route to the data-parallel ranks of workers: each rank is a candidate of its own
    #[arg(long)]
    pub dp_aware: bool,

    /// With --dp-aware: number of ranks of each worker; default: what the worker reports
    #[arg(long, value_name = "N")]
    pub dp_size: Option<u32>,

    /// How long requests in flight on a removed worker may take to finish
    #[arg(long, value_name = "SECS", default_value_t = 180)]
    pub drain_timeout_secs: u64,

    /// Time limit of a control call to one worker, such as a weight update; then the worker has failed it
    #[arg(long, value_name = "SECS", default_value_t = 600.0)]
    pub control_timeout_secs: f64,

    /// Also send requests to workers that missed a weight update; without it they get none until they have caught up
    #[arg(long)]
    pub allow_outdated_weights: bool,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", help_heading = "Listening")]
    pub host: String,

    /// Port to listen on
    #[arg(long, default_value_t = 30000, help_heading = "Listening")]
    pub port: u16,

    /// Also serve Prometheus metrics on this port; GET /metrics on the main port always works
    #[arg(long, value_name = "PORT", help_heading = "Listening")]
    pub prometheus_port: Option<u16>,

    /// Address for --prometheus-port
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1", help_heading = "Listening")]
    pub prometheus_host: String,

    /// Bucket upper bounds of the request duration histograms, in seconds, ascending [default: 20 from 0.001 to 240]
    #[arg(long, value_name = "SECS", num_args = 1.., help_heading = "Listening")]
    pub prometheus_duration_buckets: Vec<f64>,

    /// Whether metrics have series for each worker beside those of the fleet; auto: while it has at most 256 workers
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = MetricsPerWorker::Auto, help_heading = "Listening")]
    pub metrics_per_worker: MetricsPerWorker,

    /// Number of threads that serve requests, each with its own connections to workers; default: one per core
    #[arg(long, value_name = "N", help_heading = "Listening")]
    pub threads: Option<usize>,

    /// No HTTP/2 for clients: HTTP/1.1 only
    #[arg(long, help_heading = "Listening")]
    pub disable_http2: bool,

    /// Maximum number of requests at a time on one HTTP/2 connection; clients with more open another one
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Listening")]
    pub http2_max_concurrent_streams: u32,

    /// When a request goes by the model that it names; auto: while the workers serve several models
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ModelRouting::Auto, help_heading = "Models")]
    pub model_routing: ModelRouting,

    /// Another name of a model, as ALIAS=MODEL: workers get the request with the model's own name; repeatable
    #[arg(long, value_name = "ALIAS=MODEL", num_args = 1.., help_heading = "Models")]
    pub model_alias: Vec<String>,

    /// The model of requests that name none, where the workers serve several; default: such a request is refused
    #[arg(long, value_name = "MODEL", help_heading = "Models")]
    pub default_model: Option<String>,

    /// Load balancing policy; `sgl-router policies` lists them all
    #[arg(long, default_value = "marginal_cost", help_heading = "Routing")]
    pub policy: String,

    /// Shadow policies: they decide on every request too, only for comparison on live traffic
    #[arg(long, value_name = "POLICY", num_args = 1.., value_delimiter = ',', help_heading = "Routing")]
    pub shadow_policies: Vec<String>,

    /// An option of a shadow policy, as POLICY.NAME=VALUE; repeatable
    #[arg(long = "shadow-policy-option", value_name = "POLICY.NAME=VALUE", num_args = 1.., value_parser = policy_options::key_value, help_heading = "Routing")]
    #[serde(with = "policy_options")]
    pub shadow_policy_options: Vec<(String, String)>,

    /// An option of the policy, as NAME=VALUE; repeatable
    #[arg(long = "policy-option", value_name = "NAME=VALUE", num_args = 1.., value_parser = policy_options::key_value, help_heading = "Routing")]
    #[serde(with = "policy_options")]
    pub policy_options: Vec<(String, String)>,

    /// cache_aware: minimum share of the prompt that must be cached to prefer a worker for it, 0 to 1 [default: 0.3]
    #[arg(long, value_name = "SHARE", help_heading = "Routing")]
    pub cache_threshold: Option<f64>,

    /// cache_aware, bucket, prefix_hash: load is imbalanced when workers differ by more than this ... [default: 64, 64, 10]
    #[arg(long, value_name = "REQUESTS", help_heading = "Routing")]
    pub balance_abs_threshold: Option<u32>,

    /// cache_aware, bucket: ... and by more than this factor [default: 1.5]
    #[arg(long, value_name = "FACTOR", help_heading = "Routing")]
    pub balance_rel_threshold: Option<f64>,

    /// Accepted from sglang_router, without effect: the prefix index evicts what was not used for longest when it is full
    #[arg(long, value_name = "SECS", help_heading = "Routing")]
    pub eviction_interval_secs: Option<u64>,

    /// cache_aware, lmetric, marginal_cost: maximum memory of the prefix index, in bytes [default: 256 KiB for each worker, at least 8 MiB, at most 1 GiB]
    #[arg(long, value_name = "BYTES", help_heading = "Routing")]
    pub max_tree_size: Option<u64>,

    /// manual: drop the assignment of a routing key without requests for this long; 0 is never [default: 14400]
    #[arg(long, value_name = "SECS", help_heading = "Routing")]
    pub max_idle_secs: Option<u64>,

    /// manual: how a new routing key is assigned to a worker [default: random]
    #[arg(long, value_name = "MODE", value_parser = ["random", "min_load", "min_group"], help_heading = "Routing")]
    pub assignment_mode: Option<String>,

    /// bucket: time between two adjustments of the workers' ranges of prompt length [default: 5]
    #[arg(long, value_name = "SECS", help_heading = "Routing")]
    pub bucket_adjust_interval_secs: Option<u64>,

    /// Where a routing key may stand, for policies that use it; the first that is present wins. A member of the body is
    /// body:NAME (body:none: none of them); without one, the usual members come last
    #[arg(long, value_name = "HEADER|body:NAME", num_args = 1.., default_values = ["x-smg-routing-key", "x-claude-code-session-id", "x-session-affinity", "session-id", "session_id", "x-session-id", "x-user-id", "x-tenant-id"], help_heading = "Routing")]
    pub routing_key_headers: Vec<String>,

    /// Random seed of routing decisions; default: a new one at each start
    #[arg(long, help_heading = "Routing")]
    pub seed: Option<u64>,

    /// Time limit of a request, until the end of its response; after it: 504
    #[arg(long, value_name = "SECS", default_value_t = 1800, help_heading = "Requests")]
    pub request_timeout_secs: u64,

    /// Time limit to establish a connection to a worker; after it the worker counts as unreachable
    #[arg(long, value_name = "SECS", default_value_t = 5.0, help_heading = "Requests")]
    pub connect_timeout_secs: f64,

    /// Maximum size of a request body, in bytes; larger ones get 413
    #[arg(long, value_name = "BYTES", default_value_t = 536_870_912, help_heading = "Requests")]
    pub max_payload_size: usize,

    /// Headers that may carry the client's request id; the first that is present wins
    #[arg(long, value_name = "HEADER", num_args = 0.., default_values = ["x-request-id", "x-correlation-id", "x-trace-id", "request-id"], help_heading = "Requests")]
    pub request_id_headers: Vec<String>,

    /// Send workers the id that the router made for a request, in x-request-id, where the client named none. vLLM takes it as
    /// its own id of the request. What the client sends is forwarded either way
    #[arg(long, help_heading = "Requests")]
    pub send_request_id: bool,

    /// Headers that tell workers the client's address, protocol and host: X-Forwarded-For, -Proto and -Host, or Forwarded (RFC
    /// 7239). Those that a client sent are removed, unless it is one of --trusted-proxies. With off they pass as they come
    #[arg(long, value_enum, default_value_t = ForwardedHeaders::Off, value_name = "KIND", help_heading = "Requests")]
    pub forwarded_headers: ForwardedHeaders,

    /// More response headers that name the worker, beside x-sglang-worker; x-smg-routed-worker-id is smg's
    #[arg(long, value_name = "HEADER", num_args = 1.., help_heading = "Requests")]
    pub routed_worker_headers: Vec<String>,

    /// Time limit until the first byte of a response; after it the request is retried on another worker. A response that is
    /// not streamed has its first byte at its end; default: the time limit of the request
    #[arg(long, value_name = "SECS", help_heading = "Requests")]
    pub first_byte_timeout_secs: Option<f64>,

    /// A stream without data for this long ends with an error; a WebSocket is closed
    #[arg(long, value_name = "SECS", default_value_t = 300.0, help_heading = "Requests")]
    pub stream_idle_timeout_secs: f64,

    /// A request routed by POST /v1/route is cancelled when nothing was heard of it for this long; default: that of a request
    #[arg(long, value_name = "SECS", help_heading = "Requests")]
    pub route_lease_timeout_secs: Option<f64>,

    /// While a worker sends nothing of a stream, send the client a comment (`: ping`) after each such time, so that no proxy
    /// takes the connection for idle; on /v1/messages a ping event; 0 is never
    #[arg(long, value_name = "SECS", default_value_t = 0.0, help_heading = "Requests")]
    pub sse_keep_alive_secs: f64,

    /// Maximum number of retries of a request, each on another worker
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = "Retries")]
    pub retry_max_retries: u32,

    /// Backoff before the second retry; the first retry is sent at once
    #[arg(long, value_name = "MS", default_value_t = 50, help_heading = "Retries")]
    pub retry_initial_backoff_ms: u64,

    /// Maximum backoff before a retry
    #[arg(long, value_name = "MS", default_value_t = 30_000, help_heading = "Retries")]
    pub retry_max_backoff_ms: u64,

    /// Factor by which each backoff is longer than the previous one
    #[arg(long, value_name = "FACTOR", default_value_t = 1.5, help_heading = "Retries")]
    pub retry_backoff_multiplier: f64,

    /// Random jitter: each backoff is longer or shorter by up to this share of it, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, help_heading = "Retries")]
    pub retry_jitter_factor: f64,

    /// Retry budget: most retries after 5xx and 429, and hedges, as a share of the requests of the last 10 s; 100 more are free
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, help_heading = "Retries")]
    pub retry_budget: f64,

    /// Never retry a request
    #[arg(long, help_heading = "Retries")]
    pub disable_retries: bool,

    /// Hedge requests that are not streamed: send a second copy to another worker when there is no response after this
    /// time, such as 1.5s or 800ms, or after p50 to p99 of recent response times; the first response wins
    #[arg(long, value_name = "TIME|PERCENTILE", help_heading = "Retries")]
    pub hedge_after: Option<String>,

    /// Queue requests while no worker is available, up to --queue-timeout-secs, instead of responding 503
    #[arg(long, help_heading = "Retries")]
    pub queue_when_unavailable: bool,

    /// Failures (connect errors, timeouts, 5xx) that open the breaker of a worker: so many in a row, or so many within the
    /// window if they are at least half of all outcomes
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Circuit breaker")]
    pub cb_failure_threshold: u32,

    /// Successful requests in a row that close a half-open breaker; they are sent one at a time
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "Circuit breaker")]
    pub cb_success_threshold: u32,

    /// How long a breaker stays open, so that its worker gets no requests, before it is half-open
    #[arg(long, value_name = "SECS", default_value_t = 60.0, help_heading = "Circuit breaker")]
    pub cb_timeout_duration_secs: f64,

    /// Length of the window in which failures are counted
    #[arg(long, value_name = "SECS", default_value_t = 120.0, help_heading = "Circuit breaker")]
    pub cb_window_duration_secs: f64,

    /// No circuit breaker: a worker gets no requests only when it is unreachable or fails its health checks
    #[arg(long, help_heading = "Circuit breaker")]
    pub disable_circuit_breaker: bool,

    /// Maximum number of concurrent requests, -1 for no limit; more wait in the queue
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true, help_heading = "Overload")]
    pub max_concurrent_requests: i64,

    /// Maximum number of requests in the queue; more get 429
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Overload")]
    pub queue_size: usize,

    /// Maximum time that a request waits in a queue of the router
    #[arg(long, value_name = "SECS", default_value_t = 60.0, help_heading = "Overload")]
    pub queue_timeout_secs: f64,

    /// Rate limit, in requests per second, with bursts of one second's worth; more wait in the queue
    #[arg(long, value_name = "N", help_heading = "Overload")]
    pub rate_limit_tokens_per_second: Option<u32>,

    /// Maximum requests in flight on one worker, 0 for no limit; when all workers are full, requests wait in the queue, then
    /// get 503. Without it: twice what the worker says that it runs at once, at least 256; 2048 where it does not say
    #[arg(long, value_name = "N", help_heading = "Overload")]
    pub worker_max_in_flight: Option<u32>,

    /// Requests that come within so many milliseconds while the fleet is busy are dispatched together; 0 is off
    #[arg(long, value_name = "MS", default_value_t = 0, help_heading = "Overload")]
    pub batch_window_ms: u32,

    /// A worker that reports N or more waiting requests gets none while another can take them, 0 for no bound [default: 256, unpolled]
    #[arg(long, value_name = "N", help_heading = "Overload")]
    pub overload_waiting_requests: Option<u32>,

    /// The same for a worker that reports such a share of its KV cache in use, above 0 to 1; 0 is no bound, and no poll
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "Overload")]
    pub overload_kv_usage: f64,

    /// Maximum memory for request bodies, in bytes, 0 for no limit; requests that do not fit get 503
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 30, help_heading = "Overload")]
    pub max_buffered_bytes: usize,

    /// Time limit for a client to send a complete request head, also on an idle connection; then it is closed; 0 is never
    #[arg(long, value_name = "SECS", default_value_t = 75.0, help_heading = "Overload")]
    pub client_header_timeout_secs: f64,

    /// A client that sends none of its request body for this long gets 408; 0 is never
    #[arg(long, value_name = "SECS", default_value_t = 60.0, help_heading = "Overload")]
    pub client_body_timeout_secs: f64,

    /// A client that reads none of its response for this long is disconnected
    #[arg(long, value_name = "SECS", default_value_t = 300.0, help_heading = "Overload")]
    pub client_write_timeout_secs: f64,

    /// API key that clients must send, as Authorization: Bearer KEY
    #[arg(long, value_name = "KEY", env = "SGL_ROUTER_API_KEY", hide_env_values = true,
        value_parser = clap::value_parser!(Secret), help_heading = "Security")]
    #[serde(skip_serializing)]
    pub api_key: Option<Secret>,

    /// API key for the admin routes; without it they are served to this machine only
    #[arg(long, value_name = "KEY", env = "SGL_ROUTER_ADMIN_API_KEY", hide_env_values = true,
        value_parser = clap::value_parser!(Secret), help_heading = "Security")]
    #[serde(skip_serializing)]
    pub admin_api_key: Option<Secret>,

    /// Without an admin key, serve the admin routes to every machine; only where each one that reaches the port is trusted
    #[arg(long, env = "SGL_ROUTER_ALLOW_REMOTE_ADMIN", value_parser = clap::builder::BoolishValueParser::new(),
        help_heading = "Security")]
    pub allow_remote_admin: bool,

    /// More API keys, each with a role: admin allows all routes, user the client routes
    #[arg(long, value_name = "ID:NAME:ROLE:KEY", num_args = 0.., help_heading = "Security")]
    #[serde(skip_serializing)]
    pub control_plane_api_keys: Vec<Secret>,

    /// API key sent to workers that have none of their own, in place of the client's
    #[arg(long, value_name = "KEY", env = "SGL_ROUTER_WORKER_API_KEY", hide_env_values = true,
        value_parser = clap::value_parser!(Secret), help_heading = "Security")]
    #[serde(skip_serializing)]
    pub worker_api_key: Option<Secret>,

    /// Serve the admin routes on this port only, not on the main port
    #[arg(long, value_name = "PORT", help_heading = "Security")]
    pub admin_port: Option<u16>,

    /// Address for --admin-port
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1", help_heading = "Security")]
    pub admin_host: String,

    /// Serve neither the page GET /dashboard nor the stream GET /v1/live that it shows
    #[arg(long, help_heading = "Security")]
    pub no_dashboard: bool,

    /// Certificate chain that the router presents to clients, PEM; turns TLS on
    #[arg(long, value_name = "FILE", help_heading = "Security")]
    pub tls_cert_path: Option<PathBuf>,

    /// Private key for --tls-cert-path, PEM
    #[arg(long, value_name = "FILE", help_heading = "Security")]
    pub tls_key_path: Option<PathBuf>,

    /// Certificate chain that the router presents to https workers, PEM
    #[arg(long, value_name = "FILE", help_heading = "Security")]
    pub client_cert_path: Option<PathBuf>,

    /// Private key for --client-cert-path, PEM
    #[arg(long, value_name = "FILE", help_heading = "Security")]
    pub client_key_path: Option<PathBuf>,

    /// Certificate authorities trusted for https workers, PEM; default: the system's
    #[arg(long, value_name = "FILE", num_args = 0.., help_heading = "Security")]
    pub ca_cert_paths: Vec<PathBuf>,

    /// Origins allowed by CORS, as https://HOST or https://HOST:PORT, or * for all; default: none
    #[arg(long, value_name = "ORIGIN", num_args = 0.., help_heading = "Security")]
    pub cors_allowed_origins: Vec<String>,

    /// Proxies in front of the router, as addresses or networks such as 10.0.0.0/8, whose X-Forwarded-For or Forwarded header
    /// tells the client's address; default: none
    #[arg(long, value_name = "CIDR", num_args = 1.., value_delimiter = ',', help_heading = "Security")]
    pub trusted_proxies: Vec<String>,

    /// On SIGTERM, how long /readiness says 503 while requests are still accepted, before the router drains
    #[arg(long, value_name = "SECS", default_value_t = 0.0, help_heading = "Requests")]
    pub shutdown_delay_secs: f64,

    /// On SIGTERM, how long requests in flight may take to finish
    #[arg(long, value_name = "SECS", default_value_t = 180, help_heading = "Requests")]
    pub shutdown_grace_period_secs: u64,

    /// Time between two health checks of a healthy worker
    #[arg(long, value_name = "SECS", default_value_t = 60.0, help_heading = "Health checks")]
    pub health_check_interval_secs: f64,

    /// Time limit of one health check
    #[arg(long, value_name = "SECS", default_value_t = 5.0, help_heading = "Health checks")]
    pub health_check_timeout_secs: f64,

    /// Failed health checks in a row that make a worker unhealthy
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "Health checks")]
    pub health_failure_threshold: u32,

    /// Passed health checks in a row that make an unhealthy worker healthy; a new worker needs one
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Health checks")]
    pub health_success_threshold: u32,

    /// Path of the health check; with /health_generate SGLang generates a token each time
    #[arg(long, value_name = "PATH", default_value = "/health", help_heading = "Health checks")]
    pub health_check_endpoint: String,

    /// No health checks: every worker counts as healthy until it is unreachable
    #[arg(long, help_heading = "Health checks")]
    pub disable_health_check: bool,

    /// Time between two load polls of a worker, for policies that use reported load
    #[arg(long, value_name = "MS", default_value_t = 100, help_heading = "Health checks")]
    pub load_poll_interval_ms: u64,

    /// Time to the first token that responses are to meet, for the figures from which a fleet is scaled
    #[arg(long, value_name = "SECS", default_value_t = 1.0, help_heading = "Scaling")]
    pub slo_ttft_secs: f64,

    /// Time per further token that responses are to meet, likewise
    #[arg(long, value_name = "SECS", default_value_t = 0.05, help_heading = "Scaling")]
    pub slo_tpot_secs: f64,

    /// Share of the responses that are to meet both, above 0 and below 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.99, help_heading = "Scaling")]
    pub slo_attainment: f64,

    /// How long a new worker takes until it serves requests: so far ahead the arrival rate is forecast
    #[arg(long, value_name = "SECS", default_value_t = 120.0, help_heading = "Scaling")]
    pub scale_horizon_secs: f64,

    /// Record every decision and completion to files in this directory, with any policy
    #[arg(long, value_name = "DIR", help_heading = "Recording")]
    pub record_dir: Option<PathBuf>,

    /// Also record one row per candidate of each decision, with its score and terms
    #[arg(long, help_heading = "Recording")]
    pub record_candidates: bool,

    /// Format of the recorded files
    #[arg(long, value_enum, default_value_t = RecordFormat::Csv, help_heading = "Recording")]
    pub record_format: RecordFormat,

    /// Size at which a recorded file is rotated
    #[arg(long, value_name = "MB", default_value_t = 1024, help_heading = "Recording")]
    pub record_max_file_mb: u64,

    /// Keep traces of recent requests in memory, for GET /v1/traces
    #[arg(long, help_heading = "Recording")]
    pub enable_tracking: bool,

    /// Maximum number of traces in memory; the oldest is dropped first
    #[arg(long, value_name = "N", default_value_t = 100_000, help_heading = "Recording")]
    pub max_trace_entries: usize,

    /// How long a trace is kept
    #[arg(long, value_name = "SECS", default_value_t = 3600, help_heading = "Recording")]
    pub trace_ttl: u64,

    /// Export one span per request and per attempt to an OpenTelemetry collector
    #[arg(long, help_heading = "Recording")]
    pub enable_trace: bool,

    /// Address of the collector: HOST:PORT for OTLP over gRPC, http://HOST:4318/v1/traces for OTLP over HTTP
    #[arg(long, value_name = "ENDPOINT", default_value = "localhost:4317", help_heading = "Recording")]
    pub otlp_traces_endpoint: String,

    /// Minimum severity of logged events
    #[arg(long, value_enum, default_value_t = LogLevel::Info, help_heading = "Logging")]
    pub log_level: LogLevel,

    /// Also write the log to files in this directory, one per day
    #[arg(long, value_name = "DIR", help_heading = "Logging")]
    pub log_dir: Option<PathBuf>,

    /// Format of log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Text, help_heading = "Logging")]
    pub log_format: LogFormat,

    /// Write a line for each request to this file, or to standard output with -; SIGHUP opens the file again
    #[arg(long, value_name = "FILE", help_heading = "Logging")]
    pub access_log: Option<PathBuf>,

    /// Format of the lines of --access-log
    #[arg(long, value_enum, default_value_t = LogFormat::Text, help_heading = "Logging")]
    pub access_log_format: LogFormat,

    /// Share of the requests that --access-log has, chosen at random, above 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, help_heading = "Logging")]
    pub access_log_sample: f64,
}
