//! The flags that vllm-router alone has.

use super::flag::FlagMapping::{Becomes, ByValue, Nothing, Refused};
use super::flag::FlagValues::One;
use super::flag::{FlagMapping, FlagRow, FlagValues, SourceRouter};
use super::sglang_router::{DISCOVERY, KV_AWARE};

const WASM: FlagMapping = Refused("the router runs no modules; change requests in front of it");
const PROGRAMS: FlagMapping =
    Refused("requests come in by the order of arrival: --max-concurrent-requests, --queue-size");
const CONNECTOR: &[(&str, FlagMapping)] = &[("nixl", Nothing("it is how --pd-protocol vllm works"))];
const ONE_RANK: &[(&str, FlagMapping)] = &[("1", Nothing("one rank is what every worker has"))];

const fn row(takes: FlagValues, names: &'static [&'static str], fate: FlagMapping) -> FlagRow {
    FlagRow { peers: &[SourceRouter::VllmRouter], takes, names, fate }
}

/// The flags of vllm-router 0.1.17 that sglang-router 0.3.2 lacks.
pub(super) const ROWS: &[FlagRow] = &[
    row(
        FlagValues::Nothing,
        &["vllm-pd-disaggregation"],
        Becomes(&["--pd-disaggregation", "--pd-protocol", "vllm"]),
    ),
    row(
        One,
        &["kv-connector"],
        ByValue(CONNECTOR, &Refused("only nixl; the router speaks no protocol of another connector")),
    ),
    row(One, &["vllm-discovery-address"], DISCOVERY),
    row(
        One,
        &["intra-node-data-parallel-size"],
        ByValue(ONE_RANK, &Becomes(&["--dp-aware", "--dp-size", "{}"])),
    ),
    row(FlagValues::Nothing, &["enable-program-scheduling"], PROGRAMS),
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
