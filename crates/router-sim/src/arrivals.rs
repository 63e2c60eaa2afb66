//! Synthetic load: arrival times, lengths and shared prefixes.

use crate::distributions::{exponential, gamma, normal};
use crate::workload::{RequestStart, SimulatedRequest, Workload, chain};
use router_core::{Rng, Time};
use std::str::FromStr;
use std::time::Duration;

/// Above the context length of any model; a larger length is a typing error.
const MAX_TOKENS: u32 = 1_000_000;

/// The distribution of a length in tokens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum LengthDistribution {
    /// Always the same.
    Fixed(u32),
    /// Uniform between two lengths, both included.
    Uniform(u32, u32),
    /// Log-normal: many short lengths and few very long ones.
    LogNormal {
        /// The mean, in tokens.
        mean: f64,
        /// Standard deviation of the logarithm; 1 is wide.
        sigma: f64,
        /// Longer samples are cut to this, in tokens.
        max: u32,
    },
}

impl LengthDistribution {
    /// Draws one length, at least 1.
    pub fn sample(self, rng: &mut Rng) -> u32 {
        match self {
            Self::Fixed(n) => n.max(1),
            Self::Uniform(low, high) => {
                let span = high.max(low) - low;
                (low + rng.below(span as usize + 1) as u32).max(1)
            }
            Self::LogNormal { mean, sigma, max } => {
                let sample = mean * (sigma * normal(rng) - 0.5 * sigma * sigma).exp();
                (sample.round() as u32).clamp(1, max.max(1))
            }
        }
    }
}

impl LengthDistribution {
    /// The longest length that it may draw.
    pub(crate) fn longest(self) -> u32 {
        match self {
            Self::Fixed(length) | Self::Uniform(_, length) | Self::LogNormal { max: length, .. } => {
                length.max(1)
            }
        }
    }
}

/// The text is not a length distribution.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected TOKENS, LOW..HIGH or lognormal:MEAN:SIGMA[:MAX], with tokens from 1 to {MAX_TOKENS}")]
pub struct LengthDistributionError;

impl FromStr for LengthDistribution {
    type Err = LengthDistributionError;

    /// Parses `300`, `200..400` (uniform) or `lognormal:250:1.2:4000`; the default maximum is 20 times the mean.
    fn from_str(text: &str) -> Result<Self, LengthDistributionError> {
        let tokens = |text: &str| {
            text.trim()
                .parse::<u32>()
                .ok()
                .filter(|n| (1..=MAX_TOKENS).contains(n))
                .ok_or(LengthDistributionError)
        };
        let positive = |text: &str| {
            text.trim()
                .parse::<f64>()
                .ok()
                .filter(|x| x.is_finite() && *x > 0.0)
                .ok_or(LengthDistributionError)
        };
        if let Some(of) = text.strip_prefix("lognormal:") {
            let (mean, rest) = of.split_once(':').ok_or(LengthDistributionError)?;
            let mean = positive(mean)?;
            let (sigma, max) = match rest.split_once(':') {
                Some((sigma, max)) => (positive(sigma)?, tokens(max)?),
                None => (positive(rest)?, ((20.0 * mean) as u32).clamp(1, MAX_TOKENS)),
            };
            return Ok(Self::LogNormal { mean, sigma, max });
        }
        match text.split_once("..") {
            Some((low, high)) => match (tokens(low)?, tokens(high)?) {
                (low, high) if low <= high => Ok(Self::Uniform(low, high)),
                _ => Err(LengthDistributionError),
            },
            None => Ok(Self::Fixed(tokens(text)?)),
        }
    }
}

impl std::fmt::Display for LengthDistribution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(tokens) => write!(f, "{tokens}"),
            Self::Uniform(low, high) => write!(f, "{low}..{high}"),
            Self::LogNormal { mean, sigma, max } => write!(f, "lognormal:{mean}:{sigma}:{max}"),
        }
    }
}

