//! The load of one case and round as a trace that `sgl-router send` replays: the same file for every contender.

use super::case::{Case, CaseClient, CaseLoad, LengthDistribution};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The context length of the emulated model. Requests with more prompt and output tokens are left out.
const CONTEXT: u32 = 32_000;

/// How many slices of a trace are tried.
const MAX_TRIES: usize = 1000;
/// Each half of a slice has at least this share of the average number of requests.
const MIN_SHARE: f64 = 0.6;

/// Tokens per block; a trace names blocks by ids.
const BLOCK: u32 = 512;
const PREFIXES: usize = 24;
const PREFIX_BLOCKS: u64 = 5;
/// Distance between the block ids of two rounds, so that rounds share no block.
const IDS_PER_SEED: u64 = 1 << 20;
/// Distance between the block ids of two clients.
const IDS_PER_CLIENT: u64 = 1 << 10;

/// One request, as `send --trace` reads it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TraceLine {
    /// Seconds from the start.
    pub(crate) arrival_s: f64,
    /// Length of the prompt in tokens.
    pub(crate) input_tokens: u32,
    /// Length of the output in tokens.
    pub(crate) output_tokens: u32,
    /// Ids of the prompt's blocks; empty for a prompt that shares nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hash_ids: Vec<u64>,
    /// Who sends it, where there are several clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<String>,
    /// The limit of output tokens that the request names; without one it names `output_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u32>,
    /// Whether the response is streamed, where the client decides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<bool>,
}

/// The requests of `window` seconds. `None` where the trace is missing.
///
/// # Errors
/// The trace cannot be read or has another format.
pub(crate) fn lines(case: &Case, seed: u64, window: f64, traces: &Path) -> Result<Option<Vec<TraceLine>>> {
    let mut random = fastrand::Rng::with_seed(seed);
    match case.load {
        CaseLoad::Synthetic { rate, prompt, output } => {
            let made = arrivals(rate, window, &mut random).into_iter().map(|arrival_s| TraceLine {
                arrival_s,
                input_tokens: length(prompt, &mut random),
                output_tokens: length(output, &mut random),
                ..TraceLine::default()
            });
            Ok(Some(made.collect()))
        }
        CaseLoad::Prefixes { rate } => {
            let made = arrivals(rate, window, &mut random).into_iter().map(|arrival_s| {
                let first = seed * IDS_PER_SEED + random.usize(..PREFIXES) as u64 * PREFIX_BLOCKS;
                TraceLine {
                    arrival_s,
                    input_tokens: PREFIX_BLOCKS as u32 * BLOCK * 5 / 4,
                    output_tokens: length(LengthDistribution::Near(100.0), &mut random),
                    hash_ids: (first..first + PREFIX_BLOCKS).collect(),
                    ..TraceLine::default()
                }
            });
            Ok(Some(made.collect()))
        }
        CaseLoad::Clients { rate, clients, max_tokens } => {
            let made = arrivals(rate, window, &mut random).into_iter().filter_map(|arrival_s| {
                let (index, client) = pick(clients, random.f64())?;
                let first = seed * IDS_PER_SEED + index as u64 * IDS_PER_CLIENT;
                Some(TraceLine {
                    arrival_s,
                    input_tokens: client.shared_blocks * BLOCK + length(client.prompt, &mut random),
                    output_tokens: length(client.output, &mut random).min(max_tokens),
                    hash_ids: (first..first + u64::from(client.shared_blocks)).collect(),
                    client: Some(client.name.to_owned()),
                    max_tokens: Some(max_tokens),
                    stream: Some(client.stream),
                })
            });
            Ok(Some(made.collect()))
        }
        CaseLoad::Trace { file, speed } => {
            let file = traces.join(file);
            if !file.exists() {
                return Ok(None);
            }
            slice(&read(&file)?, window, speed, &mut random).map(Some)
        }
    }
}

/// Writes a trace for `send`.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(lines: &[TraceLine], file: &Path) -> Result<()> {
    let texts = lines.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    fs::write(file, texts.join("\n") + "\n").with_context(|| format!("cannot write {}", file.display()))
}

