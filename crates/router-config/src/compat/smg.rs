//! The flags that only smg has.

use super::flag::FlagMapping::{ByValue, Ignored, PolicyOption, Rejected, ReplacedBy, Same};
use super::flag::FlagValues::{Many, One};
use super::flag::{FlagMapping, FlagRow, FlagValues, SourceRouter};
use super::sglang_router::{HISTORY, PARSER, STARTUP, TOKENIZER};

const ENCODE: FlagMapping = Rejected("encode workers are not supported; let the prefill workers encode too");
const INDEX: FlagMapping = Ignored(
    "it tunes smg's index; here cache_aware has --cache-threshold, --eviction-interval-secs and --max-tree-size",
);
const SHED: FlagMapping = Rejected(
    "while all workers are overloaded, all get requests; --worker-max-in-flight N limits each to N requests",
);
const PROTECTION: FlagMapping = Ignored("it is on unless --overload-waiting-requests is 0");
const USAGE: FlagMapping = Rejected(
    "cache_aware compares requests in flight; --policy least_load considers the KV cache usage of workers",
);
const OFF: FlagMapping = Ignored("this router does not have the feature that it turns off");
const SILENCE: FlagMapping =
    Ignored("stalled workers are detected by health checks: --health-check-interval-secs");
const PREFILL_QUEUE: FlagMapping =
    Rejected("use --worker-max-in-flight to limit each worker, and --queue-size to limit the queue");
const RECOVERY: FlagMapping = Ignored(
    "an unhealthy worker stays in the fleet without requests, and gets them again when it is healthy",
);
const TENANTS: FlagMapping =
    Rejected("tenants are not supported; --control-plane-api-keys ID:NAME:user:KEY gives each client a key");
const MESH: FlagMapping = Rejected("routers do not share state; run several behind any load balancer");
const PRIORITIES: FlagMapping =
    Rejected("requests are served in order of arrival; see --max-concurrent-requests and --queue-size");
const RL: FlagMapping = Ignored("control calls always go to all workers; see docs/operating.md");
const JOBS: FlagMapping = Ignored("workers are added and removed at once, without a job queue");
const MEDIA: FlagMapping = Ignored("media are forwarded to the workers unchanged");
const PROVIDERS: &[(&str, FlagMapping)] =
    &[("kubernetes", Ignored("--service-discovery finds workers in Kubernetes and nowhere else"))];
const DISCOVERY_FILE: FlagMapping = Rejected(
    "workers are not read from a file while the router runs; add and remove them with POST and DELETE /workers",
);
const MEDIA_LIMIT: FlagMapping = Rejected("the workers fetch and decode media; set the limit there");

const fn row(values: FlagValues, names: &'static [&'static str], mapping: FlagMapping) -> FlagRow {
    FlagRow { routers: &[SourceRouter::Smg], values, names, mapping }
}