/// The lengths of independent requests.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RequestLengths {
    /// Prompt length.
    pub prompt: LengthDistribution,
    /// Output length.
    pub output: LengthDistribution,
}

/// An open-loop arrival process: it does not wait for responses.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ArrivalProcess {
    /// Requests per second, above 0.
    pub rate: f64,
    /// Shape of the gamma-distributed gaps: 1 is Poisson, below 1 is bursty, above 1 is regular.
    pub shape: f64,
}

/// Groups of prompts that share a prefix, such as a system prompt or few-shot examples.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PrefixGroups {
    /// How many groups; all are equally likely.
    pub groups: u32,
    /// Tokens that all prompts of a group share.
    pub shared_tokens: u32,
    /// Length of the part that a prompt does not share.
    pub own: LengthDistribution,
    /// Output length.
    pub output: LengthDistribution,
}

/// Conversations: each turn repeats all earlier prompts and responses, and arrives after the user has read the last
/// response.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ChatSessions {
    /// How many conversations.
    pub count: usize,
    /// How many turns each has.
    pub turns: LengthDistribution,
    /// Tokens that the user adds in each turn.
    pub added: LengthDistribution,
    /// Tokens of each response.
    pub output: LengthDistribution,
    /// Mean pause between a response and the next turn; the pauses are exponential.
    pub think: Duration,
}

impl ArrivalProcess {
    /// Independent arrivals at `rate` requests per second.
    pub const fn poisson(rate: f64) -> Self {
        Self { rate, shape: 1.0 }
    }

    /// Bursty arrivals: the squared coefficient of variation of the gaps is `1 / shape`.
    pub const fn gamma(rate: f64, shape: f64) -> Self {
        Self { rate, shape }
    }

    /// `n` requests without shared prefixes.
    pub fn requests(&self, n: usize, lengths: RequestLengths, seed: u64) -> Workload {
        let mut rng = Rng::seeded(seed);
        let mut now = 0.0;
        let requests = (0..n).map(|_| {
            now += self.gap(&mut rng);
            SimulatedRequest::at(
                Time::from_secs_f64(now),
                lengths.prompt.sample(&mut rng),
                lengths.output.sample(&mut rng),
            )
        });
        Workload::new(requests.collect())
    }

    /// `n` requests whose prompts share a prefix within their group.
    pub fn grouped(&self, n: usize, groups: PrefixGroups, seed: u64) -> Workload {
        const BLOCK: u32 = 64;
        let mut rng = Rng::seeded(seed);
        let mut now = 0.0;
        let mut load = Workload { block_tokens: BLOCK, ..Workload::new(Vec::with_capacity(n)) };
        for i in 0..n {
            now += self.gap(&mut rng);
            let group = rng.below(groups.groups.max(1) as usize) as u64;
            let tokens = groups.shared_tokens.saturating_add(groups.own.sample(&mut rng));
            let prefix = shared_prefix(tokens / BLOCK, groups.shared_tokens / BLOCK, group, i);
            let request =
                SimulatedRequest::at(Time::from_secs_f64(now), tokens, groups.output.sample(&mut rng));
            load.requests.push(SimulatedRequest { prefix, ..request });
        }
        load
    }

    /// Conversations that start at this rate; their later turns follow their own pauses.
    pub fn sessions(&self, sessions: ChatSessions, seed: u64) -> Workload {
        const BLOCK: u32 = 64;
        let mut rng = Rng::seeded(seed);
        let mut now = 0.0;
        let mut load = Workload { block_tokens: BLOCK, ..Workload::new(Vec::new()) };
        for session in 0..sessions.count as u64 {
            now += self.gap(&mut rng);
            let mut start = RequestStart::At(Time::from_secs_f64(now));
            let mut context = 0;
            for _ in 0..sessions.turns.sample(&mut rng) {
                let prompt_tokens = sessions.added.sample(&mut rng).saturating_add(context);
                let output_tokens = sessions.output.sample(&mut rng);
                let mut hash = chain(0, session + 1);
                let prefix = (0..prompt_tokens / BLOCK).map(|block| {
                    hash = chain(hash, u64::from(block));
                    hash
                });
                let prefix = prefix.collect();
                let request = SimulatedRequest::at(Time::ZERO, prompt_tokens, output_tokens);
                load.requests.push(SimulatedRequest { start, prefix, ..request });
                context = prompt_tokens.saturating_add(output_tokens);
                let think = sessions.think.mul_f64(exponential(&mut rng));
                start = RequestStart::After { request: load.requests.len() - 1, think };
            }
        }
        load
    }

