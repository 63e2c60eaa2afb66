//! A fleet as users type it: `sglang_8b*2,sglang_1.5b*1,t4*4@0.5`.

use router_engine::{Profile, profile::PROFILES};
use std::str::FromStr;

/// The servers of one installation, in order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Fleet {
    /// One engine each.
    pub servers: Vec<Profile>,
}

/// A fleet that cannot be built. One line, naming the part at fault.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FleetError {
    /// No profile has this name.
    #[error("unknown engine `{name}`; known: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// All names, separated by commas.
        known: String,
    },
    /// What follows the name is no count and no speed.
    #[error("`{0}`: expected NAME, NAME*COUNT or NAME*COUNT@SPEED, with a count from 1 and a speed above 0")]
    Part(String),
}

impl Fleet {
    /// A fleet of these servers.
    pub const fn new(servers: Vec<Profile>) -> Self {
        Self { servers }
    }
}

impl FromStr for Fleet {
    type Err = FleetError;

    fn from_str(text: &str) -> Result<Self, FleetError> {
        let mut servers = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (profile, count) = read_part(part)?;
            servers.extend(std::iter::repeat_n(profile, count));
        }
        Ok(Self { servers })
    }
}

fn read_part(part: &str) -> Result<(Profile, usize), FleetError> {
    let wrong = || FleetError::Part(part.to_owned());
    let (head, speed) = match part.split_once('@') {
        Some((head, speed)) => (head, speed.parse::<f64>().map_err(|_| wrong())?),
        None => (part, 1.0),
    };
    let (name, count) = match head.split_once('*') {
        Some((name, count)) => (name, count.parse::<usize>().map_err(|_| wrong())?),
        None => (head, 1),
    };
    if count == 0 || !speed.is_finite() || speed <= 0.0 {
        return Err(wrong());
    }
    let profile = Profile::named(name).ok_or_else(|| FleetError::Unknown {
        name: name.to_owned(),
        known: PROFILES.iter().map(|p| p.name).collect::<Vec<_>>().join(", "),
    })?;
    Ok((profile.at_speed(speed), count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_speeds_multiply() {
        let fleet: Fleet = "sglang_8b*2, t4@0.5".parse().unwrap();
        let names: Vec<_> = fleet.servers.iter().map(|p| p.name).collect();
        assert_eq!(names, ["sglang_8b", "sglang_8b", "t4"]);
        let full = Profile::named("t4").unwrap().timing.decode_base;
        assert_eq!(fleet.servers[2].timing.decode_base, full / 0.5);
    }

    #[test]
    fn a_bad_part_is_named() {
        for (text, says) in
            [("h300", "unknown engine `h300`"), ("t4*0", "`t4*0`"), ("t4*x", "`t4*x`"), ("t4@-1", "`t4@-1`")]
        {
            let error = text.parse::<Fleet>().unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
