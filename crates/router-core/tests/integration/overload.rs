//! Workers that report too much load are left out while others remain.

use crate::common::every_policy;
use proptest::prelude::*;
use router_core::policy::{ConsistentHashing, Random, RoundRobin};
use router_core::{
    AttemptResult, Balancer, ExplainLevel, FleetUpdate, LoadReport, LoadSource, NoWorker, Outcome,
    OverloadBounds, Policy, RequestFeatures, Ticket, Time, WorkerId, WorkerInfo,
};
use std::num::NonZeroU32;
use std::time::Duration;

const BOUND: u32 = 10;

struct Bench {
    balancer: Balancer,
    ids: Vec<WorkerId>,
    now: Time,
    tickets: Vec<Ticket>,
}

impl Bench {
    fn new(policy: Box<dyn Policy>, workers: usize) -> Self {
        let mut balancer = Balancer::new(policy, 1);
        balancer.set_overload_bounds(OverloadBounds {
            waiting: NonZeroU32::new(BOUND),
            kv_usage: Some(0.9),
            ..OverloadBounds::OFF
        });
        let join = |n| balancer.join(Time::ZERO, WorkerInfo::new(&format!("http://worker-{n}")));
        let ids = (0..workers).map(join).collect();
        Self { balancer, ids, now: Time::from_secs_f64(1.0), tickets: Vec::new() }
    }

    fn round_robin(workers: usize) -> Self {
        Self::new(Box::new(RoundRobin::default()), workers)
    }

    fn report(&mut self, worker: usize, waiting: u32) {
        let report = LoadReport { waiting: Some(waiting), ..LoadReport::empty(self.now, LoadSource::Poll) };
        self.balancer.apply(self.now, FleetUpdate::Load(self.ids[worker], report));
    }

    fn report_cache(&mut self, worker: usize, kv_usage: f64) {
        let report = LoadReport { kv_usage: Some(kv_usage), ..LoadReport::empty(self.now, LoadSource::Poll) };
        self.balancer.apply(self.now, FleetUpdate::Load(self.ids[worker], report));
    }

    fn pass(&mut self, secs: f64) {
        self.now = self.now + Duration::from_secs_f64(secs);
    }

    fn ask(&mut self, request: &RequestFeatures<'_>, exclude: &[WorkerId]) -> Result<usize, NoWorker> {
        let routed = self.balancer.dispatch(self.now, request, exclude, ExplainLevel::None)?;
        let worker = routed.ticket.worker();
        self.tickets.push(routed.ticket);
        Ok(self.ids.iter().position(|id| *id == worker).unwrap())
    }

    fn send(&mut self) -> usize {
        self.ask(&RequestFeatures::default(), &[]).unwrap()
    }

    fn end_last(&mut self) {
        let ticket = self.tickets.pop().unwrap();
        self.balancer.finish(self.now, ticket, AttemptResult::of(Outcome::Success));
    }

    /// Which workers get one of 40 requests that end at once.
    fn served(&mut self) -> Vec<usize> {
        let mut workers: Vec<_> = (0..40)
            .map(|_| {
                let worker = self.send();
                self.end_last();
                worker
            })
            .collect();
        workers.sort_unstable();
        workers.dedup();
        workers
    }
}

#[test]
fn overloaded_worker_gets_none_while_another_can_take_them() {
    for (label, make) in every_policy() {
        let mut bench = Bench::new(make(), 3);
        bench.report(1, BOUND);
        assert!(!bench.served().contains(&1), "{label}");
        bench.report(1, BOUND - 1);
        bench.report_cache(0, 0.9);
        bench.report_cache(2, 1.0);
        assert_eq!(bench.served(), [1], "{label}");
        let id = bench.ids[0];
        bench.balancer.apply(bench.now, FleetUpdate::Leave(bench.ids[1]));
        assert!(bench.ask(&RequestFeatures::default(), &[id]).is_ok(), "{label}: the last one is taken");
    }
}

#[test]
fn fleet_that_is_overloaded_as_a_whole_is_used_as_a_whole() {
    let mut bench = Bench::round_robin(4);
    (0..4).for_each(|worker| bench.report(worker, 500));
    assert_eq!(bench.served(), [0, 1, 2, 3]);
}