    /// Seconds until the next arrival.
    pub(crate) fn gap(&self, rng: &mut Rng) -> f64 {
        let unit = if self.shape == 1.0 { exponential(rng) } else { gamma(self.shape, rng) };
        unit / self.rate
    }
}

/// The hashes of a prompt's `blocks`, of which the first `shared` are those of its `group` and the rest its own; `request` is
/// its number.
pub(crate) fn shared_prefix(blocks: u32, shared: u32, group: u64, request: usize) -> Box<[u64]> {
    let mut hash = 0;
    let hashes = (0..blocks).map(|block| {
        let owner = if block < shared { group } else { (1 << 40) + request as u64 };
        hash = chain(hash, owner << 12 | u64::from(block));
        hash
    });
    hashes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_follows_its_seed() {
        let lengths = RequestLengths {
            prompt: LengthDistribution::LogNormal { mean: 300.0, sigma: 1.0, max: 9000 },
            output: LengthDistribution::Uniform(1, 9),
        };
        let load = |seed| ArrivalProcess::gamma(5.0, 0.3).requests(200, lengths, seed);
        assert_eq!(load(1), load(1));
        assert_ne!(load(1), load(2));
    }

    #[test]
    fn distributions_parse_what_they_display() {
        for text in ["300", "200..400", "lognormal:250:1.2:4000"] {
            assert_eq!(text.parse::<LengthDistribution>().unwrap().to_string(), text);
        }
        assert_eq!(
            "lognormal:10:1".parse(),
            Ok(LengthDistribution::LogNormal { mean: 10.0, sigma: 1.0, max: 200 })
        );
        for text in ["", "0", "4000000000", "9..3", "-5", "lognormal:250", "lognormal:nan:1", "normal:3:4"] {
            assert_eq!(text.parse::<LengthDistribution>(), Err(LengthDistributionError), "{text}");
        }
    }

    #[test]
    fn group_shares_only_its_prefix() {
        let groups = PrefixGroups {
            groups: 2,
            shared_tokens: 128,
            own: LengthDistribution::Fixed(64),
            output: LengthDistribution::Fixed(5),
        };
        let load = ArrivalProcess::poisson(1.0).grouped(20, groups, 3);
        let first = &load.requests[0].prefix;
        let same_group = |r: &&SimulatedRequest| r.prefix[..2] == first[..2];
        let mates = load.requests.iter().filter(same_group).count();
        assert!((2..20).contains(&mates), "{mates}");
        assert_eq!(load.requests.iter().filter(|r| r.prefix[2] == first[2]).count(), 1);
    }

    #[test]
    fn turn_repeats_and_follows_the_conversation() {
        let sessions = ChatSessions {
            count: 2,
            turns: LengthDistribution::Fixed(3),
            added: LengthDistribution::Fixed(100),
            output: LengthDistribution::Fixed(28),
            think: Duration::from_secs(2),
        };
        let load = ArrivalProcess::poisson(1.0).sessions(sessions, 3);
        let lengths: Vec<_> = load.requests.iter().map(|r| r.prompt_tokens).collect();
        assert_eq!(lengths, [100, 228, 356, 100, 228, 356]);
        assert!(matches!(load.requests[2].start, RequestStart::After { request: 1, .. }));
        assert_eq!(load.requests[1].prefix[..1], load.requests[0].prefix[..]);
        assert_ne!(load.requests[3].prefix, load.requests[0].prefix);
    }
}
