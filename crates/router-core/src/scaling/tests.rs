use crate::policy::LeastRequest;
use crate::{
    AttemptResult, Balancer, ExplainLevel, FleetUpdate, Outcome, RequestFeatures, RequestId, Rng,
    ScaleUnknown, ScalingOptions, ScalingSignals, Slo, Ticket, Time, TokenUsage, WaitingRequests, WorkerId,
    WorkerInfo,
};

/// Mean tokens of prompts and outputs; each is between a fifth and nine fifths of that.
const PROMPT: u32 = 1000;
const OUTPUT: u32 = 50;
/// Seconds per prompt token, per step, and per step and request.
const PREFILL: f64 = 100e-6;
const STEP: f64 = 20e-3;
const SHARED: f64 = 1e-3;

struct Running {
    ticket: Ticket,
    prompt: u32,
    output: u32,
    prefill_left: f64,
    tokens_left: f64,
    first_at: Option<Time>,
}

/// Workers that compute prompts one after the other and decode meanwhile, in steps of 10 ms of virtual time.
struct ToyFleet {
    balancer: Balancer,
    now: Time,
    speeds: Vec<(WorkerId, f64)>,
    running: Vec<Running>,
    sent: u64,
    due: f64,
    rng: Rng,
}

impl ToyFleet {
    fn new(speeds: &[f64]) -> Self {
        let mut balancer = Balancer::new(Box::new(LeastRequest::default()), 1);
        balancer
            .set_scaling(ScalingOptions { slo: Slo { ttft: 2.0, tpot: 0.1 }, ..ScalingOptions::default() });
        let speeds = speeds.iter().enumerate();
        let speeds =
            speeds.map(|(i, speed)| (balancer.join(Time::ZERO, WorkerInfo::new(&format!("w{i}"))), *speed));
        let speeds = speeds.collect();
        Self {
            balancer,
            now: Time::ZERO,
            speeds,
            running: Vec::new(),
            sent: 0,
            due: 0.0,
            rng: Rng::seeded(7),
        }
    }

    fn run(&mut self, secs: f64, rate: f64) -> ScalingSignals {
        const DT: f64 = 0.01;
        for _ in 0..(secs / DT) as u64 {
            self.now = Time::from_secs_f64(self.now.as_secs_f64() + DT);
            self.due += rate * DT;
            while self.due >= 1.0 {
                self.due -= 1.0;
                self.send();
            }
            for worker in 0..self.speeds.len() {
                self.compute(worker, DT);
            }
        }
        self.signals()
    }

    fn signals(&mut self) -> ScalingSignals {
        self.balancer.scaling(self.now, WaitingRequests::default())
    }

    fn send(&mut self) {
        self.sent += 1;
        let mut length = |mean: u32| mean / 5 + self.rng.below((mean * 8 / 5) as usize) as u32;
        let (prompt, output) = (length(PROMPT), length(OUTPUT));
        let request = RequestFeatures {
            id: RequestId(self.sent),
            stream: true,
            prompt_bytes: 4 * u64::from(prompt),
            ..RequestFeatures::default()
        };
        let ticket = self.balancer.dispatch(self.now, &request, &[], ExplainLevel::None).unwrap().ticket;
        let (prefill_left, tokens_left) = (PREFILL * f64::from(prompt), f64::from(output - 1));
        self.running.push(Running { ticket, prompt, output, prefill_left, tokens_left, first_at: None });
    }

    fn compute(&mut self, worker: usize, dt: f64) {
        let (id, speed) = self.speeds[worker];
        let mut left = dt * speed;
        for request in self.running.iter_mut().filter(|r| r.ticket.worker() == id && r.first_at.is_none()) {
            let part = request.prefill_left.min(left);
            request.prefill_left -= part;
            left -= part;
            if request.prefill_left <= 1e-12 {
                request.first_at = Some(self.now);
                self.balancer.first_token(self.now, &mut request.ticket);
            }
        }
        let decoding = |r: &&mut Running| r.ticket.worker() == id && r.first_at.is_some();
        let requests = self.running.iter_mut().filter(decoding).count();
        let steps = left / (STEP + SHARED * requests as f64);
        self.running.iter_mut().filter(decoding).for_each(|request| request.tokens_left -= steps);
        while let Some(place) = self.running.iter().position(|r| r.first_at.is_some() && r.tokens_left <= 0.0)
        {
            let ended = self.running.remove(place);
            let usage = TokenUsage {
                prompt_tokens: Some(ended.prompt),
                output_tokens: Some(ended.output),
                cached_tokens: Some(0),
                estimated: false,
            };
            let result =
                AttemptResult { first_byte_at: ended.first_at, usage, ..AttemptResult::of(Outcome::Success) };
            self.balancer.finish(self.now, ended.ticket, result);
        }
    }
}

