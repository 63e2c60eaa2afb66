//! The properties that pin the rule. Those that need engines are tested in router-sim.

use super::*;
use crate::testing::TestBench;
use crate::{AttemptResult, ExplainLevel, RequestId, Route, Ticket, TokenUsage};
use std::time::Duration;

/// Learned speeds do not decay during the tests.
fn config() -> MarginalCostConfig {
    MarginalCostConfig { max_tree_size: Some(1 << 16), relax_secs: 1e12, ..MarginalCostConfig::default() }
}

fn policy() -> MarginalCost {
    MarginalCost::new(config()).unwrap()
}

fn bench(workers: usize) -> TestBench {
    TestBench::new(Box::new(policy()), workers)
}

fn prompt(bytes: u64) -> RequestFeatures<'static> {
    RequestFeatures { prompt_bytes: bytes, ..RequestFeatures::default() }
}

/// Teaches one worker that a response of `n` tokens takes `factor` times that of an 8B model.
fn teach(bench: &mut TestBench, worker: usize, factor: f64) {
    for n in [40, 160, 80, 320, 120, 240].into_iter().cycle().take(60) {
        bench.now = bench.now + Duration::from_secs(60);
        bench.complete(worker, factor * (0.02 + 0.007 * f64::from(n)), n);
    }
}

fn cost_of(bench: &mut TestBench, request: &RequestFeatures<'_>) -> f64 {
    let routed = bench.balancer.dispatch(bench.now, request, &[], ExplainLevel::All).unwrap();
    bench.balancer.finish(bench.now, routed.ticket, AttemptResult::of(Outcome::Cancelled));
    routed.scores[0].cost
}

fn cost(bench: &mut TestBench, worker: usize) -> f64 {
    bench.ask().scores[worker].cost
}

#[test]
fn equal_workers_in_equal_state_tie() {
    let mut bench = bench(4);
    let asked = bench.ask();
    assert_eq!(asked.decision.ties, 4);
    (0..4).for_each(|w| bench.hold(w, 3));
    assert_eq!(bench.ask().decision.ties, 4);
}

#[test]
fn more_in_flight_never_costs_less() {
    let mut bench = bench(2);
    let mut last = cost(&mut bench, 0);
    for _ in 0..60 {
        bench.force(0, &prompt(1200));
        let now = cost(&mut bench, 0);
        assert!(now > last, "{now} after {last}");
        last = now;
    }
}

#[test]
fn longer_prompt_or_slower_worker_costs_more() {
    let policy_of = |factor: f64| {
        // How late a first token is depends on what is usual for its prompt, so that part is left out.
        let config = MarginalCostConfig { ttft_weight: 0.0, ..config() };
        let mut bench = TestBench::new(Box::new(MarginalCost::new(config).unwrap()), 1);
        teach(&mut bench, 0, factor);
        [100, 1000, 10_000, 100_000].map(|bytes| cost_of(&mut bench, &prompt(bytes)))
    };
    let mut slower = [0.0; 4];
    for factor in [0.3, 1.0, 3.0, 9.0] {
        let costs = policy_of(factor);
        assert!(costs.windows(2).all(|w| w[0] < w[1]), "{costs:?}");
        assert!(costs.iter().zip(slower).all(|(now, before)| *now > before), "{factor}: {costs:?}");
        slower = costs;
    }
}

#[test]
fn shorter_cached_prefix_costs_more() {
    let chain: Vec<u64> = (0..64).collect();
    let of = |blocks: usize| RequestFeatures {
        prefix: &chain[..blocks],
        prefix_block_bytes: 64,
        prompt_bytes: 64 * 64,
        ..RequestFeatures::default()
    };
    let costs = [64, 48, 16, 0].map(|held| {
        let mut bench = bench(1);
        teach(&mut bench, 0, 1.0);
        bench.force(0, &of(held));
        bench.finish_all();
        cost_of(&mut bench, &of(64))
    });
    assert!(costs.windows(2).all(|w| w[0] < w[1]), "{costs:?}");
}

#[test]
fn repeated_prompt_is_cheaper() {
    let mut bench = bench(2);
    let chain: Vec<u64> = (0..64).collect();
    let long = RequestFeatures {
        prefix: &chain,
        prefix_block_bytes: 64,
        prompt_bytes: 64 * 64,
        ..RequestFeatures::default()
    };
    // Each worker gets its first requests in any case.
    for _ in 0..TRIALS {
        bench.force(0, &prompt(100));
        bench.force(1, &long);
        bench.finish_all();
    }
    for _ in 0..20 {
        assert_eq!(bench.send_as(&long), 1);
        bench.finish_all();
    }
}

