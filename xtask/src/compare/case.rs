//! What is measured: fleets and loads.
//!
//! Every worker is the fitted SGLang 8B at some speed. Speeds are low enough for two cores to emulate the fleet near its
//! capacity, and high enough for queues to settle within the warm-up.
//!
//! Capacity is the responses per second of a worker that always has requests waiting: `--calibrate` measures it for each
//! load on one worker of speed 1, without a router. It is proportional to speed, so the capacity of a fleet is that
//! figure times the sum of the speeds. The rates below are that product times the share in the case's title. Traces have
//! no fixed rate: they are sped up until their busy minutes come near to the capacity of the fleet.

/// How lengths are drawn, in tokens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum LengthDistribution {
    /// Uniform, from three quarters to five quarters of the mean.
    Near(f64),
    /// Uniform from the first to the second.
    Between(f64, f64),
    /// Log-normal with this mean and sigma 1.2 before it is cut off at ten times the mean.
    Wide(f64),
}

/// A client whose requests differ from those of the others.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct CaseClient {
    /// Its name, by which a router may know it.
    pub(crate) name: &'static str,
    /// Its share of the requests.
    pub(crate) share: f64,
    /// Blocks of 512 tokens with which all its prompts begin.
    pub(crate) shared_blocks: u32,
    /// Length of the rest of the prompt.
    pub(crate) prompt: LengthDistribution,
    /// Length of the response.
    pub(crate) output: LengthDistribution,
    /// Whether its responses are streamed.
    pub(crate) stream: bool,
}

/// The requests of a case, and when they arrive.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum CaseLoad {
    /// Prompts that share nothing, with Poisson arrivals.
    Synthetic {
        /// Requests per second.
        rate: f64,
        /// Length of the prompt.
        prompt: LengthDistribution,
        /// Length of the response.
        output: LengthDistribution,
    },
    /// Prompts of 3,200 tokens with Poisson arrivals: one of 24 prefixes of 2,560 tokens, then 640 tokens that differ.
    Prefixes {
        /// Requests per second.
        rate: f64,
    },
    /// Requests of several clients with Poisson arrivals.
    Clients {
        /// Requests per second of all together.
        rate: f64,
        /// The clients; their shares add up to 1.
        clients: &'static [CaseClient],
        /// The limit of output tokens that every request names. It is the same for all, so that it tells nothing of the length.
        max_tokens: u32,
    },
    /// A slice of a recorded trace, a different one in each round.
    Trace {
        /// The file, in the folder of the traces.
        file: &'static str,
        /// How much faster than recorded.
        speed: f64,
    },
}

/// A worker that becomes slower during the run, and then recovers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Slowdown {
    /// Which worker, from 0.
    pub(crate) worker: usize,
    /// Factor on the time of its steps.
    pub(crate) factor: f64,
    /// Seconds from the end of the warm-up.
    pub(crate) after: u64,
    /// Seconds of the slowdown.
    pub(crate) lasts: u64,
    /// Seconds of load after it.
    pub(crate) rest: u64,
}

/// The contenders of a case. It bounds the time of a measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ContenderSet {
    /// All contenders.
    All,
    /// The best of each program, tuned or not, and the well-known simple policies.
    Main,
}

/// One fleet and load in which contenders are compared.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Case {
    /// Its name on the command line and on the page.
    pub(crate) name: &'static str,
    /// Fleet, load and share of capacity, in words.
    pub(crate) title: &'static str,
    /// The fleet, as `sgl-router emulate --fleet` takes it, without limits.
    pub(crate) fleet: &'static str,
    /// Limits of every worker, as in a fleet line; empty for those of the profile.
    pub(crate) limits: &'static str,
    /// The load.
    pub(crate) load: CaseLoad,
    /// A slowdown during the run.
    pub(crate) slowdown: Option<Slowdown>,
    /// Whether it has targets: then it runs all rounds, else half of them.
    pub(crate) judged: bool,
    /// The contenders that run in it.
    pub(crate) contenders: ContenderSet,
    /// Seconds from the last arrival to the last response, approximately; used for the time estimate only.
    pub(crate) drain: u64,
    /// Factor on the warm-up: where responses take many seconds, queues take long to settle.
    pub(crate) warm_up_factor: u64,
    /// Factor on the measured load: a 99th percentile needs about 1,500 requests where few of them decide it.
    pub(crate) load_factor: u64,
}

/// Responses per second of one worker of speed 1, for short prompts; see `--calibrate`.
const SHORT: f64 = 43.9;
/// For short prompts with chunked prefill beside decode.
const CHUNKED: f64 = 51.2;
/// For short prompts with shorter responses and at most 16 running requests.
const BATCH: f64 = 18.8;
/// For short prompts with responses of widely spread length and at most 8 running requests.
const WIDE: f64 = 10.7;
/// For prompts of 3,200 tokens, 2,560 of them always cached, and at most 16 running requests.
const PREFIXES: f64 = 13.8;
/// As above, but with a cache for about half of the prefixes and every worker getting all of them.
const PREFIXES_TIGHT: f64 = 11.7;

