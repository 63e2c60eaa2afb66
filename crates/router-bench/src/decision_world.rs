//! A balancer in the middle of its work: a fleet with requests in flight, full windows and reported loads.

use router_core::{
    AttemptResult, Balancer, ExplainLevel, LoadReport, LoadSource, Outcome, Policy, PolicyNumber,
    PolicyOptions, Registry, RequestFeatures, RequestId, Rng, Ticket, Time, TokenUsage, WorkerInfo,
};
use std::collections::VecDeque;
use std::time::Duration;

/// Prefix blocks of a prompt.
const BLOCKS: usize = 40;

/// A fleet, and what it has done before it is measured.
#[derive(Clone, Copy, Debug)]
pub struct WarmFleet {
    /// Number of workers.
    pub workers: usize,
    /// Requests in flight per worker.
    pub in_flight: usize,
    /// Turns before the measurement, per worker; 60 fill the windows of every policy.
    pub turns: usize,
}

/// The built-in policy of this name.
///
/// # Panics
/// There is none, or it does not accept the options.
pub fn built_in(name: &str, options: &PolicyOptions) -> Box<dyn Policy> {
    Registry::builtin().build(name, options).expect("a built-in policy")
}

/// One policy in front of a fleet. Each turn dispatches one request and finishes the oldest in flight, and thereby runs
/// everything that a live request makes the core do. A load report comes with every eighth response.
#[derive(Debug)]
pub struct DecisionWorld {
    balancer: Balancer,
    now: Time,
    tickets: VecDeque<Ticket>,
    prompts: Vec<[u64; BLOCKS]>,
    rng: Rng,
    sent: u64,
}

impl DecisionWorld {
    /// Puts the policy in front of this fleet and runs it until it is warm.
    pub fn warm(policy: Box<dyn Policy>, fleet: WarmFleet) -> Self {
        let WarmFleet { workers, in_flight, turns } = fleet;
        let mut balancer = Balancer::new(policy, 1);
        // As in the router, where policies may be changed.
        balancer.keep_history(PolicyNumber::default());
        for i in 0..workers {
            balancer.join(Time::ZERO, WorkerInfo::new(&format!("http://worker-{i}:30000")));
        }
        let mut rng = Rng::seeded(2);
        // 2000 conversations that share their first four blocks: a system prompt.
        let system: [u64; 4] = std::array::from_fn(|_| rng.next_u64());
        let prompts = (0..2000)
            .map(|_| std::array::from_fn(|i| system.get(i).copied().unwrap_or_else(|| rng.next_u64())))
            .collect();
        let mut world = Self { balancer, now: Time::ZERO, tickets: VecDeque::new(), prompts, rng, sent: 0 };
        (0..in_flight * workers).for_each(|_| world.dispatch());
        (0..turns * workers).for_each(|_| world.turn());
        world
    }

    /// Dispatches one request of a conversation and finishes the oldest in flight.
    pub fn turn(&mut self) {
        self.dispatch();
        self.finish();
    }

    /// Dispatches a request with these features and finishes the oldest in flight.
    pub fn turn_with(&mut self, request: &RequestFeatures<'_>) {
        self.dispatch_with(request);
        self.finish();
    }

    /// Dispatches one request of a conversation.
    pub fn dispatch(&mut self) {
        let prefix = self.prompts[self.rng.below(self.prompts.len())];
        self.dispatch_with(&RequestFeatures {
            prefix: &prefix,
            prefix_block_bytes: 64,
            prompt_bytes: 64 * BLOCKS as u64 + 30,
            // Each conversation is a session of its own.
            routing_key: prefix.last().copied(),
            ..RequestFeatures::default()
        });
    }

    fn dispatch_with(&mut self, request: &RequestFeatures<'_>) {
        self.sent += 1;
        self.now = self.now + Duration::from_micros(500);
        let request = RequestFeatures { id: RequestId(self.sent), ..*request };
        let routed = self.balancer.dispatch(self.now, &request, &[], ExplainLevel::None);
        self.tickets.push_back(routed.expect("all workers are routable").ticket);
    }

    /// Finishes the oldest in flight.
    pub fn finish(&mut self) {
        let Some(ticket) = self.tickets.pop_front() else { return };
        let load = LoadReport {
            waiting: Some(self.below(4)),
            running: Some(4),
            tokens: Some(u64::from(self.below(9000))),
            ..LoadReport::empty(self.now, LoadSource::Piggyback)
        };
        let result = AttemptResult {
            usage: TokenUsage { output_tokens: Some(self.below(300)), ..TokenUsage::default() },
            load: self.sent.is_multiple_of(8).then_some(load),
            ..AttemptResult::of(Outcome::Success)
        };
        self.balancer.finish(self.now, ticket, result);
    }

    fn below(&mut self, n: u32) -> u32 {
        u32::try_from(self.rng.below(n as usize)).unwrap_or(n)
    }
}