#[test]
fn worker_that_stops_reporting_is_used_again() {
    let mut bench = Bench::round_robin(3);
    bench.report(0, 100);
    bench.pass(3.0);
    bench.report(1, 100);
    bench.pass(2.0);
    assert_eq!(bench.served(), [2], "a report counts for five seconds");
    bench.pass(0.001);
    assert_eq!(bench.served(), [0, 2]);
    bench.report(0, 100);
    bench.pass(3.0);
    assert_eq!(bench.served(), [1, 2], "the second report has become too old as well");
    bench.report(0, 100);
    bench.pass(4.0);
    assert_eq!(bench.served(), [1, 2], "each report counts anew");
    assert!(bench.balancer.fleet().is_overloaded(bench.ids[0], bench.now));
    bench.pass(1.5);
    assert_eq!(bench.served(), [0, 1, 2]);
    assert!(!bench.balancer.fleet().is_overloaded(bench.ids[0], bench.now));
}

/// Seven of eight workers are overloaded; what is sent to the eighth counts before it reports again.
#[test]
fn last_worker_below_the_bound_is_not_flooded() {
    let mut bench = Bench::round_robin(8);
    (0..7).for_each(|worker| bench.report(worker, 50));
    bench.report(7, 0);
    let mut sent = [0; 8];
    (0..BOUND + 80).for_each(|_| sent[bench.send()] += 1);
    assert_eq!(sent, [10, 10, 10, 10, 10, 10, 10, 10 + BOUND]);
    // A request that ends there makes room for one, not for all.
    (0..11).for_each(|_| {
        let at = bench.tickets.iter().rposition(|t| t.worker() == bench.ids[7]).unwrap();
        let ticket = bench.tickets.swap_remove(at);
        bench.balancer.finish(bench.now, ticket, AttemptResult::of(Outcome::Success));
    });
    assert_eq!(bench.send(), 7);
    let next: Vec<_> = (0..8).map(|_| bench.send()).collect();
    assert!(next.iter().any(|worker| *worker != 7), "{next:?}");
}

#[test]
fn prompts_sent_count_as_cache_in_use() {
    let mut bench = Bench::round_robin(0);
    for n in 0..2 {
        let info =
            WorkerInfo { max_total_tokens: Some(10_000), ..WorkerInfo::new(&format!("http://worker-{n}")) };
        let id = bench.balancer.join(bench.now, info);
        bench.ids.push(id);
    }
    bench.report_cache(0, 0.95);
    bench.report_cache(1, 0.7);
    let request = RequestFeatures { prompt_bytes: 4000, ..RequestFeatures::default() };
    let sent: Vec<_> = (0..6).map(|_| bench.ask(&request, &[]).unwrap()).collect();
    assert_eq!(sent[..2], [1, 1], "each prompt is a tenth of the cache");
    assert!(sent[2..].contains(&0), "{sent:?}");
}

#[test]
fn named_worker_is_served_though_it_is_overloaded() {
    let mut bench = Bench::new(Box::new(ConsistentHashing::default()), 3);
    bench.report(1, 100);
    let request = RequestFeatures { target_worker: Some(bench.ids[1].slot()), ..RequestFeatures::default() };
    assert!(bench.balancer.needs().target_worker);
    assert_eq!(bench.ask(&request, &[]), Ok(1));
}

#[test]
fn retry_goes_to_an_overloaded_worker_rather_than_back() {
    let mut bench = Bench::round_robin(3);
    bench.report(1, 100);
    let tried = bench.ids[0];
    assert_eq!(bench.ask(&RequestFeatures::default(), &[tried]), Ok(2));
    let tried = [bench.ids[0], bench.ids[2]];
    assert_eq!(bench.ask(&RequestFeatures::default(), &tried), Ok(1));
    let all = bench.ids.clone();
    assert!(bench.ask(&RequestFeatures::default(), &all).is_err());
}

