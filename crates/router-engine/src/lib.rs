//! A pure model of one inference engine with continuous batching.
//!
//! It answers one question: given these requests at these times, when does each token come out? Step times
//! follow models fitted to real GPUs ([`profile`]), the scheduling follows SGLang (prefill batches run before
//! decode steps) or vLLM (prompts are cut into chunks that share the steps with decoding), see [`Batching`].
//! Both are first come first served, have a prefix cache that shares the KV budget, and move a running
//! request back to the queue when that budget runs out.
//!
//! It is not a server and not a simulator of a fleet: no I/O, no clock, no entropy, no text. Time comes in as
//! an argument. The emulator puts HTTP on it, the simulator puts many of them behind a balancer.
//!
//! Modules, each of which uses only those below it:
//!
//! ```text
//! inspect            the engine's inner state, for an oracle
//!   |
//! scheduler          the engine loop; one file for each way to batch
//!   |   |   |   \
//! job  kv_cache  load  profile      fleet
//!                        ^-----------'
//! ```
//!
//! ```
//! use router_core::Time;
//! use router_engine::{Engine, Job, JobId, JobEvent, EngineProfile};
//!
//! let profile = EngineProfile::named("sglang_8b").unwrap();
//! let mut engine = Engine::new(profile.timing, profile.limits);
//! engine.submit(Time::ZERO, Job::new(JobId(1), 100, 3)).unwrap();
//! let mut finished = None;
//! engine.advance(Time::from_secs_f64(10.0), &mut |progress| {
//!     if let JobEvent::Finished(record) = progress {
//!         finished = Some(record.times.finished_at);
//!     }
//! });
//! // c0 + (p0 + 100 p1) + two decode steps.
//! assert!(finished.unwrap() < Time::from_secs_f64(0.03));
//! ```

mod fleet;
mod inspect;
mod job;
mod kv_cache;
mod load;
pub mod profile;
mod scheduler;

pub use fleet::{FleetError, FleetPart, FleetSpec};
pub use inspect::{JobSnapshot, JobStage};
pub use job::{AbortedJob, Job, JobEvent, JobId, JobRecord, JobTimes, SubmitError};
pub use kv_cache::KvCache;
pub use load::{DecodeMoments, EngineLoad};
pub use profile::{Batching, EngineLimits, EngineProfile, StepTiming};
pub use scheduler::{Engine, EngineBusy, Step, StepKind};