/// The flags of smg 1.13.0 that sglang-router 0.3.2 lacks.
pub(super) const ROWS: &[FlagRow] = &[
    // Flags with another name here.
    row(One, &["cache-match-threshold"], ReplacedBy(&["--cache-threshold", "{}"])),
    row(One, &["spill-abs-threshold"], ReplacedBy(&["--balance-abs-threshold", "{}"])),
    row(One, &["spill-rel-threshold"], ReplacedBy(&["--balance-rel-threshold", "{}"])),
    row(One, &["sticky-key-idle-secs"], ReplacedBy(&["--max-idle-secs", "{}"])),
    row(One, &["cache-ttl-secs"], ReplacedBy(&["--eviction-interval-secs", "{}"])),
    row(One, &["prefix-token-count"], PolicyOption("prefix_token_count")),
    row(One, &["prefix-hash-load-factor"], PolicyOption("load_factor")),
    row(One, &["prefix-hash-balance-abs-threshold"], ReplacedBy(&["--balance-abs-threshold", "{}"])),
    row(One, &["least-load-kv-pressure-weight"], PolicyOption("kv_pressure_weight")),
    row(One, &["least-load-default-throughput"], PolicyOption("default_throughput")),
    row(One, &["least-load-mean-prefill-tokens"], PolicyOption("mean_prefill_tokens")),
    row(One, &["load-monitor-interval"], ReplacedBy(&["--load-poll-interval-ms", "{}000"])),
    row(One, &["stream-body-stall-timeout-secs"], ReplacedBy(&["--client-body-timeout-secs", "{}"])),
    row(One, &["idle-connection-timeout-secs"], ReplacedBy(&["--client-header-timeout-secs", "{}"])),
    row(One, &["sse-keepalive-secs"], ReplacedBy(&["--sse-keep-alive-secs", "{}"])),
    row(FlagValues::Zero, &["log-json"], ReplacedBy(&["--log-format", "json"])),
    row(Many, &["routing-key-headers"], Same("")),
    // Routing.
    row(
        One,
        &["least-load-max-waiting-requests"],
        ByValue(&[("0", OFF)], &Rejected("use --worker-max-in-flight N to limit each worker to N requests")),
    ),
    row(
        One,
        &["power-of-two-load-metric"],
        Rejected(
            "power_of_two compares the tokens that workers report; --policy least_load compares expected waits",
        ),
    ),
    row(
        One,
        &["balance-token-usage-threshold", "overload-token-usage-threshold"],
        ByValue(&[("1", OFF), ("1.0", OFF)], &USAGE),
    ),
    row(
        FlagValues::Zero,
        &["routing-key-override", "sticky-sessions"],
        Rejected("use --policy manual or consistent_hashing to keep a session on its worker"),
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
        FlagValues::Zero,
        &["dp-minimum-tokens-scheduler"],
        Rejected("use --dp-aware with --policy least_load, which compares the token load of ranks"),
    ),
    row(One, &["model-alias"], Same("ALIAS=MODEL; workers get the model's own name")),
    row(
        FlagValues::Zero,
        &["disable-load-monitoring"],
        Ignored("loads are polled only for policies that use them and for bounds of overload that are set"),
    ),
    // Overload.
    row(FlagValues::Zero, &["worker-overload-protection"], PROTECTION),
    row(FlagValues::Zero, &["worker-overload-shed"], SHED),
    row(One, &["worker-overload-waiting-requests"], ReplacedBy(&["--overload-waiting-requests", "{}"])),
    row(One, &["worker-overload-token-usage"], ReplacedBy(&["--overload-kv-usage", "{}"])),
    row(
        FlagValues::Zero,
        &["disable-worker-overload-protection"],
        ReplacedBy(&["--overload-waiting-requests", "0", "--overload-kv-usage", "0"]),
    ),
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
        Ignored(
            "every request body is buffered, so that it can be retried; --max-buffered-bytes limits the total",
        ),
    ),
    row(
        One,
        &["header-read-timeout-secs"],
        Ignored("--client-header-timeout-secs applies to every request head of a connection"),
    ),
    row(FlagValues::Zero, &["priority-scheduler-enabled"], PRIORITIES),
    row(
        One,
        &[
            "priority-scheduler-default-max-class",
            "priority-scheduler-config",
            "priority-scheduler-tenant-metric-top-n",
        ],
        PRIORITIES,
    ),
    row(FlagValues::Zero, &["trust-tenant-header", "tenant-rate-limit-enabled"], TENANTS),
    row(One, &["tenant-header-name", "tenant-rate-limit-config", "tenant-api-key"], TENANTS),
    row(One, &["max-background-responses"], Ignored("/v1/responses is forwarded to the workers unchanged")),
    // Workers.
    row(FlagValues::Zero, &["upstream-http2"], Ignored("the router uses HTTP/1.1 towards workers")),
    row(
        One,
        &["upstream-pool-idle-timeout-secs"],
        Ignored("idle connections are closed after 4 s, before SGLang and vLLM close them"),
    ),
    row(One, &["worker-startup-delay"], STARTUP),
    row(
        One,
        &["health-check-port"],
        Rejected("/health, /liveness and /readiness are served on --port and --admin-port"),
    ),
    row(
        FlagValues::Zero,
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
    row(FlagValues::Zero, &["epd-disaggregation"], ENCODE),
    row(One, &["discovery-provider"], ByValue(PROVIDERS, &DISCOVERY_FILE)),
    row(One, &["discovery-file"], DISCOVERY_FILE),
    row(
        One,
        &["discovery-check-interval-secs"],
        Ignored("changes of pods are watched, and everything is listed again once a minute"),
    ),
    row(
        One,
        &["kv-connector-annotation", "kv-engine-id-annotation"],
        Ignored("--pd-protocol says for all workers how the KV cache is transferred"),
    ),
    row(One, &["model-id-from"], Same("namespace, label:KEY or annotation:KEY")),
    row(One, &["zmq-engine-count"], Rejected("workers are reached over HTTP; start them with an HTTP port")),
    row(FlagValues::Zero, &["enable-rl"], RL),
    row(One, &["rl-control-timeout-secs"], ReplacedBy(&["--control-timeout-secs", "{}"])),
    row(One, &["rl-fanout-concurrency"], RL),
    // Several routers.
    row(FlagValues::Zero, &["enable-mesh"], MESH),
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
    row(FlagValues::Zero, &["disable-tokenizer-autoload"], TOKENIZER),
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
    row(FlagValues::Zero, &["mm-pixel-rdma", "mm-allow-private-media-hosts", "log-mm-timing"], MEDIA),
    row(
        One,
        &["multimodal-max-inflight-bytes", "mm-per-request-image-limit", "mm-allowed-media-domains"],
        MEDIA_LIMIT,
    ),
    // Storage and modules.
    row(FlagValues::Zero, &["oracle-external-auth"], HISTORY),
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
        FlagValues::Zero,
        &["enable-wasm"],
        Rejected("WebAssembly modules are not supported; change requests in a proxy before the router"),
    ),
    row(One, &["jemalloc-prof-dir"], Rejected("the router does not write heap profiles")),
];
