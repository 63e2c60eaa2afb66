//! The simulated servers, parsed from a fleet specification: `sglang_8b*2,sglang_1.5b*1,t4*4@0.5`.

use router_engine::{EngineProfile, FleetError, FleetSpec};
use std::str::FromStr;

/// The simulated servers, in order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SimulatedFleet {
    /// One engine each.
    pub servers: Vec<EngineProfile>,
}

impl SimulatedFleet {
    /// A fleet of these servers.
    pub const fn new(servers: Vec<EngineProfile>) -> Self {
        Self { servers }
    }
}

impl From<&FleetSpec> for SimulatedFleet {
    fn from(spec: &FleetSpec) -> Self {
        let servers = spec
            .parts
            .iter()
            .flat_map(|part| std::iter::repeat_n(part.profile.at_speed(part.speed), part.count as usize));
        Self { servers: servers.collect() }
    }
}

impl FromStr for SimulatedFleet {
    type Err = FleetError;

    fn from_str(text: &str) -> Result<Self, FleetError> {
        text.parse().map(|spec| Self::from(&spec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_speeds_multiply() {
        let fleet: SimulatedFleet = "sglang_8b*2, t4@0.5".parse().unwrap();
        let names: Vec<_> = fleet.servers.iter().map(|p| p.name).collect();
        assert_eq!(names, ["sglang_8b", "sglang_8b", "t4"]);
        let full = EngineProfile::named("t4").unwrap().timing.decode_base;
        assert_eq!(fleet.servers[2].timing.decode_base, full / 0.5);
    }
}
