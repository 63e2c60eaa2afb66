//! The workers of the pool: what each has done, how fast it is beside the others, and how much they can do together.

use crate::worker_info::WorkerInfo;
use crate::{SlotMap, Time, WorkerId};

/// Responses as which the mean of its kind counts for a worker, and that of the pool for a kind.
const PRIOR_WEIGHT: f64 = 20.0;
/// What is left of a response after the next one.
const MEMORY: f64 = 0.99;
/// No worker counts as more than this many times slower or faster than the others.
const MAX_RATIO: f64 = 8.0;
/// Workers of more kinds than this count as of the first.
const MOST_KINDS: usize = 16;

/// Mean of the logarithms of measured over foreseen times, drawn towards a prior.
#[derive(Clone, Copy, Debug, Default)]
struct LogRatio {
    sum: f64,
    weight: f64,
}

impl LogRatio {
    fn add(&mut self, log: f64) {
        self.sum = MEMORY * self.sum + log;
        self.weight = MEMORY * self.weight + 1.0;
    }

    fn towards(self, prior: f64) -> f64 {
        (self.sum + PRIOR_WEIGHT * prior) / (self.weight + PRIOR_WEIGHT)
    }
}

/// What an engine can hold, as far as its workers say it. Workers with the same limits are taken to be of one kind.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct WorkerLimits {
    pub(super) running: Option<u32>,
    pub(super) tokens: Option<u64>,
}

#[derive(Debug)]
struct WorkerClass {
    limits: WorkerLimits,
    ratio: LogRatio,
    routable: u32,
}

/// Running sums of one worker.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct WorkerSums {
    /// Requests in flight, summed over the seconds.
    pub(super) request_secs: f64,
    /// Prompt tokens computed. A prompt is known to be computed when its first token comes; of the one that is being computed a
    /// half counts.
    pub(super) prefilled: f64,
}

/// Decay of the mean length of prompts, per prompt.
const PROMPT_MEMORY: f64 = 0.95;

#[derive(Debug)]
struct WatchedWorker {
    class: usize,
    is_routable: bool,
    in_flight: u32,
    /// Streams whose first token has not come.
    awaited: u32,
    /// Mean tokens of a prompt.
    prompt: f64,
    at: Time,
    sums: WorkerSums,
    ratio: LogRatio,
    /// What it adds to the capacity.
    capacity: f64,
}

/// All workers of the pool.
#[derive(Debug, Default)]
pub(super) struct WorkerTable {
    workers: SlotMap<WatchedWorker>,
    classes: Vec<WorkerClass>,
    /// Of all responses: how far the fit is off as a whole.
    ratio: LogRatio,
    routable: u32,
    /// Sum over the routable workers of their speed beside a usual one.
    capacity: f64,
}

impl WorkerTable {
    pub(super) fn joined(&mut self, now: Time, id: WorkerId, info: &WorkerInfo) {
        let class = self.class_of(info);
        let worker = WatchedWorker {
            class,
            is_routable: false,
            in_flight: 0,
            awaited: 0,
            prompt: 0.0,
            at: now,
            sums: WorkerSums::default(),
            ratio: LogRatio::default(),
            capacity: 0.0,
        };
        self.workers.insert(id, worker);
        self.set_routable(id, true);
    }

    pub(super) fn changed(&mut self, id: WorkerId, info: &WorkerInfo) {
        let class = self.class_of(info);
        let Some(worker) = self.workers.get_mut(id) else { return };
        let counted = u32::from(worker.is_routable);
        self.classes[worker.class].routable -= counted;
        self.classes[class].routable += counted;
        worker.class = class;
    }

    pub(super) fn left(&mut self, id: WorkerId) {
        self.set_routable(id, false);
        self.workers.remove(id);
    }

    pub(super) fn set_routable(&mut self, id: WorkerId, routable: bool) {
        let Some(worker) = self.workers.get_mut(id).filter(|worker| worker.is_routable != routable) else {
            return;
        };
        worker.is_routable = routable;
        let class = &mut self.classes[worker.class];
        if routable {
            worker.capacity = worker.slowness(class, self.ratio).recip();
            self.capacity += worker.capacity;
            class.routable += 1;
            self.routable += 1;
        } else {
            self.capacity = (self.capacity - worker.capacity).max(0.0);
            class.routable -= 1;
            self.routable -= 1;
        }
    }

    /// Counts a request that was sent; the sums are those before it.
    pub(super) fn dispatched(&mut self, now: Time, id: WorkerId) -> WorkerSums {
        let Some(worker) = self.workers.get_mut(id) else { return WorkerSums::default() };
        worker.advance(now);
        worker.in_flight += 1;
        worker.sums_between_prompts()
    }

