//! The flags of sglang-router, which the other routers share to a large part.

use super::flag::FlagMapping::{Becomes, ByValue, Nothing, Refused, Same};
use super::flag::FlagValues::{Many, One};
use super::flag::SourceRouter::{Seed, SglangRouter, Smg, VllmRouter};
use super::flag::{FlagMapping, FlagRow, FlagValues, SourceRouter};

/// All four.
const ALL: &[SourceRouter] = &[SglangRouter, Smg, VllmRouter, Seed];
/// All that are still released.
const RELEASED: &[SourceRouter] = &[SglangRouter, Smg, VllmRouter];
/// The two of the SGLang project.
const SGLANG: &[SourceRouter] = &[SglangRouter, Smg];

/// Why flags of databases are refused.
pub(super) const HISTORY: FlagMapping =
    Refused("the router stores no conversations; /v1/responses and /v1/conversations go to the servers");
/// Why flags of tokenizers change nothing.
pub(super) const TOKENIZER: FlagMapping =
    Nothing("prompts go to the servers as they came, so the router needs no tokenizer");
/// Why flags of parsers change nothing.
pub(super) const PARSER: FlagMapping = Nothing("the servers parse their own output: give them this flag");
/// Why flags of start-up change nothing.
pub(super) const STARTUP: FlagMapping =
    Nothing("start-up waits for no worker; each is checked every second until it is ready, for any time");
/// Why flags of discovery are refused.
pub(super) const DISCOVERY: FlagMapping = Refused(
    "the router finds no workers by itself; list them with --worker-urls, or add and remove them at run time with \
     POST and DELETE /workers",
);
/// Why tokens are refused.
const JWT: FlagMapping =
    Refused("there are no tokens; give keys with --control-plane-api-keys ID:NAME:ROLE:KEY");

/// Values of `--policy` that have other names here.
const POLICIES: &[(&str, FlagMapping)] = &[
    ("consistent_hash", Becomes(&["--policy", "consistent_hashing"])),
    ("rendezvous_hash", Becomes(&["--policy", "consistent_hashing"])),
    ("sticky_least_loaded", Becomes(&["--policy", "manual", "--assignment-mode", "min_load"])),
    ("kv_aware", KV_AWARE),
];
const PREFILL_POLICIES: &[(&str, FlagMapping)] = &[
    ("consistent_hash", Becomes(&["--prefill-policy", "consistent_hashing"])),
    ("rendezvous_hash", Becomes(&["--prefill-policy", "consistent_hashing"])),
    ("sticky_least_loaded", Becomes(&["--prefill-policy", "manual", "--assignment-mode", "min_load"])),
    ("kv_aware", KV_AWARE),
];
const DECODE_POLICIES: &[(&str, FlagMapping)] = &[
    ("consistent_hash", Becomes(&["--decode-policy", "consistent_hashing"])),
    ("rendezvous_hash", Becomes(&["--decode-policy", "consistent_hashing"])),
    ("sticky_least_loaded", Becomes(&["--decode-policy", "manual", "--assignment-mode", "min_load"])),
    ("kv_aware", KV_AWARE),
];
/// Why the policy that reads cache events, and its flags, are refused.
pub(super) const KV_AWARE: FlagMapping = Refused(
    "the router reads no cache events; --policy cache_aware or marginal_cost follow the prefixes that they sent",
);

const fn row(
    peers: &'static [SourceRouter],
    takes: FlagValues,
    names: &'static [&'static str],
    fate: FlagMapping,
) -> FlagRow {
    FlagRow { peers, takes, names, fate }
}

