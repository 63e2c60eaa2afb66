//! The flags that smg alone has.

use super::flag::FlagMapping::{Becomes, ByValue, Nothing, Refused, Same};
use super::flag::FlagValues::{Many, One};
use super::flag::{FlagMapping, FlagRow, FlagValues, SourceRouter};
use super::sglang_router::{DISCOVERY, HISTORY, PARSER, STARTUP, TOKENIZER};

const ENCODE: FlagMapping =
    Refused("servers that only encode are not known; let those that read prompts encode, too");
const INDEX: FlagMapping = Nothing(
    "it tunes smg's own index; here cache_aware has --cache-threshold, --eviction-interval-secs and --max-tree-size",
);
const OVERLOAD: FlagMapping = Refused(
    "a worker that answers 429 or 503 is avoided by itself; --worker-max-in-flight N keeps any from getting more than N",
);
const USAGE: FlagMapping =
    Refused("cache_aware compares requests in flight; --policy least_load heeds the servers' caches");
const OFF: FlagMapping = Nothing("there is nothing to switch off");
const SILENCE: FlagMapping =
    Nothing("silent workers are found out by their health checks: --health-check-interval-secs");
const PREFILL_QUEUE: FlagMapping =
    Refused("--worker-max-in-flight bounds every worker, --queue-size those that wait");
const RECOVERY: FlagMapping =
    Nothing("a worker that is not well stays in the fleet, gets nothing, and rejoins once it is");
const TENANTS: FlagMapping =
    Refused("there are no tenants; --control-plane-api-keys ID:NAME:user:KEY gives each client a key");
const MESH: FlagMapping = Refused("routers share no state; run several behind any load balancer");
const PRIORITIES: FlagMapping =
    Refused("requests come in by the order of arrival: --max-concurrent-requests, --queue-size");
const RL: FlagMapping =
    Refused("ask the servers themselves; /flush_cache and /abort_request go to all of them");
const JOBS: FlagMapping = Nothing("a worker joins or leaves at once, without a queue of jobs");
const MEDIA: FlagMapping = Nothing("media go to the servers as they came");
const MEDIA_LIMIT: FlagMapping = Refused("the servers fetch and read media; set the limit there");

const fn row(takes: FlagValues, names: &'static [&'static str], fate: FlagMapping) -> FlagRow {
    FlagRow { peers: &[SourceRouter::Smg], takes, names, fate }
}

