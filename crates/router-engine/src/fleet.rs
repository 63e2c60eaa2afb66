//! Parses fleets: several engines in one line, such as `a100*1,t4*2` or `sglang_8b*2@0.5:kv_tokens=200000`.
//!
//! The emulator, the demo and the simulator share this grammar.

use std::str::FromStr;

use crate::profile::{Batching, EngineLimits, EngineProfile, PROFILES};

/// Most engines that one part may ask for; a larger number is taken for a typing error.
const MAX_COUNT: u32 = 10_000;

/// One kind of engine in a fleet.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FleetPart {
    /// Which engine, with the limits that the part sets.
    pub profile: EngineProfile,
    /// How many times as fast as the profile.
    pub speed: f64,
    /// How many of them.
    pub count: u32,
}

impl FleetPart {
    /// The engine as the line names it, with its speed where that is not 1: `sglang_8b@0.4`.
    pub fn label(&self) -> String {
        match self.speed {
            1.0 => self.profile.name.to_owned(),
            speed => format!("{}@{speed}", self.profile.name),
        }
    }
}

/// A parsed fleet line: parts separated by commas, each a profile's name, then `*COUNT` and `@SPEED` in either order,
/// then limits as `:NAME=VALUE`.
///
/// The limits are `kv_tokens`, `max_running`, `max_queued`, `max_prefill_tokens` and `chunked`, which is the token budget
/// of a step ([`Batching::Chunked`]) or `off`.
///
/// ```
/// let fleet: router_engine::FleetSpec = "sglang_8b*2@0.5:max_running=64,t4".parse()?;
/// assert_eq!((fleet.len(), fleet.parts[0].speed, fleet.parts[0].profile.limits.max_running), (3, 0.5, 64));
/// # Ok::<(), router_engine::FleetError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct FleetSpec {
    /// The parts as written.
    pub parts: Vec<FleetPart>,
}

/// What is wrong with a fleet line. Every message names the part at fault.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FleetError {
    /// Nothing is written between two commas, or at all.
    #[error("empty part in fleet {0:?}: expected PROFILE[*COUNT][@SPEED][:LIMIT=VALUE],...")]
    Empty(String),
    /// No such profile.
    #[error("unknown profile {0:?}: expected one of {known}", known = known_profiles())]
    UnknownProfile(String),
    /// The speed is not a positive number.
    #[error("bad speed {speed:?} in {part:?}: expected a positive number")]
    BadSpeed {
        /// The text after `@`.
        speed: String,
        /// The part it stands in.
        part: String,
    },
    /// The count is not a whole number from 1 to 10,000.
    #[error("bad count {count:?} in {part:?}: expected a whole number from 1 to {MAX_COUNT}")]
    BadCount {
        /// The text after `*`.
        count: String,
        /// The part it stands in.
        part: String,
    },
    /// The text after a colon sets no limit.
    #[error("bad limit {limit:?} in {part:?}: expected {expected}")]
    BadLimit {
        /// The text after the colon.
        limit: String,
        /// The part it stands in.
        part: String,
        /// What it could be.
        expected: &'static str,
    },
}

fn known_profiles() -> String {
    PROFILES.iter().map(|p| p.name).collect::<Vec<_>>().join(", ")
}

impl FleetSpec {
    /// Number of engines.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|p| p.count as usize).sum()
    }

    /// The [label](FleetPart::label) of each engine, in order.
    pub fn labels(&self) -> Vec<String> {
        self.parts.iter().flat_map(|part| std::iter::repeat_n(part.label(), part.count as usize)).collect()
    }

    /// Whether it asks for no engine; a parsed line always asks for one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FromStr for FleetSpec {
    type Err = FleetError;

    fn from_str(line: &str) -> Result<Self, FleetError> {
        let parts = line.split(',').map(|part| parse_part(part.trim(), line)).collect::<Result<_, _>>()?;
        Ok(Self { parts })
    }
}

