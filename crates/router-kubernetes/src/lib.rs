//! Finds workers in Kubernetes: the pods that a label selector names, as long as they are ready.
//!
//! ```text
//! discover                 lists and watches, and tells the router what has changed
//!   list_watch             follows the objects of one kind: list, watch, list again
//!     api_access, pace     the client and its credentials; waits between failures
//!     status               how well the router knows the pods, for the metrics
//!   inference_pool         which pods a pool of the Gateway API has, and at which ports
//!   membership             which pods are workers: a pure state machine
//!     pod_facts            what a pod says of itself: address, readiness, annotations
//!     service_endpoints    what a Service says of its pods
//!     object_table         the objects of one kind, by events in any order
//!       object             the parts of the JSON that are read
//! ```
//!
//! It routes nothing and checks no health: it says which servers there are, and whether Kubernetes takes them for ready.

mod api_access;
mod discover;
mod inference_pool;
mod list_watch;
mod membership;
mod object;
mod object_table;
mod pace;
mod pod_facts;
mod service_endpoints;
mod status;

pub use discover::{WorkerSet, discover};
pub use membership::{DiscoveredWorker, Membership, MembershipChange};
pub use object::{
    Endpoint, EndpointConditions, EndpointSlice, Metadata, Pod, PodCondition, PodSpec, PodStatus, TargetRef,
};
pub use object_table::ListPurpose;
pub use pace::Timing;
pub use status::{DiscoveryFigures, DiscoveryStatus};
