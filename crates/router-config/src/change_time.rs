//! Which options can change while the router runs.

use crate::options::Options;

/// When a changed option takes effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeTime {
    /// At once, in a router that runs.
    Live,
    /// When the router starts again, for this reason.
    Restart(&'static str),
}

use ChangeTime::{Live, Restart};

/// Every option, by when it can change and why.
const TIMES: &[(ChangeTime, &[&str])] = &[
    (
        Live,
        &[
            "worker_urls",
            "workers",
            "prefill",
            "decode",
            "policy",
            "prefill_policy",
            "decode_policy",
            "policy_options",
            "shadow_policies",
            "shadow_policy_options",
            "cache_threshold",
            "balance_abs_threshold",
            "balance_rel_threshold",
            "eviction_interval_secs",
            "max_tree_size",
            "max_idle_secs",
            "assignment_mode",
            "bucket_adjust_interval_secs",
            "routing_key_headers",
            "request_timeout_secs",
            "max_payload_size",
            "request_id_headers",
            "send_request_id",
            "first_byte_timeout_secs",
            "stream_idle_timeout_secs",
            "route_lease_timeout_secs",
            "sse_keep_alive_secs",
            "retry_max_retries",
            "retry_initial_backoff_ms",
            "retry_max_backoff_ms",
            "retry_backoff_multiplier",
            "retry_jitter_factor",
            "retry_budget",
            "disable_retries",
            "hedge_after",
            "queue_when_unavailable",
            "max_concurrent_requests",
            "queue_size",
            "queue_timeout_secs",
            "rate_limit_tokens_per_second",
            "worker_max_in_flight",
            "batch_window_ms",
            "overload_waiting_requests",
            "overload_kv_usage",
            "max_buffered_bytes",
            "client_body_timeout_secs",
            "log_level",
        ],
    ),
    (
        Restart("the port is bound at the start"),
        &["host", "port", "prometheus_port", "prometheus_host", "admin_port", "admin_host"],
    ),
    (Restart("the threads begin with the router"), &["threads"]),
    (
        Restart("it is part of every connection from its beginning"),
        &[
            "disable_http2",
            "http2_max_concurrent_streams",
            "client_header_timeout_secs",
            "client_write_timeout_secs",
        ],
    ),
    (Restart("prefill and decode are taken apart at the start"), &["pd_disaggregation", "pd_protocol"]),
    (
        Restart("a worker is connected to as it was when it joined"),
        &[
            "connection_mode",
            "dp_aware",
            "dp_size",
            "connect_timeout_secs",
            "worker_api_key",
            "client_cert_path",
            "client_key_path",
            "ca_cert_paths",
        ],
    ),
    (
        Restart(
            "a worker is checked as it was when it joined; PATCH /workers/{id} changes the checks of one",
        ),
        &[
            "health_check_interval_secs",
            "health_check_timeout_secs",
            "health_failure_threshold",
            "health_success_threshold",
            "health_check_endpoint",
            "disable_health_check",
            "load_poll_interval_ms",
            "cb_failure_threshold",
            "cb_success_threshold",
            "cb_timeout_duration_secs",
            "cb_window_duration_secs",
            "disable_circuit_breaker",
        ],
    ),
    (
        Restart("the fleet is watched from the start"),
        &[
            "start_empty",
            "service_discovery",
            "selector",
            "prefill_selector",
            "decode_selector",
            "service_discovery_port",
            "service_discovery_namespace",
            "service_discovery_service",
            "service_discovery_pool",
            "model_id_from",
            "kubeconfig",
            "model_routing",
            "model_alias",
            "default_model",
            "allow_outdated_weights",
            "control_timeout_secs",
            "drain_timeout_secs",
        ],
    ),
    (Restart("its routes are there from the start, or not at all"), &["no_dashboard"]),
    (
        Restart("keys, certificates and who is trusted are read at the start"),
        &[
            "api_key",
            "admin_api_key",
            "allow_remote_admin",
            "control_plane_api_keys",
            "tls_cert_path",
            "tls_key_path",
            "cors_allowed_origins",
            "trusted_proxies",
            "forwarded_headers",
            "routed_worker_headers",
        ],
    ),
    (
        Restart("what was measured so far would not fit what comes"),
        &[
            "prometheus_duration_buckets",
            "metrics_per_worker",
            "slo_ttft_secs",
            "slo_tpot_secs",
            "slo_attainment",
            "scale_horizon_secs",
        ],
    ),
    (Restart("random numbers follow from it from the start"), &["seed"]),
    (
        Restart("records and logs begin with the router"),
        &[
            "record_dir",
            "record_candidates",
            "record_format",
            "record_max_file_mb",
            "enable_tracking",
            "max_trace_entries",
            "trace_ttl",
            "enable_trace",
            "otlp_traces_endpoint",
            "log_dir",
            "log_format",
            "access_log",
            "access_log_format",
            "access_log_sample",
        ],
    ),
    (Restart("it ends with the router"), &["shutdown_delay_secs", "shutdown_grace_period_secs"]),
];

impl Options {
    /// When a change of the option `key` takes effect; `None` where there is no such option.
    pub fn change_time(key: &str) -> Option<ChangeTime> {
        TIMES.iter().find(|(_, keys)| keys.contains(&key)).map(|(time, _)| *time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known_fields::field_names;

    #[test]
    fn every_option_is_listed_once() {
        let listed: Vec<_> = TIMES.iter().flat_map(|(_, keys)| *keys).collect();
        for key in field_names::<Options>() {
            assert_eq!(listed.iter().filter(|listed| **listed == key).count(), 1, "{key}");
        }
        assert_eq!(listed.len(), field_names::<Options>().len());
    }
}