#[test]
fn burst_without_responses_is_spread_evenly() {
    for micros in [0, 100, 10_000] {
        let mut bench = bench(4);
        let mut shares = [0; 4];
        for _ in 0..100 {
            bench.now = bench.now + Duration::from_micros(micros);
            shares[bench.send_as(&prompt(1200))] += 1;
        }
        assert_eq!(shares, [25; 4], "{micros}");
    }
}

#[test]
fn burst_mostly_prefers_the_faster_worker() {
    let mut bench = bench(3);
    for (worker, factor) in [(0, 1.0 / 2.6), (1, 1.0), (2, 1.0)] {
        teach(&mut bench, worker, factor);
    }
    let mut shares = [0; 3];
    for _ in 0..100 {
        shares[bench.send_as(&prompt(1200))] += 1;
    }
    assert!((50..90).contains(&shares[0]), "{shares:?}");
    assert!(shares[1] >= 4 && shares[2] >= 4, "{shares:?}");
}

#[test]
fn the_unit_of_time_changes_no_choice() {
    let shares = |unit: f64| {
        // The decay of a slowdown has a time constant of its own, so there must be no slowdown.
        let config = MarginalCostConfig { forgive_secs: 1e-9, ..config() };
        let mut bench = TestBench::new(Box::new(MarginalCost::new(config).unwrap()), 3);
        for (worker, factor) in [(0, 0.5), (1, 1.0), (2, 2.0)] {
            teach(&mut bench, worker, unit * factor);
        }
        bench.now = bench.now + Duration::from_secs(3600);
        (0..60).map(|_| bench.send_as(&prompt(1200))).collect::<Vec<_>>()
    };
    assert_eq!(shares(1.0), shares(4.0));
}

#[test]
fn cold_worker_gets_at_most_its_share() {
    let mut bench = bench(2);
    for worker in 0..2 {
        teach(&mut bench, worker, 1.0);
        bench.hold(worker, 12);
    }
    let newcomer = bench.join();
    let sent = (0..30).filter(|_| bench.send_as(&prompt(400)) == newcomer.slot()).count();
    assert!((8..=20).contains(&sent), "{sent}");
}

#[test]
fn slowness_of_the_whole_fleet_is_expected_of_a_newcomer() {
    let mut bench = bench(4);
    (0..4).for_each(|worker| teach(&mut bench, worker, 1.0));
    for n in [40, 160, 80, 320].into_iter().cycle().take(8) {
        for worker in 0..4 {
            bench.now = bench.now + Duration::from_millis(50);
            bench.complete(worker, 4.0 * (0.02 + 0.007 * f64::from(n)), n);
        }
    }
    (0..4).for_each(|worker| bench.hold(worker, 12));
    let newcomer = bench.join();
    let sent = (0..60).filter(|_| bench.send_as(&prompt(400)) == newcomer.slot()).count();
    assert!((12..=24).contains(&sent), "{sent}");
    let costs: Vec<f64> = bench.ask().scores.iter().map(|score| score.cost).collect();
    let others = costs[..4].iter().sum::<f64>() / 4.0;
    assert!((0.8..1.2).contains(&(costs[4] / others)), "{costs:?}");
}

#[test]
fn sums_are_zero_after_every_outcome() {
    let mut policy = policy();
    let info = crate::WorkerInfo::new("http://a");
    let worker = WorkerId::new(0, 1);
    policy.observe(Time::ZERO, &Event::Joined { worker, info: &info });
    let outcomes = [Outcome::Success, Outcome::Rejected, Outcome::Busy, Outcome::Failed, Outcome::Cancelled];
    let at = |i: usize| Time::from_nanos(3_000_000 * i as u64);
    let request = |i: usize| RequestFeatures {
        id: RequestId(i as u64 / 2),
        attempt: i as u32 % 2,
        stream: i.is_multiple_of(3),
        prompt_bytes: 40 * i as u64,
        max_output_tokens: i.is_multiple_of(4).then_some(30),
        ..RequestFeatures::default()
    };
    for i in 0..300 {
        policy.observe(at(i), &Event::Dispatched { worker, request: &request(i) });
    }
    for i in 0..300 {
        let now = at(400 + i);
        if i.is_multiple_of(2) {
            policy.observe(now, &Event::FirstToken { worker, request: request(i).id });
        }
        let usage = TokenUsage { output_tokens: (i % 7 > 0).then_some(i as u32), ..TokenUsage::default() };
        let completion = Completion {
            worker,
            request: request(i).id,
            attempt: request(i).attempt,
            seq: 0,
            arrived_at: None,
            dispatched_at: at(i),
            finished_at: now,
            most_output_tokens: u32::MAX,
            result: AttemptResult { usage, ..AttemptResult::of(outcomes[i % 5]) },
            forecast: None,
            predicted_cached_tokens: None,
        };
        policy.observe(now, &Event::Finished(&completion));
        // A second completion of one request is ignored.
        policy.observe(now, &Event::Finished(&completion));
    }
    let books = policy.workers.get(worker).unwrap();
    assert_eq!(*books.sums(), in_flight::LoadSums::default());
    assert_eq!((policy.in_flight, books.idle_secs(at(700))), (0, Some(3e-3)));
}

