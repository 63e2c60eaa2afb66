//! One request at one server, and what the router and the engine are told of it.

use crate::server::SimulatedServer;
use crate::workload::{SimulatedRequest, Workload};
use router_core::{AttemptResult, RequestFeatures, RequestId, Route, Ticket, Time};
use router_engine::{Job, JobId};

/// The cap that an engine assumes for a client who sets none, as far as its cache allows.
const USUAL_CAP: u32 = 2048;

/// A place among the flights, and how many had it before: late news of an earlier one finds nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct InFlightRef {
    pub(super) place: u32,
    pub(super) turn: u32,
}

/// One request at one server.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) turn: u32,
    pub(super) request: usize,
    pub(super) router: usize,
    pub(super) server: usize,
    /// Held until the router has been told the end.
    pub(super) ticket: Option<Ticket>,
    pub(super) first_token_at: Option<Time>,
    /// What the router will be told.
    pub(super) finish: AttemptResult,
}

/// The request as the router sees it.
pub(super) fn features<'a>(
    asked: &'a SimulatedRequest,
    (request, attempt): (usize, u32),
    load: &Workload,
) -> RequestFeatures<'a> {
    RequestFeatures {
        id: RequestId(request as u64),
        attempt,
        route: Route::ChatCompletions,
        stream: asked.stream,
        batch: 1,
        prompt_bytes: (f64::from(asked.prompt_tokens) * load.bytes_per_token).round() as u64,
        max_output_tokens: asked.max_output_tokens,
        choices: 1,
        prefix: &asked.prefix,
        prefix_block_bytes: (f64::from(load.block_tokens) * load.bytes_per_token).round() as u32,
        ..RequestFeatures::default()
    }
}

/// The request as the engine sees it.
pub(super) fn job(asked: &SimulatedRequest, place: u32, server: &SimulatedServer) -> Job {
    let full = (asked.prompt_tokens / server.block_tokens().max(1)) as usize;
    let room = server.kv_tokens().saturating_sub(u64::from(asked.prompt_tokens.max(1)));
    let cap = asked.max_output_tokens.unwrap_or(USUAL_CAP.min(u32::try_from(room).unwrap_or(u32::MAX)));
    Job {
        id: JobId(u64::from(place)),
        prompt_tokens: asked.prompt_tokens,
        blocks: asked.prefix.iter().take(full).copied().collect(),
        output_tokens: asked.output_tokens,
        max_output_tokens: cap.max(asked.output_tokens),
        prefilled: false,
    }
}
