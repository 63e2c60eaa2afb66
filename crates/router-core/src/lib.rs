//! The core of the router: policies, the balancer that runs them, and the facts they learn from.
//!
//! Pure: no I/O, no clock, no entropy, no environment. The live proxy and the simulator run the same [`Balancer`].
//! It knows nothing of HTTP, JSON bodies or engines; see `router-protocol` and `router-proxy` for those.
//!
//! Modules; each uses only those below it:
//!
//! ```text
//! registry                 policies by name: builds one from its options
//! classic                  adapter for policies written against the classic traits
//! balancer                 fleet + live policy + shadow policies; dispatch and finish
//! dispatched               what a dispatch produced
//! policy/*                 one policy per file, in mod.rs the trait and DecisionContext
//! policy/{best, sample, ring, quantile, speeds}, prefix_index, window
//!                          what several policies share
//! scaling/*                the figures from which a pool is scaled
//! fleet                    the workers, and Candidates
//! worker_view              a worker as policies see it
//! batch_window             when requests are dispatched together
//! candidate_list           the workers that may be chosen, by id and by load
//! in_flight_cap, overload  how many requests one worker may have in flight; when it is overloaded
//! load_tracker, decision   load of one worker; a decision and its explanation
//! event                    all that a policy learns from
//! length_forecaster        what the length of an output will be, from those of like requests
//! stated_lengths           lengths that callers state, and whether to believe them
//! features, worker_info    a request and a worker as policies see them
//! lengths                  the length of an output, as a distribution
//! least_squares, token_estimator
//!                          a fit that forgets and keeps to bounds; tokens per byte of prompt
//! key_table, request_table a bounded map, by use; what is kept of the requests in flight on a worker
//! route, session_member    the APIs, and all that depends on the API alone; what may name a session
//! ids, rng, time, similar_name   basics
//! ```
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
mod batch_window;
mod candidate_list;
mod classic;
mod decision;
mod dispatched;
mod event;
mod event_history;
mod features;
mod fleet;
mod ids;
mod in_flight_cap;
mod key_table;
mod least_squares;
mod length_forecaster;
mod lengths;
mod load_tracker;
mod no_worker;
mod overload;
pub mod policy;
mod policy_lineup;
mod prefix_index;
mod ranking;
mod registry;
mod request_table;
mod rng;
mod route;
mod scaling;
mod session_member;
mod similar_name;
mod stated_lengths;
#[cfg(test)]
mod testing;
mod ticket;
mod time;
mod token_estimator;
mod window;
mod worker_info;
mod worker_view;

pub use balancer::{Balancer, FleetUpdate};
pub use batch_window::BatchWindow;
pub use classic::{ClassicPolicy, ClassicWorker, LoadBalancingPolicy, LoadBalancingPolicyV2, RequestMetrics};
pub use decision::{CandidateScore, Decision, MAX_TERMS, Reason, ScoreTerm, ScoreTerms};
pub use dispatched::{DispatchSnapshot, Dispatched, ExplainLevel, ExplainedDecision};
pub use event::{
    AttemptResult, Completion, Event, LoadReport, LoadSource, Outcome, PROGRESS_INTERVAL, ServerTiming,
    TokenUsage, WorkTotals,
};
pub use event_history::EventHistory;
pub use features::{OutputForm, PromptScript, RequestFeatures};
pub use fleet::{Candidates, Fleet};
pub use ids::{PolicyNumber, RequestId, SlotMap, WorkerId};
pub use in_flight_cap::{InFlightCap, LEAST_REPORTED_CAP, UNREPORTED_CAP};
pub use lengths::{LengthClass, LengthForecast, VerifiedForecast};
pub use no_worker::NoWorker;
pub use overload::{DEFAULT_OVERLOAD_WAITING, OverloadBounds};
pub use policy::quantile::quantile;
pub use policy::{DecisionContext, Policy, PolicyNeeds};
pub use policy_lineup::{LineupError, NextPolicy, PolicyLineup, PreparedPolicy};
pub use prefix_index::{PrefixIndex, PrefixMatches, PromptTokens};
pub use registry::{PolicyError, PolicyFactory, PolicyOptions, PolicySpec, Registry, read_options};
pub use rng::Rng;
pub use route::Route;
pub use scaling::{
    RateForecast, ResponseTimes, ScaleUnknown, ScalingOptions, ScalingSignals, Slo, WaitingRequests,
    WorkerCapability, WorkersNeeded,
};
pub use session_member::SessionMember;
pub use similar_name::similar_name;
pub use ticket::Ticket;
pub use time::Time;
pub use worker_info::{WorkerCapacity, WorkerInfo};
pub use worker_view::WorkerView;
