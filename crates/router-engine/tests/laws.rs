//! What must hold for any workload: nothing is lost, the cache never overflows, the queue is fair, time goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the lint spares only functions marked as tests")]

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use router_core::Time;
use router_engine::{Batching, Engine, EngineLimits, EngineProfile, Job, JobEvent, JobId, JobRecord};

#[derive(Clone, Debug)]
struct Arrival {
    gap_us: u64,
    prompt: u32,
    output: u32,
    slack: u32,
    family: u64,
    abort_after_us: Option<u64>,
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let one =
        (0u64..20_000, 1u32..300, 0u32..60, 0u32..200, 0u64..3, prop::option::weighted(0.2, 0u64..500_000))
            .prop_map(|(gap_us, prompt, output, slack, family, abort_after_us)| Arrival {
                gap_us,
                prompt,
                output,
                slack,
                family,
                abort_after_us,
            });
    prop::collection::vec(one, 1..60)
}

fn limits() -> impl Strategy<Value = EngineLimits> {
    let batching = prop_oneof![
        Just(Batching::PrefillFirst),
        (1u32..400).prop_map(|step_tokens| Batching::Chunked { step_tokens })
    ];
    (600u64..4000, 1u32..12, 50u32..2000, batching).prop_map(
        |(kv_tokens, max_running, max_prefill_tokens, batching)| EngineLimits {
            kv_tokens,
            max_running,
            max_prefill_tokens,
            batching,
            ..EngineProfile::named("sglang_8b").unwrap().limits
        },
    )
}

/// The job of an arrival; those of a family share their prompt's beginning.
fn job(id: usize, a: &Arrival, limits: &EngineLimits) -> Job {
    let blocks = (0..a.prompt / limits.block_tokens).map(|b| a.family << 32 | u64::from(b)).collect();
    Job { blocks, max_output_tokens: a.output + a.slack, ..Job::new(JobId(id as u64), a.prompt, a.output) }
}

/// Everything seen of one job.
#[derive(Default, Debug)]
struct Seen {
    tokens: u32,
    last_at: Time,
    finished: Option<JobRecord>,
    aborted: bool,
}

struct World {
    engine: Engine,
    seen: HashMap<u64, Seen>,
}

impl World {
    fn step_to(&mut self, until: Time) -> Result<(), TestCaseError> {
        let mut clock = Time::ZERO;
        while let Some(step) = self.engine.next_step(clock) {
            if step.ends_at > until {
                break;
            }
            clock = step.ends_at;
            let mut out = Vec::new();
            self.engine.complete_step(&mut |p| out.push(p));
            for progress in out {
                self.note(progress, step.ends_at)?;
            }
            let load = self.engine.load();
            prop_assert!(load.used_tokens + load.evictable_tokens <= load.capacity_tokens, "{load:?}");
            prop_assert!(load.running <= self.engine.limits().max_running);
        }
        Ok(())
    }

