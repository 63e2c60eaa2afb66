//! What decides in a run: a policy or the oracle.

use crate::oracle::OracleWeights;
use router_core::Policy;

/// What decides where requests go.
pub enum DecisionMaker<'a> {
    /// A policy; the function makes a new one for each router of each run.
    Policy(Box<dyn Fn() -> Box<dyn Policy> + 'a>),
    /// The oracle, which sees what a router cannot see.
    Oracle(OracleWeights),
}