/// With more workers than are compared one by one, and many of them overloaded.
#[test]
fn large_fleets_are_narrowed_as_well() {
    for (label, make) in every_policy() {
        let mut bench = Bench::new(make(), 400);
        for worker in 0..400 {
            bench.report(worker, if worker % 40 == 0 { 0 } else { 50 });
        }
        assert!(bench.served().iter().all(|worker| worker % 40 == 0), "{label}");
        (0..400).for_each(|worker| bench.report(worker, 50));
        bench.report(7, 0);
        assert_eq!(bench.served(), [7], "{label}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Join,
    Leave(usize),
    Routable(usize, bool),
    Report { worker: usize, waiting: Option<u32>, kv_usage: Option<f64> },
    Send,
    End(usize),
    Pass(f64),
}

fn step() -> impl Strategy<Value = Step> {
    let any_worker = 0_usize..6;
    prop_oneof![
        1 => Just(Step::Join),
        1 => any_worker.clone().prop_map(Step::Leave),
        1 => (any_worker.clone(), any::<bool>()).prop_map(|(w, r)| Step::Routable(w, r)),
        6 => (any_worker, prop::option::of(0_u32..20), prop::option::of(0.8_f64..1.0))
            .prop_map(|(worker, waiting, kv_usage)| Step::Report { worker, waiting, kv_usage }),
        8 => Just(Step::Send),
        6 => (0_usize..64).prop_map(Step::End),
        3 => (0.0_f64..4.0).prop_map(Step::Pass),
    ]
}

/// What a scan of all workers would know of one.
#[derive(Clone, Debug, Default)]
struct Model {
    routable: bool,
    /// Waiting requests and when they were reported.
    waiting: Option<(i64, Time)>,
    kv_usage: Option<(f64, Time)>,
}

impl Model {
    fn is_overloaded(&self, now: Time) -> bool {
        let is_fresh = |at: Time| now.since(at) <= Duration::from_secs(5);
        self.waiting.is_some_and(|(n, at)| n >= i64::from(BOUND) && is_fresh(at))
            || self.kv_usage.is_some_and(|(share, at)| share >= 0.9 && is_fresh(at))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The lists that events maintain are those that a scan would find.
    #[test]
    fn candidates_agree_with_a_scan(steps in prop::collection::vec(step(), 0..200)) {
        let mut bench = Bench::new(Box::new(Random), 0);
        let mut models: Vec<Option<Model>> = Vec::new();
        for step in steps {
            match step {
                Step::Join => {
                    bench.ids.push(bench.balancer.join(bench.now, WorkerInfo::new("http://w")));
                    models.push(Some(Model { routable: true, ..Model::default() }));
                }
                Step::Leave(w) if w < models.len() => {
                    bench.balancer.apply(bench.now, FleetUpdate::Leave(bench.ids[w]));
                    models[w] = None;
                }
                Step::Routable(w, routable) if w < models.len() => {
                    bench.balancer.apply(bench.now, FleetUpdate::Routable(bench.ids[w], routable));
                    models[w].iter_mut().for_each(|m| m.routable = routable);
                }
                Step::Report { worker, waiting, kv_usage } if worker < models.len() => {
                    let report =
                        LoadReport { waiting, kv_usage, ..LoadReport::empty(bench.now, LoadSource::Poll) };
                    bench.balancer.apply(bench.now, FleetUpdate::Load(bench.ids[worker], report));
                    if let Some(model) = &mut models[worker] {
                        model.waiting = waiting.map(|n| (i64::from(n), bench.now)).or(model.waiting);
                        model.kv_usage = kv_usage.map(|share| (share, bench.now)).or(model.kv_usage);
                    }
                }
                Step::Send => {
                    let routable: Vec<_> = models.iter().flatten().filter(|m| m.routable).collect();
                    let within = routable.iter().filter(|m| !m.is_overloaded(bench.now)).count();
                    let wanted = if within == 0 { routable.len() } else { within };
                    let request = RequestFeatures::default();
                    match bench.balancer.dispatch(bench.now, &request, &[], ExplainLevel::None) {
                        Err(NoWorker) => prop_assert_eq!(wanted, 0),
                        Ok(routed) => {
                            prop_assert_eq!(routed.snapshot.candidates as usize, wanted);
                            let at = bench.ids.iter().position(|id| *id == routed.ticket.worker()).unwrap();
                            let model = models[at].as_mut().unwrap();
                            prop_assert!(within == 0 || !model.is_overloaded(bench.now));
                            model.waiting.iter_mut().for_each(|(n, _)| *n += 1);
                            bench.tickets.push(routed.ticket);
                        }
                    }
                }
                Step::End(n) if !bench.tickets.is_empty() => {
                    let ticket = bench.tickets.swap_remove(n % bench.tickets.len());
                    let at = bench.ids.iter().position(|id| *id == ticket.worker()).unwrap();
                    bench.balancer.finish(bench.now, ticket, AttemptResult::of(Outcome::Success));
                    models[at].iter_mut().flat_map(|m| &mut m.waiting).for_each(|(n, _)| *n -= 1);
                }
                Step::Pass(secs) => bench.pass(secs),
                _ => {}
            }
        }
    }
}
