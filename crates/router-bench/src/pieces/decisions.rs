//! One request dispatched and the oldest one finished, for every policy and for fleets of three sizes.

use super::piece::Piece;
use crate::decision_world::{DecisionWorld, WarmFleet, built_in};
use router_core::{PolicyOptions, Registry};

/// A fleet and the number of measured turns.
struct CountedFleet {
    fleet: WarmFleet,
    calls: usize,
}

/// Large fleets are warmed up for a short time only: callgrind makes everything fifty times slower.
const FLEETS: [CountedFleet; 3] = [
    CountedFleet { fleet: WarmFleet { workers: 8, in_flight: 4, turns: 60 }, calls: 1000 },
    CountedFleet { fleet: WarmFleet { workers: 64, in_flight: 4, turns: 20 }, calls: 500 },
    CountedFleet { fleet: WarmFleet { workers: 1024, in_flight: 1, turns: 2 }, calls: 100 },
];

pub(super) fn pieces() -> Vec<Piece> {
    let registry = Registry::builtin();
    let of = |policy: &str| {
        let policy = policy.to_owned();
        FLEETS.map(|CountedFleet { fleet, calls }| {
            let (name, policy) = (format!("decision/{policy}/{}", fleet.workers), policy.clone());
            Piece::new(name, calls, move || {
                let policy = built_in(&policy, &PolicyOptions::new());
                let mut world = DecisionWorld::warm(policy, fleet);
                Box::new(move || (0..calls).for_each(|_| world.turn()))
            })
        })
    };
    registry.specs().flat_map(|spec| of(&spec.name)).collect()
}
