//! The flags of sglang-router, many of which the other routers have too.

use super::flag::FlagMapping::{ByValue, Ignored, Rejected, ReplacedBy, Same};
use super::flag::FlagValues::{Many, One};
use super::flag::SourceRouter::{SglangRouter, SglangRouter01, Smg, VllmRouter};
use super::flag::{FlagMapping, FlagRow, FlagValues, SourceRouter};

/// All four routers.
const ALL: &[SourceRouter] = &[SglangRouter, Smg, VllmRouter, SglangRouter01];
/// The routers that are still released.
const RELEASED: &[SourceRouter] = &[SglangRouter, Smg, VllmRouter];
/// The two routers of the SGLang project.
const SGLANG: &[SourceRouter] = &[SglangRouter, Smg];

/// Flags of conversation storage.
pub(super) const HISTORY: FlagMapping = Rejected(
    "the router does not store conversations; /v1/responses and /v1/conversations are forwarded to the workers",
);
/// Flags of tokenizers.
pub(super) const TOKENIZER: FlagMapping =
    Ignored("prompts are forwarded unchanged, so the router needs no tokenizer");
/// Flags of output parsers.
pub(super) const PARSER: FlagMapping = Ignored("the workers parse their own output: give them this flag");
/// Flags of start-up.
pub(super) const STARTUP: FlagMapping = Ignored(
    "start-up does not wait for workers; each is checked every second until it is ready, without a time limit",
);
/// Flags of JSON Web Tokens.
const JWT: FlagMapping =
    Rejected("JSON Web Tokens are not supported; give keys with --control-plane-api-keys ID:NAME:ROLE:KEY");

/// Values of `--policy` with other names here.
const POLICIES: &[(&str, FlagMapping)] = &[
    ("consistent_hash", ReplacedBy(&["--policy", "consistent_hashing"])),
    ("rendezvous_hash", ReplacedBy(&["--policy", "consistent_hashing"])),
    ("sticky_least_loaded", ReplacedBy(&["--policy", "manual", "--assignment-mode", "min_load"])),
    ("kv_aware", KV_AWARE),
];
const PREFILL_POLICIES: &[(&str, FlagMapping)] = &[
    ("consistent_hash", ReplacedBy(&["--prefill-policy", "consistent_hashing"])),
    ("rendezvous_hash", ReplacedBy(&["--prefill-policy", "consistent_hashing"])),
    ("sticky_least_loaded", ReplacedBy(&["--prefill-policy", "manual", "--assignment-mode", "min_load"])),
    ("kv_aware", KV_AWARE),
];
const DECODE_POLICIES: &[(&str, FlagMapping)] = &[
    ("consistent_hash", ReplacedBy(&["--decode-policy", "consistent_hashing"])),
    ("rendezvous_hash", ReplacedBy(&["--decode-policy", "consistent_hashing"])),
    ("sticky_least_loaded", ReplacedBy(&["--decode-policy", "manual", "--assignment-mode", "min_load"])),
    ("kv_aware", KV_AWARE),
];
/// The policy that reads cache events, and its flags.
pub(super) const KV_AWARE: FlagMapping = Rejected(
    "the router does not read cache events; --policy cache_aware and marginal_cost track the prefixes that they sent",
);

const fn row(
    routers: &'static [SourceRouter],
    values: FlagValues,
    names: &'static [&'static str],
    mapping: FlagMapping,
) -> FlagRow {
    FlagRow { routers, values, names, mapping }
}