    /// The worker will tell when it has computed the prompt that was just sent.
    pub(super) fn awaits_prompt(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.awaited += 1;
        }
    }

    /// An awaited prompt was computed, or will not be.
    pub(super) fn prompt_ended(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.awaited = worker.awaited.saturating_sub(1);
        }
    }

    /// Counts that a prompt was computed; the sums are those with it.
    pub(super) fn prefilled(&mut self, now: Time, id: WorkerId, tokens: f64) -> WorkerSums {
        let Some(worker) = self.workers.get_mut(id) else { return WorkerSums::default() };
        worker.advance(now);
        worker.sums.prefilled += tokens;
        let kept = if worker.prompt > 0.0 { PROMPT_MEMORY } else { 0.0 };
        worker.prompt = kept * worker.prompt + (1.0 - kept) * tokens;
        worker.sums
    }

    /// Counts a request that ended; the sums are those at its end. Absent if the worker has left.
    pub(super) fn finished(&mut self, now: Time, id: WorkerId) -> Option<WorkerSums> {
        let worker = self.workers.get_mut(id)?;
        worker.advance(now);
        worker.in_flight = worker.in_flight.saturating_sub(1);
        Some(worker.sums_between_prompts())
    }

    /// Learns that a response took so many times as long as foreseen for a usual worker.
    pub(super) fn learn(&mut self, id: WorkerId, ratio: f64) {
        if !(ratio.is_finite() && ratio > 0.0) {
            return;
        }
        let Some(worker) = self.workers.get_mut(id) else { return };
        let log = ratio.ln().clamp(-MAX_RATIO.ln(), MAX_RATIO.ln());
        worker.ratio.add(log);
        self.classes[worker.class].ratio.add(log);
        self.ratio.add(log);
    }

    /// How many times as long as a usual one the worker takes.
    pub(super) fn slowness(&self, id: WorkerId) -> f64 {
        self.workers.get(id).map_or(1.0, |worker| worker.slowness(&self.classes[worker.class], self.ratio))
    }

    /// How many times as long as foreseen responses of a usual worker take: the fit of relative errors is too low where times have much
    /// noise.
    pub(super) fn scale(&self) -> f64 {
        self.ratio.towards(0.0).exp()
    }

    /// Adds the capacity up again by what has been learned; walks over all workers, to be called every few seconds.
    pub(super) fn refresh(&mut self) {
        self.capacity = 0.0;
        for (_, worker) in self.workers.iter_mut().filter(|(_, worker)| worker.is_routable) {
            worker.capacity = worker.slowness(&self.classes[worker.class], self.ratio).recip();
            self.capacity += worker.capacity;
        }
    }

    /// What the routable workers can do together, in usual workers.
    pub(super) const fn capacity(&self) -> f64 {
        self.capacity
    }

    /// How many workers are routable.
    pub(super) const fn routable(&self) -> u32 {
        self.routable
    }

    /// The limits of most of the routable workers.
    pub(super) fn limits(&self) -> WorkerLimits {
        self.classes
            .iter()
            .max_by_key(|class| class.routable)
            .map_or_else(WorkerLimits::default, |c| c.limits)
    }

    fn class_of(&mut self, info: &WorkerInfo) -> usize {
        let limits = WorkerLimits { running: info.max_running_requests, tokens: info.max_total_tokens };
        if let Some(known) = self.classes.iter().position(|class| class.limits == limits) {
            return known;
        }
        if self.classes.len() == MOST_KINDS {
            return 0;
        }
        self.classes.push(WorkerClass { limits, ratio: LogRatio::default(), routable: 0 });
        self.classes.len() - 1
    }
}

impl WatchedWorker {
    fn advance(&mut self, now: Time) {
        self.sums.request_secs += f64::from(self.in_flight) * now.secs_since(self.at).max(0.0);
        self.at = self.at.max(now);
    }

    /// The sums, with half of a prompt if one is being computed.
    fn sums_between_prompts(&self) -> WorkerSums {
        let half = if self.awaited > 0 { 0.5 * self.prompt } else { 0.0 };
        WorkerSums { prefilled: self.sums.prefilled + half, ..self.sums }
    }

    fn slowness(&self, class: &WorkerClass, pool: LogRatio) -> f64 {
        let pool = pool.towards(0.0);
        (self.ratio.towards(class.ratio.towards(pool)) - pool).exp()
    }
}
