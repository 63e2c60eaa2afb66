//! What is measured: fleets, loads, and what each must show.
//!
//! Every worker is the fitted SGLang 8B at a speed of its own. Speeds are so small that two cores can carry the load at
//! a high share of the workers' capacity, and so large that queues settle within the warm-up.
//!
//! Capacity is what a worker answers per second when it is never out of work: `--calibrate` measures it for each load
//! on one worker of speed 1, without a router. It is proportional to speed, so a fleet's is that times the sum of
//! its speeds. The rates below are that product times the share of capacity in the case's title. The traces, which meet
//! no such limit, are as fast as brings their busy minutes near to what the fleet can do.

/// Lengths in tokens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Lengths {
    /// Uniform, from three quarters to five quarters of the mean.
    Near(f64),
    /// Uniform from the first to the second.
    Between(f64, f64),
    /// Log-normal with this mean and sigma 1.2 before it is cut off at ten times the mean.
    Wide(f64),
}

/// Who asks for what, and when.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Load {
    /// Prompts that share nothing, arriving at random.
    Made {
        /// Requests per second.
        rate: f64,
        /// Length of the prompt.
        prompt: Lengths,
        /// Length of the answer.
        answer: Lengths,
    },
    /// 24 beginnings of 2,560 tokens, each followed by 640 tokens of the prompt's own, arriving at random.
    Prefixes {
        /// Requests per second.
        rate: f64,
    },
    /// A slice of a recorded trace, another one in each round.
    Trace {
        /// The file, in the folder of the traces.
        file: &'static str,
        /// How much faster than it was.
        speed: f64,
    },
}

/// A worker that becomes slower in the middle of the run, and then recovers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Change {
    /// Which worker, from 0.
    pub(crate) worker: usize,
    /// How many times as long its steps take.
    pub(crate) factor: f64,
    /// Seconds from the end of the warm-up.
    pub(crate) after: u64,
    /// Seconds that it lasts.
    pub(crate) lasts: u64,
    /// Seconds after it.
    pub(crate) rest: u64,
}

/// Who runs in a case: the time that a measurement takes has to be bounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Field {
    /// Everybody.
    All,
    /// The best of each maker, tuned or not, and the rules that everybody knows.
    Main,
}

/// One setting in which every contender is measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Case {
    /// Its name on the command line and of its plot.
    pub(crate) name: &'static str,
    /// Fleet, load and share of capacity, in words.
    pub(crate) title: &'static str,
    /// The fleet, as `sgl-router emulate --fleet` takes it, without limits.
    pub(crate) fleet: &'static str,
    /// Limits of every worker, as they stand in a fleet line; empty for those of the profile.
    pub(crate) limits: &'static str,
    /// The load.
    pub(crate) load: Load,
    /// What changes in the middle.
    pub(crate) change: Option<Change>,
    /// Whether a target is set for it: then it has all rounds, else half of them.
    pub(crate) judged: bool,
    /// Who runs in it.
    pub(crate) field: Field,
    /// Seconds that the last answers need after the last arrival, about: for the estimate alone.
    pub(crate) drain: u64,
    /// How many times as long its warm-up is as asked for: where answers take many seconds, queues take long to settle.
    pub(crate) pace: u64,
    /// How many times as long its load is counted as asked for: a 99th percentile needs some fifteen hundred requests
    /// where few of them decide it.
    pub(crate) length: u64,
}

/// Answers per second of one worker of speed 1, for short prompts; see `--calibrate`.
const SHORT: f64 = 43.9;
/// The same where prompts are cut into chunks and computed beside decoding.
const CHUNKED: f64 = 51.2;
/// For short prompts with shorter answers and 16 running requests at most.
const BATCH: f64 = 18.8;
/// The same with 8 running requests at most and answers of widely spread length.
const WIDE: f64 = 10.7;
/// The same for prompts of 3,200 tokens, where 2,560 of them are always in the cache, with 16 running requests at most.
const PREFIXES: f64 = 13.8;
/// The same where the cache has room for about half of the prefixes, and every worker gets all of them.
const PREFIXES_TIGHT: f64 = 11.7;

/// A worker that is 1, and two that are each 0.4 of it.
const UNEVEN: &str = "sglang_8b@0.75*1,sglang_8b@0.3*2";
const EVEN: &str = "sglang_8b@0.3375*4";
/// The sum of the speeds of either.
const SPEEDS: f64 = 1.35;

/// The same fleets for loads that fewer running requests bound.
const UNEVEN_FASTER: &str = "sglang_8b@1*1,sglang_8b@0.4*2";
const EVEN_FASTER: &str = "sglang_8b@0.45*4";
const SPEEDS_FASTER: f64 = 1.8;

const MIXED: &str = "sglang_8b@1*2,sglang_8b@0.5*2,sglang_8b@0.25*4";
const MIXED_SPEEDS: f64 = 4.0;

const BATCH_16: &str = ":max_running=16";
/// As vLLM does it on a usual card: every step decodes and spends the rest of its tokens on pieces of prompts.
const CHUNKED_2048: &str = ":chunked=2048";

