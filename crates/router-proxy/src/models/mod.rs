//! Several models behind one router: a group of workers for each, with a balancer of its own.
//!
//! ```text
//! directory ──▶ group_factory ──▶ serving_group
//!     │
//!     ▼
//! resolution                       which group a request goes to
//! ```
//!
//! The first group is there from the start. Workers that have not said yet what they serve are in it, and a fleet of one model
//! stays in it. A worker that serves another model than its group leaves it for the right one before it gets a request.

mod directory;
mod group_factory;
mod policy_change;
mod resolution;
mod serving_group;

pub(crate) use directory::{JoinError, Models};
pub(crate) use group_factory::{GroupError, GroupFactory, PrefillPlan, WorkersAtStart};
pub(crate) use policy_change::{Beginning, NextPolicies};
pub(crate) use resolution::{ModelName, Resolved};
pub(crate) use serving_group::ServingGroup;
