//! The flags that only vllm-router has.

use super::flag::FlagMapping::{ByValue, Ignored, Rejected, ReplacedBy};
use super::flag::FlagValues::One;
use super::flag::{FlagMapping, FlagRow, FlagValues, SourceRouter};
use super::sglang_router::KV_AWARE;

const WASM: FlagMapping =
    Rejected("WebAssembly modules are not supported; change requests in a proxy before the router");
const PROGRAMS: FlagMapping =
    Rejected("requests are served in order of arrival; see --max-concurrent-requests and --queue-size");
const CONNECTOR: &[(&str, FlagMapping)] = &[("nixl", Ignored("--pd-protocol vllm works with it"))];
const ONE_RANK: &[(&str, FlagMapping)] = &[("1", Ignored("every worker has at least one rank"))];

const fn row(values: FlagValues, names: &'static [&'static str], mapping: FlagMapping) -> FlagRow {
    FlagRow { routers: &[SourceRouter::VllmRouter], values, names, mapping }
}

/// The flags of vllm-router 0.1.17 that sglang-router 0.3.2 lacks.
pub(super) const ROWS: &[FlagRow] = &[
    row(
        FlagValues::Zero,
        &["vllm-pd-disaggregation"],
        ReplacedBy(&["--pd-disaggregation", "--pd-protocol", "vllm"]),
    ),
    row(One, &["kv-connector"], ByValue(CONNECTOR, &Rejected("only nixl is supported"))),
    row(
        One,
        &["vllm-discovery-address"],
        Rejected(
            "workers do not register themselves; name them with --prefill and --decode, or use --service-discovery",
        ),
    ),
    row(
        One,
        &["intra-node-data-parallel-size"],
        ByValue(ONE_RANK, &ReplacedBy(&["--dp-aware", "--dp-size", "{}"])),
    ),
    row(FlagValues::Zero, &["enable-program-scheduling"], PROGRAMS),
    row(One, &["program-scheduling-config-json"], PROGRAMS),
    row(
        One,
        &[
            "router-temperature",
            "kv-penalty-host",
            "kv-penalty-external",
            "kv-penalty-disk",
            "kv-aware-session-affinity-ttl-secs",
            "kv-event-source",
            "kv-event-replay-source",
            "kv-event-block-size",
            "kv-event-model",
            "pd-kv-events",
        ],
        KV_AWARE,
    ),
    row(One, &["wasm-middleware", "wasm-middleware-sha256", "wasm-middleware-route"], WASM),
];