    fn note(&mut self, progress: JobEvent, now: Time) -> Result<(), TestCaseError> {
        let id = match progress {
            JobEvent::FirstToken { id, .. } | JobEvent::Token { id, .. } => id,
            JobEvent::Finished(record) => record.id,
        };
        let seen = self.seen.entry(id.0).or_default();
        prop_assert!(!seen.aborted && seen.finished.is_none(), "{id:?} speaks after its end");
        prop_assert!(now >= seen.last_at);
        seen.last_at = now;
        match progress {
            JobEvent::FirstToken { times, .. } => {
                prop_assert_eq!(seen.tokens, 0);
                prop_assert_eq!(times.finished_at, now);
                seen.tokens = 1;
            }
            JobEvent::Token { generated, at, .. } => {
                prop_assert_eq!((generated, at), (seen.tokens + 1, now));
                seen.tokens = generated;
            }
            JobEvent::Finished(record) => {
                prop_assert_eq!(record.output_tokens, seen.tokens);
                let t = record.times;
                let scheduled = t.scheduled_at.unwrap();
                prop_assert!(t.submitted_at <= t.queued_at && t.queued_at <= scheduled);
                prop_assert!(scheduled < t.finished_at && t.first_token_at.is_none_or(|f| f > scheduled));
                seen.finished = Some(record);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn jobs_end_once_within_limits(arrivals in arrivals(), limits in limits()) {
        let timing = EngineProfile::named("sglang_8b").unwrap().timing;
        let mut world = World { engine: Engine::new(timing, limits), seen: HashMap::new() };
        let mut now = Time::ZERO;
        let mut aborts: Vec<(Time, u64)> = Vec::new();
        let mut wanted: HashMap<u64, u32> = HashMap::new();
        for (i, a) in arrivals.iter().enumerate() {
            let id = i as u64;
            now = now + Duration::from_micros(a.gap_us);
            aborts.sort_unstable();
            while let Some(&(at, victim)) = aborts.first() && at <= now {
                aborts.remove(0);
                world.step_to(at)?;
                if world.engine.abort(at, JobId(victim)).is_some() {
                    world.seen.entry(victim).or_default().aborted = true;
                }
            }
            world.step_to(now)?;
            if world.engine.submit(now, job(i, a, &limits)).is_ok() {
                wanted.insert(id, a.output);
                aborts.extend(a.abort_after_us.map(|d| (now + Duration::from_micros(d), id)));
            }
        }
        world.step_to(Time::from_nanos(u64::MAX))?;
        prop_assert!(world.engine.is_idle());
        prop_assert_eq!(world.engine.load().used_tokens, 0);
        for (id, output) in &wanted {
            let seen = world.seen.get(id).unwrap();
            prop_assert!(seen.aborted != seen.finished.is_some());
            if let Some(record) = seen.finished {
                prop_assert_eq!(record.output_tokens, *output);
            }
        }
        // First come, first scheduled, among those that were scheduled at all.
        let mut starts: Vec<_> = world.seen.values().filter_map(|s| s.finished).collect();
        starts.sort_by_key(|r| r.id);
        prop_assert!(starts.windows(2).all(|w| w[0].times.scheduled_at <= w[1].times.scheduled_at));
    }

    #[test]
    fn stride_changes_no_time(arrivals in arrivals()) {
        let p = EngineProfile::named("a100").unwrap();
        let run = |stride_ms: u64| {
            let mut engine = Engine::new(p.timing, p.limits);
            let mut records = Vec::new();
            let mut sink = |x: JobEvent| if let JobEvent::Finished(r) = x { records.push(r) };
            let mut now = Time::ZERO;
            for (i, a) in arrivals.iter().enumerate() {
                now = now + Duration::from_micros(a.gap_us);
                engine.advance(now, &mut sink);
                engine.submit(now, Job::new(JobId(i as u64), a.prompt, a.output)).unwrap();
            }
            while !engine.is_idle() {
                now = now + Duration::from_millis(stride_ms);
                engine.advance(now, &mut sink);
            }
            records
        };
        prop_assert_eq!(run(1), run(10_000), "lateness of the host must not change any time");
    }

    #[test]
    fn fast_forward_equals_advance(arrivals in arrivals(), limits in limits(), slow in 0.5f64..3.0) {
        let timing = EngineProfile::named("sglang_8b").unwrap().timing;
        let (mut walker, mut jumper) = (Engine::new(timing, limits), Engine::new(timing, limits));
        let (mut walked, mut jumped) = (Vec::new(), Vec::new());
        let mut now = Time::ZERO;
        for (i, a) in arrivals.iter().enumerate() {
            now = now + Duration::from_micros(a.gap_us);
            let mut news = |p: JobEvent| if !matches!(p, JobEvent::Token { .. }) { walked.push(p) };
            walker.advance(now, &mut news);
            jumper.fast_forward(now, &mut |p| jumped.push(p));
            prop_assert_eq!(walker.load(), jumper.load());
            prop_assert_eq!(walker.submit(now, job(i, a, &limits)), jumper.submit(now, job(i, a, &limits)));
            let factor = if i % 7 == 3 { slow } else { 1.0 };
            walker.set_slowdown(factor);
            jumper.set_slowdown(factor);
            if a.abort_after_us.is_some() {
                let victim = JobId(i as u64 / 2);
                prop_assert_eq!(walker.abort(now, victim), jumper.abort(now, victim));
            }
        }
        // From one promise of silence to the next: nothing may come out before its end.
        jumper.fast_forward(now, &mut |p| jumped.push(p));
        while let Some(quiet) = jumper.earliest_event() {
            let said = jumped.len();
            jumper.fast_forward(Time::from_nanos(quiet.as_nanos() - 1), &mut |p| jumped.push(p));
            prop_assert_eq!(jumped.len(), said);
            jumper.fast_forward(quiet, &mut |p| jumped.push(p));
        }
        walker.advance(Time::from_secs_f64(1e6), &mut |p| if !matches!(p, JobEvent::Token { .. }) { walked.push(p) });
        prop_assert_eq!(walked, jumped);
        prop_assert_eq!(walker.load(), jumper.load());
    }
}
