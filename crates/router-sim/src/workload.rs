//! The workload: requests with their arrival times, lengths and prefixes.

use router_core::Time;
use std::time::Duration;

/// When a request arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestStart {
    /// At a fixed time.
    At(Time),
    /// After an earlier request has completed and a pause has passed: the next turn of a conversation.
    After {
        /// Index of that request, lower than this one's.
        request: usize,
        /// The pause.
        think: Duration,
    },
}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SimulatedRequest {
    /// When it arrives.
    pub start: RequestStart,
    /// Prompt length in tokens.
    pub prompt_tokens: u32,
    /// Tokens that will be generated. The router cannot see this.
    pub output_tokens: u32,
    /// The client's limit of generated tokens, if it sets one.
    pub max_output_tokens: Option<u32>,
    /// Chained hashes of the prompt's full blocks of [`Workload::block_tokens`] tokens. May be empty, if nothing is shared.
    pub prefix: Box<[u64]>,
    /// Whether the client asks for a stream, so that the router sees the first token.
    pub stream: bool,
    /// The [key](WorkloadClient::key) of the client that sends it, if known.
    pub client: Option<u64>,
}

impl SimulatedRequest {
    /// A request of these lengths at a fixed time, as a stream, without a shared prefix.
    pub fn at(time: Time, prompt_tokens: u32, output_tokens: u32) -> Self {
        Self {
            start: RequestStart::At(time),
            prompt_tokens,
            output_tokens,
            max_output_tokens: None,
            prefix: Box::default(),
            stream: true,
            client: None,
        }
    }
}

/// A client of a workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkloadClient {
    /// Its name.
    pub name: String,
    /// What its requests have in [`SimulatedRequest::client`].
    pub key: u64,
}

impl WorkloadClient {
    /// The client of this name; the key follows from the name. A number is the same client with or without quotes.
    pub(crate) fn named(name: &str) -> Self {
        let hash = |name: &str| name.bytes().fold(1, |hash, byte| chain(hash, byte.into()));
        let key = name.parse().map_or_else(|_| hash(name), |number| chain(number, 0));
        Self { name: name.to_owned(), key }
    }
}

/// All requests of one run.
#[derive(Clone, PartialEq, Debug)]
pub struct Workload {
    /// The requests. Those with a fixed time need not be in the order of their times.
    pub requests: Vec<SimulatedRequest>,
    /// Tokens per block of [`SimulatedRequest::prefix`], for the router and for the engines' caches.
    pub block_tokens: u32,
    /// Bytes of prompt per token, which the router has to learn. Default 4.
    pub bytes_per_token: f64,
    /// The clients that send the requests; empty where they are not known.
    pub clients: Vec<WorkloadClient>,
}

impl Workload {
    /// A workload of these requests with blocks of 16 tokens.
    pub fn new(requests: Vec<SimulatedRequest>) -> Self {
        Self { requests, block_tokens: 16, bytes_per_token: 4.0, clients: Vec::new() }
    }

    /// Makes this share of the requests (0 to 1) streams and the others not.
    #[must_use]
    pub fn streamed(mut self, share: f64) -> Self {
        // Distributed evenly instead of randomly: a share of one half is exactly every second request.
        let mut due = 0.0;
        for request in &mut self.requests {
            due += share;
            request.stream = due >= 1.0;
            due -= if request.stream { 1.0 } else { 0.0 };
        }
        self
    }

    /// Makes each request name the length of its response as the limit of generated tokens, as benchmarks do.
    #[must_use]
    pub fn naming_lengths(mut self) -> Self {
        for request in &mut self.requests {
            request.max_output_tokens = Some(request.output_tokens);
        }
        self
    }
}

/// The chained hash of a block: combines its content with the chained hash of the blocks before it.
pub(crate) fn chain(before: u64, content: u64) -> u64 {
    router_core::Rng::seeded(before ^ content.wrapping_mul(0x9E37_79B9_7F4A_7C15)).next_u64()
}
