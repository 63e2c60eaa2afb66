//! A checked request: what is to be generated, and how the response is written.

use crate::api::formats::EventWriter;
use crate::api::generation::Generation;
use crate::engine_task::progress::GenerationHandle;
use crate::faults::FaultSwitch;
use crate::routes::disaggregation_params::KvTransfer;

/// What the handlers need besides the body.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    pub(crate) switch: FaultSwitch,
    /// From the `x-emulate-output-tokens` header.
    pub(crate) forced: Option<u32>,
    /// Whether the client wants logprobs.
    pub(crate) logprobs: bool,
    /// The KV transfer that it needs.
    pub(crate) kv_transfer: KvTransfer,
    /// The data-parallel rank that it names.
    pub(crate) rank: Option<u32>,
}

/// One generation with its place in the response.
pub(crate) struct StartedGeneration {
    pub(crate) generation: Generation,
    pub(crate) handle: GenerationHandle,
}

/// A request after its checks: the generations to start and the form of the response.
pub(crate) struct GenerationPlan {
    pub(crate) generations: Vec<Generation>,
    pub(crate) form: ResponseForm,
}

/// The form of the response.
pub(crate) struct ResponseForm {
    pub(crate) streamed: bool,
    pub(crate) writer: EventWriter,
}
