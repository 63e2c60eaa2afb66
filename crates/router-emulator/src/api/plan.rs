//! A checked request: what is to be generated, and how the response is written.

use super::formats::EventWriter;
use super::generation::Generation;
use crate::disaggregation::params::KvTransfer;
use crate::engine_task::progress::GenerationHandle;
use crate::faults::FaultSwitch;

/// What a request carries besides its body.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    pub(crate) switch: FaultSwitch,
    /// From the `x-emulate-output-tokens` header.
    pub(crate) forced: Option<u32>,
    /// Whether the client wants logprobs.
    pub(crate) logprobs: bool,
    /// What another server has to do with it.
    pub(crate) kv_transfer: KvTransfer,
    /// The data-parallel rank that it names.
    pub(crate) rank: Option<u32>,
}

/// One generation with its place in the answer.
pub(crate) struct StartedGeneration {
    pub(crate) generation: Generation,
    pub(crate) handle: GenerationHandle,
}

/// A request after its checks: the generations to start and how to answer.
pub(crate) struct GenerationPlan {
    pub(crate) generations: Vec<Generation>,
    pub(crate) form: ResponseForm,
}

/// How to answer.
pub(crate) struct ResponseForm {
    pub(crate) streamed: bool,
    pub(crate) writer: EventWriter,
}
