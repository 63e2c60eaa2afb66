//! Step times worked out by hand from the profile, and the profiles against the fit they come from.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the lint spares only functions marked as tests")]

use router_core::Time;
use router_engine::profile::PROFILES;
use router_engine::{
    Batching, Engine, EngineProfile, Job, JobEvent, JobId, JobRecord, StepKind, StepTiming, SubmitError,
};

fn run(engine: &mut Engine, until: f64) -> Vec<JobRecord> {
    let mut records = Vec::new();
    engine.advance(Time::from_secs_f64(until), &mut |p| {
        if let JobEvent::Finished(r) = p {
            records.push(r);
        }
    });
    records
}

fn near(actual: Option<Time>, expected: f64) {
    let actual = actual.expect("stage was passed").as_secs_f64();
    assert!((actual - expected).abs() < 1e-8, "{actual} is not {expected}");
}

#[test]
fn profiles_equal_their_fit() {
    let fits: serde_json::Value = serde_json::from_str(include_str!("data/engine_models.json")).unwrap();
    let sources = [
        ("sglang_8b", "sglang_llama3_8b_seed"),
        ("sglang_1.5b", "sglang_r1_distill_qwen_1.5b_seed"),
        ("rtxpro6000", "vllm0.19_rtxpro6000_llama3.1_8b"),
        ("rtxpro6000_32b", "vllm0.19_rtxpro6000_qwen3_32b_tp2"),
        ("rtxpro6000_moe", "vllm0.19_rtxpro6000_qwen3_30b_a3b_dp2"),
        ("rtx4090", "vllm0.19_rtx4090_llama3.1_8b"),
        ("h200", "vllm_h200_llama3.1_8b_fp8_tp1"),
        ("h100_70b", "splitwise_llama2_70b_h100_tp8"),
        ("a100_70b", "splitwise_llama2_70b_a100_tp8"),
        ("a100", "helix_llama30b_per_layer_ms/a100"),
        ("v100", "helix_llama30b_per_layer_ms/v100"),
        ("l4", "helix_llama30b_per_layer_ms/l4"),
        ("t4", "helix_llama30b_per_layer_ms/t4"),
    ];
    assert_eq!(sources.len(), PROFILES.len());
    for (name, source) in sources {
        let fit = &fits.pointer(&format!("/{source}")).unwrap_or_else(|| panic!("{source}"));
        let scale = if source.starts_with("helix") { 60.0 / 1000.0 } else { 1.0 };
        let term = |key: &str| fit[key].as_f64().unwrap_or(0.0) * scale;
        let p1 = if fit["p1"].is_number() { "p1" } else { "p_decode_interference_per_tok" };
        let t = EngineProfile::named(name).unwrap().timing;
        let pairs = [
            (t.decode_base, term("a")),
            (t.decode_per_request, term("b")),
            (t.decode_per_token, term("k")),
            (t.prefill_base, term("p0")),
            (t.prefill_per_token, term(p1)),
            (t.request_overhead, term("c0")),
        ];
        for (ours, theirs) in pairs {
            assert!((ours - theirs).abs() < 1e-15, "{name}: {ours} is not {theirs}");
        }
    }
}

#[test]
fn one_request_on_sglang_8b() {
    let p = EngineProfile::named("sglang_8b").unwrap();
    let mut e = Engine::new(p.timing, p.limits);
    e.submit(Time::from_secs_f64(1.0), Job::new(JobId(1), 1000, 3)).unwrap();
    let r = run(&mut e, 9.0)[0];
    // c0, then p0 + 1000 p1, then two decode steps over 1001 and 1002 tokens.
    let queued = 1.0 + 0.0053;
    let first = queued + 0.006 + 1000.0 * 1.66e-5;
    let last = first + 2.0 * (0.00677 + 1.5e-5) + 3.7e-8 * (1001.0 + 1002.0);
    near(Some(r.times.queued_at), queued);
    near(r.times.scheduled_at, queued);
    near(r.times.first_token_at, first);
    near(Some(r.times.finished_at), last);
    assert_eq!((r.output_tokens, r.cached_tokens, r.retractions), (3, 0, 0));
    let m = e.load().decode_moments.to_array();
    assert_eq!((m[0], m[1], m[3], m[5]), (2.0, 2.0, 2.0, 2.0));
}

#[test]
fn late_prompt_stalls_decode() {
    let t = StepTiming { request_overhead: 0.0, ..EngineProfile::named("a100").unwrap().timing };
    let mut e = Engine::new(t, EngineProfile::named("a100").unwrap().limits);
    e.submit(Time::ZERO, Job::new(JobId(1), 10, 3)).unwrap();
    let prefill = |u: f64| 60.0 * (0.44e-3 + 0.00437e-3 * u);
    let decode = |n: f64| 60.0 * (0.736e-3 + 0.0203e-3 * n);
    // It arrives in the first decode step, waits for its end, and is computed before the second one.
    let arrival = prefill(10.0) + 0.5 * decode(1.0);
    e.advance(Time::from_secs_f64(arrival), &mut |_| {});
    e.submit(Time::from_secs_f64(arrival), Job::new(JobId(2), 100, 2)).unwrap();
    let r = run(&mut e, 9.0);
    let second_starts = prefill(10.0) + decode(1.0);
    near(r[0].times.scheduled_at, 0.0);
    near(r[1].times.scheduled_at, second_starts);
    near(r[1].times.first_token_at, second_starts + prefill(100.0));
    let end = second_starts + prefill(100.0) + decode(2.0);
    near(Some(r[0].times.finished_at), end);
    near(Some(r[1].times.finished_at), end);
}