/// For the three clients of [`CLIENTS`].
const CLASSES: f64 = 26.0;

/// Three clients as a shared installation has them. The same are in `crates/router-sim/examples/evidence.rs`.
const CLIENTS: &[CaseClient] = &[
    CaseClient {
        name: "chat",
        share: 0.5,
        shared_blocks: 0,
        prompt: LengthDistribution::Between(200.0, 600.0),
        output: LengthDistribution::Wide(200.0),
        stream: true,
    },
    CaseClient {
        name: "extraction",
        share: 0.35,
        shared_blocks: 0,
        prompt: LengthDistribution::Between(1500.0, 3000.0),
        output: LengthDistribution::Between(5.0, 30.0),
        stream: false,
    },
    CaseClient {
        name: "agents",
        share: 0.15,
        shared_blocks: 2,
        prompt: LengthDistribution::Between(200.0, 600.0),
        output: LengthDistribution::Between(300.0, 900.0),
        stream: true,
    },
];

/// One worker, and two of 0.4 times its speed.
const UNEVEN: &str = "sglang_8b@0.75*1,sglang_8b@0.3*2";
const EVEN: &str = "sglang_8b@0.3375*4";
/// The sum of the speeds of [`UNEVEN`] and of [`EVEN`].
const SPEEDS: f64 = 1.35;

/// As [`UNEVEN`], for loads that the limit of running requests makes slower.
const UNEVEN_FASTER: &str = "sglang_8b@1*1,sglang_8b@0.4*2";
const EVEN_FASTER: &str = "sglang_8b@0.45*4";
const SPEEDS_FASTER: f64 = 1.8;

const MIXED: &str = "sglang_8b@1*2,sglang_8b@0.5*2,sglang_8b@0.25*4";
const MIXED_SPEEDS: f64 = 4.0;

const BATCH_16: &str = ":max_running=16";
/// As vLLM by default: each step decodes, and the rest of its token budget goes to chunks of prompts.
const CHUNKED_2048: &str = ":chunked=2048";

/// Short prompts at a share of the capacity of [`UNEVEN`] or [`EVEN`].
const fn short(share: f64) -> CaseLoad {
    short_at(share * SHORT * SPEEDS)
}

/// Prompts as long as in the recorded GPU runs, and responses of the same mean length with more spread.
const fn short_at(rate: f64) -> CaseLoad {
    CaseLoad::Synthetic {
        rate,
        prompt: LengthDistribution::Between(220.0, 385.0),
        output: LengthDistribution::Between(100.0, 400.0),
    }
}

const fn case(name: &'static str, title: &'static str, fleet: &'static str, load: CaseLoad) -> Case {
    let (limits, slowdown, judged, contenders) = ("", None, false, ContenderSet::Main);
    Case {
        name,
        title,
        fleet,
        limits,
        load,
        slowdown,
        judged,
        contenders,
        drain: 6,
        warm_up_factor: 1,
        load_factor: 1,
    }
}

/// A case in which responses take many seconds.
const fn slow(case: Case) -> Case {
    Case { warm_up_factor: 2, load_factor: 2, drain: 20, ..case }
}

const fn judged(case: Case) -> Case {
    Case { judged: true, contenders: ContenderSet::All, ..case }
}