#[test]
fn the_explanation_adds_up() {
    let config = MarginalCostConfig { slo_ttft_secs: Some(0.02), slo_tpot_secs: Some(0.008), ..config() };
    let mut bench = TestBench::new(Box::new(MarginalCost::new(config).unwrap()), 3);
    teach(&mut bench, 1, 1.0);
    bench.hold(0, 5);
    let scores = bench.ask().scores;
    for (score, is_cold) in scores.iter().zip([true, false, false]) {
        let term = |name| score.terms.get(name).unwrap();
        let sum = term("own_latency")
            + config.externality_weight * term("externality")
            + config.backlog_weight * term("backlog")
            + config.ttft_weight * term("lateness")
            + config.copy_weight * term("copies")
            + term("slo_miss");
        let cold = if is_cold { cost::COLD_FACTOR } else { 1.0 };
        assert!((score.cost - cold * sum).abs() < 1e-9, "{score:?}");
    }
    assert!(scores[0].terms.get("slo_miss") > Some(0.0), "{:?}", scores[0]);
}

#[test]
fn bad_options_are_named() {
    let default = MarginalCostConfig::default();
    let refused = |config| MarginalCost::new(config).unwrap_err().to_string();
    assert_eq!(
        refused(MarginalCostConfig { memory: 1.0, ..default }),
        "`memory` must be above 0 and below 1, not 1"
    );
    let says = refused(MarginalCostConfig { ttft_weight: f64::NAN, ..default });
    assert!(says.starts_with("`ttft_weight`"), "{says}");
}

/// Sends 240 requests, ten per second, to four workers that respond after half a second; the first one responds at once, with
/// the given number of output tokens. Gives the number of requests that it got.
fn sent_to_one_that_responds_at_once(output_tokens: Option<u32>) -> usize {
    let mut bench = bench(4);
    let mut running = std::collections::VecDeque::new();
    let finish = |bench: &mut TestBench, at: Time, ticket: Ticket, output_tokens| {
        let usage = TokenUsage { output_tokens, ..TokenUsage::default() };
        bench.balancer.finish(at, ticket, AttemptResult { usage, ..AttemptResult::of(Outcome::Success) });
    };
    let mut got = 0;
    for i in 0..240 {
        let now = Time::ZERO + Duration::from_millis(100 * i);
        while let Some((at, ticket)) = running.pop_front_if(|(at, _): &mut (Time, _)| *at <= now) {
            finish(&mut bench, at, ticket, Some(60));
        }
        let request = RequestFeatures {
            id: RequestId(i),
            route: Route::ChatCompletions,
            max_output_tokens: Some(100),
            ..prompt(800)
        };
        let ticket = bench.balancer.dispatch(now, &request, &[], ExplainLevel::None).unwrap().ticket;
        if ticket.worker() == bench.ids[0] {
            got += 1;
            finish(&mut bench, now + Duration::from_millis(1), ticket, output_tokens);
        } else {
            running.push_back((now + Duration::from_millis(500), ticket));
        }
    }
    for (at, ticket) in running {
        finish(&mut bench, at, ticket, Some(60));
    }
    got
}

#[test]
fn worker_that_responds_with_nothing_is_not_fast() {
    for nothing in [None, Some(0)] {
        let got = sent_to_one_that_responds_at_once(nothing);
        assert!(got <= 12, "{nothing:?}: {got} of 240");
    }
    assert!(sent_to_one_that_responds_at_once(Some(60)) > 120, "one that is fast is used");
}

#[test]
fn worker_that_reports_impossible_lengths_is_not_fast() {
    let got = sent_to_one_that_responds_at_once(Some(u32::MAX));
    assert!(got <= 12, "{got} of 240");
}
