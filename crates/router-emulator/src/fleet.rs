//! Fleets: several servers from one line, such as `a100*1,t4*2` or `sglang_8b@0.5*2`.

use std::io;
use std::str::FromStr;

use router_engine::Profile;
use router_engine::profile::PROFILES;

use crate::config::EmulatorConfig;
use crate::emulator::{Emulator, RunningEmulator};

/// Most servers one line may ask for; more is a typing error.
const MOST: u32 = 1000;

/// One kind of server in a fleet.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FleetPart {
    /// Which engine.
    pub profile: Profile,
    /// How many times as fast as the profile.
    pub speed: f64,
    /// How many of them.
    pub count: u32,
}

/// A parsed fleet line: parts separated by commas, each `profile[@speed][*count]`.
#[derive(Clone, PartialEq, Debug)]
pub struct FleetSpec {
    /// The parts as written.
    pub parts: Vec<FleetPart>,
}

/// What is wrong with a fleet line. Every message names the culprit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FleetError {
    /// Nothing is written between two commas, or at all.
    #[error("empty part in fleet {0:?}: expected profile[@speed][*count],...")]
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
    /// The count is not a whole number from 1 to 1000.
    #[error("bad count {count:?} in {part:?}: expected a whole number from 1 to 1000")]
    BadCount {
        /// The text after `*`.
        count: String,
        /// The part it stands in.
        part: String,
    },
}

fn known_profiles() -> String {
    PROFILES.iter().map(|p| p.name).collect::<Vec<_>>().join(", ")
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
    let (head, count) = part.split_once('*').unwrap_or((part, "1"));
    let (name, speed) = head.split_once('@').unwrap_or((head, "1"));
    let (name, speed, count) = (name.trim(), speed.trim(), count.trim());
    let profile = Profile::named(name).ok_or_else(|| FleetError::UnknownProfile(name.to_owned()))?;
    let parsed_speed = speed.parse().ok().filter(|s: &f64| s.is_finite() && *s > 0.0);
    let parsed_count = count.parse().ok().filter(|c| (1..=MOST).contains(c));
    Ok(FleetPart {
        profile,
        speed: parsed_speed
            .ok_or_else(|| FleetError::BadSpeed { speed: speed.to_owned(), part: part.to_owned() })?,
        count: parsed_count
            .ok_or_else(|| FleetError::BadCount { count: count.to_owned(), part: part.to_owned() })?,
    })
}

impl FleetSpec {
    /// Number of servers.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|p| p.count as usize).sum()
    }

    /// Whether it asks for no server; a parsed line always asks for one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The configuration of each server, in order, made from `base` by setting profile, speed and port.
    pub fn configs(&self, base: &EmulatorConfig, port_base: Option<u16>) -> Vec<EmulatorConfig> {
        let servers = self.parts.iter().flat_map(|p| (0..p.count).map(move |_| p));
        servers
            .zip(0u16..)
            .map(|(part, i)| {
                let mut config = base.clone();
                config.profile = part.profile;
                config.speed = base.speed * part.speed;
                config.listen.set_port(port_base.map_or(0, |port| port.saturating_add(i)));
                config
            })
            .collect()
    }
}

/// Several running servers.
#[derive(Debug)]
pub struct EmulatedFleet {
    /// The servers in the order of the fleet line.
    pub servers: Vec<RunningEmulator>,
}

impl EmulatedFleet {
    /// Starts every server of `spec` with `base` for everything the line does not say. Ports count up from
    /// `port_base`; `None` = any free ports.
    ///
    /// # Errors
    /// The first address that cannot be bound, named in the message; servers already started are stopped.
    pub async fn start(spec: &FleetSpec, port_base: Option<u16>, base: &EmulatorConfig) -> io::Result<Self> {
        let mut servers = Vec::with_capacity(spec.len());
        for config in spec.configs(base, port_base) {
            let listen = config.listen;
            let started = Emulator::start(config).await;
            servers.push(
                started.map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {listen}: {e}")))?,
            );
        }
        Ok(Self { servers })
    }

    /// Base URLs in order.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(RunningEmulator::url).collect()
    }

    /// Stops every server.
    pub async fn shutdown(self) {
        for server in self.servers {
            server.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_profiles_speeds_and_counts() {
        let spec: FleetSpec = "a100*1, t4*2,sglang_8b@0.5".parse().unwrap();
        let parts: Vec<_> = spec.parts.iter().map(|p| (p.profile.name, p.speed, p.count)).collect();
        assert_eq!(parts, [("a100", 1.0, 1), ("t4", 1.0, 2), ("sglang_8b", 0.5, 1)]);
        let base = EmulatorConfig::new(spec.parts[0].profile);
        let configs = spec.configs(&base, Some(30001));
        let ports: Vec<_> = configs.iter().map(|c| (c.profile.name, c.listen.port())).collect();
        assert_eq!(ports, [("a100", 30001), ("t4", 30002), ("t4", 30003), ("sglang_8b", 30004)]);
    }

    #[test]
    fn mistakes_are_named() {
        let message = |line: &str| line.parse::<FleetSpec>().unwrap_err().to_string();
        assert!(message("a100,,t4").contains("a100,,t4"));
        assert!(message("b200*2").starts_with("unknown profile \"b200\": expected one of sglang_8b, "));
        assert_eq!(
            message("a100@fast*2"),
            "bad speed \"fast\" in \"a100@fast*2\": expected a positive number"
        );
        assert!(message("a100*0").starts_with("bad count \"0\" in \"a100*0\""));
        assert!(message("t4*two").contains("\"two\""));
    }
}
