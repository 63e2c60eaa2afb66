//! One simulated server: an engine and the time at which it next has something to say.

use router_core::{LoadReport, LoadSource, Time, WorkTotals};
use router_engine::{Engine, EngineProfile, Job, JobEvent, JobId, SubmitError};

#[derive(Debug)]
pub(crate) struct SimulatedServer {
    engine: Engine,
    block_tokens: u32,
    /// Whether it is up.
    pub(crate) alive: bool,
    /// Number and time of the wake-up that counts; older ones in the queue are ignored.
    wake: (u32, Option<Time>),
}

impl SimulatedServer {
    pub(crate) fn new(profile: &EngineProfile, block_tokens: u32) -> Self {
        let limits = router_engine::EngineLimits { block_tokens, ..profile.limits };
        Self { engine: Engine::new(profile.timing, limits), block_tokens, alive: true, wake: (0, None) }
    }

    /// Brings the engine up to `now`; what it has to say goes to `news`.
    pub(crate) fn run(&mut self, now: Time, news: &mut Vec<JobEvent>) {
        self.engine.fast_forward(now, &mut |progress| news.push(progress));
    }

    /// Takes a job. The engine must have been [run](Self::run) up to `now`.
    pub(crate) fn submit(
        &mut self,
        now: Time,
        job: Job,
        news: &mut Vec<JobEvent>,
    ) -> Result<(), SubmitError> {
        self.engine.submit(now, job)?;
        // An idle engine takes its next step now, and a busy one goes on.
        self.run(now, news);
        Ok(())
    }

    /// Gives up a job.
    pub(crate) fn abort(&mut self, now: Time, id: JobId) {
        self.engine.abort(now, id);
    }

    pub(crate) fn slow(&mut self, factor: f64) {
        self.engine.set_slowdown(factor);
    }

    /// The number and time of the wake-up to enqueue, if the one in the queue no longer fits.
    pub(crate) fn next_wake(&mut self) -> Option<(u32, Time)> {
        let quiet = self.engine.earliest_event();
        if quiet == self.wake.1 {
            return None;
        }
        self.wake = (self.wake.0 + 1, quiet);
        quiet.map(|at| (self.wake.0, at))
    }

    /// Whether a wake-up counts; it is then used up.
    pub(crate) fn woken(&mut self, number: u32) -> bool {
        let counts = self.alive && self.wake.0 == number;
        if counts {
            self.wake.1 = None;
        }
        counts
    }

    /// What it really is and holds; as of when it was last [run](Self::run).
    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Tokens per block of its cache.
    pub(crate) const fn block_tokens(&self) -> u32 {
        self.block_tokens
    }

    /// KV tokens it has.
    pub(crate) fn kv_tokens(&self) -> u64 {
        self.engine.limits().kv_tokens
    }

    /// What it answers when asked for its load.
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