/// The flags of smg 1.13.0 that sglang-router 0.3.2 lacks.
pub(super) const ROWS: &[FlagRow] = &[
    // Other names for what there is.
    row(One, &["cache-match-threshold"], Becomes(&["--cache-threshold", "{}"])),
    row(One, &["spill-abs-threshold"], Becomes(&["--balance-abs-threshold", "{}"])),
    row(One, &["spill-rel-threshold"], Becomes(&["--balance-rel-threshold", "{}"])),
    row(One, &["sticky-key-idle-secs"], Becomes(&["--max-idle-secs", "{}"])),
    row(One, &["cache-ttl-secs"], Becomes(&["--eviction-interval-secs", "{}"])),
    row(One, &["prefix-token-count"], Becomes(&["--policy-option", "prefix_token_count={}"])),
    row(One, &["prefix-hash-load-factor"], Becomes(&["--policy-option", "load_factor={}"])),
    row(One, &["prefix-hash-balance-abs-threshold"], Becomes(&["--balance-abs-threshold", "{}"])),
    row(One, &["least-load-kv-pressure-weight"], Becomes(&["--policy-option", "kv_pressure_weight={}"])),
    row(One, &["least-load-default-throughput"], Becomes(&["--policy-option", "default_throughput={}"])),
    row(One, &["least-load-mean-prefill-tokens"], Becomes(&["--policy-option", "mean_prefill_tokens={}"])),
    row(One, &["load-monitor-interval"], Becomes(&["--load-poll-interval-ms", "{}000"])),
    row(One, &["stream-body-stall-timeout-secs"], Becomes(&["--client-body-timeout-secs", "{}"])),
    row(One, &["idle-connection-timeout-secs"], Becomes(&["--client-header-timeout-secs", "{}"])),
    row(FlagValues::Nothing, &["log-json"], Becomes(&["--log-format", "json"])),
    row(Many, &["routing-key-headers"], Same("")),
    // Routing.
    row(
        One,
        &["least-load-max-waiting-requests"],
        ByValue(&[("0", OFF)], &Refused("--worker-max-in-flight N keeps workers from getting more than N")),
    ),
    row(
        One,
        &["power-of-two-load-metric"],
        Refused(
            "power_of_two compares the tokens that the servers report; --policy least_load compares waits",
        ),
    ),
    row(
        One,
        &["balance-token-usage-threshold", "overload-token-usage-threshold"],
        ByValue(&[("1", OFF), ("1.0", OFF)], &USAGE),
    ),
    row(
        FlagValues::Nothing,
        &["routing-key-override", "sticky-sessions"],
        Refused("--policy manual or consistent_hashing keep a session on its worker"),
    ),
    row(
        One,
        &[
            "kv-index",
            "cache-index",
            "cache-boundaries",
            "block-size",
            "selection-policy",
            "selection-accounting-ttl-ms",
            "overlap-decay",
            "selection-temperature",
            "worker-warmup-secs",
            "worker-warmup-share",
            "worker-warmup-blocks",
            "worker-warmup-thin-ratio",
            "worker-warmup-divert-every",
        ],
        INDEX,
    ),
    row(
        FlagValues::Nothing,
        &["dp-minimum-tokens-scheduler"],
        Refused("--policy chooses among ranks as among workers; least_load counts their tokens"),
    ),
    row(One, &["model-alias"], Refused("requests go on with the model name that they came with")),
    row(
        FlagValues::Nothing,
        &["disable-load-monitoring"],
        Nothing("loads are polled only for policies that use them"),
    ),
    // Overload.
    row(FlagValues::Nothing, &["worker-overload-protection", "worker-overload-shed"], OVERLOAD),
    row(One, &["worker-overload-waiting-requests", "worker-overload-token-usage"], OVERLOAD),
    row(FlagValues::Nothing, &["disable-worker-overload-protection"], OFF),
    row(One, &["worker-stall-secs", "worker-wedge-secs", "worker-stale-secs"], SILENCE),
    row(
        One,
        &["prefill-max-inflight-requests-per-worker"],
        ByValue(&[("-1", OFF), ("0", OFF)], &PREFILL_QUEUE),
    ),
    row(One, &["prefill-queue-size", "prefill-queue-timeout-secs", "pd-admission-wait-secs"], PREFILL_QUEUE),
    row(
        One,
        &["max-buffered-request-bytes"],
        Nothing("every body is held whole, so that it can be retried; --max-buffered-bytes bounds them all"),
    ),
    row(
        One,
        &["header-read-timeout-secs"],
        Nothing("--client-header-timeout-secs is for the first head of a connection and for the next ones"),
    ),
    row(
        One,
        &["sse-keepalive-secs"],
        ByValue(&[("0", OFF)], &Refused("streams pass as they came; nothing is added while they are silent")),
    ),
    row(FlagValues::Nothing, &["priority-scheduler-enabled"], PRIORITIES),
    row(
        One,
        &[
            "priority-scheduler-default-max-class",
            "priority-scheduler-config",
            "priority-scheduler-tenant-metric-top-n",
        ],
        PRIORITIES,
    ),
    row(FlagValues::Nothing, &["trust-tenant-header", "tenant-rate-limit-enabled"], TENANTS),
    row(One, &["tenant-header-name", "tenant-rate-limit-config", "tenant-api-key"], TENANTS),
    row(One, &["max-background-responses"], Nothing("/v1/responses go to the servers as they came")),
    // Workers.
    row(FlagValues::Nothing, &["upstream-http2"], Nothing("the router talks HTTP/1.1 to every worker")),
    row(
        One,
        &["upstream-pool-idle-timeout-secs"],
        Nothing("idle connections are closed after 4 s, before SGLang and vLLM close them"),
    ),
    row(One, &["worker-startup-delay"], STARTUP),
    row(
        One,
        &["health-check-port"],
        Refused("/health, /liveness and /readiness answer on --port, and on --admin-port"),
    ),
    row(
        FlagValues::Nothing,
        &[
            "remove-unhealthy-workers",
            "no-remove-unhealthy-workers",
            "worker-auto-recovery",
            "no-worker-auto-recovery",
        ],
        RECOVERY,
    ),
    row(One, &["job-queue-capacity", "job-queue-concurrency"], JOBS),
    row(One, &["encode-policy"], ENCODE),
    row(Many, &["encode", "encode-selector"], ENCODE),
    row(FlagValues::Nothing, &["epd-disaggregation"], ENCODE),
    row(
        One,
        &[
            "discovery-provider",
            "discovery-file",
            "discovery-check-interval-secs",
            "kv-connector-annotation",
            "kv-engine-id-annotation",
            "model-id-from",
        ],
        DISCOVERY,
    ),
    row(
        One,
        &["zmq-engine-count"],
        Refused("workers are asked over HTTP; start the servers with their HTTP port"),
    ),
    row(FlagValues::Nothing, &["enable-rl"], RL),
    row(One, &["rl-control-timeout-secs", "rl-fanout-concurrency"], RL),
    // Several routers.
    row(FlagValues::Nothing, &["enable-mesh"], MESH),
    row(
        One,
        &[
            "mesh-server-name",
            "mesh-host",
            "mesh-advertise-host",
            "mesh-port",
            "mesh-tls-ca-cert",
            "mesh-tls-cert",
            "mesh-tls-key",
        ],
        MESH,
    ),
    row(Many, &["mesh-peer-urls", "router-selector"], MESH),
    // Tokenizers, parsers, media.
    row(One, &["model", "tokenizer-cache-l0-max-memory"], TOKENIZER),
    row(FlagValues::Nothing, &["disable-tokenizer-autoload"], TOKENIZER),
    row(One, &["parser"], PARSER),
    row(
        One,
        &[
            "multimodal-tensor-transport",
            "multimodal-shm-min-bytes",
            "mm-processing",
            "mm-pixel-cache-mb",
            "rdma-listen-ip",
            "rdma-slot-ttl-s",
        ],
        MEDIA,
    ),
    row(FlagValues::Nothing, &["mm-pixel-rdma", "mm-allow-private-media-hosts", "log-mm-timing"], MEDIA),
    row(
        One,
        &["multimodal-max-inflight-bytes", "mm-per-request-image-limit", "mm-allowed-media-domains"],
        MEDIA_LIMIT,
    ),
    // What is stored, and what is run.
    row(FlagValues::Nothing, &["oracle-external-auth"], HISTORY),
    row(
        One,
        &[
            "history-memory-max-responses",
            "history-memory-max-items",
            "history-memory-retention-secs",
            "schema-config",
            "storage-hook-wasm-path",
            "postgres-op-timeout-secs",
            "redis-op-timeout-secs",
        ],
        HISTORY,
    ),
    row(Many, &["storage-context-headers"], HISTORY),
    row(
        FlagValues::Nothing,
        &["enable-wasm"],
        Refused("the router runs no modules; change requests in front of it"),
    ),
    row(One, &["jemalloc-prof-dir"], Refused("the router writes no heap profiles")),
];