fn read(file: &Path) -> Result<Vec<TraceLine>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parse = |(index, line)| {
        serde_json::from_str(line).with_context(|| format!("{}:{}", file.display(), index + 1))
    };
    text.lines().enumerate().map(parse).collect()
}

/// A random slice of the trace, `speed` times as fast. Slices with a quiet half are not used: a trace may have no
/// requests for minutes.
#[allow(clippy::cast_precision_loss, reason = "a trace has far fewer than 2^52 requests")]
fn slice(trace: &[TraceLine], window: f64, speed: f64, random: &mut fastrand::Rng) -> Result<Vec<TraceLine>> {
    let end = trace.last().context("an empty trace")?.arrival_s;
    let (long, last_start) = (window * speed, (end - window * speed).max(0.0));
    let least = MIN_SHARE * trace.len() as f64 * (long / 2.0 / end.max(long));
    for _ in 0..MAX_TRIES {
        let start = random.f64() * last_start;
        let within = |line: &&TraceLine| (start..start + long).contains(&line.arrival_s);
        let fits = |line: &&TraceLine| line.input_tokens + line.output_tokens <= CONTEXT;
        let moved =
            |line: &TraceLine| TraceLine { arrival_s: (line.arrival_s - start) / speed, ..line.clone() };
        let found: Vec<TraceLine> = trace.iter().filter(within).filter(fits).map(moved).collect();
        let early = found.iter().filter(|line| line.arrival_s < window / 2.0).count();
        if early.min(found.len() - early) as f64 >= least {
            return Ok(found);
        }
    }
    bail!("found no busy slice of {long:.0} s in the trace")
}

/// The client at this place, from 0 to 1, on the line of shares.
fn pick(clients: &[CaseClient], mut place: f64) -> Option<(usize, &CaseClient)> {
    let is_here = |(_, client): &(usize, &CaseClient)| {
        place -= client.share;
        place < 0.0
    };
    // Shares may add up to a little less than 1.
    clients.iter().enumerate().find(is_here).or_else(|| clients.iter().enumerate().next_back())
}

/// Poisson arrivals within the window.
fn arrivals(rate: f64, window: f64, random: &mut fastrand::Rng) -> Vec<f64> {
    let mut at = 0.0;
    let next = || {
        at += -(1.0 - random.f64()).ln() / rate;
        (at < window).then_some(at)
    };
    std::iter::from_fn(next).collect()
}

