//! One simulated server: an engine, and when it next has progress to report.

use router_core::{LoadReport, LoadSource, Time, WorkTotals};
use router_engine::{Engine, EngineProfile, Job, JobEvent, JobId, SubmitError};

#[derive(Debug)]
pub(crate) struct SimulatedServer {
    engine: Engine,
    block_tokens: u32,
    /// Whether it is up.
    pub(crate) alive: bool,
    /// Number of the latest wake-up; older ones in the event queue are ignored.
    wake_number: u32,
    /// Time of the latest wake-up; absent when it was used or there is nothing to wait for.
    wake_at: Option<Time>,
}

impl SimulatedServer {
    pub(crate) fn new(profile: &EngineProfile, block_tokens: u32) -> Self {
        let limits = router_engine::EngineLimits { block_tokens, ..profile.limits };
        Self {
            engine: Engine::new(profile.timing, limits),
            block_tokens,
            alive: true,
            wake_number: 0,
            wake_at: None,
        }
    }

    /// Runs the engine up to `now`; its progress is appended to `progress`.
    pub(crate) fn run(&mut self, now: Time, progress: &mut Vec<JobEvent>) {
        self.engine.fast_forward(now, &mut |event| progress.push(event));
    }

    /// Submits a job. The engine must have been [run](Self::run) up to `now`.
    pub(crate) fn submit(
        &mut self,
        now: Time,
        job: Job,
        progress: &mut Vec<JobEvent>,
    ) -> Result<(), SubmitError> {
        self.engine.submit(now, job)?;
        // An idle engine starts its next step now; a busy one continues its step.
        self.run(now, progress);
        Ok(())
    }

    /// Aborts a job.
    pub(crate) fn abort(&mut self, now: Time, id: JobId) {
        self.engine.abort(now, id);
    }

    pub(crate) fn set_slowdown(&mut self, factor: f64) {
        self.engine.set_slowdown(factor);
    }

    /// The number and time of the wake-up to enqueue, if the one in the event queue has the wrong time.
    pub(crate) fn next_wake_up(&mut self) -> Option<(u32, Time)> {
        let next = self.engine.earliest_event();
        if next == self.wake_at {
            return None;
        }
        self.wake_number += 1;
        self.wake_at = next;
        next.map(|at| (self.wake_number, at))
    }

    /// Uses the wake-up of this number; false if it is outdated or the server is dead.
    pub(crate) fn take_wake_up(&mut self, number: u32) -> bool {
        let valid = self.alive && self.wake_number == number;
        if valid {
            self.wake_at = None;
        }
        valid
    }

    /// The engine as of the last [`run`](Self::run).
    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Tokens per block of its cache.
    pub(crate) const fn block_tokens(&self) -> u32 {
        self.block_tokens
    }

    /// KV cache tokens that it has.
    pub(crate) fn kv_tokens(&self) -> u64 {
        self.engine.limits().kv_tokens
    }

    /// Its load report.
    pub(crate) fn report(&self, at: Time) -> LoadReport {
        let load = self.engine.load();
        LoadReport {
            waiting: Some(load.waiting),
            running: Some(load.running),
            tokens: Some(load.used_tokens + load.waiting_tokens),
            kv_usage: Some(load.kv_usage),
            gen_throughput: Some(load.gen_throughput),
            work: WorkTotals {
                prefill_tokens: Some(load.prefill_uncached_tokens),
                prefill_busy_us: u64::try_from(load.prefill_busy.as_micros()).ok(),
                decode: Some(load.decode_moments.to_array()),
            },
            ..LoadReport::empty(at, LoadSource::Poll)
        }
    }

    /// Seconds in which it computed anything.
    pub(crate) fn busy_secs(&self) -> f64 {
        let load = self.engine.load();
        load.prefill_busy.as_secs_f64() + load.decode_moments.busy_us * 1e-6
    }
}
