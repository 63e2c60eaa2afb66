//! Requests in flight, and how the router and the engine see a request.

use crate::server::SimulatedServer;
use crate::workload::{SimulatedRequest, Workload};
use router_core::{AttemptResult, RequestFeatures, RequestId, Route, Ticket, Time};
use router_engine::{Job, JobId};

/// Output tokens that an engine assumes, as far as its cache allows, for a request without a limit.
const DEFAULT_MAX_OUTPUT_TOKENS: u32 = 2048;

/// A slot of [`InFlightRequests`] and its generation: a late event of an earlier request in the slot finds nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct InFlightRef {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// One request at one server.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Set by [`InFlightRequests::insert`].
    pub(super) generation: u32,
    /// Index in the workload.
    pub(super) request: usize,
    pub(super) router: usize,
    pub(super) server: usize,
    /// Held until the router has learned that the request ended.
    pub(super) ticket: Option<Ticket>,
    pub(super) first_token_at: Option<Time>,
    /// What the router will learn at the end.
    pub(super) finish: AttemptResult,
}

/// The requests in flight, in slots that are reused.
#[derive(Debug, Default)]
pub(super) struct InFlightRequests {
    slots: Vec<InFlight>,
    free: Vec<u32>,
}

impl InFlightRequests {
    /// Stores a request and returns its slot.
    pub(super) fn insert(&mut self, request: InFlight) -> u32 {
        if let Some(slot) = self.free.pop() {
            let old = self.slot_mut(slot);
            *old = InFlight { generation: old.generation, ..request };
            return slot;
        }
        self.slots.push(request);
        (self.slots.len() - 1) as u32
    }

    /// The request that was last stored in a slot.
    pub(super) fn slot_mut(&mut self, slot: u32) -> &mut InFlight {
        &mut self.slots[slot as usize]
    }

    /// The request that a reference means, if it is still in flight.
    pub(super) fn get_mut(&mut self, of: InFlightRef) -> Option<&mut InFlight> {
        Some(self.slot_mut(of.slot)).filter(|request| request.generation == of.generation)
    }

    /// Frees a slot; references to the request in it become stale.
    pub(super) fn remove(&mut self, slot: u32) {
        self.slot_mut(slot).generation += 1;
        self.free.push(slot);
    }

    /// The number of slots, used or free.
    pub(super) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }
}

/// The request as the router sees it.
pub(super) fn features<'a>(
    request: &'a SimulatedRequest,
    index: usize,
    attempt: u32,
    load: &Workload,
) -> RequestFeatures<'a> {
    RequestFeatures {
        id: RequestId(index as u64),
        attempt,
        route: Route::ChatCompletions,
        stream: request.stream,
        batch: 1,
        prompt_bytes: (f64::from(request.prompt_tokens) * load.bytes_per_token).round() as u64,
        max_output_tokens: request.max_output_tokens,
        choices: 1,
        client: request.client,
        prefix: &request.prefix,
        prefix_block_bytes: (f64::from(load.block_tokens) * load.bytes_per_token).round() as u32,
        ..RequestFeatures::default()
    }
}

/// The request as the engine sees it; the job's id is the slot.
pub(super) fn job(request: &SimulatedRequest, slot: u32, server: &SimulatedServer) -> Job {
    let full_blocks = (request.prompt_tokens / server.block_tokens().max(1)) as usize;
    let room = server.kv_tokens().saturating_sub(u64::from(request.prompt_tokens.max(1)));
    let default = DEFAULT_MAX_OUTPUT_TOKENS.min(u32::try_from(room).unwrap_or(u32::MAX));
    Job {
        id: JobId(u64::from(slot)),
        prompt_tokens: request.prompt_tokens,
        blocks: request.prefix.iter().take(full_blocks).copied().collect(),
        output_tokens: request.output_tokens,
        max_output_tokens: request.max_output_tokens.unwrap_or(default).max(request.output_tokens),
        prefilled: false,
    }
}
