"""The types of the keywords of ``Router``. Written by generate.py; do not edit."""

from __future__ import annotations

import os
from typing import Any, Optional, TypedDict, Union

from .options import PolicyType


class OptionKeywords(TypedDict, total=False):
    """Every option of ``sgl-router launch``, and below them the other names of ``sglang_router``."""

    worker_urls: list[str]
    connection_mode: str
    start_empty: bool
    pd_disaggregation: bool
    prefill: list[str]
    decode: list[str]
    prefill_policy: Union[str, PolicyType, None]
    decode_policy: Union[str, PolicyType, None]
    pd_protocol: str
    service_discovery: bool
    selector: Union[list[str], dict[str, str]]
    prefill_selector: Union[list[str], dict[str, str]]
    decode_selector: Union[list[str], dict[str, str]]
    service_discovery_port: int
    service_discovery_namespace: Optional[str]
    service_discovery_service: Optional[str]
    service_discovery_pool: Optional[str]
    model_id_from: Optional[str]
    kubeconfig: Union[str, os.PathLike[str], None]
    dp_aware: bool
    dp_size: Optional[int]
    drain_timeout_secs: int
    control_timeout_secs: float
    allow_outdated_weights: bool
    host: str
    port: int
    prometheus_port: Optional[int]
    prometheus_host: str
    prometheus_duration_buckets: list[float]
    metrics_per_worker: str
    threads: Optional[int]
    disable_http2: bool
    http2_max_concurrent_streams: int
    model_routing: str
    model_alias: list[str]
    default_model: Optional[str]
    policy: Union[str, PolicyType]
    shadow_policies: list[str]
    shadow_policy_options: dict[str, Any]
    policy_options: dict[str, Any]
    cache_threshold: Optional[float]
    balance_abs_threshold: Optional[int]
    balance_rel_threshold: Optional[float]
    eviction_interval_secs: Optional[int]
    max_tree_size: Optional[int]
    max_idle_secs: Optional[int]
    assignment_mode: Optional[str]
    bucket_adjust_interval_secs: Optional[int]
    routing_key_headers: list[str]
    seed: Optional[int]
    request_timeout_secs: int
    connect_timeout_secs: float
    max_payload_size: int
    request_id_headers: list[str]
    send_request_id: bool
    forwarded_headers: str
    routed_worker_headers: list[str]
    first_byte_timeout_secs: Optional[float]
    stream_idle_timeout_secs: float
    route_lease_timeout_secs: Optional[float]
    sse_keep_alive_secs: float
    retry_max_retries: int
    retry_initial_backoff_ms: int
    retry_max_backoff_ms: int
    retry_backoff_multiplier: float
    retry_jitter_factor: float
    retry_budget: float
    disable_retries: bool
    hedge_after: Optional[str]
    queue_when_unavailable: bool
    cb_failure_threshold: int
    cb_success_threshold: int
    cb_timeout_duration_secs: float
    cb_window_duration_secs: float
    disable_circuit_breaker: bool
    max_concurrent_requests: int
    queue_size: int
    queue_timeout_secs: float
    rate_limit_tokens_per_second: Optional[int]
    worker_max_in_flight: Optional[int]
    batch_window_ms: int
    overload_waiting_requests: Optional[int]
    overload_kv_usage: float
    max_buffered_bytes: int
    client_header_timeout_secs: float
    client_body_timeout_secs: float
    client_write_timeout_secs: float
    api_key: Optional[str]
    admin_api_key: Optional[str]
    allow_remote_admin: bool
    control_plane_api_keys: list[str]
    worker_api_key: Optional[str]
    admin_port: Optional[int]
    admin_host: str
    no_dashboard: bool
    tls_cert_path: Union[str, os.PathLike[str], None]
    tls_key_path: Union[str, os.PathLike[str], None]
    client_cert_path: Union[str, os.PathLike[str], None]
    client_key_path: Union[str, os.PathLike[str], None]
    ca_cert_paths: list[str]
    cors_allowed_origins: list[str]
    trusted_proxies: list[str]
    shutdown_delay_secs: float
    shutdown_grace_period_secs: int
    health_check_interval_secs: float
    health_check_timeout_secs: float
    health_failure_threshold: int
    health_success_threshold: int
    health_check_endpoint: str
    disable_health_check: bool
    load_poll_interval_ms: int
    slo_ttft_secs: float
    slo_tpot_secs: float
    slo_attainment: float
    scale_horizon_secs: float
    record_dir: Union[str, os.PathLike[str], None]
    record_candidates: bool
    record_format: str
    record_max_file_mb: int
    enable_tracking: bool
    max_trace_entries: int
    trace_ttl: int
    enable_trace: bool
    otlp_traces_endpoint: str
    log_level: str
    log_dir: Union[str, os.PathLike[str], None]
    log_format: str
    access_log: Union[str, os.PathLike[str], None]
    access_log_format: str
    access_log_sample: float
    workers: list[dict[str, Any]]

    backend: Any
    chat_template: Any
    control_plane_audit_enabled: Any
    decode_urls: Any
    enable_igw: Any
    enable_request_tracking: Any
    eviction_interval: Any
    fixed_probabilities: Any
    history_backend: Any
    jwt_audience: Any
    jwt_issuer: Any
    jwt_jwks_uri: Any
    jwt_role_mapping: Any
    marginal_utility_output_dir: Any
    mcp_config_path: Any
    mini_lb: Any
    model_path: Any
    oracle_connect_descriptor: Any
    oracle_password: Any
    oracle_pool_max: Any
    oracle_pool_min: Any
    oracle_pool_timeout_secs: Any
    oracle_tns_alias: Any
    oracle_username: Any
    oracle_wallet_path: Any
    postgres_db_url: Any
    postgres_pool_max: Any
    prefill_urls: Any
    reasoning_parser: Any
    redis_pool_max: Any
    redis_retention_days: Any
    redis_url: Any
    server_cert_path: Any
    server_key_path: Any
    tokenizer_cache_enable_l0: Any
    tokenizer_cache_enable_l1: Any
    tokenizer_cache_l0_max_entries: Any
    tokenizer_cache_l1_max_memory: Any
    tokenizer_path: Any
    tool_call_parser: Any
    trace_ttl_seconds: Any
    worker_startup_check_interval: Any
    worker_startup_timeout_secs: Any