/// The flags of sglang-router 0.3.2 and 0.1, including those that other routers have too.
pub(super) const ROWS: &[FlagRow] = &[
    row(ALL, One, &["host"], Same("default here: 127.0.0.1; give 0.0.0.0 to serve other machines")),
    row(ALL, One, &["port"], Same("")),
    row(ALL, Many, &["worker-urls"], Same("give at least one, or --start-empty")),
    row(ALL, One, &["policy"], ByValue(POLICIES, &Same("all policies of this router work too"))),
    row(
        RELEASED,
        One,
        &["prefill-policy"],
        ByValue(PREFILL_POLICIES, &Same("all policies of this router work too")),
    ),
    row(
        RELEASED,
        One,
        &["decode-policy"],
        ByValue(DECODE_POLICIES, &Same("all policies of this router work too")),
    ),
    row(
        ALL,
        One,
        &["cache-threshold", "balance-abs-threshold", "balance-rel-threshold"],
        Same("defaults here: those of sglang-router 0.3.2"),
    ),
    row(SGLANG, One, &["bucket-adjust-interval-secs", "max-idle-secs"], Same("")),
    row(SGLANG, One, &["assignment-mode"], Same("random, min_load or min_group")),
    row(
        RELEASED,
        One,
        &["eviction-interval-secs"],
        Same("evicts a prefix that has not been used for this long"),
    ),
    row(&[SglangRouter01], One, &["eviction-interval"], ReplacedBy(&["--eviction-interval-secs", "{}"])),
    row(ALL, One, &["max-tree-size"], Same("in bytes of memory, for all workers together")),
    row(ALL, One, &["max-payload-size"], Same("")),
    row(SGLANG, FlagValues::Zero, &["dp-aware"], Same("every policy can choose among ranks")),
    row(
        RELEASED,
        FlagValues::Zero,
        &["enable-igw"],
        Ignored("requests go by their model wherever the workers serve several"),
    ),
    row(
        &[SglangRouter, VllmRouter],
        FlagValues::Zero,
        &["mini-lb"],
        Ignored("there is no second router; --policy random chooses as the mini load balancer does"),
    ),
    row(&[SglangRouter, Smg, SglangRouter01], FlagValues::Zero, &["pd-disaggregation"], Same("")),
    row(ALL, Many, &["prefill"], Same("")),
    row(ALL, One, &["decode"], Same("")),
    row(ALL, One, &["worker-startup-timeout-secs", "worker-startup-check-interval"], STARTUP),
    row(ALL, FlagValues::Zero, &["service-discovery"], Same("see docs/kubernetes.md")),
    row(ALL, One, &["service-discovery-port", "service-discovery-namespace"], Same("")),
    row(ALL, Many, &["selector"], Same("not with --pd-disaggregation")),
    row(
        ALL,
        Many,
        &["prefill-selector", "decode-selector"],
        Same("both are needed with --pd-disaggregation"),
    ),
    row(ALL, One, &["log-dir"], Same("the log still goes to standard error as well")),
    row(ALL, One, &["log-level"], Same("warning and critical are accepted too")),
    row(ALL, One, &["prometheus-port"], Same("off by default; GET /metrics on the main port always works")),
    row(ALL, One, &["prometheus-host"], Same("default here: 127.0.0.1")),
    row(SGLANG, Many, &["prometheus-duration-buckets"], Same("")),
    row(RELEASED, Many, &["request-id-headers"], Same("")),
    row(RELEASED, One, &["request-timeout-secs"], Same("")),
    row(SGLANG, One, &["shutdown-grace-period-secs"], Same("")),
    row(RELEASED, Many, &["cors-allowed-origins"], Same("")),
    row(
        RELEASED,
        One,
        &["max-concurrent-requests"],
        ByValue(
            &[("0", ReplacedBy(&["--max-concurrent-requests", "-1"]))],
            &Same("default here: -1, no limit"),
        ),
    ),
    row(RELEASED, One, &["queue-size", "queue-timeout-secs"], Same("")),
    row(
        RELEASED,
        One,
        &["rate-limit-tokens-per-second"],
        Same("requests per second; default here: no limit"),
    ),
    row(
        RELEASED,
        One,
        &["retry-max-retries"],
        Same("counts the attempts after the first, each on another worker"),
    ),
    row(
        RELEASED,
        One,
        &[
            "retry-initial-backoff-ms",
            "retry-max-backoff-ms",
            "retry-backoff-multiplier",
            "retry-jitter-factor",
        ],
        Same("the first retry is sent at once"),
    ),
    row(RELEASED, FlagValues::Zero, &["disable-retries", "disable-circuit-breaker"], Same("")),
    row(
        RELEASED,
        One,
        &["cb-failure-threshold"],
        Same("counts failures of the worker: connect errors, timeouts, 5xx except 503; not 4xx"),
    ),
    row(RELEASED, One, &["cb-success-threshold", "cb-timeout-duration-secs"], Same("")),
    row(RELEASED, One, &["cb-window-duration-secs"], Same("has an effect here")),
    row(
        RELEASED,
        One,
        &[
            "health-failure-threshold",
            "health-success-threshold",
            "health-check-timeout-secs",
            "health-check-interval-secs",
            "health-check-endpoint",
        ],
        Same(""),
    ),
    row(SGLANG, FlagValues::Zero, &["disable-health-check"], Same("")),
    row(SGLANG, One, &["model-path", "tokenizer-path", "chat-template"], TOKENIZER),
    row(SGLANG, FlagValues::Zero, &["tokenizer-cache-enable-l0", "tokenizer-cache-enable-l1"], TOKENIZER),
    row(SGLANG, One, &["tokenizer-cache-l0-max-entries", "tokenizer-cache-l1-max-memory"], TOKENIZER),
    row(SGLANG, One, &["reasoning-parser", "tool-call-parser"], PARSER),
    row(
        SGLANG,
        One,
        &["mcp-config-path"],
        Rejected("the router does not call tools; let the client call them"),
    ),
    row(
        SGLANG,
        One,
        &["backend"],
        ByValue(
            &[("sglang", ENGINE), ("vllm", ENGINE)],
            &Rejected(
                "only sglang and vllm; a server with the OpenAI API can be a worker: --worker-urls URL",
            ),
        ),
    ),
    row(
        SGLANG,
        One,
        &["history-backend"],
        ByValue(&[("none", Ignored("the router never stores conversations"))], &HISTORY),
    ),
    row(
        SGLANG,
        One,
        &[
            "oracle-wallet-path",
            "oracle-tns-alias",
            "oracle-connect-descriptor",
            "oracle-username",
            "oracle-password",
            "oracle-pool-min",
            "oracle-pool-max",
            "oracle-pool-timeout-secs",
            "postgres-db-url",
            "postgres-pool-max",
            "redis-url",
            "redis-pool-max",
            "redis-retention-days",
        ],
        HISTORY,
    ),
    row(SGLANG, One, &["client-cert-path", "client-key-path", "tls-cert-path", "tls-key-path"], Same("")),
    row(SGLANG, Many, &["ca-cert-paths"], Same("")),
    row(SGLANG, FlagValues::Zero, &["enable-trace"], Same("")),
    row(SGLANG, One, &["otlp-traces-endpoint"], Same("OTLP over HTTP too: http://HOST:4318/v1/traces")),
    row(
        RELEASED,
        One,
        &["api-key"],
        Same("clients must send it; it is not sent to workers: use --worker-api-key if they need a key"),
    ),
    row(SGLANG, Many, &["control-plane-api-keys"], Same("")),
    row(
        SGLANG,
        FlagValues::Zero,
        &["control-plane-audit-enabled"],
        Rejected("there is no audit log; the log has a line for each change of a worker"),
    ),
    row(SGLANG, One, &["jwt-issuer", "jwt-audience", "jwt-jwks-uri"], JWT),
    row(SGLANG, Many, &["jwt-role-mapping"], JWT),
];

/// Names of supported engines.
const ENGINE: FlagMapping = Ignored("the engine of each worker is detected");
