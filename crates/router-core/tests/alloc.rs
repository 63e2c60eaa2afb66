//! Deciding allocates nothing once a policy is warm.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "integration/common/mod.rs"]
mod common;

use common::{chain, every_policy};
use router_core::{
    AttemptResult, Balancer, Event, ExplainLevel, FleetUpdate, LoadReport, LoadSource, Outcome, PolicyNumber,
    PromptTokens, RequestFeatures, Time, TokenUsage, WorkerInfo,
};
use std::time::Duration;

/// `n` requests one after the other, each finished 3 ms later, with a load report now and then.
fn serve(balancer: &mut Balancer, now: &mut Time, prompts: &[Vec<u64>], n: usize) {
    let ids = balancer.fleet().iter().map(|w| w.id).nth(n % 8);
    for prefix in prompts.iter().cycle().take(n) {
        let request = RequestFeatures {
            prefix,
            prefix_block_bytes: 64,
            prompt_bytes: 64 * 40,
            routing_key: prefix.last().copied(),
            client: prefix.first().copied(),
            stated_output_tokens: Some(25),
            ..RequestFeatures::default()
        };
        let routed = balancer.dispatch(*now, &request, &[], ExplainLevel::None).unwrap();
        *now = *now + Duration::from_millis(3);
        let usage = TokenUsage { output_tokens: Some(20), ..TokenUsage::default() };
        balancer.finish(*now, routed.ticket, AttemptResult { usage, ..AttemptResult::of(Outcome::Success) });
        let report = LoadReport {
            waiting: Some(1),
            running: Some(3),
            tokens: Some(500),
            ..LoadReport::empty(*now, LoadSource::Poll)
        };
        ids.iter().for_each(|&id| balancer.apply(*now, FleetUpdate::Load(id, report)));
    }
}

#[test]
fn a_warm_policy_allocates_nothing() {
    for workers in [8, 64] {
        for (label, make) in every_policy() {
            for keeps_history in [false, true] {
                let mut balancer = Balancer::new(make(), 1);
                if keeps_history {
                    balancer.keep_history(PolicyNumber(0));
                }
                let mut now = Time::ZERO;
                for i in 0..workers {
                    balancer.join(now, WorkerInfo::new(&format!("http://worker-{i}")));
                }
                // More prompts than the small index holds, so that it is full and evicts all the time.
                let prompts: Vec<_> = (0..100).map(|c| chain(c, 40)).collect();
                serve(&mut balancer, &mut now, &prompts, 30 * workers);
                let measured = allocation_counter::measure(|| serve(&mut balancer, &mut now, &prompts, 400));
                let label = format!("{label} with {workers} workers, history: {keeps_history}");
                assert_eq!(measured.count_total, 0, "{label}: {measured:?}");
            }
        }
    }
}

#[test]
fn watching_the_load_for_hours_allocates_nothing() {
    let mut balancer = Balancer::new(Box::new(router_core::policy::Random), 1);
    let mut now = Time::ZERO;
    for i in 0..8 {
        balancer.join(now, WorkerInfo::new(&format!("http://worker-{i}")));
    }
    let prompts = [chain(1, 40)];
    let mut hours = |now: &mut Time| {
        for _ in 0..720 {
            serve(&mut balancer, now, &prompts, 3);
            *now = *now + Duration::from_secs(10);
            assert_eq!(balancer.scaling(*now, router_core::WaitingRequests::default()).workers, 8);
        }
    };
    hours(&mut now);
    let measured = allocation_counter::measure(|| hours(&mut now));
    assert_eq!(measured.count_total, 0, "{measured:?}");
}

#[test]
fn prefix_index_stays_within_its_bound() {
    let limit = 1 << 20;
    let mut index = None;
    let measured = allocation_counter::measure(|| {
        let mut built = router_core::PrefixIndex::new(Some(limit));
        let info = WorkerInfo::new("a");
        let mut balancer = Balancer::new(Box::new(router_core::policy::Random), 1);
        let worker = balancer.join(Time::ZERO, info.clone());
        built.observe(&Event::Joined { worker, info: &info });
        let mut prompt = [0; 4];
        for i in 0..1_000_000_u64 {
            prompt = [4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3];
            let request =
                RequestFeatures { prefix: &prompt, prefix_block_bytes: 64, ..RequestFeatures::default() };
            let sent = balancer.dispatch(Time::ZERO, &request, &[], ExplainLevel::None).unwrap();
            built.dispatched(worker, &request, PromptTokens::of(&request));
            let result = AttemptResult::of(Outcome::Success);
            built.observe(&Event::Finished(&balancer.finish(Time::ZERO, sent.ticket, result)));
        }
        index = Some((built, prompt));
    });
    // The rest is the table of workers and what this test itself needs.
    assert!(measured.bytes_max <= limit as u64 + 4096, "{measured:?}");
    assert!(index.is_some());
}