/// Short prompts on the uneven or the even fleet, at a share of its capacity.
const fn short(share: f64) -> Load {
    short_at(share * SHORT * SPEEDS)
}

/// Prompts as long as those of the recorded GPU runs, and answers about as long on average and more spread.
const fn short_at(rate: f64) -> Load {
    Load::Made { rate, prompt: Lengths::Between(220.0, 385.0), answer: Lengths::Between(100.0, 400.0) }
}

const fn case(name: &'static str, title: &'static str, fleet: &'static str, load: Load) -> Case {
    let (limits, change, judged, field) = ("", None, false, Field::Main);
    Case { name, title, fleet, limits, load, change, judged, field, drain: 6, pace: 1, length: 1 }
}

/// A case in which answers take many seconds.
const fn slow(case: Case) -> Case {
    Case { pace: 2, length: 2, drain: 20, ..case }
}

const fn judged(case: Case) -> Case {
    Case { judged: true, field: Field::All, ..case }
}

/// Every case, in the order of the page.
pub(crate) const CASES: [Case; 13] = [
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
            Load::Made {
                rate: 0.75 * BATCH * SPEEDS_FASTER,
                prompt: Lengths::Near(200.0),
                answer: Lengths::Near(100.0),
            },
        )
    },
    Case {
        limits: ":max_running=8",
        pace: 2,
        length: 4,
        drain: 25,
        ..judged(case(
            "mixed-8",
            "8 workers (2 fast, 2 of half that speed, 4 of a quarter), 8 running requests each; answers of widely spread length at 75 % of \
             capacity",
            MIXED,
            Load::Made {
                rate: 0.75 * WIDE * MIXED_SPEEDS,
                prompt: Lengths::Near(200.0),
                answer: Lengths::Wide(100.0),
            },
        ))
    },
    Case {
        limits: BATCH_16,
        ..judged(case(
            "prefixes",
            "4 equal workers, 16 running requests each, with room for every prefix; 24 prefixes of 2,560 tokens, 80 % of \
             each prompt, at 75 % of capacity",
            EVEN_FASTER,
            Load::Prefixes { rate: 0.75 * PREFIXES * SPEEDS_FASTER },
        ))
    },
    Case {
        limits: ":max_running=16:kv_tokens=60000",
        ..case(
            "prefixes-tight",
            "The same with room for about half of the prefixes, at 75 % of what the workers can do without regard to \
             prefixes",
            EVEN_FASTER,
            Load::Prefixes { rate: 0.75 * PREFIXES_TIGHT * SPEEDS_FASTER },
        )
    },
    Case {
        drain: 10,
        ..case(
            "code",
            "1 fast worker, 2 slower by 2.5; the Azure code trace of 2023, 4 times as fast",
            UNEVEN_FASTER,
            Load::Trace { file: "azure_code_2023.jsonl", speed: 4.0 },
        )
    },
    Case {
        drain: 10,
        ..case(
            "chat",
            "4 equal workers of twice the speed; the Mooncake conversation trace, 3.5 times as fast",
            "sglang_8b@2*4",
            Load::Trace { file: "mooncake_conversation.jsonl", speed: 3.5 },
        )
    },
    Case {
        change: Some(Change { worker: 0, factor: 4.0, after: 10, lasts: 60, rest: 30 }),
        field: Field::Main,
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

    /// Seconds of load after the warm-up, where `secs` are asked for: a change needs its own time.
    pub(crate) fn measured_secs(&self, secs: u64) -> u64 {
        self.change.map_or(self.length * secs, |change| change.after + change.lasts + change.rest)
    }

    /// Seconds of warm-up, where `secs` are asked for.
    pub(crate) const fn warm_up_secs(&self, secs: u64) -> u64 {
        self.pace * secs
    }

    /// Rounds of this case: all where it is judged, else half of them.
    pub(crate) fn rounds(&self, all: u32) -> u32 {
        if self.judged { all } else { all.div_ceil(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_part_of_a_fleet_gets_the_limits() {
        let tight = CASES.iter().find(|case| case.name == "uneven-batch").unwrap();
        assert_eq!(tight.fleet_line(), "sglang_8b@1*1:max_running=16,sglang_8b@0.4*2:max_running=16");
        assert_eq!(CASES[0].fleet_line(), CASES[0].fleet);
    }

    #[test]
    fn names_are_unique_and_rounds_are_never_zero() {
        let names: HashSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        assert!(CASES.iter().all(|case| case.rounds(1) == 1 && case.warm_up_secs(1) >= 1));
    }

    #[test]
    fn answers_of_widely_spread_length_are_counted_by_the_thousand() {
        let wide =
            CASES.iter().filter(|case| matches!(case.load, Load::Made { answer: Lengths::Wide(_), .. }));
        for case in wide {
            let Load::Made { rate, .. } = case.load else { continue };
            assert!(rate * case.measured_secs(14) as f64 > 1500.0, "{}", case.name);
        }
    }
}
