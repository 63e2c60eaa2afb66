//! Nanoseconds per dispatch and finish, for every policy, with a warm state.
//!
//! `cargo bench -p router-core`. Each iteration dispatches one request with a prefix of 40 blocks, finishes the oldest
//! in flight, and thereby runs everything a live request makes the core do. 4 requests are in flight per worker,
//! all windows are full, and a load report comes with every eighth response.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use router_core::{
    AttemptResult, Balancer, ExplainLevel, LoadReport, LoadSource, Outcome, PolicyOptions, Registry,
    RequestFeatures, RequestId, Rng, Ticket, Time, TokenUsage, WorkerInfo,
};
use std::collections::VecDeque;
use std::time::Duration;

const BLOCKS: usize = 40;

struct World {
    balancer: Balancer,
    now: Time,
    tickets: VecDeque<Ticket>,
    prompts: Vec<[u64; BLOCKS]>,
    rng: Rng,
    sent: u64,
}

impl World {
    fn new(policy: &str, workers: usize) -> Self {
        let policy = Registry::builtin().build(policy, &PolicyOptions::new()).unwrap();
        let mut balancer = Balancer::new(policy, 1);
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
        (0..4 * workers).for_each(|_| world.dispatch());
        (0..60 * workers).for_each(|_| world.turn());
        world
    }

    fn dispatch(&mut self) {
        self.sent += 1;
        self.now = self.now + Duration::from_micros(500);
        let prefix = &self.prompts[self.rng.below(self.prompts.len())];
        let request = RequestFeatures {
            id: RequestId(self.sent),
            prefix,
            prefix_block_bytes: 64,
            prompt_bytes: 64 * BLOCKS as u64 + 30,
            // Each conversation is a session of its own.
            routing_key: prefix.last().copied(),
            ..RequestFeatures::default()
        };
        let routed = self.balancer.dispatch(self.now, &request, &[], ExplainLevel::None).unwrap();
        self.tickets.push_back(routed.ticket);
    }

    fn turn(&mut self) {
        self.dispatch();
        let Some(ticket) = self.tickets.pop_front() else { return };
        let load = LoadReport {
            waiting: Some(self.rng.below(4) as u32),
            running: Some(4),
            tokens: Some(self.rng.below(9000) as u64),
            ..LoadReport::empty(self.now, LoadSource::Piggyback)
        };
        let finish = AttemptResult {
            usage: TokenUsage { output_tokens: Some(self.rng.below(300) as u32), ..TokenUsage::default() },
            load: self.sent.is_multiple_of(8).then_some(load),
            ..AttemptResult::of(Outcome::Success)
        };
        self.balancer.finish(self.now, ticket, finish);
    }
}

fn decision(c: &mut Criterion) {
    let registry = Registry::builtin();
    let mut group = c.benchmark_group("dispatch_and_finish");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(1000));
    for spec in registry.specs() {
        for workers in [8, 64, 256] {
            let mut world = World::new(&spec.name, workers);
            group.bench_function(BenchmarkId::new(&spec.name, workers), |b| b.iter(|| world.turn()));
        }
    }
    group.finish();
}

criterion_group!(benches, decision);
criterion_main!(benches);