#[test]
fn waiting_prompts_share_prefill() {
    let p = EngineProfile::named("l4").unwrap();
    let mut e = Engine::new(p.timing, p.limits);
    for id in 0..3 {
        e.submit(Time::ZERO, Job::new(JobId(id), 50, 1)).unwrap();
    }
    for r in run(&mut e, 9.0) {
        near(Some(r.times.finished_at), 60.0 * (4.0e-3 + 150.0 * 0.02024e-3));
    }
}

#[test]
fn prefilled_prompt_costs_memory_only() {
    let p = EngineProfile::named("sglang_8b").unwrap();
    let mut e = Engine::new(p.timing, p.limits);
    e.submit(Time::ZERO, Job { prefilled: true, ..Job::new(JobId(1), 1000, 500) }).unwrap();
    e.advance(Time::from_secs_f64(0.0053 + 0.0061), &mut |_| {});
    let load = e.load();
    assert_eq!((load.running, load.prefill_uncached_tokens), (1, 1), "its first token came at once");
    assert!(load.used_tokens >= 1000, "{}", load.used_tokens);
    let r = run(&mut e, 60.0)[0];
    near(r.times.first_token_at, 0.0053 + 0.006 + 1.66e-5);
}

#[test]
fn repeated_prompt_computes_its_tail() {
    let p = EngineProfile::named("sglang_8b").unwrap();
    let mut e = Engine::new(p.timing, p.limits);
    let job = |id| Job { blocks: (0..62).collect(), ..Job::new(JobId(id), 1000, 1) };
    e.submit(Time::ZERO, job(1)).unwrap();
    run(&mut e, 1.0);
    e.submit(Time::from_secs_f64(1.0), job(2)).unwrap();
    let r = run(&mut e, 2.0)[0];
    assert_eq!(r.cached_tokens, 62 * 16);
    near(r.times.first_token_at, 1.0 + 0.0053 + 0.006 + 8.0 * 1.66e-5);
    e.flush_cache().unwrap();
    e.submit(Time::from_secs_f64(2.0), job(3)).unwrap();
    assert_eq!(run(&mut e, 3.0)[0].cached_tokens, 0, "a flushed cache remembers nothing");
}

#[test]
fn double_speed_halves_times() {
    let p = EngineProfile::named("sglang_8b").unwrap();
    let finish = |timing| {
        let mut e = Engine::new(timing, p.limits);
        e.submit(Time::ZERO, Job::new(JobId(1), 1000, 50)).unwrap();
        run(&mut e, 60.0)[0].times.finished_at.as_secs_f64()
    };
    let ratio = finish(p.timing) / finish(p.timing.at_speed(2.0));
    assert!((ratio - 2.0).abs() < 1e-6, "{ratio}");
}

#[test]
fn limits_refuse_jobs() {
    let p = EngineProfile::named("sglang_8b").unwrap();
    let mut limits = p.limits;
    (limits.max_running, limits.max_queued, limits.kv_tokens) = (1, Some(2), 1000);
    let mut e = Engine::new(p.timing, limits);
    assert_eq!(e.submit(Time::ZERO, Job::new(JobId(9), 600, 401)), Err(SubmitError::ExceedsKv));
    e.submit(Time::ZERO, Job::new(JobId(0), 10, 100)).unwrap();
    e.advance(Time::from_secs_f64(0.1), &mut |_| {});
    e.submit(Time::from_secs_f64(0.1), Job::new(JobId(1), 10, 100)).unwrap();
    e.submit(Time::from_secs_f64(0.1), Job::new(JobId(2), 10, 100)).unwrap();
    assert_eq!(e.submit(Time::from_secs_f64(0.1), Job::new(JobId(3), 10, 1)), Err(SubmitError::QueueFull));
    let load = e.load();
    assert_eq!((load.running, load.waiting), (1, 2));
    assert!(e.flush_cache().is_err(), "a busy engine keeps its cache");
    assert_eq!(run(&mut e, 60.0).len(), 3);
    assert!(e.is_idle());
}

#[test]
fn full_cache_retracts_and_finishes_all() {
    let p = EngineProfile::named("sglang_8b").unwrap();
    let mut limits = p.limits;
    limits.kv_tokens = 1200;
    let mut e = Engine::new(p.timing, limits);
    // The scheduler believes each wants 500 tokens at most and admits both; together they need 1400.
    for id in 0..2 {
        let job = Job { max_output_tokens: 500, ..Job::new(JobId(id), 200, 500) };
        e.submit(Time::from_secs_f64(f64::from(id as u32) * 0.001), job).unwrap();
    }
    let records = run(&mut e, 60.0);
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|r| r.output_tokens == 500));
    assert!(e.load().retractions > 0 && records[1].retractions > 0);
    assert_eq!(e.load().used_tokens, 0);
}

