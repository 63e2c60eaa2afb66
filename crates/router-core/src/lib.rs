//! The core of the router: policies, the balancer that runs them, and the facts they learn from.
//!
//! Pure: no I/O, no clock, no entropy, no environment. The live proxy and the simulator run the same [`Balancer`].
//! It knows nothing of HTTP, JSON bodies or engines; see `router-protocol` and `router-proxy` for those.
#![cfg_attr(
    not(test),
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "counts and times convert at stated, bounded ranges"
    )
)]

mod balancer;
mod books;
mod classic;
mod decision;
mod event;
mod features;
mod fleet;
mod ids;
pub mod policy;
mod prefix_index;
mod registry;
mod rng;
#[cfg(test)]
mod testing;
mod time;
mod window;

pub use balancer::{Balancer, Change, Explain, Explained, NoWorker, Routed, Standing, Ticket};
pub use classic::{Classic, ClassicWorker, LoadBalancingPolicy, LoadBalancingPolicyV2, RequestMetrics};
pub use decision::{Decision, MAX_TERMS, Reason, Score, Term, Terms};
pub use event::{Completion, Event, Finish, LoadReport, LoadSource, Outcome, ServerTiming, Usage, Work};
pub use features::{Features, Route, Script};
pub use fleet::{Candidates, Capacity, Fleet, WorkerInfo, WorkerView};
pub use ids::{RequestId, SlotMap, WorkerId};
pub use policy::{Cx, Needs, Policy};
pub use prefix_index::{Matches, PrefixIndex};
pub use registry::{Params, PolicyError, PolicySpec, Registry, read_params};
pub use rng::Rng;
pub use time::Time;
