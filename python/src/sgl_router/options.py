"""The options of the router and the names of its policies. Written by generate.py; do not edit."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Optional, Union


class PolicyType(str, Enum):
    """The routing policies, by the names that routers for SGLang have given them."""

    #: uniform over the workers
    Random = "random"
    #: one worker after the other
    RoundRobin = "round_robin"
    #: fewest requests in flight, by weight
    LeastRequest = "least_request"
    #: lowest response time times requests in flight
    PeakEwma = "peak_ewma"
    #: fastest of those with few in flight, else fewest in flight
    Prequal = "prequal"
    #: shortest time to work off what is queued, as the workers report
    LeastLoad = "least_load"
    #: fewest tokens to compute times requests in flight
    Lmetric = "lmetric"
    #: each worker with the prompts of a range of lengths
    Bucket = "bucket"
    #: the head of a prompt by hash, while loads are even
    PrefixHash = "prefix_hash"
    #: a routing key by hash, or the worker that the client names
    ConsistentHashing = "consistent_hashing"
    #: a routing key stays on the worker it was assigned to
    Manual = "manual"
    #: the first worker, always
    Passthrough = "passthrough"
    #: the less loaded of two drawn at random
    PowerOfTwo = "power_of_two"
    #: longest known prefix while loads are even, else least load
    CacheAware = "cache_aware"
    #: fewest requests waiting
    ShortestQueue = "shortest_queue"
    #: best recent performance gradient
    MarginalUtility = "marginal_utility"
    #: marginal_utility, recorded
    MarginalUtilityRecorder = "marginal_utility_recorder"
    #: least added latency over all requests, by learned speeds
    MarginalCost = "marginal_cost"
    #: at random, with a fixed probability per worker
    FixedProbability = "fixed_probability"

    def __str__(self) -> str:
        """Return the name that the command line takes."""
        return self.value


@dataclass
class Options:
    """Every option of ``sgl-router launch``, under its name with underscores for dashes."""

    # Workers

    #: Base URLs of the workers, such as http://10.0.0.1:30000
    worker_urls: list[str] = field(default_factory=list)

    #: How workers with http:// URLs are reached; a grpc:// URL says it by itself (http, grpc, grpc-port)
    connection_mode: str = "http"

    #: Start without workers; add them at run time with POST /workers
    start_empty: bool = False

    # Prefill and decode

    #: Run prefill and decode on different workers, given by --prefill and --decode instead of --worker-urls
    pd_disaggregation: bool = False

    #: A prefill worker, and the port of its bootstrap server or none; repeatable
    prefill: list[str] = field(default_factory=list)

    #: A decode worker; repeatable
    decode: list[str] = field(default_factory=list)

    #: Policy that chooses the prefill worker; default: that of --policy
    prefill_policy: Optional[str] = None

    #: Policy that chooses the decode worker; default: that of --policy
    decode_policy: Optional[str] = None

    #: How the KV cache gets from the prefill to the decode worker (sglang, vllm)
    pd_protocol: str = "sglang"

    # Kubernetes

    #: Find workers in Kubernetes: the ready pods with the labels of --selector join, those that terminate
    #: drain
    service_discovery: bool = False

    #: Labels of the pods that are workers, as KEY=VALUE; a pod needs all of them
    selector: list[str] = field(default_factory=list)

    #: The same for prefill workers, with --pd-disaggregation
    prefill_selector: list[str] = field(default_factory=list)

    #: The same for decode workers, with --pd-disaggregation
    decode_selector: list[str] = field(default_factory=list)

    #: Port of the pods; the annotation sgl-router.io/port of a pod overrides it
    service_discovery_port: int = 80

    #: Namespace of the pods; default: all namespaces
    service_discovery_namespace: Optional[str] = None

    #: Only pods behind this Service, by its EndpointSlices, which tell readiness and zone too
    service_discovery_service: Optional[str] = None

    #: The InferencePool of this name says which pods are workers, and at which ports, in place of --selector
    service_discovery_pool: Optional[str] = None

    #: Where the name of a pod's model is: namespace, label:KEY or annotation:KEY; default: what the worker
    #: reports
    model_id_from: Optional[str] = None

    #: How to reach the API server; default: $KUBECONFIG, ~/.kube/config, or the service account of the
    #: router's pod
    kubeconfig: Union[str, os.PathLike[str], None] = None

    # Workers

    #: Route to the data-parallel ranks of workers: each rank is a candidate of its own
    dp_aware: bool = False

    #: With --dp-aware: number of ranks of each worker; default: what the worker reports
    dp_size: Optional[int] = None

    #: How long requests in flight on a removed worker may take to finish
    drain_timeout_secs: int = 180

    #: Time limit of a control call to one worker, such as a weight update; then the worker has failed it
    control_timeout_secs: float = 600.0

    #: Also send requests to workers that missed a weight update; without it they get none until they have
    #: caught up
    allow_outdated_weights: bool = False

    # Listening

    #: Address to listen on
    host: str = "127.0.0.1"

    #: Port to listen on
    port: int = 30000

    #: Also serve Prometheus metrics on this port; GET /metrics on the main port always works
    prometheus_port: Optional[int] = None

    #: Address for --prometheus-port
    prometheus_host: str = "127.0.0.1"

    #: Bucket upper bounds of the request duration histograms, in seconds, ascending [default: 20 from 0.001
    #: to 240]
    prometheus_duration_buckets: list[float] = field(default_factory=list)

    #: Whether metrics have series for each worker beside those of the fleet; auto: while it has at most 256
    #: workers (auto, on, off)
    metrics_per_worker: str = "auto"

    #: Number of threads that serve requests, each with its own connections to workers; default: one per core
    threads: Optional[int] = None

    #: No HTTP/2 for clients: HTTP/1.1 only
    disable_http2: bool = False

    #: Maximum number of requests at a time on one HTTP/2 connection; clients with more open another one
    http2_max_concurrent_streams: int = 100

    # Models

    #: When a request goes by the model that it names; auto: while the workers serve several models (auto, on,
    #: off)
    model_routing: str = "auto"

    #: Another name of a model, as ALIAS=MODEL: workers get the request with the model's own name; repeatable
    model_alias: list[str] = field(default_factory=list)

    #: The model of requests that name none, where the workers serve several; default: such a request is
    #: refused
    default_model: Optional[str] = None

    # Routing

    #: Load balancing policy; `sgl-router policies` lists them all
    policy: str = "marginal_cost"

    #: Shadow policies: they decide on every request too, only for comparison on live traffic
    shadow_policies: list[str] = field(default_factory=list)

    #: An option of a shadow policy, as POLICY.NAME=VALUE; repeatable
    shadow_policy_options: dict[str, Any] = field(default_factory=dict)

    #: An option of the policy, as NAME=VALUE; repeatable
    policy_options: dict[str, Any] = field(default_factory=dict)

    #: cache_aware: minimum share of the prompt that must be cached to prefer a worker for it, 0 to 1
    #: [default: 0.3]
    cache_threshold: Optional[float] = None

    #: cache_aware, bucket, prefix_hash: load is imbalanced when workers differ by more than this ...
    #: [default: 64, 64, 10]
    balance_abs_threshold: Optional[int] = None

    #: cache_aware, bucket: ... and by more than this factor [default: 1.5]
    balance_rel_threshold: Optional[float] = None

    #: Accepted from sglang_router, without effect: the prefix index evicts what was not used for longest when
    #: it is full
    eviction_interval_secs: Optional[int] = None

    #: cache_aware, lmetric, marginal_cost: maximum memory of the prefix index, in bytes [default: 256 KiB for
    #: each worker, at least 8 MiB, at most 1 GiB]
    max_tree_size: Optional[int] = None

    #: manual: drop the assignment of a routing key without requests for this long; 0 is never [default:
    #: 14400]
    max_idle_secs: Optional[int] = None

    #: manual: how a new routing key is assigned to a worker [default: random] (random, min_load, min_group)
    assignment_mode: Optional[str] = None

    #: bucket: time between two adjustments of the workers' ranges of prompt length [default: 5]
    bucket_adjust_interval_secs: Optional[int] = None

    #: Where a routing key may stand, for policies that use it; the first that is present wins. A member of
    #: the body is body:NAME (body:none: none of them); without one, the usual members come last
    routing_key_headers: list[str] = field(
        default_factory=lambda: [
            "x-smg-routing-key",
            "x-claude-code-session-id",
            "x-session-affinity",
            "session-id",
            "session_id",
            "x-session-id",
            "x-user-id",
            "x-tenant-id",
        ]
    )

    #: Random seed of routing decisions; default: a new one at each start
    seed: Optional[int] = None

    # Requests

    #: Time limit of a request, until the end of its response; after it: 504
    request_timeout_secs: int = 1800

    #: Time limit to establish a connection to a worker; after it the worker counts as unreachable
    connect_timeout_secs: float = 5.0

    #: Maximum size of a request body, in bytes; larger ones get 413
    max_payload_size: int = 536870912

    #: Headers that may carry the client's request id; the first that is present wins
    request_id_headers: list[str] = field(
        default_factory=lambda: [
            "x-request-id",
            "x-correlation-id",
            "x-trace-id",
            "request-id",
        ]
    )

    #: Send workers the id that the router made for a request, in x-request-id, where the client named none.
    #: vLLM takes it as its own id of the request. What the client sends is forwarded either way
    send_request_id: bool = False

    #: Headers that tell workers the client's address, protocol and host: X-Forwarded-For, -Proto and -Host,
    #: or Forwarded (RFC 7239). Those that a client sent are removed, unless it is one of --trusted-proxies.
    #: With off they pass as they come (off, x-forwarded, rfc7239, both)
    forwarded_headers: str = "off"

    #: More response headers that name the worker, beside x-sglang-worker; x-smg-routed-worker-id is smg's
    routed_worker_headers: list[str] = field(default_factory=list)

    #: Time limit until the first byte of a response; after it the request is retried on another worker. A
    #: response that is not streamed has its first byte at its end; default: the time limit of the request
    first_byte_timeout_secs: Optional[float] = None

    #: A stream without data for this long ends with an error; a WebSocket is closed
    stream_idle_timeout_secs: float = 300.0

    #: A request routed by POST /v1/route is cancelled when nothing was heard of it for this long; default:
    #: that of a request
    route_lease_timeout_secs: Optional[float] = None

    #: While a worker sends nothing of a stream, send the client a comment (`: ping`) after each such time, so
    #: that no proxy takes the connection for idle; on /v1/messages a ping event; 0 is never
    sse_keep_alive_secs: float = 0.0

    # Retries

    #: Maximum number of retries of a request, each on another worker
    retry_max_retries: int = 5

    #: Backoff before the second retry; the first retry is sent at once
    retry_initial_backoff_ms: int = 50

    #: Maximum backoff before a retry
    retry_max_backoff_ms: int = 30000

    #: Factor by which each backoff is longer than the previous one
    retry_backoff_multiplier: float = 1.5

    #: Random jitter: each backoff is longer or shorter by up to this share of it, 0 to 1
    retry_jitter_factor: float = 0.2

    #: Retry budget: most retries after 5xx and 429, and hedges, as a share of the requests of the last 10 s;
    #: 100 more are free
    retry_budget: float = 0.2

    #: Never retry a request
    disable_retries: bool = False

    #: Hedge requests that are not streamed: send a second copy to another worker when there is no response
    #: after this time, such as 1.5s or 800ms, or after p50 to p99 of recent response times; the first
    #: response wins
    hedge_after: Optional[str] = None

    #: Queue requests while no worker is available, up to --queue-timeout-secs, instead of responding 503
    queue_when_unavailable: bool = False

    # Circuit breaker

    #: Failures (connect errors, timeouts, 5xx) that open the breaker of a worker: so many in a row, or so
    #: many within the window if they are at least half of all outcomes
    cb_failure_threshold: int = 10

    #: Successful requests in a row that close a half-open breaker; they are sent one at a time
    cb_success_threshold: int = 3

    #: How long a breaker stays open, so that its worker gets no requests, before it is half-open
    cb_timeout_duration_secs: float = 60.0

    #: Length of the window in which failures are counted
    cb_window_duration_secs: float = 120.0

    #: No circuit breaker: a worker gets no requests only when it is unreachable or fails its health checks
    disable_circuit_breaker: bool = False

    # Overload

    #: Maximum number of concurrent requests, -1 for no limit; more wait in the queue
    max_concurrent_requests: int = -1

    #: Maximum number of requests in the queue; more get 429
    queue_size: int = 100

    #: Maximum time that a request waits in a queue of the router
    queue_timeout_secs: float = 60.0

    #: Rate limit, in requests per second, with bursts of one second's worth; more wait in the queue
    rate_limit_tokens_per_second: Optional[int] = None

    #: Maximum requests in flight on one worker, 0 for no limit; when all workers are full, requests wait in
    #: the queue, then get 503. Without it: twice what the worker says that it runs at once, at least 256;
    #: 2048 where it does not say
    worker_max_in_flight: Optional[int] = None

    #: Requests that come within so many milliseconds while the fleet is busy are dispatched together; 0 is
    #: off
    batch_window_ms: int = 0

    #: A worker that reports N or more waiting requests gets none while another can take them, 0 for no bound
    #: [default: 256, unpolled]
    overload_waiting_requests: Optional[int] = None

    #: The same for a worker that reports such a share of its KV cache in use, above 0 to 1; 0 is no bound,
    #: and no poll
    overload_kv_usage: float = 0.0

    #: Maximum memory for request bodies, in bytes, 0 for no limit; requests that do not fit get 503
    max_buffered_bytes: int = 4294967296

    #: Time limit for a client to send a complete request head, also on an idle connection; then it is closed;
    #: 0 is never
    client_header_timeout_secs: float = 75.0

    #: A client that sends none of its request body for this long gets 408; 0 is never
    client_body_timeout_secs: float = 60.0

    #: A client that reads none of its response for this long is disconnected
    client_write_timeout_secs: float = 300.0

    # Security

    #: API key that clients must send, as Authorization: Bearer KEY [env: SGL_ROUTER_API_KEY]
    api_key: Optional[str] = field(default=None, repr=False)

    #: API key for the admin routes; without it they are served to this machine only [env:
    #: SGL_ROUTER_ADMIN_API_KEY]
    admin_api_key: Optional[str] = field(default=None, repr=False)

    #: Without an admin key, serve the admin routes to every machine; only where each one that reaches the
    #: port is trusted [env: SGL_ROUTER_ALLOW_REMOTE_ADMIN]
    allow_remote_admin: bool = False

    #: More API keys, each with a role: admin allows all routes, user the client routes
    control_plane_api_keys: list[str] = field(default_factory=list, repr=False)

    #: API key sent to workers that have none of their own, in place of the client's [env:
    #: SGL_ROUTER_WORKER_API_KEY]
    worker_api_key: Optional[str] = field(default=None, repr=False)

    #: Serve the admin routes on this port only, not on the main port
    admin_port: Optional[int] = None

    #: Address for --admin-port
    admin_host: str = "127.0.0.1"

    #: Serve neither the page GET /dashboard nor the stream GET /v1/live that it shows
    no_dashboard: bool = False

    #: Certificate chain that the router presents to clients, PEM; turns TLS on
    tls_cert_path: Union[str, os.PathLike[str], None] = None

    #: Private key for --tls-cert-path, PEM
    tls_key_path: Union[str, os.PathLike[str], None] = None

    #: Certificate chain that the router presents to https workers, PEM
    client_cert_path: Union[str, os.PathLike[str], None] = None

    #: Private key for --client-cert-path, PEM
    client_key_path: Union[str, os.PathLike[str], None] = None

    #: Certificate authorities trusted for https workers, PEM; default: the system's
    ca_cert_paths: list[str] = field(default_factory=list)

    #: Origins allowed by CORS, as https://HOST or https://HOST:PORT, or * for all; default: none
    cors_allowed_origins: list[str] = field(default_factory=list)

    #: Proxies in front of the router, as addresses or networks such as 10.0.0.0/8, whose X-Forwarded-For or
    #: Forwarded header tells the client's address; default: none
    trusted_proxies: list[str] = field(default_factory=list)

    # Requests

    #: On SIGTERM, how long /readiness says 503 while requests are still accepted, before the router drains
    shutdown_delay_secs: float = 0.0

    #: On SIGTERM, how long requests in flight may take to finish
    shutdown_grace_period_secs: int = 180

    # Health checks

    #: Time between two health checks of a healthy worker
    health_check_interval_secs: float = 60.0

    #: Time limit of one health check
    health_check_timeout_secs: float = 5.0

    #: Failed health checks in a row that make a worker unhealthy
    health_failure_threshold: int = 3

    #: Passed health checks in a row that make an unhealthy worker healthy; a new worker needs one
    health_success_threshold: int = 2

    #: Path of the health check; with /health_generate SGLang generates a token each time
    health_check_endpoint: str = "/health"

    #: No health checks: every worker counts as healthy until it is unreachable
    disable_health_check: bool = False

    #: Time between two load polls of a worker, for policies that use reported load
    load_poll_interval_ms: int = 100

    # Scaling

    #: Time to the first token that responses are to meet, for the figures from which a fleet is scaled
    slo_ttft_secs: float = 1.0

    #: Time per further token that responses are to meet, likewise
    slo_tpot_secs: float = 0.05

    #: Share of the responses that are to meet both, above 0 and below 1
    slo_attainment: float = 0.99

    #: How long a new worker takes until it serves requests: so far ahead the arrival rate is forecast
    scale_horizon_secs: float = 120.0

    # Recording

    #: Record every decision and completion to files in this directory, with any policy
    record_dir: Union[str, os.PathLike[str], None] = None

    #: Also record one row per candidate of each decision, with its score and terms
    record_candidates: bool = False

    #: Format of the recorded files (csv, jsonl)
    record_format: str = "csv"

    #: Size at which a recorded file is rotated
    record_max_file_mb: int = 1024

    #: Keep traces of recent requests in memory, for GET /v1/traces
    enable_tracking: bool = False

    #: Maximum number of traces in memory; the oldest is dropped first
    max_trace_entries: int = 100000

    #: How long a trace is kept
    trace_ttl: int = 3600

    #: Export one span per request and per attempt to an OpenTelemetry collector
    enable_trace: bool = False

    #: Address of the collector: HOST:PORT for OTLP over gRPC, http://HOST:4318/v1/traces for OTLP over HTTP
    otlp_traces_endpoint: str = "localhost:4317"

    # Logging

    #: Minimum severity of logged events (trace, debug, info, warn, error)
    log_level: str = "info"

    #: Also write the log to files in this directory, one per day
    log_dir: Union[str, os.PathLike[str], None] = None

    #: Format of log lines (text, json)
    log_format: str = "text"

    #: Write a line for each request to this file, or to standard output with -; SIGHUP opens the file again
    access_log: Union[str, os.PathLike[str], None] = None

    #: Format of the lines of --access-log (text, json)
    access_log_format: str = "text"

    #: Share of the requests that --access-log has, chosen at random, above 0 to 1
    access_log_sample: float = 1.0

    # Workers

    #: Workers with settings, each a dictionary with the members of POST /workers: {"url": "...", "weight":
    #: 2.0}
    workers: list[dict[str, Any]] = field(default_factory=list)
