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
    #: shortest time to work off what is queued, as the workers tell
    LeastLoad = "least_load"
    #: fewest tokens to compute times requests in flight
    Lmetric = "lmetric"
    #: each worker with the prompts of a range of lengths
    Bucket = "bucket"
    #: the head of a prompt by hash, while loads are even
    PrefixHash = "prefix_hash"
    #: a routing key by hash, or the worker that the client names
    ConsistentHashing = "consistent_hashing"
    #: a routing key stays where it was given to
    Manual = "manual"
    #: the first worker, always
    Passthrough = "passthrough"
    #: the less loaded of two drawn by lot
    PowerOfTwo = "power_of_two"
    #: longest known prefix while loads are even, else least load
    CacheAware = "cache_aware"
    #: fewest requests waiting
    ShortestQueue = "shortest_queue"
    #: best recent performance gradient
    MarginalUtility = "marginal_utility"
    #: marginal_utility, recorded
    MarginalUtilityRecorder = "marginal_utility_recorder"
    #: least added to everybody's time, by learned speeds
    MarginalCost = "marginal_cost"
    #: by lot, with a fixed chance per worker
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

    #: Start without workers; they join at run time, by POST /workers
    start_empty: bool = False

    # Prefill and decode

    #: Read prompts on some workers and write answers on others: --prefill and --decode instead of
    #: --worker-urls
    pd_disaggregation: bool = False

    #: A worker that reads prompts, and the port of its bootstrap server or none; repeatable
    prefill: list[str] = field(default_factory=list)

    #: A worker that writes answers; repeatable
    decode: list[str] = field(default_factory=list)

    #: How a worker that reads prompts is chosen; default: as --policy says
    prefill_policy: Optional[str] = None

    #: How a worker that writes answers is chosen; default: as --policy says
    decode_policy: Optional[str] = None

    #: How the two hand a prompt over (sglang, vllm)
    pd_protocol: str = "sglang"

    # Workers

    #: Choose among the data-parallel ranks of each worker, not among the workers
    dp_aware: bool = False

    #: With --dp-aware: how many ranks each worker has; default: as many as it says
    dp_size: Optional[int] = None

    #: How long the requests of a worker that is removed may take to end
    drain_timeout_secs: int = 180

    # Listening

    #: Address to listen on
    host: str = "127.0.0.1"

    #: Port to listen on
    port: int = 30000

    #: Also serve Prometheus metrics on this port (GET /metrics on the main port always answers)
    prometheus_port: Optional[int] = None

    #: Address for --prometheus-port
    prometheus_host: str = "127.0.0.1"

    #: Upper bounds of the histograms of request durations, in seconds, ascending [default: 20 from 0.001 to
    #: 240]
    prometheus_duration_buckets: list[float] = field(default_factory=list)

    #: Threads that serve requests, each with connections to workers of its own; default: one per core
    threads: Optional[int] = None

    # Routing

    #: How a worker is chosen; `sgl-router policies` lists all
    policy: str = "marginal_cost"

    #: Policies that decide on every request and are never obeyed, to compare them on live traffic
    shadow_policies: list[str] = field(default_factory=list)

    #: A knob of the policy, as NAME=VALUE; repeatable
    policy_options: dict[str, Any] = field(default_factory=dict)

    #: cache_aware: least share of the prompt that must be cached for affinity to count, 0 to 1 [default: 0.3]
    cache_threshold: Optional[float] = None

    #: cache_aware, bucket, prefix_hash: loads are uneven when they differ by more than this ... [default: 64,
    #: 64, 10]
    balance_abs_threshold: Optional[int] = None

    #: cache_aware, bucket: ... and by more than this factor [default: 1.5]
    balance_rel_threshold: Optional[float] = None

    #: cache_aware: a prefix unused for this long is forgotten [default: 60]
    eviction_interval_secs: Optional[int] = None

    #: cache_aware, lmetric, marginal_cost: most memory for the prefix index, in bytes [default: 67108864]
    max_tree_size: Optional[int] = None

    #: manual: a routing key without a request for this long is forgotten; 0 is never [default: 14400]
    max_idle_secs: Optional[int] = None

    #: manual: how a new routing key finds its worker [default: random] (random, min_load, min_group)
    assignment_mode: Optional[str] = None

    #: bucket: how often the workers' ranges of prompt length are fitted [default: 5]
    bucket_adjust_interval_secs: Optional[int] = None

    #: Headers that may carry a routing key, for policies that go by it; first found wins, and all win over
    #: the body
    routing_key_headers: list[str] = field(
        default_factory=lambda: [
            "x-smg-routing-key",
            "x-session-id",
            "x-user-id",
            "x-tenant-id",
        ]
    )

    #: Seed of all chance in routing; default: a new one each start
    seed: Optional[int] = None

    # Requests

    #: A request unanswered for this long ends with 504
    request_timeout_secs: int = 1800

    #: A worker that does not accept a connection within this time counts as unreachable
    connect_timeout_secs: float = 5.0

    #: Largest request body, in bytes; larger ones end with 413
    max_payload_size: int = 536870912

    #: Headers that may carry the client's request id, first found wins
    request_id_headers: list[str] = field(
        default_factory=lambda: [
            "x-request-id",
            "x-correlation-id",
            "x-trace-id",
            "request-id",
        ]
    )

    #: A worker that has not begun to answer a request after this long is given up for it, and another one is
    #: tried; default: as long as the request may take. Answers that are not streamed begin when they end
    first_byte_timeout_secs: Optional[float] = None

    #: A stream that brings nothing for this long is ended with an error
    stream_idle_timeout_secs: float = 300.0

    # Retries

    #: Most other workers that are tried when one fails, each once
    retry_max_retries: int = 5

    #: Wait before the second retry; the first goes out at once
    retry_initial_backoff_ms: int = 50

    #: Longest wait before a retry
    retry_max_backoff_ms: int = 30000

    #: Each wait is so many times the one before
    retry_backoff_multiplier: float = 1.5

    #: Each wait is longer or shorter by up to this share of it, 0 to 1, by lot
    retry_jitter_factor: float = 0.2

    #: Most retries after an answer of 5xx, 429 or 503, and hedges, as a share of the requests of the last 10
    #: s; 100 more are always allowed
    retry_budget: float = 0.2

    #: Never try another worker
    disable_retries: bool = False

    #: Send a second copy of a request that is not streamed, to another worker, when no answer came for this
    #: long: a time such as 1.5s or 800ms, or p50 to p99 of the times of late; the first answer wins
    hedge_after: Optional[str] = None

    #: Hold requests while no worker is available, up to --queue-timeout-secs, instead of answering 503
    queue_when_unavailable: bool = False

    # Circuit breaker

    #: So many faults (connect errors, timeouts, 5xx) in a row, or that many within the window if they are at
    #: least half of all ends, keep requests from a worker for a while
    cb_failure_threshold: int = 10

    #: So many good requests, one at a time, bring it back
    cb_success_threshold: int = 3

    #: How long it gets nothing before it is probed
    cb_timeout_duration_secs: float = 60.0

    #: How far back faults count
    cb_window_duration_secs: float = 120.0

    #: Keep requests from a worker only when it cannot be reached or fails its health checks
    disable_circuit_breaker: bool = False

    # Overload

    #: Most requests that are served at a time, -1 for any number; more wait in the queue
    max_concurrent_requests: int = -1

    #: Most requests that wait; more end with 429
    queue_size: int = 100

    #: Longest wait in a queue of the router
    queue_timeout_secs: float = 60.0

    #: Most requests that come in per second, with bursts of one second's; more wait in the queue
    rate_limit_tokens_per_second: Optional[int] = None

    #: Most requests in flight on one worker; when all have as many, requests wait in the queue, then end with
    #: 503
    worker_max_in_flight: Optional[int] = None

    #: Most bytes of request bodies held at a time, 0 for any number; what does not fit ends with 503
    max_buffered_bytes: int = 4294967296

    #: A client that sends no whole request head for this long is closed, an idle connection too
    client_header_timeout_secs: float = 75.0

    #: A client that sends nothing of a body for this long gets 408
    client_body_timeout_secs: float = 60.0

    #: A client that takes nothing of its answer for this long is closed
    client_write_timeout_secs: float = 300.0

    # Security

    #: Key that clients must send, as Authorization: Bearer KEY [env: SGL_ROUTER_API_KEY]
    api_key: Optional[str] = field(default=None, repr=False)

    #: Key for the admin routes; without one they answer this machine only [env: SGL_ROUTER_ADMIN_API_KEY]
    admin_api_key: Optional[str] = field(default=None, repr=False)

    #: More keys, each with a role: admin opens all routes, user those of clients
    control_plane_api_keys: list[str] = field(default_factory=list, repr=False)

    #: Key that is sent to every worker without one of its own, in place of what the client sent [env:
    #: SGL_ROUTER_WORKER_API_KEY]
    worker_api_key: Optional[str] = field(default=None, repr=False)

    #: Serve the admin routes on this port, and no longer on the main one
    admin_port: Optional[int] = None

    #: Address for --admin-port
    admin_host: str = "127.0.0.1"

    #: Certificate chain for clients, PEM; the router then speaks TLS
    tls_cert_path: Union[str, os.PathLike[str], None] = None

    #: Private key of that certificate, PEM
    tls_key_path: Union[str, os.PathLike[str], None] = None

    #: Certificate chain that the router shows to https workers, PEM
    client_cert_path: Union[str, os.PathLike[str], None] = None

    #: Private key of that certificate, PEM
    client_key_path: Union[str, os.PathLike[str], None] = None

    #: Authorities that https workers are checked by, PEM; default: the system's
    ca_cert_paths: list[str] = field(default_factory=list)

    #: Web pages that may call the router, as https://HOST or https://HOST:PORT, or * for all
    cors_allowed_origins: list[str] = field(default_factory=list)

    # Requests

    #: On SIGTERM, how long running requests may take to end
    shutdown_grace_period_secs: int = 180

    # Health checks

    #: Time between two checks of a healthy worker
    health_check_interval_secs: float = 60.0

    #: A check unanswered for this long has failed
    health_check_timeout_secs: float = 5.0

    #: So many failed checks in a row make a worker unhealthy
    health_failure_threshold: int = 3

    #: So many good checks in a row make an unhealthy worker healthy again; the first check at start-up needs
    #: one
    health_success_threshold: int = 2

    #: Path that is asked; /health_generate has SGLang generate a token for it
    health_check_endpoint: str = "/health"

    #: Take every worker for healthy until it cannot be reached
    disable_health_check: bool = False

    #: Time between two load reports of a worker, for policies that use them
    load_poll_interval_ms: int = 100

    # Recording

    #: Record every decision and completion to files in this directory, with any policy
    record_dir: Union[str, os.PathLike[str], None] = None

    #: Also record a row per candidate of each decision, with its score and terms
    record_candidates: bool = False

    #: How recorded rows look (csv, jsonl)
    record_format: str = "csv"

    #: A recorded file that has grown to this size is followed by a new one
    record_max_file_mb: int = 1024

    #: Keep traces of recent requests in memory, for GET /v1/traces
    enable_tracking: bool = False

    #: Most traces in memory; the oldest goes first
    max_trace_entries: int = 100000

    #: A trace older than this is gone
    trace_ttl: int = 3600

    #: Export a span per request and per attempt to an OpenTelemetry collector
    enable_trace: bool = False

    #: The collector: HOST:PORT for OTLP over gRPC, http://HOST:4318/v1/traces for OTLP over HTTP
    otlp_traces_endpoint: str = "localhost:4317"

    # Logging

    #: How much is logged (trace, debug, info, warn, error)
    log_level: str = "info"

    #: Also write the log to files in this directory, a new one each day
    log_dir: Union[str, os.PathLike[str], None] = None

    #: How log lines look (text, json)
    log_format: str = "text"

    # Workers

    #: Workers with weights, each as {"url": "http://HOST:PORT", "weight": 2.0, "priority": 50}
    workers: list[dict[str, Any]] = field(default_factory=list)
