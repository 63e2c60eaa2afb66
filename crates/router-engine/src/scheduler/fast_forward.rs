//! The fast path of a simulation: decode steps that only generate tokens are taken many at once.
//!
//! The result equals that of [`Engine::advance`] to the nanosecond: each step's time is computed and rounded by itself, and
//! only the work per running request is done once for all of them. A test compares both.

use router_core::Time;

use super::{Engine, StepKind};
use crate::job::{JobEvent, Sequence};

/// Decode steps that have been taken but not yet written to the requests.
struct StepRun {
    now: Time,
    /// Steps completed.
    done: u32,
    /// Steps that began in this run and whose KV tokens have not been taken.
    begun: u64,
}

impl Engine {
    /// As [`Engine::advance`], but reports only first tokens and ends, and its cost is proportional to their number.
    ///
    /// The step that is then in progress, if any, is left in progress.
    pub fn fast_forward(&mut self, until: Time, sink: &mut impl FnMut(JobEvent)) {
        let mut filtered = |event: JobEvent| {
            if !matches!(event, JobEvent::Token { .. }) {
                sink(event);
            }
        };
        loop {
            self.take_token_steps(until);
            match self.next_step(self.clock) {
                Some(step) if step.ends_at <= until => {
                    self.complete_step(&mut filtered);
                }
                step => {
                    if step.is_none() {
                        self.clock = self.clock.max(until);
                    }
                    return;
                }
            }
        }
    }

    /// A time before which no first token and no end comes out, unless something is submitted or aborted; `None` when
    /// the engine is idle. Call it after [`fast_forward`](Self::fast_forward).
    pub fn earliest_event(&self) -> Option<Time> {
        let current = self.current.as_ref()?;
        if current.step.kind != StepKind::Decode {
            return Some(current.step.ends_at);
        }
        let n = self.running.len() as u64;
        let most = self.steps_to_first_end().min(1 + self.steps_with_room(n));
        let (mut now, mut done) = (current.step.ends_at, 1);
        while done < most && !self.may_admit(now) {
            now = now + self.stretched(self.timing.decode_step(self.running.len(), self.resident + done * n));
            done += 1;
        }
        Some(now)
    }

    /// Takes decode steps that end by `until` as long as no request finishes, none may be admitted and there is room.
    fn take_token_steps(&mut self, until: Time) {
        let n = self.running.len() as u64;
        let quiet = self.steps_to_first_end().saturating_sub(1);
        if n == 0 || quiet == 0 || !self.prefilling.is_empty() {
            return;
        }
        let mut run = StepRun { now: self.clock, done: 0, begun: 0 };
        if let Some(current) = &self.current {
            if current.step.kind != StepKind::Decode || current.step.ends_at > until {
                return;
            }
            let (took, now) = (current.took, current.step.ends_at);
            self.current = None;
            self.count_decode(now, took);
            run = StepRun { now, done: 1, begun: 0 };
        }
        let room = self.steps_with_room(n);
        while u64::from(run.done) < quiet && run.begun < room && !self.may_admit(run.now) {
            let tokens = self.resident + u64::from(run.done) * n;
            let took = self.stretched(self.timing.decode_step(self.running.len(), tokens));
            if run.now + took > until {
                break;
            }
            run.now = run.now + took;
            self.count_decode(run.now, took);
            run.done += 1;
            run.begun += 1;
        }
        self.write_back(&run);
    }

    fn write_back(&mut self, run: &StepRun) {
        let n = self.running.len() as u64;
        // There is room: it bounded the run.
        self.kv.grow(run.begun * n);
        for sequence in &mut self.running {
            sequence.generated += run.done;
            sequence.private_tokens += run.begun;
        }
        self.resident += u64::from(run.done) * n;
        self.clock = self.clock.max(run.now);
    }

    /// Decode steps until the first running request has its last token; 0 when nothing runs.
    fn steps_to_first_end(&self) -> u64 {
        let rest = |s: &Sequence| s.job.output_tokens.saturating_sub(s.generated);
        self.running.iter().map(rest).min().map_or(0, u64::from)
    }

    /// Decode steps for which every one of `n` requests finds a KV token.
    fn steps_with_room(&self, n: u64) -> u64 {
        self.kv.available() / n.max(1)
    }

    /// Whether the next step might be a prefill.
    fn may_admit(&self, now: Time) -> bool {
        self.running.len() < self.limits.max_running as usize
            && self.waiting.front().is_some_and(|head| head.queued_at <= now)
    }
}