/// Every case, in the order of the page.
pub(crate) const CASES: [Case; 14] = [
    slow(case(
        "uneven-50",
        "1 fast worker, 2 slower by 2.5; short prompts at 50 % of capacity",
        UNEVEN,
        short(0.5),
    )),
    slow(judged(case(
        "uneven-75",
        "1 fast worker, 2 slower by 2.5; short prompts at 75 % of capacity",
        UNEVEN,
        short(0.75),
    ))),
    slow(case(
        "uneven-95",
        "1 fast worker, 2 slower by 2.5; short prompts at 95 % of capacity",
        UNEVEN,
        short(0.95),
    )),
    slow(judged(case("even-75", "4 equal workers; short prompts at 75 % of capacity", EVEN, short(0.75)))),
    slow(case("even-95", "4 equal workers; short prompts at 95 % of capacity", EVEN, short(0.95))),
    Case {
        limits: CHUNKED_2048,
        ..slow(case(
            "chunked-75",
            "1 fast worker, 2 slower by 2.5, which compute prompts in chunks beside decoding as vLLM does, 2,048 tokens \
             in a step; short prompts at 75 % of capacity",
            UNEVEN,
            short_at(0.75 * CHUNKED * SPEEDS),
        ))
    },
    Case {
        limits: BATCH_16,
        ..case(
            "uneven-batch",
            "1 fast worker, 2 slower by 2.5, 16 running requests each; short prompts and shorter answers at 75 % of \
             capacity",
            UNEVEN_FASTER,
            CaseLoad::Synthetic {
                rate: 0.75 * BATCH * SPEEDS_FASTER,
                prompt: LengthDistribution::Near(200.0),
                output: LengthDistribution::Near(100.0),
            },
        )
    },
    Case {
        limits: ":max_running=8",
        warm_up_factor: 2,
        load_factor: 4,
        drain: 25,
        ..judged(case(
            "mixed-8",
            "8 workers (2 fast, 2 of half that speed, 4 of a quarter), 8 running requests each; answers of widely spread length at 75 % of \
             capacity",
            MIXED,
            CaseLoad::Synthetic {
                rate: 0.75 * WIDE * MIXED_SPEEDS,
                prompt: LengthDistribution::Near(200.0),
                output: LengthDistribution::Wide(100.0),
            },
        ))
    },
    slow(judged(case(
        "classes",
        "1 fast worker, 2 slower by 2.5; three clients (chats, extraction with long prompts and short answers, agents with a \
         shared prompt and long answers) at 75 % of capacity",
        UNEVEN,
        CaseLoad::Clients { rate: 0.75 * CLASSES * SPEEDS, clients: CLIENTS, max_tokens: 1024 },
    ))),
    Case {
        limits: BATCH_16,
        ..judged(case(
            "prefixes",
            "4 equal workers, 16 running requests each, with room for every prefix; 24 prefixes of 2,560 tokens, 80 % of \
             each prompt, at 75 % of capacity",
            EVEN_FASTER,
            CaseLoad::Prefixes { rate: 0.75 * PREFIXES * SPEEDS_FASTER },
        ))
    },
    Case {
        limits: ":max_running=16:kv_tokens=60000",
        ..case(
            "prefixes-tight",
            "The same with room for about half of the prefixes, at 75 % of what the workers can do without regard to \
             prefixes",
            EVEN_FASTER,
            CaseLoad::Prefixes { rate: 0.75 * PREFIXES_TIGHT * SPEEDS_FASTER },
        )
    },
    Case {
        drain: 10,
        ..case(
            "code",
            "1 fast worker, 2 slower by 2.5; the Azure code trace of 2023, 4 times as fast",
            UNEVEN_FASTER,
            CaseLoad::Trace { file: "azure_code_2023.jsonl", speed: 4.0 },
        )
    },
    Case {
        drain: 10,
        ..case(
            "chat",
            "4 equal workers of twice the speed; the Mooncake conversation trace, 3.5 times as fast",
            "sglang_8b@2*4",
            CaseLoad::Trace { file: "mooncake_conversation.jsonl", speed: 3.5 },
        )
    },
    Case {
        slowdown: Some(Slowdown { worker: 0, factor: 4.0, after: 10, lasts: 60, rest: 30 }),
        contenders: ContenderSet::Main,
        ..slow(judged(case(
            "change",
            "1 fast worker, 2 slower by 2.5; short prompts at 50 % of capacity; the fast one is 4 times slower for 60 s",
            UNEVEN,
            short(0.5),
        )))
    },
];

impl Case {
    /// The whole fleet line.
    pub(crate) fn fleet_line(&self) -> String {
        let parts = self.fleet.split(',').map(|part| format!("{part}{}", self.limits));
        parts.collect::<Vec<_>>().join(",")
    }

    /// Seconds of load after a warm-up, for `secs` on the command line. A slowdown has its own times.
    pub(crate) fn measured_secs(&self, secs: u64) -> u64 {
        self.slowdown
            .map_or(self.load_factor * secs, |slowdown| slowdown.after + slowdown.lasts + slowdown.rest)
    }

    /// Seconds of warm-up, for `secs` on the command line.
    pub(crate) const fn warm_up_secs(&self, secs: u64) -> u64 {
        self.warm_up_factor * secs
    }

    /// Rounds of this case: all if it has targets, else half of them.
    pub(crate) fn rounds(&self, all: u32) -> u32 {
        if self.judged { all } else { all.div_ceil(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn limits_apply_to_every_worker() {
        let tight = CASES.iter().find(|case| case.name == "uneven-batch").unwrap();
        assert_eq!(tight.fleet_line(), "sglang_8b@1*1:max_running=16,sglang_8b@0.4*2:max_running=16");
        assert_eq!(CASES[0].fleet_line(), CASES[0].fleet);
    }

    #[test]
    fn shares_of_clients_add_up() {
        for case in &CASES {
            let CaseLoad::Clients { clients, .. } = case.load else { continue };
            let total: f64 = clients.iter().map(|client| client.share).sum();
            assert!((total - 1.0).abs() < 1e-9, "{}: {total}", case.name);
        }
    }

    #[test]
    fn names_are_unique_and_rounds_positive() {
        let names: HashSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        assert!(CASES.iter().all(|case| case.rounds(1) == 1 && case.warm_up_secs(1) >= 1));
    }

    #[test]
    fn wide_outputs_have_enough_requests() {
        let wide = CASES.iter().filter(|case| {
            matches!(case.load, CaseLoad::Synthetic { output: LengthDistribution::Wide(_), .. })
        });
        for case in wide {
            let CaseLoad::Synthetic { rate, .. } = case.load else { continue };
            assert!(rate * case.measured_secs(14) as f64 > 1500.0, "{}", case.name);
        }
    }
}