fn near(value: f64, expected: f64, share: f64) {
    assert!((value - expected).abs() <= share * expected, "{value} is not near {expected}");
}

#[test]
fn figures_are_unknown_until_something_was_seen_and_say_why() {
    let mut fleet = ToyFleet::new(&[1.0]);
    let none = fleet.signals();
    assert_eq!(none.arrival_rate, Err(ScaleUnknown::TooSoon { secs: 30 }));
    assert_eq!(none.workers_needed, Err(ScaleUnknown::FewResponses { seen: 0, needed: 60 }));
    assert!(none.saturation.unwrap_err().to_string().starts_with("0 of the 60 observations"));
    let silent = fleet.run(60.0, 0.0);
    assert_eq!(silent.arrival_rate, Ok(0.0));
    assert!(silent.capability.is_err(), "no response told anything");
    let known = fleet.run(120.0, 2.0);
    near(known.arrival_rate.unwrap(), 2.0, 0.15);
    assert!(known.saturation.is_ok() && known.workers_needed.is_ok());
}

#[test]
fn work_of_a_request_is_learned_from_times_alone() {
    let mut fleet = ToyFleet::new(&[1.0, 1.0]);
    for rate in [1.0, 4.0, 9.0, 2.0, 7.0] {
        fleet.run(120.0, rate);
    }
    let capability = fleet.signals().capability.unwrap();
    // 100 ms of prompt, and 50 ms that its tokens add to steps, of which some is taken for the steps themselves.
    near(capability.work_secs, 0.125, 0.25);
    assert!((0.4..0.9).contains(&capability.load_limit), "{capability:?}");
    assert!(!capability.is_slo_out_of_reach);
}

#[test]
fn workers_needed_follow_the_rate_and_not_the_fleet() {
    let mut fleet = ToyFleet::new(&[1.0; 4]);
    let of_rate = fleet.run(600.0, 4.0).workers_needed.unwrap().for_rate;
    let of_twice = fleet.run(600.0, 8.0).workers_needed.unwrap().for_rate;
    near(of_twice, 2.0 * of_rate, 0.2);
    for worker in 2..4 {
        let id = fleet.speeds[worker].0;
        fleet.balancer.apply(fleet.now, FleetUpdate::Routable(id, false));
    }
    let fewer = fleet.run(10.0, 8.0);
    assert_eq!(fewer.workers, 2);
    near(fewer.workers_needed.unwrap().for_rate, of_twice, 0.2);
}

#[test]
fn saturation_is_above_one_when_requests_wait() {
    let mut fleet = ToyFleet::new(&[1.0, 1.0]);
    let calm = fleet.run(600.0, 4.0);
    assert!(calm.saturation.unwrap() < 0.8, "{calm:?}");
    let full = fleet.run(90.0, 16.0);
    assert!(full.saturation.unwrap() > 1.2, "{full:?}");
    assert!(full.backlog.unwrap() > 50.0);
    assert!(full.workers_needed.unwrap().for_backlog > 0.5);
}

#[test]
fn slow_worker_counts_as_part_of_one() {
    let mut even = ToyFleet::new(&[1.0, 1.0, 1.0]);
    let mut uneven = ToyFleet::new(&[1.0, 1.0, 0.3]);
    let even = even.run(900.0, 5.0).saturation.unwrap();
    let uneven = uneven.run(900.0, 5.0).saturation.unwrap();
    assert!(uneven > 1.1 * even, "{uneven} {even}");
}

#[test]
fn refused_and_waiting_requests_are_demand() {
    let mut fleet = ToyFleet::new(&[1.0]);
    let before = fleet.run(300.0, 2.0);
    for second in 0..60 {
        let at = Time::from_secs_f64(300.0 + f64::from(second));
        (0..2).for_each(|_| fleet.balancer.refused(at));
    }
    fleet.now = Time::from_secs_f64(360.0);
    near(fleet.signals().arrival_rate.unwrap(), before.arrival_rate.unwrap(), 0.1);
    let for_ten = fleet.balancer.scaling(fleet.now, WaitingRequests { count: 100 });
    let waiting = fleet.balancer.scaling(fleet.now, WaitingRequests { count: 400 });
    assert!(waiting.workers_needed.unwrap().for_backlog > 1.5 * for_ten.workers_needed.unwrap().for_backlog);
}

#[test]
fn pool_that_lost_all_workers_still_says_how_many_it_needs() {
    let mut fleet = ToyFleet::new(&[1.0]);
    fleet.run(300.0, 2.0);
    let id = fleet.speeds[0].0;
    fleet.balancer.apply(fleet.now, FleetUpdate::Leave(id));
    let gone = fleet.signals();
    assert_eq!((gone.workers, gone.saturation), (0, Err(ScaleUnknown::NoWorker)));
    assert!(gone.workers_needed.unwrap().workers > 0.2);
}
