//! The flags that vllm-router alone has.

use super::Fate::{Becomes, ByValue, Nothing, Refused};
use super::Takes::One;
use super::table::{DISCOVERY, KV_AWARE, RANKS};
use super::{Fate, Peer, Row, Takes};

const WASM: Fate = Refused("the router runs no modules; change requests in front of it");
const PROGRAMS: Fate =
    Refused("requests come in by the order of arrival: --max-concurrent-requests, --queue-size");
const CONNECTOR: &[(&str, Fate)] = &[("nixl", Nothing("it is how --pd-protocol vllm works"))];
const ONE_RANK: &[(&str, Fate)] = &[("1", Nothing("one rank is what every worker has"))];

const fn row(takes: Takes, names: &'static [&'static str], fate: Fate) -> Row {
    Row { peers: &[Peer::VllmRouter], takes, names, fate }
}

/// The flags of vllm-router 0.1.17 that sglang-router 0.3.2 lacks.
pub(super) const ROWS: &[Row] = &[
    row(
        Takes::Nothing,
        &["vllm-pd-disaggregation"],
        Becomes(&["--pd-disaggregation", "--pd-protocol", "vllm"]),
    ),
    row(
        One,
        &["kv-connector"],
        ByValue(CONNECTOR, &Refused("only nixl; the router speaks no protocol of another connector")),
    ),
    row(One, &["vllm-discovery-address"], DISCOVERY),
    row(One, &["intra-node-data-parallel-size"], ByValue(ONE_RANK, &RANKS)),
    row(Takes::Nothing, &["enable-program-scheduling"], PROGRAMS),
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