/// A length of at least one token.
fn length(lengths: LengthDistribution, random: &mut fastrand::Rng) -> u32 {
    const SIGMA: f64 = 1.2;
    let tokens = match lengths {
        LengthDistribution::Near(mean) => mean * (0.75 + 0.5 * random.f64()),
        LengthDistribution::Between(low, high) => low + (high - low) * random.f64(),
        LengthDistribution::Wide(mean) => {
            // A normal variate by the Box-Muller transform.
            let normal =
                (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos();
            let center = mean.ln() - SIGMA * SIGMA / 2.0;
            (center + SIGMA * normal).exp().min(10.0 * mean)
        }
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded and positive")]
    let whole = tokens.round() as u32;
    whole.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::case::CASES;
    use std::collections::HashSet;

    fn made(name: &str, seed: u64) -> Vec<TraceLine> {
        let case = CASES.iter().find(|case| case.name == name).unwrap();
        lines(case, seed, 100.0, Path::new("nowhere")).unwrap().unwrap()
    }

    #[test]
    fn seed_fixes_load_and_rate_is_met() {
        assert_eq!(made("uneven-batch", 1), made("uneven-batch", 1));
        assert_ne!(made("uneven-batch", 1), made("uneven-batch", 2));
        let count = made("uneven-batch", 1).len();
        assert!((2350..2750).contains(&count), "{count} requests at 25.4/s in 100 s");
    }

    #[test]
    fn short_prompts_have_recorded_lengths() {
        let made = made("uneven-75", 1);
        assert!(made.iter().all(|line| (220..=385).contains(&line.input_tokens)));
        assert!(made.iter().all(|line| (100..=400).contains(&line.output_tokens)));
        assert!((4200..4700).contains(&made.len()), "{} requests at 44.4/s in 100 s", made.len());
    }

    #[test]
    fn wide_outputs_have_a_long_tail() {
        let lengths: Vec<u32> = made("mixed-8", 1).iter().map(|line| line.output_tokens).collect();
        let mean = f64::from(lengths.iter().sum::<u32>()) / lengths.len() as f64;
        assert!((80.0..110.0).contains(&mean), "{mean}");
        assert!(lengths.iter().filter(|length| **length > 500).count() > 20);
    }

    #[test]
    fn rounds_share_no_prefix() {
        let (one, two) = (made("prefixes", 1), made("prefixes", 2));
        let ids =
            |lines: &[TraceLine]| lines.iter().map(|line| line.hash_ids.clone()).collect::<HashSet<_>>();
        assert_eq!((ids(&one).len(), ids(&two).len()), (24, 24));
        assert!(ids(&one).is_disjoint(&ids(&two)));
        assert!(one.iter().all(|line| line.input_tokens == 3200 && line.hash_ids.len() == 5));
    }

    #[test]
    fn clients_have_their_shares_and_lengths() {
        let (one, two) = (made("classes", 1), made("classes", 2));
        let of =
            |name: &str| one.iter().filter(|line| line.client.as_deref() == Some(name)).collect::<Vec<_>>();
        for (name, share) in [("chat", 0.5), ("extraction", 0.35), ("agents", 0.15)] {
            let found = of(name).len() as f64 / one.len() as f64;
            assert!((found - share).abs() < 0.04, "{name}: {found}");
        }
        assert!(of("extraction").iter().all(|line| (5..=30).contains(&line.output_tokens)));
        assert!(of("agents").iter().all(|line| line.hash_ids == of("agents")[0].hash_ids));
        assert!(of("agents").iter().all(|line| (1224..=1624).contains(&line.input_tokens)));
        assert!(one.iter().all(|line| line.max_tokens == Some(1024)), "the limit tells no client");
        let streams = |name: &str| of(name).iter().map(|line| line.stream).collect::<HashSet<_>>();
        assert_eq!(streams("chat"), HashSet::from([Some(true)]));
        assert_eq!(streams("extraction"), HashSet::from([Some(false)]));
        let ids =
            |lines: &[TraceLine]| lines.iter().flat_map(|line| line.hash_ids.clone()).collect::<HashSet<_>>();
        assert!(ids(&one).len() == 2 && ids(&one).is_disjoint(&ids(&two)));
    }

    #[test]
    fn slice_is_faster_and_skips_long_requests() {
        let line = |index: u32| TraceLine {
            arrival_s: f64::from(index),
            input_tokens: if index.is_multiple_of(10) { 40_000 } else { 10 },
            output_tokens: 1,
            ..TraceLine::default()
        };
        let trace: Vec<TraceLine> = (0..1000).map(line).collect();
        let cut = slice(&trace, 20.0, 5.0, &mut fastrand::Rng::with_seed(3)).unwrap();
        assert_eq!(cut.len(), 90);
        assert!(cut.iter().all(|line| (0.0..20.0).contains(&line.arrival_s) && line.input_tokens == 10));
    }

    #[test]
    fn slice_has_two_busy_halves() {
        let burst = |from: u32| {
            (from..from + 100).map(|at| TraceLine {
                arrival_s: f64::from(at),
                input_tokens: 10,
                output_tokens: 1,
                ..TraceLine::default()
            })
        };
        let trace: Vec<TraceLine> = burst(0).chain(burst(2000)).collect();
        for seed in 0..20 {
            let cut = slice(&trace, 50.0, 1.0, &mut fastrand::Rng::with_seed(seed)).unwrap();
            let early = cut.iter().filter(|line| line.arrival_s < 25.0).count();
            assert!(early >= 2 && cut.len() - early >= 2);
        }
    }

    #[test]
    fn missing_trace_is_no_error() {
        let code = CASES.iter().find(|case| case.name == "code").unwrap();
        assert_eq!(lines(code, 1, 10.0, Path::new("nowhere")).unwrap(), None);
    }
}