fn parse_part(part: &str, line: &str) -> Result<FleetPart, FleetError> {
    if part.is_empty() {
        return Err(FleetError::Empty(line.to_owned()));
    }
    let mut pieces = part.split(':');
    let head = pieces.next().unwrap_or_default();
    let name_end = head.find(['*', '@']).unwrap_or(head.len());
    let (name, mut factors) = (head[..name_end].trim(), &head[name_end..]);
    let profile = EngineProfile::named(name).ok_or_else(|| FleetError::UnknownProfile(name.to_owned()))?;
    let mut parsed = FleetPart { profile, speed: 1.0, count: 1 };
    while !factors.is_empty() {
        let end = factors[1..].find(['*', '@']).map_or(factors.len(), |at| at + 1);
        let (mark, value) = factors[..end].split_at(1);
        let value = value.trim();
        if mark == "@" {
            let wrong = || FleetError::BadSpeed { speed: value.to_owned(), part: part.to_owned() };
            parsed.speed =
                value.parse().ok().filter(|s: &f64| s.is_finite() && *s > 0.0).ok_or_else(wrong)?;
        } else {
            let wrong = || FleetError::BadCount { count: value.to_owned(), part: part.to_owned() };
            parsed.count = value.parse().ok().filter(|c| (1..=MAX_COUNT).contains(c)).ok_or_else(wrong)?;
        }
        factors = &factors[end..];
    }
    for limit in pieces {
        set_limit(limit, &mut parsed.profile.limits).map_err(|expected| FleetError::BadLimit {
            limit: limit.to_owned(),
            part: part.to_owned(),
            expected,
        })?;
    }
    Ok(parsed)
}

/// Sets one limit from `NAME=VALUE`, or says what it could have been.
fn set_limit(text: &str, limits: &mut EngineLimits) -> Result<(), &'static str> {
    const NAMES: &str =
        "kv_tokens=N, max_running=N, max_queued=N, max_prefill_tokens=N, or chunked=N or chunked=off";
    let (name, value) = text.split_once('=').ok_or(NAMES)?;
    let (name, value) = (name.trim(), value.trim());
    if (name, value) == ("chunked", "off") {
        limits.batching = Batching::PrefillFirst;
        return Ok(());
    }
    let number = || {
        let number = value.parse::<u32>().ok().filter(|n| *n > 0);
        number.ok_or("a whole number from 1 to 4294967295")
    };
    match name {
        "kv_tokens" => limits.kv_tokens = u64::from(number()?),
        "max_running" => limits.max_running = number()?,
        "max_queued" => limits.max_queued = Some(number()?),
        "max_prefill_tokens" => limits.max_prefill_tokens = number()?,
        "chunked" => limits.batching = Batching::Chunked { step_tokens: number()? },
        _ => return Err(NAMES),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_profiles_speeds_and_counts() {
        let spec: FleetSpec = "a100*1, t4*2,sglang_8b@0.5*3,l4 * 4 @ 2".parse().unwrap();
        let parts: Vec<_> = spec.parts.iter().map(|p| (p.profile.name, p.speed, p.count)).collect();
        assert_eq!(parts, [("a100", 1.0, 1), ("t4", 1.0, 2), ("sglang_8b", 0.5, 3), ("l4", 2.0, 4)]);
        assert_eq!(spec.len(), 10);
    }

    #[test]
    fn limits_apply_to_their_part_only() {
        let line = "sglang_8b*2:kv_tokens=9000:max_queued=7:chunked=512,sglang_8b,h200:chunked=off";
        let spec: FleetSpec = line.parse().unwrap();
        let [limited, plain, h200] = [0, 1, 2].map(|i| spec.parts[i].profile.limits);
        assert_eq!((limited.kv_tokens, limited.max_queued), (9000, Some(7)));
        assert_eq!(limited.batching, Batching::Chunked { step_tokens: 512 });
        assert_eq!(plain, EngineProfile::named("sglang_8b").unwrap().limits);
        assert_eq!(h200.batching, Batching::PrefillFirst);
    }

    #[test]
    fn errors_name_the_mistake() {
        let message = |line: &str| line.parse::<FleetSpec>().unwrap_err().to_string();
        assert!(message("a100,,t4").contains("a100,,t4"));
        assert!(message("b200*2").starts_with("unknown profile \"b200\": expected one of sglang_8b, "));
        assert_eq!(
            message("a100@fast*2"),
            "bad speed \"fast\" in \"a100@fast*2\": expected a positive number"
        );
        assert!(message("a100*0").starts_with("bad count \"0\" in \"a100*0\""));
        assert!(message("t4*two").contains("\"two\""));
        assert!(message("t4*2@").starts_with("bad speed \"\""));
        assert!(message("t4:kv=5").starts_with("bad limit \"kv=5\" in \"t4:kv=5\": expected kv_tokens=N"));
        assert!(message("t4:kv_tokens=0").contains("a whole number from 1"));
    }
}