/// The flags of sglang-router 0.3.2 and 0.1, whoever else has them.
pub(super) const ROWS: &[FlagRow] = &[
    row(ALL, One, &["host"], Same("default here: 127.0.0.1; give 0.0.0.0 to serve other machines")),
    row(ALL, One, &["port"], Same("")),
    row(ALL, Many, &["worker-urls"], Same("give at least one, or --start-empty")),
    row(ALL, One, &["policy"], ByValue(POLICIES, &Same("every policy of ours, too"))),
    row(RELEASED, One, &["prefill-policy"], ByValue(PREFILL_POLICIES, &Same("every policy of ours, too"))),
    row(RELEASED, One, &["decode-policy"], ByValue(DECODE_POLICIES, &Same("every policy of ours, too"))),
    row(
        ALL,
        One,
        &["cache-threshold", "balance-abs-threshold", "balance-rel-threshold"],
        Same("defaults here: those of sglang-router 0.3.2"),
    ),
    row(SGLANG, One, &["bucket-adjust-interval-secs", "max-idle-secs"], Same("")),
    row(SGLANG, One, &["assignment-mode"], Same("random, min_load or min_group")),
    row(RELEASED, One, &["eviction-interval-secs"], Same("a prefix unused for so long is forgotten")),
    row(&[Seed], One, &["eviction-interval"], Becomes(&["--eviction-interval-secs", "{}"])),
    row(ALL, One, &["max-tree-size"], Same("in bytes of memory, for all workers together")),
    row(ALL, One, &["max-payload-size"], Same("")),
    row(
        SGLANG,
        FlagValues::Nothing,
        &["dp-aware"],
        Same("every policy chooses among ranks as among workers"),
    ),
    row(
        RELEASED,
        FlagValues::Nothing,
        &["enable-igw"],
        Refused("requests are not routed by model; run one router for each model"),
    ),
    row(
        &[SglangRouter, VllmRouter],
        FlagValues::Nothing,
        &["mini-lb"],
        Nothing("there is one router for all uses; --policy random chooses as the small one does"),
    ),
    row(&[SglangRouter, Smg, Seed], FlagValues::Nothing, &["pd-disaggregation"], Same("")),
    row(ALL, Many, &["prefill"], Same("")),
    row(ALL, One, &["decode"], Same("")),
    row(ALL, One, &["worker-startup-timeout-secs", "worker-startup-check-interval"], STARTUP),
    row(ALL, FlagValues::Nothing, &["service-discovery"], DISCOVERY),
    row(ALL, One, &["service-discovery-port", "service-discovery-namespace"], DISCOVERY),
    row(ALL, Many, &["selector", "prefill-selector", "decode-selector"], DISCOVERY),
    row(ALL, One, &["log-dir"], Same("lines go to standard error as well")),
    row(ALL, One, &["log-level"], Same("warning and critical are understood")),
    row(
        ALL,
        One,
        &["prometheus-port"],
        Same("off unless given; GET /metrics on the main port answers in any case"),
    ),
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
        ByValue(&[("0", Becomes(&["--max-concurrent-requests", "-1"]))], &Same("default here: -1, no bound")),
    ),
    row(RELEASED, One, &["queue-size", "queue-timeout-secs"], Same("")),
    row(RELEASED, One, &["rate-limit-tokens-per-second"], Same("requests per second, no bound unless given")),
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
        Same("the first retry goes out at once"),
    ),
    row(RELEASED, FlagValues::Nothing, &["disable-retries", "disable-circuit-breaker"], Same("")),
    row(
        RELEASED,
        One,
        &["cb-failure-threshold"],
        Same("counts faults of the worker: connect errors, timeouts, 5xx; neither 4xx nor 429 and 503"),
    ),
    row(RELEASED, One, &["cb-success-threshold", "cb-timeout-duration-secs"], Same("")),
    row(RELEASED, One, &["cb-window-duration-secs"], Same("works here")),
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
    row(SGLANG, FlagValues::Nothing, &["disable-health-check"], Same("")),
    row(SGLANG, One, &["model-path", "tokenizer-path", "chat-template"], TOKENIZER),
    row(SGLANG, FlagValues::Nothing, &["tokenizer-cache-enable-l0", "tokenizer-cache-enable-l1"], TOKENIZER),
    row(SGLANG, One, &["tokenizer-cache-l0-max-entries", "tokenizer-cache-l1-max-memory"], TOKENIZER),
    row(SGLANG, One, &["reasoning-parser", "tool-call-parser"], PARSER),
    row(SGLANG, One, &["mcp-config-path"], Refused("the router calls no tools; let the client call them")),
    row(
        SGLANG,
        One,
        &["backend"],
        ByValue(
            &[("sglang", ENGINE), ("vllm", ENGINE)],
            &Refused("only sglang and vllm; any server of the OpenAI API is a worker: --worker-urls URL"),
        ),
    ),
    row(
        SGLANG,
        One,
        &["history-backend"],
        ByValue(&[("none", Nothing("the router stores no conversations in any case"))], &HISTORY),
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
    row(SGLANG, FlagValues::Nothing, &["enable-trace"], Same("")),
    row(SGLANG, One, &["otlp-traces-endpoint"], Same("HTTP, too: http://HOST:4318/v1/traces")),
    row(
        RELEASED,
        One,
        &["api-key"],
        Same(
            "clients must send it; it goes to no worker: give --worker-api-key where the servers ask for one",
        ),
    ),
    row(SGLANG, Many, &["control-plane-api-keys"], Same("")),
    row(
        SGLANG,
        FlagValues::Nothing,
        &["control-plane-audit-enabled"],
        Refused("who asked is not logged; the log has a line for each change of a worker"),
    ),
    row(SGLANG, One, &["jwt-issuer", "jwt-audience", "jwt-jwks-uri"], JWT),
    row(SGLANG, Many, &["jwt-role-mapping"], JWT),
];

/// Why the name of the engine changes nothing.
const ENGINE: FlagMapping = Nothing("the engine of each worker is found out by asking it");