#[test]
fn abort_frees_memory_in_any_stage() {
    let p = EngineProfile::named("sglang_8b").unwrap();
    let mut limits = p.limits;
    limits.max_running = 1;
    let mut e = Engine::new(p.timing, limits);
    e.submit(Time::ZERO, Job::new(JobId(1), 100, 100)).unwrap();
    e.submit(Time::ZERO, Job::new(JobId(2), 100, 100)).unwrap();
    let now = Time::from_secs_f64(0.008);
    assert_eq!(e.advance(now, &mut |_| {}).unwrap().kind, StepKind::Prefill);
    assert!(matches!(e.abort(now, JobId(2)), Some(router_engine::AbortedJob::Waiting(_))));
    assert!(matches!(e.abort(now, JobId(1)), Some(router_engine::AbortedJob::Running(_))));
    assert_eq!(e.abort(now, JobId(1)), None);
    assert_eq!(e.load().used_tokens, 0);
    assert_eq!(run(&mut e, 1.0), [], "the step runs out and produces nothing");
    e.submit(Time::from_secs_f64(1.0), Job::new(JobId(3), 10, 2)).unwrap();
    e.advance(Time::from_secs_f64(1.015), &mut |_| {});
    assert!(matches!(
        e.abort(Time::from_secs_f64(1.015), JobId(3)),
        Some(router_engine::AbortedJob::Running(r)) if r.output_tokens == 1
    ));
    assert!(e.is_idle());
}

/// An engine of the 8B profile that cuts prompts so that a step has at most `step_tokens` tokens.
fn chunked(step_tokens: u32, kv_tokens: u64) -> Engine {
    let p = EngineProfile::named("sglang_8b").unwrap();
    let batching = Batching::Chunked { step_tokens };
    Engine::new(p.timing, router_engine::EngineLimits { batching, kv_tokens, max_running: 64, ..p.limits })
}

#[test]
fn long_prompt_is_chunked_beside_decode() {
    let (a, b, k, p1, c0) = (0.00677, 1.5e-5, 3.7e-8, 1.66e-5, 0.0053);
    let mut e = chunked(101, 400_000);
    e.submit(Time::ZERO, Job::new(JobId(1), 50, 100)).unwrap();
    e.advance(Time::from_secs_f64(0.1), &mut |_| {});
    // It arrives while the other decodes, and its 250 tokens take three steps of 100, 100 and 50.
    let at = e.next_step(Time::from_secs_f64(0.1)).unwrap().ends_at;
    e.submit(Time::from_secs_f64(at.as_secs_f64() - c0), Job::new(JobId(2), 250, 2)).unwrap();
    let (mut tokens, mut first) = (0, None);
    e.advance(Time::from_secs_f64(at.as_secs_f64() + 0.0001), &mut |_| {});
    assert_eq!(e.next_step(at).unwrap().kind, StepKind::Mixed);
    let resident = e.load().resident_tokens as f64;
    while first.is_none() {
        let step = e.next_step(at).unwrap();
        e.complete_step(&mut |p| match p {
            JobEvent::Token { id: JobId(1), .. } => tokens += 1,
            JobEvent::FirstToken { id: JobId(2), times, .. } => first = times.first_token_at,
            _ => {}
        });
        assert!(step.kind == StepKind::Mixed);
    }
    assert_eq!(tokens, 3);
    let steps = |extra: f64| a + b + k * (resident + extra);
    near(first, at.as_secs_f64() + steps(0.0) + steps(1.0) + steps(2.0) + 250.0 * p1);
}

#[test]
fn mixed_step_has_one_fixed_part() {
    let mut e = chunked(2048, 400_000);
    e.submit(Time::ZERO, Job::new(JobId(1), 3000, 1)).unwrap();
    near(run(&mut e, 1.0)[0].times.first_token_at, 0.0053 + 2.0 * 0.00677 + 3000.0 * 1.66e-5);
    // What was computed is found again, wherever it was cut.
    let job = |id| Job { blocks: (0..187).collect(), ..Job::new(JobId(id), 3000, 1) };
    e.submit(Time::from_secs_f64(1.0), job(2)).unwrap();
    run(&mut e, 2.0);
    e.submit(Time::from_secs_f64(2.0), job(3)).unwrap();
    assert_eq!(run(&mut e, 3.0)[0].cached_tokens, 187 * 16);
}

#[test]
fn full_cache_requeues_last_chunked_job() {
    let mut e = chunked(512, 1200);
    for id in 0..3 {
        let job = Job { max_output_tokens: 500, ..Job::new(JobId(id), 200, 500) };
        e.submit(Time::from_secs_f64(id as f64 * 0.001), job).unwrap();
    }
    let records = run(&mut e, 60.0);
    assert_eq!(records.iter().map(|r| r.id.0).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(records.iter().all(|r| r.output_tokens == 500));
    assert!(records[0].retractions == 0 && records[2].retractions > 0);
    assert_eq!(e.load().used_tokens, 0);
}
