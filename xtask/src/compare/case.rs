//! What is measured: fleets, loads, and what each must show.
//!
//! Every worker is the fitted SGLang 8B, at a speed of its own and with a small batch: 16 running requests, 8 in the
//! fleet of eight. So a share of capacity means queues, as it does in practice, while two cores can carry the load.
//!
//! Capacity is what a worker answers per second when it is never out of work: `--calibrate` measures it for each load
//! on one worker of speed 1, without a router. It is proportional to speed, so a fleet's is that times the sum of
//! its speeds. The rates below are that product times the share of capacity in the case's title.

/// Lengths in tokens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Lengths {
    /// Uniform, from three quarters to five quarters of the mean.
    Near(f64),
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

/// One setting in which every contender is measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Case {
    /// Its name on the command line and of its plot.
    pub(crate) name: &'static str,
    /// Fleet, load and share of capacity, in words.
    pub(crate) title: &'static str,
    /// The fleet, as `sgl-router emulate --fleet` takes it.
    pub(crate) fleet: &'static str,
    /// Further flags of `sgl-router emulate`.
    pub(crate) limits: &'static [&'static str],
    /// The load.
    pub(crate) load: Load,
    /// What changes in the middle.
    pub(crate) change: Option<Change>,
    /// Whether a target is set for it: then every contender runs, and in every round.
    pub(crate) judged: bool,
    /// Seconds that the last answers need after the last arrival, about: for the estimate alone.
    pub(crate) drain: u64,
}

const SHORT: (Lengths, Lengths) = (Lengths::Near(200.0), Lengths::Near(100.0));
const BATCH_16: &[&str] = &["--max-running-requests", "16"];
const BATCH_8: &[&str] = &["--max-running-requests", "8"];

const UNEVEN: &str = "sglang_8b@1*1,sglang_8b@0.4*2";
const EVEN: &str = "sglang_8b@0.45*4";

const fn short(rate: f64) -> Load {
    Load::Made { rate, prompt: SHORT.0, answer: SHORT.1 }
}

const fn case(name: &'static str, title: &'static str, fleet: &'static str, load: Load) -> Case {
    Case { name, title, fleet, limits: BATCH_16, load, change: None, judged: false, drain: 4 }
}

/// Every case, in the order of the page.
pub(crate) const CASES: [Case; 11] = [
    case(
        "uneven-50",
        "1 fast worker, 2 slower by 2.5; short prompts at 50 % of capacity",
        UNEVEN,
        short(17.1),
    ),
    Case {
        judged: true,
        ..case(
            "uneven-75",
            "1 fast worker, 2 slower by 2.5; short prompts at 75 % of capacity",
            UNEVEN,
            short(25.7),
        )
    },
    case(
        "uneven-95",
        "1 fast worker, 2 slower by 2.5; short prompts at 95 % of capacity",
        UNEVEN,
        short(32.5),
    ),
    Case {
        judged: true,
        ..case("even-75", "4 equal workers; short prompts at 75 % of capacity", EVEN, short(25.7))
    },
    case("even-95", "4 equal workers; short prompts at 95 % of capacity", EVEN, short(32.5)),
    Case {
        limits: BATCH_8,
        judged: true,
        drain: 18,
        ..case(
            "mixed-8",
            "8 workers (2 fast, 2 of half that speed, 4 of a quarter); answers of widely spread length at 75 % of \
             capacity",
            "sglang_8b@1*2,sglang_8b@0.5*2,sglang_8b@0.25*4",
            Load::Made { rate: 31.0, prompt: SHORT.0, answer: Lengths::Wide(100.0) },
        )
    },
    Case {
        judged: true,
        ..case(
            "prefixes",
            "4 equal workers with room for every prefix; 24 prefixes of 2,560 tokens, 80 % of each prompt, at 75 % of \
             capacity",
            EVEN,
            Load::Prefixes { rate: 18.0 },
        )
    },
    Case {
        limits: &["--max-running-requests", "16", "--max-total-tokens", "60000"],
        ..case(
            "prefixes-tight",
            "4 equal workers with room for about half the prefixes; the same prompts, slower",
            EVEN,
            Load::Prefixes { rate: 14.0 },
        )
    },
    Case {
        limits: &[],
        ..case(
            "code",
            "1 fast worker, 2 slower by 2.5; the Azure code trace of 2023, 6 times as fast",
            UNEVEN,
            Load::Trace { file: "azure_code_2023.jsonl", speed: 6.0 },
        )
    },
    Case {
        limits: &[],
        drain: 10,
        ..case(
            "chat",
            "4 equal workers of twice the speed; the Mooncake conversation trace, 3.5 times as fast",
            "sglang_8b@2*4",
            Load::Trace { file: "mooncake_conversation.jsonl", speed: 3.5 },
        )
    },
    Case {
        change: Some(Change { worker: 0, factor: 4.0, after: 10, lasts: 60, rest: 15 }),
        judged: true,
        drain: 6,
        ..case(
            "change",
            "1 fast worker, 2 slower by 2.5; short prompts at 50 % of capacity; the fast one is 4 times slower for 60 s",
            UNEVEN,
            short(17.1),
        )
    },
];

impl Case {
    /// Seconds of load after the warm-up, where `secs` are asked for: a change needs its own time.
    pub(crate) fn measured_secs(&self, secs: u64) -> u64 {
        self.change.map_or(secs, |change| change.after + change.lasts + change.rest)
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
    fn names_are_unique_and_rounds_are_never_zero() {
        let names: HashSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        assert!(CASES.iter().all(|case| case.rounds(1) == 1));
    }
}
